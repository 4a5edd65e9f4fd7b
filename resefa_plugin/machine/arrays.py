"""Array files read as data, within bounds."""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

import numpy as np

from resefa_plugin.errors import DirectionsError

# Above any set of directions (9,000 StyleSpace directions of 9,000 dimensions are 0.3 GB), below what hurts.
MAX_ARRAY_BYTES = 2 ** 31
# The best that deflate can do, so that more is a lie of the archive's index.
MAX_DEFLATE_RATIO = 1032


@contextlib.contextmanager
def reading(path: pathlib.Path) -> Iterator[None]:
    """Turns whatever a missing, damaged or hostile `.npz` or `.npy` makes its readers raise into DirectionsError."""
    try:
        yield
    except DirectionsError as error:
        raise DirectionsError(f'{path}: {error}') from error
    except FileNotFoundError as error:
        raise DirectionsError(f'{path} does not exist') from error
    except OSError as error:
        raise DirectionsError(f'{path} cannot be read: {error.strerror or error}') from error
    except (zipfile.BadZipFile, zlib.error, tokenize.TokenError, AttributeError, EOFError, LookupError, MemoryError,
            RuntimeError, SyntaxError, TypeError, ValueError) as error:
        raise DirectionsError(f'{path} cannot be read ({type(error).__name__}: {error}). It is damaged or cut off: '
                              'copy it again, or write it anew') from error


def read_array(file: IO[bytes], size: int) -> np.ndarray:
    """Reads one `.npy` stream of `size` bytes as data, never as pickles, allocating no more than it can hold.

    Raises:
        DirectionsError: object arrays, or a header that promises another number of bytes.
    """
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise DirectionsError(f'its .npy version is {version}, expected 1.0 or 2.0')
    shape, _, dtype = readers[version](file)
    if dtype.hasobject:
        raise DirectionsError('it holds Python objects, whose loading would execute code: refused. Ask its author for '
                              'plain numeric arrays')
    promised = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or promised != size - file.tell() or promised > MAX_ARRAY_BYTES:
        raise DirectionsError(f'the header promises an array {list(shape)} of {dtype}, {promised} bytes, but '
                              f'{size - file.tell()} follow (at most {MAX_ARRAY_BYTES} are read): damaged or forged')
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def read_member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Reads array `name` of an open `.npz` as `read_array` does, distrusting the archive's index of sizes."""
    info, file_name = archive.getinfo(f'{name}.npy'), archive.filename
    assert file_name is not None  # our archives are files, not streams
    compressed = min(info.compress_size, os.path.getsize(file_name))
    if info.file_size > MAX_DEFLATE_RATIO * compressed:
        raise DirectionsError(f"array '{name}' claims {info.file_size} bytes from {compressed}: damaged or forged")
    try:
        with archive.open(info) as file:
            return read_array(file, info.file_size)
    except DirectionsError as error:
        raise DirectionsError(f"array '{name}': {error}") from error
