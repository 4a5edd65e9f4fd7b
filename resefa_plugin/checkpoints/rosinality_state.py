"""StyleGAN2 checkpoints of rosinality's stylegan2-pytorch (.pt), as the state of our network.

The two networks compute the same, under other names and with two constants in other places. Checkpoints have the
weights of modulated convolutions at unit scale, and the network multiplies them by `1 / sqrt(fan_in)` when it uses
them; our state has them multiplied already, so that the epsilon of the demodulation weighs the same. Checkpoints have
filters of upsampling multiplied by their gain of 4; our state has them without it.
"""

from __future__ import annotations

import math
import os
import re
import warnings

import numpy as np
import torch
from torch import Tensor

from resefa_plugin.checkpoints.families import STYLEGAN2
from resefa_plugin.checkpoints.generator_file import GeneratorFile
from resefa_plugin.checkpoints.network_source import read_source
from resefa_plugin.checkpoints.pickles.inert_pickle import shorten
from resefa_plugin.checkpoints.pickles.torch_storage import read_torch_file
from resefa_plugin.errors import CheckpointError
from resefa_plugin.networks.stylegan2_layers import BINOMIAL
from resefa_plugin.networks.stylegan_layers import MappingNetwork
from resefa_plugin.networks.upfirdn import setup_filter

SUFFIX = '.pt'
ENTRY = 'g_ema'
W_AVG_SAMPLES = 10_000  # enough for a mean of w within 1 % of the spread of w
MAX_LOG2_RESOLUTION = 13
UP_GAIN = 4


def read_rosinality(path: str | os.PathLike, cache_dir: str | os.PathLike | None = None) -> GeneratorFile:
    """Reads the generator of a checkpoint as data, in the names of stylegan2-ada-pytorch, which are ours.

    Not in the file, and therefore assumed: the learning rate multiplier 0.01 of the mapping network. Where `latent_avg`
    is missing, w_avg is the mean of the w of RandomState(0).randn(10000, w_dim), with a warning.

    Args:
        path: path or URL of a .pt file with the entry `g_ema`.
        cache_dir: folder for fetched files; None to use `files.cache_dir()`.

    Raises:
        CheckpointError: for a damaged file, and for one that holds another network.
    """
    name = os.fspath(path)
    root = read_torch_file(path, cache_dir)
    root = root if isinstance(root, dict) else {}
    source = root.get(ENTRY)
    if not isinstance(source, dict) or not all(isinstance(key, str) for key in source):
        raise CheckpointError(f'{name}: no generator: expected a checkpoint of stylegan2-pytorch with the entry '
                              f'{ENTRY}')
    converter = _Converter(name, source)
    converter.convert()
    w_dim, num_layers = converter.w_dim, converter.num_layers
    converter.state['mapping.w_avg'] = _w_avg(name, root.get('latent_avg'), converter)
    channels = converter.channels
    resolution = max(channels)
    return GeneratorFile(
        class_name='Generator', family=STYLEGAN2, init_args=(), state_dict=converter.state,
        init_kwargs=dict(z_dim=w_dim, c_dim=0, w_dim=w_dim, img_resolution=resolution,
                         img_channels=converter.img_channels, mapping_kwargs=dict(num_layers=num_layers),
                         synthesis_kwargs=dict(channel_base=channels[resolution] * resolution,
                                               channel_max=max(channels.values()))),
        sha256=read_source(path, cache_dir).sha256, name=name, entry=ENTRY, source_sha256='', extras={})


