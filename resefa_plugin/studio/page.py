"""The page, inside gradio: our own markup, style and script, and one server function behind them."""

from __future__ import annotations

import os
from importlib import resources
from typing import Any

from resefa_plugin.errors import ResefaError
from resefa_plugin.studio.actions import MAX_UPLOAD, Studio

MAX_REQUEST = 2 * MAX_UPLOAD  # bytes: an upload as base64, and room


def _asset(name: str) -> str:
    return (resources.files('resefa_plugin.studio') / 'assets' / name).read_text(encoding='utf-8')


def _gradio():
    """gradio, with its telemetry off before it is imported. Raises ResefaError where the extra is missing."""
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    try:
        import gradio
    except ImportError as error:
        raise ResefaError("the studio needs the extra 'ui': pip install 'resefa_plugin[ui]'") from error
    return gradio


def build_page(studio: Studio):
    """The page as `gradio.Blocks`; `launch` needs `launch_options` beside it. Raises ResefaError without gradio."""
    gradio = _gradio()

    def call(data: dict) -> dict:
        return studio.call(data)

    with gradio.Blocks(title='ReSeFa studio', analytics_enabled=False, fill_width=True) as page:
        gradio.HTML(html_template=_asset('studio.html'), js_on_load=_asset('picker.js') + _asset('studio.js'),
                    apply_default_css=False, server_functions=[call])
    return page


def launch_options() -> dict[str, Any]:
    """What the page needs of `Blocks.launch`: its style, no footer, and a bound on what is sent to it."""
    from starlette.middleware import Middleware

    return {'css': _asset('studio.css'), 'footer_links': [], 'show_error': False, 'max_file_size': MAX_UPLOAD,
            'allowed_paths': [], 'app_kwargs': {'middleware': [Middleware(BoundedRequests)]}}


class BoundedRequests:
    """ASGI middleware that refuses requests larger than MAX_REQUEST, by what they say and by what they send."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope['type'] != 'http':
            return await self.app(scope, receive, send)
        headers = dict(scope['headers'])
        if int(headers.get(b'content-length') or 0) > MAX_REQUEST:
            await send({'type': 'http.response.start', 'status': 413, 'headers': [(b'content-type', b'text/plain')]})
            return await send({'type': 'http.response.body', 'body': b'too large'})
        received = 0

        async def bounded():
            nonlocal received
            message = await receive()
            received += len(message.get('body', b''))
            # The application sees a client that went away, whatever it says of its length.
            return {'type': 'http.disconnect'} if received > MAX_REQUEST else message

        return await self.app(scope, bounded, send)
