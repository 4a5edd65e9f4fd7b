"""Parts to point at, samples to start from, nearer, before and after, all of it; and who cannot see or use a mouse."""

from __future__ import annotations

import base64
import functools
import io
import time

import numpy as np
import pytest
from PIL import Image

from resefa_plugin import FunctionHook
from resefa_plugin.projection.projector import Projector, Settings
from resefa_plugin.studio.actions import Studio
from resefa_plugin.studio.work import photographs
from tests.helpers.browser import (
    drag,
    find,
    opened,
    over,
    part,
    press,
    release,
    serious_findings,
    spots,
    wait_for_directions,
    wait_for_picture,
    wait_for_text,
)
from tests.helpers.faces import FACE, forged
from tests.helpers.photographs import find_two, stand_in_lpips

pytestmark = pytest.mark.browser


@pytest.fixture(scope='module')
def studio():
    studio = Studio(FunctionHook(spots, 27, name='spots'), ['--hook=spots:spots'], limit=64)
    studio.networks = forged(FACE)
    yield studio
    studio.close()


def test_a_part_of_the_face_is_clicked_and_has_directions(page):
    page.locator('[data-tool=part]').click()
    page.wait_for_timeout(500)
    page.mouse.move(*over(page, 0.5, 0.5))
    page.mouse.move(*over(page, 0.49, 390 / 512))
    wait_for_text(page, 'figures', 'mouth')
    page.mouse.down()
    page.mouse.up()
    page.wait_for_function("document.querySelector('.chip button').textContent === 'mouth'")
    page.wait_for_function("document.querySelectorAll('.directions li').length >= 3")
    wait_for_text(page, 'directions-title', 'Directions of mouth')


def test_regions_that_are_moved_are_marked_and_reset_one_by_one(page):
    drag(page, 1 / 3, 1 / 3, 2 / 3, 2 / 3)
    find(page)
    page.get_by_role('button', name='+ New region').click()
    drag(page, 0.05, 0.05, 0.3, 0.3)
    find(page)
    release(page, 0, 2)
    page.locator('.chip button').first.click()
    release(page, 0, -2)
    assert page.locator('.chip.moved').count() == 2
    before = part(page, 'picture').get_attribute('src')
    press(page, 'reset-region')
    wait_for_picture(page, before)
    assert page.locator('.chip.moved button').first.get_attribute('aria-label') == 'region2, moved'
    before = part(page, 'picture').get_attribute('src')
    press(page, 'reset')
    wait_for_picture(page, before)
    assert page.locator('.chip.moved').count() == 0 and page.locator('[data-action=reset]').is_disabled()


def test_gallery_wipe_zoom_and_full_size(page):
    page.get_by_text('Samples to start from').click()
    page.wait_for_function("document.querySelectorAll('.gallery img[src]').length === 12")
    before = part(page, 'picture').get_attribute('src')
    page.get_by_role('button', name='Seed 7', exact=True).click()
    wait_for_picture(page, before)
    assert part(page, 'seed').input_value() == '7'
    assert page.get_by_role('button', name='Seed 7', exact=True).get_attribute('aria-pressed') == 'true'
    page.get_by_text('Samples to start from').click()

    drag(page, 1 / 3, 1 / 3, 2 / 3, 2 / 3)
    find(page)
    release(page, 0, 3)
    press(page, 'wipe')
    part(page, 'wipe-place').fill('25')
    assert '75%' in part(page, 'before').evaluate('b => getComputedStyle(b).clipPath')
    assert part(page, 'before').get_attribute('src') != part(page, 'picture').get_attribute('src')
    press(page, 'wipe')
    assert not part(page, 'before').is_visible()

    stage, picture = part(page, 'stage').bounding_box(), part(page, 'picture').bounding_box()
    press(page, 'zoom-in')
    press(page, 'zoom-in')
    near = part(page, 'picture').bounding_box()
    assert part(page, 'stage').bounding_box() == stage and near['width'] == pytest.approx(2 * picture['width'], abs=2)
    middle = near['x'] + near['width'] / 2
    assert middle == pytest.approx(stage['x'] + stage['width'] / 2, abs=3)  # what was in the middle is
    page.locator('[data-tool=hand]').click()
    x, y = stage['x'] + 100, stage['y'] + 100
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 50, y + 30)
    page.mouse.up()
    assert part(page, 'picture').bounding_box()['x'] == pytest.approx(near['x'] + 50, abs=3)
    page.keyboard.press('0')
    assert part(page, 'picture').bounding_box() == picture

    press(page, 'full-size')
    page.wait_for_function("document.querySelector('[data-part=full-picture]').naturalWidth === 256")
    press(page, 'close-full')


