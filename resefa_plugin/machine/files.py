"""Files that are complete or not there, room on the disk for them, and the folder of those that are fetched."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator

from resefa_plugin.errors import ResefaError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PART = re.compile(r'\..+\.[0-9a-f]{8}\.part')
# Where files cannot be locked, a part that was not written to for so many seconds belongs to nobody.
_ABANDONED = 24 * 3600.0
_BLOCK = 1 << 20


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """An empty file to write into, which takes the place of `path` at the end, or vanishes if an exception passes.

    Folders are made, and what killed processes have left of this kind in the same folder is removed. Do not put another
    file in the place of the empty one.

    Raises ResefaError if the file cannot be written.
    """
    path = pathlib.Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _own_part(path.parent, path.name, pathlib.Path.touch) as part:
            yield part
            os.replace(part, path)
    except OSError as error:
        raise ResefaError(f'cannot write {path}: {error.strerror or error}. Check that the folder can be written and '
                          'has room') from error


@contextlib.contextmanager
def scratch_folder(parent: str | os.PathLike[str], name: str) -> Iterator[pathlib.Path]:
    """A new folder in `parent` that is removed at the end with all that is in it.

    If this process is killed, the next one that makes a folder or a file there removes it. Raises OSError.
    """
    parent = pathlib.Path(parent)
    parent.mkdir(parents=True, exist_ok=True)
    with _own_part(parent, name, lambda folder: folder.mkdir(mode=0o700)) as folder:
        yield folder


def reserve(path: str | os.PathLike[str], size: int) -> None:
    """Makes a file `size` bytes long whose bytes have room on the disk, so that writing them cannot fail later.

    A file that is only said to be so long ends the process, without a word, when a map of it is written to and the
    disk is full. Raises OSError if there is no room.
    """
    with open(path, 'r+b') as file:
        if hasattr(os, 'posix_fallocate'):
            os.posix_fallocate(file.fileno(), 0, size)
            return
        for start in range(0, size, _BLOCK):
            file.write(bytes(min(_BLOCK, size - start)))


@contextlib.contextmanager
def _own_part(folder: pathlib.Path, name: str, make: Callable[[pathlib.Path], None]) -> Iterator[pathlib.Path]:
    """A part of this process, which no sweep takes; at the end it is removed, if it is still there."""
    _sweep(folder)
    part, lock = folder, None
    try:
        while lock is None or lock.taken:  # taken: a sweep came between the two
            part = folder / f'.{name}.{secrets.token_hex(4)}.part'  # here, as a rename stays within one file system
            make(part)
            lock = _Lock(part)
        yield part
    finally:  # an interrupt may come at any line above
        if part != folder:
            _remove(part)
        if lock is not None:
            lock.release()


def _sweep(folder: pathlib.Path) -> None:
    """Removes the parts in a folder whose processes have ended."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for part in [pathlib.Path(entry.path) for entry in entries if _PART.fullmatch(entry.name)]:
            with contextlib.suppress(OSError):
                lock = _Lock(part)
                if lock.held or not lock.taken and time.time() - part.stat().st_mtime > _ABANDONED:
                    _remove(part)
                lock.release()


class _Lock:
    """A lock on a part, which ends with the process that holds it.

    Attributes:
        held: whether this object holds it.
        taken: whether another one does, or the part is gone. Neither is true where the file system has no locks.
    """

    def __init__(self, part: pathlib.Path):
        self.held = self.taken = False
        self._descriptor: int | None = None
        if fcntl is None:
            return
        try:
            self._descriptor = os.open(part, os.O_RDONLY)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it before may have removed the part.
            self.held = os.path.samestat(os.fstat(self._descriptor), os.stat(part))
            self.taken = not self.held
        except (BlockingIOError, FileNotFoundError):
            self.taken = True
        except OSError:  # no locks here
            pass

    def release(self) -> None:
        """Gives it up."""
        if self._descriptor is not None:
            os.close(self._descriptor)


def _remove(part: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        if part.is_dir() and not part.is_symlink():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink()


def cache_dir() -> pathlib.Path:
    """The folder of fetched files: the environment's RESEFA_CACHE, else `resefa_plugin` in the user's cache folder."""
    if os.environ.get('RESEFA_CACHE'):
        return pathlib.Path(os.environ['RESEFA_CACHE']).expanduser()
    if sys.platform == 'win32':
        base = os.environ.get('LOCALAPPDATA', '~/AppData/Local')
    elif sys.platform == 'darwin':
        base = '~/Library/Caches'
    else:
        base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return pathlib.Path(base).expanduser() / 'resefa_plugin'
