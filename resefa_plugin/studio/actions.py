"""What the page may ask for, by name; everything that comes from it is checked here."""

from __future__ import annotations

import base64
import binascii
import math
import pathlib
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.regions.files import fit_mask, read_mask
from resefa_plugin.studio import view
from resefa_plugin.studio.desk import Desk
from resefa_plugin.studio.jobs import FAILED, JobQueue
from resefa_plugin.studio.store import SessionEnded, SessionStore
from resefa_plugin.studio.work import downloads
from resefa_plugin.studio.work.cache import JacobianCache
from resefa_plugin.studio.work.command_line import commands
from resefa_plugin.studio.work.session import Session
from resefa_plugin.studio.work.sources import UPLOAD_SUFFIXES, Source

MAX_UPLOAD = 8 << 20  # bytes: a w+ of StyleGAN2 is 37 kB, a mask of 4096 x 4096 is below a megabyte
SOON = 0.25  # seconds: what is done by then is answered at once
SAVE_TIMEOUT = 600.0
SWEEP = 60.0  # seconds: how often idle sessions are looked for


class Studio:
    """Everything that the pages share, and the door to it: `call`.

    Args:
        hook: the generator.
        network_flags: how the command line names it, for the commands that are shown.
        memory: bytes of Jacobians to keep.
        outdir: where files are kept; None for a temporary folder that goes with its session.
        session_options: of Session: resolution, num_directions, tau, jacobian_dir, source.
        limit: how many pages may be open.
        idle_seconds: how long a page is remembered without use.

    Raises ResefaError for session options that the generator does not have.
    """

    def __init__(self, hook: GeneratorHook, network_flags: Sequence[str] = (), *, memory: int = 4 << 30,
                 outdir: pathlib.Path | None = None, session_options: Mapping[str, Any] | None = None, limit: int = 16,
                 idle_seconds: float = 1800):
        self.hook, self.network_flags, self.outdir = hook, list(network_flags), outdir
        self.cache = JacobianCache(memory)
        self._options = dict(session_options or {})
        Session(hook, self.cache, **self._options)  # an option that no session can have is better known now
        self._temporary = tempfile.TemporaryDirectory(prefix='resefa-studio-')
        self.queue = JobQueue()
        self._number = 0
        self.store = SessionStore(self._desk, lambda token, desk: desk.close(), limit, idle_seconds)
        self._closed = threading.Event()
        threading.Thread(target=self._sweep, name='resefa-studio-sweep', daemon=True).start()

    def _desk(self, token: str) -> Desk:
        root = self.outdir if self.outdir is not None else pathlib.Path(self._temporary.name)
        self._number += 1
        while (root / f'session{self._number:03d}').exists():  # of an earlier run with this folder
            self._number += 1
        session = Session(self.hook, self.cache, **self._options)
        folder = root / f'session{self._number:03d}'
        return Desk(token, session, self.queue, folder, keep_folder=self.outdir is not None)

    def _sweep(self) -> None:
        while not self._closed.wait(SWEEP):
            self.store.sweep()

    def close(self) -> None:
        """Ends all jobs and sessions, and removes temporary files."""
        self._closed.set()
        self.queue.close()
        self._temporary.cleanup()

    def call(self, data: Any) -> dict[str, Any]:
        """Does what the page asks for: `{'action': NAME, 'token': TOKEN, ...}`.

        Returns: plain values; `{'error': TEXT}` if something went wrong, with `'ended': True` if the session is gone.
        """
        try:
            action = data.get('action') if isinstance(data, dict) else None
            if action == 'open':
                token, desk = self.store.open()
                desk.prepare()
                network = view.network_view(self.hook, desk.session)
                return {'token': token, 'network': network, **_shown(desk, masks=True)}
            if not isinstance(action, str) or action not in ACTIONS:
                raise ResefaError(f'no such action; expected open, {", ".join(ACTIONS)}')
            desk = self.store.get(data.get('token'), touch=action != 'status')
            desk.present()
            return ACTIONS[action](self, desk, data)
        except SessionEnded as error:
            return {'error': str(error), 'ended': True}
        except ResefaError as error:
            return {'error': str(error)}
        except Exception as error:  # a defect of ours: the page says so, the terminal has the details
            traceback.print_exc()
            return {'error': f'something went wrong ({type(error).__name__}: {error}); the terminal has the details'}