@pytest.fixture
def phone(browser, address):
    with opened(browser, address, viewport={'width': 390, 'height': 844}, has_touch=True) as page:
        page.evaluate("document.querySelector('[data-part=stage]').scrollIntoView({block: 'center'})")
        yield page


class Fingers:
    """Fingers on the picture, at places in fractions of the stage."""

    def __init__(self, page):
        self._session = page.context.new_cdp_session(page)
        self._box = part(page, 'stage').bounding_box()

    def __call__(self, kind, *places):
        box = self._box
        points = [{'x': box['x'] + x * box['width'], 'y': box['y'] + y * box['height'], 'id': number}
                  for number, (x, y) in enumerate(places)]
        self._session.send('Input.dispatchTouchEvent', {'type': kind, 'touchPoints': points})

    def go(self, start, end, steps=8):
        """From the places of `start` to those of `end`, one finger after the other."""
        for count in range(len(start)):
            self('touchStart', *start[:count + 1])
        for step in range(1, steps + 1):
            at = step / steps
            self('touchMove', *(((1 - at) * x + at * u, (1 - at) * y + at * v)
                                for (x, y), (u, v) in zip(start, end, strict=True)))
        self('touchEnd')


@pytest.mark.parametrize('tool', ['box', 'brush', 'part', 'hand'])
def test_two_fingers_bring_the_picture_nearer_and_move_it(phone, tool):
    phone.locator(f'[data-tool={tool}]').click()
    phone.evaluate("document.querySelector('[data-part=stage]').scrollIntoView({block: 'center'})")
    fingers, stage, before = Fingers(phone), part(phone, 'stage').bounding_box(), part(phone, 'picture').bounding_box()
    fingers.go([(0.4, 0.5), (0.6, 0.5)], [(0.2, 0.5), (0.8, 0.5)])
    near = part(phone, 'picture').bounding_box()
    assert part(phone, 'stage').bounding_box() == stage
    assert near['width'] == pytest.approx(3 * before['width'], rel=0.02)
    middle = stage['x'] + stage['width'] / 2
    assert near['x'] + near['width'] / 2 == pytest.approx(middle, abs=6)  # what is between the fingers stays
    fingers.go([(0.4, 0.4), (0.6, 0.4)], [(0.5, 0.5), (0.7, 0.5)])
    moved = part(phone, 'picture').bounding_box()
    assert moved['width'] == pytest.approx(near['width'], rel=0.02)
    assert moved['x'] - near['x'] == pytest.approx(0.1 * stage['width'], abs=6)
    assert moved['y'] - near['y'] == pytest.approx(0.1 * stage['height'], abs=6)
    fingers.go([(0.1, 0.5), (0.9, 0.5)], [(0.45, 0.5), (0.55, 0.5)])
    assert part(phone, 'picture').bounding_box() == before
    assert phone.evaluate("""() => {
        const canvas = document.querySelector('[data-part=overlay]');
        const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return data.every(value => value === 0);
    }""")  # and nothing is drawn
    assert phone.locator('.chip').count() == 1 and phone.locator('.directions li').count() == 0
    assert phone.locator('[data-action=undo]').is_disabled() and phone.locator('[data-action=find]').is_disabled()


def test_one_finger_draws_also_after_two(phone):
    fingers = Fingers(phone)
    fingers.go([(0.4, 0.5), (0.6, 0.5)], [(0.35, 0.5), (0.65, 0.5)])
    press(phone, 'zoom-fit')
    fingers.go([(0.3, 0.3)], [(0.6, 0.6)])
    phone.wait_for_function("document.querySelector('[data-action=find]').disabled === false")
    phone.locator('[data-tool=part]').click()
    phone.wait_for_timeout(500)
    phone.evaluate("document.querySelector('[data-part=stage]').scrollIntoView({block: 'center'})")
    fingers = Fingers(phone)
    fingers.go([(0.49, 390 / 512)], [(0.49, 390 / 512)])
    phone.wait_for_function("[...document.querySelectorAll('.chip button')].some(b => b.textContent === 'mouth')")


@pytest.mark.parametrize('options', [
    {'viewport': {'width': 1280, 'height': 900}},
    {'viewport': {'width': 390, 'height': 844}, 'color_scheme': 'dark'},
])
def test_axe_finds_nothing_serious(browser, address, options):
    with opened(browser, address, **options) as page:
        assert serious_findings(page) == []
        part(page, 'preset').select_option(label='center0')
        find(page)
        release(page, 0, 2)
        for summary in page.locator('.studio summary:visible').all():
            summary.click()
        part(page, 'show-numbers').check()
        page.wait_for_function("document.querySelectorAll('.gallery img[src]').length === 12")
        assert serious_findings(page) == []
        press(page, 'ask-anew')
        assert serious_findings(page) == []


