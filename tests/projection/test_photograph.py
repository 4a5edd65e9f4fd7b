"""Files as people have them: turned, transparent, grey, for print, of phones, too large, damaged."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from resefa_plugin.errors import PhotographError
from resefa_plugin.projection import photograph as module
from resefa_plugin.projection.photograph import as_photograph, read_photograph

COLOURS = np.random.RandomState(0).randint(0, 256, (6, 8, 3)).astype(np.uint8)
ORIENTATION, MAKE = 0x0112, 0x010F


def exif(orientation):
    tags = Image.Exif()
    tags[ORIENTATION], tags[MAKE] = orientation, 'a camera'
    return tags.tobytes()


def saved(tmp_path, image, name='photo.png', **options):
    image.save(tmp_path / name, **options)
    return read_photograph(tmp_path / name)


@pytest.mark.parametrize('orientation, upright', [
    (1, lambda a: a), (2, lambda a: a[:, ::-1]), (3, lambda a: a[::-1, ::-1]), (4, lambda a: a[::-1]),
    (5, lambda a: a.transpose(1, 0, 2)), (6, lambda a: np.rot90(a, -1)),
    (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)), (8, lambda a: np.rot90(a))])
def test_turned_as_the_exif_says_once(tmp_path, orientation, upright):
    shot = saved(tmp_path, Image.fromarray(COLOURS), exif=exif(orientation))
    np.testing.assert_array_equal(shot.pixels, upright(COLOURS))
    np.testing.assert_array_equal(shot.rgb, upright(COLOURS))
    assert shot.name == 'photo' and shot.size == upright(COLOURS).shape[:2]
    shot.save(shot.with_pixels(shot.pixels), tmp_path / 'again.png')
    again = read_photograph(tmp_path / 'again.png')
    np.testing.assert_array_equal(again.pixels, shot.pixels)  # not turned a second time
    assert Image.open(tmp_path / 'again.png').getexif()[MAKE] == 'a camera'


def test_transparency_is_seen_over_white_and_kept(tmp_path):
    rgba = np.dstack([COLOURS, np.full((6, 8), 255, np.uint8)])
    rgba[0, 0, 3], rgba[1, 1, 3] = 0, 128
    shot = saved(tmp_path, Image.fromarray(rgba))
    np.testing.assert_array_equal(shot.pixels, COLOURS)
    assert (shot.rgb[0, 0] == 255).all() and (shot.rgb[2:] == COLOURS[2:]).all()
    assert np.abs(shot.rgb[1, 1] - (COLOURS[1, 1] * 128.0 + 255 * 127) / 255).max() <= 1
    edited = COLOURS.copy()
    edited[3, 3] = 9
    np.testing.assert_array_equal(np.asarray(shot.with_pixels(edited)), np.dstack([edited, rgba[..., 3]]))


@pytest.mark.parametrize('mode', ['L', 'LA'])
def test_grey_stays_grey_bit_for_bit(tmp_path, mode):
    levels = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    grey = Image.fromarray(levels)
    if mode == 'LA':
        grey.putalpha(Image.fromarray(levels))
    shot = saved(tmp_path, grey)
    back = shot.with_pixels(shot.pixels)
    assert back.mode == mode and shot.image.mode == mode
    np.testing.assert_array_equal(np.asarray(back), np.asarray(grey))
    coloured = shot.in_its_colours(COLOURS)
    assert (coloured == coloured[..., :1]).all()


def test_palettes_bits_and_sixteen_bits(tmp_path):
    palette = Image.fromarray(COLOURS).quantize(16)
    np.testing.assert_array_equal(saved(tmp_path, palette).pixels, np.asarray(palette.convert('RGB')))
    transparent = Image.fromarray(COLOURS).quantize(4)
    assert saved(tmp_path, transparent, transparency=0).image.mode == 'RGBA'
    bits = Image.fromarray(np.eye(8) > 0)
    np.testing.assert_array_equal(saved(tmp_path, bits).pixels[..., 0], np.eye(8) * 255)
    deep = saved(tmp_path, Image.fromarray((np.arange(48).reshape(6, 8) * 1285).astype(np.uint16)))
    np.testing.assert_array_equal(deep.pixels[..., 0], np.arange(48).reshape(6, 8) * 5)
    assert deep.notes == ('16 bits of grey were made 8: the edited photograph has 8',)


def test_print_colours_become_rgb_and_lose_their_profile(tmp_path):
    shot = saved(tmp_path, Image.new('CMYK', (8, 6), (0, 255, 255, 0)), 'photo.jpg', icc_profile=b'inks', quality=100)
    assert shot.image.mode == 'RGB' and 'CMYK was converted' in shot.notes[0] and 'icc_profile' not in shot.image.info
    assert np.abs(shot.rgb[2, 2].astype(int) - [255, 0, 0]).max() < 12


def wide_profile():
    """Of a colour space whose primaries are green, blue and red: each colour is another one in sRGB."""
    srgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes())
    offset = {srgb[132 + 12 * i:136 + 12 * i].decode(): 136 + 12 * i for i in range(srgb[131])}
    swapped = {'rXYZ': 'gXYZ', 'gXYZ': 'bXYZ', 'bXYZ': 'rXYZ'}
    places = {tag: bytes(srgb[offset[tag]:offset[tag] + 8]) for tag in swapped}
    for tag, other in swapped.items():
        srgb[offset[tag]:offset[tag] + 8] = places[other]
    return bytes(srgb)


def test_colour_profiles_are_read_for_the_network_and_kept_in_the_file(tmp_path):
    shot = saved(tmp_path, Image.fromarray(COLOURS), icc_profile=wide_profile())
    np.testing.assert_array_equal(shot.pixels, COLOURS)
    assert np.abs(shot.rgb[..., [1, 2, 0]].astype(int) - COLOURS).max() <= 2  # its red is what sRGB calls green
    assert np.abs(shot.in_its_colours(shot.rgb).astype(int) - COLOURS).max() <= 3
    shot.save(shot.image, tmp_path / 'again.png')
    assert Image.open(tmp_path / 'again.png').info['icc_profile'] == wide_profile()


@pytest.mark.parametrize('profile', [b'nonsense', wide_profile()[:200]], ids=['nonsense', 'cut short'])
def test_profiles_that_are_damaged_are_left_alone(tmp_path, profile):
    shot = saved(tmp_path, Image.fromarray(COLOURS), icc_profile=profile)
    np.testing.assert_array_equal(shot.rgb, COLOURS)


@pytest.mark.parametrize('brand, kind', [(b'heic', 'HEIC'), (b'mif1', 'HEIC'), (b'avif', 'AVIF')])
def test_files_of_phones_say_what_to_do(tmp_path, brand, kind):
    (tmp_path / 'photo.jpg').write_bytes(b'\0\0\0\x18ftyp' + brand + bytes(100))
    with pytest.raises(PhotographError, match=f'is a {kind} file, which is not read: .* save it as JPEG or PNG'):
        read_photograph(tmp_path / 'photo.jpg')


def test_files_that_are_no_photographs(tmp_path):
    with pytest.raises(PhotographError, match='is not there: check the path'):
        read_photograph(tmp_path / 'nowhere.jpg')
    with pytest.raises(PhotographError, match='is a folder'):
        read_photograph(tmp_path)
    (tmp_path / 'text.jpg').write_text('no image')
    with pytest.raises(PhotographError, match='not an image that can be read.*a photograph as PNG, JPEG'):
        read_photograph(tmp_path / 'text.jpg')
    file = io.BytesIO()
    Image.fromarray(COLOURS).resize((300, 300)).save(file, 'JPEG')
    (tmp_path / 'cut.jpg').write_bytes(file.getvalue()[:len(file.getvalue()) // 2])
    with pytest.raises(PhotographError, match='not an image that can be read'):
        read_photograph(tmp_path / 'cut.jpg')


def test_12_megapixels_work_and_too_many_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    large = Image.new('L', (4000, 3000), 77)
    shot = saved(tmp_path, large)
    assert shot.size == (3000, 4000) and (shot.rgb == 77).all()
    Image.new('1', (9000, 8000)).save(tmp_path / 'huge.png')

    def load(self):
        raise AssertionError('it is decoded')

    monkeypatch.setattr('PIL.PngImagePlugin.PngImageFile.load', load)
    with pytest.raises(PhotographError, match='is 9000 x 8000 pixels, more than any photograph .*make it smaller'):
        read_photograph(tmp_path / 'huge.png')
    with pytest.raises(PhotographError, match='has 0 x 3 pixels, expected 1 to'):
        as_photograph(Image.new('L', (0, 3)))
    assert module.PHOTOGRAPH.most_pixels >= 50e6  # phones
