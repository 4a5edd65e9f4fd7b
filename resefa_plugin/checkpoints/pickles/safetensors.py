"""Files of the safetensors format: a header of JSON that says where each tensor lies, and the tensors."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping

import torch
from torch import Tensor

from resefa_plugin.checkpoints.pickles.inert_pickle import Budget
from resefa_plugin.checkpoints.pickles.inert_values import MAX_KEY_CHARS, Call, Global, shorten
from resefa_plugin.checkpoints.pickles.plain_data import MAX_NATURAL, MAX_NDIM, Decoder, Handler, arguments
from resefa_plugin.checkpoints.pickles.torch_storage import ELEMENTS, Storage, strided_copy
from resefa_plugin.errors import CheckpointError
from resefa_plugin.machine.files import replacing

MAX_HEADER_BYTES = 16 << 20  # the format itself allows 100 MB; a StyleGAN2 generator has 20 kilobytes
TENSOR = 'safetensors.tensor'

_KINDS = {'F64': 'Double', 'F32': 'Float', 'F16': 'Half', 'BF16': 'BFloat16', 'I64': 'Long', 'I32': 'Int',
          'I16': 'Short', 'I8': 'Char', 'U8': 'Byte', 'BOOL': 'Bool'}


def open_safetensors(data: memoryview, budget: Budget) -> dict[str, Call]:
    """The tensors of a file by name, inert: `TENSOR_HANDLERS` decode them.

    Raises CheckpointError for a header that is no JSON of the format, or that claims bytes that are not there.
    """
    length = int.from_bytes(data[:8], 'little')
    if not 2 <= length <= min(MAX_HEADER_BYTES, len(data) - 8):
        raise CheckpointError(f'a header of {length} bytes in a file of {len(data)}: damaged or cut off')
    budget.spend_bytes(length)
    header, body = _header(data[8:8 + length]), data[8 + length:]
    tensors = {}
    for name, entry in header.items():
        budget.spend_value()
        if name != '__metadata__':
            tensors[name] = _tensor(name, entry, body)
    return tensors


def safetensors_metadata(data: bytes) -> dict[str, str]:
    """The texts beside the tensors of a file that `open_safetensors` opened; those that are no texts are left out."""
    metadata = _header(memoryview(data)[8:8 + int.from_bytes(data[:8], 'little')]).get('__metadata__')
    return {key: text for key, text in metadata.items() if type(text) is str} if type(metadata) is dict else {}


def write_safetensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes tensors of float32 or float16, and texts beside them. Raises ResefaError if it cannot be written."""
    header: dict[str, object] = {'__metadata__': dict(metadata)}
    parts, begin = [], 0
    for name, tensor in tensors.items():
        part = tensor.detach().cpu().contiguous().numpy().tobytes()
        header[name] = {'dtype': {torch.float32: 'F32', torch.float16: 'F16'}[tensor.dtype],
                        'shape': list(tensor.shape), 'data_offsets': [begin, begin + len(part)]}
        parts.append(part)
        begin += len(part)
    text = json.dumps(header).encode()
    text += b' ' * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    with replacing(path) as part_path:
        part_path.write_bytes(len(text).to_bytes(8, 'little') + text + b''.join(parts))


def _header(data: memoryview) -> dict[str, object]:
    try:
        header = json.loads(bytes(data))
    except (ValueError, RecursionError):  # ValueError is JSON's and Unicode's
        header = None
    if type(header) is not dict:
        raise CheckpointError('a header that is no JSON object: damaged')
    return header


def _tensor(name: str, entry: object, body: memoryview) -> Call:
    what = f'the tensor {shorten(name)}'
    fields = entry if type(entry) is dict else {}
    kind, shape, span = fields.get('dtype'), _naturals(fields.get('shape')), _naturals(fields.get('data_offsets'))
    if len(name) > MAX_KEY_CHARS or type(kind) is not str or shape is None or span is None or len(span) != 2:
        raise CheckpointError(f'{what} has no dtype, shape and data_offsets: damaged')
    if kind not in _KINDS:
        raise CheckpointError(f'{what} has elements of type {shorten(kind)}; expected one of {", ".join(_KINDS)}')
    storage = f'torch.{_KINDS[kind]}Storage'
    count = math.prod(shape)
    size = count * ELEMENTS[storage][0].itemsize
    if not span[0] <= span[1] <= len(body) or span[1] - span[0] != size:
        raise CheckpointError(f'{what} of {size} bytes claims bytes {span[0]} to {span[1]} of {len(body)}: damaged')
    return Call(Global(TENSOR), (Storage(storage, count, body[span[0]:span[1]]), tuple(shape)))


def _naturals(value: object) -> list[int] | None:
    """A list of moderate numbers as it is, None for anything else."""
    if type(value) is not list or len(value) > MAX_NDIM:
        return None
    return value if all(type(item) is int and 0 <= item <= MAX_NATURAL for item in value) else None


def _decode(decoder: Decoder, call: Call, depth: int) -> object:
    storage, shape = arguments(call, 2)
    stride = tuple(math.prod(shape[axis + 1:]) for axis in range(len(shape)))
    return strided_copy(storage, 0, shape, stride, decoder.budget)


SAFETENSORS_HANDLERS: dict[str, Handler] = {TENSOR: _decode}
