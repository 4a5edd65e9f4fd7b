"""Edits laid back into photographs: bit-equal outside, the edit inside, the photograph's light."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from resefa_plugin.editing.paste import FEATHER, GROW, Patch, paste, weights
from resefa_plugin.errors import RegionError, ResefaError

SIDE = 64  # of the renderings


def matrix(scale=1.0, corner=(20, 10), degrees=0.0):
    a = np.deg2rad(degrees)
    x, y = scale * np.cos(a), scale * np.sin(a)
    return np.array([[x, -y, corner[0]], [y, x, corner[1]]])


def box(top, left, bottom, right, shape=(SIDE, SIDE)):
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


def grey(level, shape=(SIDE, SIDE)):
    return np.full((*shape, 3), level, np.uint8)


@pytest.fixture
def photograph():
    return np.random.RandomState(0).randint(60, 200, (120, 140, 3)).astype(np.uint8)


def patch(mask=None, edited=150, unedited=100, **geometry):
    return Patch(grey(edited), grey(unedited), box(20, 20, 44, 44) if mask is None else mask, matrix(**geometry))


@pytest.mark.parametrize('geometry', [{}, {'degrees': 12}, {'scale': 0.4}, {'scale': 1.7, 'corner': (-10, 5)}])
def test_outside_of_the_feathered_region_every_pixel_is_the_photographs(photograph, geometry):
    edit = patch(**geometry)
    before, result = photograph.copy(), paste(photograph, [edit])
    outside = weights(photograph.shape[:2], edit) == 0
    assert 0.4 < outside.mean() < 1
    np.testing.assert_array_equal(result[outside], photograph[outside])
    np.testing.assert_array_equal(photograph, before)  # which is not written into
    assert (result[~outside] != photograph[~outside]).mean() > 0.5


def test_the_weight_is_1_in_the_region_and_ends_where_it_is_said_to():
    weight = weights((SIDE, SIDE), patch(box(28, 28, 36, 36), corner=(0, 0)))
    reach = int(np.ceil(SIDE * (GROW + 3 * FEATHER))) + 1
    assert weight[30:34, 30:34].min() > 0.97
    around = box(28 - reach, 28 - reach, 36 + reach, 36 + reach)
    assert weight[~around].max() == 0 and weight[around].min() >= 0
    large = Patch(grey(1, (512, 512)), grey(0, (512, 512)), box(200, 200, 300, 300, (512, 512)), matrix(corner=(0, 0)))
    profile = weights((512, 512), large)[250, 300:]  # from the edge on: a half where the enlarged region ends
    assert abs(profile[round(512 * GROW)] - 0.5) < 0.06 and profile[:4].min() > 0.8


def test_the_feather_has_one_width_wherever_the_region_is_drawn():
    half = Patch(grey(1, (512, 512)), grey(0, (512, 512)), box(200, 200, 300, 300, (512, 512)), matrix(0.5, (0, 0)))
    there = dataclasses.replace(half, mask=box(100, 100, 150, 150, (256, 256)), in_photograph=True)
    assert np.abs(weights((256, 256), half) - weights((256, 256), there)).max() < 0.12  # of whole pixels


def test_the_edit_comes_with_the_photographs_light():
    """A photograph 40 levels lighter than its rendering: so is the edit."""
    photograph = grey(140, (120, 140))
    result = paste(photograph, [patch(edited=130, unedited=100)])
    assert abs(int(result[42, 52, 0]) - 170) <= 1  # the middle of the region
    assert (result[0] == 140).all()


def test_the_light_is_right_at_the_edge_of_the_rendering_too():
    """What is beyond the rendering is not known, and is no difference of zero."""
    photograph = grey(140, (120, 140))
    result = paste(photograph, [patch(box(20, 4, 44, 30), edited=130, unedited=100)])
    shown = weights(photograph.shape[:2], patch(box(20, 4, 44, 30)))
    near = (shown > 0.98) & (np.arange(140) < 28)
    assert near.any() and np.abs(result[near].astype(int) - 170).max() <= 1


def test_details_of_the_photograph_vanish_behind_the_edit():
    """What is fine in the photograph, such as teeth, does not shine through."""
    photograph = grey(100, (120, 140))
    photograph[40:44, 50:54] = 250
    rendering = np.array(photograph[10:74, 20:84])
    edit = Patch(grey(100), rendering, box(20, 20, 44, 44), matrix())
    assert np.abs(paste(photograph, [edit])[30:54, 40:64].astype(int) - 100).max() <= 1


def test_a_rendering_that_is_not_edited_changes_a_faithful_photograph_by_nothing():
    rendering = np.add.outer(np.arange(SIDE), np.arange(SIDE))[..., None].repeat(3, axis=2).astype(np.uint8)
    photograph = grey(90, (120, 140))
    photograph[10:74, 20:84] = rendering
    assert np.abs(paste(photograph, [Patch(rendering, rendering, box(20, 20, 44, 44), matrix())]).astype(int)
                  - photograph).max() <= 1


def test_regions_drawn_in_the_photograph_are_the_same_ones(photograph):
    drawn = patch(box(20, 20, 44, 44), scale=1.0)
    there = dataclasses.replace(drawn, mask=box(30, 40, 54, 64, photograph.shape[:2]), in_photograph=True)
    difference = paste(photograph, [drawn]).astype(int) - paste(photograph, [there])
    assert np.abs(difference).max() <= 1
    twice = dataclasses.replace(there, matrix=matrix(scale=0.5))  # a finer rendering: the region stays where it is
    assert np.abs(weights(photograph.shape[:2], twice)[35:39, 42:48] - 1).max() < 0.05


def test_several_edits_at_once(photograph):
    one, two = patch(box(8, 8, 20, 20)), patch(box(40, 40, 52, 52), edited=40)
    both = paste(photograph, [one, two])
    first, second = (weights(photograph.shape[:2], edit) > 0 for edit in (one, two))
    assert not (first & second).any()
    np.testing.assert_array_equal(both[first], paste(photograph, [one])[first])
    np.testing.assert_array_equal(both[second], paste(photograph, [two])[second])
    np.testing.assert_array_equal(paste(photograph, []), photograph)


def test_a_later_edit_lies_over_an_earlier_one():
    photograph, left = grey(100, (120, 140)), patch(box(20, 10, 44, 34), edited=200)
    right = patch(box(20, 30, 44, 54), edited=50)
    both = paste(photograph, [left, right]).astype(int)[42]
    assert abs(both[20 + 16, 0] - 200) <= 1 and abs(both[20 + 46, 0] - 50) <= 1
    alone = weights(photograph.shape[:2], right)[42]
    expected = paste(photograph, [left])[42, :, 0] * (1 - alone) + 50 * alone
    assert np.abs(both[:, 0] - expected).max() <= 1


def test_the_edge_of_the_rendering_leaves_no_seam():
    """A region up to the edge of the rendering, and an edit of 100 levels: neighbours differ by a few levels."""
    photograph = grey(100, (200, 220))
    edit = Patch(grey(200, (128, 128)), grey(100, (128, 128)), box(40, 0, 90, 60, (128, 128)), matrix(corner=(40, 30)))
    result = paste(photograph, [edit]).astype(int)
    assert result.max() > 190 and np.abs(np.diff(result, axis=1)).max() < 40


def test_what_does_not_belong_together(photograph):
    with pytest.raises(ResefaError, match='renderings .* do not belong together'):
        paste(photograph, [dataclasses.replace(patch(), unedited=grey(1, (8, 8)))])
    with pytest.raises(ResefaError, match=r'a mask \[120, 140\]'):
        paste(photograph, [dataclasses.replace(patch(), in_photograph=True)])
    with pytest.raises(RegionError, match='no pixel that both'):
        paste(photograph, [dataclasses.replace(patch(), mask=box(0, 0, 5, 5, (120, 140)), in_photograph=True)])
    with pytest.raises(RegionError, match='no pixel that both'):
        paste(photograph, [patch(corner=(500, 10))])
