"""What a user may have meant by a path at which there is nothing, or a folder."""

from __future__ import annotations

import difflib
import os
import pathlib

# What commands take as arguments; pictures and records of a run are not among it.
_ENDINGS = ('.npz', '.npy', '.pt', '.pth', '.pkl', '.pickle', '.safetensors', '.onnx')
_MOST = 4  # names that are listed
_LOOKED_AT = 2000  # of a folder


def nearby(path: str | os.PathLike[str]) -> str:
    """What there is in place of a missing file, to be put behind a message; empty where nothing is known.

    A file of nearly the same name, else the files of the folder that could be meant, else the folder that is missing.
    """
    path = pathlib.Path(path)
    names = _names(path.parent)
    if names is None:
        return f": there is no folder {path.parent}" if not os.path.isdir(path.parent) else ''
    near = difflib.get_close_matches(path.name, names, n=1)
    if near:
        return f'; did you mean {path.parent / near[0]}?'
    return holding(path.parent, path.suffix)


def holding(folder: str | os.PathLike[str], ending: str = '') -> str:
    """The files of a folder that commands take, to be put behind a message; empty if there are none.

    Args:
        ending: of the names, such as `.npz`, for these alone; empty for all.
    """
    found = sorted(name for name in _names(folder) or () if name.endswith(ending or _ENDINGS))
    if not found:
        return ''
    more = f' and {len(found) - _MOST} more' if len(found) > _MOST else ''
    return f'; in {folder} there is {", ".join(found[:_MOST])}{more}'


def _names(folder: str | os.PathLike[str]) -> list[str] | None:
    """The files of a folder, of a very full one some; None if it cannot be looked at."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for _, entry in zip(range(_LOOKED_AT), entries, strict=False) if entry.is_file()
                    and entry.name.isprintable() and not entry.name.startswith('.')]
    except OSError:
        return None
