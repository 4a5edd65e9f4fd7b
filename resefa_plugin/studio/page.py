"""The page, inside gradio: our own markup, style and script, and one server function behind them."""

from __future__ import annotations

import atexit
import functools
import os
import pathlib
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager
from importlib import resources
from types import ModuleType
from typing import TYPE_CHECKING, Any

from resefa_plugin.errors import ResefaError
from resefa_plugin.machine.files import scratch_folder
from resefa_plugin.studio.actions import Studio
from resefa_plugin.studio.door import VISITOR, Door, host_name
from resefa_plugin.studio.limits import MAX_UPLOAD

if TYPE_CHECKING:
    from gradio import Blocks

# One script, as gradio takes it: each file may use what those before it define, and functions of any.
SCRIPTS = ('page.js', 'server.js', 'keep.js', 'masks.js', 'picker.js', 'drawing.js', 'zoom.js', 'picture.js',
           'pinch.js', 'regions.js', 'parts.js', 'strengths.js', 'directions.js', 'edits.js', 'sample.js', 'gallery.js',
           'files.js', 'history.js', 'status.js', 'saving.js', 'main.js')


def read_asset(name: str) -> str:
    """The text of a file of the page."""
    return (resources.files('resefa_plugin.studio') / 'assets' / name).read_text(encoding='utf-8')


def page_script() -> str:
    """The scripts of the page as one."""
    return '\n'.join(map(read_asset, SCRIPTS))


@functools.cache
def _gradio_folder() -> pathlib.Path:
    """Where gradio keeps files: a folder that goes with the process, as gradio asks for it once, when imported."""
    scratch = ExitStack()
    atexit.register(scratch.close)
    return scratch.enter_context(scratch_folder(tempfile.gettempdir(), 'resefa-studio-gradio'))


def _import_gradio() -> ModuleType:
    """gradio, without telemetry and servers beside that of the page. Raises ResefaError where the extra is missing."""
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    os.environ['GRADIO_NUM_WORKERS'] = '0'
    os.environ['GRADIO_TEMP_DIR'] = str(_gradio_folder())
    try:
        import gradio
    except ImportError as error:
        raise ResefaError("the studio needs the extra 'ui': pip install 'resefa_plugin[ui]'") from error
    return gradio


def build_page(studio: Studio) -> Blocks:
    """The page as `gradio.Blocks`; `launch` needs `launch_options` beside it. Raises ResefaError without gradio."""
    gradio = _import_gradio()

    def call(data: dict[str, Any]) -> dict[str, Any]:
        return studio.call(data, VISITOR.get())  # fails if there was no door

    page: Blocks = gradio.Blocks(title='ReSeFa studio', analytics_enabled=False, fill_width=True)
    with page:
        gradio.HTML(html_template=read_asset('studio.html'), js_on_load=page_script(), apply_default_css=False,
                    server_functions=[call])
    return page


def launch_options(allow_hosts: Iterable[str] = (), frame_ancestors: Sequence[str] = ()) -> dict[str, Any]:
    """What the page needs of `Blocks.launch`: its style, no footer, and a door before it, see `Door`.

    Raises ResefaError for a host that is not the name of one.
    """
    names = [host_name(host) for host in allow_hosts]

    @asynccontextmanager
    async def with_door(app: Any) -> AsyncIterator[None]:
        # Before the first request is taken. `middleware` of the application would come behind gradio's own.
        page = app.get_blocks()
        app.middleware_stack = Door(app.middleware_stack, lambda: page.blocks, lambda: page.share_url, names,
                                    frame_ancestors)
        yield

    return {'css': read_asset('studio.css'), 'footer_links': [], 'show_error': False, 'max_file_size': MAX_UPLOAD,
            'allowed_paths': [], 'ssr_mode': False, 'app_kwargs': {'lifespan': with_door}}