def _value(data: dict, key: str, kind: type, default: Any = None) -> Any:
    """A value of the expected type. Raises ResefaError if it is another, or missing and without default."""
    value = data.get(key, default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 1e300 else math.inf
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ResefaError(f"'{key}' is {value!r}, expected {kind.__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ResefaError(f"'{key}' is {value}, expected a finite number")
    return value


def _optional(data: dict, key: str, kind: type) -> Any:
    """A value of the expected type, or None if it is missing or null. Raises ResefaError if it is another."""
    return None if data.get(key) is None else _value(data, key, kind)


def _bytes(data: dict, key: str) -> bytes:
    """Bytes that came as base64 or as a data URL. Raises ResefaError if they are too many, or not that."""
    text = _value(data, key, str).rpartition(',')[2]
    if len(text) > MAX_UPLOAD * 4 // 3 + 4:
        raise ResefaError(f'the file is larger than {MAX_UPLOAD >> 20} MB, which no latent and no mask is')
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ResefaError('the file came damaged: try again') from error


def _shown(desk: Desk, masks: bool = False) -> dict[str, Any]:
    """The whole picture and everything around it."""
    session = desk.session
    original = view.jpeg_url(session.render(scale=0.0))
    picture = view.jpeg_url(session.render()) if session.state.strengths else original
    return {'original': original, 'picture': picture, 'state': view.state_view(session, masks),
            'status': view.status_view(desk)}


def _changed(desk: Desk) -> dict[str, Any]:
    return {'state': view.state_view(desk.session), 'status': view.status_view(desk)}


def _source(data: dict, seed: int | None) -> Source:
    return Source(seed, _value(data, 'trunc', float, 1.0), _optional(data, 'cutoff', int),
                  _value(data, 'label', str, '').strip())


def _seed(studio: Studio, desk: Desk, data: dict) -> dict:
    desk.session.load_seed(_source(data, _value(data, 'seed', int)))
    desk.prepare()
    return _shown(desk)


def _upload(studio: Studio, desk: Desk, data: dict) -> dict:
    """A latent file: kept under a name of ours while it is read, then removed."""
    name = _value(data, 'name', str)
    suffix = pathlib.PurePath(name).suffix.lower()
    if suffix not in UPLOAD_SUFFIXES:
        raise ResefaError(f"'{name}' is no latent file: expected {', '.join(UPLOAD_SUFFIXES)}")
    content = _bytes(data, 'content')
    with tempfile.TemporaryDirectory(dir=studio._temporary.name) as folder:
        path = pathlib.Path(folder) / f'latent{suffix}'
        path.write_bytes(content)
        try:
            desk.session.load_file(path, _source(data, None), _value(data, 'number', int, 1) - 1)
        except ResefaError as error:
            raise ResefaError(str(error).replace(str(path), name)) from error
    desk.prepare()
    return _shown(desk)


def _space(studio: Studio, desk: Desk, data: dict) -> dict:
    layers = _optional(data, 'layers', list)
    if layers is not None and not all(type(layer) is int for layer in layers):
        raise ResefaError('layers are whole numbers, such as 4,5,6')
    desk.session.set_space(_value(data, 'space', str), None if layers is None else tuple(layers))
    desk.prepare()
    return _shown(desk)


def _decoded_mask(studio: Studio, data: dict) -> np.ndarray:
    with tempfile.TemporaryDirectory(dir=studio._temporary.name) as folder:
        path = pathlib.Path(folder) / 'mask.png'
        path.write_bytes(_bytes(data, 'mask'))
        try:
            return fit_mask(read_mask(path), tuple(studio.hook.image_shape[1:]))
        except ResefaError as error:
            raise ResefaError(str(error).replace(str(path), 'mask')) from error


def _region(studio: Studio, desk: Desk, data: dict) -> dict:
    before = desk.session.state
    name, protect = _value(data, 'name', str), _value(data, 'protect', bool, False)
    desk.session.set_region(name, _decoded_mask(studio, data), protect)
    after = desk.session.state
    if after.strengths == before.strengths and after.bend is before.bend:
        return _changed(desk)
    return {**_shown(desk), **(_bent(desk) if after.strengths else {})}


def _mask_file(studio: Studio, desk: Desk, data: dict) -> dict:
    """A mask of any size as one of the picture's, for the page to draw."""
    return {'mask': view.mask_url(_decoded_mask(studio, data))}


def _remove(studio: Studio, desk: Desk, data: dict) -> dict:
    desk.session.remove_region(_value(data, 'name', str))
    return _shown(desk)


def _factorize(studio: Studio, desk: Desk, data: dict) -> dict:
    job = desk.factorize(_value(data, 'name', str))
    if job is not None and job.urgent:
        job.wait(SOON)
    return _changed(desk)


def _render(studio: Studio, desk: Desk, data: dict) -> dict:
    """The picture at some strengths: a small one while a slider is dragged, the full one when it is released."""
    strengths = {}
    for item in _value(data, 'strengths', list):
        if not isinstance(item, list) or len(item) != 3:
            raise ResefaError('a strength is [region, index, value]')
        move = dict(zip(('region', 'index', 'value'), item))
        strengths[_value(move, 'region', str), _value(move, 'index', int)] = _value(move, 'value', float)
    full = _value(data, 'full', bool, False)
    studio.queue.touch()
    desk.session.set_strengths(strengths, remember=full)
    note = _bent(desk) if full else {}
    answer = {'picture': view.jpeg_url(desk.session.render(None if full else desk.session.preview_resolution)), **note}
    return {**answer, **_changed(desk)} if full else answer


def _bent(desk: Desk) -> dict[str, str]:
    """Bends the edit if its background is to be kept; where that fails it stays straight, with a note that says why."""
    if not desk.session.state.keep:
        return {}
    job = desk.keep_background()
    job.wait(SAVE_TIMEOUT)
    return {'note': str(job.error)} if job.state == FAILED else {}


def _keep(studio: Studio, desk: Desk, data: dict) -> dict:
    desk.session.set_keep(_value(data, 'keep', bool))
    note = _bent(desk)
    return {**_shown(desk), **note}


def _heat(studio: Studio, desk: Desk, data: dict) -> dict:
    picture, inside, outside = desk.session.change()
    return {'picture': view.jpeg_url(picture), 'inside': inside, 'outside': outside}


def _undo(studio: Studio, desk: Desk, data: dict) -> dict:
    desk.session.undo()
    desk.prepare()
    return _shown(desk, masks=True)


def _status(studio: Studio, desk: Desk, data: dict) -> dict:
    answer = {'status': view.status_view(desk)}
    if data.get('version') != desk.session.version:
        answer['state'] = view.state_view(desk.session)
    return answer


def _cancel(studio: Studio, desk: Desk, data: dict) -> dict:
    desk.cancel(_value(data, 'number', int))
    return {'status': view.status_view(desk)}


def _prepare(studio: Studio, desk: Desk, data: dict) -> dict:
    desk.prepare()
    return {'status': view.status_view(desk)}


def _commands(studio: Studio, desk: Desk, data: dict) -> dict:
    return {'text': commands(desk.session, studio.network_flags)}


def _download(studio: Studio, desk: Desk, data: dict) -> dict:
    """A file with its name, as base64."""
    kind, session, folder = _value(data, 'kind', str), desk.session, desk.folder
    writers: dict[str, Callable] = {
        'directions': lambda breathe: downloads.save_directions(session, _value(data, 'region', str), folder, breathe),
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
    if job.state == FAILED:
        raise job.error
    if job.result is None:
        raise ResefaError('saving was cancelled')
    return {'name': job.result.name, 'content': base64.b64encode(job.result.read_bytes()).decode()}


# name -> (studio, desk, what came) -> what goes back
ACTIONS: dict[str, Callable[[Studio, Desk, dict], dict]] = {
    'seed': _seed, 'upload': _upload, 'space': _space, 'region': _region, 'mask_file': _mask_file, 'remove': _remove,
    'factorize': _factorize, 'render': _render, 'keep': _keep, 'heat': _heat, 'undo': _undo, 'status': _status,
    'cancel': _cancel, 'prepare': _prepare, 'commands': _commands, 'download': _download,
}
