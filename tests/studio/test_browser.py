"""The studio in a real browser, from the box to the file: Debian's chromium, driven by playwright."""

from __future__ import annotations

import functools
import http.server
import io
import shutil
import threading
import zipfile
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from resefa_plugin import DirectionSet, FunctionHook
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.studio.actions import Studio
from resefa_plugin.studio.limits import page_limits
from tests.helpers.toys import images_at

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
SECOND = 1000  # milliseconds
LONG = 60 * SECOND


def spots(z: torch.Tensor) -> torch.Tensor:
    """256 x 256: z[3 i : 3 i + 3] colours spot i of nine, each in a ninth of the picture."""
    ys, xs = torch.meshgrid(torch.linspace(0, 3, 256), torch.linspace(0, 3, 256), indexing='ij')
    pictures = torch.zeros(len(z), 3, 256, 256)
    for spot in range(9):
        row, column = divmod(spot, 3)
        shape = torch.exp(-((ys - row - 0.5) ** 2 + (xs - column - 0.5) ** 2) / 0.03)
        pictures = pictures + 0.4 * z[:, 3 * spot:3 * spot + 3, None, None] * shape
    return torch.tanh(pictures)


@pytest.fixture(scope='module')
def browser():
    sync_api = pytest.importorskip('playwright.sync_api', reason='needs playwright: pip install playwright')
    pytest.importorskip('gradio', reason="needs the extra 'ui'")
    if CHROMIUM is None:
        pytest.skip('needs chromium: apt-get install chromium')
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox', '--disable-gpu'])
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def studio():
    studio = Studio(FunctionHook(spots, 27, name='spots'), ['--hook=spots:spots'], limit=64)
    yield studio
    studio.close()


@pytest.fixture(scope='module')
def address(browser, studio):
    from resefa_plugin.studio.page import build_page, launch_options

    page = build_page(studio)
    _, local, _ = page.launch(server_name='127.0.0.1', prevent_thread_lock=True, quiet=True, **launch_options())
    yield local
    page.close()


@pytest.fixture
def page(browser, address):
    """A fresh page that is ready, and that neither fails nor asks anybody else for anything."""
    context = browser.new_context(viewport={'width': 1280, 'height': 900}, accept_downloads=True)
    page, troubles = context.new_page(), []
    page.set_default_timeout(LONG)
    page.on('pageerror', lambda error: troubles.append(str(error)))
    page.on('console', lambda message: troubles.append(message.text) if message.type == 'error' else None)
    own = (address, 'data:', f'blob:{address}')
    page.on('request', lambda request: None if request.url.startswith(own) else troubles.append(request.url))
    page.goto(address)
    page.wait_for_selector('.studio[data-ready=yes]')
    yield page
    context.close()
    assert troubles == []


def part(page, name):
    return page.locator(f'[data-part="{name}"]')


def press(page, name):
    page.locator(f'[data-action="{name}"]').click()


def pixels(page):
    """The picture on the screen, float [256, 256, 3]."""
    source = part(page, 'picture').get_attribute('src')
    return np.asarray(Image.open(io.BytesIO(b64decode(source.partition(',')[2])))).astype(float)


def drag(page, left, top, right, bottom, shift=False):
    """A drag with the mouse over the picture, in fractions of it."""
    box = part(page, 'overlay').bounding_box()
    x, y = (lambda f: box['x'] + f * box['width']), (lambda f: box['y'] + f * box['height'])
    if shift:
        page.keyboard.down('Shift')
    page.mouse.move(x(left), y(top))
    page.mouse.down()
    page.mouse.move(x((left + right) / 2), y((top + bottom) / 2))
    page.mouse.move(x(right), y(bottom))
    page.mouse.up()
    if shift:
        page.keyboard.up('Shift')
    page.wait_for_function("document.querySelector('[data-action=find]').disabled === false")


