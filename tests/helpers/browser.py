"""What tests do with the studio's page in a browser."""

from __future__ import annotations

import contextlib
import io
import socket
from base64 import b64decode

import numpy as np
import pytest
import torch
from PIL import Image

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


def free_port():
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def served(studio, port=None):
    """The address of a studio that is served, of a port if it matters."""
    from resefa_plugin.studio.page import build_page, launch_options

    page = build_page(studio)
    _, local, _ = page.launch(server_name='127.0.0.1', server_port=port, prevent_thread_lock=True, quiet=True,
                              **launch_options())
    try:
        yield local
    finally:
        page.close()


@contextlib.contextmanager
def opened(browser, address, **options):
    """A fresh page that is ready, and that neither fails nor asks anybody else for anything."""
    context = browser.new_context(**{'viewport': {'width': 1280, 'height': 900}, 'accept_downloads': True, **options})
    page, troubles = context.new_page(), []
    page.set_default_timeout(LONG)
    page.on('pageerror', lambda error: troubles.append(str(error)))
    page.on('console', lambda message: troubles.append(message.text) if message.type == 'error' else None)
    own = (address, 'data:', f'blob:{address}')
    page.on('request', lambda request: None if request.url.startswith(own) else troubles.append(request.url))
    page.goto(address)
    wait_until_ready(page)
    yield page
    context.close()
    assert troubles == []


def wait_until_ready(page):
    page.wait_for_selector('.studio[data-ready=yes]')


def part(page, name):
    return page.locator(f'[data-part="{name}"]')


def press(page, name):
    page.locator(f'[data-action="{name}"]').click()


def over(page, x, y):
    """A place on the screen, by fractions of the picture."""
    box = part(page, 'overlay').bounding_box()
    return box['x'] + x * box['width'], box['y'] + y * box['height']


def serious_findings(page):
    """What axe finds that keeps somebody from using the page: rule and element."""
    axe = pytest.importorskip('axe_playwright_python.sync_playwright').Axe()
    violations = axe.run(page).response['violations']
    return [(finding['id'], node['html'][:120]) for finding in violations
            if finding['impact'] in ('serious', 'critical') for node in finding['nodes']]


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
    wait_for_directions(page, count)


def wait_for_directions(page, count=3):
    page.wait_for_function(f"document.querySelectorAll('.directions li').length >= {count}")
    page.wait_for_function("document.querySelectorAll('.end img[src]').length === "
                           "2 * document.querySelectorAll('.directions li').length")
    # A strength that is set before its step is measured keeps its picture and changes its number.
    page.wait_for_function("document.querySelectorAll('.directions li.predicted').length === 0")


def wait_for_text(page, name, text):
    page.wait_for_function("([part, text]) => document.querySelector(part)?.textContent.includes(text)",
                           arg=[f'[data-part={name}]', text])


def wait_for_picture(page, before):
    """Waits for another picture than `before`, and says what the page says where none comes."""
    from playwright.sync_api import TimeoutError

    try:
        page.wait_for_function("before => document.querySelector('[data-part=picture]').src !== before", arg=before)
    except TimeoutError as error:
        alt, notice = part(page, 'picture').get_attribute('alt'), part(page, 'notice').inner_text()
        raise AssertionError(f"the picture is still that of '{alt}'; the page says '{notice}'") from error


def release(page, index, value):
    """Moves a slider and waits for the full picture."""
    before = part(page, 'picture').get_attribute('src')
    page.locator('.directions input[type=range]').nth(index).fill(str(value))
    wait_for_picture(page, before)
