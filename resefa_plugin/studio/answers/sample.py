"""The sample: of a seed or a file, and its latent space."""

from __future__ import annotations

import pathlib
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING

from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.base import MAX_SEED
from resefa_plugin.ranges import parse_ranges
from resefa_plugin.studio import view
from resefa_plugin.studio.answers.parts import Answer, pictures_and_state
from resefa_plugin.studio.desk import Desk
from resefa_plugin.studio.files import opening
from resefa_plugin.studio.files.archive import read_work
from resefa_plugin.studio.limits import MAX_COUNT, MAX_FACES, TRUNCATION
from resefa_plugin.studio.request import Request
from resefa_plugin.studio.work.photographs import place
from resefa_plugin.studio.work.sources import Source

if TYPE_CHECKING:
    from resefa_plugin.studio.actions import Studio


def source(studio: Studio, request: Request, seed: int | None) -> Source:
    """What a page says of a sample; `seed` None for one of a file."""
    layers = studio.hook.num_ws or MAX_COUNT  # a generator without layers says so itself
    return Source(seed, request.number('trunc', *TRUNCATION, default=1.0),
                  request.optional_integer('cutoff', 0, layers), request.text('label', '').strip())


def seed(studio: Studio, desk: Desk, request: Request) -> Answer:
    """The sample of a seed."""
    desk.session.load_seed(source(studio, request, request.integer('seed', 0, MAX_SEED)))
    desk.prepare()
    desk.complete()
    return pictures_and_state(desk)


def thumbnail(studio: Studio, desk: Desk, request: Request) -> Answer:
    """A small picture of a seed."""
    studio.queue.slider_moved()  # somebody waits to see it
    content = studio.gallery.picture(source(studio, request, request.integer('seed', 0, MAX_SEED)))
    return {'picture': view.jpeg_url(content)}


def open_file(studio: Studio, desk: Desk, request: Request) -> Answer:
    """A file of any kind that the studio knows: kept under a name of ours while it is read, then removed."""
    name = request.text('name')
    with tempfile.TemporaryDirectory(dir=studio.temporary_folder) as folder:
        path = pathlib.Path(folder) / 'file'  # what it is, its content tells
        path.write_bytes(request.content('content'))
        try:
            kind = opening.kind_of(path)
            OPENERS[kind](studio, desk, request, path)
        except ResefaError as error:  # which tells our name of the file
            raise ResefaError(str(error).replace(str(path), name)) from error
    if kind != opening.PHOTOGRAPH:  # which is yet to be found
        desk.prepare()
    desk.complete()
    return {'kind': kind, **pictures_and_state(desk, masks=True)}


def _open_latent(studio: Studio, desk: Desk, request: Request, path: pathlib.Path) -> None:
    number = request.integer('number', 1, MAX_COUNT, default=1)
    desk.session.load_file(path, source(studio, request, None), number - 1)


def _open_work(studio: Studio, desk: Desk, request: Request, path: pathlib.Path) -> None:
    photograph = None
    if request.get('photograph') is not None:  # which the browser keeps beside the rest
        photograph = path.with_name('beside')
        photograph.write_bytes(request.content('photograph'))
    history = read_work(path, path.parent, studio.hook, photograph)
    history.renew(studio.named.recognised)
    if request.flag('steps', False):  # of a page that takes its own work back
        desk.session.restore(history)
    else:
        desk.session.adopt('Work is opened', history.now)


def _open_photograph(studio: Studio, desk: Desk, request: Request, path: pathlib.Path) -> None:
    size = studio.hook.image_shape[1], studio.hook.image_shape[2]
    desk.find_photograph(place(path, request.text('name'), size, request.integer('face', 0, MAX_FACES, default=1)),
                         studio.finder)


def _open_directions(studio: Studio, desk: Desk, request: Request, path: pathlib.Path) -> None:
    name, state = opening.opened_directions(path, studio.hook, desk.session.state)
    desk.session.adopt(f'Directions of {name}', state)


def space(studio: Studio, desk: Desk, request: Request) -> Answer:
    """The latent space; `layers` as the command line takes them, or '' for all."""
    text = request.text('layers', '').strip()
    layers = None if text in ('', 'all') else tuple(parse_ranges(text, 'layers'))
    desk.session.set_space(request.text('space'), layers)
    desk.prepare()
    return pictures_and_state(desk)


OPENERS: dict[str, Callable[[Studio, Desk, Request, pathlib.Path], None]] = {
    opening.LATENT: _open_latent, opening.WORK: _open_work, opening.DIRECTIONS: _open_directions,
    opening.PHOTOGRAPH: _open_photograph,
}
