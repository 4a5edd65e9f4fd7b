"""StyleGAN2 checkpoints of rosinality's stylegan2-pytorch (.pt), as the state of our network.

The two networks compute the same, under other names and with two constants in other places. Checkpoints have the
weights of modulated convolutions at unit scale, and the network multiplies them by `1 / sqrt(fan_in)` when it uses
them; our state has them multiplied already, so that the epsilon of the demodulation weighs the same. Checkpoints have
filters of upsampling multiplied by their gain of 4; our state has them without it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from resefa_plugin.checkpoints.pickles.inert_values import shorten
from resefa_plugin.errors import CheckpointError
from resefa_plugin.networks.stylegan2_layers import BINOMIAL
from resefa_plugin.networks.stylegan_layers import MappingNetwork
from resefa_plugin.networks.upfirdn import setup_filter

MARK = 'to_rgb1.conv.weight'
W_AVG_SAMPLES = 10_000  # enough for a mean of w within 1 % of the spread of w
MAX_LOG2_RESOLUTION = 13
UP_GAIN = 4


def convert(entry: str, source: Mapping[str, object],
            latent_avg: object = None) -> tuple[dict[str, object], dict[str, Tensor], tuple[str, ...]]:
    """The arguments and the state of our generator, and notes for the user.

    Not in the file, and therefore assumed: the learning rate multiplier 0.01 of the mapping network. Where `latent_avg`
    is missing, w_avg is the mean of the w of RandomState(0).randn(10000, w_dim).

    Args:
        entry: what the state is called in the file, for errors.
        source: the state.
        latent_avg: the mean of w `[w_dim]`, or the same for each layer `[num_ws, w_dim]`.

    Raises CheckpointError for the state of another network.
    """
    converter = _Converter(entry, source)
    converter.convert()
    w_dim, channels = converter.w_dim, converter.channels
    converter.state['mapping.w_avg'], notes = _w_avg(latent_avg, converter)
    resolution = max(channels)
    kwargs = dict(z_dim=w_dim, c_dim=0, w_dim=w_dim, img_resolution=resolution, img_channels=converter.img_channels,
                  mapping_kwargs=dict(num_layers=converter.num_layers),
                  synthesis_kwargs=dict(channel_base=channels[resolution] * resolution,
                                        channel_max=max(channels.values())))
    return kwargs, converter.state, notes


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

    def __init__(self, entry: str, source: Mapping[str, object]):
        self.entry, self.source = entry, dict(source)
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
            raise CheckpointError(f'{key} in {self.entry} is {came}, expected [{expected}]: not a generator of '
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
            raise CheckpointError(f'{self.num_layers} mapping layers and {log2 - 1} resolutions in '
                                  f'{self.entry}; expected layers and up to {MAX_LOG2_RESOLUTION - 1}')
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
            raise CheckpointError(f'{self.entry} has entries that StyleGAN2 has not, such as '
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


def _w_avg(latent_avg: object, converter: _Converter) -> tuple[Tensor, tuple[str, ...]]:
    w_dim = converter.w_dim
    if latent_avg is not None:
        mean = latent_avg.float() if isinstance(latent_avg, Tensor) and latent_avg.is_floating_point() else None
        # Encoders (pSp, e4e) keep it once per layer.
        if mean is None or mean.numel() % w_dim or not mean.numel() or mean.shape[-1] != w_dim or not torch.equal(
                mean.reshape(-1, w_dim), mean.reshape(-1, w_dim)[:1].expand(mean.numel() // w_dim, w_dim)):
            came = list(latent_avg.shape) if isinstance(latent_avg, Tensor) else shorten(latent_avg)
            raise CheckpointError(f'latent_avg is {came}, expected [{w_dim}], or the same for each layer')
        return mean.reshape(-1, w_dim)[0].clone(), ()
    mapping = MappingNetwork(w_dim, 0, w_dim, 1, converter.num_layers, w_avg_beta=None).requires_grad_(False)
    mapping.load_state_dict({key.removeprefix('mapping.'): value for key, value in converter.state.items()
                             if key.startswith('mapping.')})
    z = np.random.RandomState(0).randn(W_AVG_SAMPLES, w_dim).astype(np.float32)
    mean = mapping(torch.from_numpy(z), None).mean(dim=(0, 1))
    return mean, (f'it has no latent_avg: truncation goes to the mean w of {W_AVG_SAMPLES} samples instead',)
