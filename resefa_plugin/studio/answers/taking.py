"""What is taken away: files, commands, and the work that a browser keeps."""

from __future__ import annotations

import base64
import pathlib
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from resefa_plugin.errors import ResefaError
from resefa_plugin.studio.answers.parts import SAVE_TIMEOUT, Answer
from resefa_plugin.studio.desk import Desk
from resefa_plugin.studio.files import downloads
from resefa_plugin.studio.request import Request

if TYPE_CHECKING:
    from resefa_plugin.studio.actions import Studio


def work(studio: Studio, desk: Desk, request: Request) -> Answer:
    """All of the session as a file that `open_file` takes back, for the browser to keep."""
    with tempfile.TemporaryDirectory(dir=studio.temporary_folder) as folder:
        edition, path = desk.session.edition, pathlib.Path(folder) / 'work.zip'
        photograph = desk.session.state.photograph
        digest = '' if photograph is None else photograph.digest
        downloads.save_work(desk.session, path, digest != request.text('photograph', ''))  # the browser may have it
        return {'edition': edition, 'photograph': digest, 'content': base64.b64encode(path.read_bytes()).decode()}


def command_line(studio: Studio, desk: Desk, request: Request) -> Answer:
    """The edit as a line for a shell, with the files that it reads."""
    text, files = _saved(desk, 'Copying', lambda breathe: downloads.save_line(desk.session, desk.folder,
                                                                              studio.network_flags, breathe))
    return {'text': text, 'files': list(map(_file, files)), 'photograph': desk.session.state.photograph is not None}


def _saved(desk: Desk, title: str, write: Callable[[Callable[[], None]], Any]) -> Any:
    job = desk.save(title, write)
    job.wait(SAVE_TIMEOUT)
    if job.error is not None:
        raise job.error
    if job.result is None:
        raise ResefaError('saving was cancelled')
    return job.result


def _file(path: pathlib.Path) -> Answer:
    return {'name': path.name, 'content': base64.b64encode(path.read_bytes()).decode()}


def download(studio: Studio, desk: Desk, request: Request) -> Answer:
    """A file with its name, as base64."""
    kind, session, folder = request.text('kind'), desk.session, desk.folder
    writers: dict[str, Callable[[Callable[[], None]], pathlib.Path]] = {
        'directions': lambda breathe: downloads.save_directions(session, request.text('region'), folder, breathe),
        'picture': lambda breathe: downloads.save_picture(session, folder),
        'latent': lambda breathe: downloads.save_latent(session, folder),
        'strip': lambda breathe: downloads.save_strip(session, folder, breathe),
        'webp': lambda breathe: downloads.save_animation(session, folder, breathe, 'webp'),
        'mp4': lambda breathe: downloads.save_animation(session, folder, breathe, 'mp4'),
        'all': lambda breathe: downloads.save_all(session, folder, studio.network_flags, breathe),
    }
    if kind not in writers:
        raise ResefaError(f"download '{kind}' is not one of {', '.join(writers)}")
    return _file(_saved(desk, f'Saving {kind}', writers[kind]))
