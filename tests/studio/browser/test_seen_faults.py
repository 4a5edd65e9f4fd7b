"""Faults that somebody has seen on the page, each with the way in which it was seen."""

from __future__ import annotations

import io

import numpy as np
import pytest

from resefa_plugin import FunctionHook
from resefa_plugin.studio.actions import Studio
from tests.helpers.browser import (
    drag,
    find,
    free_port,
    opened,
    part,
    pixels,
    press,
    release,
    served,
    spots,
    wait_for_picture,
    wait_for_text,
    wait_until_ready,
)
from tests.helpers.studio_pages import picture
from tests.helpers.toys import TinyHook

pytestmark = pytest.mark.browser


@pytest.mark.parametrize('width', [390, 1280])
def test_the_words_of_a_button_stay_on_one_line(page, width):
    page.set_viewport_size({'width': width, 'height': 844})
    for _ in range(12):
        page.get_by_role('button', name='+ New region').click()
    wait_for_text(page, 'notice-text', 'regions already')
    for button in page.locator('.studio button:visible, .studio .button:visible').all():
        assert button.evaluate('b => b.scrollWidth <= b.clientWidth + 1'), button.inner_text()
    assert part(page, 'notice').get_by_role('button').bounding_box()['height'] < 50


def test_a_server_that_is_gone_is_said_to_be_and_found_again(browser):
    port = free_port()
    studio = Studio(FunctionHook(spots, 27, name='spots'), ['--hook=spots:spots'])
    with served(studio, port) as address:
        page = browser.new_page()
        page.goto(address)
        wait_until_ready(page)
    press(page, 'next')
    wait_for_text(page, 'notice-text', 'The studio has stopped. Start it again: this page goes on by itself.')
    with served(studio, port):
        wait_until_ready(page)
        assert part(page, 'notice').is_hidden()
        before = part(page, 'picture').get_attribute('src')
        press(page, 'next')
        wait_for_picture(page, before)
    page.close()
    studio.close()


@pytest.fixture
def tiny_page(browser):
    studio = Studio(TinyHook(), ['--network=tiny'])
    with served(studio) as address, opened(browser, address) as page:
        yield page
    studio.close()


