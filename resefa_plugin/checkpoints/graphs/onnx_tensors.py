"""The constants of an ONNX file, read as data: just enough of its protocol buffers, without onnx or onnxruntime."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

import numpy as np

from resefa_plugin.checkpoints.network_source import read_source
from resefa_plugin.errors import CheckpointError

# Numbers of fields, by the message that has them, as onnx.proto defines them.
GRAPH = 7  # of ModelProto
INITIALIZER = 5  # of GraphProto
DIMS, DATA_TYPE, FLOAT_DATA, NAME, RAW_DATA = 1, 2, 4, 8, 9  # of TensorProto
FLOAT = 1  # a value of DATA_TYPE
# How a field is stored: the protocol buffers' wire types.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def read_onnx_tensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The float32 constants of an ONNX file by name.

    Raises CheckpointError if the file is missing, damaged, or has constants of another type or layout.
    """
    source = read_source(path)
    tensors: dict[str, np.ndarray] = {}
    try:
        for field, graph in _fields(memoryview(source.data)):
            if field == GRAPH:
                tensors |= dict(_tensor(value) for field, value in _fields(_message(graph)) if field == INITIALIZER)
    except (IndexError, TypeError, ValueError) as error:
        raise CheckpointError(f'{source.name}: is not an ONNX file with float32 constants ({error})') from error
    if not tensors:
        raise CheckpointError(f'{source.name}: is not an ONNX file, or holds no constants')
    return tensors


def _tensor(message: int | memoryview) -> tuple[str, np.ndarray]:
    dims: list[int] = []
    kind, name, raw = None, '', memoryview(b'')
    for field, value in _fields(_message(message)):
        if field == DIMS:
            dims += [value] if isinstance(value, int) else _packed(value)
        elif field == DATA_TYPE:
            kind = value
        elif field == NAME:
            name = bytes(_message(value)).decode()
        elif field in (RAW_DATA, FLOAT_DATA):  # packed floats are the same bytes
            raw = _message(value)
    if kind != FLOAT or len(raw) != 4 * math.prod(dims):
        raise ValueError(f"constant '{name}' of type {kind} and shape {dims} has {len(raw)} bytes")
    return name, np.frombuffer(raw, '<f4').reshape(dims)


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError('a number where bytes are expected')
    return value


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message: the number of each, and its value: an integer, or the bytes of anything else."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        value: int | memoryview
        if kind == VARINT:
            value, position = _varint(message, position)
        elif kind in (BYTES, FIXED32, FIXED64):
            length = {FIXED32: 4, FIXED64: 8}.get(kind)
            if length is None:
                length, position = _varint(message, position)
            if length > len(message) - position:
                raise ValueError(f'a field of {length} bytes, of which {len(message) - position} are there')
            value, position = message[position:position + length], position + length
        else:
            raise ValueError(f'a field of the unknown kind {kind}')
        yield key >> 3, value


def _packed(values: memoryview) -> list[int]:
    numbers, position = [], 0
    while position < len(values):
        number, position = _varint(values, position)
        numbers.append(number)
    return numbers


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """An integer in groups of 7 bits, and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
    raise ValueError('an integer of more than 64 bits')
