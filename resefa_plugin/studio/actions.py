"""What a page may ask for, by name; everything that comes from it is checked here."""

from __future__ import annotations

import base64
import contextlib
import pathlib
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.base import MAX_SEED, GeneratorHook
from resefa_plugin.machine.files import scratch_folder
from resefa_plugin.machine.memory import COLUMNS, room
from resefa_plugin.ranges import parse_ranges
from resefa_plugin.regions.files import fit_mask, read_mask
from resefa_plugin.studio import view
from resefa_plugin.studio.desk import Desk
from resefa_plugin.studio.jobs import FAILED, JobQueue
from resefa_plugin.studio.limits import MAX_COUNT, TRUNCATION
from resefa_plugin.studio.request import Request
from resefa_plugin.studio.store import SessionEnded, SessionStore
from resefa_plugin.studio.work import downloads
from resefa_plugin.studio.work.cache import JacobianCache
from resefa_plugin.studio.work.command_line import commands
from resefa_plugin.studio.work.session import MAX_REGIONS, MAX_STRENGTH, Session
from resefa_plugin.studio.work.sources import Source

PROMPT = 0.25  # seconds: directions that are found by then are in the answer, later ones come with a later status
SAVE_TIMEOUT = 600.0  # seconds
SWEEP_INTERVAL = 60.0  # seconds between two looks for idle sessions

Answer: TypeAlias = dict[str, Any]  # plain values, as JSON has them


class Studio:
    """Everything that the pages share, and the one function that they call: `call`.

    Args:
        hook: the generator.
        network_flags: how the command line names it, for the commands that are shown.
        memory: bytes of Jacobians to keep, of which the oldest go first; None for their share of the budget.
        outdir: where files are kept; None for a temporary folder that goes with its session.
        session_options: of Session: resolution, num_directions, tau, jacobian_dir, source, networks.
        limit: how many pages may be open; half of them by one visitor.
        idle_seconds: how long a page is remembered without use.

    Raises ResefaError for session options that the generator does not have.
    """

    def __init__(self, hook: GeneratorHook, network_flags: Sequence[str] = (), *, memory: int | None = None,
                 outdir: pathlib.Path | None = None, session_options: Mapping[str, Any] | None = None, limit: int = 16,
                 idle_seconds: float = 1800):
        self.hook, self.network_flags, self.outdir = hook, list(network_flags), outdir
        self.cache = JacobianCache(room(COLUMNS, torch.device('cpu')) if memory is None else memory)
        self._options = dict(session_options or {})
        Session(hook, self.cache, **self._options)  # an option that no session can have is better known now
        self._scratch = contextlib.ExitStack()
        # A folder that goes when the studio is closed; if it is killed, with the next one that starts.
        self.temporary_folder = self._scratch.enter_context(scratch_folder(tempfile.gettempdir(), 'resefa-studio'))
        self.queue = JobQueue()
        self._session_number = 0
        self.store = SessionStore(self._new_desk, lambda token, desk: desk.close(), limit, idle_seconds)
        self._closed = threading.Event()
        threading.Thread(target=self._close_idle_sessions, name='resefa-studio-sweep', daemon=True).start()

    def _new_desk(self, token: str) -> Desk:
        root = self.outdir if self.outdir is not None else self.temporary_folder
        self._session_number += 1
        while (root / f'session{self._session_number:03d}').exists():  # of an earlier run with this folder
            self._session_number += 1
        session = Session(self.hook, self.cache, **self._options)
        folder = root / f'session{self._session_number:03d}'
        return Desk(token, session, self.queue, folder, keep_folder=self.outdir is not None)

    def _close_idle_sessions(self) -> None:
        while not self._closed.wait(SWEEP_INTERVAL):
            self.store.sweep()

    def close(self) -> None:
        """Ends all jobs and sessions, and removes temporary files."""
        self._closed.set()
        self.queue.close()
        self._scratch.close()

    def call(self, data: Any, visitor: str = '') -> Answer:
        """Does what the page of a visitor asks for: `{'action': NAME, 'token': TOKEN, ...}`.

        Returns: plain values; `{'error': TEXT}` if something went wrong, with `'ended': True` if the session is gone.
        """
        try:
            request = Request(data if isinstance(data, dict) else {})
            action = request.get('action')
            if action == 'open':
                token, desk = self.store.open(visitor)
                desk.prepare()
                network = view.network_view(self.hook)
                return {'token': token, 'network': network, **_pictures_and_state(desk, masks=True)}
            if not isinstance(action, str) or action not in ACTIONS:
                raise ResefaError(f'no such action; expected open, {", ".join(ACTIONS)}')
            # A page that only asks how things stand is open somewhere, but not in use.
            desk = self.store.get(request.get('token'), touch=action != 'status')
            desk.page_seen()
            return ACTIONS[action](self, desk, request)
        except SessionEnded as error:
            return {'error': str(error), 'ended': True}
        except ResefaError as error:
            return {'error': str(error)}
        except Exception as error:  # a defect of ours: the page says so, the terminal has the details
            traceback.print_exc()
            return {'error': f'something went wrong ({type(error).__name__}: {error}); the terminal has the details'}


