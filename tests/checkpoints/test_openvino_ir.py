"""The IR reader on a graph written by hand, and on damaged ones."""

from __future__ import annotations

import numpy as np
import pytest

from resefa_plugin.checkpoints.graphs.openvino_ir import OpenVINOGraph
from resefa_plugin.errors import CheckpointError

XML = '''<?xml version="1.0"?>
<net name="n" version="10"><layers>
<layer id="0" name="x" type="Parameter"><data shape="1, 2" element_type="f32"/></layer>
<layer id="1" name="weight" type="Const"><data element_type="f16" shape="2, 3" offset="4" size="12"/></layer>
<layer id="2" name="target" type="Const"><data element_type="i64" shape="2" offset="16" size="16"/></layer>
<layer id="3" name="reshaped" type="Reshape"/>
<layer id="4" name="product" type="MatMul"/>
</layers><edges>
<edge from-layer="1" from-port="0" to-layer="3" to-port="0"/>
<edge from-layer="2" from-port="0" to-layer="3" to-port="1"/>
<edge from-layer="3" from-port="2" to-layer="4" to-port="1"/>
<edge from-layer="0" from-port="0" to-layer="4" to-port="0"/>
</edges></net>'''
WEIGHT = np.arange(6, dtype=np.float16).reshape(2, 3)
DATA = b'\0' * 4 + WEIGHT.tobytes() + np.array([3, 2]).tobytes()


def graph(tmp_path, xml=XML, data=DATA):
    (tmp_path / 'n.xml').write_text(xml)
    (tmp_path / 'n.bin').write_bytes(data)
    return OpenVINOGraph(tmp_path / 'n.xml', tmp_path / 'n.bin')


def test_constants_and_connections(tmp_path):
    g = graph(tmp_path)
    assert np.array_equal(g.constant(g.node('weight')), WEIGHT)
    product = g.node('product')
    assert product.inputs == (0, 3)  # in port order, not in the order of the file
    assert np.array_equal(g.constant_input(product), WEIGHT)
    assert g.consumer(g.node('weight'), 'MatMul') is product


@pytest.mark.parametrize('old, new', [
    ('version="10"', 'version="99"'), ('<net', '<html'), ('</net>', ''), ('from-layer="0"', 'from-layer="9"'),
    ('type="MatMul"', ''), ('id="0"', 'id="zero"'), ('edges>', 'ledges>'), ('<edges>', '<edge>')])
def test_what_is_not_ir(tmp_path, old, new):
    with pytest.raises(CheckpointError, match='n.xml: is not OpenVINO IR version 10 or 11'):
        graph(tmp_path, XML.replace(old, new))


def test_entities_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match='document type declaration'):
        graph(tmp_path, XML.replace('<net', '<!DOCTYPE x [<!ENTITY a "b">]><net'))


@pytest.mark.parametrize('old, new', [
    ('offset="4"', 'offset="40"'), ('offset="4"', 'offset="-4"'), ('size="12"', 'size="10"'),
    ('shape="2, 3"', 'shape="2, -3"'), ('shape="2, 3"', 'shape="200000, 300000"')])
def test_constant_outside_its_file(tmp_path, old, new):
    g = graph(tmp_path, XML.replace(old, new))
    with pytest.raises(CheckpointError, match="constant 'weight' of shape .* does not lie inside the .bin file"):
        g.constant(g.node('weight'))


def test_errors(tmp_path):
    g = graph(tmp_path, XML.replace('element_type="f16"', 'element_type="f7"'))
    with pytest.raises(CheckpointError, match="constant 'weight' is not described as in OpenVINO IR"):
        g.constant(g.node('weight'))
    with pytest.raises(CheckpointError, match="has no node 'bias'; it is another network"):
        g.node('bias')
    with pytest.raises(CheckpointError, match="node 'x' feeds 0 nodes of type Add, expected 1"):
        g.consumer(g.node('x'), 'Add')
    with pytest.raises(CheckpointError, match="node 'x' has 0 constant inputs, expected 1"):
        g.constant_input(g.node('x'))
    with pytest.raises(CheckpointError, match='missing.xml: cannot be read'):
        OpenVINOGraph(tmp_path / 'missing.xml', tmp_path / 'n.bin')


def test_a_reshape_of_itself_ends(tmp_path):
    g = graph(tmp_path, XML.replace('<edge from-layer="1" from-port="0" to-layer="3"',
                                    '<edge from-layer="3" from-port="2" to-layer="3"'))
    with pytest.raises(CheckpointError, match="is reshaped from itself"):
        g.constant_input(g.node('product'))
    with pytest.raises(CheckpointError, match="is reshaped from itself"):
        g.consumer(g.node('weight'), 'MatMul')
