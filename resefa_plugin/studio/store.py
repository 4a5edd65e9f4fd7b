"""The sessions of all open pages: isolated by unguessable tokens, bounded in number, freed when idle."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from resefa_plugin.errors import ResefaError

T = TypeVar('T')
RECENT = 60.0  # seconds: a session that was used within them is not given up for a new one


class SessionEnded(ResefaError):
    """A token whose session is gone."""


@dataclass
class _Entry(Generic[T]):
    session: T
    used: float


class SessionStore(Generic[T]):
    """Sessions by token.

    Args:
        create: makes a session for a token.
        free: called with the token and the session that is given up.
        limit: how many there may be.
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

    def open(self) -> tuple[str, T]:
        """A new session and its token. Raises ResefaError if there are too many that are in use."""
        with self._lock:
            self.sweep()
            if len(self._entries) >= self._limit:
                oldest = min(self._entries, key=lambda token: self._entries[token].used)
                if self._clock() - self._entries[oldest].used < RECENT:
                    raise ResefaError(f'the studio is full, all {self._limit} places are in use: try again in a few '
                                      'minutes')
                self.close(oldest)
            token = secrets.token_urlsafe(24)
            self._entries[token] = _Entry(self._create(token), self._clock())
            return token, self._entries[token].session

    def get(self, token: object, touch: bool = True) -> T:
        """The session of a token; `touch` counts as use. Raises SessionEnded."""
        with self._lock:
            self.sweep()
            entry = self._entries.get(token) if isinstance(token, str) else None
            if entry is None:
                raise SessionEnded(f'this session has ended (sessions end after {self._idle / 60:g} minutes without '
                                   'use): reload the page')
            if touch:
                entry.used = self._clock()
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
