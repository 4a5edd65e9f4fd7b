"""Layers of StyleGAN3: Fourier features, and modulated convolutions whose activation is evaluated at a higher rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy.signal
import scipy.special
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from resefa_plugin.errors import CheckpointError
from resefa_plugin.linearization import LayerDerivative, Stage, State, sum_over_pixels
from resefa_plugin.networks.stylegan_layers import (
    EPSILON,
    FullyConnectedLayer,
    activate,
    demodulation,
    linearize_activation,
    linearize_colours,
    positive,
    to_colours,
)
from resefa_plugin.networks.upfirdn import upfirdn2d, upfirdn2d_transposed

GAIN = math.sqrt(2)  # of the leaky ReLU
SLOPE = 0.2


@dataclass(frozen=True)
class Band:
    """A signal between two layers.

    Attributes:
        channels: number of channels.
        size: pixels per side, margin included.
        rate: s, sampling rate in pixels per unit length; the picture has length 1.
        cutoff: f_c, in cycles per unit length.
        half_width: f_h, half the width of the transition band.
    """

    channels: int
    size: int
    rate: int
    cutoff: float
    half_width: float


def lowpass_filter(taps: int, band: Band, rate: int, radial: bool = False) -> Tensor:
    """A Kaiser-windowed low-pass filter: appendix C.1 of the StyleGAN3 paper.

    Args:
        taps: number of taps n per axis.
        band: whose cutoff and transition band the filter has.
        rate: sampling rate at which it is applied.
        radial: whether the ideal filter is radially symmetric, a jinc `J_1(2 pi f_c r) f_c / r`, instead of the
            product of two sincs.

    Returns: `[n]` float32, or `[n, n]` if radial, of unit sum.
    """
    width = 2 * band.half_width
    if not radial:
        return torch.as_tensor(scipy.signal.firwin(taps, cutoff=band.cutoff, width=width, fs=rate), dtype=torch.float32)
    x = (np.arange(taps) - (taps - 1) / 2) / rate
    r = np.hypot(x[:, None], x[None, :])
    window = np.kaiser(taps, scipy.signal.kaiser_beta(scipy.signal.kaiser_atten(taps, 2 * width / rate)))
    with np.errstate(invalid='ignore'):
        ideal = np.where(r > 0, scipy.special.j1(2 * np.pi * band.cutoff * r) / r, np.pi * band.cutoff)
    f = ideal * np.outer(window, window)
    return torch.as_tensor(f / f.sum(), dtype=torch.float32)


class SynthesisInput(nn.Module):
    """A map of Fourier features, rotated and shifted by the first w.

    The style is `(r_c, r_s, t_x, t_y)`: a rotation, whose length does not matter, and a translation; equation 3 and
    figure 4 of the paper. `transform` is the user's own inverse transform on top of it.
    """

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(self, w_dim: int, band: Band):
        super().__init__()
        self.band = band
        direction = torch.randn(band.channels, 2)
        radius = direction.norm(dim=1, keepdim=True)
        # For a normal x, exp(-|x|^2 / 4) is the square root of a uniform number: a radius in a uniform disc.
        freqs = direction / radius * torch.exp(-radius.square() / 4) * band.cutoff
        self.weight = nn.Parameter(torch.randn(band.channels, band.channels))
        self.affine = FullyConnectedLayer(w_dim, 4, weight_std=0.0, bias_init=(1.0, 0.0, 0.0, 0.0))
        self.register_buffer('transform', torch.eye(3))
        self.register_buffer('freqs', freqs)
        self.register_buffer('phases', torch.rand(band.channels) - 0.5)

    def forward(self, styles: Tensor) -> Tensor:
        """Args: styles `[N, 4]`. Returns `[N, channels, size, size]`."""
        band = self.band
        styles = styles / styles[:, :2].norm(dim=1, keepdim=True)
        cos, sin = styles[:, 0], styles[:, 1]
        rotation = torch.stack([cos, -sin, sin, cos], dim=1).unflatten(1, (2, 2))
        motion = torch.cat([rotation, -rotation @ styles[:, 2:, None]], dim=2) @ self.transform  # [N, 2, 3]
        phases = self.phases + (self.freqs @ motion[:, :, 2:]).squeeze(2)
        freqs = self.freqs @ motion[:, :, :2]  # [N, channels, xy]
        # A user's transform that shrinks the picture would push frequencies beyond what the grid can hold.
        amplitudes = (1 - (freqs.norm(dim=2) - band.cutoff) / (band.rate / 2 - band.cutoff)).clamp(0, 1)

        grid = (torch.arange(band.size, dtype=freqs.dtype, device=freqs.device) + (0.5 - band.size / 2)) / band.rate
        along_x = freqs[:, :, 0, None, None] * grid
        along_y = freqs[:, :, 1, None, None] * grid[:, None]
        x = torch.sin((along_x + along_y + phases[:, :, None, None]) * (2 * math.pi)) * amplitudes[:, :, None, None]
        return F.conv2d(x, self.weight[:, :, None, None] / math.sqrt(band.channels))


class SynthesisLayer(nn.Module):
    """A modulated convolution, then a leaky ReLU between an upsampling and a downsampling filter.

    As in StyleGAN2 the scales are moved from the weights to the activations, so that no weight takes a tangent.

    Args:
        w_dim: dimensions of w.
        source: the signal that it reads.
        target: the signal that it writes.
        is_critically_sampled: whether the cutoff of the target is half its sampling rate, as in the last layers.
        conv_kernel: taps of the convolution, 3 in configuration T and 1 in R.
        filter_size: taps of a filter per input or output pixel.
        lrelu_upsampling: rate at which the activation is evaluated, relative to the higher of the two; at least 2.
        use_radial_filters: downsample with a radially symmetric filter, except in critically sampled layers.
        conv_clamp: bound of the absolute value of the activation, None if it is unbounded.

    Raises: CheckpointError for sizes that are out of range.
    """

    magnitude_ema: Tensor
    up_filter: Tensor
    down_filter: Tensor

    def __init__(self, w_dim: int, source: Band, target: Band, is_critically_sampled: bool, conv_kernel: int = 3,
                 filter_size: int = 6, lrelu_upsampling: int = 2, use_radial_filters: bool = False,
                 conv_clamp: float | None = 256):
        super().__init__()
        positive(conv_kernel=conv_kernel, filter_size=filter_size)
        if not isinstance(lrelu_upsampling, int) or lrelu_upsampling < 2:
            raise CheckpointError(f'lrelu_upsampling: expected an integer of at least 2, got {lrelu_upsampling!r}')
        self.conv_clamp = conv_clamp
        self.affine = FullyConnectedLayer(w_dim, source.channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(target.channels, source.channels, conv_kernel, conv_kernel))
        self.bias = nn.Parameter(torch.zeros(target.channels))
        self.register_buffer('magnitude_ema', torch.ones([]))

        rate = max(source.rate, target.rate) * lrelu_upsampling
        self.up, self.down = rate // source.rate, rate // target.rate
        up_taps, down_taps = filter_size * self.up, filter_size * self.down
        radial = use_radial_filters and not is_critically_sampled
        self.register_buffer('up_filter', lowpass_filter(up_taps, source, rate))
        self.register_buffer('down_filter', lowpass_filter(down_taps, target, rate, radial))

        # In pixels at the higher rate: the span of the target, less that of the source, plus what the filters take off.
        total = (target.size - 1) * self.down + 1 - (source.size + conv_kernel - 1) * self.up + up_taps + down_taps - 2
        before = (total + self.up) // 2  # pixels are points at the centres of their cells: appendix C.3
        self.padding = (before, total - before) * 2

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        """Args: x `[N, source.channels, size, size]`, styles `[N, source.channels]`. Returns the target's."""
        x = self._convolve(x * (styles * self.magnitude_ema.rsqrt())[:, :, None, None])
        x = x * (self._demodulation(styles) * GAIN)[:, :, None, None] + (self.bias * GAIN)[:, None, None]
        return self._downsample(activate(self._upsample(x), SLOPE, self.conv_clamp))

    def linearize(self, x: Tensor, styles: Tensor) -> tuple[Tensor, Stage]:
        """The output at a point, and its derivative there.

        With u = conv(s * x, W): `y_t = down(act' * d * up(conv(s * x_t + s_t * x, W) + d_t / d * u))`, where the
        relative change of the demodulation is linear in the style's,
        `d_t / d = -d^2 * sum_i s_i s_ti (sum_k W_oik^2 + epsilon mean_jk W_ojk^2 / I)`.

        Args: x `[1, source.channels, size, size]`, styles `[1, source.channels]`.

        Returns: the output, and the stage, whose States are x and the output.
        """
        magnitude = self.magnitude_ema.rsqrt()
        u = self._convolve(x * (styles * magnitude)[:, :, None, None])
        d = self._demodulation(styles)
        scale = (d * GAIN)[:, :, None, None]
        y, slope = linearize_activation(
            self._upsample(u * scale + (self.bias * GAIN)[:, None, None]), SLOPE, self.conv_clamp)
        slope *= scale
        power = self.weight.square().sum(dim=(2, 3)) + EPSILON / styles.shape[1] * self._weight_power()[:, None]
        rate = -d.square() * styles.t() * power.t()  # [I, O]

        def push(state: State, styles_t: Tensor) -> State:
            relative = (styles_t @ rate)[:, :, None, None]  # d_t / d
            x_t = state[0].mul_((styles * magnitude)[:, :, None, None])
            x_t.addcmul_(x, (styles_t * magnitude)[:, :, None, None])
            return self._downsample(self._upsample(self._convolve(x_t).addcmul_(u, relative)).mul_(slope)),

        def pull(state: State) -> tuple[State, list[Tensor]]:
            g = upfirdn2d_transposed(state[0], self.down_filter, slope.shape[2:], down=self.down).mul_(slope)
            g = upfirdn2d_transposed(g, self.up_filter, u.shape[2:], up=self.up, padding=self.padding,
                                     gain=self.up ** 2)
            relative_g = sum_over_pixels(g, u)
            g = F.conv_transpose2d(g, self.weight, padding=self.weight.shape[-1] - 1)
            styles_g = (sum_over_pixels(g, x) * magnitude).addmm_(relative_g, rate.t())
            return (g.mul_((styles * magnitude)[:, :, None, None]),), [styles_g]

        return self._downsample(y), Stage(push, pull, 1, slope.nbytes)

    def _weight_power(self) -> Tensor:
        return self.weight.square().mean(dim=(1, 2, 3))

    def _demodulation(self, styles: Tensor) -> Tensor:
        style_power = styles.square().mean(dim=1, keepdim=True)
        return demodulation(self.weight, styles, EPSILON * style_power * self._weight_power())

    def _convolve(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, padding=self.weight.shape[-1] - 1)

    def _upsample(self, x: Tensor) -> Tensor:
        return upfirdn2d(x, self.up_filter, up=self.up, padding=self.padding, gain=self.up ** 2)

    def _downsample(self, x: Tensor) -> Tensor:
        return upfirdn2d(x, self.down_filter, down=self.down)


