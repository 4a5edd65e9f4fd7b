"""Regions: exact pixels from boxes, presets, masks and label maps; the partition at lower resolution; every refusal."""

from __future__ import annotations

import re
import warnings
from fractions import Fraction

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from resefa_plugin.errors import RegionError
from resefa_plugin.regions.partition import REGION_HELP, RegionPartition, parse_region
from resefa_plugin.regions.presets import BIGGAN_PRESETS, FACE_PRESETS, PRESETS

SIZE = (48, 64)  # (H, W): not square, so that exchanged axes show

LEFT = np.zeros((6, 8), dtype=bool)
LEFT[:, :3] = True


def rectangle(region):
    """(x, y, width, height) of a region that is one box."""
    rows, cols = np.flatnonzero(region.mask.any(axis=1)), np.flatnonzero(region.mask.any(axis=0))
    x, y, width, height = cols[0], rows[0], len(cols), len(rows)
    assert region.mask[y:y + height, x:x + width].all() and region.mask.sum() == width * height
    return x, y, width, height


def save(image, path, **options):
    image.save(path, **options)
    return str(path)


@pytest.fixture
def mask_file(tmp_path):
    return save(Image.fromarray(np.uint8(255 * LEFT)), tmp_path / 'left.png')


# Boxes

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
    with pytest.raises(RegionError, match='must be positive'):
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

def dense_majority(mask, h, w):
    """At least half foreground, pixel by pixel, in rational numbers."""
    def overlaps(n, size):
        step = Fraction(n, size)
        return np.array([[max(Fraction(0), min((i + 1) * step, Fraction(j + 1)) - max(i * step, Fraction(j)))
                          for j in range(n)] for i in range(size)])

    H, W = mask.shape
    area = overlaps(H, h) @ mask.astype(object) @ overlaps(W, w).T
    return (2 * area >= Fraction(H * W, h * w)).astype(bool)


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
    for value, scaled in zip((x, y, x + width, y + height), edges(RegionPartition.from_preset(name, (40, 40)))):
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


# Masks

GREY = np.uint8(255 * LEFT)
OPAQUE = np.full_like(GREY, 255)


def constant_colour(value):
    return np.dstack([np.full((6, 8, 3), value, dtype=np.uint8), GREY])


MASKS = {
    'grey': Image.fromarray(GREY),
    'half-grey': Image.fromarray(np.where(LEFT, 128, 127).astype(np.uint8)),
    'zero-one': Image.fromarray(LEFT.astype(np.uint8)),
    'one-bit': Image.fromarray(LEFT),
    '16-bit': Image.fromarray(np.where(LEFT, 32768, 32767).astype(np.uint16)),
    'rgb': Image.fromarray(np.dstack([GREY] * 3)),
    'palette': Image.fromarray(GREY).convert('P'),
    'opaque-rgba': Image.fromarray(np.dstack([GREY] * 3 + [OPAQUE])),
    'white-on-transparent': Image.fromarray(constant_colour(255)),
    'black-on-transparent': Image.fromarray(constant_colour(0)),
    'grey-alpha': Image.merge('LA', [Image.fromarray(GREY), Image.fromarray(OPAQUE)]),
    'hidden-colour': Image.fromarray(np.dstack([OPAQUE - np.arange(8, dtype=np.uint8)] * 3 + [GREY])),
}


@pytest.mark.parametrize('kind', MASKS)
def test_mask_files(kind, tmp_path):
    region = RegionPartition.from_mask(save(MASKS[kind], tmp_path / f'{kind}.png'), (6, 8))
    assert (region.mask == LEFT).all() and region.name == kind


def test_mask_with_a_transparent_palette_entry(tmp_path):
    image = Image.fromarray(np.where(LEFT, 1, 2).astype(np.uint8))
    image.putpalette([0, 0, 0, 255, 255, 255, 255, 255, 255])
    region = RegionPartition.from_mask(save(image, tmp_path / 'p.png', transparency=2), (6, 8))
    assert image.mode == 'P' and (region.mask == LEFT).all()


@pytest.mark.parametrize('array', [LEFT, GREY, LEFT.astype(np.int64), LEFT * np.uint16(65535), LEFT * np.float32(0.5)],
                         ids=lambda array: array.dtype.name)
def test_mask_arrays(array):
    region = RegionPartition.from_mask(array, (6, 8))
    assert (region.mask == LEFT).all() and region.name == 'mask'


