"""SFace (Zhong et al., 2021), the face recognition network of the OpenCV zoo: a MobileNet, 128 numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from resefa_plugin.checkpoints.graphs.onnx_tensors import read_onnx_tensors
from resefa_plugin.errors import CheckpointError

SIDE = 112
# Output channels and stride of the depthwise separable blocks 2 to 14, after a first convolution of 32 channels.
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
CONV_EPS, HEAD_EPS = 1e-3, 2e-5


def _unit(fan_in: int, fan_out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(fan_in, fan_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(fan_out, CONV_EPS), nn.PReLU(fan_out))


class SFace(nn.Module):
    """Aligned faces -> embeddings, whose cosine is large for pictures of one person."""

    def __init__(self) -> None:
        super().__init__()
        units, channels = {'conv_1': _unit(3, 32, 3)}, 32
        for i, (width, stride) in enumerate(BLOCKS, 2):
            units[f'conv_{i}_dw'] = _unit(channels, channels, 3, stride, groups=channels)
            units[f'conv_{i}'] = _unit(channels, width, 1)
            channels = width
        self.units = nn.ModuleDict(units)
        self.bn1 = nn.BatchNorm2d(channels, HEAD_EPS)
        self.pre_fc1 = nn.Linear(channels * 7 * 7, 128)
        self.fc1 = nn.BatchNorm1d(128, HEAD_EPS)

    def forward(self, faces: Tensor) -> Tensor:
        """Embeddings `[N, 128]` of RGB faces `[N, 3, 112, 112]` from 0 to 255, aligned to the ArcFace template."""
        x = (faces - 127.5) / 128
        for unit in self.units.values():
            x = unit(x)
        return self.fc1(self.pre_fc1(self.bn1(x).flatten(1)))


def load_sface(path: str | os.PathLike) -> SFace:
    """The network with the weights of the OpenCV zoo's ONNX file. Raises CheckpointError if it does not fit."""
    tensors = read_onnx_tensors(path)
    network = SFace().eval().requires_grad_(False)
    try:
        state = {}
        for name in network.units:
            state[f'units.{name}.0.weight'] = tensors[f'{name}_conv2d_weight']
            state |= _normalization(tensors, f'{name}_batchnorm', f'units.{name}.1')
            state[f'units.{name}.2.weight'] = tensors[f'{name}_relu_gamma'].ravel()
        state |= _normalization(tensors, 'bn1', 'bn1') | _normalization(tensors, 'fc1', 'fc1')
        state |= {f'pre_fc1.{part}': tensors[f'pre_fc1_{part}'] for part in ('weight', 'bias')}
        network.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in state.items()})
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f'{path}: is not the SFace of the OpenCV zoo ({error})') from error
    return network


def _normalization(tensors: Mapping[str, np.ndarray], source: str, target: str) -> dict[str, np.ndarray]:
    names = {'weight': 'gamma', 'bias': 'beta', 'running_mean': 'moving_mean', 'running_var': 'moving_var'}
    state = {f'{target}.{ours}': tensors[f'{source}_{theirs}'] for ours, theirs in names.items()}
    return {**state, f'{target}.num_batches_tracked': np.array(0)}
