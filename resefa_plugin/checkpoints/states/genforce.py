"""StyleGAN2 generators of genforce's code (Hammer, GenForce, the published ReSeFa), as the state of our network.

The two networks compute the same: only names and numbers of layers differ, and filters of convolutions that do not
resample, which nobody uses, are left out there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from resefa_plugin.errors import CheckpointError
from resefa_plugin.networks.stylegan2_layers import BINOMIAL
from resefa_plugin.networks.upfirdn import setup_filter

MARK = 'synthesis.early_layer.const'

_DENSE = re.compile(r'mapping\.dense(\d{1,3})\.(weight|bias)')
_LAYER = re.compile(r'synthesis\.(layer|output|residual)(\d{1,3})\.([a-z_.]+)')
# A name in a layer there -> here.
_PARTS = {'weight': 'weight', 'bias': 'bias', 'style.weight': 'affine.weight', 'style.bias': 'affine.bias',
          'noise_strength': 'noise_strength', 'noise': 'noise_const', 'filter': 'resample_filter'}
_RENAMED = {'w_avg': 'mapping.w_avg', 'mapping.embedding.weight': 'mapping.embed.weight',
            'mapping.embedding.bias': 'mapping.embed.bias'}
_DROPPED = ('synthesis.filter',)


def convert(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state under the official names. Raises CheckpointError for the state of another network."""
    if source[MARK].ndim != 4 or source[MARK].shape[2:] != (4, 4):
        raise CheckpointError(f'{MARK} is {list(source[MARK].shape)}, expected [1, channels, 4, 4]')
    state = {'synthesis.b4.const': source[MARK][0]}
    for name, value in source.items():
        if name == MARK or name in _DROPPED:
            continue
        target = _RENAMED.get(name) or _target(name)
        if target is None:
            raise CheckpointError(f'{name} is in no StyleGAN2 generator of genforce; expected the state of its '
                                  'StyleGAN2Generator')
        # Noise is [1, 1, h, w] there.
        state[target] = value[0, 0] if target.endswith('.noise_const') and value.ndim == 4 else value
    kernel = source.get('synthesis.filter', source.get('synthesis.layer1.filter'))
    kernel = setup_filter(BINOMIAL) if kernel is None else kernel
    for block in sorted({name.split('.')[1] for name in state if name.startswith('synthesis.b')}):
        state[f'synthesis.{block}.resample_filter'] = kernel.clone()
        state[f'synthesis.{block}.conv1.resample_filter'] = setup_filter(BINOMIAL)
    return _ordered(state)


def _target(name: str) -> str | None:
    if dense := _DENSE.fullmatch(name):
        return f'mapping.fc{dense[1]}.{dense[2]}'
    layer = _LAYER.fullmatch(name)
    if layer is None or layer[3] not in _PARTS:
        return None
    kind, number, part = layer[1], int(layer[2]), _PARTS[layer[3]]
    if kind == 'layer':  # 0 is conv1 at 4 pixels, 1 and 2 are conv0 and conv1 at 8 pixels, ...
        return f'synthesis.b{4 << (number + 1) // 2}.conv{1 - number % 2}.{part}'
    return f'synthesis.b{4 << number}.{"torgb" if kind == "output" else "skip"}.{part}'


def _ordered(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The synthesis network first, block by block, as official states are."""
    def place(name: str) -> tuple[int, int]:
        block = re.match(r'synthesis\.b(\d+)\.', name)
        return (0, int(block[1])) if block else (1, 0)
    return {name: state[name].to(torch.float32) for name in sorted(state, key=place)}
