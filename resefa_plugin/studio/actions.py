"""What a page may ask for, by name; everything that comes from it is checked here."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from resefa_plugin.atlas.atlas import Atlas
from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.machine.files import scratch_folder
from resefa_plugin.machine.memory import COLUMNS, room
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.studio import view
from resefa_plugin.studio.answers import edit, regions, sample, status, taking
from resefa_plugin.studio.answers.parts import Answer, pictures_and_state
from resefa_plugin.studio.desk import Desk
from resefa_plugin.studio.files.command_line import edits_command
from resefa_plugin.studio.jobs import JobQueue
from resefa_plugin.studio.request import Request
from resefa_plugin.studio.store import SessionEnded, SessionStore
from resefa_plugin.studio.work.cache import JacobianCache
from resefa_plugin.studio.work.gallery import Gallery
from resefa_plugin.studio.work.parts import OwnParts
from resefa_plugin.studio.work.photographs import Finder
from resefa_plugin.studio.work.session import Session

SWEEP_INTERVAL = 60.0  # seconds between two looks for idle sessions

class Studio:
    """Everything that the pages share, and the one function that they call: `call`.

    Args:
        hook: the generator.
        network_flags: how the command line names it, for the commands that are shown.
        memory: bytes of Jacobians to keep, of which the oldest go first; None for their share of the budget.
        outdir: where files are kept; None for a temporary folder that goes with its session.
        session_options: of Session: resolution, num_directions, tau, jacobian_dir, source, networks, atlas, named.
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
        # An option that no session can have is better known now.
        self.named = Session(hook, self.cache, **self._options).named
        self._scratch = contextlib.ExitStack()
        # A folder that goes when the studio is closed; if it is killed, with the next one that starts.
        self.temporary_folder = self._scratch.enter_context(scratch_folder(tempfile.gettempdir(), 'resefa-studio'))
        self.queue, self.finder, self.gallery = JobQueue(), Finder(hook), Gallery(hook)
        self.networks: Networks = self._options.get('networks') or Networks(fetch=True, device=hook.device)
        atlas: Atlas | None = self._options.get('atlas')
        self.own_parts = None if atlas is None else OwnParts(atlas, (hook.image_shape[1], hook.image_shape[2]))
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

    def _open(self, request: Request, visitor: str) -> Answer:
        """The session that a page had before, if it is still there, or a new one."""
        token, found = request.get('token'), True
        try:
            desk = self.store.get(token)
            desk.page_seen()
        except SessionEnded:
            found = False
            token, desk = self.store.open(visitor)
        desk.prepare()
        command = edits_command(self.network_flags, desk.session.state.source)
        network = view.network_view(self.hook, self.named, command, self.own_parts is not None)
        return {'token': token, 'found': found, 'network': network, **pictures_and_state(desk, masks=True)}

    def call(self, data: Any, visitor: str = '') -> Answer:
        """Does what the page of a visitor asks for: `{'action': NAME, 'token': TOKEN, ...}`.

        Returns: plain values; `{'error': TEXT}` if something went wrong, with `'ended': True` if the session is gone.
        """
        try:
            request = Request(data if isinstance(data, dict) else {})
            action = request.get('action')
            if action == 'open':
                return self._open(request, visitor)
            if not isinstance(action, str) or action not in ACTIONS:
                raise ResefaError(f'no such action; expected open, {", ".join(ACTIONS)}')
            # A page that only asks how things stand is open somewhere, but not in use.
            in_use = action != 'status'
            desk = self.store.get(request.get('token'), touch=in_use)
            desk.page_seen(in_use)
            return ACTIONS[action](self, desk, request)
        except SessionEnded as error:
            return {'error': str(error), 'ended': True}
        except ResefaError as error:
            return {'error': str(error)}
        except Exception as error:  # a defect of ours: the page says so, the terminal has the details
            traceback.print_exc()
            return {'error': f'something went wrong ({type(error).__name__}: {error}); the terminal has the details'}


ACTIONS: dict[str, Callable[[Studio, Desk, Request], Answer]] = {
    'seed': sample.seed, 'open_file': sample.open_file, 'space': sample.space,
    'thumbnail': sample.thumbnail,
    'region': regions.region, 'mask_file': regions.mask_file, 'remove': regions.remove, 'factorize': regions.factorize,
    'parts': regions.parts, 'part': regions.part,
    'render': edit.render, 'keep': edit.keep, 'heat': edit.heat, 'go': edit.go, 'look': edit.look,
    'status': status.status, 'cancel': status.cancel, 'prepare': status.prepare, 'leave': status.leave,
    'work': taking.work, 'command_line': taking.command_line, 'download': taking.download,
}
