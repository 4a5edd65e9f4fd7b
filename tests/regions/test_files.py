"""Masks and label maps: every kind of file, brought to the size of the picture, and every refusal."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image

from resefa_plugin.errors import RegionError
from resefa_plugin.machine.images import webp_size
from resefa_plugin.regions.partition import RegionPartition
from tests.helpers.regions import LEFT, dense_majority, save

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
        with pytest.raises(RegionError, match=f'{path.name}.* is not an image that can be read .*expected a mask'):
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
    with pytest.raises(RegionError, match='holds Python objects, whose loading would execute code: refused'):
        RegionPartition.from_labels(tmp_path / 'evil.npy', [1], (3, 4))
    assert not trace.exists()


def test_only_pixels_are_read_and_no_more_than_a_mask_needs(tmp_path):
    """A PostScript file would be handed to another program, and pixels are counted before there is room for them."""
    (tmp_path / 'mask.eps').write_bytes(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 3\n%%EndComments\nshowpage\n')
    with pytest.raises(RegionError, match='is not an image that can be read'):
        RegionPartition.from_mask(tmp_path / 'mask.eps', (3, 4))
    Image.new('1', (8192, 4096), 1).save(tmp_path / 'mask.png')
    with pytest.raises(RegionError, match='is 8192 x 4096 pixels, more than any mask needs .*resize it'):
        RegionPartition.from_mask(tmp_path / 'mask.png', (4096, 8192))


def test_bad_npy_files(tmp_path):
    with pytest.raises(RegionError, match='none.npy.* is not there'):
        RegionPartition.from_labels(tmp_path / 'none.npy', [1], (3, 4))
    path = tmp_path / 'bad.npy'
    np.save(path, LABELS)
    huge = path.read_bytes().replace(b"(3, 4)", b"(9999999999, 4)")[:-9]  # a header that claims 40 GB
    for content, match in ((b'', 'is empty'), (b'text', 'is a text'), (huge, 'header promises an array')):
        path.write_bytes(content)
        with pytest.raises(RegionError, match=f'bad.npy.*{match}'):
            RegionPartition.from_labels(path, [1], (3, 4))
    with path.open('wb') as file:
        np.savez(file, LABELS)
    with pytest.raises(RegionError, match='it is an archive of numpy arrays'):
        RegionPartition.from_labels(path, [1], (3, 4))


@pytest.mark.parametrize('options', [{'lossless': True}, {'lossless': False}, {'exif': b'Exif\0\0x'}],
                         ids=['VP8L', 'VP8', 'VP8X'])
def test_the_size_of_a_webp_is_known_before_it_is_opened(tmp_path, options):
    """Pillow makes room for all pixels when it opens one, and a forged file may claim 268 million."""
    path = tmp_path / 'mask.webp'
    Image.new('RGB', (37, 1021)).save(path, **options)
    assert webp_size(path.read_bytes()[:32]) == (37, 1021)
    assert webp_size(b'RIFF') is None and webp_size(b'\x89PNG' * 8) is None
    Image.new('L', (6000, 4000)).save(path, **options)
    with pytest.raises(RegionError, match='is 6000 x 4000 pixels, more than any mask needs'):
        RegionPartition.from_mask(path, (4000, 6000))


@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
def test_masks_and_label_maps_are_turned_as_they_are_shown(orientation, tmp_path):
    """Every viewer turns a picture by what its camera says, so what a person painted is there."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = np.rot90(LEFT, {1: 0, 3: 2, 6: 3, 8: 1}[orientation])
    path = tmp_path / 'turned.png'
    Image.fromarray(GREY).save(path, exif=exif)
    assert (RegionPartition.from_mask(path, turned.shape).mask == turned).all()
    assert (RegionPartition.from_labels(path, [255], turned.shape).mask == turned).all()
