"""Layers and blocks of StyleGAN2, modulated without touching the shared weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resefa_plugin.errors import CheckpointError
from resefa_plugin.linearization import LayerDerivative, Stage, State, spread, sum_over_pixels
from resefa_plugin.machine.recomputation import recomputable
from resefa_plugin.networks.stylegan_layers import (
    FullyConnectedLayer,
    activate,
    activation_constants,
    average,
    demodulation,
    fastest_layout,
    linearize_activation,
    linearize_colours,
    positive,
    to_colours,
)
from resefa_plugin.networks.upfirdn import setup_filter, upfirdn2d, upfirdn2d_transposed

ARCHITECTURES = ('orig', 'skip', 'resnet')
BINOMIAL = (1, 3, 3, 1)


def upsample_convolve(x: Tensor, weight: Tensor, f: Tensor) -> Tensor:
    """Upsamples by two and convolves: a transposed convolution, then the low-pass filter at the higher resolution.

    Args:
        x: `[N, I, h, w]`.
        weight: `[O, I, k, k]`, k odd; it is convolved with, that is, flipped (torch's `conv2d` does not flip).
        f: the low-pass filter, of unit sum.

    Returns: `[N, O, 2h, 2w]`.
    """
    if weight.shape[-1] == 1:  # a 1x1 convolution and the filter commute: fewer pixels come first
        return upsample(F.conv2d(x, weight), f)
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    return upfirdn2d(x, f, padding=_filter_padding(weight, f), gain=4)


def upsample_convolve_transposed(g: Tensor, weight: Tensor, f: Tensor) -> Tensor:
    """The transpose of `upsample_convolve`: `g [K, O, 2h, 2w]` -> `[K, I, h, w]`."""
    if weight.shape[-1] == 1:
        return F.conv2d(upsample_transposed(g, f), weight.transpose(0, 1))
    size = [side + weight.shape[-1] - 2 for side in g.shape[2:]]
    g = upfirdn2d_transposed(g, f, size, padding=_filter_padding(weight, f), gain=4)
    return F.conv2d(g, weight.transpose(0, 1), stride=2)


def _filter_padding(weight: Tensor, f: Tensor) -> tuple[int, ...]:
    n, k = f.shape[-1], weight.shape[-1]
    return ((n + 1) // 2 - k // 2, (n - 2) // 2 - k // 2 + 1) * 2


def upsample(x: Tensor, f: Tensor) -> Tensor:
    """Upsamples `[N, C, h, w]` to `[N, C, 2h, 2w]`."""
    return upfirdn2d(x, f, up=2, padding=_upsample_padding(f), gain=4)


def upsample_transposed(g: Tensor, f: Tensor) -> Tensor:
    """The transpose of `upsample`: `[K, C, 2h, 2w]` -> `[K, C, h, w]`."""
    return upfirdn2d_transposed(g, f, [side // 2 for side in g.shape[2:]], up=2, padding=_upsample_padding(f), gain=4)


def _upsample_padding(f: Tensor) -> tuple[int, ...]:
    n = f.shape[-1]
    return ((n + 1) // 2, (n - 2) // 2) * 2


class SynthesisLayer(nn.Module):
    """A modulated convolution with noise, bias and activation.

    `y = act(d * conv(s * x, W) + noise_strength * noise + b)`: equations 1-3 of the StyleGAN2 paper with the scales
    moved from the weights to the activations: the same result, and weights have no tangents.
    """

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, resolution: int, up: int,
                 kernel_size: int = 3, use_noise: bool = True, activation: str = 'lrelu',
                 resample_filter: Sequence[float] = BINOMIAL, conv_clamp: float | None = None):
        super().__init__()
        positive(kernel_size=kernel_size)
        if kernel_size % 2 == 0:
            raise CheckpointError(f'kernel_size: expected an odd number, got {kernel_size}')
        self.up, self.conv_clamp = up, conv_clamp
        self.slope, self.gain = activation_constants(activation)
        self.register_buffer('resample_filter', setup_filter(resample_filter))
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel_size, kernel_size))
        self.use_noise = use_noise
        if use_noise:
            self.register_buffer('noise_const', torch.randn(resolution, resolution))
            self.noise_strength = nn.Parameter(torch.zeros([]))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor, styles: Tensor, noise_mode: str, gain: float = 1.0) -> Tensor:
        """Args: x `[N, I, h, w]`, styles `[N, I]`, gain of the result. Returns `[N, O, h * up, w * up]`."""
        y = self._convolve(x * styles[:, :, None, None])
        scale = (demodulation(self.weight, styles) * self._scale(gain))[:, :, None, None]
        return activate(y * scale + self._offset(noise_mode, gain), self.slope, self._clamp(gain))

    def linearize(self, x: Tensor, styles: Tensor, noise_mode: str,
                  gain: float = 1.0) -> tuple[Tensor, LayerDerivative]:
        """The output at a point, and its derivative there.

        With u = conv(s * x, W): `y_t = act' * d * (conv(s * x_t + s_t * x, W) + d_t / d * u)`, and the relative change
        of the demodulation is linear in the style's, `d_t / d = -d^2 * sum_i s_i s_ti sum_k W_oik^2`.

        Args: x `[1, I, h, w]`, styles `[1, I]`.

        Returns: the output, and `push`: tangents of x `[K, I, h, w]`, None if x is constant, and of styles `[K, I]` ->
            the output's `[K, O, h * up, w * up]`, and `pull`: the reverse. Both overwrite those of their arguments that
            have pixels.
        """
        u = self._convolve(x * styles[:, :, None, None])
        d = demodulation(self.weight, styles)
        scale = (d * self._scale(gain))[:, :, None, None]
        y, slope = linearize_activation(u * scale + self._offset(noise_mode, gain), self.slope, self._clamp(gain))
        slope *= scale
        rate = -d.square() * styles.t() * self.weight.square().sum(dim=(2, 3)).t()  # [I, O]

        def push(x_t: Tensor | None, styles_t: Tensor) -> Tensor:
            relative = (styles_t @ rate)[:, :, None, None]  # d_t / d
            styles_t = styles_t[:, :, None, None]
            x_t = x * styles_t if x_t is None else x_t.mul_(styles[:, :, None, None]).addcmul_(x, styles_t)
            return self._convolve(x_t).addcmul_(u, relative).mul_(slope)

        def pull(y_g: Tensor) -> tuple[Tensor, Tensor]:
            g = y_g.mul_(slope)
            relative_g = sum_over_pixels(g, u)
            g = self._convolve_transposed(g)
            styles_g = sum_over_pixels(g, x).addmm_(relative_g, rate.t())
            return g.mul_(styles[:, :, None, None]), styles_g

        return y, LayerDerivative(push, pull)

    def _convolve(self, x: Tensor) -> Tensor:
        if self.up == 2:
            return upsample_convolve(x, self.weight, self.resample_filter)
        return F.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2)

    def _convolve_transposed(self, g: Tensor) -> Tensor:
        if self.up == 2:
            return upsample_convolve_transposed(g, self.weight, self.resample_filter)
        return F.conv_transpose2d(g, self.weight, padding=self.weight.shape[-1] // 2)

    def _scale(self, gain: float) -> float:
        """The product of all gains. Applied before the activation, with which they commute, it costs no extra pass."""
        return self.gain * gain

    def _offset(self, noise_mode: str, gain: float) -> Tensor:
        offset = self.bias[:, None, None] * self._scale(gain)
        if self.use_noise and noise_mode == 'const':
            offset = offset + self.noise_const * (self.noise_strength * self._scale(gain))
        return offset

    def _clamp(self, gain: float) -> float | None:
        return None if self.conv_clamp is None else self.conv_clamp * gain


class ToRGBLayer(nn.Module):
    """A modulated 1x1 convolution to colours, without demodulation. Its style is scaled by `1 / sqrt(in_channels)`."""

    def __init__(self, in_channels: int, img_channels: int, w_dim: int, conv_clamp: float | None = None):
        super().__init__()
        self.conv_clamp = conv_clamp
        self.weight_gain = 1 / math.sqrt(in_channels)
        self.affine = FullyConnectedLayer(w_dim, in_channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(img_channels, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(img_channels))

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        """Args: x `[N, I, h, w]`, styles `[N, I]`. Returns `[N, img_channels, h, w]`."""
        return activate(to_colours(x, self.weight, styles * self.weight_gain, self.bias), 1.0, self.conv_clamp)

    def linearize(self, x: Tensor, styles: Tensor, factor: int) -> LayerDerivative:
        """The derivative of the colours, averaged over boxes of `factor` x `factor` pixels: see `linearize_colours`."""
        return linearize_colours(x, self.weight * self.weight_gain, styles, self.bias, self.conv_clamp, factor)


class SkipLayer(nn.Module):
    """The residual branch of the resnet architecture: a 1x1 convolution, upsampled by two."""

    resample_filter: Tensor

    def __init__(self, in_channels: int, out_channels: int, resample_filter: Sequence[float]):
        super().__init__()
        self.register_buffer('resample_filter', setup_filter(resample_filter))
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.weight_gain = 1 / math.sqrt(in_channels)

    def forward(self, x: Tensor, gain: float) -> Tensor:
        """Args: x `[N, I, h, w]`. Returns `[N, O, 2h, 2w]`."""
        return upsample_convolve(x, self.weight * (self.weight_gain * gain), self.resample_filter)

    def transposed(self, g: Tensor, gain: float) -> Tensor:
        """The transpose of `forward`: `[K, O, 2h, 2w]` -> `[K, I, h, w]`."""
        return upsample_convolve_transposed(g, self.weight * (self.weight_gain * gain), self.resample_filter)


class SynthesisBlock(nn.Module):
    """The layers of one resolution. `conv_clamp` bounds their outputs, None if they are unbounded."""

    resample_filter: Tensor

    def __init__(self, in_channels: int, out_channels: int, w_dim: int, resolution: int, img_channels: int,
                 is_last: bool, architecture: str = 'skip', resample_filter: Sequence[float] = BINOMIAL,
                 conv_clamp: float | None = None, **layer_kwargs: Any):
        super().__init__()
        if architecture not in ARCHITECTURES:
            raise CheckpointError(f"architecture '{architecture}' is not one of {', '.join(ARCHITECTURES)}")
        common: dict[str, Any] = dict(w_dim=w_dim, resolution=resolution, conv_clamp=conv_clamp, **layer_kwargs)
        self.is_residual = architecture == 'resnet' and in_channels > 0
        self.has_image_before = architecture == 'skip' and in_channels > 0
        self.register_buffer('resample_filter', setup_filter(resample_filter))
        self.layer_names: list[str] = []
        if in_channels == 0:
            self.const = nn.Parameter(torch.randn(out_channels, resolution, resolution))
        else:
            self.conv0 = SynthesisLayer(in_channels, out_channels, up=2, resample_filter=resample_filter, **common)
            self.layer_names.append('conv0')
        # It does not resample: as in the official networks, the filter in its state is the default one, and not used.
        self.conv1 = SynthesisLayer(out_channels, out_channels, up=1, **common)
        self.layer_names.append('conv1')
        if is_last or architecture == 'skip':
            self.torgb = ToRGBLayer(out_channels, img_channels, w_dim, conv_clamp)
            self.layer_names.append('torgb')
        if self.is_residual:
            self.skip = SkipLayer(in_channels, out_channels, resample_filter)

    def forward(self, x: Tensor | None, img: Tensor | None, styles: Iterator[Tensor],
                noise_mode: str) -> tuple[Tensor, Tensor | None]:
        """Args: x `[N, I, h/2, w/2]`, None in the first block; img so far or None. Returns both at this resolution."""
        gain = math.sqrt(0.5) if self.is_residual else 1.0
        y = self.const.unsqueeze(0) if x is None else recomputable(self.conv0, x, next(styles), noise_mode)
        y = recomputable(self.conv1, y, next(styles), noise_mode, gain)
        if self.is_residual:
            y = y + self.skip(x, gain)
        if img is not None:
            img = upsample(img, self.resample_filter)
        if 'torgb' in self.layer_names:
            rgb = self.torgb(y, next(styles))
            img = rgb if img is None else img + rgb
        return y, img

    def linearize(self, x: Tensor | None, styles: Iterator[Tensor], noise_mode: str, factor: int,
                  is_last: bool) -> tuple[Tensor, Stage]:
        """The features at a point, and the derivative of features and picture.

        Args: x `[1, I, h/2, w/2]`, None in the first block; factor of the averaging of the picture; is_last: nobody
            needs the features, so that their tangents are left out and have no cotangents.

        Returns: the features, and the stage, whose States are features and picture.
        """
        gain = math.sqrt(0.5) if self.is_residual else 1.0
        if x is None:
            y, conv0 = fastest_layout(self.const.unsqueeze(0)), None
        else:
            y, conv0 = self.conv0.linearize(x, next(styles), noise_mode)
        y, conv1 = self.conv1.linearize(y, next(styles), noise_mode, gain)
        if self.is_residual:
            y = y + self.skip(x, gain)
        colours = self.torgb.linearize(y, next(styles), factor) if 'torgb' in self.layer_names else None

        def push(state: State, *styles_t: Tensor) -> State:
            x_t, img_t = state
            remaining = iter(styles_t)
            skip_t = self.skip(x_t, gain) if self.is_residual else None
            y_t = None if conv0 is None else conv0.push(x_t, next(remaining))
            y_t = conv1.push(y_t, next(remaining))
            if skip_t is not None:
                y_t += skip_t
            if img_t is not None:
                img_t = average(upsample(img_t, self.resample_filter), factor)
            if colours is not None:
                rgb_t = colours.push(y_t, next(remaining))
                img_t = rgb_t if img_t is None else img_t + rgb_t
            return None if is_last else y_t, img_t

        def pull(state: State) -> tuple[State, list[Tensor]]:
            y_g, img_g = state
            styles_g = []
            if colours is not None:
                from_colours, style_g = colours.pull(img_g)
                y_g = from_colours if y_g is None else y_g.add_(from_colours)
                styles_g.append(style_g)
            if self.has_image_before:
                img_g = upsample_transposed(spread(img_g, factor), self.resample_filter)
            assert y_g is not None  # it is None in the last block only, which makes colours
            skip_g = self.skip.transposed(y_g, gain) if self.is_residual else None
            x_g, style_g = conv1.pull(y_g)
            styles_g.insert(0, style_g)
            if conv0 is None:
                return (None, None), styles_g
            x_g, style_g = conv0.pull(x_g)
            if skip_g is not None:
                x_g += skip_g
            return (x_g, img_g), [style_g, *styles_g]

        return y, Stage(push, pull, len(self.layer_names), y.nbytes)
