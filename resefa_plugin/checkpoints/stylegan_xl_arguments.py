"""What a StyleGAN-XL file means by its arguments: stages name the file of their stem, which is not at hand."""

from __future__ import annotations

import math

import numpy as np

from resefa_plugin.checkpoints.pickles.inert_values import shorten
from resefa_plugin.checkpoints.pickles.nvlabs_pickle import PersistentObject
from resefa_plugin.errors import CheckpointError

STAGE = 'SuperresGenerator'  # the class of a network with stages; a stem is a Generator
MAX_COUNT = 1 << 16  # far above any layers, pixels, and cycles per picture
_STAGE_SIZES = ('z_dim', 'c_dim', 'w_dim', 'img_resolution', 'img_channels')
_STEM_SIZES = ('w_dim', 'img_resolution', 'img_channels')  # of the synthesis network


def complete_stylegan_xl(network: PersistentObject) -> dict[str, object]:
    """Keyword arguments of our own StyleGAN-XL network.

    A stem says its arguments itself. A network with superresolution stages says those of the last stage only; its
    synthesis network is that of the stem, and has the stem's arguments; stages between show in the layers.

    Raises: CheckpointError for a network with stages whose arguments or layers are not those of an official one.
    """
    if network.class_name != STAGE:
        ours = sorted({'heads', 'stem_resolution'} & network.init_kwargs.keys())
        if ours:
            raise CheckpointError(f'no official StyleGAN-XL generator takes {", ".join(ours)}')
        mapping = network.init_kwargs.get('mapping_kwargs', {})
        return {**network.init_kwargs, 'mapping_kwargs': _with_embeddings(network, mapping)}
    stem = network.submodules.get('synthesis', {})
    resolution = _count(stem, 'img_resolution')
    sizes = {name: network.attributes.get(name) for name in _STAGE_SIZES}
    synthesis = {name: value for name, value in stem.items() if name not in _STEM_SIZES}
    mapping = {name: value for name, value in network.submodules.get('mapping', {}).items()
               if name not in ('z_dim', 'c_dim', 'w_dim', 'num_ws')}
    return {**sizes, **synthesis, 'mapping_kwargs': _with_embeddings(network, mapping),
            'stem_resolution': resolution, 'heads': _heads(network, stem)}


def _heads(network: PersistentObject, stem: dict) -> list[list[int]]:
    """Resolution and layers of each stage.

    A stage begins with a layer whose cutoff is that of the layer before. The cutoffs of its layers ascend geometrically
    to half of its resolution, which the first critically sampled layer would have; of that, the layers that a further
    stage left in place are enough. Of the last stage no layer was taken.
    """
    critical = _count({'num_critical': 2, **stem}, 'num_critical')
    last = _count(network.init_kwargs, 'head_layers')
    layers = [name for name in network.submodules if name.startswith('synthesis.L') and name.count('.') == 1]
    between = layers[_count({'num_layers': 14, **stem}, 'num_layers') - critical:len(layers) - last - 1]
    cutoffs = [tuple(_cutoff(network.submodules[name], f'{side}_cutoff') for side in ('in', 'out'))
               for name in between]
    starts = [idx for idx, (before, after) in enumerate(cutoffs) if before == after]
    final = [_count(network.attributes, 'img_resolution'), last]
    if not between:
        return [final]
    if starts[:1] != [0]:
        raise CheckpointError(f'the first layer of its first superresolution stage, {shorten(between[0])}, does not '
                              'go on from the stem')
    heads: list[list[int]] = []
    for start, end in zip(starts, [*starts[1:], len(between)], strict=True):
        count = end - start
        if count < 2:
            raise CheckpointError(f'the superresolution stage that begins with {shorten(between[start])} has left no '
                                  'layer by which its resolution could be known')
        first, second = (math.log2(cutoffs[idx][1]) for idx in (start, start + 1))
        octaves = 1 + first + (second - first) * count
        if not 0 <= octaves <= math.log2(MAX_COUNT):
            raise CheckpointError(f'a superresolution stage of 2^{octaves:.0f} pixels; expected at most {MAX_COUNT}')
        heads.append([1 << round(octaves), count + critical])
    return [*heads, final]


def _with_embeddings(network: PersistentObject, mapping: object) -> object:
    return {**mapping, 'embeddings': tuple(network.state_dict['mapping.embed.weight'].shape)} \
        if isinstance(mapping, dict) else mapping  # what is no dictionary is refused with the other arguments


def _count(arguments: dict, name: str) -> int:
    value = arguments.get(name)
    if type(value) is not int or not 0 <= value <= MAX_COUNT:
        raise CheckpointError(f'{name} is {shorten(value)}; expected a number of at most {MAX_COUNT}')
    return value


def _cutoff(arguments: dict, name: str) -> float:
    value = arguments.get(name)
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= MAX_COUNT:
        raise CheckpointError(f'{name} is {shorten(value)}; expected a frequency of at most {MAX_COUNT}')
    return value
