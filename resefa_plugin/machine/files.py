"""Files that are complete or not there, and the folder of those that are fetched."""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
import sys
from collections.abc import Iterator

from resefa_plugin.errors import ResefaError


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """A path to write to that takes the place of `path` at the end, or vanishes if an exception passes.

    Folders are made. Raises ResefaError if the file cannot be written.
    """
    path = pathlib.Path(path)
    # Same folder, so that the final rename stays within one file system.
    part = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        raise ResefaError(f'cannot write {path}: {error.strerror or error}. Check that the folder can be written and '
                          'has room') from error
    finally:
        with contextlib.suppress(OSError):
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
