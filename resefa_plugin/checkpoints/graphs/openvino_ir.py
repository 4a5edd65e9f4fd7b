"""Reads OpenVINO IR (version 10 and 11: an .xml graph and a .bin of constants) as data, without OpenVINO."""

from __future__ import annotations

import math
import pathlib
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

import numpy as np

from resefa_plugin.errors import CheckpointError

# What the graph calls the type of a constant -> what numpy calls it.
ELEMENT_TYPES = {'f64': '<f8', 'f32': '<f4', 'f16': '<f2', 'i64': '<i8', 'i32': '<i4', 'i16': '<i2', 'i8': 'i1',
                 'u8': 'u1', 'boolean': '?'}


@dataclass(frozen=True)
class OpenVINONode:
    """One operation of a graph.

    Attributes:
        id: its number in the graph.
        type: what it computes, e.g. `Convolution`; `Const` for a constant.
        name: its name in the graph.
        inputs: ids of the nodes whose results it takes, in the order of its arguments.
        attributes: its other settings, as texts.
    """

    id: int
    type: str
    name: str
    inputs: tuple[int, ...]
    attributes: dict[str, str]


class OpenVINOGraph:
    """A graph of operations with its constants.

    Args:
        xml_path: the graph.
        bin_path: the constants, little-endian, at the offsets that the graph states.

    Raises:
        CheckpointError: a file is missing, damaged, or not OpenVINO IR.
    """

    def __init__(self, xml_path: str | pathlib.Path, bin_path: str | pathlib.Path):
        self._path = pathlib.Path(xml_path)
        try:
            text = self._path.read_bytes()
            self._data = pathlib.Path(bin_path).read_bytes()
        except OSError as error:
            raise CheckpointError(f'{error.filename}: cannot be read ({error.strerror})') from error
        # Nested entities let a short XML file unfold to gigabytes. OpenVINO writes none, in ASCII.
        if b'<!DOCTYPE' in text or b'<!ENTITY' in text or b'\0' in text:
            raise CheckpointError(f'{self._path}: has a document type declaration, which OpenVINO IR never has')
        try:
            self.nodes = _read_nodes(ElementTree.fromstring(text))
        except (ElementTree.ParseError, ArithmeticError, LookupError, ValueError) as error:
            raise CheckpointError(f'{self._path}: is not OpenVINO IR version 10 or 11 ({error!r})') from error
        self._by_name = {node.name: node for node in self.nodes.values()}

    def node(self, name: str) -> OpenVINONode:
        """The node of that name. Raises CheckpointError if there is none."""
        if name not in self._by_name:
            raise CheckpointError(f"{self._path}: has no node '{name}'; it is another network than the one expected")
        return self._by_name[name]

    def _before_reshape(self, node: OpenVINONode) -> OpenVINONode:
        for _ in self.nodes:  # no more often: a forged file may go in a circle
            if node.type != 'Reshape' or not node.inputs:
                return node
            node = self.nodes[node.inputs[0]]
        raise CheckpointError(f"{self._path}: node '{node.name}' is reshaped from itself")

    def consumer(self, node: OpenVINONode, type: str) -> OpenVINONode:
        """The one node of a type that takes the result of a node, reshaped or not.

        Raises CheckpointError if there is none, or more than one.
        """
        found = [other for other in self.nodes.values() if other.type == type
                 and any(self._before_reshape(self.nodes[i]) is node for i in other.inputs)]
        if len(found) != 1:
            raise CheckpointError(f"{self._path}: node '{node.name}' feeds {len(found)} nodes of type {type}, "
                                  'expected 1')
        return found[0]

    def constant_input(self, node: OpenVINONode) -> np.ndarray:
        """The one constant among a node's inputs, in its shape before any reshape.

        Raises CheckpointError if there is none, or more than one.
        """
        sources = [self._before_reshape(self.nodes[i]) for i in node.inputs]
        constants = [source for source in sources if source.type == 'Const']
        if len(constants) != 1:
            raise CheckpointError(f"{self._path}: node '{node.name}' has {len(constants)} constant inputs, expected 1")
        return self.constant(constants[0])

    def constant(self, node: OpenVINONode) -> np.ndarray:
        """The value of a `Const` node. Raises CheckpointError if it does not lie inside the .bin file."""
        try:
            dtype = np.dtype(ELEMENT_TYPES[node.attributes['element_type']])
            shape = tuple(int(s) for s in node.attributes['shape'].split(',') if s.strip())
            offset, size = int(node.attributes['offset']), int(node.attributes['size'])
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"{self._path}: constant '{node.name}' is not described as in OpenVINO IR "
                                  f'({error!r})') from error
        count = math.prod(shape)
        if min(shape, default=1) < 0 or count * dtype.itemsize != size or not 0 <= offset <= len(self._data) - size:
            raise CheckpointError(f"{self._path}: constant '{node.name}' of shape {list(shape)} does not lie inside "
                                  f'the .bin file ({offset} + {size} of {len(self._data)} bytes); fetch the files '
                                  'again')
        return np.frombuffer(self._data, dtype, count, offset).reshape(shape)


def _read_nodes(net: ElementTree.Element) -> dict[int, OpenVINONode]:
    edges, layers = net.find('edges'), net.find('layers')
    if net.tag != 'net' or net.get('version') not in ('10', '11') or edges is None or layers is None:
        raise ValueError(f"<{net.tag} version={net.get('version')!r}>")
    inputs: dict[int, dict[int, int]] = {}  # node -> port -> node that feeds it
    for edge in edges:
        target, port, source = (int(edge.attrib[key]) for key in ('to-layer', 'to-port', 'from-layer'))
        inputs.setdefault(target, {})[port] = source
    nodes = {}
    for layer in layers:
        id = int(layer.attrib['id'])
        data = layer.find('data')
        sources = tuple(source for _, source in sorted(inputs.get(id, {}).items()))
        attributes = {} if data is None else dict(data.attrib)
        nodes[id] = OpenVINONode(id, layer.attrib['type'], layer.attrib['name'], sources, attributes)
    if any(source not in nodes for node in nodes.values() for source in node.inputs):
        raise ValueError('an edge begins at a node that is not there')
    return nodes
