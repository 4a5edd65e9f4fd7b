"""Work that stays: over a reload, in a second tab, over a new server, in files that are opened again."""

from __future__ import annotations

import base64

import pytest

from resefa_plugin import FunctionHook
from resefa_plugin.studio.actions import Studio
from tests.helpers.browser import (
    LONG,
    find,
    free_port,
    part,
    pixels,
    press,
    release,
    served,
    spots,
    wait_for_directions,
    wait_for_picture,
    wait_for_text,
    wait_until_ready,
)

pytestmark = pytest.mark.browser


def edit(page):
    """A region with directions, of which one is moved; the edited picture, once the browser keeps it."""
    part(page, 'preset').select_option(label='center0')
    find(page)
    release(page, 0, 2.5)
    wait_for_text(page, 'kept', 'Kept in this browser')
    page.wait_for_timeout(1500)  # until the last change is kept, too
    return part(page, 'picture').get_attribute('src')


def slider(page, index=0):
    return page.locator('.directions input[type=range]').nth(index)


def wait_for_edit(page):
    page.wait_for_function("document.querySelector('.directions input[type=range]')?.value === '2.5'")
    wait_until_ready(page)


def test_a_page_that_is_loaded_anew_goes_on_where_it_was(page):
    edited = edit(page)
    page.reload()
    wait_for_edit(page)
    assert part(page, 'picture').get_attribute('src') == edited
    assert page.locator('.chip button').first.inner_text() == 'center0'
    press(page, 'undo')  # the history is there, too
    wait_for_picture(page, edited)
    assert slider(page).input_value() == '0'


def test_going_elsewhere_and_back_is_no_loss(page, address):
    edited = edit(page)
    page.goto('about:blank')
    page.go_back()
    wait_for_edit(page)
    assert part(page, 'picture').get_attribute('src') == edited


def test_a_second_tab_shows_the_same_and_follows(page, address):
    edit(page)
    other = page.context.new_page()
    other.set_default_timeout(LONG)
    other.goto(address)
    wait_for_edit(other)
    before = part(page, 'picture').get_attribute('src')
    release(other, 0, -2)
    wait_for_picture(page, before)
    assert slider(page).input_value() == '-2'
    other.close()


@pytest.fixture
def port():
    return free_port()


def test_a_server_that_was_started_anew_gets_the_work_back(browser, port):
    context = browser.new_context(viewport={'width': 1280, 'height': 900})
    page = context.new_page()
    page.set_default_timeout(LONG)
    for turn in range(2):
        studio = Studio(FunctionHook(spots, 27, name='spots'), ['--hook=spots:spots'])
        with served(studio, port) as address:
            if turn == 0:
                page.goto(address)
                wait_until_ready(page)
                before = edit(page) and pixels(page)
            else:  # the page finds the new server by itself
                for _ in range(300):
                    if len(studio.store):
                        break
                    page.wait_for_timeout(200)
                wait_for_edit(page)
                assert abs(pixels(page) - before).max() <= 4
                page.wait_for_function("document.querySelectorAll('.end img[src]').length >= 6")
                page.get_by_text('History', exact=True).click()
                steps = part(page, 'history').get_by_role('button')  # the steps are back, too
                assert steps.all_inner_texts() == ['Seed 0', 'center0 is drawn', 'Directions of center0',
                                                   'center0 1: +2.5']
                edited = part(page, 'picture').get_attribute('src')
                press(page, 'undo')
                wait_for_picture(page, edited)
                assert slider(page).input_value() == '0'
                steps.nth(1).click()
                wait_for_text(page, 'directions-note', 'Sliders appear here')
                page.keyboard.press('Control+y')
                wait_for_directions(page)
        studio.close()
    context.close()


def another_page(browser, address):
    """A page of another browser, which has kept nothing."""
    page = browser.new_page()
    page.set_default_timeout(LONG)
    page.goto(address)
    wait_until_ready(page)
    return page


def test_the_zip_of_everything_is_opened_again(page, browser, address, tmp_path):
    edit(page)
    before = pixels(page)
    with page.expect_download() as download:
        page.locator('[data-save=all]').click()
    path = tmp_path / 'seed0000.zip'
    download.value.save_as(path)
    other = another_page(browser, address)
    part(other, 'file').set_input_files(path)
    wait_for_edit(other)
    assert abs(pixels(other) - before).max() <= 4
    wait_for_text(other, 'announcement', 'Your work is open')
    other.close()


DROP = '''([name, content]) => {
    const bytes = Uint8Array.from(atob(content), character => character.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], name));
    for (const kind of ['dragover', 'drop']) {
        document.body.dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
    }
}'''


def test_directions_that_are_dropped_bring_their_mask_and_sliders(page, browser, address, tmp_path):
    edit(page)
    with page.expect_download() as download:
        page.locator('[data-save=directions]').click()
    path = tmp_path / 'seed0000-center0.npz'
    download.value.save_as(path)
    other = another_page(browser, address)
    other.evaluate(DROP, [path.name, base64.b64encode(path.read_bytes()).decode()])
    other.wait_for_function("document.querySelectorAll('.directions li').length >= 3")
    assert other.locator('.chip button').first.inner_text() == 'center0' and slider(other).input_value() == '0'
    other.wait_for_function("document.querySelectorAll('.end img[src]').length >= 6")
    other.close()


def test_it_warns_before_work_goes_that_is_not_kept(browser, address):
    context = browser.new_context()
    page, other = context.new_page(), context.new_page()
    page.goto(address)
    wait_until_ready(page)
    page.route('**/component_server/', lambda route: route.fulfill(json={'error': 'there is no room'})
               if '"action":"work"' in route.request.post_data else route.continue_())
    part(page, 'preset').select_option(label='center0')
    wait_for_text(page, 'kept', 'Not kept: save before you leave')
    asked = []
    page.on('dialog', lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.locator('[data-tool=brush]').click()  # browsers ask only where somebody has done something
    page.close(run_before_unload=True)
    for _ in range(300):
        if asked:
            break
        other.wait_for_timeout(100)
    assert asked == ['beforeunload']
    context.close()


def test_to_start_anew_is_asked_twice_and_forgets(page):
    edited = edit(page)
    press(page, 'ask-anew')
    press(page, 'go-on')
    assert part(page, 'picture').get_attribute('src') == edited
    press(page, 'ask-anew')
    with page.expect_download():
        press(page, 'save-first')
    press(page, 'start-anew')
    page.wait_for_function("document.querySelectorAll('.directions li').length === 0")
    wait_until_ready(page)
    page.reload()
    wait_until_ready(page)
    assert page.locator('.directions li').count() == 0


def test_a_page_that_is_closed_gives_up_its_place_at_once(page, studio):
    edit(page)
    entry = studio.store._entries[page.evaluate("localStorage.getItem('resefa-studio-session')")]
    page.goto('about:blank')
    for _ in range(300):
        if entry.seen < 0:
            break
        page.wait_for_timeout(100)
    assert entry.seen < 0 and entry.session._page_left_at > 0
