"""Signals that ask a run to end: at once while nothing has begun, and in good order afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

# Of schedulers, and of terminals that are closed. Windows lacks the latter.
_TERMINATIONS = tuple(getattr(signal, name) for name in ('SIGTERM', 'SIGHUP') if hasattr(signal, name))


@contextlib.contextmanager
def ended_at_once() -> Iterator[None]:
    """Ctrl-C and terminations end the process with one line and no cleaning up: for imports, which write nothing."""
    with _handled((signal.SIGINT, *_TERMINATIONS), _end):
        yield


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """Terminations raise KeyboardInterrupt, as Ctrl-C does: parts of files go, bars and connections are closed."""
    with _handled(_TERMINATIONS, signal.default_int_handler):
        yield


@contextlib.contextmanager
def _handled(numbers: Sequence[int], handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """Handles signals that would end the process; those that somebody ignores or handles otherwise stay as they are."""
    before = {}
    if threading.current_thread() is threading.main_thread():  # Python allows it in no other
        for number in numbers:
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b'Aborted!\n')
    os._exit(1)
