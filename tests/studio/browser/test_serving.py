"""The page and its server, seen from a real browser: what it is told, what waits, who else may call."""

from __future__ import annotations

import functools
import http.server
import threading
from dataclasses import replace

import pytest

from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.studio.limits import page_limits
from tests.helpers.browser import LONG, SECOND, drag, find, part, press, release, wait_for_picture, wait_for_text

pytestmark = pytest.mark.browser


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
    page.wait_for_function("document.querySelectorAll('.directions .label')[1].textContent.includes('spot')")
    assert names.nth(1).text_content() == '<b>spot</b> brightens' and names.nth(1).is_visible()
    assert names.nth(0).text_content() == 'Direction 1'
    release(page, 1, 2)
    wait_for_text(page, 'history', '<b>spot</b> brightens: +2.0')
    part(page, 'search').fill('SPOT region1')
    page.wait_for_function("document.querySelectorAll('.directions li').length === 2")  # its region's name above it
    assert names.all_text_contents() == ['<b>spot</b> brightens']
    part(page, 'search').fill('nose')
    wait_for_text(page, 'directions-note', 'None has such a name.')


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
    wait_for_text(page, 'jobs', 'Getting this picture ready: waits for 1 job')
    assert again.is_hidden()
    page.get_by_role('button', name='Cancel: Getting this picture ready').click()
    again.click()
    wait_for_text(page, 'jobs', 'Getting this picture ready: waits for 1 job')
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
    part(page, 'preset').select_option(label='center0')
    find(page)
    part(page, 'show-numbers').check()
    slider, field = page.locator('.directions input[type=range]').first, page.locator('.line input').first
    assert (slider.get_attribute('min'), slider.get_attribute('max')) == ('-5', '5')
    before = part(page, 'picture').get_attribute('src')
    field.fill('1000')
    field.press('Enter')
    wait_for_picture(page, before)
    assert field.input_value() == str(int(limits['strength']))  # what counts
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
