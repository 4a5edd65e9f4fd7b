"""The arguments that a network file says its generator was made with, in one form for all writers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from resefa_plugin.checkpoints.generator_file import GeneratorFile
from resefa_plugin.checkpoints.pickles.inert_pickle import shorten
from resefa_plugin.errors import CheckpointError

SIZES = ('z_dim', 'c_dim', 'w_dim', 'img_resolution', 'img_channels')
OFFICIAL_CLASS = 'Generator'
MAX_RESOLUTION = 8192
MAX_TAPS = 1024  # of StyleGAN3's filters, which are 12 long; a radial one takes the square in memory

# Where a file does not say these, it means the defaults of the repository that wrote it.
_DEFAULTS = {'stylegan2-ada-pytorch': {'conv_clamp': None, 'num_fp16_res': 0},
             'stylegan3': {'conv_clamp': 256, 'num_fp16_res': 4}}
_MAPPING_LAYERS = {'stylegan2': 8, 'stylegan3': 2}

FORK_HINT = ('If this is a fork and you trust the file, name its checkout with --repo and add --trust-pickle: then the '
             'code in the file is executed')


@dataclass(frozen=True)
class GeneratorArguments:
    """Arguments of a generator, the same whoever wrote the file.

    Attributes:
        writer: `stylegan2-ada-pytorch` or `stylegan3`: whose defaults apply.
        sizes: z_dim, c_dim, w_dim, img_resolution, img_channels.
        mapping_kwargs: of the mapping network.
        synthesis_kwargs: of the synthesis network, with what the two repositories take for granted differently.
    """

    writer: str
    sizes: dict[str, int]
    mapping_kwargs: dict[str, object] = field(default_factory=dict)
    synthesis_kwargs: dict[str, object] = field(default_factory=dict)


def generator_arguments(file: GeneratorFile) -> GeneratorArguments:
    """Brings the init arguments of a file into one form, and checks those that could cost memory or time.

    stylegan2-ada-pytorch nests the arguments of the synthesis network, `synthesis_kwargs={...}`, stylegan3 does not. A
    StyleGAN2 file with none of them is read as one of stylegan2-ada-pytorch.

    Raises:
        CheckpointError: for a class of another name, and for arguments that are missing or contradict the state.
    """
    if file.class_name != OFFICIAL_CLASS:
        raise CheckpointError(f'{file.name}: its generator is of the class {shorten(file.class_name)}, which is not an '
                              f'official one ({OFFICIAL_CLASS}). {FORK_HINT}')
    names = (*SIZES, 'mapping_kwargs', 'synthesis_kwargs')
    if len(file.init_args) > len(names) or set(names[:len(file.init_args)]) & set(file.init_kwargs):
        others = ', '.join(map(shorten, file.init_kwargs))
        raise CheckpointError(f'{file.name}: {len(file.init_args)} positional arguments next to {others} are none that '
                              f'a generator takes. {FORK_HINT}')
    named = {name: _plain(value) for name, value in [*zip(names, file.init_args), *file.init_kwargs.items()]}
    sizes = {name: named.pop(name, None) for name in SIZES}
    for name, size in sizes.items():
        if type(size) is not int or size < 0:
            raise CheckpointError(f'{file.name}: {name} is {shorten(size)}; expected a number')
    mapping = named.pop('mapping_kwargs', {})
    nested = named.pop('synthesis_kwargs', None)
    flat = named
    if type(mapping) is not dict or nested is not None and type(nested) is not dict:
        raise CheckpointError(f'{file.name}: mapping_kwargs and synthesis_kwargs are expected to be dictionaries')
    if nested is not None and (flat or file.family == 'stylegan3'):
        others = ', '.join(map(shorten, flat)) or 'a StyleGAN3'
        raise CheckpointError(f'{file.name}: synthesis_kwargs next to {others}: no official generator takes both. '
                              f'{FORK_HINT}')
    writer = 'stylegan3' if flat or file.family == 'stylegan3' else 'stylegan2-ada-pytorch'
    synthesis = {**(_DEFAULTS[writer] if file.family == 'stylegan2' else {}), **(nested or flat)}
    arguments = GeneratorArguments(writer, sizes, mapping, synthesis)
    _check_costly(file, arguments)
    return arguments


def build_generator(file: GeneratorFile, make: Callable[[], torch.nn.Module], what: str) -> torch.nn.Module:
    """Builds a generator and gives it the file's state: float32, on the CPU, in eval mode without gradients.

    It is made without memory first: until its shapes have been compared, the arguments are just what a file claims.

    Args:
        make: calls the constructor.
        what: the implementation, for the errors.

    Raises:
        CheckpointError: the constructor refuses the arguments, or names or shapes of the state are not the file's.
    """
    try:
        with torch.device('meta'), _StayMeta():
            G = make()
    except CheckpointError as error:
        raise CheckpointError(f'{file.name}: {error}') from error
    except Exception as error:  # a constructor of others may raise anything about arguments of others
        raise CheckpointError(f'{file.name}: {what} does not take its arguments: {type(error).__name__}: '
                              f'{str(error)[:200]}. {FORK_HINT}') from error
    expected = {name: list(value.shape) for name, value in G.state_dict().items()}
    found = {name: list(value.shape) for name, value in file.state_dict.items()}
    if expected != found:
        differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        details = ', '.join(f'{shorten(name)} is {found.get(name, "absent")}, expected {expected.get(name, "absent")}'
                            for name in differing[:3])
        raise CheckpointError(f'{file.name}: its state does not fit {what} in {len(differing)} places: {details}. '
                              f'{FORK_HINT}')
    G.load_state_dict({name: value.float() for name, value in file.state_dict.items()}, strict=True, assign=True)
    return G.eval().requires_grad_(False)


class _StayMeta(TorchFunctionMode):
    """Ignores moves of tensors that have no memory: the official constructors move filters to the CPU."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.to and args[0].is_meta:
            kwargs.pop('device', None)
        return func(*args, **kwargs)


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    return {str(key): _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def _check_costly(file: GeneratorFile, arguments: GeneratorArguments) -> None:
    """What a constructor loops over or computes without torch: it would cost something before shapes are compared."""
    state, synthesis = file.state_dict, arguments.synthesis_kwargs

    def expect(name: str, value: object, expected: object) -> None:
        if type(value) is not type(expected) or value != expected:
            raise CheckpointError(f'{file.name}: {name} is {shorten(value)}, but the state has {expected}')

    default_layers = _MAPPING_LAYERS[file.family]
    expect('num_layers of the mapping', arguments.mapping_kwargs.get('num_layers', default_layers),
           sum(bool(re.fullmatch(r'mapping\.fc\d+\.weight', name)) for name in state))
    resolution = arguments.sizes['img_resolution']
    if file.family == 'stylegan2':
        expect('img_resolution', resolution, max(int(match[1]) for match in map(_BLOCK.match, state) if match))
        return
    layers = {int(match[1]): int(match[2]) for match in map(_LAYER.match, state) if match}
    if not layers or resolution > MAX_RESOLUTION:
        raise CheckpointError(f'{file.name}: img_resolution {resolution} with {len(layers)} layers; expected layers '
                              f'and at most {MAX_RESOLUTION}')
    expect('img_resolution', resolution, layers[max(layers)])
    expect('num_layers', synthesis.get('num_layers', 14), len(layers) - 1)
    taps = synthesis.get('filter_size', 6), synthesis.get('lrelu_upsampling', 2)
    if not all(type(n) is int and 0 < n <= MAX_TAPS for n in taps) or taps[0] * taps[1] > MAX_TAPS:
        raise CheckpointError(f'{file.name}: filter_size {shorten(taps[0])} and lrelu_upsampling {shorten(taps[1])}: '
                              f'expected numbers whose product is at most {MAX_TAPS}')
    cutoff, stopband = synthesis.get('first_cutoff', 2), synthesis.get('first_stopband', 2 ** 2.1)
    relative = synthesis.get('last_stopband_rel', 2 ** 0.3)
    numbers = [value for value in (cutoff, stopband, relative) if type(value) in (int, float) and math.isfinite(value)]
    # In this order bands only become wider, so no filter is longer than the first one.
    if len(numbers) < 3 or not (0 < cutoff <= stopband <= resolution / 2 * relative and 1 <= relative <= 16):
        raise CheckpointError(f'{file.name}: first_cutoff {shorten(cutoff)}, first_stopband {shorten(stopband)} and '
                              f'last_stopband_rel {shorten(relative)} do not ascend up to the resolution {resolution}')


_BLOCK = re.compile(r'synthesis\.b(\d{1,9})\.conv1\.weight$')
_LAYER = re.compile(r'synthesis\.L(\d{1,4})_(\d{1,9})_\d{1,9}\.weight$')
