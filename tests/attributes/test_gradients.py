"""The derivative of an attribute, against finite differences of its score."""

from __future__ import annotations

import types

import numpy as np
import pytest
import torch

from resefa_plugin import FunctionHook, RegionPartition, Viewpoint
from resefa_plugin.attributes.face_parts import CLASSES, SIDE
from resefa_plugin.attributes.gradients import attribute_gradients
from resefa_plugin.attributes.scores import attribute_scores
from tests.helpers.faces import FACE, forged

TOP = RegionPartition.from_box(0, 0, 64, 20, (64, 64))


def by_brightness(images, output):
    """A parser that takes what is bright in the middle for eyes, what is dark for skin, and sees a nose and a mouth."""
    bright = torch.sigmoid(4 * images.mean(dim=1))
    probabilities = torch.full((1, len(CLASSES), SIDE, SIDE), 1e-3)
    probabilities[0, CLASSES.index('nose'), 250:300, 240:270] = 0.9
    probabilities = probabilities.clone()
    probabilities[:, CLASSES.index('left_eye')] = bright
    probabilities[:, CLASSES.index('skin')] = 1 - bright
    return probabilities


@pytest.fixture
def viewpoint():
    weight = torch.from_numpy(np.random.RandomState(0).randn(4, 3 * 8 * 8).astype(np.float32))

    def images(z):
        coarse = torch.tanh(0.3 * z @ weight).unflatten(1, (3, 8, 8))
        return torch.nn.functional.interpolate(coarse, scale_factor=8, mode='bilinear')

    hook = FunctionHook(images, 4, name='blobs')
    return Viewpoint(hook, 'z', hook.sample(0))


@pytest.mark.parametrize('attribute, region', [('eyes_open', None), ('skin_lightness', None), ('skin_redness', TOP)])
def test_against_differences(viewpoint, attribute, region):
    networks = types.SimpleNamespace(device=torch.device('cpu'), parsing=by_brightness)
    found = attribute_gradients(viewpoint, [attribute], networks, region)[0]
    steps, expected = 1e-2 * torch.eye(4), []
    for step in steps:
        with torch.no_grad():
            ends = torch.cat([viewpoint.images(sign * step[None]) for sign in (1, -1)])
        after, before = attribute_scores(ends, networks, region)[attribute]
        expected.append((after - before) / 2e-2)
    assert found.dtype == torch.float64 and found.abs().min() > 1e-3
    # Differences of float32 pictures over a hundredth, and of a curved score.
    np.testing.assert_allclose(found, torch.stack(expected), rtol=2e-2, atol=1e-2 * found.abs().max())


def test_several_at_once(viewpoint):
    networks = types.SimpleNamespace(device=torch.device('cpu'), parsing=by_brightness)
    names = ['eyes_open', 'skin_redness']
    found = attribute_gradients(viewpoint, names, networks, TOP)
    alone = torch.cat([attribute_gradients(viewpoint, [name], networks, TOP) for name in names])
    torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-7)  # sums of float32 in another order


def test_what_is_not_seen_has_none(viewpoint):
    networks = forged([part for part in FACE if part[0] != CLASSES.index('nose')])
    assert attribute_gradients(viewpoint, ['nose_width'], networks).tolist() == [[0] * 4]


def test_a_parser_that_does_not_look_has_none(viewpoint):
    same_for_all = forged(FACE)
    assert attribute_gradients(viewpoint, ['eyes_open'], same_for_all).tolist() == [[0] * 4]
