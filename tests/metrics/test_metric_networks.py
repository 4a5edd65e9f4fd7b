"""Networks that are read as data: forged files of each format, and the real ones against what ran them elsewhere."""

from __future__ import annotations

import base64
import json
import pathlib

import numpy as np
import pytest
import torch

from resefa_plugin.attributes.face_parts import PROBABILITIES
from resefa_plugin.checkpoints.graphs.onnx_tensors import read_onnx_tensors
from resefa_plugin.checkpoints.graphs.tfjs_graph import read_tfjs_graph
from resefa_plugin.errors import CheckpointError
from resefa_plugin.metrics.edits import Edits
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.metrics.networks.tfjs_network import TfjsNetwork, resize_bilinear
from resefa_plugin.metrics.registry import pair_metric, set_metric
from resefa_plugin.regions.partition import parse_region
from tests.helpers.toys import images_at

# SFace by onnxruntime 1.32, a picture of RandomState(0).uniform(0, 255); the parser's logits by TensorFlow.js 3.8 on
# one of RandomState(0).uniform(-1, 1), `[1, 64, 64, 3]`, each fourth row and column; LPIPS and its map by the package
# lpips 0.1.4 on two pictures of RandomState(0).uniform(-1, 1, (1, 3, 64, 64)).
ORACLES = pathlib.Path(__file__).parents[1] / 'data' / 'metric_networks.npz'
FLOAT32_NETWORK = 1e-4  # sums in another order; measured 3e-6. A wrong padding or stride is of order 1


def varint(number: int) -> bytes:
    head = []
    while number > 127:
        head.append(number & 127 | 128)
        number >>= 7
    return bytes([*head, number])