# Parts of answers


def _pictures_and_state(desk: Desk, masks: bool = False) -> Answer:
    """Everything that a page shows, after a change of the sample or the edit."""
    session = desk.session
    original = view.jpeg_url(session.render(scale=0.0))
    picture = view.jpeg_url(session.render()) if session.state.strengths else original
    return {'original': original, 'picture': picture, **_state(desk, masks)}


def _state(desk: Desk, masks: bool = False) -> Answer:
    return {'state': view.state_view(desk.session, masks), 'status': view.status_view(desk)}


def _bend(desk: Desk) -> Answer:
    """Bends the edit if its background is to be kept; a note says what of it could not be kept, or why all failed."""
    if not desk.session.state.keep:
        return {}
    job = desk.keep_background()
    job.wait(SAVE_TIMEOUT)
    note = str(job.error) if job.state == FAILED else '; '.join(desk.session.state.shortfalls)
    return {'note': note[0].upper() + note[1:]} if note else {}


# The sample


def _source(studio: Studio, request: Request, seed: int | None) -> Source:
    layers = studio.hook.num_ws or MAX_COUNT  # a generator without layers says so itself
    return Source(seed, request.number('trunc', *TRUNCATION, default=1.0),
                  request.optional_integer('cutoff', 0, layers), request.text('label', '').strip())


def _seed(studio: Studio, desk: Desk, request: Request) -> Answer:
    desk.session.load_seed(_source(studio, request, request.integer('seed', 0, MAX_SEED)))
    desk.prepare()
    return _pictures_and_state(desk)


def _upload(studio: Studio, desk: Desk, request: Request) -> Answer:
    """A latent file: kept under a name of ours while it is read, then removed."""
    name = request.text('name')
    content, number = request.content('content'), request.integer('number', 1, MAX_COUNT, default=1)
    with tempfile.TemporaryDirectory(dir=studio.temporary_folder) as folder:
        path = pathlib.Path(folder) / 'latent'  # what it is, its content tells
        path.write_bytes(content)
        try:
            desk.session.load_file(path, _source(studio, request, None), number - 1)
        except ResefaError as error:  # which tells our name of the file
            raise ResefaError(str(error).replace(str(path), name)) from error
    desk.prepare()
    return _pictures_and_state(desk)


def _space(studio: Studio, desk: Desk, request: Request) -> Answer:
    """The latent space; `layers` as the command line takes them, or '' for all."""
    text = request.text('layers', '').strip()
    layers = None if text in ('', 'all') else tuple(parse_ranges(text, 'layers'))
    desk.session.set_space(request.text('space'), layers)
    desk.prepare()
    return _pictures_and_state(desk)


# Regions


def _decoded_mask(studio: Studio, request: Request) -> np.ndarray[Any, Any]:
    _, height, width = studio.hook.image_shape
    with tempfile.TemporaryDirectory(dir=studio.temporary_folder) as folder:
        path = pathlib.Path(folder) / 'mask.png'
        path.write_bytes(request.content('mask'))
        try:
            return fit_mask(read_mask(path), (height, width))
        except ResefaError as error:  # which tells our name of the file
            raise ResefaError(str(error).replace(str(path), 'mask')) from error


