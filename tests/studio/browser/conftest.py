"""Debian's chromium, driven by playwright, and the studio of a small generator in it."""

from __future__ import annotations

import shutil

import pytest

from resefa_plugin import FunctionHook
from resefa_plugin.studio.actions import Studio
from tests.helpers.browser import LONG, spots

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
