"""The demo generator: MobileStyleGAN distilled from StyleGAN2-FFHQ, 1024x1024, from the wheel of PyPI's `random-face`.

Pinned facts: random-face 2021.7.21.1; OpenVINO IR in random_face/data; hashes below. The wheel says Apache-2.0, but the
weights derive from NVIDIA's StyleGAN2-FFHQ (non-commercial).
"""

from __future__ import annotations

import numpy as np
import torch

from resefa_plugin.checkpoints.graphs.openvino_ir import OpenVINOGraph
from resefa_plugin.errors import CheckpointError
from resefa_plugin.networks.mobile_stylegan import SLOPE, Generator
from resefa_plugin.third_party.assets import Asset

NAME = 'mobilestylegan-ffhq'

ASSET = Asset(
    name=NAME,
    requirement='random-face==2021.7.21.1',
    archive_sha256='e5d10e2be7df63f06123855ec591ca35dcb1d059eba47ddcb175d7d26b4019b5',
    files={
        'random_face/data/MappingNetwork.bin': '212dd716bdb556e18db603ea97300d4fa3c872b878c726b2402fea80820e7305',
        'random_face/data/MappingNetwork.xml': '73e2096cad6e696e4af47df2477e048ab4c42c0e0dec83c7c66604822689e55b',
        'random_face/data/SynthesisNetwork.bin': 'c7da15fa22d508c82e1c30dd6b4cdf67fe3ccdddaf85b310ee764dbf0c289645',
        'random_face/data/SynthesisNetwork.xml': '7918fce515243954d3e06628cb39a23902d6b1d5d02932cc0c2faee7a2aeeedd',
    },
    licence='the package says Apache-2.0, but its weights are distilled from NVIDIA StyleGAN2-FFHQ, which is for '
            'non-commercial use only (research or evaluation). Treat the pictures accordingly.',
)

# The files have no mean of w. This many samples give one within 1 % of the spread of w.
W_AVG_SAMPLES = 10_000


def load(device: torch.device | str = 'cpu') -> Generator:
    """Fetches the asset if it is not cached, and builds the generator, in eval mode without gradients.

    Raises CheckpointError if the files cannot be had or do not fit.
    """
    files = ASSET.fetch()
    graphs = {part: OpenVINOGraph(files[f'random_face/data/{part}.xml'], files[f'random_face/data/{part}.bin'])
              for part in ('MappingNetwork', 'SynthesisNetwork')}
    G = Generator().eval().requires_grad_(False)
    G.load_state_dict(_mapping_state(graphs['MappingNetwork']) | _synthesis_state(graphs['SynthesisNetwork'])
                      | {'w_avg': torch.zeros(G.w_dim)})
    z = np.random.RandomState(0).randn(W_AVG_SAMPLES, G.z_dim).astype(np.float32)
    G.w_avg.copy_(G.mapping(torch.from_numpy(z)).mean(dim=0))
    G.synthesis.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch does not annotate it
    return G.to(device)


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.float32))


def _mapping_state(graph: OpenVINOGraph) -> dict[str, torch.Tensor]:
    """Fully connected layers in the order of the graph, in which gains are folded into the weights already."""
    state = {}
    products = [node for node in graph.nodes.values() if node.type == 'MatMul']
    for i, product in enumerate(products):
        weight = graph.constant_input(product)  # [out, in]: IR multiplies by its transpose
        bias = graph.constant_input(graph.consumer(product, 'Add'))
        state[f'mapping.layers.{i}.weight'] = _tensor(weight)
        state[f'mapping.layers.{i}.bias'] = _tensor(bias).flatten()
    return state


def _synthesis_state(graph: OpenVINOGraph) -> dict[str, torch.Tensor]:
    """Some constants have their original names in the graph; others are found by what they are connected to."""
    state = {'synthesis.input': _tensor(graph.constant(graph.node('m.input.input')))}
    for name in ['conv1'] + [f'layers.{i}.{part}' for i in range(7) for part in ('conv1', 'conv2')]:
        state |= _conv_state(graph, name)
    for i in range(7):
        state |= _affine_state(graph, f'm.layers.{i}.up', f'synthesis.layers.{i}.up')
    state |= _affine_state(graph, 'm.layers.6.to_img.conv', 'synthesis.to_img')
    state['synthesis.to_img.weight'] = _tensor(graph.constant(graph.node('m.layers.6.to_img.conv.weight')))
    state['synthesis.to_img.bias'] = _tensor(graph.constant(graph.node('m.layers.6.to_img.bias'))).flatten()
    for name in _BAND_CHANNELS:
        state[name] = state[name][_planar(len(state[name]))]
    return state


# Whose output channels are wavelet bands: convolutions before an upsampling, its affine layer, and the picture's layer.
_BAND_CHANNELS = [f'synthesis.{name}.{part}' for name in ['conv1', *(f'layers.{i}.conv2' for i in range(6)), 'to_img']
                  for part in ('weight', 'bias')]
_BAND_CHANNELS += [f'synthesis.layers.{i}.up.affine.{part}' for i in range(7) for part in ('weight', 'bias')]


def _planar(channels: int) -> list[int]:
    """Where our wavelet bands are in the graph: c low-pass bands, then c of each of the three details.

    The graph has c low-pass bands, and then the three details of each channel in turn.
    """
    c = channels // 4
    return [*range(c), *(c + 3 * i + detail for detail in range(3) for i in range(c))]


def _affine_state(graph: OpenVINOGraph, source: str, target: str) -> dict[str, torch.Tensor]:
    """The affine layer of a modulation. A constant that multiplies its output (`up` has none) is folded in."""
    weight = graph.constant(graph.node(f'{source}.modulation.weight'))
    bias = graph.node(f'{source}.modulation.bias')
    product = graph.consumer(graph.consumer(bias, 'Add'), 'Multiply')
    scale = 1.0 if source.endswith('.up') else graph.constant_input(product).item()
    return {f'{target}.affine.weight': _tensor(weight) * scale,
            f'{target}.affine.bias': _tensor(graph.constant(bias))[0] * scale}


def _conv_state(graph: OpenVINOGraph, name: str) -> dict[str, torch.Tensor]:
    state = _affine_state(graph, f'm.{name}.conv', f'synthesis.{name}')
    bias = graph.node(f'm.{name}.bias')
    add_bias = graph.consumer(bias, 'Add')
    add_noise = next(graph.nodes[i] for i in add_bias.inputs if i != bias.id)
    convolution = next(graph.nodes[i] for i in add_noise.inputs if graph.nodes[i].type == 'Convolution')
    slope = graph.constant_input(graph.consumer(add_bias, 'PReLU')).item()
    if abs(slope - SLOPE) > 1e-6:
        raise CheckpointError(f'{NAME}: slope {slope} in {name}, expected {SLOPE}; fetch the files again')
    state[f'synthesis.{name}.bias'] = _tensor(graph.constant(bias)).flatten()
    state[f'synthesis.{name}.noise'] = _tensor(graph.constant_input(add_noise))
    state[f'synthesis.{name}.weight'] = _tensor(graph.constant_input(convolution))
    if name != 'conv1':
        depthwise = graph.constant(graph.node(f'm.{name}.conv.weight_dw'))  # [C, 1, 1, 3, 3]
        state[f'synthesis.{name}.weight_dw'] = _tensor(depthwise[:, 0])
    return state
