"""The report of a real run: its command runs as it stands, its slider flips through its pictures, it prints."""

from __future__ import annotations

import html
import re
import shlex
import shutil

import pytest
from click.testing import CliRunner
from PIL import Image

from resefa_plugin.callbacks import picture_writer
from resefa_plugin.hooks import opening
from resefa_plugin.scripts.main import main
from tests.helpers.toys import TinyHook

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')


def invoke(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.stdout


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Where a run has left its report in `out x`, a name that a shell would take apart."""
    folder = tmp_path_factory.mktemp('run')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(opening.NAMED_NETWORKS, 'tiny', lambda rest, device: TinyHook())
        patch.chdir(folder)
        invoke('factorize', '--network=tiny', '--seeds=3', '--trunc=0.5', '--region=eyes', '--num-directions=2',
               '--outdir=out x')
    return folder


def test_its_command_runs_as_it_stands(folder, tiny, monkeypatch):
    monkeypatch.chdir(folder)
    page = (folder / 'out x' / 'report.html').read_text()
    shown = re.search(r'<pre class="command"><code>(.*?)</code>', page, re.DOTALL)[1]
    words = shlex.split(html.unescape(re.sub(r'<[^>]+>', '', shown)))
    assert words[:3] == ['resefa', 'edit', '--network=tiny'] and '--index=1' in words
    assert invoke(*words[1:]).splitlines()[-1] == 'Open out x/edits/grid.png'
    assert (folder / 'out x' / 'edits' / 'seed0003-00.png').is_file()


def test_flags_of_the_generator_are_in_its_command(tmp_path, tiny):
    invoke('factorize', '--network=tiny', '--noise-mode=const', '--seeds=0', '--region=eyes', '--num-directions=1',
           f'--outdir={tmp_path}')
    assert 'resefa edit --network=tiny --noise-mode=const --directions=' in (tmp_path / 'report.html').read_text()


@pytest.mark.parametrize('seen, furthest', [(0.01, 3), (0.45, 6), (1e9, 9)])
def test_other_samples_are_moved_until_something_is_seen(tmp_path, tiny, monkeypatch, seen, furthest):
    monkeypatch.setattr(picture_writer, 'SEEN', seen)
    captions = []
    drawn = picture_writer.pictures.contact_sheet
    monkeypatch.setattr(picture_writer.pictures, 'contact_sheet', lambda rows, labels, columns, *rest, **more: (
        captions.append(columns), drawn(rows, labels, columns, *rest, **more))[1])
    invoke('factorize', '--network=tiny', '--seeds=0', '--region=eyes', '--num-directions=1', '--other-seeds=1,2',
           f'--outdir={tmp_path}')
    assert [f'-{furthest}', '0', f'+{furthest}'] in captions


@pytest.fixture(scope='module')
def browser():
    playwright = pytest.importorskip('playwright.sync_api', reason='needs playwright: pip install playwright')
    if CHROMIUM is None:
        pytest.skip('needs chromium: apt-get install chromium')
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox', '--disable-gpu'])
        yield browser
        browser.close()


@pytest.mark.browser
def test_the_slider_flips_through_the_pictures(folder, browser):
    page, problems = browser.new_page(), []
    page.on('console', lambda message: problems.append(message.text))
    page.on('pageerror', lambda error: problems.append(str(error)))
    page.goto((folder / 'out x' / 'report.html').as_uri())
    stage, slider = page.locator('.stage .near'), page.locator('.viewer input')

    def of_strip(direction, step):
        return page.locator('.direction').nth(direction).locator('.strip img.near').nth(step).get_attribute('src')

    assert page.locator('.viewer').is_visible() and page.locator('output').text_content() == '+3'
    assert stage.get_attribute('src') == of_strip(0, 6)
    slider.fill('1')
    assert stage.get_attribute('src') == of_strip(0, 1) and page.locator('output').text_content() == '-2'
    page.locator('.choice button').nth(1).click()
    assert stage.get_attribute('src') == of_strip(1, 1)
    assert '--index=2' in page.locator('.command').text_content()
    page.locator('.direction').nth(0).locator('.strip figure').nth(4).click()
    assert stage.get_attribute('src') == of_strip(0, 4) and page.locator('output').text_content() == '+1'
    assert not problems


@pytest.mark.browser
def test_without_a_script_all_pictures_are_there(folder, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((folder / 'out x' / 'report.html').as_uri())
    assert page.locator('.viewer').is_hidden() and page.locator('.direction .strip img.near').first.is_visible()
    context.close()


@pytest.mark.browser
def test_on_paper_figures_are_unfolded(folder, browser):
    page = browser.new_page()
    page.goto((folder / 'out x' / 'report.html').as_uri())
    page.emulate_media(media='print')
    assert page.locator('.viewer').is_hidden()
    assert page.locator('table').first.is_hidden()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator('table').first.is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator('table').first.is_hidden()


def test_strips_show_the_part_around_the_region(folder):
    with Image.open(folder / 'out x' / 'seed0003-eyes' / 'direction1.png') as strip:
        assert strip.width > 4 * strip.height
