"""Where a network file comes from: a path, a URL that is fetched once, or bytes at hand."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from resefa_plugin.checkpoints.downloads import fetch
from resefa_plugin.errors import CheckpointError
from resefa_plugin.machine import files

# Official files have up to 360 MB.
MAX_FILE_BYTES = 4 << 30


@dataclass(frozen=True)
class NetworkSource:
    """A network file in memory.

    Attributes:
        name: as the user gave it; `<bytes>` for bytes.
        data: the whole file.
        sha256: of the file, hexadecimal.
    """

    name: str
    data: bytes
    sha256: str


def read_source(source: str | os.PathLike | bytes, cache_dir: str | os.PathLike | None = None,
                max_bytes: int = MAX_FILE_BYTES) -> NetworkSource:
    """Reads a network file into memory.

    Args:
        source: path, `http://` or `https://` URL, or the bytes themselves.
        cache_dir: folder for fetched files; None to use `files.cache_dir()`.
        max_bytes: larger files are refused before they are read.

    Raises:
        CheckpointError: for a file that is missing, unreadable or too large, a URL of another scheme or out of reach.
    """
    if isinstance(source, bytes):
        return NetworkSource('<bytes>', source, hashlib.sha256(source).hexdigest())
    name = os.fspath(source)
    path = Path(os.path.expanduser(name))
    if isinstance(source, str) and '://' in source:
        path = fetch(source, Path(cache_dir) if cache_dir is not None else files.cache_dir(), max_bytes)
    data = _read(path, name, max_bytes)
    return NetworkSource(name, data, hashlib.sha256(data).hexdigest())


def _read(path: Path, name: str, max_bytes: int) -> bytes:
    try:
        # A pipe or a device may never end.
        if not path.is_file():
            raise CheckpointError(f'{name}: not a file; expected the path or URL of a network file, '
                                  'or biggan:FOLDER for a BigGAN folder')
        if path.stat().st_size > max_bytes:
            raise CheckpointError(f'{name}: larger than {max_bytes} bytes, the limit for network files')
        with open(path, 'rb') as stream:
            return stream.read(max_bytes)
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{name}: cannot be read: {error}') from None
