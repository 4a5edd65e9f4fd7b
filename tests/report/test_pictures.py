"""Pictures: exact values, geometry, and what must not change."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from resefa_plugin import RegionPartition
from resefa_plugin.errors import NonFiniteError, RegionError, ResefaError
from resefa_plugin.report import colour_scale, pictures

COLOURS = [(250, 20, 20), (20, 250, 20), (20, 20, 250), (240, 230, 10), (10, 240, 230), (230, 10, 240), (120, 60, 0)]
# The colour map is set at 8 anchors; between them lightness is interpolated in sRGB. Inferno itself bends as much.
LIGHTNESS_TOLERANCE = 3.0


def plain(colour, size=(48, 48)):
    return Image.new('RGB', size, colour)


def noise(height=96, width=80, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def box(height=96, width=80):
    mask = np.zeros((height, width), bool)
    mask[30:60, 20:50] = True
    return mask


def where(picture, colour):
    """Rows and columns of the pixels of exactly this colour."""
    return np.nonzero((np.asarray(picture) == colour).all(-1))


def luminance(rgb):
    s = np.asarray(rgb, float) / 255
    return np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def test_to_uint8_exact():
    values = torch.tensor([-2.0, -1.0, -1 / 127.5, 0.0, 0.5, 1.0, 2.0])
    out = pictures.to_uint8(values.reshape(1, 1, 1, -1))
    assert out.dtype == np.uint8 and out.shape == (1, 1, 7, 3)
    assert out[0, 0, :, 0].tolist() == [0, 0, 127, 128, 191, 255, 255]
    assert (out == out[..., :1]).all()


def test_to_uint8_channels_last():
    images = torch.linspace(-1, 1, 2 * 3 * 4 * 5, dtype=torch.float64, requires_grad=True).reshape(2, 3, 4, 5)
    expected = np.floor(np.clip(images.detach().numpy() * 127.5 + 128, 0, 255)).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(pictures.to_uint8(images), expected)


@pytest.mark.parametrize('shape', [(1, 2, 4, 4), (1, 5, 4, 4), (3, 4, 4)])
def test_to_uint8_refuses_shape(shape):
    with pytest.raises(ResefaError, match='C = 1, 3 or 4'):
        pictures.to_uint8(torch.zeros(shape))


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_to_uint8_refuses_non_finite(bad):
    with pytest.raises(NonFiniteError, match='lower the strength'):
        pictures.to_uint8(torch.full((1, 3, 2, 2), bad))


@pytest.mark.parametrize('value, text', [
    (0, '0'), (8.7, '8.7'), (1.65, '1.65'), (0.4, '0.4'), (10, '10'), (1234.5, '1230'), (-3, '-3'), 
    (1.23e-3, '0.00123'), (1e-5, '1e-5'), (-1.234e-12, '-1.23e-12'), (2e7, '2e7'), (np.nan, 'not finite'),
    (np.inf, 'not finite')])
def test_significant(value, text):
    assert pictures.significant(value) == text


def test_strength_captions():
    assert pictures.strength_captions([-3, -1.5, 0, 1.5, 3.0]) == ['-3', '-1.5', '0', '+1.5', '+3']


@pytest.mark.parametrize('as_mask', [np.asarray, torch.as_tensor, Image.fromarray], ids=['array', 'tensor', 'pillow'])
def test_overlay_changes_only_what_it_should(as_mask):
    image, mask = noise(), box()
    before = np.asarray(image, float)
    after = np.asarray(pictures.region_overlay(image, as_mask(mask)), float)
    assert (np.asarray(image) == before).all()
    core = np.zeros_like(mask)
    core[31:59, 21:49] = True                              # inside, without the light line
    rest = np.ones_like(mask)
    rest[29:61, 19:51] = False                             # outside, without the dark line
    assert (after[core & mask] != before[core & mask]).any()
    np.testing.assert_allclose(after[core], before[core] * 0.86 + np.array([0, 98, 155]) * 0.14, atol=0.51)
    np.testing.assert_allclose(after[rest], before[rest] * 0.76, atol=0.51)


@pytest.mark.parametrize('level', [0, 128, 255])
def test_overlay_outline_is_visible_on_any_picture(level):
    after = np.asarray(pictures.region_overlay(plain((level,) * 3, (80, 96)), box()))
    light, dark, inside, outside = after[30, 35], after[29, 35], after[45, 35], after[5, 5]
    contrasts = [(max(luminance(a), luminance(b)) + 0.05) / (min(luminance(a), luminance(b)) + 0.05)
                 for a, b in itertools.product((light, dark), (inside, outside))]
    assert max(contrasts) > 4.5
    assert luminance(light) > 0.9 and luminance(dark) < 0.02


def test_overlay_outlines_a_region_at_the_border():
    mask = np.zeros((96, 80), bool)
    mask[:, :40] = True
    after = np.asarray(pictures.region_overlay(plain((90, 90, 90), (80, 96)), mask))
    assert (after[:, 0] == 255).all() and (after[0, :40] == 255).all() and (after[:, 40] == pictures.INK).all()


@pytest.mark.parametrize('shape', [(80, 96), (96,), (1, 96, 80)])
def test_mask_of_another_size(shape):
    with pytest.raises(RegionError, match='the size of the picture'):
        pictures.region_overlay(noise(), np.ones(shape))


def test_strip_geometry():
    picture = pictures.strip([plain(c) for c in COLOURS], pictures.strength_captions(range(-3, 4)), 'title', tile=96)
    lefts, tops = [], []
    for colour in COLOURS:
        rows, columns = where(picture, colour)
        assert len(rows) == 96 * 96 and np.ptp(rows) == 95 and np.ptp(columns) == 95
        lefts.append(columns.min())
        tops.append(rows.min())
    assert len(set(tops)) == 1 and len(set(np.diff(lefts))) == 1 and lefts[1] - lefts[0] > 96
    assert picture.width == lefts[-1] + 96 + lefts[0]      # equal margins
    below = np.asarray(picture)[tops[0] + 96 + 3:]
    for left in lefts:
        assert (below[:, left:left + 96] < 200).any()      # a caption under each


def test_strip_frames_only_the_unedited_picture():
    captions = ['-1', '0', '+1']
    array = np.asarray(pictures.strip([plain(c) for c in COLOURS[:3]], captions, tile=96))
    for colour, caption in zip(COLOURS[:3], captions, strict=True):
        rows, columns = where(array, colour)
        framed = (array[rows.min() - 1, columns.min():columns.max()] == pictures.INK).all()
        assert framed == (caption == '0')


@pytest.mark.parametrize('size, tile, expected', [
    ((1024, 1024), 192, (192, 192)), ((1024, 512), 192, (192, 96)), ((32, 32), 100, (96, 96)),
    ((1000, 1), 100, (100, 1))])
def test_thumbnail_size(size, tile, expected):
    assert pictures.thumbnail(plain((7, 8, 9), size), tile).size == expected


def test_thumbnail_repeats_small_pixels():
    image = noise(8, 8)
    doubled = np.asarray(image).repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(np.asarray(pictures.thumbnail(image, 16)), doubled)


def test_contact_sheet_geometry():
    rows = [[plain(c, (64, 32)) for c in COLOURS[:3]], [plain(c, (64, 32)) for c in COLOURS[3:6]]]
    sheet = pictures.contact_sheet(rows, ['1\neigenvalue 8.7', 'a label that is far too long ' * 9], ['-1', '0', '+1'],
                                   'a title that is far too long for this sheet ' * 9, tile=64)
    corner = {c: [x.min() for x in where(sheet, c)] for c in COLOURS[:6]}
    assert all(len(where(sheet, c)[0]) == 64 * 32 for c in COLOURS[:6])
    for above, under in zip(COLOURS[:3], COLOURS[3:6], strict=True):
        assert corner[above][1] == corner[under][1] and corner[under][0] > corner[above][0] + 32
    array = np.asarray(sheet)
    left = corner[COLOURS[0]][1]
    for colour in (COLOURS[0], COLOURS[3]):
        top = corner[colour][0]
        assert (array[top:top + 32, :left - 2] < 200).any()  # a label beside each row
    assert (array[corner[COLOURS[1]][0] + 33, corner[COLOURS[1]][1] + 9] == 255).all()  # the frame is not filled


@pytest.mark.parametrize('captions', [['a'], ['a', 'b', 'c'], []])
def test_strip_refuses_counts(captions):
    with pytest.raises(ResefaError, match='one picture for each label'):
        pictures.strip([plain(COLOURS[0])] * 2, captions)


def test_sheet_refuses_ragged_rows_and_sizes():
    with pytest.raises(ResefaError, match='one picture for each label'):
        pictures.contact_sheet([[plain(COLOURS[0])] * 2, [plain(COLOURS[0])]], ['a', 'b'], ['c', 'd'])
    with pytest.raises(ResefaError, match='one picture for each label'):
        pictures.contact_sheet([], [], ['c'])
    with pytest.raises(ResefaError, match='expected one size'):
        pictures.strip([plain(COLOURS[0]), plain(COLOURS[0], (9, 9))], ['a', 'b'])


def test_colours_rise_evenly_in_lightness():
    t = np.linspace(0, 1, 101)
    lum = luminance(colour_scale.colours(t))
    lightness = np.where(lum > 216 / 24389, 116 * np.cbrt(lum) - 16, lum * 24389 / 27)
    assert (np.diff(lightness) > 0).all()
    np.testing.assert_allclose(lightness, t * lightness[-1], atol=LIGHTNESS_TOLERANCE)


@pytest.mark.parametrize('level', [0, 90, 255])
def test_heat_map_is_monotone_in_change(level):
    change = torch.linspace(0, 0.2, 80).expand(3, 96, 80)
    mask = np.zeros((96, 80), bool)
    mask[80:90] = True
    heat = np.asarray(pictures.heat_map(change, mask, plain((level,) * 3, (80, 96)), top=30, size=96))
    row = luminance(heat[20, :80])
    assert (np.diff(row) >= 0).all() and row[-1] > row[0] + 0.3


def test_heat_map_averages_magnitudes_over_channels():
    image, mask = noise(), box()
    change = np.random.default_rng(1).normal(size=(3, 96, 80)) * 0.05
    grey = np.abs(change).mean(0, keepdims=True)           # signs and channels do not cancel
    kwargs = dict(mask=mask, image=image, size=96)
    first, second = pictures.heat_map(change, **kwargs), pictures.heat_map(-grey, **kwargs)
    np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def test_heat_map_scale_is_in_grey_levels():
    change = np.full((1, 96, 80), 20 / 127.5)
    full = np.asarray(pictures.heat_map(change, box(), noise(), top=20, size=96))[5, 5]
    np.testing.assert_array_equal(full, colour_scale.ANCHORS[-1])
    automatic = pictures.heat_map(change, box(), noise(), size=96)
    np.testing.assert_array_equal(np.asarray(automatic)[5, 5], full)


def test_heat_map_of_no_change():
    image = plain((100, 100, 100), (80, 96))
    heat = np.asarray(pictures.heat_map(np.zeros((3, 96, 80)), box(), image, size=96))
    assert (heat[5, :80] == 30).all()


def test_heat_map_refuses():
    with pytest.raises(ResefaError, match='expected \\[C, 96, 80\\]'):
        pictures.heat_map(np.zeros((3, 80, 96)), box(), noise())
    with pytest.raises(NonFiniteError, match='lower the strength'):
        pictures.heat_map(np.full((3, 96, 80), np.nan), box(), noise())
    with pytest.raises(ResefaError, match='positive number of grey levels'):
        pictures.heat_map(np.zeros((3, 96, 80)), box(), noise(), top=0)
    with pytest.raises(RegionError, match='the size of the picture'):
        pictures.heat_map(np.zeros((3, 96, 80)), box(9, 9), noise())


@pytest.mark.parametrize('text', ['', 'a\nb', '\u2212\u00d7\u4e2d', '<b>', '\udcff', '\x00', 'x' * 2000],
                         ids=['empty', 'lines', 'not in the typeface', 'markup', 'surrogate', 'null', 'long'])
def test_any_text_can_be_drawn(text):
    assert pictures.strip([plain(COLOURS[0])], ['0'], text, tile=64).height > 64
    assert pictures.contact_sheet([[plain(COLOURS[0])]], [text], [text], text, tile=64).height > 64


def test_jpeg_of_noise():
    noisy = noise(320, 640)                                # does not compress: overflowed pillow's buffer once
    assert Image.open(io.BytesIO(pictures.jpeg_bytes(noisy, 100))).size == (640, 320)


def test_saving_is_exact_and_leaves_nothing_else(tmp_path):
    image = noise()
    pictures.save_png(image, tmp_path / 'new' / 'a.png')
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'new' / 'a.png')), np.asarray(image))
    pictures.save_jpeg(image, tmp_path / 'new' / 'a.jpg')
    assert Image.open(tmp_path / 'new' / 'a.jpg').size == image.size
    assert sorted(p.name for p in (tmp_path / 'new').iterdir()) == ['a.jpg', 'a.png']


@pytest.mark.parametrize('save', [pictures.save_png, pictures.save_jpeg])
def test_an_interrupted_write_keeps_the_old_file(save, tmp_path, monkeypatch):
    path = tmp_path / 'a.png'
    path.write_bytes(b'old')

    def interrupted(self, target, *args, **kwargs):
        if not hasattr(target, 'write'):
            target.write_bytes(b'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, 'save', interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(noise(), path)
    assert path.read_bytes() == b'old' and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('size', [(4, 64), (1, 200)])
def test_the_colour_bar_of_a_flat_picture_has_room(size):
    mask = np.zeros(size, bool)
    mask[:, :9] = True
    heat = pictures.heat_map(np.ones((3, *size)), mask, plain((0, 0, 0), size[::-1]), size=96)
    assert heat.height == 48  # half of the longer side


def test_the_part_around_a_region_shows_it_and_is_small():
    mask = np.zeros((256, 256), bool)
    mask[169:199, 92:162] = True                             # a mouth
    left, top, right, bottom = pictures.region_box(mask)
    assert left < 92 and top < 169 and right > 162 and bottom > 199
    assert (right - left) * (bottom - top) < 256 * 256 / 6   # large in its picture
    assert abs((left + right) / 2 - 127) <= 1 and abs((top + bottom) / 2 - 184) <= 1


@pytest.mark.parametrize('rows, columns', [((0, 4), (0, 4)), ((60, 64), (90, 96)), ((0, 64), (5, 7))])
def test_the_part_stays_in_the_picture(rows, columns):
    mask = np.zeros((64, 96), bool)
    mask[slice(*rows), slice(*columns)] = True
    left, top, right, bottom = pictures.region_box(mask)
    assert 0 <= left <= columns[0] and columns[1] <= right <= 96 and 0 <= top <= rows[0] and rows[1] <= bottom <= 64


def test_of_a_large_region_all_is_shown():
    mask = np.zeros((64, 96), bool)
    mask[8:60, 10:80] = True
    assert pictures.region_box(mask) == (0, 0, 96, 64)


def test_regions_have_colours_and_names():
    masks = np.zeros((2, 60, 80), bool)
    masks[0, :, :30], masks[1, 10:50, 40:70] = True, True
    regions = [RegionPartition(mask, name) for mask, name in zip(masks, ('one', 'two'), strict=True)]
    grey = Image.new('RGB', (80, 60), (128, 128, 128))
    found = np.asarray(pictures.regions_overlay(grey, regions)).astype(int)
    assert (found[:, 32:38] == 128).all()  # what is in neither
    first, second = found[2, 2], found[12, 42]
    assert np.ptp(first) > 60 and np.ptp(second) > 60 and np.abs(first - second).max() > 60
    for mask, colour in zip(masks, (first, second), strict=True):
        other = (found != colour).any(axis=-1) & mask
        rows, columns = np.nonzero(other)
        assert 20 < other.sum() < mask.sum() / 2  # the name
        middle = [indices.mean() for indices in np.nonzero(mask)]
        assert abs(rows.mean() - middle[0]) < 4 and abs(columns.mean() - middle[1]) < 4
    with pytest.raises(RegionError, match='the size of the picture'):
        pictures.regions_overlay(Image.new('RGB', (10, 10)), regions)