def find(page, count=3):
    press(page, 'find')
    page.wait_for_function(f"document.querySelectorAll('.directions li').length >= {count}")
    page.wait_for_function("document.querySelectorAll('.end img[src]').length === "
                           "2 * document.querySelectorAll('.directions li').length")
    # A strength that is set before its step is measured keeps its picture and changes its number.
    page.wait_for_function("document.querySelectorAll('.directions li.predicted').length === 0")


def wait_for_text(page, name, text):
    page.wait_for_function("([part, text]) => document.querySelector(part)?.textContent.includes(text)",
                           arg=[f'[data-part={name}]', text])


def wait_for_picture(page, before):
    page.wait_for_function("before => document.querySelector('[data-part=picture]').src !== before", arg=before)


def release(page, index, value):
    """Moves a slider and waits for the full picture."""
    before = part(page, 'picture').get_attribute('src')
    page.locator('.directions input[type=range]').nth(index).fill(str(value))
    wait_for_picture(page, before)


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
        torch.from_numpy(directions.offset(0, 3.0))[None],
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
    assert text.count('--directions=') == 2 and '--index=2' in text


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
        assert '--protect=10*mask:' in archive.read('commands.txt').decode()


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
    page.get_by_text('Your own latent, space and layers').click()
    part(page, 'latent-file').set_input_files(tmp_path / 'projected_w.npz')
    wait_for_text(page, 'notice-text', 'latent files are for the StyleGAN families')
    press(page, 'dismiss')
    (tmp_path / 'mask.png').write_bytes(b'no picture')
    page.get_by_text('Type a box, or take a mask from a file').click()
    part(page, 'mask-file').set_input_files(tmp_path / 'mask.png')
    wait_for_text(page, 'notice-text', 'is not an image')
    assert part(page, 'notice').is_visible()
    (tmp_path / 'huge.png').write_bytes(bytes(9 << 20))
    part(page, 'mask-file').set_input_files(tmp_path / 'huge.png')
    wait_for_text(page, 'notice-text', 'larger than 8 MB')


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


def test_two_pages_do_not_share_anything(page, browser, address):
    drag(page, 0.1, 0.1, 0.3, 0.3)
    find(page)
    other = browser.new_page()
    other.goto(address)
    other.wait_for_selector('.studio[data-ready=yes]', timeout=LONG)
    assert other.locator('.directions li').count() == 0 and other.locator('[data-action=find]').is_disabled()
    other.close()


@pytest.fixture
def naming(studio, monkeypatch):
    """In place of a parser: direction 2 has a name, with a tag in it."""
    def named(finding, viewpoint, networks, breathe):
        labels = ['', '<b>spot</b> brightens +', *[''] * (len(finding.directions) - 2)]
        return replace(finding, directions=finding.directions.labelled(labels), labelled=len(finding.directions))

    monkeypatch.setattr('resefa_plugin.studio.work.findings.with_label', named)
    monkeypatch.setitem(studio._options, 'networks', Networks())


def test_a_direction_that_has_a_name_shows_it(naming, page):
    drag(page, 1 / 3, 1 / 3, 2 / 3, 2 / 3)
    find(page)
    names = page.locator('.directions .label')
    page.wait_for_function("document.querySelectorAll('.directions .label')[1].textContent")
    assert names.nth(1).text_content() == '<b>spot</b> brightens +' and names.nth(1).is_visible()
    assert names.nth(0).text_content() == '' and not names.nth(0).is_visible()


@pytest.fixture
def blocked(studio):
    """Nothing runs until the event is set, and no Jacobian is there."""
    started, go = threading.Event(), threading.Event()
    studio.cache._kept.clear()
    studio.queue.submit('nobody', 'save', 'Preparing nothing', lambda job: (started.set(), go.wait(LONG / SECOND)))
    assert started.wait(LONG / SECOND)
    yield go
    go.set()


