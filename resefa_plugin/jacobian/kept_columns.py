"""The columns of a Jacobian in a file that is mapped into memory: a `.npy`, followed by its SHA-256."""

from __future__ import annotations

import hashlib
import math
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from resefa_plugin.errors import DamagedFileError
from resefa_plugin.machine.arrays import read_header, reading
from resefa_plugin.machine.files import replacing, reserve

_BLOCK = 1 << 24


def write_columns(file: pathlib.Path, shape: tuple[int, ...], fill: Callable[[Tensor], Any]) -> None:
    """Writes the file, complete or not at all.

    Args:
        file: its folder is made.
        shape: `(d, C, h, w)` of the columns.
        fill: called with `[d, C * h * w]` float32, which it is to fill.

    Raises ResefaError if there is no room for it, before anything is computed.
    """
    with replacing(file) as part:
        with open(part, 'wb') as header:
            npy.write_array_header_1_0(header, {'descr': '<f4', 'fortran_order': False, 'shape': shape})
            start = header.tell()
        reserve(part, start + 4 * math.prod(shape))
        array = np.memmap(part, np.dtype('<f4'), 'r+', start, shape)
        fill(torch.from_numpy(array.reshape(shape[0], -1)))
        array.flush()
        del array  # Windows does not rename a file that is mapped
        digest = _digest(part, part.stat().st_size)
        with open(part, 'ab') as end:
            end.write(digest)


def read_columns(file: pathlib.Path, shape: tuple[int, ...]) -> Tensor:
    """The columns `[d, C * h * w]` float32, mapped; what is written to them stays in memory.

    Args:
        shape: `(d, C, h, w)`, which the file must have.

    Raises DamagedFileError for another shape, and for contents that are not those that were written. A file of
    version 0.1.0 has no hash at its end.
    """
    with reading(file, DamagedFileError):
        size = file.stat().st_size
        with open(file, 'rb') as opened:
            found, order, dtype = read_header(opened)
            start = opened.tell()
        if found != shape or dtype != np.float32 or order:
            raise DamagedFileError(f'it holds {dtype} {list(found)}, expected float32 {list(shape)}')
        content = start + 4 * math.prod(shape)
        if size not in (content, content + hashlib.sha256().digest_size):
            raise DamagedFileError(f'it has {size} bytes, expected {content + hashlib.sha256().digest_size}')
        if size > content:
            with open(file, 'rb') as opened:
                opened.seek(content)
                expected = opened.read()
            if _digest(file, content) != expected:
                raise DamagedFileError('its contents are not those that were written')
        columns = torch.from_numpy(np.memmap(file, np.dtype('<f4'), 'c', start, shape).reshape(shape[0], -1))
        if size == content and not all(column.isfinite().all() for column in columns):
            raise DamagedFileError('it holds NaN or infinity')
        return columns


def _digest(file: pathlib.Path, size: int) -> bytes:
    """SHA-256 of the first `size` bytes of a file."""
    digest = hashlib.sha256()
    with open(file, 'rb') as opened:
        while size > 0 and (block := opened.read(min(_BLOCK, size))):
            digest.update(block)
            size -= len(block)
    return digest.digest()