@pytest.mark.parametrize('size', [(12, 16), (3, 4), (48, 64), (9, 12)])
def test_mask_is_resized_to_the_picture(size, mask_file):
    assert (RegionPartition.from_mask(mask_file, size).mask == dense_majority(LEFT, *size)).all()


def test_mask_aspect(mask_file):
    for size in [(8, 6), (6, 6), (256, 256), (600, 900)]:
        message = rf'is 8 x 6 \(width x height\), the picture {size[1]} x {size[0]}: .*crop or pad'
        with pytest.raises(RegionError, match=message):
            RegionPartition.from_mask(mask_file, size)
    with pytest.raises(RegionError, match='is 256 x 255'):
        RegionPartition.from_mask(np.eye(255, 256, dtype=bool), (1024, 1024))
    # 683 / 2 = 341.5: whichever way the other program rounded
    for height in (341, 342):
        assert RegionPartition.from_mask(np.eye(height, 512, dtype=bool), (683, 1024)).image_size == (683, 1024)


def test_mask_without_foreground_or_background(tmp_path):
    black = save(Image.new('L', (8, 6)), tmp_path / 'black.png')
    with pytest.raises(RegionError, match="'black' is empty"):
        RegionPartition.from_mask(black, (6, 8))
    dim = save(Image.new('L', (8, 6), 9), tmp_path / 'dim.png')
    with pytest.raises(RegionError, match='dim.png.* is empty: its brightest value is 9.*half of 255.*labels:FILE'):
        RegionPartition.from_mask(dim, (6, 8))
    white = save(Image.new('RGBA', (8, 6), 'white'), tmp_path / 'white.png')
    with pytest.raises(RegionError, match="'white' is full"):
        RegionPartition.from_mask(white, (6, 8))


@pytest.mark.parametrize('array, message', [
    (np.full((6, 8), 7), 'must be booleans, uint8, uint16 or floats from 0 to 1, got int64'),
    (np.full((6, 8), 255.0), 'must have values from 0 to 1.0, got 255.0'),
    (np.full((6, 8), np.nan), 'must have values from 0 to 1.0, got nan'),
    (np.full((6, 8), None), 'got object'),
    (np.ones((6, 8, 3)), r'must be \[h, w\], got \[6, 8, 3\]'),
    (np.ones((0, 8)), r'must be \[h, w\], got \[0, 8\]'),
])
def test_bad_mask_arrays(array, message):
    with pytest.raises(RegionError, match=message):
        RegionPartition.from_mask(array, (6, 8))


