"""PyTorch's two file formats, read as data: tensors come from bytes whose geometry was checked.

`torch.save` writes either a zip archive, or (the legacy format, also what a pickled tensor carries inside) five pickles
in a row and then the storages: magic number, protocol version, system information, the object with persistent ids for
its storages, the list of storage keys; for each key the element count as int64 and the raw bytes.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from resefa_plugin.checkpoints import formats
from resefa_plugin.checkpoints.network_source import read_source
from resefa_plugin.checkpoints.pickles.inert_pickle import Budget, load_inert, naming, utf8
from resefa_plugin.checkpoints.pickles.inert_values import Call, Global, PersistentRef, shorten
from resefa_plugin.checkpoints.pickles.plain_data import (
    CONTAINER_HANDLERS,
    NUMPY_HANDLERS,
    OBJECT_BYTES,
    Decoder,
    Handler,
    arguments,
    items_of,
    natural,
    shape,
    text,
)
from resefa_plugin.errors import CheckpointError

LEGACY_MAGIC = 0x1950a86a20f9469cfc6c
LEGACY_VERSION = 1001
ZIP_MAGIC = b'PK\x03\x04'
ZIP_MEMBER_MAGIC = b'PK\x01\x02'
MAX_ZIP_MEMBERS = 50_000
MENTIONED_TWICE = 'the storage {} is mentioned with different types or lengths'
LOAD_FROM_BYTES = 'torch.storage._load_from_bytes'

# Class of a storage -> (torch's type of its elements, numpy's type of their little-endian bytes).
ELEMENTS = {
    'torch.FloatStorage': (torch.float32, '<f4'),
    'torch.DoubleStorage': (torch.float64, '<f8'),
    'torch.HalfStorage': (torch.float16, '<f2'),
    'torch.BFloat16Storage': (torch.bfloat16, '<i2'),
    'torch.LongStorage': (torch.int64, '<i8'),
    'torch.IntStorage': (torch.int32, '<i4'),
    'torch.ShortStorage': (torch.int16, '<i2'),
    'torch.CharStorage': (torch.int8, '|i1'),
    'torch.ByteStorage': (torch.uint8, '|u1'),
    'torch.BoolStorage': (torch.bool, '|u1'),
}


@dataclass(frozen=True)
class Storage:
    """The elements of one or more tensors.

    Attributes:
        kind: its class, one of `ELEMENTS`.
        numel: number of elements.
        raw: their bytes.
    """

    kind: str
    numel: int
    raw: memoryview


FindStorage = Callable[[Decoder, object], Storage]


def read_torch_file(source: str | os.PathLike | bytes, cache_dir: str | os.PathLike | None = None) -> object:
    """Reads a file written by `torch.save`, in either format, without executing anything.

    Args:
        source: path, URL, or the bytes of the file.
        cache_dir: folder for fetched files; None to use `files.cache_dir()`.

    Returns: plain data: containers, numbers, text, and tensors, which own their memory and are contiguous.

    Raises:
        CheckpointError: for a damaged file, or one that holds more than tensors and plain containers.
    """
    file = read_source(source, cache_dir)
    with naming(file.name):
        budget = Budget(len(file.data))
        root, find_storage = open_torch(file.data, budget)
        handlers = {**CONTAINER_HANDLERS, **NUMPY_HANDLERS, **tensor_handlers(find_storage)}
        return Decoder(handlers, budget).plain(root)


def open_torch(data: bytes, budget: Budget) -> tuple[object, FindStorage]:
    """The object in a file of `torch.save`, inert, and what finds the storages of its tensors.

    Raises CheckpointError for a damaged file.
    """
    if data.startswith(ZIP_MAGIC):
        return _read_zip(data, budget)
    root, storages = _read_legacy(memoryview(data), budget)
    return root, _storage_by_id(storages)


def nested_storage(decoder: Decoder, value: object) -> Storage:
    """The storage of a tensor that was pickled on its own: a call of `torch.storage._load_from_bytes`."""
    if type(value) is not Call or value.func.name != LOAD_FROM_BYTES:
        raise CheckpointError(f'{shorten(value)} where the storage of a tensor is expected')
    (payload,) = arguments(value, 1)
    root, storages = _read_legacy(decoder.payload(payload), decoder.budget)
    return _storage_by_id(storages)(decoder, root)


def tensor_handlers(find_storage: FindStorage) -> dict[str, Handler]:
    """Handlers for tensors and parameters whose storage argument `find_storage` understands."""

    def tensor(decoder: Decoder, call: Call, depth: int) -> torch.Tensor:
        # Metadata marks tensors that are to be conjugated or negated, which no network file has.
        storage, offset, size, stride, _requires_grad, _hooks, *metadata = arguments(call, 6, 7)
        if any(metadata):
            raise CheckpointError('a tensor with metadata')
        return strided_copy(find_storage(decoder, storage), offset, size, stride, decoder.budget)

    def parameter(decoder: Decoder, call: Call, depth: int) -> torch.Tensor:
        value = decoder.plain(arguments(call, 3, 4)[0], depth + 1)
        if not isinstance(value, torch.Tensor):
            raise CheckpointError(f'a parameter made from {shorten(value)}; expected a tensor')
        return value

    def with_attributes(decoder: Decoder, call: Call, depth: int) -> object:
        # Of a tensor on which attributes were set, which are not needed: what makes the tensor, and its arguments.
        func, _kind, args, _state = arguments(call, 4)
        if type(func) is not Global or func.name not in handlers or type(args) is not tuple:
            raise CheckpointError(f'a tensor made by {shorten(func)}')
        return handlers[func.name](decoder, Call(func, args), depth + 1)

    handlers: dict[str, Handler] = {
        'torch._utils._rebuild_tensor_v2': tensor,
        'torch._utils._rebuild_parameter': parameter,
        'torch._utils._rebuild_parameter_with_state': parameter,
        'torch._tensor._rebuild_from_type_v2': with_attributes,
    }
    return handlers


def strided_copy(storage: Storage, offset: object, size: object, stride: object, budget: Budget) -> torch.Tensor:
    """The tensor at `offset` with `size` and `stride`, in elements, as a contiguous copy.

    Python's integers do not overflow, so the last element is found exactly before any memory is touched.
    """
    offset = natural(offset, 'offset of a tensor')
    size = shape(size, 'size of a tensor')
    stride = shape(stride, 'stride of a tensor')
    if len(size) != len(stride):
        raise CheckpointError(f'a tensor of {len(size)} dimensions with {len(stride)} strides')
    dtype, element = ELEMENTS[storage.kind]
    itemsize = np.dtype(element).itemsize
    # Axes of length 0 are left out: the others are bounded even if there is no element, as torch refuses huge sizes.
    budget.spend_bytes(math.prod(length for length in size if length) * itemsize + OBJECT_BYTES)
    if 0 in size:
        return torch.empty(size, dtype=dtype)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if last >= storage.numel:
        raise CheckpointError(f'a tensor of size {size}, stride {stride} and offset {offset} reaches beyond its '
                              f'storage of {storage.numel} elements')
    elements = np.frombuffer(storage.raw, element)
    steps = [step * itemsize if length > 1 else 0 for length, step in zip(size, stride, strict=True)]
    view = np.lib.stride_tricks.as_strided(elements[offset:], size, steps, writeable=False)
    if dtype == torch.bool:
        # A byte other than 0 and 1 would be a bool that is neither.
        return torch.from_numpy(np.array(view != 0, order='C'))
    copy = torch.from_numpy(np.array(view, dtype=np.dtype(element).newbyteorder('='), order='C'))
    return copy.view(dtype)


def _storage_by_id(storages: dict[str, Storage]) -> FindStorage:
    def find(decoder: Decoder, value: object) -> Storage:
        if type(value) is not PersistentRef:
            raise CheckpointError(f'{shorten(value)} where the storage of a tensor is expected')
        return storages[_storage_id(value)[0]]

    return find


def _storage_id(ref: PersistentRef) -> tuple[str, str, int]:
    """Key, class and element count from `('storage', class, key, location, numel[, view])`."""
    pid = ref.pid
    if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] != 'storage' or pid[5:] not in ((), (None,)):
        raise CheckpointError('a persistent id that does not name a storage')
    kind, key, _location, numel = pid[1:5]
    if type(kind) is not Global or kind.name not in ELEMENTS:
        raise CheckpointError(f'a storage of class {shorten(kind)}; expected one of {", ".join(ELEMENTS)}')
    key = text(key, 'key of a storage')
    if len(key) > 64:
        raise CheckpointError(f'the key of a storage has {len(key)} characters')
    return key, kind.name, natural(numel, 'element count of a storage')


def _declared_storages(refs: list[PersistentRef]) -> dict[str, tuple[str, int]]:
    """Class and element count of every storage that is mentioned, by key."""
    declared: dict[str, tuple[str, int]] = {}
    for ref in refs:
        key, kind, numel = _storage_id(ref)
        if declared.setdefault(key, (kind, numel)) != (kind, numel):
            raise CheckpointError(MENTIONED_TWICE.format(shorten(key)))
    return declared


def _read_legacy(data: memoryview, budget: Budget) -> tuple[object, dict[str, Storage]]:
    magic, position = load_inert(data, budget)
    if magic != LEGACY_MAGIC:
        raise CheckpointError(f'not a file of torch.save: {shorten(magic)} where its magic number is expected')
    version, position = load_inert(data, budget, position=position)
    if version != LEGACY_VERSION:
        raise CheckpointError(f'version {shorten(version)} of the torch format; expected {LEGACY_VERSION}')
    system, position = load_inert(data, budget, position=position)
    if items_of(system).get('little_endian') is not True:
        raise CheckpointError('tensors of a big-endian machine; expected little-endian')
    refs: list[PersistentRef] = []
    root, position = load_inert(data, budget, position=position, refs=refs)
    keys, position = load_inert(data, budget, position=position)
    declared = _declared_storages(refs)
    if type(keys) is not list or len(keys) != len(declared):
        raise CheckpointError(f'{shorten(keys)} where the list of {len(declared)} storages is expected')
    storages: dict[str, Storage] = {}
    for key in keys:
        if type(key) is not str or key not in declared or key in storages:
            raise CheckpointError(f'the list of storages has {shorten(key)}, which is unknown or listed twice')
        kind, numel = declared[key]
        end = position + 8 + numel * np.dtype(ELEMENTS[kind][1]).itemsize
        if end > len(data):
            raise CheckpointError(f'truncated: a storage of {numel} elements wants bytes up to {end} of {len(data)}')
        (stored,) = struct.unpack('<q', data[position:position + 8])
        if stored != numel:
            raise CheckpointError(f'a storage of {stored} elements; its persistent id says {numel}')
        storages[key] = Storage(kind, numel, data[position + 8:end])
        position = end
    if position != len(data):
        raise CheckpointError(f'{len(data) - position} bytes too many behind the last storage')
    return root, storages


def _read_zip(data: bytes, budget: Budget) -> tuple[object, FindStorage]:
    # zipfile makes an object of half a kilobyte for each member, and a member can be as short as 46 bytes in the file.
    if data.count(ZIP_MEMBER_MAGIC) > MAX_ZIP_MEMBERS:
        raise CheckpointError(f'a zip archive of more than {MAX_ZIP_MEMBERS} members')
    with _zip_errors():
        archive = zipfile.ZipFile(io.BytesIO(data))
        return _read_archive(archive, budget)


@contextlib.contextmanager
def _zip_errors() -> Iterator[None]:
    try:
        yield
    except CheckpointError:
        raise
    # zipfile raises these for damaged archives, and RuntimeError for encrypted ones.
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, LookupError, ValueError, ArithmeticError,
            struct.error) as error:
        raise CheckpointError(f'a damaged zip archive: {error}') from None


def _read_archive(archive: zipfile.ZipFile, budget: Budget) -> tuple[object, FindStorage]:
    members = {info.filename: info for info in archive.infolist()}
    objects = [name for name in members if name.endswith('/data.pkl') and name.count('/') == 1]
    if not any(name.endswith('/data.pkl') for name in members):
        raise CheckpointError(f'it is {formats.ZIP.title}, {", ".join(map(shorten, list(members)[:3]))}. Remedy: '
                              f'{formats.ZIP.remedy}')
    if len(objects) != 1:
        raise CheckpointError(f'a zip archive with {len(objects)} members named NAME/data.pkl; torch.save writes one')
    folder = objects[0].removesuffix('data.pkl')
    if folder + 'constants.pkl' in members:
        raise CheckpointError('a TorchScript program; expected the weights that it was made from')

    def member(name: str) -> memoryview:
        info = members.get(folder + name)
        if info is None or info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise CheckpointError(f'the zip member {shorten(folder + name)} is missing or compressed')
        budget.spend_bytes(info.file_size)
        return memoryview(archive.read(info))

    if folder + 'byteorder' in members and utf8(member('byteorder')) != 'little':
        raise CheckpointError('tensors of a big-endian machine; expected little-endian')
    refs: list[PersistentRef] = []
    root, _ = load_inert(member('data.pkl'), budget, refs=refs)
    found: dict[str, Storage] = {}

    def find(decoder: Decoder, value: object) -> Storage:
        """Reads a storage when a tensor needs it: a snapshot has more than is wanted of it."""
        if type(value) is not PersistentRef:
            raise CheckpointError(f'{shorten(value)} where the storage of a tensor is expected')
        key, kind, numel = _storage_id(value)
        if key not in found:
            with _zip_errors():
                raw = member(f'data/{key}')
            if len(raw) != numel * np.dtype(ELEMENTS[kind][1]).itemsize:
                raise CheckpointError(f'a storage of {len(raw)} bytes; its persistent id says {numel} elements of '
                                      f'{kind}')
            found[key] = Storage(kind, numel, raw)
        if (found[key].kind, found[key].numel) != (kind, numel):
            raise CheckpointError(MENTIONED_TWICE.format(shorten(key)))
        return found[key]

    return root, find
