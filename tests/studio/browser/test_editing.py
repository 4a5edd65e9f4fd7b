"""The studio in a real browser, from the box to the file."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from resefa_plugin import DirectionSet, FunctionHook
from tests.helpers.browser import drag, find, part, pixels, press, release, spots, wait_for_picture, wait_for_text
from tests.helpers.toys import images_at

pytestmark = pytest.mark.browser


MIDDLE = np.zeros((256, 256), bool)
MIDDLE[85:171, 85:171] = True


def test_box_directions_slider_download(page, tmp_path):
    original = pixels(page)
    drag(page, 1 / 3, 1 / 3, 2 / 3, 2 / 3)
    find(page)
    release(page, 0, 3)
    change = pixels(page) - original
    inside, outside = (np.sqrt(np.square(change[part]).mean()) for part in (MIDDLE, ~MIDDLE))
    # Strength 3 is 3 x 12.75 grey levels to first order, and tanh gives less; outside are the spot's rim and JPEG.
    assert inside > 20 and outside < 3

    with page.expect_download() as download:
        page.locator('[data-save=directions]').click()
    assert download.value.suggested_filename == 'seed0000-region1.npz'
    path = tmp_path / 'region1.npz'
    download.value.save_as(path)
    directions = DirectionSet.load(path)
    drawn = np.argwhere(directions.mask)
    # A mouse is on whole pixels of a screen on which the picture is larger: the box is right to a pixel of the picture.
    assert np.abs(drawn.min(axis=0) - 85).max() <= 1 and np.abs(drawn.max(axis=0) - 170).max() <= 1
    moved = images_at(
        FunctionHook(spots, 27).space('z'),
        FunctionHook(spots, 27).sample(0),
        torch.from_numpy(directions.offset(1, 3.0))[None],
    )[0]
    expected = (moved.permute(1, 2, 0).numpy() * 127.5 + 128).clip(0, 255)
    assert np.abs(pixels(page) - expected).mean() < 3  # JPEG, and the step that is measured after the slider was moved

    edited = part(page, 'picture').get_attribute('src')
    press(page, 'undo')
    wait_for_picture(page, edited)
    assert np.abs(pixels(page) - original).max() == 0


def test_compare_heat_map_and_two_directions(page):
    drag(page, 1 / 3, 1 / 3, 2 / 3, 2 / 3)
    find(page)
    release(page, 0, 2)
    release(page, 1, -2)
    edited = part(page, 'picture').get_attribute('src')
    held = page.locator('[data-action=compare]')
    held.hover()
    page.mouse.down()
    assert part(page, 'picture').get_attribute('src') != edited and part(page, 'badge').is_visible()
    assert 'unedited' in part(page, 'picture').get_attribute('alt')
    page.mouse.up()
    assert part(page, 'picture').get_attribute('src') == edited and not part(page, 'badge').is_visible()
    page.keyboard.down('c')
    assert part(page, 'picture').get_attribute('src') != edited
    page.keyboard.up('c')
    assert part(page, 'picture').get_attribute('src') == edited
    assert 'region1 1 at 2.0, region1 2 at -2.0' in part(page, 'picture').get_attribute('alt')
    press(page, 'heat-map')
    wait_for_text(page, 'figures', 'Changed: region')
    press(page, 'heat-map')
    press(page, 'copy')
    wait_for_text(page, 'commands', 'resefa edit')
    text = part(page, 'commands').inner_text()
    assert text.count('--directions=') == 2 and '--index=2' in text and '\n' not in text
    assert text.startswith('resefa factorize --hook=spots:spots') and '--region=region1=' in text


def test_brush_eraser_and_several_regions(page):
    page.keyboard.press('p')
    assert page.locator('[data-tool=brush]').get_attribute('aria-pressed') == 'true'
    drag(page, 0.1, 0.15, 0.25, 0.15)
    find(page)
    page.get_by_role('button', name='+ New region').click()
    page.locator('[data-tool=box]').click()
    drag(page, 0.7, 0.7, 0.95, 0.95)
    part(page, 'region-name').fill('corner')
    part(page, 'region-name').press('Enter')
    find(page)
    assert page.locator('.chip').count() == 2
    with page.expect_download() as download:
        page.locator('[data-save=directions]').click()
    assert download.value.suggested_filename == 'seed0000-corner.npz'
    page.locator('[data-tool=eraser]').click()
    drag(page, 0.7, 0.7, 0.95, 0.7)  # drawn anew: the directions go
    page.wait_for_function("document.querySelectorAll('.directions li').length === 0")
    page.locator('.chip button').first.click()
    assert page.locator('.directions li').count() >= 3


def test_protected_pixels_stay_and_are_marked(page):
    part(page, 'preset').select_option(label='center0')
    page.get_by_role('button', name='+ New region').click()
    drag(page, 0.05, 0.02, 1.0, 0.4)
    part(page, 'region-purpose').select_option('protect')
    page.wait_for_function("document.querySelector('.chip.protect') !== null")
    page.locator('.chip button').first.click()
    find(page)
    with page.expect_download() as download:
        page.locator('[data-save=all]').click()
    with zipfile.ZipFile(download.value.path()) as archive:
        names = archive.namelist()
        assert 'region1.png' in names or 'region2.png' in names
        mask = np.asarray(Image.open(io.BytesIO(archive.read('center0.png'))))
        assert mask.any() and not mask[:102].any()
        assert "'--protect=10*" in archive.read('commands.txt').decode()


def test_by_keyboard_alone(page):
    """A typed box, Enter on the button, arrows on the slider."""
    page.get_by_text('Type a box, or take a mask from a file').focus()
    page.keyboard.press('Enter')
    for field, value in enumerate((100, 100, 60, 60)):
        page.locator(f'[data-box="{field}"]').fill(str(value))
    page.locator('[data-action=draw-box]').focus()
    page.keyboard.press('Enter')
    page.wait_for_function("document.querySelector('[data-action=find]').disabled === false")
    page.locator('[data-action=find]').focus()
    page.keyboard.press('Enter')
    page.wait_for_function("document.querySelectorAll('.directions li').length >= 3")
    before = part(page, 'picture').get_attribute('src')
    page.locator('.directions input[type=range]').first.focus()
    for _ in range(10):
        page.keyboard.press('ArrowRight')
    wait_for_picture(page, before)
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == 'solid'


def test_bad_uploads_are_messages(page, tmp_path):
    (tmp_path / 'projected_w.npz').write_bytes(b'no archive')
    part(page, 'file').set_input_files(tmp_path / 'projected_w.npz')
    wait_for_text(page, 'notice-text', 'expected latents')
    press(page, 'dismiss')
    (tmp_path / 'mask.png').write_bytes(b'no picture')
    page.get_by_text('Type a box, or take a mask from a file').click()
    part(page, 'mask-file').set_input_files(tmp_path / 'mask.png')
    wait_for_text(page, 'notice-text', 'is not an image')
    assert part(page, 'notice').is_visible()
    (tmp_path / 'huge.png').write_bytes(bytes(25 << 20))
    part(page, 'mask-file').set_input_files(tmp_path / 'huge.png')
    wait_for_text(page, 'notice-text', 'larger than 24 MB')


@pytest.mark.parametrize('width', [390, 1280])
def test_it_fits_the_screen(page, width):
    page.set_viewport_size({'width': width, 'height': 844})
    part(page, 'preset').select_option(label='center0')
    find(page)
    assert page.evaluate('document.documentElement.scrollWidth') == width
    outside = page.evaluate('''() => [...document.querySelectorAll('.studio :is(button, input, select, h2)')]
        .filter(e => e.offsetParent)
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < 0)
        .map(e => e.outerHTML.slice(0, 80))''')
    assert outside == []
    unnamed = page.evaluate('''() => [...document.querySelectorAll('.studio :is(button, input, select, canvas, img)')]
        .filter(e => e.offsetParent && !e.getAttribute('aria-label') && e.getAttribute('alt') === null)
        .filter(e => !e.textContent.trim() && !e.labels?.length)
        .map(e => e.outerHTML.slice(0, 80))''')
    assert unnamed == []
    if width == 390:  # the picture stays in view while sliders are moved
        page.locator('.directions li').last.scroll_into_view_if_needed()
        assert part(page, 'stage').bounding_box()['y'] >= -1


def test_another_seed_keeps_the_directions_to_try_them(page):
    drag(page, 1 / 3, 1 / 3, 2 / 3, 2 / 3)
    find(page)
    before = part(page, 'picture').get_attribute('src')
    press(page, 'next')
    wait_for_picture(page, before)
    wait_for_text(page, 'directions-note', 'Found on seed0000, tried here.')
    assert page.locator('[data-part=seed]').input_value() == '1'
