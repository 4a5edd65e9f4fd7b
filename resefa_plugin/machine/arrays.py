"""Array files read as data, within bounds that are known before anything is read."""

from __future__ import annotations

import contextlib
import math
import pathlib
import warnings
import zipfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from resefa_plugin.errors import DamagedFileError, DirectionsError, ResefaError, printable
from resefa_plugin.machine.nearby import nearby

# What the arrays of an archive may unfold to: so much for any, and so many times its size. Masks compress a thousand
# times and are small; what is large, latents and directions, compresses hardly at all.
FREE_BYTES = 20 << 20
MAX_RATIO = 16
NPY_MAGIC = npy.MAGIC_PREFIX
ZIP_MAGIC = b'PK'


@contextlib.contextmanager
def reading(path: pathlib.Path, error_class: type[ResefaError] = DirectionsError) -> Iterator[None]:
    """Turns whatever a missing, damaged or hostile array file makes its readers raise into one class of errors.

    Raises it as well for what is not a regular file: a pipe may never end.
    """
    try:
        if path.exists() and not path.is_file():
            raise error_class('it is a folder or a device, expected a file')
        yield
    except (error_class, DamagedFileError) as error:
        raise error_class(f'{path}: {error}') from error
    except FileNotFoundError as error:
        raise error_class(f'{path} does not exist{nearby(path)}') from error
    except OSError as error:
        raise error_class(f'{path} cannot be read: {error.strerror or error}') from error
    # numpy, zipfile, zlib and json have no common class for what they cannot read, and on forged input raise others
    # than those that they document.
    except Exception as error:
        raise error_class(f'{path} cannot be read ({type(error).__name__}: {printable(str(error), 200)}): it is '
                          'damaged or cut off; copy it again, or write it anew') from error


class ArrayFile:
    """The arrays of an open `.npz`, by name.

    Attributes:
        names: of its arrays, in the order of the file.
    """

    def __init__(self, archive: zipfile.ZipFile, size: int):
        self.names = [name.removesuffix('.npy') for name in archive.namelist()]
        self._archive, self._size = archive, size
        self._left = FREE_BYTES + MAX_RATIO * size

    def listed(self) -> str:
        """The names, for an error."""
        return ', '.join(printable(name, 40) for name in self.names[:20]) or 'none'

    def read(self, name: str, most: int | None = None) -> NDArray[Any]:
        """An array, read as `read_array` does.

        Args:
            most: bytes that it may have; None for what is left for this file.

        Raises DamagedFileError before it takes more, LookupError if there is none of this name.
        """
        info = self._archive.getinfo(f'{name}.npy')
        most = self._left if most is None else min(most, self._left)
        if info.file_size > most:
            raise DamagedFileError(f"array '{name}' claims {info.file_size} bytes, and a file of {self._size} may hold "
                                   f'{most} there: damaged or forged')
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DamagedFileError(f"array '{name}' is compressed in another way than numpy does")
        self._left -= info.file_size
        try:
            with self._archive.open(info) as file:
                return read_array(file, info.file_size)
        except DamagedFileError as error:
            raise DamagedFileError(f"array '{name}': {error}") from error


@contextlib.contextmanager
def open_npz(path: pathlib.Path) -> Iterator[ArrayFile]:
    """Opens an `.npz` within `reading`."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # of zipfile, about names that are there twice
        with zipfile.ZipFile(path) as archive:
            yield ArrayFile(archive, path.stat().st_size)


def read_npy(path: pathlib.Path) -> NDArray[Any]:
    """The array of a `.npy`, read as `read_array` does, within `reading`."""
    with open(path, 'rb') as file:
        return read_array(file, path.stat().st_size)


def magic(path: pathlib.Path) -> bytes:
    """The first bytes of a file, by which its kind is told."""
    with open(path, 'rb') as file:
        return file.read(len(NPY_MAGIC))


def read_header(file: IO[bytes], allow_objects: bool = False) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether it is in Fortran's order, and type of the `.npy` stream that begins here.

    Raises DamagedFileError for objects, which numpy could only load by executing code, unless they are allowed.
    """
    version = npy.read_magic(file)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise DamagedFileError(f'its .npy version is {version}, expected 1.0 or 2.0')
    shape, order, dtype = readers[version](file)
    if dtype.hasobject and not allow_objects:
        raise DamagedFileError('it holds Python objects, whose loading would execute code: refused. Ask its author for '
                               'plain numeric arrays')
    return shape, order, dtype


def read_array(file: IO[bytes], size: int) -> NDArray[Any]:
    """Reads one `.npy` stream of `size` bytes as data, never as pickles, allocating no more than it can hold.

    Raises DamagedFileError for objects, and for a header that promises another number of bytes.
    """
    shape, _, dtype = read_header(file)
    promised = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or promised != size - file.tell():
        raise DamagedFileError(f'the header promises an array {list(shape)} of {dtype}, {promised} bytes, but '
                               f'{size - file.tell()} follow: damaged or forged')
    file.seek(0)
    return npy.read_array(file, allow_pickle=False)
