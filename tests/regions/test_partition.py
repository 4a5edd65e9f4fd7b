"""Regions as sets of pixels: boxes, presets, set operations, lower resolutions, and every refusal."""

from __future__ import annotations

import numpy as np
import pytest

from resefa_plugin.errors import RegionError
from resefa_plugin.regions.partition import RegionPartition
from resefa_plugin.regions.presets import BIGGAN_PRESETS, FACE_PRESETS, PRESETS
from tests.helpers.regions import LEFT, SIZE, dense_majority, rectangle


def test_box_is_x_y_width_height_from_the_top_left():
    region = RegionPartition.from_box(10, 20, 5, 7, SIZE)
    assert rectangle(region) == (10, 20, 5, 7)
    assert region.image_size == SIZE and region.mask.dtype == bool
    assert region.area == 35 / (48 * 64)
    assert rectangle(RegionPartition.from_box(np.int64(63), 47, 1, 1, SIZE)) == (63, 47, 1, 1)


def test_fractions_round_edges_to_the_nearest_pixel():
    assert rectangle(RegionPartition.from_fractions(0.25, 0.5, 0.5, 0.25, SIZE)) == (16, 24, 32, 12)
    assert rectangle(RegionPartition.from_fractions(0.1, 0.1, 0.9, 0.9, SIZE)) == (6, 5, 58, 43)  # edges 6.4, 4.8
    assert rectangle(RegionPartition.from_fractions(9.5 / 64, 0, 0.25, 0.5, SIZE)) == (10, 0, 16, 24)  # half is up
    assert rectangle(RegionPartition.from_center(0.5, SIZE)) == (16, 12, 32, 24)


@pytest.mark.parametrize('box, message', [
    ((60, 0, 10, 10), r'outside the picture, which is 64 wide and 48 high'),
    ((0, 40, 10, 10), r'outside the picture, which is 64 wide and 48 high'),
    ((-1, 0, 10, 10), 'outside the picture'),
    ((0, -1, 10, 10), 'outside the picture'),
    ((100, 100, 5, 5), 'outside the picture'),
    ((0, 0, 0, 10), 'must be positive'),
    ((0, 0, 10, -3), 'must be positive'),
    ((0.5, 0, 10, 10), 'whole numbers.*use from_fractions'),
    ((0, 0, 64, 48), 'is full'),
])
def test_bad_boxes(box, message):
    with pytest.raises(RegionError, match=message):
        RegionPartition.from_box(*box, SIZE)


@pytest.mark.parametrize('box, message', [
    ((0.8, 0.0, 0.3, 0.5), 'outside the picture, which is 64 wide and 48 high'),
    ((0.0, 0.8, 0.3, 0.5), 'outside the picture'),
    ((0.0, 0.0, 1.5, 0.5), 'between 0 and 1'),
    ((-0.1, 0.0, 0.5, 0.5), 'between 0 and 1'),
    ((float('nan'), 0.0, 0.5, 0.5), 'between 0 and 1'),
    ((0.5, 0.5, 0.001, 0.5), 'smaller than a pixel of the picture, which is 64 wide and 48 high'),
    ((0.5, 0.5, 0.0, 0.5), 'must be positive'),
    ((0.0, 0.0, 1.0, 1.0), 'is full'),
])
def test_bad_fractions(box, message):
    with pytest.raises(RegionError, match=message):
        RegionPartition.from_fractions(*box, SIZE)


@pytest.mark.parametrize('fraction', [0.0, 1.0, -0.5, float('nan')])
def test_bad_centre(fraction):
    with pytest.raises(RegionError, match='needs a fraction between 0 and 1'):
        RegionPartition.from_center(fraction, SIZE)


# The partition

def test_partition_refuses_empty_full_and_unfit_masks():
    with pytest.raises(RegionError, match=r"'a' is empty: it has no pixel at 64 x 48 \(width x height\); paint"):
        RegionPartition(np.zeros(SIZE, dtype=bool), 'a')
    with pytest.raises(RegionError, match="'a' is full: it has all pixels at 64 x 48.*leave out"):
        RegionPartition(np.ones(SIZE, dtype=bool), 'a')
    with pytest.raises(RegionError, match=r'must be bool \[H, W\], got uint8'):
        RegionPartition(np.eye(3, dtype=np.uint8), 'a')
    with pytest.raises(RegionError, match=r'must be bool \[H, W\], got bool \[4\]'):
        RegionPartition(np.eye(4, dtype=bool)[0], 'a')
    with pytest.raises(RegionError, match=r'image_size is \(0, 8\), expected \(H, W\) of at least 1'):
        RegionPartition.from_box(0, 0, 1, 1, (0, 8))


@pytest.mark.parametrize('name', ['', '../up', 'a b', '.hidden', 'a/b', 'x' * 65, '-rf'])
def test_partition_refuses_names_that_are_not_file_safe(name):
    with pytest.raises(RegionError, match='not fit for a file name'):
        RegionPartition(LEFT, name)


def test_partition_keeps_its_own_mask():
    mask = LEFT.copy()
    region = RegionPartition(mask, 'a')
    mask[:] = True
    assert (region.mask == LEFT).all()
    with pytest.raises(ValueError, match='read-only'):
        region.mask[0, 0] = False


