"""Reads a frozen graph of TensorFlow.js (`model.json` with its weight files) as data, without TensorFlow."""

from __future__ import annotations

import base64
import json
import math
import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from resefa_plugin.errors import CheckpointError

ELEMENT_TYPES = {'float32': '<f4', 'int32': '<i4'}


@dataclass(frozen=True)
class Node:
    """One operation: its type, its name, the names of the nodes that feed it, its attributes (lists, texts, flags)."""

    op: str
    name: str
    inputs: tuple[str, ...]
    attributes: dict[str, object]


@dataclass(frozen=True)
class Graph:
    """Nodes by name, in the order in which they can be computed, and the constants by name."""

    nodes: dict[str, Node] = field(default_factory=dict)
    constants: dict[str, np.ndarray] = field(default_factory=dict)


def read_tfjs_graph(model: str | os.PathLike) -> Graph:
    """Reads `model.json` and the weight files beside it, which it names.

    Raises CheckpointError if a file is missing, damaged, or not a frozen graph of TensorFlow.js with plain numbers.
    """
    model = pathlib.Path(model)
    try:
        description = json.loads(model.read_bytes())
        constants = {}
        for group in description['weightsManifest']:
            data = b''.join((model.parent / pathlib.PurePath(path).name).read_bytes() for path in group['paths'])
            constants |= _constants(data, group['weights'])
        nodes = {}
        for entry in description['modelTopology']['node']:
            node = Node(entry['op'], entry['name'], tuple(entry.get('input', ())),
                        {key: _attribute(value) for key, value in entry.get('attr', {}).items()})
            if any(name not in nodes for name in node.inputs):
                raise ValueError(f"node '{node.name}' is fed by one that is not there or comes later")
            if node.op == 'Const' and node.name not in constants:
                raise ValueError(f"constant '{node.name}' has no value")
            nodes[node.name] = node
    except OSError as error:
        raise CheckpointError(f'{error.filename}: cannot be read ({error.strerror})') from error
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f'{model}: is not a frozen graph of TensorFlow.js ({error!r})') from error
    return Graph(nodes, constants)


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


def _attribute(value: dict) -> object:
    """`{'i': '2'}` -> 2, `{'s': base64}` -> text, `{'b': true}` -> True, `{'list': {'i': [...]}}` -> a list of such."""
    if 'list' in value:
        return [_attribute({kind: item}) for kind, items in value['list'].items() for item in items]
    if 'i' in value:
        return int(value['i'])
    if 's' in value:
        return base64.b64decode(value['s'], validate=True).decode()
    return value.get('b', False)
