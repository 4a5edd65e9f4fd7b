"""StyleGAN2 and StyleGAN3 generators of genforce's code (Hammer, GenForce, the published ReSeFa), as our states.

The networks compute the same: only names and numbers of layers differ. Left out there are, of StyleGAN2, the filters of
convolutions that do not resample, which nobody uses, and of StyleGAN3, the sizes of layers in their names, which follow
from its filters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from resefa_plugin.checkpoints.states.official import MAX_LAYERS, Filters, sizes_of_filters
from resefa_plugin.errors import CheckpointError
from resefa_plugin.networks.stylegan2_layers import BINOMIAL
from resefa_plugin.networks.upfirdn import setup_filter

MARK = 'synthesis.early_layer.const'
MARK3 = 'synthesis.early_layer.frequency'

_DENSE = re.compile(r'mapping\.dense(\d{1,3})\.(weight|bias)')
_LAYER = re.compile(r'synthesis\.(layer|output|residual)(\d{1,3})\.([a-z_.]+)')
# A name in a layer there -> here.
_PARTS = {'weight': 'weight', 'bias': 'bias', 'style.weight': 'affine.weight', 'style.bias': 'affine.bias',
          'noise_strength': 'noise_strength', 'noise': 'noise_const', 'filter': 'resample_filter'}
_RENAMED = {'w_avg': 'mapping.w_avg', 'mapping.embedding.weight': 'mapping.embed.weight',
            'mapping.embedding.bias': 'mapping.embed.bias'}
_DROPPED = ('synthesis.filter', 'synthesis.early_layer.grid')

_LAYER3 = re.compile(r'synthesis\.layer(\d{1,3})\.([a-z_.]+)')
_PARTS3 = {'conv.weight': 'weight', 'conv.style.weight': 'affine.weight', 'conv.style.bias': 'affine.bias',
           'filter.bias': 'bias', 'filter.up_filter': 'up_filter', 'filter.down_filter': 'down_filter',
           'magnitude_ema': 'magnitude_ema'}
_INPUT3 = {'weight': 'weight', 'frequency': 'freqs', 'phase': 'phases', 'transform': 'transform',
           'affine.weight': 'affine.weight', 'affine.bias': 'affine.bias'}
RESOLUTIONS = [1 << log2 for log2 in range(4, 12)]


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


def convert3(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same for StyleGAN3."""
    inputs: dict[str, Tensor] = {}
    state: dict[str, Tensor] = {}
    layers: dict[int, dict[str, Tensor]] = {}
    for name, value in source.items():
        layer, part = _LAYER3.fullmatch(name), name.removeprefix('synthesis.early_layer.')
        if layer is not None and layer[2] in _PARTS3:
            layers.setdefault(int(layer[1]), {})[_PARTS3[layer[2]]] = value
        elif part in _INPUT3 and part != name:
            inputs[f'synthesis.input.{_INPUT3[part]}'] = value
        elif name not in _DROPPED:
            target = _RENAMED.get(name) or _target(name)
            if target is None:
                raise CheckpointError(f'{name} is in no StyleGAN3 generator of genforce; expected the state of its '
                                      'StyleGAN3Generator')
            state[target] = value
    sizes = _sizes3(source, layers)
    for index, size in zip(sorted(layers), sizes, strict=True):
        parts = layers[index]
        inputs |= {f'synthesis.L{index}_{size}_{parts["weight"].shape[0]}.{part}': parts[part]
                   for part in _PARTS3.values() if part in parts}
    return {name: value.to(torch.float32) for name, value in {**inputs, **state}.items()}


def _sizes3(source: Mapping[str, Tensor], layers: Mapping[int, Mapping[str, Tensor]]) -> list[int]:
    """The sizes of the layers of StyleGAN3, of which all but that of the input follow from the filters."""
    grid, count = source.get('synthesis.early_layer.grid'), len(layers)
    is_whole = 2 <= count <= MAX_LAYERS and sorted(layers) == list(range(count)) and all(
        'weight' in layers[index] for index in layers)
    if not is_whole or grid is None or grid.ndim != 4:
        raise CheckpointError(f'{count} layers of StyleGAN3, or a part of one is missing: damaged')
    filters = [Filters(layers[index].get('up_filter'), layers[index].get('down_filter')) for index in range(count - 1)]
    is_radial = any(each.down is not None and each.down.ndim == 2 for each in filters)
    for resolution in RESOLUTIONS:
        geometry = dict(num_layers=count - 1, margin_size=(grid.shape[1] - min(16, resolution)) // 2,
                        conv_kernel=layers[0]['weight'].shape[-1], use_radial_filters=is_radial)
        sizes = sizes_of_filters(filters, resolution, 2, geometry)
        if sizes is not None:
            return sizes
    raise CheckpointError('a StyleGAN3 whose filters are none of configurations T and R; take the official .pkl that '
                          'it was made from, which opens as it is')


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
