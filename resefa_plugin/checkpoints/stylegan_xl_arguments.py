"""What a StyleGAN-XL file means by its arguments: stages name the file of their stem, which is not at hand."""

from __future__ import annotations

import math

from resefa_plugin.checkpoints.pickles.inert_pickle import shorten
from resefa_plugin.checkpoints.pickles.nvlabs_pickle import PersistentObject
from resefa_plugin.errors import CheckpointError

STEM, STAGE = 'Generator', 'SuperresGenerator'
_STAGE_SIZES = ('z_dim', 'c_dim', 'w_dim', 'img_resolution', 'img_channels')
_STEM_SIZES = ('w_dim', 'img_resolution', 'img_channels')  # of the synthesis network


def complete_stylegan_xl(network: PersistentObject) -> dict[str, object]:
    """Keyword arguments of our own StyleGAN-XL network.

    A stem says its arguments itself. A network with superresolution stages says those of the last stage only; its
    synthesis network is that of the stem, and has the stem's arguments; stages between show in the layers.

    Raises: CheckpointError for a network with stages whose arguments or layers are not those of an official one.
    """
    if network.class_name != STAGE:
        mapping = network.init_kwargs.get('mapping_kwargs', {})
        return {**network.init_kwargs, 'mapping_kwargs': _with_embeddings(network, mapping)}
    stem = dict(_arguments(network, 'synthesis'))
    resolution = _number(stem, 'img_resolution')
    sizes = {name: network.attributes.get(name) for name in _STAGE_SIZES}
    synthesis = {name: value for name, value in stem.items() if name not in _STEM_SIZES}
    mapping = {name: value for name, value in _arguments(network, 'mapping').items()
               if name not in ('z_dim', 'c_dim', 'w_dim', 'num_ws')}
    return {**sizes, **synthesis, 'mapping_kwargs': _with_embeddings(network, mapping),
            'stem_resolution': resolution, 'heads': _heads(network, stem)}


def _heads(network: PersistentObject, stem: dict) -> list[list[int]]:
    """Resolution and layers of each stage.

    A stage begins with a layer whose cutoff is that of the layer before. The cutoffs of its layers ascend geometrically
    to half of its resolution, which the first critically sampled layer would have; of that, the layers that a further
    stage left in place are enough. Of the last stage no layer was taken.
    """
    critical = stem.get('num_critical', 2)
    last = _number(network.init_kwargs, 'head_layers')
    layers = [name for name in network.submodules if name.startswith('synthesis.L') and name.count('.') == 1]
    between = layers[_number({'num_layers': 14, **stem}, 'num_layers') - critical:len(layers) - last - 1]
    cutoffs = [tuple(_number(_arguments(network, name), f'{side}_cutoff') for side in ('in', 'out'))
               for name in between]
    starts = [idx for idx, (before, after) in enumerate(cutoffs) if before == after]
    final = [_number(network.attributes, 'img_resolution'), last]
    if not between:
        return [final]
    if starts[:1] != [0]:
        raise CheckpointError(f'the first layer of its first superresolution stage, {shorten(between[0])}, does not '
                              'go on from the stem')
    heads: list[list[int]] = []
    for start, end in zip(starts, [*starts[1:], len(between)], strict=True):
        first, count = cutoffs[start][1], end - start
        if count < 2:
            raise CheckpointError(f'the superresolution stage that begins with {shorten(between[start])} has left no '
                                  'layer by which its resolution could be known')
        resolution = 2 * first * (cutoffs[start + 1][1] / first) ** count
        if not 1 <= resolution < 1 << 20:
            raise CheckpointError(f'a superresolution stage of {resolution:g} pixels')
        heads.append([1 << round(math.log2(resolution)), count + critical])
    return [*heads, final]


def _with_embeddings(network: PersistentObject, mapping: object) -> object:
    return {**mapping, 'embeddings': tuple(network.state_dict['mapping.embed.weight'].shape)} \
        if isinstance(mapping, dict) else mapping  # what is no dictionary is refused with the other arguments


def _arguments(network: PersistentObject, name: str) -> dict:
    if name not in network.submodules:
        raise CheckpointError(f'its {name} is no persistent object, as in official files of superresolution stages')
    return network.submodules[name]


def _number(arguments: dict, name: str):
    value = arguments.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1 << 20:
        raise CheckpointError(f'{name} is {shorten(value)}; expected a number')
    return value
