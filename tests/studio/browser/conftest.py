"""Debian's chromium, driven by playwright, and the studio of a small generator in it."""

from __future__ import annotations

import shutil

import pytest

from resefa_plugin import FunctionHook
from resefa_plugin.studio.actions import Studio
from tests.helpers.browser import opened, served, spots

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')


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
    with served(studio) as address:
        yield address


@pytest.fixture
def page(browser, address):
    with opened(browser, address) as page:
        yield page