def saved_latent(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return {'name': 'mine.npz', 'mimeType': 'application/octet-stream', 'buffer': file.getvalue()}


def test_a_latent_of_a_file_arrives_without_the_sliders_of_another_sample(tiny_page):
    page = tiny_page
    drag(page, 0.25, 0.25, 0.6, 0.6)
    find(page)
    release(page, 0, 3)
    before = part(page, 'picture').get_attribute('src')
    part(page, 'file').set_input_files(saved_latent(w=np.full((1, 8, 4), 0.3, np.float32)))
    wait_for_picture(page, before)
    assert page.locator('.directions input[type=range]').first.input_value() == '0'
    assert part(page, 'picture').get_attribute('alt') == 'proj00, unedited'
    assert 'w+ latents [1, 8, 4]' in part(page, 'sample-note').inner_text()


def test_no_picker_of_files_says_that_none_is_chosen(page):
    page.get_by_text('Files, space and layers').click()
    page.get_by_text('Type a box, or take a mask from a file').click()
    for picker in page.locator('input[type=file]').all():
        box = picker.bounding_box()  # its label is the button
        assert box['width'] <= 1 and box['height'] <= 1
        picker.focus()
        assert picker.evaluate("p => getComputedStyle(p.closest('.button')).outlineStyle") == 'solid'


def test_the_number_box_says_what_counts(page):
    part(page, 'preset').select_option(label='center0')
    find(page)
    part(page, 'show-numbers').check()
    field = page.locator('.line input').first
    before = part(page, 'picture').get_attribute('src')
    field.fill('50')
    field.press('Enter')
    wait_for_picture(page, before)
    assert field.input_value() == '20' and '1 at 20.0' in part(page, 'picture').get_attribute('alt')


def test_the_heat_map_is_where_the_picture_was_and_its_figures_in_view(page):
    part(page, 'preset').select_option(label='center0')
    find(page)
    release(page, 0, 2)
    place = part(page, 'picture').bounding_box()
    press(page, 'heat-map')
    wait_for_text(page, 'figures', 'Changed: region')
    assert part(page, 'picture').bounding_box() == place
    assert pixels(page).shape == (256, 256, 3)  # so that each pixel is over its own
    figures = part(page, 'figures').bounding_box()
    assert figures['y'] + figures['height'] <= place['y'] + place['height'] < 900


def test_a_slider_is_filled_from_zero(page):
    part(page, 'preset').select_option(label='center0')
    find(page)
    slider = page.locator('.directions input[type=range]').first
    filled = "s => ['--from', '--to'].map(name => s.style.getPropertyValue(name))"
    assert slider.evaluate(filled) == ['50%', '50%']
    release(page, 0, 2.5)
    assert slider.evaluate(filled) == ['50%', '75%']
    release(page, 0, -5)
    assert slider.evaluate(filled) == ['0%', '50%']


def test_only_what_is_there_can_be_saved(page):
    def off():
        return {button.get_attribute('data-save') for button in page.locator('[data-save]:disabled').all()}

    assert off() == {'directions', 'all', 'strip', 'webp', 'mp4'} and page.locator('[data-action=copy]').is_disabled()
    part(page, 'preset').select_option(label='center0')
    find(page)
    assert off() == {'strip', 'webp', 'mp4'} and page.locator('[data-action=copy]').is_disabled()
    release(page, 0, 1)
    assert off() == set() and page.locator('[data-action=copy]').is_enabled()


def test_fields_of_a_row_stand_on_one_line(page):
    page.get_by_text('Files, space and layers').click()
    for row in page.locator('.fields').all():
        feet = {round(element.evaluate('e => e.getBoundingClientRect().bottom'))
                for element in row.locator('input:not([type=file]), select, button, .button').all()
                if element.is_visible()}
        assert len(feet) <= 1
    assert page.locator('.studio [placeholder]').count() == 0  # which look like values


def test_a_box_and_a_stroke_by_the_arrow_keys(page):
    overlay = part(page, 'overlay')
    overlay.focus()
    with page.expect_request(lambda request: '"action":"region"' in (request.post_data or '')) as asked:
        for keys in (['ArrowLeft'] * 4, ['ArrowUp'] * 4, [' '], ['ArrowRight'] * 8, ['ArrowDown'] * 8, [' ']):
            for key in keys:
                page.keyboard.press(key)
    wait_for_text(page, 'announcement', 'region1 is drawn. Enter finds its directions')
    drawn = np.argwhere(picture(asked.value.post_data_json['data']['mask'])[..., 0])
    assert drawn.min(axis=0).tolist() == [112, 112] and drawn.max(axis=0).tolist() == [143, 143]
    page.keyboard.press('Enter')
    page.wait_for_function("document.querySelectorAll('.directions li').length >= 3")


@pytest.mark.parametrize('width', [390, 1280])
def test_the_picture_stays_in_view_while_sliders_are_moved(page, width):
    page.set_viewport_size({'width': width, 'height': 760})
    part(page, 'preset').select_option(label='center0')
    find(page)
    page.locator('[data-action=copy]').scroll_into_view_if_needed()
    stage = part(page, 'stage').bounding_box()
    assert stage['y'] >= -1 and stage['y'] + stage['height'] <= 761


def test_undo_redo_and_any_step_of_the_history(page):
    part(page, 'preset').select_option(label='center0')
    find(page)
    release(page, 0, 3)
    edited, pictures = part(page, 'picture').get_attribute('src'), []
    for keys in ('Control+z', 'Control+Shift+z', 'Control+z', 'Control+y'):
        before = part(page, 'picture').get_attribute('src')
        page.keyboard.press(keys)
        wait_for_picture(page, before)
        pictures.append(part(page, 'picture').get_attribute('src') == edited)
    assert pictures == [False, True, False, True]
    page.get_by_text('History', exact=True).click()
    steps = part(page, 'history').get_by_role('button')
    assert steps.all_inner_texts() == ['Seed 0', 'center0 is drawn', 'Directions of center0', 'center0 1: +3.0']
    steps.nth(1).click()
    wait_for_text(page, 'directions-note', 'Sliders appear here')
    assert steps.nth(1).get_attribute('aria-current') == 'step' and page.locator('[data-action=redo]').is_enabled()
    before = part(page, 'picture').get_attribute('src')
    steps.nth(3).click()
    wait_for_picture(page, before)
    assert part(page, 'picture').get_attribute('src') == edited