def test_set_operations():
    rng = np.random.default_rng(0)
    a, b, c = (RegionPartition(rng.random(SIZE) < 0.5, name) for name in 'abc')
    assert ((a | b).mask == (a.mask | b.mask)).all()
    assert ((a & b).mask == (a.mask & b.mask)).all()
    assert ((~a).mask == ~a.mask).all() and np.isclose(a.area + (~a).area, 1)
    assert ((~(a | b)).mask == (~a & ~b).mask).all()  # De Morgan
    assert ((a & (b | c)).mask == ((a & b) | (a & c)).mask).all()
    assert (a | b).name == 'a_or_b' and (a & ~b).name == 'a_and_not_b'
    with pytest.raises(RegionError, match="'a_and_not_a' is empty"):
        a & ~a
    with pytest.raises(RegionError, match="'a_or_not_a' is full"):
        a | ~a
    with pytest.raises(RegionError, match='pictures of different size'):
        a | RegionPartition(LEFT, 'left')
    with pytest.raises(TypeError):
        a | a.mask


def test_long_names_are_cut_and_stay_different():
    regions = [RegionPartition(LEFT, 'x' * 60 + end) for end in 'ab']
    first, second = ((region | region).name for region in regions)
    assert len(first) == len(second) == 64 and first != second


# Lower resolution

@pytest.mark.parametrize('h, w', [(6, 8), (3, 4), (2, 8), (4, 5), (5, 3)])
def test_at_is_the_majority_of_the_area(h, w):
    mask = np.random.default_rng(h * w).random((6, 8)) < 0.5
    assert (RegionPartition(mask, 'a').at(h, w) == dense_majority(mask, h, w)).all()


def test_at_counts_exactly_half_as_foreground():
    mask = np.zeros((4, 4), dtype=bool)
    mask[:2, 1] = True  # half of the top left 2 x 2 pixels
    mask[2, 2] = True  # a quarter of the bottom right ones
    assert RegionPartition(mask, 'a').at(2, 2).tolist() == [[True, False], [False, False]]


def test_at_refuses_what_vanishes():
    dot = RegionPartition.from_box(5, 5, 1, 1, SIZE)
    with pytest.raises(RegionError, match='is empty.*at 8 x 6.*has 1 of 3072 pixels.*: raise --resolution'):
        dot.at(6, 8)
    with pytest.raises(RegionError, match='is full.*at 8 x 6.*has 3071 of 3072 pixels.*raise --resolution'):
        (~dot).at(6, 8)
    for h, w in [(0, 8), (6, 65), (49, 64)]:
        with pytest.raises(RegionError, match='choose a resolution between 1 and that of the picture'):
            dot.at(h, w)


# Presets

@pytest.mark.parametrize('name, box', [
    ('left_eye', (76, 110, 38, 20)), ('right_eye', (140, 110, 38, 20)), ('eyes', (71, 110, 115, 20)),
    ('nose', (108, 122, 46, 40)), ('mouth', (92, 169, 70, 30)), ('chin', (75, 196, 110, 42)),
    ('eyebrows', (67, 98, 118, 15)), ('center0', (80, 80, 80, 80)), ('center1', (55, 55, 130, 130)),
    ('center2', (20, 20, 200, 200)), ('left_side', (0, 0, 128, 256)), ('top_side', (0, 0, 256, 128)),
    ('head0', (80, 65, 70, 49)), ('head1', (75, 69, 70, 48)),
])
def test_published_presets(name, box):
    assert rectangle(RegionPartition.from_preset(name, (256, 256))) == box


@pytest.mark.parametrize('name', PRESETS)
def test_presets_agree_across_resolutions(name):
    small = RegionPartition.from_preset(name, (256, 256))
    large = RegionPartition.from_preset(name, (1024, 1024))
    assert (large.at(256, 256) == small.mask).all()
    x, y, width, height = rectangle(small)
    assert rectangle(RegionPartition.from_preset(name, (512, 256))) == (x, 2 * y, width, 2 * height)
    # at 40 pixels each edge may round by half a pixel of its own
    coarse = RegionPartition.from_preset(name, (40, 40))
    for value, scaled in zip((x, y, x + width, y + height), edges(coarse), strict=True):
        assert abs(scaled - value * 40 / 256) <= 0.5


def edges(region):
    x, y, width, height = rectangle(region)
    return x, y, x + width, y + height


def test_face_presets_lie_where_they_say():
    """Anatomy by the published boxes: left is the picture's left, ours lie between theirs."""
    boxes = {name: edges(RegionPartition.from_preset(name, (256, 256))) for name in FACE_PRESETS}
    masks = {name: RegionPartition.from_preset(name, (256, 256)).mask for name in FACE_PRESETS}
    for side in ('eye', 'cheek'):
        assert boxes[f'left_{side}'][2] < 128 < boxes[f'right_{side}'][0]
    assert not (masks['left_eye'] | masks['right_eye'])[~masks['eyes']].any()
    downwards = ['hair', 'forehead', 'eyebrows', 'eyes', 'nose', 'mouth', 'chin']
    tops = [boxes[name][1] for name in downwards]
    assert tops == sorted(tops)
    assert boxes['hair'][3] <= boxes['face'][1] and boxes['forehead'][3] <= boxes['eyebrows'][1]
    for name in [*downwards[1:], 'left_cheek', 'right_cheek']:
        assert not masks[name][~masks['face']].any()
    for name in ('left_cheek', 'right_cheek'):
        assert not masks[name][masks['nose'] | masks['eyes']].any()
    assert not masks['eyes'][~masks['glasses']].any()
    assert not set(FACE_PRESETS) & set(BIGGAN_PRESETS)


def test_bad_presets():
    with pytest.raises(RegionError, match="no preset region 'mouht'.*did you mean 'mouth'.*presets: left_eye, .*head1"):
        RegionPartition.from_preset('mouht', SIZE)
    with pytest.raises(RegionError, match="'eyes' is smaller than a pixel of the picture, which is 4 wide and 4 high"):
        RegionPartition.from_preset('eyes', (4, 4))
