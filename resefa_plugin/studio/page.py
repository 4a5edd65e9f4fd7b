"""The page, inside gradio: our own markup, style and script, and one server function behind them."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from importlib import resources
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from resefa_plugin.errors import ResefaError
from resefa_plugin.studio.actions import Studio
from resefa_plugin.studio.limits import MAX_REQUEST, MAX_UPLOAD

if TYPE_CHECKING:
    from gradio import Blocks

# One script, as gradio takes it: each file may use what those before it define, and functions of any.
SCRIPTS = ('page.js', 'server.js', 'picker.js', 'picture.js', 'regions.js', 'directions.js', 'sample.js', 'status.js',
           'saving.js', 'main.js')

# Of ASGI, the interface between a web server and an application.
Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


def read_asset(name: str) -> str:
    """The text of a file of the page."""
    return (resources.files('resefa_plugin.studio') / 'assets' / name).read_text(encoding='utf-8')


def page_script() -> str:
    """The scripts of the page as one."""
    return '\n'.join(map(read_asset, SCRIPTS))


def _import_gradio() -> ModuleType:
    """gradio, with its telemetry off before it is imported. Raises ResefaError where the extra is missing."""
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    try:
        import gradio
    except ImportError as error:
        raise ResefaError("the studio needs the extra 'ui': pip install 'resefa_plugin[ui]'") from error
    return gradio


def build_page(studio: Studio) -> Blocks:
    """The page as `gradio.Blocks`; `launch` needs `launch_options` beside it. Raises ResefaError without gradio."""
    gradio = _import_gradio()

    def call(data: dict[str, Any]) -> dict[str, Any]:
        return studio.call(data)

    page: Blocks = gradio.Blocks(title='ReSeFa studio', analytics_enabled=False, fill_width=True)
    with page:
        gradio.HTML(html_template=read_asset('studio.html'), js_on_load=page_script(), apply_default_css=False,
                    server_functions=[call])
    return page


def launch_options() -> dict[str, Any]:
    """What the page needs of `Blocks.launch`: its style, no footer, and a bound on what is sent to it."""
    from starlette.middleware import Middleware

    return {'css': read_asset('studio.css'), 'footer_links': [], 'show_error': False, 'max_file_size': MAX_UPLOAD,
            'allowed_paths': [], 'app_kwargs': {'middleware': [Middleware(BoundedRequests)]}}


class BoundedRequests:
    """ASGI middleware that refuses requests larger than MAX_REQUEST, by what they say and by what they send."""

    def __init__(self, app: Application):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands a request on, or answers that it is too large."""
        if scope['type'] != 'http':
            return await self.app(scope, receive, send)
        headers = dict(scope['headers'])
        if int(headers.get(b'content-length') or 0) > MAX_REQUEST:
            await send({'type': 'http.response.start', 'status': 413, 'headers': [(b'content-type', b'text/plain')]})
            return await send({'type': 'http.response.body', 'body': b'too large'})
        received = 0

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal received
            message = await receive()
            received += len(message.get('body', b''))
            # The application sees a client that went away, whatever it says of its length.
            return {'type': 'http.disconnect'} if received > MAX_REQUEST else message

        await self.app(scope, bounded, send)