def test_bad_mask_files(tmp_path, mask_file):
    with pytest.raises(RegionError, match="nowhere.png' is not there: check the path"):
        RegionPartition.from_mask(tmp_path / 'nowhere.png', (6, 8))
    with pytest.raises(RegionError, match='is a folder, expected an image file'):
        RegionPartition.from_mask(tmp_path, (6, 8))
    text, empty, cut = tmp_path / 'text.png', tmp_path / 'empty.png', tmp_path / 'cut.png'
    text.write_text('not an image')
    empty.write_bytes(b'')
    whole = (tmp_path / 'left.png').read_bytes()
    cut.write_bytes(whole[:len(whole) // 2])
    for path in (text, empty, cut):
        with pytest.raises(RegionError, match=f'{path.name}.* is not an image that can be read .*expected a PNG mask'):
            RegionPartition.from_mask(path, (6, 8))


@pytest.mark.parametrize('limit', [20, 40], ids=['error', 'warning'])
def test_decompression_bomb(limit, mask_file, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', limit)  # the mask has 48 pixels; Pillow raises above twice the limit
    filters = list(warnings.filters)
    with pytest.raises(RegionError, match='left.png.* has too many pixels for a mask .*resize it'):
        RegionPartition.from_mask(mask_file, (6, 8))
    assert warnings.filters == filters


# Label maps

LABELS = np.array([[0, 0, 1, 1], [0, 7, 7, 1], [2, 2, 2, 2]], dtype=np.uint8)


def palette_image():
    image = Image.fromarray(LABELS)
    image.putpalette([0, 0, 0] + [40, 40, 40] * 9)  # equal colours: the indices are what counts
    return image


@pytest.mark.parametrize('image', [Image.fromarray(LABELS), palette_image(), Image.fromarray(LABELS.astype(np.uint16)),
                                   Image.fromarray(np.dstack([LABELS] * 3))], ids=['grey', 'palette', '16-bit', 'rgb'])
def test_label_files(image, tmp_path):
    region = RegionPartition.from_labels(save(image, tmp_path / 'parts.png'), [1, 7], (3, 4))
    assert (region.mask == ((LABELS == 1) | (LABELS == 7))).all() and region.name == 'parts_1_7'


@pytest.mark.parametrize('dtype', [np.int64, np.uint8, np.int16])
def test_label_npy(dtype, tmp_path):
    np.save(tmp_path / 'parts.npy', LABELS.astype(dtype))
    region = RegionPartition.from_labels(tmp_path / 'parts.npy', [2, 99], (3, 4))  # 99 is passed over
    assert (region.mask == (LABELS == 2)).all()


def test_labels_are_resized_to_the_nearest():
    region = RegionPartition.from_labels(LABELS, [7], (6, 8))
    assert (region.mask == np.kron(LABELS == 7, np.ones((2, 2), dtype=bool))).all() and region.name == 'labels_7'
    enlarged = np.zeros((9, 12), dtype=np.uint8)
    enlarged[1::3, 1::3] = LABELS  # the centres of the pixels
    assert (RegionPartition.from_labels(enlarged, [7], (3, 4)).mask == (LABELS == 7)).all()
    assert RegionPartition.from_labels(LABELS == 7, [1], (3, 4)).area == 2 / 12


def test_bad_labels(tmp_path, mask_file):
    with pytest.raises(RegionError, match=r'none of the labels \[3, -1\]; labels present: 0, 1, 2, 7$'):
        RegionPartition.from_labels(LABELS, [3, -1], (3, 4))
    with pytest.raises(RegionError, match='labels present: 0, 1, .*, 39, ...$'):
        RegionPartition.from_labels(np.arange(60).reshape(6, 10), [77], (6, 10))
    with pytest.raises(RegionError, match='is full'):
        RegionPartition.from_labels(LABELS, [0, 1, 2, 7], (3, 4))
    with pytest.raises(RegionError, match='aspect ratios differ'):
        RegionPartition.from_labels(LABELS, [1], (4, 3))
    with pytest.raises(RegionError, match=r'must hold whole numbers \[h, w\], got float64 \[3, 4\]'):
        RegionPartition.from_labels(LABELS / 2, [1], (3, 4))
    with pytest.raises(RegionError, match=r'must hold whole numbers \[h, w\], got uint8 \[1, 3, 4\]'):
        RegionPartition.from_labels(LABELS[None], [1], (3, 4))
    colours = save(Image.fromarray(np.dstack([LABELS, LABELS, LABELS + 1])), tmp_path / 'colours.png')
    with pytest.raises(RegionError, match=r'has colours \(RGB\), expected label numbers'):
        RegionPartition.from_labels(colours, [1], (3, 4))
    lossy = save(Image.fromarray(LABELS), tmp_path / 'lossy.jpg')
    with pytest.raises(RegionError, match='is a JPEG file, which alters label numbers'):
        RegionPartition.from_labels(lossy, [1], (3, 4))


class Opened:
    """Leaves a trace when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), 'w'))


def test_npy_with_objects_is_never_unpickled(tmp_path):
    trace = tmp_path / 'trace'
    np.save(tmp_path / 'evil.npy', np.array([[Opened(trace)]], dtype=object), allow_pickle=True)
    with pytest.raises(RegionError, match='files with Python objects are never loaded'):
        RegionPartition.from_labels(tmp_path / 'evil.npy', [1], (3, 4))
    assert not trace.exists()


def test_bad_npy_files(tmp_path):
    with pytest.raises(RegionError, match='none.npy.* is not there'):
        RegionPartition.from_labels(tmp_path / 'none.npy', [1], (3, 4))
    path = tmp_path / 'bad.npy'
    np.save(path, LABELS)
    huge = path.read_bytes().replace(b"(3, 4)", b"(9999999999, 4)")[:-9]  # a header that claims 40 GB
    for content in (b'', b'text', huge):
        path.write_bytes(content)
        with pytest.raises(RegionError, match='bad.npy.* is not a .npy file of numbers'):
            RegionPartition.from_labels(path, [1], (3, 4))
    with path.open('wb') as file:
        np.savez(file, LABELS)
    with pytest.raises(RegionError, match='is an archive of arrays, expected one array'):
        RegionPartition.from_labels(path, [1], (3, 4))


# The command line

@pytest.mark.parametrize('spec, box', [
    ('10,20,5,7', (10, 20, 5, 7)),
    (' 10, 20, 5, 7 ', (10, 20, 5, 7)),
    ('0,0,1,1', (0, 0, 1, 1)),
    ('0,0,1,0.5', (0, 0, 64, 24)),
    ('.25,.5,.5,.25', (16, 24, 32, 12)),
    ('box:x=10,y=20,w=5,h=7', (10, 20, 5, 7)),
    ('box:h=0.25,w=0.5,y=0.5,x=0.25', (16, 24, 32, 12)),
    ('center:0.5', (16, 12, 32, 24)),
    ('left_side', (0, 0, 32, 48)),
])
def test_parse_boxes_and_presets(spec, box):
    assert rectangle(parse_region(spec, SIZE)) == box


def preset(name):
    return RegionPartition.from_preset(name, (256, 256)).mask


@pytest.mark.parametrize('spec, mask, name', [
    ('mouth+nose', preset('mouth') | preset('nose'), 'mouth_or_nose'),
    ('face & ~eyes', preset('face') & ~preset('eyes'), 'face_and_not_eyes'),
    ('~mouth', ~preset('mouth'), 'not_mouth'),
    ('~ ~mouth', preset('mouth'), 'mouth'),
    ('mouth+eyes&left_eye', preset('mouth') | preset('left_eye'), 'mouth_or_eyes_and_left_eye'),
    ('eyes&left_eye+mouth&chin', preset('left_eye') | preset('mouth') & preset('chin'), None),
    ('smile = mouth+left_cheek+right_cheek', preset('mouth') | preset('left_cheek') | preset('right_cheek'), 'smile'),
    ('a-1=~10,20,5,7', ~RegionPartition.from_box(10, 20, 5, 7, (256, 256)).mask, 'a-1'),
])
def test_parse_operators(spec, mask, name):
    region = parse_region(spec, (256, 256))
    assert (region.mask == mask).all()
    assert name is None or region.name == name


def test_parse_files(tmp_path, mask_file, monkeypatch):
    np.save(tmp_path / 'parts.npy', np.where(LEFT, 5, 3))
    monkeypatch.chdir(tmp_path)
    for spec in ['mask:left.png', 'left.png', mask_file, f'mask:{mask_file}', 'lips=left.png', '~labels:parts.npy:3',
                 'labels:parts.npy:5', 'labels:parts.npy: 1, 5', f'labels:{tmp_path}/parts.npy:5,-2',
                 'left.png&labels:parts.npy:5']:
        assert (parse_region(spec, (6, 8)).mask == LEFT).all(), spec
    assert parse_region('lips=mask:left.png', (6, 8)).name == 'lips'
    assert (parse_region('labels:parts.npy:3&~mask:left.png', (6, 8)).mask == ~LEFT).all()
    assert (parse_region('mask:left.png&0,0,8,2', (6, 8)).mask == LEFT & (np.arange(6) < 2)[:, None]).all()


@pytest.mark.parametrize('name', ['a+b.png', 'a&b.png', 'a=b.png', '~x.png', 'a,b.png', 'a b:c.png', 'C:x.png', 'a+b'])
def test_existing_file_wins_over_operators(name, tmp_path, mask_file, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / 'left.png').read_bytes())
    save(Image.fromarray(np.uint8(255 * ~LEFT)), tmp_path / 'right.png')
    for other in {'a', 'b.png', 'x.png', 'c.png'} - {name}:  # what the parts of the name would be read as
        (tmp_path / other).write_bytes((tmp_path / 'right.png').read_bytes())
    for spec in [name, f'mask:{name}', f'{name}&~mask:b.png', f'mask:left.png&{name}', f'mask:{name}&0,0,8,5+{name}']:
        assert (parse_region(spec, (6, 8)).mask == LEFT).all(), spec
    assert parse_region(f'lips={name}', (6, 8)).name == 'lips'


def test_preset_wins_over_a_file_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mouth').write_text('not an image')
    assert (parse_region('mouth', (256, 256)).mask == preset('mouth')).all()
    with pytest.raises(RegionError, match='not an image'):
        parse_region('mask:mouth', (256, 256))


def test_home_folder(tmp_path, mask_file, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))
    for spec in ['~/left.png', 'mask:~/left.png', '0,0,8,5&~/left.png+~/left.png']:
        assert (parse_region(spec, (6, 8)).mask == LEFT).all()
    with pytest.raises(RegionError, match=re.escape(str(tmp_path / 'nowhere.png'))):
        parse_region('~/nowhere.png', (6, 8))
    for spec in ['~~/left.png', '~mask:~/left.png', f'~mask:{mask_file}']:
        assert (parse_region(spec, (6, 8)).mask == ~LEFT).all()


@pytest.mark.parametrize('spec, message', [
    ('', 'a region is missing'),
    ('mouth+', 'a region is missing'),
    ('&mouth', 'a region is missing'),
    ('~', 'a region is missing'),
    ('lips=', 'a region is missing'),
    ('mouht', r"^region 'mouht': 'mouht' is not a region \(did you mean 'mouth'\?\); presets: left_eye,.*box:\.\.\.,"),
    ('mouth+nise', "'nise' is not a region.*did you mean 'nose'"),
    ('qqqq', "'qqqq' is not a region; presets"),
    ('msk:face.png', r"no form of region 'msk:' \(did you mean 'mask'\?\); forms: box, center, mask, labels"),
    ('lables:face.png:1,2', "did you mean 'labels'"),
    ('1,2,3', 'four numbers x,y,width,height .*, got 3'),
    ('1,2,3,4,5', 'four numbers .*, got 5'),
    ('1,2,x,4', "'x' is not a number"),
    ('1,2,,4', "'' is not a number"),
    ('1,2,3.0,4', 'fractions of the picture lie between 0 and 1; pixels are four whole numbers'),
    ('nan,0.1,0.1,0.1', 'between 0 and 1'),
    ('0,0,inf,1', 'between 0 and 1'),
    ('0,0,' + '9' * 5000 + ',1', 'between 0 and 1'),
    ('0,0,10,0', 'must be positive'),
    ('60,0,10,10', 'outside the picture, which is 64 wide and 48 high'),
    ('box:1,2,3,4', 'must give each of x=, y=, w= and h= once'),
    ('box:x=1,y=2,w=3', 'must give each'),
    ('box:x=1,y=2,w=3,w=4', 'must give each'),
    ('box:x=1,y=2,w=3,h=4,x=1', 'must give each'),
    ('center:big', "'big' is not a number"),
    ('center:2', 'needs a fraction between 0 and 1'),
    ('mask:', 'is not there'),
    ('mask:nowhere.png', "file 'nowhere.png' is not there"),
    ('nowhere.png', "file 'nowhere.png' is not there"),
    ('C:\\masks\\nowhere.png', 'nowhere.png.* is not there'),
    ('some/where', "file 'some/where' is not there"),
    ('labels:face.png', 'must be labels:FILE:NUMBERS'),
    ('labels:face.png:' + '9' * 5000, 'must be labels:FILE:NUMBERS'),
    ('labels:face.png:a', 'must be labels:FILE:NUMBERS'),
    ('labels:face.png:1', "file 'face.png' is not there"),
    ('my lips=0,0,9,9', "name 'my lips' is not fit for a file name"),
    ('=0,0,9,9', "name '' is not fit for a file name"),
    ('0,0,9,9&20,20,9,9', r"^region '0,0,9,9&20,20,9,9': region 'box_0_0_9_9_and_box_20_20_9_9' is empty"),
    ('left_side+~left_side', 'is full'),
    ('\0', 'is not a region'),
])
def test_parse_errors(spec, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RegionError, match=message):
        parse_region(spec, SIZE)


def test_help_states_the_axis_order_and_every_form():
    command = click.Command('factorize', params=[click.Option(['--region'], help=REGION_HELP, metavar='SPEC')])
    shown = CliRunner().invoke(command, ['--help']).output
    forms = ['x,y,width,height', 'x from the left, y from the top', 'mask:FILE', 'labels:FILE:1,2,5', 'center:0.5']
    for text in [*forms, *PRESETS]:
        assert text in shown
    assert max(len(line) for line in shown.splitlines()) <= 100
    assert rectangle(parse_region('box:x=0.3,y=0.6,w=0.4,h=0.2', (10, 10))) == (3, 6, 4, 2)  # the help's example
