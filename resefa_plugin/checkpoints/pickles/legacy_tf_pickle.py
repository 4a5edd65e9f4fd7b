"""StyleGAN2 generators of the first, TensorFlow implementation, as the state of the PyTorch network.

The official stylegan2 files hold a tuple of three `dnnlib.tflib.network.Network` objects (G, D and Gs, the moving
average of G). TensorFlow is not needed: the variables are numpy arrays. The two implementations differ in names, in the
order of axes (kernels are [kh, kw, in, out] in TensorFlow, [out, in, kh, kw] in PyTorch), and some kernels are flipped.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from resefa_plugin.checkpoints.pickles.inert_values import Call, shorten
from resefa_plugin.checkpoints.pickles.plain_data import Decoder, Handler, items_of, text
from resefa_plugin.errors import CheckpointError

MIN_VERSION = 4
MAX_RESOLUTION = 1 << 13
MAX_COMPONENT_DEPTH = 8

_Arguments = dict[str, tuple[str, Any]]

# Argument of the PyTorch network: (argument of the TensorFlow network, its default there). `None` in a file means the
# default of the PyTorch network.
_GENERATOR_KWARGS: _Arguments = {
    'z_dim': ('latent_size', 512),
    'c_dim': ('label_size', 0),
    'w_dim': ('dlatent_size', 512),
    'img_resolution': ('resolution', 1024),
    'img_channels': ('num_channels', 3),
}
_MAPPING_KWARGS: _Arguments = {
    'num_layers': ('mapping_layers', 8),
    'embed_features': ('label_fmaps', None),
    'layer_features': ('mapping_fmaps', None),
    'activation': ('mapping_nonlinearity', 'lrelu'),
    'lr_multiplier': ('mapping_lrmul', 0.01),
    'w_avg_beta': ('w_avg_beta', 0.995),
}
_SYNTHESIS_KWARGS: _Arguments = {
    'channel_base': ('fmap_base', 16384),
    'channel_max': ('fmap_max', 512),
    'num_fp16_res': ('num_fp16_res', 0),
    'conv_clamp': ('conv_clamp', None),
    'architecture': ('architecture', 'skip'),
    'resample_filter': ('resample_kernel', [1, 3, 3, 1]),
    'use_noise': ('use_noise', True),
    'activation': ('nonlinearity', 'lrelu'),
}
# These say how to run or train the network, not what it is.
_IRRELEVANT_KWARGS = {'truncation_psi', 'truncation_cutoff', 'style_mixing_prob', 'structure', 'conditioning',
                      'fused_modconv'}
_ARCHITECTURES = ('orig', 'skip', 'resnet')


@dataclass(frozen=True)
class TFNetwork:
    """A network of `dnnlib.tflib`, as plain data.

    Attributes:
        version: of the format, 4 or more for StyleGAN2.
        static_kwargs: arguments of the function that built it.
        variables: arrays by full name, components included: `synthesis/4x4/Conv/weight`.
    """

    version: int
    static_kwargs: dict
    variables: dict[str, np.ndarray]


def convert_generator(network: TFNetwork) -> tuple[dict, dict[str, torch.Tensor]]:
    """The init arguments and the state of a StyleGAN2 generator.

    Returns: keyword arguments of stylegan2-ada-pytorch's `Generator`, and its state in the order of its `state_dict()`.

    Raises:
        CheckpointError: for another version or architecture, an unknown argument, a missing or misshapen variable.
    """
    if network.version < MIN_VERSION:
        raise CheckpointError(f'a TensorFlow network of version {network.version}; expected {MIN_VERSION} or later, '
                              'which StyleGAN2 files have')
    kwargs = _init_kwargs(network.static_kwargs)
    state = {}
    # A rule is a name in the PyTorch state and a function that computes its value from the variables. Rules come in the
    # order of `state_dict()`: the synthesis network first, and a module's own entries before those of its submodules.
    for name, make in itertools.chain(_synthesis_rules(kwargs), _mapping_rules(kwargs)):
        state[name] = torch.from_numpy(np.array(make(network.variables), dtype=np.float32, order='C'))
    return kwargs, state


def _squared(static_kwargs: dict) -> dict:
    """The arguments without those by which forks tell width from height, if the pictures are square all the same.

    Raises CheckpointError for other pictures, which our network does not make.
    """
    kwargs = dict(static_kwargs)
    sides = [kwargs.pop(name, kwargs.get('resolution', 1024)) for name in ('resolution_w', 'resolution_h')]
    least = [kwargs.pop(name, 4) for name in ('min_w', 'min_h')]
    init_res = kwargs.pop('init_res', None)
    if type(init_res) in (list, tuple) and len(init_res) == 2:
        least = [*reversed(init_res)]
    levels = kwargs.pop('res_log2', None)
    if type(levels) is int and 0 < levels < 16 and all(type(side) is int for side in least):
        sides = [side << levels for side in least]
    if sides[0] != sides[1] or least != [4, 4]:
        size = ' x '.join(map(shorten, sides))
        raise CheckpointError(f'a TensorFlow generator of a fork of stylegan2 whose pictures are not square: {size} '
                              '(width x height). It opens with the code that converts it: name the checkout of a '
                              'PyTorch fork that reads it, such as eps696/stylegan2ada, with --repo, and add '
                              '--trust-pickle')
    if kwargs.pop('use_attention', False):
        raise CheckpointError('a TensorFlow generator of a fork of stylegan2 with attention, which no network here has')
    return {**kwargs, 'resolution': sides[0]}


def _init_kwargs(static_kwargs: dict) -> dict:
    static_kwargs = _squared(static_kwargs)
    tables = (_GENERATOR_KWARGS, _MAPPING_KWARGS, _SYNTHESIS_KWARGS)
    known = _IRRELEVANT_KWARGS.union(source for table in tables for source, _ in table.values())
    unknown = [key for key in static_kwargs if key not in known]
    if unknown:
        raise CheckpointError(f'the TensorFlow generator has an unknown argument {shorten(unknown[0])}; '
                              'only StyleGAN2 (configurations E and F) and StyleGAN2-ADA generators are converted')
    generator, mapping, synthesis = (_renamed(static_kwargs, table) for table in tables)
    # In TensorFlow None means that the average of W is kept as it is; in PyTorch it means that there is none.
    if mapping['w_avg_beta'] is None:
        mapping['w_avg_beta'] = 1
    _check_geometry(generator, mapping, synthesis)
    # channels = fmap_base / (resolution / 2) in TensorFlow, channel_base / resolution in PyTorch.
    synthesis['channel_base'] *= 2
    return {**generator, 'mapping_kwargs': mapping, 'synthesis_kwargs': synthesis}


def _renamed(static_kwargs: dict, table: _Arguments) -> dict[str, Any]:
    return {name: static_kwargs.get(source, default) for name, (source, default) in table.items()}


def _check_geometry(generator: dict, mapping: dict, synthesis: dict) -> None:
    """Raises CheckpointError unless sizes are numbers, and those that decide about names in the state are possible."""
    sizes = {**generator, 'mapping_layers': mapping['num_layers'], 'fmap_base': synthesis['channel_base'],
             'fmap_max': synthesis['channel_max']}
    for name, value in sizes.items():
        if type(value) is not int or not 0 <= value <= 1 << 20:
            raise CheckpointError(f'{name} of the TensorFlow generator is {shorten(value)}; expected an integer')
    resolution = generator['img_resolution']
    if not 4 <= resolution <= MAX_RESOLUTION or resolution & (resolution - 1):
        raise CheckpointError(f'the TensorFlow generator has resolution {resolution}; '
                              f'expected a power of two from 4 to {MAX_RESOLUTION}')
    if mapping['num_layers'] > 64:
        raise CheckpointError(f'the TensorFlow generator has {mapping["num_layers"]} mapping layers; expected up to 64')
    if synthesis['architecture'] not in _ARCHITECTURES:
        raise CheckpointError(f'the TensorFlow generator has architecture {shorten(synthesis["architecture"])}; '
                              f'expected one of {", ".join(_ARCHITECTURES)}')
    if type(synthesis['use_noise']) is not bool:
        raise CheckpointError(f'use_noise of the TensorFlow generator is {shorten(synthesis["use_noise"])}; expected a '
                              'bool')


_Make = Callable[[dict[str, np.ndarray]], np.ndarray]
_Rule = tuple[str, _Make]


def _mapping_rules(kwargs: dict) -> Iterator[_Rule]:
    yield 'mapping.w_avg', _variable('dlatent_avg', 1)
    dense = [('embed', 'LabelEmbed')] if kwargs['c_dim'] > 0 else []
    dense += [(f'fc{index}', f'Dense{index}') for index in range(kwargs['mapping_kwargs']['num_layers'])]
    for name, source in dense:
        yield f'mapping.{name}.weight', _dense(f'mapping/{source}/weight')
        yield f'mapping.{name}.bias', _variable(f'mapping/{source}/bias', 1)


def _synthesis_rules(kwargs: dict) -> Iterator[_Rule]:
    synthesis = kwargs['synthesis_kwargs']
    resolution = kwargs['img_resolution']
    kernel, default_kernel = _resample_filter(synthesis['resample_filter']), _resample_filter([1, 3, 3, 1])
    for log2 in range(2, resolution.bit_length()):
        size = 1 << log2
        block, source = f'synthesis.b{size}', f'synthesis/{size}x{size}'
        if size == 4:
            yield f'{block}.const', lambda variables: _variable('synthesis/4x4/Const/const', 4)(variables)[0]
        yield f'{block}.resample_filter', kernel
        # TensorFlow gives its resampling kernel to this convolution alone, and stores the weights of it flipped.
        if size > 4:
            yield from _layer(f'{block}.conv0', f'{source}/Conv0_up', kernel, True, f'noise{2 * log2 - 5}', synthesis)
        yield from _layer(f'{block}.conv1', f'{source}/Conv1' if size > 4 else f'{source}/Conv', default_kernel, False,
                          f'noise{2 * log2 - 4}', synthesis)
        if size == resolution or synthesis['architecture'] == 'skip':
            yield f'{block}.torgb.weight', _convolution(f'{source}/ToRGB/weight', False)
            yield f'{block}.torgb.bias', _variable(f'{source}/ToRGB/bias', 1)
            yield from _affine(f'{block}.torgb', f'{source}/ToRGB')
        if size > 4 and synthesis['architecture'] == 'resnet':
            yield f'{block}.skip.weight', _convolution(f'{source}/Skip/weight', True)
            yield f'{block}.skip.resample_filter', kernel


def _layer(name: str, source: str, kernel: _Make, flipped: bool, noise: str, synthesis: dict) -> Iterator[_Rule]:
    yield f'{name}.weight', _convolution(f'{source}/weight', flipped)
    if synthesis['use_noise']:
        yield f'{name}.noise_strength', _variable(f'{source}/noise_strength', 0)
    yield f'{name}.bias', _variable(f'{source}/bias', 1)
    yield f'{name}.resample_filter', kernel
    if synthesis['use_noise']:
        yield f'{name}.noise_const', lambda variables: _variable(f'synthesis/{noise}', 4)(variables)[0, 0]
    yield from _affine(name, source)


def _affine(name: str, source: str) -> Iterator[_Rule]:
    yield f'{name}.affine.weight', _dense(f'{source}/mod_weight')
    # TensorFlow adds the 1 around which styles lie when it uses them; PyTorch has it in the bias.
    yield f'{name}.affine.bias', lambda variables: _variable(f'{source}/mod_bias', 1)(variables) + 1


def _variable(source: str, ndim: int) -> _Make:
    def take(variables: dict[str, np.ndarray]) -> np.ndarray:
        if source not in variables:
            raise CheckpointError(f'the TensorFlow generator has no variable {source}, '
                                  'which a StyleGAN2 generator of its arguments has')
        value = variables[source]
        if value.ndim != ndim or value.dtype.kind != 'f' or 0 in value.shape:
            raise CheckpointError(f'the TensorFlow variable {source} has shape {value.shape} and type {value.dtype}; '
                                  f'expected {ndim} axes of floating-point numbers')
        return value

    return take


def _dense(source: str) -> _Make:
    return lambda variables: _variable(source, 2)(variables).T


def _convolution(source: str, flipped: bool) -> _Make:
    def take(variables: dict[str, np.ndarray]) -> np.ndarray:
        kernel = _variable(source, 4)(variables)  # [kh, kw, in, out]
        return (kernel[::-1, ::-1] if flipped else kernel).transpose(3, 2, 0, 1)

    return take


def _resample_filter(taps: object) -> _Make:
    """The low-pass filter of these taps: their outer product, or the taps themselves from 8 on, normalised to sum 1."""
    kernel = np.asarray([1] if taps is None else taps, dtype=np.float32) if _are_taps(taps) else None
    if kernel is None:
        raise CheckpointError('resample_kernel of the TensorFlow generator is not a list of 1 to 64 finite numbers')
    if len(kernel) < 8:
        kernel = np.outer(kernel, kernel)
    total = kernel.sum()
    if not abs(total) > 0:
        raise CheckpointError('resample_kernel of the TensorFlow generator sums to 0')
    return lambda variables: kernel / total


def _are_taps(taps: object) -> bool:
    if taps is None:
        return True
    return (isinstance(taps, (list, tuple)) and 1 <= len(taps) <= 64
            and all(type(tap) in (int, float) and abs(tap) < 1e6 for tap in taps))


def _network(decoder: Decoder, call: Call, depth: int) -> TFNetwork:
    """`Network` objects are created without arguments and given their state."""
    if call.args or call.pairs:
        raise CheckpointError('a TensorFlow network with arguments; expected a state alone')
    state = items_of(call.state)
    missing = [key for key in ('version', 'static_kwargs', 'variables', 'components') if key not in state]
    if missing:
        raise CheckpointError(f'a TensorFlow network whose state has no {missing[0]}')
    version = state['version']
    if type(version) is not int:
        raise CheckpointError(f'a TensorFlow network of version {shorten(version)}; expected an integer')
    variables = dict(_variables(decoder, '', call, depth + 1, 0))
    static_kwargs = decoder.plain(dict(items_of(state['static_kwargs'])), depth + 1)
    assert isinstance(static_kwargs, dict)
    return TFNetwork(version, static_kwargs, variables)


def _variables(decoder: Decoder, prefix: str, value: object, depth: int,
               level: int) -> Iterator[tuple[str, np.ndarray]]:
    """The variables of a network and of its components, with their full names."""
    decoder.enter(depth)
    if level > MAX_COMPONENT_DEPTH:
        raise CheckpointError(f'a TensorFlow network with components nested more than {MAX_COMPONENT_DEPTH} deep')
    if type(value) is not Call or value.func.name != 'dnnlib.tflib.network.Network':
        raise CheckpointError(f'{shorten(value)} where a TensorFlow network is expected')
    state = items_of(value.state)
    variables = state.get('variables')
    if type(variables) is not list:
        raise CheckpointError(f'variables of a TensorFlow network: {shorten(variables)}; expected a list')
    for pair in variables:
        if type(pair) is not tuple or len(pair) != 2:
            raise CheckpointError(f'variables of a TensorFlow network with {shorten(pair)}; expected (name, array)')
        array = decoder.plain(pair[1], depth + 1)
        if not isinstance(array, (np.ndarray, np.generic, float)):
            raise CheckpointError(f'a TensorFlow variable that is {shorten(array)}; expected an array')
        decoder.budget.spend_bytes(len(prefix))
        yield prefix + text(pair[0], 'name of a TensorFlow variable')[:256], np.asarray(array)
    for name, component in items_of(state.get('components')).items():
        inner = f'{prefix}{text(name, "name of a component")[:256]}/'
        yield from _variables(decoder, inner, component, depth + 1, level + 1)


TF_HANDLERS: dict[str, Handler] = {'dnnlib.tflib.network.Network': _network}