def test_the_whole_way_by_keyboard(page):
    """From the top of the page with Tab alone: the part tool, a part of the face, a slider, the picture saved."""
    def tab_to(selector):
        for _ in range(80):
            if page.evaluate('s => document.activeElement.matches(s)', selector):
                return
            page.keyboard.press('Tab')
        raise AssertionError(f'{selector} is not reached')

    tab_to('[data-tool=part]')
    page.keyboard.press('Enter')
    tab_to('[data-part=overlay]')
    for _ in range(16):
        page.keyboard.press('ArrowDown')
    wait_for_text(page, 'figures', 'mouth')
    page.keyboard.press(' ')
    wait_for_directions(page)
    tab_to('.directions input[type=range]')
    before = part(page, 'picture').get_attribute('src')
    for _ in range(10):
        page.keyboard.press('ArrowRight')
    wait_for_picture(page, before)
    tab_to('[data-save=picture]')
    with page.expect_download() as download:
        page.keyboard.press('Enter')
    assert download.value.suggested_filename == 'seed0000-edited.png'


def test_nothing_moves_by_itself_for_those_who_ask_for_that(browser, address):
    with opened(browser, address, reduced_motion='reduce') as page:
        moving = page.evaluate('''() => [...document.querySelectorAll('.studio, .studio *')].filter(element =>
            ['', '::before', '::after'].some(part => {
                const style = getComputedStyle(element, part || null);
                return style.animationName !== 'none' || parseFloat(style.transitionDuration) > 0;
            })).map(element => element.outerHTML.slice(0, 80))''')
        assert moving == []


PASTE = '''content => {
    const bytes = Uint8Array.from(atob(content), character => character.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], 'image.png', {type: 'image/png'}));
    document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true}));
}'''


def test_a_photograph_is_pasted(browser, address, studio, monkeypatch):
    monkeypatch.setattr(photographs, 'face_finder', find_two)
    monkeypatch.setattr(photographs, 'Projector', functools.partial(Projector, settings=Settings(passes=8)))
    monkeypatch.setattr(studio, 'finder', photographs.Finder(studio.hook, lambda: stand_in_lpips('cpu')))
    file = io.BytesIO()
    Image.linear_gradient('L').resize((400, 300)).convert('RGB').save(file, 'PNG')
    with opened(browser, address) as page:
        before = part(page, 'picture').get_attribute('src')
        page.evaluate(PASTE, base64.b64encode(file.getvalue()).decode())
        wait_for_picture(page, before)
        wait_for_text(page, 'sample-note', 'Your photograph: ')
        assert part(page, 'picture').get_attribute('alt') == 'image, unedited'
        wait_for_text(page, 'history', 'Your photograph')


def test_a_photograph_is_dropped_edited_and_saved(browser, address, studio, monkeypatch, tmp_path):
    monkeypatch.setattr(photographs, 'face_finder', find_two)
    monkeypatch.setattr(photographs, 'Projector', functools.partial(Projector, settings=Settings(passes=40)))
    monkeypatch.setattr(studio, 'finder', photographs.Finder(studio.hook, lambda: stand_in_lpips('cpu')))
    find_sample = photographs.Finder.find
    monkeypatch.setattr(photographs.Finder, 'find', lambda self, placed, report, look: find_sample(
        self, placed, report, lambda passes, image: (look(passes, image), time.sleep(0.25))))  # so that it can be seen
    light = Image.linear_gradient('L').resize((400, 300)).convert('RGB')
    light.save(tmp_path / 'portrait.png')
    with opened(browser, address) as page:
        before = part(page, 'picture').get_attribute('src')
        part(page, 'file').set_input_files(tmp_path / 'portrait.png')
        page.wait_for_function("document.querySelector('[data-part=likeness]').src.startsWith('data:')")
        assert part(page, 'likeness').is_visible()
        wait_for_picture(page, before)
        wait_for_text(page, 'sample-note', 'Your photograph: ')
        page.wait_for_selector('.studio[data-ready=yes]')
        drag(page, 1 / 3, 1 / 3, 2 / 3, 2 / 3)
        find(page)
        release(page, 0, 3)
        with page.expect_download() as download:
            page.locator('[data-save=picture]').click()
        with Image.open(io.BytesIO(download.value.path().read_bytes())) as image:
            assert download.value.suggested_filename == 'portrait-edited.png' and image.size == (400, 300)
            changed = (np.asarray(image) != np.asarray(light)).any(axis=-1)
            assert 0 < changed.mean() < 0.2
        edited = part(page, 'picture').get_attribute('src')
        wait_for_text(page, 'kept', 'Kept in this browser')
        page.reload()
        page.wait_for_function("document.querySelector('.directions input[type=range]')?.value === '3'")
        assert part(page, 'picture').get_attribute('src') == edited
