"""Reads a frozen graph of TensorFlow.js (`model.json` with its weight files) as data, without TensorFlow."""

from __future__ import annotations

import base64
import json
import math
import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resefa_plugin.errors import CheckpointError

ELEMENT_TYPES = {'float32': '<f4', 'int32': '<i4'}


@dataclass(frozen=True)
class TfjsNode:
    """One operation of a graph.

    Attributes:
        op: what it computes, e.g. `Conv2D`; `Const` for a constant, `Placeholder` for an input.
        name: its name in the graph.
        inputs: names of the nodes whose results it takes.
        attributes: its other settings: numbers, texts, flags and lists of such.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(frozen=True)
class TfjsGraph:
    """A network as operations on named values.

    Attributes:
        nodes: by name; each comes after those whose results it takes.
        constants: values of the `Const` nodes by name.
    """

    nodes: dict[str, TfjsNode] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)


def read_tfjs_graph(model: str | os.PathLike) -> TfjsGraph:
    """Reads `model.json` and the weight files beside it, which it names.

    Raises CheckpointError if a file is missing, damaged, or not a frozen graph of TensorFlow.js with plain numbers.
    """
    model = pathlib.Path(model)
    try:
        description = json.loads(model.read_bytes())
        constants: dict[str, np.ndarray] = {}
        for group in description['weightsManifest']:
            data = b''.join((model.parent / pathlib.PurePath(path).name).read_bytes() for path in group['paths'])
            constants |= _constants(data, group['weights'])
        nodes: dict[str, TfjsNode] = {}
        for entry in description['modelTopology']['node']:
            node = TfjsNode(_text(entry['op']), _text(entry['name']), tuple(map(_text, entry.get('input', ()))),
                            {key: _attribute(value) for key, value in entry.get('attr', {}).items()})
            if any(name not in nodes for name in node.inputs):
                raise ValueError(f"node '{node.name}' is fed by one that is not there or comes later")
            if node.op == 'Const' and node.name not in constants:
                raise ValueError(f"constant '{node.name}' has no value")
            nodes[node.name] = node
    except OSError as error:
        raise CheckpointError(f'{error.filename}: cannot be read ({error.strerror})') from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f'{model}: is not a frozen graph of TensorFlow.js ({error!r})') from error
    return TfjsGraph(nodes, constants)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f'{value!r} where a name is expected')
    return value


def _constants(data: bytes, weights: Sequence[dict]) -> dict[str, np.ndarray]:
    constants, position = {}, 0
    for weight in weights:
        if 'quantization' in weight or weight['dtype'] not in ELEMENT_TYPES:
            raise ValueError(f"weight '{weight['name']}' is quantized or of another type than float32 and int32")
        dtype, shape = np.dtype(ELEMENT_TYPES[weight['dtype']]), tuple(int(size) for size in weight['shape'])
        count = math.prod(shape)
        if min(shape, default=1) < 0 or position + count * dtype.itemsize > len(data):
            raise ValueError(f"weight '{weight['name']}' of shape {list(shape)} lies outside the weight files")
        constants[weight['name']] = np.frombuffer(data, dtype, count, position).reshape(shape)
        position += count * dtype.itemsize
    return constants


def _attribute(value: dict) -> Any:
    """`{'i': '2'}` -> 2, `{'s': base64}` -> text, `{'b': true}` -> True, `{'list': {'i': [...]}}` -> a list of such."""
    if 'list' in value:
        return [_attribute({kind: item}) for kind, items in value['list'].items() for item in items]
    if 'i' in value:
        return int(value['i'])
    if 's' in value:
        return base64.b64decode(value['s'], validate=True).decode()
    return value.get('b', False)
