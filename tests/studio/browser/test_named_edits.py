"""Edits by name, and the parts that a network has itself, on the page."""

from __future__ import annotations

import pytest
import torch

from resefa_plugin import FunctionHook
from resefa_plugin.atlas.atlas import atlas_folder
from resefa_plugin.studio.actions import Studio
from tests.helpers.atlases import known
from tests.helpers.browser import (
    find,
    opened,
    over,
    part,
    pixels,
    press,
    release,
    serious_findings,
    served,
    wait_for_picture,
    wait_for_text,
)
from tests.helpers.faces import box, forged

pytestmark = pytest.mark.browser

ROWS, COLUMNS, SIDE = 4, 2, 256
NO_FACE = [box('hair', 20, 60, 400, 380)]


def blocks(z: torch.Tensor) -> torch.Tensor:
    """256 x 256: z[3 i : 3 i + 3] colours block i of eight, in four rows and two columns, each a little uneven."""
    colours = z.reshape(len(z), ROWS, COLUMNS, 3).permute(0, 3, 1, 2)
    whole = colours.repeat_interleave(SIDE // ROWS, 2).repeat_interleave(SIDE // COLUMNS, 3)
    ys, xs = torch.meshgrid(torch.linspace(0, 9, SIDE), torch.linspace(0, 9, SIDE), indexing='ij')
    return torch.tanh(0.4 * whole * (1 + 0.2 * torch.sin(3 * xs) * torch.sin(3 * ys)))


@pytest.fixture(scope='module')
def studio(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('RESEFA_CACHE', str(tmp_path_factory.mktemp('cache')))
        hook = FunctionHook(blocks, 24, name='blocks')
        studio = Studio(hook, ['--hook=blocks:blocks'], limit=64,
                        session_options=known(hook, atlas_folder(hook), 'z'))
        studio.networks = forged(NO_FACE)
        yield studio
        studio.close()


def named(page, name):
    return page.get_by_role('slider', name=name, exact=True)


def move(page, name, value):
    before = part(page, 'picture').get_attribute('src')
    named(page, name).fill(str(value))
    wait_for_picture(page, before)


def test_sliders_with_names_are_there_at_once_and_move_the_picture(page):
    assert part(page, 'edits-box').get_attribute('open') is not None and part(page, 'edits-hint').is_hidden()
    assert page.locator('.edits h3').all_inner_texts() == ['Eyes', 'Mouth', 'Hair']
    assert page.locator('.edits li').count() == 4 and not page.locator('.edits .change').first.is_visible()
    original = pixels(page)
    move(page, 'mouth closes to mouth opens', 2)
    change = abs(pixels(page) - original).mean(axis=-1)
    assert change[160:224, 96:160].mean() > 5 * change[:96].mean()
    assert 'mouth opens at 2.0' in part(page, 'picture').get_attribute('alt')
    move(page, 'hair darkens to hair lightens', -1.5)
    assert page.locator('.chip').count() == 1  # no region is drawn for them
    page.get_by_text('History', exact=True).click()
    assert part(page, 'history').get_by_role('button').all_inner_texts() == [
        'Seed 0', 'mouth opens: +2.0', 'hair lightens: -1.5']
    edited = part(page, 'picture').get_attribute('src')
    press(page, 'undo')
    wait_for_picture(page, edited)
    assert named(page, 'hair darkens to hair lightens').input_value() == '0'
    edited = part(page, 'picture').get_attribute('src')
    press(page, 'reset-edits')
    page.wait_for_function("document.querySelector('[data-action=reset-edits]').disabled")
    wait_for_picture(page, edited)  # the button may be ahead of it
    assert abs(pixels(page) - original).max() == 0


def test_the_command_line_calls_them_by_name_and_their_file_is_saved(page):
    move(page, 'mouth closes to mouth opens', 1.5)
    press(page, 'copy')
    wait_for_text(page, 'commands', 'resefa edit')
    text = part(page, 'commands').inner_text()
    assert "'--do=mouth opens' --amount=1.5" in text and 'factorize' not in text
    with page.expect_download() as download:
        page.locator('[data-save=directions]').click()
    assert download.value.suggested_filename == 'mouth-opens.npz'


def test_they_are_searched_by_name_and_part_and_have_numbers(page):
    part(page, 'edits-search').fill('mouth')
    assert page.locator('.edits li:visible').count() == 2 and page.locator('.edits h3:visible').count() == 1
    part(page, 'edits-search').fill('lightens')
    assert page.locator('.edits li:visible .more').all_inner_texts() == ['hair lightens']
    part(page, 'edits-search').fill('wings')
    assert part(page, 'edits-note').inner_text() == 'None has such a name.'
    part(page, 'edits-search').fill('')
    part(page, 'edit-numbers').check()
    assert '; 14 of 16 faces' in page.locator('.edits .change').first.inner_text()
    field = page.locator('.edits input[type=number]').first
    before = part(page, 'picture').get_attribute('src')
    field.fill('4')
    field.press('Enter')
    wait_for_picture(page, before)
    assert 'eyes open at 4.0' in part(page, 'picture').get_attribute('alt')


def test_they_go_with_directions_of_a_region_and_another_space(page):
    part(page, 'preset').select_option(label='center0')
    find(page)
    move(page, 'smile fades to smile', 2)
    release(page, 0, 1)
    assert 'smile at 2.0, center0 1 at 1.0' in part(page, 'picture').get_attribute('alt')
    assert part(page, 'show-numbers').is_checked() == part(page, 'edit-numbers').is_checked()
    press(page, 'reset')
    page.wait_for_function("document.querySelector('[data-action=reset]').disabled")
    assert named(page, 'smile fades to smile').input_value() == '0'


def test_by_keyboard_and_still_there_after_a_reload(page):
    slider = named(page, 'mouth closes to mouth opens')
    slider.focus()
    before = part(page, 'picture').get_attribute('src')
    for _ in range(8):
        page.keyboard.press('ArrowRight')
    wait_for_picture(page, before)
    assert slider.input_value() == '0.4' and slider.evaluate("s => getComputedStyle(s).outlineStyle") == 'solid'
    wait_for_text(page, 'kept', 'Kept in this browser')
    page.reload()
    page.wait_for_function("document.querySelector('.edits input[aria-label=\"mouth closes to mouth opens\"]')?.value "
                           "=== '0.4'")
    assert part(page, 'edits-box').get_attribute('open') is not None


@pytest.mark.parametrize('options', [
    {'viewport': {'width': 1280, 'height': 900}},
    {'viewport': {'width': 390, 'height': 844}, 'color_scheme': 'dark'},
])
def test_axe_finds_nothing_serious_and_nothing_is_cut_off(browser, address, options):
    with opened(browser, address, **options) as page:
        part(page, 'edit-numbers').check()
        move(page, 'mouth closes to mouth opens', 2)
        page.locator('[data-tool=part]').click()
        assert serious_findings(page) == []
        assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')


def test_where_nobody_knows_edits_the_page_says_what_to_run(browser):
    hook = FunctionHook(blocks, 24, name='blocks')
    studio = Studio(hook, ['--hook=blocks:blocks'])
    studio.networks = forged(NO_FACE)
    with served(studio) as address, opened(browser, address) as page:
        assert part(page, 'edits-box').is_hidden() and part(page, 'edits-hint').is_visible()
        assert part(page, 'edits-command').inner_text() == 'resefa atlas --hook=blocks:blocks --trunc=1 --edits'
        page.locator('[data-tool=part]').click()
        wait_for_text(page, 'notice-text', 'No face is seen in this picture: draw a box')
        assert part(page, 'parts-of-label').is_hidden()
    studio.close()


def test_a_part_of_the_network_is_clicked_where_no_face_is_seen(page):
    page.locator('[data-tool=part]').click()
    page.wait_for_function("document.querySelector('[data-part=parts-of]').value === 'network'")
    wait_for_text(page, 'announcement', 'No face is seen: parts of this network can be clicked')
    names = set()
    for row in range(ROWS):
        for column in range(COLUMNS):
            page.mouse.move(*over(page, (column + 0.3) / COLUMNS, (row + 0.5) / ROWS))
            page.mouse.move(*over(page, (column + 0.5) / COLUMNS, (row + 0.5) / ROWS))
            wait_for_text(page, 'figures', 'part ')
            names.add(part(page, 'figures').inner_text())
    assert names == {f'part {number}' for number in range(1, 9)}
    shown = part(page, 'figures').inner_text()
    page.mouse.down()
    page.mouse.up()
    wait_for_text(page, 'directions-title', f'Directions of {shown}')
    assert page.locator('.chip button').first.inner_text() == shown
    page.wait_for_function("document.querySelectorAll('.directions li').length >= 3")
    original = pixels(page)
    release(page, 0, 3)
    change = abs(pixels(page) - original).mean(axis=-1)
    assert change[200:248, 136:248].mean() > 10 * change[8:184].mean()  # the block at the lower right