class ToRGBLayer(nn.Module):
    """A modulated 1x1 convolution to colours. Its style is scaled by `1 / sqrt(in_channels)`, not demodulated."""

    magnitude_ema: Tensor

    def __init__(self, w_dim: int, source: Band, img_channels: int, conv_clamp: float | None = 256):
        super().__init__()
        self.conv_clamp = conv_clamp
        self.weight_gain = 1 / math.sqrt(source.channels)
        self.affine = FullyConnectedLayer(w_dim, source.channels, bias_init=1.0)
        self.weight = nn.Parameter(torch.randn(img_channels, source.channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(img_channels))
        self.register_buffer('magnitude_ema', torch.ones([]))

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        """Args: x `[N, source.channels, h, w]`, styles `[N, source.channels]`. Returns `[N, img_channels, h, w]`."""
        styles = styles * (self.magnitude_ema.rsqrt() * self.weight_gain)
        return activate(to_colours(x, self.weight, styles, self.bias), 1.0, self.conv_clamp)

    def linearize(self, x: Tensor, styles: Tensor, factor: int) -> LayerDerivative:
        """The derivative of the colours, averaged over boxes of `factor` x `factor` pixels: see `linearize_colours`."""
        weight = self.weight * (self.magnitude_ema.rsqrt() * self.weight_gain)
        return linearize_colours(x, weight, styles, self.bias, self.conv_clamp, factor)