def test_the_preparation_can_be_cancelled_and_asked_for_again(browser, address, blocked):
    page = browser.new_page()
    page.set_default_timeout(LONG)
    page.goto(address)
    again = page.get_by_role('button', name='Prepare this sample')
    wait_for_text(page, 'jobs', 'Preparing seed0000: waits for 1 job')
    assert again.is_hidden()
    page.get_by_role('button', name='Cancel: Preparing seed0000').click()
    again.click()
    wait_for_text(page, 'jobs', 'Preparing seed0000: waits for 1 job')
    assert again.is_hidden()
    part(page, 'preset').select_option(label='center0')
    press(page, 'find')  # urgent: it interrupts what runs, and does not wait for it
    wait_for_text(page, 'jobs', 'Searching directions of center0: is next')
    blocked.set()
    page.wait_for_selector('.studio[data-ready=yes]')
    page.close()


def test_the_page_takes_its_limits_from_the_server(page):
    limits = page_limits()
    assert part(page, 'seed').get_attribute('max') == str(limits['seed'])
    assert [float(part(page, 'trunc').get_attribute(end)) for end in ('min', 'max')] == limits['truncation']
    assert part(page, 'latent-file').get_attribute('accept').split(',') == limits['latent_suffixes']
    part(page, 'preset').select_option(label='center0')
    find(page)
    slider, field = page.locator('.directions input[type=range]').first, page.locator('.line input').first
    assert (slider.get_attribute('min'), slider.get_attribute('max')) == ('-5', '5')
    before = part(page, 'picture').get_attribute('src')
    field.fill('1000')
    field.press('Enter')
    wait_for_picture(page, before)
    assert field.input_value() == '1000'  # as long as it is being typed in
    field.evaluate('field => field.blur()')
    page.locator('.end.high').first.click()
    page.wait_for_function("document.querySelector('.line input').value === '3'")
    part(page, 'region-name').fill('two words')
    part(page, 'region-name').press('Enter')
    wait_for_text(page, 'notice-text', limits['region_name_rule'])
    for _ in range(limits['regions']):
        page.get_by_role('button', name='+ New region').click()
    wait_for_text(page, 'notice-text', f"{limits['regions']} regions already: remove one first")
    assert page.locator('.chip').count() == limits['regions']


def test_the_label_of_a_button_can_be_read_under_the_mouse(page):
    drag(page, 0.1, 0.1, 0.3, 0.3)
    for button in (page.locator('[data-action=find]'), page.locator('[data-action=undo]')):
        button.hover()
        colour, background = button.evaluate(
            'button => [getComputedStyle(button).color, getComputedStyle(button).backgroundColor]')
        assert colour != background


CALLS = '''async address => {
  const body = JSON.stringify({data: {action: 'open'}, fn_name: 'call', component_id: 1, session_hash: 'x'});
  const outcomes = [];
  for (const [mode, type] of [['no-cors', 'text/plain'], ['cors', 'text/plain'], ['cors', 'application/json']]) {
    const asked = fetch(address + 'gradio_api/component_server/', {method: 'POST', mode, body,
                                                                   headers: {'Content-Type': type}});
    outcomes.push(await asked.then(answer => answer.type, () => 'refused'));
  }
  outcomes.push(await fetch(address).then(answer => answer.text(), () => 'refused'));
  return outcomes;
}'''


@pytest.fixture
def other_port(tmp_path):
    """Of a server of something else on this machine."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_another_page_can_neither_call_the_studio_nor_read_nor_show_it(browser, address, studio, other_port):
    page = browser.new_page()
    before = len(studio.store)
    for elsewhere in (f'http://localhost:{other_port}/', f'http://127.0.0.1:{other_port}/'):
        page.goto(elsewhere)
        assert page.evaluate(CALLS, address) == ['opaque', 'refused', 'refused', 'refused'], elsewhere
        page.evaluate('''address => new Promise(resolve => {
            const frame = document.createElement('iframe');
            frame.onload = frame.onerror = resolve;
            frame.src = address;
            document.body.append(frame);
        })''', address)
        assert 'ReSeFa' not in page.frames[1].content()
    assert len(studio.store) == before
    page.goto(address)  # but a link to it works
    page.wait_for_selector('.studio[data-ready=yes]', timeout=LONG)
    page.close()
