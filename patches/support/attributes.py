"""Borrowing attributes of foreign modules, classes and tensors: replaced for a while, then put back."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from resefa_plugin.errors import ResefaError

KNOWN_COMMITS = 'stylegan2-ada-pytorch 375a436..d72cc7d and stylegan3 8fb5177..c233a91'

_lock = threading.RLock()
# (id of the owner, name of the attribute) -> [owner, original value, number of contexts that have not ended]
_borrowed: dict[tuple[int, str], list[Any]] = {}


def describe(owner: Any) -> str:
    """The name of a module, class or object for an error message."""
    return getattr(owner, '__name__', None) or type(owner).__name__


def require(owner: Any, *names: str) -> None:
    """Checks that an upstream module or class has the attributes that a patch relies on.

    Raises:
        ResefaError: naming the first attribute that is missing and the commits that have it.
    """
    for name in names:
        if not hasattr(owner, name):
            raise ResefaError(f"{describe(owner)} has no attribute '{name}', so it cannot be patched: patches are "
                              f'known for {KNOWN_COMMITS}. Use a checkout of one of these commits, or our own network.')


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Sets `owner.name = value` for the duration of the context and restores what was there.

    Contexts may nest or overlap (two threads, two generators of one checkout): the first to enter sets the value, the
    last to leave restores what was there. Hence all values for one attribute must be equivalent.

    Raises:
        ResefaError: if the owner has no such attribute.
    """
    require(owner, name)
    key = (id(owner), name)
    with _lock:
        if key not in _borrowed:
            original = getattr(owner, name)
            setattr(owner, name, value)
            _borrowed[key] = [owner, original, 0]
        entry = _borrowed[key]
        entry[2] += 1
    try:
        yield
    finally:
        with _lock:
            entry[2] -= 1
            if entry[2] == 0:
                setattr(owner, name, entry[1])
                del _borrowed[key]
