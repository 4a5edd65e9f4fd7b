"""Sizes that a file claims for its generator, compared with its state before anything is built.

Building without memory shows whether shapes fit, but constructors also loop over some numbers, and compute filters of
others with numpy. A forged file could make that take hours or all memory, so these numbers are checked first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping

from resefa_plugin.checkpoints.pickles.inert_values import shorten
from resefa_plugin.errors import CheckpointError

MAX_RESOLUTION = 8192
MAX_TAPS = 1024  # official filters of StyleGAN3 have 12; a radial one takes the square of that in memory
MAX_FREQUENCY = 1e9  # in cycles per picture, far above any resolution

_MAPPING_LAYER = re.compile(r'mapping\.fc\d+\.weight')
_BLOCK = re.compile(r'synthesis\.b(\d{1,9})\.conv1\.weight')
_LAYER = re.compile(r'synthesis\.L(\d{1,4})_(\d{1,9})_\d{1,9}\.weight')


def check_mapping_layers(file: str, state: Collection[str], num_layers: object) -> None:
    """Raises CheckpointError unless the mapping network in a state has so many layers.

    Args:
        file: name of the file, for the error.
        state: names of its tensors.
        num_layers: what the file claims.
    """
    _expect(file, 'num_layers of the mapping', num_layers, sum(bool(_MAPPING_LAYER.fullmatch(name)) for name in state))


def check_stylegan2_sizes(file: str, state: Collection[str], resolution: int, synthesis: Mapping[str, object]) -> None:
    """Raises CheckpointError unless the resolution is that of the last block in a state.

    Args:
        file: name of the file, for the error.
        state: names of its tensors.
        resolution: `img_resolution` as the file claims it.
        synthesis: arguments of the synthesis network, of which none decides about sizes here.
    """
    _expect(file, 'img_resolution', resolution, max(int(match[1]) for match in map(_BLOCK.fullmatch, state) if match))


def check_stylegan3_sizes(file: str, state: Collection[str], resolution: int, synthesis: Mapping[str, object]) -> None:
    """Raises CheckpointError unless resolution and layers are those of a state, and filters are of moderate length.

    Args:
        file: name of the file, for the error.
        state: names of its tensors.
        resolution: `img_resolution` as the file claims it.
        synthesis: arguments of the synthesis network, of which some decide how many and how long its filters are.
    """
    layers = {int(match[1]): int(match[2]) for match in map(_LAYER.fullmatch, state) if match}
    if not layers or resolution > MAX_RESOLUTION:
        raise CheckpointError(f'{file}: img_resolution {resolution} with {len(layers)} layers; expected layers '
                              f'and at most {MAX_RESOLUTION}')
    _expect(file, 'img_resolution', resolution, layers[max(layers)])
    _expect(file, 'num_layers', synthesis.get('num_layers', 14), len(layers) - 1)
    _check_filters(file, resolution, synthesis)


def check_stylegan_xl_sizes(file: str, state: Collection[str], resolution: int,
                            synthesis: Mapping[str, object]) -> None:
    """Raises CheckpointError unless stem and stages make up the layers of a state, and filters are of moderate length.

    The arguments are those of `check_stylegan3_sizes`; `heads` and `stem_resolution` are those that were found in the
    layers, as our own network takes them.
    """
    heads, stem_resolution = synthesis.get('heads'), synthesis.get('stem_resolution')
    if not isinstance(heads, list) or not isinstance(stem_resolution, int):  # a stem
        check_stylegan3_sizes(file, state, resolution, synthesis)
        return
    layers = {int(match[1]): int(match[2]) for match in map(_LAYER.fullmatch, state) if match}
    counts = [synthesis.get('num_layers', 14), *(count for _, count in heads)]
    critical = synthesis.get('num_critical', 2)
    if not layers or max(resolution, stem_resolution) > MAX_RESOLUTION or not isinstance(critical, int):
        raise CheckpointError(f'{file}: img_resolution {resolution} and {stem_resolution} of the stem with '
                              f'{len(layers)} layers; expected layers and at most {MAX_RESOLUTION}')
    _expect(file, 'img_resolution', resolution, layers[max(layers)])
    _expect(file, 'the number of layers', sum(counts) - len(heads) * critical + 1, len(layers))
    _check_filters(file, stem_resolution, synthesis)


def _check_filters(file: str, resolution: int, synthesis: Mapping[str, object]) -> None:
    """Raises CheckpointError unless the filters of a StyleGAN3 network of a resolution are of moderate length."""
    taps, upsampling = synthesis.get('filter_size', 6), synthesis.get('lrelu_upsampling', 2)
    if not (type(taps) is int and type(upsampling) is int and min(taps, upsampling) > 0
            and max(taps, upsampling, taps * upsampling) <= MAX_TAPS):
        raise CheckpointError(f'{file}: filter_size {shorten(taps)} and lrelu_upsampling {shorten(upsampling)}: '
                              f'expected numbers whose product is at most {MAX_TAPS}')
    claims = (synthesis.get('first_cutoff', 2), synthesis.get('first_stopband', 2 ** 2.1),
              synthesis.get('last_stopband_rel', 2 ** 0.3))
    cutoff, stopband, relative = map(_number, claims)
    # In this order bands only become wider from layer to layer, so no filter is longer than the first one.
    if not (0 < cutoff <= stopband <= resolution / 2 * relative and 1 <= relative <= 16):
        raise CheckpointError(f'{file}: first_cutoff {shorten(claims[0])}, first_stopband {shorten(claims[1])} and '
                              f'last_stopband_rel {shorten(claims[2])} do not ascend up to the resolution {resolution}')


def _number(claimed: object) -> float:
    """A moderate number as it is. Anything else becomes NaN, which no comparison accepts."""
    if isinstance(claimed, bool) or not isinstance(claimed, (int, float)) or not abs(claimed) < MAX_FREQUENCY:
        return math.nan
    return claimed


def _expect(file: str, name: str, claimed: object, expected: int) -> None:
    if type(claimed) is not int or claimed != expected:
        raise CheckpointError(f'{file}: {name} is {shorten(claimed)}, but the state has {expected}')
