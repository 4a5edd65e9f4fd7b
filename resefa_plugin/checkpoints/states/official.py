"""Bare states under the official names: the arguments of the generator, as far as shapes say them.

What `torch.save(G.state_dict(), file)` leaves out are the arguments that the generator was made with. Sizes follow from
the shapes, and low-pass filters are in the state. The rest is taken to be what the official constructors take if they
are not told, and the user is told so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from resefa_plugin.checkpoints.claimed_sizes import MAX_RESOLUTION
from resefa_plugin.checkpoints.families import STYLEGAN2, STYLEGAN3, GeneratorFamily
from resefa_plugin.errors import CheckpointError
from resefa_plugin.networks.stylegan2_layers import BINOMIAL

State = Mapping[str, Tensor]


class Filters(NamedTuple):
    """The low-pass filters of a layer of StyleGAN3, None where it has none."""

    up: Tensor | None
    down: Tensor | None



MAX_LAYERS = 64  # of StyleGAN3; official networks have 15

WHOLE = ("Save the whole network where it was made, with pickle.dump({'G_ema': G}, file) or torch.save(G, file): then "
         'the arguments are in the file')
ASSUMED = ('it is a bare state, without the arguments of its generator: sizes are read from its shapes, and taken for '
           'granted are {}. If pictures look wrong, save the whole network: torch.save(G, file)')


def init_kwargs(family: GeneratorFamily, state: State) -> tuple[dict[str, object], str]:
    """The arguments of a generator, nested as stylegan2-ada-pytorch does, or flat as stylegan3 does; and a note.

    Raises CheckpointError for a family whose shapes do not say enough, and for a state that lacks what they all have.
    """
    if family.name not in _READERS:
        raise CheckpointError(f'a bare state of {family.title}, whose shapes do not tell how it was made. {WHOLE}')
    try:
        return _READERS[family.name](state)
    except CheckpointError:
        raise
    except (KeyError, IndexError, ValueError) as error:
        raise CheckpointError(f'a bare state of {family.title} whose shapes do not tell how it was made '
                              f'({type(error).__name__}: {str(error)[:80]}). {WHOLE}') from error


def _stylegan2(state: State) -> tuple[dict[str, object], str]:
    blocks = sorted(int(match[1]) for match in _matches(r'synthesis\.b(\d{1,5})\.conv1\.weight', state))
    resolution, mapping = blocks[-1], _mapping(state)
    channels = {size: state[f'synthesis.b{size}.conv1.weight'].shape[0] for size in blocks}
    is_skip = 'synthesis.b4.torgb.weight' in state
    is_residual = any(_matches(r'synthesis\.b\d+\.skip\.weight', state))
    synthesis: dict[str, object] = {
        'channel_base': channels[resolution] * resolution, 'channel_max': max(channels.values()),
        'architecture': 'resnet' if is_residual else 'skip' if is_skip or resolution == 4 else 'orig',
        'use_noise': 'synthesis.b4.conv1.noise_const' in state,
        'kernel_size': state['synthesis.b4.conv1.weight'].shape[-1],
        'resample_filter': _taps(state['synthesis.b4.resample_filter']),
    }
    torgb = state[f'synthesis.b{resolution}.torgb.weight']
    kwargs = dict(img_resolution=resolution, img_channels=torgb.shape[0], synthesis_kwargs=synthesis,
                  **_sizes(state, mapping, 'synthesis.b4.conv1.affine.weight'))
    return kwargs, ASSUMED.format('lr_multiplier 0.01, activation lrelu and no conv_clamp')


def _stylegan3(state: State) -> tuple[dict[str, object], str]:
    layers = sorted((int(match[1]), int(match[2]), int(match[3]), match[0])
                    for match in _matches(r'synthesis\.L(\d{1,3})_(\d{1,5})_(\d{1,5})\.weight', state))
    resolution = layers[-1][1]
    if not 2 <= len(layers) <= MAX_LAYERS or not 4 <= resolution <= MAX_RESOLUTION:
        raise ValueError(f'{len(layers)} layers up to {resolution} pixels')
    geometry: dict[str, object] = {
        'num_layers': len(layers) - 1,
        'margin_size': (layers[0][1] - min(16, resolution)) // 2,
        'conv_kernel': state[layers[0][3]].shape[-1],
        'use_radial_filters': any(value.ndim == 2 for name, value in state.items() if name.endswith('.down_filter')),
    }
    filters = [Filters(state.get(layer[3].removesuffix('weight') + 'up_filter'),
                       state.get(layer[3].removesuffix('weight') + 'down_filter')) for layer in layers[:-1]]
    for num_critical in (2, *range(len(layers) - 1)):
        if sizes_of_filters(filters, resolution, num_critical, geometry) == [layer[1] for layer in layers]:
            break
    else:
        raise CheckpointError('a bare state of StyleGAN3 whose filters are none that follow from its shapes: one of '
                              f'first_cutoff, first_stopband, last_stopband_rel, filter_size was changed. {WHOLE}')
    kwargs = dict(img_resolution=resolution, img_channels=state[layers[-1][3]].shape[0], **geometry,
                  num_critical=num_critical, channel_max=max(layer[2] for layer in layers[:-1]),
                  channel_base=layers[-2][2] * resolution,  # unless it is cut off by channel_max, with the same result
                  **_sizes(state, _mapping(state), 'synthesis.input.affine.weight'))
    return kwargs, ASSUMED.format('lr_multiplier 0.01, output_scale 0.25 and conv_clamp 256')


def sizes_of_filters(filters: Sequence[Filters], resolution: int, num_critical: int,
                     geometry: Mapping[str, object]) -> list[int] | None:
    """The sizes in pixels of the layers of StyleGAN3, colours included, if these are its filters; else None.

    Args:
        filters: of the layers before that of the colours.
        resolution: of the picture.
        num_critical: layers that are sampled critically.
        geometry: other arguments of the synthesis network.
    """
    try:
        narrow = STYLEGAN3.network(
            z_dim=1, c_dim=0, w_dim=1, img_resolution=resolution, img_channels=1, mapping_kwargs=dict(num_layers=1),
            synthesis_kwargs=dict(channel_base=resolution, channel_max=1, num_critical=num_critical,
                                  **geometry)).synthesis
    except CheckpointError:
        return None
    names = [name for name in narrow.style_names if name != 'input']
    for name, theirs in zip(names[:-1], filters, strict=True):
        ours = getattr(narrow, name)
        if not (_is_same(ours.up_filter, theirs.up) and _is_same(ours.down_filter, theirs.down)):
            return None
    return [int(name.split('_')[1]) for name in names]


def _is_same(ours: Tensor | None, theirs: Tensor | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    tolerance = 1e-5 if theirs.dtype in (torch.float32, torch.float64) else 1e-3
    return ours.shape == theirs.shape and torch.allclose(ours.float(), theirs.float(), rtol=0, atol=tolerance)


def _mapping(state: State) -> dict[str, object]:
    count = sum(1 for _ in _matches(r'mapping\.fc\d+\.weight', state))
    mapping: dict[str, object] = dict(num_layers=count)
    if count > 1:
        mapping['layer_features'] = state['mapping.fc0.weight'].shape[0]
    if 'mapping.embed.weight' in state:
        mapping['embed_features'] = state['mapping.embed.weight'].shape[0]
    if 'mapping.w_avg' not in state:
        mapping['w_avg_beta'] = None
    return mapping


def _sizes(state: State, mapping: dict[str, object], affine: str) -> dict[str, object]:
    embed = state.get('mapping.embed.weight')
    inputs = state['mapping.fc0.weight'].shape[1]
    embedded, c_dim = (0, 0) if embed is None else embed.shape
    return dict(z_dim=inputs - embedded, c_dim=c_dim, w_dim=state[affine].shape[1], mapping_kwargs=mapping)


def _taps(matrix: Tensor) -> list[float]:
    """The taps of a low-pass filter that is stored as their outer product, or as they are."""
    taps = matrix.float() if matrix.ndim == 1 else matrix.float().sum(dim=1)
    binomial = np.asarray(BINOMIAL) / sum(BINOMIAL)
    if len(taps) == len(binomial) and np.allclose(taps.numpy(), binomial, atol=1e-3):
        return list(BINOMIAL)
    return taps.tolist()


def _matches(pattern: str, state: State) -> Iterator[re.Match[str]]:
    return filter(None, map(re.compile(pattern).fullmatch, state))


_READERS: dict[str, Callable[[State], tuple[dict[str, object], str]]] = {
    STYLEGAN2.name: _stylegan2, STYLEGAN3.name: _stylegan3}
