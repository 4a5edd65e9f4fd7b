"""The sessions of all open pages: isolated by unguessable tokens, bounded in number, freed when idle."""

from __future__ import annotations

import math
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from resefa_plugin.errors import ResefaError

T = TypeVar('T')
RECENT = 60.0  # seconds: a session that was used within them is not given up for a new one
SILENT = 15.0  # seconds: a page that is open asks how things stand every few of them
SETTLING = 3.0  # seconds after a page has left, in which its last questions may still arrive
ABANDONED = 600.0  # seconds: a session whose page was silent for so long makes room for somebody else


class SessionEnded(ResefaError):
    """A token whose session is gone."""


@dataclass
class _Entry(Generic[T]):
    session: T
    visitor: str
    used: float
    seen: float  # when its page last asked for anything, if only how things stand; long ago if it has left
    left: float = -math.inf  # when it did


class SessionStore(Generic[T]):
    """Sessions by token.

    Args:
        create: makes a session for a token.
        free: called with the token and the session that is given up.
        limit: how many there may be. One visitor has half of them at most.
        idle_seconds: how long one is kept without use.
        clock: monotonic seconds.
    """

    def __init__(self, create: Callable[[str], T], free: Callable[[str, T], None], limit: int = 16,
                 idle_seconds: float = 1800, clock: Callable[[], float] = time.monotonic):
        self._create, self._free, self._limit, self._idle, self._clock = create, free, limit, idle_seconds, clock
        self._lock = threading.RLock()
        self._entries: dict[str, _Entry[T]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def open(self, visitor: str = '') -> tuple[str, T]:
        """A new session of a visitor and its token; at his share, in place of his own that is least in use.

        Raises ResefaError if all of his are in use, or all there are.
        """
        with self._lock:
            self.sweep()
            self._make_room(visitor)
            token, now = secrets.token_urlsafe(24), self._clock()
            self._entries[token] = _Entry(self._create(token), visitor, now, now)
            return token, self._entries[token].session

    def _make_room(self, visitor: str) -> None:
        """Gives up a session if a new one needs it: of the visitor's own at his share, else one whose page is gone."""
        now = self._clock()
        own = {token: entry for token, entry in self._entries.items() if entry.visitor == visitor}
        if len(own) >= max(1, self._limit // 2):
            idle = [token for token, entry in own.items()
                    if now - entry.used >= RECENT or now - entry.seen >= SILENT]
            if not idle:
                raise ResefaError(f'you have {len(own)} pages of the studio open, and one visitor has no more: close '
                                  'one and try again in a moment')
            # Pages that were closed or loaded anew go first.
            self.close(min(idle, key=lambda token: (now - own[token].seen < SILENT, own[token].used)))
        elif len(self._entries) >= self._limit:
            gone = [token for token, entry in self._entries.items()
                    if now - entry.seen >= (SILENT if token in own else ABANDONED)]
            if not gone:
                raise ResefaError(f'the studio is full, all {self._limit} places are in use: try again in a few '
                                  'minutes')
            self.close(min(gone, key=lambda token: self._entries[token].seen))

    def leave(self, token: object) -> None:
        """Notes that the page of a session is gone: its place is free as soon as somebody needs it."""
        with self._lock:
            entry = self._entries.get(token) if isinstance(token, str) else None
            if entry is not None:
                entry.seen, entry.left = -math.inf, self._clock()

    def get(self, token: object, touch: bool = True) -> T:
        """The session of a token; `touch` counts as use. Raises SessionEnded."""
        with self._lock:
            self.sweep()
            entry = self._entries.get(token) if isinstance(token, str) else None
            if entry is None:
                raise SessionEnded(f'this session has ended (sessions end after {self._idle / 60:g} minutes without '
                                   'use): reload the page')
            now = self._clock()
            if touch:
                entry.used = now
            if touch or now - entry.left > SETTLING:
                entry.seen = now
            return entry.session

    def close(self, token: str) -> None:
        """Gives up a session; does nothing if it is gone."""
        with self._lock:
            entry = self._entries.pop(token, None)
        if entry is not None:
            self._free(token, entry.session)

    def sweep(self) -> None:
        """Gives up the sessions that were idle too long."""
        with self._lock:
            idle = [token for token, entry in self._entries.items() if self._clock() - entry.used > self._idle]
        for token in idle:
            self.close(token)