def message(field: int, payload: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def onnx_file(name: str, array: np.ndarray, floats: int = 9, kind: int = 1) -> bytes:
    """A model with one constant; `floats`: 9 for raw bytes, 4 for packed floats."""
    dims = b''.join(varint(1 << 3) + varint(size) for size in array.shape)
    tensor = dims + varint(2 << 3) + varint(kind) + message(8, name.encode()) + message(floats, array.tobytes())
    return varint(1 << 3) + varint(8) + message(7, message(2, b'graph') + message(5, tensor))


@pytest.mark.parametrize('floats', [9, 4])
def test_onnx_constants(tmp_path, floats):
    array = np.arange(300, dtype='<f4').reshape(2, 150)
    (tmp_path / 'net.onnx').write_bytes(onnx_file('weight', array, floats))
    tensors = read_onnx_tensors(tmp_path / 'net.onnx')
    assert list(tensors) == ['weight']
    np.testing.assert_array_equal(tensors['weight'], array)


@pytest.mark.parametrize('data, match', [
    (b'', 'holds no constants'), (b'\x3a\xff\x01', 'a field of 255 bytes, of which 0 are there'),
    (b'\x3b', 'unknown kind 3'), (b'\xff' * 11, 'more than 64 bits'), (b'\x80', 'is not an ONNX file'),
    (onnx_file('w', np.zeros(3, '<f4'), kind=7), "constant 'w' of type 7"),
    (onnx_file('w', np.zeros(3, '<f4'))[:-4], 'bytes, of which')])
def test_files_that_are_not_onnx(tmp_path, data, match):
    (tmp_path / 'net.onnx').write_bytes(data)
    with pytest.raises(CheckpointError, match=match):
        read_onnx_tensors(tmp_path / 'net.onnx')


def text(value: str) -> dict:
    return {'s': base64.b64encode(value.encode()).decode()}


def tfjs_file(folder: pathlib.Path, nodes: list[dict], constants: dict[str, np.ndarray], **weight) -> pathlib.Path:
    nodes = [*({'name': name, 'op': 'Const'} for name in constants), {'name': 'input', 'op': 'Placeholder'}, *nodes]
    weights = [{'name': name, 'shape': list(value.shape), 'dtype': value.dtype.name} | weight
               for name, value in constants.items()]
    (folder / 'weights.bin').write_bytes(b''.join(value.tobytes() for value in constants.values()))
    (folder / 'model.json').write_text(json.dumps({
        'modelTopology': {'node': nodes}, 'weightsManifest': [{'paths': ['weights.bin'], 'weights': weights}]}))
    return folder / 'model.json'


def convolution(op: str, stride: int = 1, padding: str = 'SAME', fused: tuple[str, ...] = ()) -> dict:
    return {'name': 'y', 'op': op, 'input': ['input', 'kernel'], 'attr': {
        'strides': {'list': {'i': ['1', str(stride), str(stride), '1']}}, 'padding': text(padding),
        'fused_ops': {'list': {'s': [text(name)['s'] for name in fused]}}}}


def test_convolutions_pad_as_tensorflow_does(tmp_path):
    """SAME with stride 2 on an even picture pads below and right only; checked by the definition."""
    random = np.random.RandomState(0)
    x, kernel = random.randn(6, 6, 2).astype('f4'), random.randn(3, 3, 2, 4).astype('f4')
    network = TfjsNetwork(read_tfjs_graph(tfjs_file(tmp_path, [convolution('Conv2D', 2)], {'kernel': kernel})))
    y = network(torch.from_numpy(x).permute(2, 0, 1)[None], 'y')[0].permute(1, 2, 0)
    padded = np.pad(x, ((0, 1), (0, 1), (0, 0)))
    expected = [[np.einsum('hwi,hwio->o', padded[r:r + 3, c:c + 3], kernel) for c in (0, 2, 4)] for r in (0, 2, 4)]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_resizing_samples_at_whole_pixels():
    x = torch.tensor([[[[0.0, 10, 20]]]])
    assert resize_bilinear(x, (1, 6)).flatten().tolist() == [0, 5, 10, 15, 20, 20]
    assert resize_bilinear(torch.arange(6.0)[None, None, None], (1, 3)).flatten().tolist() == [0, 2, 4]


@pytest.mark.parametrize('nodes, match', [
    ([{'name': 'y', 'op': 'MatMul', 'input': ['input', 'kernel']}], 'operations that are not known here: MatMul'),
    ([convolution('Conv2D', padding='VALID')], "node 'y' has padding VALID, expected SAME"),
    ([convolution('_FusedConv2D', fused=('Elu',))], r"node 'y' has fused operations \['Elu'\]"),
    ([{'name': 'second', 'op': 'Placeholder'}], 'the graph has 2 inputs'),
    ([], "the graph has no node 'y'"),
    ([{'name': 'y', 'op': 'Add', 'input': ['input', 'later']}], "fed by one that is not there or comes later")])
def test_graphs_that_cannot_be_run(tmp_path, nodes, match):
    path = tfjs_file(tmp_path, nodes, {'kernel': np.zeros((3, 3, 2, 4), 'f4')})
    with pytest.raises(CheckpointError, match=match):
        TfjsNetwork(read_tfjs_graph(path))(torch.zeros(1, 2, 6, 6), 'y')


@pytest.mark.parametrize('weight, match', [
    ({'quantization': {}}, 'is quantized'), ({'dtype': 'string'}, 'of another type'),
    ({'shape': [9, 9]}, 'lies outside the weight files')])
def test_weights_that_are_not_plain(tmp_path, weight, match):
    path = tfjs_file(tmp_path, [], {'kernel': np.zeros((2, 2), 'f4')}, **weight)
    with pytest.raises(CheckpointError, match=match):
        read_tfjs_graph(path)


def test_missing_weights(tmp_path):
    path = tfjs_file(tmp_path, [], {'kernel': np.zeros((2, 2), 'f4')})
    (tmp_path / 'weights.bin').unlink()
    with pytest.raises(CheckpointError, match='weights.bin: cannot be read'):
        read_tfjs_graph(path)


@pytest.fixture(scope='module')
def networks():
    return Networks(fetch=True)


@pytest.fixture(scope='module')
def faces(demo):
    """Seeds 0 to 3 at truncation 0.6, and again at 0.5, `[8, 3, 512, 512]`."""
    space = demo.space('w')
    with torch.no_grad():
        return torch.cat([images_at(space, demo.sample(seed, psi), torch.zeros(1, space.dim), 512)
                          for psi in (0.6, 0.5) for seed in range(4)])


@pytest.mark.network
def test_sface_as_onnxruntime_runs_it(networks):
    x = np.random.RandomState(0).uniform(0, 255, (1, 3, 112, 112)).astype(np.float32)
    with np.load(ORACLES, allow_pickle=False) as oracle:
        embedding = networks.identity(torch.from_numpy(x))
        np.testing.assert_allclose(embedding, oracle['sface_embedding'], atol=FLOAT32_NETWORK)


@pytest.mark.network
def test_face_parser_as_tensorflow_runs_it(networks):
    x = np.random.RandomState(0).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    name, = (source for source in networks.parsing.nodes[PROBABILITIES].inputs)
    logits = networks.parsing(torch.from_numpy(x).permute(0, 3, 1, 2), name)[0].permute(1, 2, 0)[::4, ::4]
    with np.load(ORACLES, allow_pickle=False) as oracle:
        np.testing.assert_allclose(logits, oracle['parsing_logits'], atol=FLOAT32_NETWORK)


@pytest.mark.network
def test_lpips_as_its_authors_run_it(networks):
    random = np.random.RandomState(0)
    a, b = (torch.from_numpy(random.uniform(-1, 1, (1, 3, 64, 64)).astype(np.float32)) for _ in range(2))
    with np.load(ORACLES, allow_pickle=False) as oracle:
        distance = sum(m.mean() for m in networks.lpips.layer_maps(a, b))
        np.testing.assert_allclose(distance, oracle['lpips'], atol=FLOAT32_NETWORK)
        np.testing.assert_allclose(networks.lpips(a, b)[0, ::4, ::4], oracle['lpips_map'], atol=FLOAT32_NETWORK)


@pytest.mark.network
def test_identity_tells_persons_apart(networks, faces):
    identity = pair_metric('identity', networks)
    embeddings = identity.embeddings(faces)
    cosines = embeddings @ embeddings.T
    same, different = cosines.diagonal(4), cosines[:4, :4][~torch.eye(4, dtype=bool)]
    assert same.min() > 0.8
    assert different.max() < 0.5 < same.min()
    region = parse_region('mouth', (512, 512))
    np.testing.assert_allclose(identity(Edits(faces[:4], faces[4:], region))['identity'], same, atol=1e-6)


@pytest.mark.network
def test_lpips_and_features_of_real_pictures(networks, faces):
    region = parse_region('mouth', (512, 512))
    edited = faces[:1].clone()
    edited[:, :, torch.tensor(region.mask)] = 0
    lpips = pair_metric('lpips', networks)(Edits(faces[:1], edited, region))
    assert 1 > lpips['lpips_in'] > 10 * lpips['lpips_out'] > 0
    fid = set_metric('fid', networks)
    features = fid.features(faces[:4])
    assert features.shape == (4, 2048) and features.min() >= 0  # after a rectifier
    assert fid.distance(features, features) == pytest.approx(0, abs=1e-6)
