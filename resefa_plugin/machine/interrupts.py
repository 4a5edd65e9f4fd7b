"""Signals that ask a run to end: at once while nothing has begun, and in good order afterwards."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

# Of schedulers, and of terminals that are closed. Windows lacks the latter.
_TERMINATIONS = tuple(getattr(signal, name) for name in ('SIGTERM', 'SIGHUP') if hasattr(signal, name))
_MOMENT = 0.05  # seconds


@contextlib.contextmanager
def ended_at_once() -> Iterator[None]:
    """Ctrl-C and terminations end the process with one line and no cleaning up: for imports, which write nothing."""
    with _handled((signal.SIGINT, *_TERMINATIONS), _end):
        yield


@contextlib.contextmanager
def ended_in_order() -> Iterator[None]:
    """Terminations raise KeyboardInterrupt, as Ctrl-C does: parts of files go, bars and connections are closed.

    Python drops what is raised inside a ``__del__``, an interrupt too, with a traceback on the terminal and a run
    that goes on. Such an interrupt is raised again a moment later.
    """
    with _handled(_TERMINATIONS, signal.default_int_handler), _raised_again():
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


@contextlib.contextmanager
def _raised_again() -> Iterator[None]:
    """Within it, an interrupt that fell into a ``__del__`` reaches the main thread after all."""
    before = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        raising = [n for n in (signal.SIGINT, *_TERMINATIONS) if signal.getsignal(n) is signal.default_int_handler]
        if unraisable.exc_type is KeyboardInterrupt and raising:
            # By a timer: at once, it would fall into this very function.
            timer = threading.Timer(_MOMENT, _thread.interrupt_main, raising[:1])
            timer.daemon = True
            timer.start()
        else:
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b'Aborted!\n')
    os._exit(1)