class _Converter:
    """Converts a state, entry by entry, until nothing is left of it.

    Attributes:
        source: the entries that are left.
        state: what they were converted to.
        w_dim: dimensions of w, which are those of z.
        num_layers: layers of the mapping network.
        channels: channels of the features by resolution.
        img_channels: colours.
    """

    def __init__(self, name: str, source: dict[str, object]):
        self.name, self.source = name, dict(source)
        self.state: dict[str, Tensor] = {}

    def take(self, key: str, *shape: int | None) -> Tensor:
        """Removes an entry and returns it in float32. None in the shape allows any length but 0.

        Raises CheckpointError if the entry is absent or of another shape.
        """
        value = self.source.pop(key, None)
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim != len(shape) or not all(
                have and want in (None, have) for have, want in zip(value.shape, shape, strict=True)):
            came = 'absent' if value is None else list(value.shape) if isinstance(value, Tensor) else shorten(value)
            expected = ', '.join('any' if length is None else str(length) for length in shape)
            raise CheckpointError(f'{self.name}: {key} in {ENTRY} is {came}, expected [{expected}]: not a generator of '
                                  'stylegan2-pytorch (of its train.py or convert_weight.py)')
        return value.float()

    def count(self, pattern: str) -> int:
        """How many names of entries match a regular expression."""
        return sum(bool(re.fullmatch(pattern, key)) for key in self.source)

    def convert(self) -> None:
        """Fills `state`. Raises CheckpointError if an entry is absent or of another shape, or if any is left."""
        self.num_layers = self.count(r'style\.\d+\.weight')
        log2 = 2 + self.count(r'to_rgbs\.\d+\.bias')
        if not self.num_layers or log2 > MAX_LOG2_RESOLUTION:
            raise CheckpointError(f'{self.name}: {self.num_layers} mapping layers and {log2 - 1} resolutions in '
                                  f'{ENTRY}; expected layers and up to {MAX_LOG2_RESOLUTION - 1}')
        self.w_dim = w_dim = self.shape_of('style.1.bias', 1)[0]
        for i in range(self.num_layers):  # style.0 normalizes
            self.state[f'mapping.fc{i}.weight'] = self.take(f'style.{i + 1}.weight', w_dim, w_dim)
            self.state[f'mapping.fc{i}.bias'] = self.take(f'style.{i + 1}.bias', w_dim)
        const = self.take('input.input', 1, None, 4, 4)
        self.state['synthesis.b4.const'] = const[0]
        self.channels = {4: const.shape[1]}
        self.img_channels = self.shape_of('to_rgb1.bias', 4)[1]
        self.convolution('conv1', 'b4.conv1', 4, noise=0)
        self.to_rgb('to_rgb1', 4)
        for i in range(log2 - 2):
            resolution = 8 << i
            self.convolution(f'convs.{2 * i}', f'b{resolution}.conv0', resolution, noise=2 * i + 1)
            self.convolution(f'convs.{2 * i + 1}', f'b{resolution}.conv1', resolution, noise=2 * i + 2)
            self.to_rgb(f'to_rgbs.{i}', resolution)
        if self.source:
            raise CheckpointError(f'{self.name}: {ENTRY} has entries that StyleGAN2 has not, such as '
                                  f'{shorten(min(self.source))}: not a generator of stylegan2-pytorch')

    def shape_of(self, key: str, ndim: int) -> torch.Size:
        """The shape of an entry of `ndim` dimensions, which is not removed."""
        value = self.source.get(key)
        shape = self.take(key, *[None] * ndim).shape
        self.source[key] = value
        return shape

    def convolution(self, source: str, target: str, resolution: int, noise: int) -> None:
        """A modulated convolution with its affine layer, bias and noise; `noise` counts the noises of the network."""
        target = f'synthesis.{target}'
        fan_in = self.channels[resolution if target.endswith('conv1') else resolution // 2]
        if target.endswith('conv0'):
            self.state[f'{target}.resample_filter'] = self.filter(f'{source}.conv.blur.kernel')
            weight = self.take(f'{source}.conv.weight', 1, None, fan_in, 3, 3)
            self.channels[resolution] = weight.shape[1]
        else:
            weight = self.take(f'{source}.conv.weight', 1, self.channels[resolution], fan_in, 3, 3)
            self.state[f'{target}.resample_filter'] = setup_filter(BINOMIAL)  # which it does not use
        self.state[f'{target}.weight'] = weight[0] / math.sqrt(fan_in * 9)
        self.affine(source, target, fan_in)
        self.state[f'{target}.bias'] = self.take(f'{source}.activate.bias', weight.shape[1])
        self.state[f'{target}.noise_strength'] = self.take(f'{source}.noise.weight', 1)[0]
        self.state[f'{target}.noise_const'] = self.take(f'noises.noise_{noise}', 1, 1, resolution, resolution)[0, 0]

    def to_rgb(self, source: str, resolution: int) -> None:
        """The layer that makes colours at a resolution."""
        target, fan_in = f'synthesis.b{resolution}.torgb', self.channels[resolution]
        self.state[f'{target}.weight'] = self.take(f'{source}.conv.weight', 1, self.img_channels, fan_in, 1, 1)[0]
        self.affine(source, target, fan_in)
        self.state[f'{target}.bias'] = self.take(f'{source}.bias', 1, self.img_channels, 1, 1).flatten()
        self.state[f'synthesis.b{resolution}.resample_filter'] = (
            setup_filter(BINOMIAL) if resolution == 4 else self.filter(f'{source}.upsample.kernel'))

    def affine(self, source: str, target: str, features: int) -> None:
        """The layer that makes the style of a convolution."""
        self.state[f'{target}.affine.weight'] = self.take(f'{source}.conv.modulation.weight', features, self.w_dim)
        self.state[f'{target}.affine.bias'] = self.take(f'{source}.conv.modulation.bias', features)

    def filter(self, key: str) -> Tensor:
        """A filter of upsampling, without its gain."""
        return self.take(key, len(BINOMIAL), len(BINOMIAL)) / UP_GAIN


def _w_avg(name: str, latent_avg: object, converter: _Converter) -> Tensor:
    w_dim = converter.w_dim
    if latent_avg is not None:
        if not isinstance(latent_avg, Tensor) or not latent_avg.is_floating_point() or latent_avg.numel() != w_dim:
            came = list(latent_avg.shape) if isinstance(latent_avg, Tensor) else shorten(latent_avg)
            raise CheckpointError(f'{name}: latent_avg is {came}, expected [{w_dim}]')
        return latent_avg.float().flatten()
    warnings.warn(f'{name} has no latent_avg: truncation goes to the mean w of {W_AVG_SAMPLES} samples instead',
                  stacklevel=2)
    mapping = MappingNetwork(w_dim, 0, w_dim, 1, converter.num_layers, w_avg_beta=None).requires_grad_(False)
    mapping.load_state_dict({key.removeprefix('mapping.'): value for key, value in converter.state.items()
                             if key.startswith('mapping.')})
    z = np.random.RandomState(0).randn(W_AVG_SAMPLES, w_dim).astype(np.float32)
    return mapping(torch.from_numpy(z), None).mean(dim=(0, 1))