def _region(studio: Studio, desk: Desk, request: Request) -> Answer:
    """A region, new or drawn anew. The picture comes only where it has changed: with the directions of the region."""
    before = desk.session.state
    name, protect = request.text('name'), request.flag('protect', False)
    desk.session.set_region(name, _decoded_mask(studio, request), protect)
    after = desk.session.state
    if after.strengths == before.strengths and after.bend is before.bend:
        return _state(desk)
    return {**_pictures_and_state(desk), **(_bend(desk) if after.strengths else {})}


def _mask_file(studio: Studio, desk: Desk, request: Request) -> Answer:
    """A mask of any size as one of the picture's, for the page to draw."""
    return {'mask': view.mask_url(_decoded_mask(studio, request))}


def _remove(studio: Studio, desk: Desk, request: Request) -> Answer:
    desk.session.remove_region(request.text('name'))
    return _pictures_and_state(desk)


def _factorize(studio: Studio, desk: Desk, request: Request) -> Answer:
    job = desk.factorize(request.text('name'))
    if job is not None and job.urgent:
        job.wait(PROMPT)
    return _state(desk)


# The edit


def _render(studio: Studio, desk: Desk, request: Request) -> Answer:
    """The picture at some strengths: a small one while a slider is dragged, the full one when it is released."""
    strengths, count = {}, desk.session.num_directions
    for item in request.items('strengths', MAX_REGIONS * count):
        if not isinstance(item, list) or len(item) != 3:
            raise ResefaError('a strength is [region, index, value]')
        move = Request(dict(zip(('region', 'index', 'strength'), item, strict=True)))
        where = move.text('region'), move.integer('index', 0, count - 1)
        strengths[where] = move.number('strength', -MAX_STRENGTH, MAX_STRENGTH)
    full = request.flag('full', False)
    studio.queue.slider_moved()
    desk.session.set_strengths(strengths, remember=full)
    if not full:
        return {'picture': view.jpeg_url(desk.session.render(desk.session.preview_resolution))}
    note = _bend(desk)
    return {'picture': view.jpeg_url(desk.session.render()), **note, **_state(desk)}


def _keep(studio: Studio, desk: Desk, request: Request) -> Answer:
    desk.session.set_keep(request.flag('keep'))
    note = _bend(desk)
    return {**_pictures_and_state(desk), **note}


def _heat(studio: Studio, desk: Desk, request: Request) -> Answer:
    picture, inside, outside = desk.session.change()
    return {'picture': view.jpeg_url(picture), 'inside': inside, 'outside': outside}


def _undo(studio: Studio, desk: Desk, request: Request) -> Answer:
    desk.session.undo()
    desk.prepare()
    return _pictures_and_state(desk, masks=True)


# What is under way


def _status(studio: Studio, desk: Desk, request: Request) -> Answer:
    """What is under way, with the state if it is another than the page's `version`."""
    answer = {'status': view.status_view(desk)}
    if request.get('version') != desk.session.version:
        answer['state'] = view.state_view(desk.session)
    return answer


def _cancel(studio: Studio, desk: Desk, request: Request) -> Answer:
    desk.cancel(request.integer('number', 0, MAX_COUNT))
    return {'status': view.status_view(desk)}


def _prepare(studio: Studio, desk: Desk, request: Request) -> Answer:
    desk.prepare()
    return {'status': view.status_view(desk)}


# What is taken away


def _commands(studio: Studio, desk: Desk, request: Request) -> Answer:
    return {'text': commands(desk.session, studio.network_flags)}


def _download(studio: Studio, desk: Desk, request: Request) -> Answer:
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
    job = desk.save(f'Saving {kind}', writers[kind])
    job.wait(SAVE_TIMEOUT)
    if job.error is not None:
        raise job.error
    if job.result is None:
        raise ResefaError('saving was cancelled')
    return {'name': job.result.name, 'content': base64.b64encode(job.result.read_bytes()).decode()}


ACTIONS: dict[str, Callable[[Studio, Desk, Request], Answer]] = {
    'seed': _seed, 'upload': _upload, 'space': _space, 'region': _region, 'mask_file': _mask_file, 'remove': _remove,
    'factorize': _factorize, 'render': _render, 'keep': _keep, 'heat': _heat, 'undo': _undo, 'status': _status,
    'cancel': _cancel, 'prepare': _prepare, 'commands': _commands, 'download': _download,
}
