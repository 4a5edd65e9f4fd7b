"""MobileStyleGAN (Belousov, arXiv 2104.04767): a StyleGAN2 distilled into separable convolutions and Haar wavelets.

Each block makes wavelet bands of a picture instead of pixels, and upsamples by an inverse wavelet transform. The
demodulation has been folded into the weights and the noise is a constant, so the picture is a smooth function of the
styles. Weights never have tangents, and `SynthesisNetwork.linearize` computes by hand what `torch.func` computes in
general. In channels_last layout, where 1x1 convolutions are plain matrix products.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from resefa_plugin.linearization import Chain, LayerDerivative, Linearization, Stage, State, spread, sum_over_pixels
from resefa_plugin.machine.memory import STAGE, room
from resefa_plugin.machine.recomputation import recomputable
from resefa_plugin.networks.haar import haar_doubled, inverse_haar, inverse_haar_doubled

NUM_WS = 23
STYLE_DIM = 512
RESOLUTION = 1024
SLOPE = 0.2
IN_CHANNELS = (512, 512, 512, 512, 512, 256, 128)  # of blocks 0..6, at 4, 8, ..., 256 pixels
OUT_CHANNELS = (512, 512, 512, 512, 256, 128, 64)


class MappingNetwork(nn.Module):
    """z `[N, 512]` -> w `[N, 512]`: normalization, and fully connected layers with their gains in the weights."""

    def __init__(self, num_layers: int = 8):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(STYLE_DIM, STYLE_DIM) for _ in range(num_layers))

    def forward(self, z: Tensor) -> Tensor:
        w = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.layers:
            w = functional.leaky_relu(layer(w), SLOPE) * 2 ** 0.5
        return w


class ModulatedConv(nn.Module):
    """Scales the channels by a style, convolves, adds constant noise and bias: dense 3x3, or depthwise 3x3 then 1x1."""

    def __init__(self, in_channels: int, out_channels: int, resolution: int, separable: bool):
        super().__init__()
        self.affine = nn.Linear(STYLE_DIM, in_channels)
        self.weight_dw = nn.Parameter(torch.zeros(in_channels, 1, 3, 3)) if separable else None
        self.weight = nn.Parameter(torch.zeros(out_channels, in_channels, *((1, 1) if separable else (3, 3))))
        self.noise = nn.Parameter(torch.zeros(1, 1, resolution, resolution))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        x = x * style[:, :, None, None]
        if self.weight_dw is None:
            x = functional.conv2d(x, self.weight, self.bias, padding=1)
        else:
            x = functional.conv2d(x, self.weight_dw, padding=1, groups=x.shape[1])
            x = functional.conv2d(x, self.weight, self.bias)
        return functional.leaky_relu(x + self.noise, SLOPE)

    def linearize(self, x: Tensor, style: Tensor, gain: Tensor | None) -> tuple[Tensor, LayerDerivative]:
        """The output at a point, and the derivative of `gain` times the output by x and style.

        The style s before a depthwise convolution dw is folded into its weights, which gives dw_s:
        dw(x_t s + x s_t) = dw_s(x_t) + dw(x) s_t.

        Args:
            x: `[1, C, H, W]`.
            style: `[1, C]`.
            gain: `[1, out]`, None if it is 1.

        Returns: the output, and `push(x_t, style_t)` and `pull(out_g) -> (x_g, style_g)`. The x of a dense layer is the
            constant input: its tangent and cotangent are None. `pull` overwrites what it takes.
        """
        modulated = self.weight * style[:, :, None, None]
        if self.weight_dw is None:
            constant = x
            out = functional.conv2d(x, modulated, self.bias, padding=1)
        else:
            constant, groups = None, x.shape[1]  # push and pull keep what they name: not x, which is large
            filtered = functional.conv2d(x, self.weight_dw, padding=1, groups=groups)
            out = functional.conv2d(filtered, modulated, self.bias)
            modulated_dw = self.weight_dw * style[0, :, None, None, None]
        out += self.noise
        slope = out.sign().clamp_(min=SLOPE)  # several times as fast as torch.where
        functional.leaky_relu(out, SLOPE, inplace=True)
        if gain is not None:
            slope *= gain[:, :, None, None]

        def push(x_t: Tensor | None, style_t: Tensor) -> Tensor:
            style_t = style_t[:, :, None, None]
            if constant is not None:
                return functional.conv2d(constant * style_t, self.weight, padding=1).mul_(slope)
            assert x_t is not None
            x_t = functional.conv2d(x_t, modulated_dw, padding=1, groups=groups)
            return functional.conv2d(x_t.addcmul_(filtered, style_t), self.weight).mul_(slope)

        def pull(out_g: Tensor) -> tuple[Tensor | None, Tensor]:
            g = out_g.mul_(slope)
            if constant is not None:
                return None, sum_over_pixels(functional.conv_transpose2d(g, self.weight, padding=1), constant)
            g = functional.conv2d(g, self.weight.transpose(0, 1))
            x_g = functional.conv2d(g, modulated_dw.flip(2, 3), padding=1, groups=groups)
            return x_g, sum_over_pixels(g, filtered)

        return out, LayerDerivative(push, pull)


class Upsample(nn.Module):
    """Scales the wavelet bands by a style and transforms them to twice the resolution and a quarter of the channels."""

    def __init__(self, in_channels: int):
        super().__init__()
        self.affine = nn.Linear(STYLE_DIM, in_channels)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return inverse_haar(x * style[:, :, None, None])


class ToImage(nn.Module):
    """The wavelet bands `[N, 12, 512, 512]` of the picture, by a modulated 1x1 convolution."""

    def __init__(self, in_channels: int):
        super().__init__()
        self.affine = nn.Linear(STYLE_DIM, in_channels)
        self.weight = nn.Parameter(torch.zeros(12, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(12))


class Block(nn.Module):
    """Upsampling and two separable convolutions."""

    def __init__(self, in_channels: int, out_channels: int, resolution: int):
        super().__init__()
        self.up = Upsample(in_channels)
        self.conv1 = ModulatedConv(in_channels // 4, out_channels, resolution, separable=True)
        self.conv2 = ModulatedConv(out_channels, out_channels, resolution, separable=True)

    def forward(self, x: Tensor, style: Tensor, style1: Tensor, style2: Tensor) -> Tensor:
        return self.conv2(self.conv1(self.up(x, style), style1), style2)

    def linearize(self, x: Tensor, styles: Sequence[Tensor], gain: Tensor | None) -> tuple[Tensor, Stage]:
        """The output at a point, and the derivative of `gain` times the output.

        Args:
            x: `[1, C, H, W]`. Its tangents come with the style of the upsampling, and the half of its transform, as a
                gain.
            styles: of the upsampling and of both convolutions, `[1, channels]` each.
            gain: `[1, out]` or None for 1.
        """
        half = x * 0.5
        x, conv1 = self.conv1.linearize(self.up(x, styles[0]), styles[1], None)
        x, conv2 = self.conv2.linearize(x, styles[2], gain)

        def push(state: State, style_t: Tensor, style1_t: Tensor, style2_t: Tensor) -> State:
            x_t = state[0].addcmul_(half, style_t[:, :, None, None])
            # Nested, so that no name here keeps a tensor longer than it is needed.
            return conv2.push(conv1.push(inverse_haar_doubled(x_t), style1_t), style2_t),

        def pull(state: State) -> tuple[State, list[Tensor]]:
            x_g, style2_g = conv2.pull(state[0])
            x_g, style1_g = conv1.pull(x_g)
            x_g = haar_doubled(x_g)
            return (x_g,), [sum_over_pixels(x_g, half), style1_g, style2_g]

        return x, Stage(push, pull, 3, x.nbytes)


class SynthesisNetwork(nn.Module):
    """23 styles -> picture `[N, 3, 1024, 1024]`."""

    def __init__(self) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.zeros(1, STYLE_DIM, 4, 4))
        self.conv1 = ModulatedConv(STYLE_DIM, STYLE_DIM, 4, separable=False)
        self.blocks = [Block(fan_in, fan_out, 8 << i)
                       for i, (fan_in, fan_out) in enumerate(zip(IN_CHANNELS, OUT_CHANNELS, strict=True))]
        self.layers = nn.ModuleList(self.blocks)  # the name that the state has
        self.to_img = ToImage(OUT_CHANNELS[-1])
        self.modulated: list[ModulatedConv | Upsample | ToImage] = [
            self.conv1, *(part for block in self.blocks for part in (block.up, block.conv1, block.conv2)), self.to_img]
        self.style_dims = tuple(m.affine.out_features for m in self.modulated)

    def styles(self, ws: Tensor) -> list[Tensor]:
        """The style vectors `[N, style_dims[i]]` of `ws [N, 23, 512]`: the coordinates of StyleSpace."""
        return [m.affine(ws[:, i]) for i, m in enumerate(self.modulated)]

    def from_styles(self, styles: list[Tensor], resolution: int | None = None) -> Tensor:
        """The picture of 23 style vectors.

        Args:
            styles: `[N, style_dims[i]]` each.
            resolution: side of the picture after box averaging, a divisor of 1024; None for all pixels. Up to 512 the
                averaged picture is the low-pass band of the last inverse wavelet transform, which is not computed then.

        Returns: `[N, 3, resolution, resolution]` in about [-1, 1].
        """
        x = self.conv1(self.input, styles[0])
        for i, block in enumerate(self.blocks):
            x = recomputable(block, x, *styles[3 * i + 1:3 * i + 4])
        style = styles[-1][:, :, None, None]
        if resolution is None or resolution == RESOLUTION:
            return inverse_haar(functional.conv2d(x * style, self.to_img.weight, self.to_img.bias))
        # Averaging commutes with the 1x1 convolution. The mean of 2x2 pixels is half the low-pass band.
        x = functional.avg_pool2d(x, RESOLUTION // 2 // resolution) if resolution < RESOLUTION // 2 else x
        return functional.conv2d(x * style, self.to_img.weight[:3] * 0.5, self.to_img.bias[:3] * 0.5)

    def linearize(self, styles: list[Tensor], resolution: int | None = None) -> Linearization:
        """The derivative of `from_styles` at a point.

        `push` computes the same as forward-mode AD, at about half its cost: the picture itself is computed once, not
        with each batch of tangents; styles are folded into weights and slopes; and tangents are changed in place.
        `pull` goes back through the transposed convolutions, and sums over pixels what reaches a style. Both take few
        rows at a time where pictures are large: see `Chain`.

        Args:
            styles: `[1, style_dims[i]]` each.
            resolution: of the pictures, see `from_styles`.

        Returns: `push`: tangents `[K, style_dims[i]]` each -> `[K, 3, resolution, resolution]`, `pull`: the reverse,
            and `value`: the picture.
        """
        chain = Chain(lambda: self._stages(styles, resolution), room(STAGE, self.input.device))

        @torch.no_grad()
        def value() -> Tensor:
            picture = chain.stages[-1].picture
            assert picture is not None
            return picture

        return dataclasses.replace(chain.linearization(), value=value)

    def _stages(self, styles: list[Tensor], resolution: int | None) -> list[Stage]:
        # The modulation of an upsampling, and the half of its transform, are gains of the convolution before it.
        x, conv = self.conv1.linearize(self.input, styles[0], styles[1] * 0.5)

        def push(state: State, style_t: Tensor) -> State:
            return conv.push(None, style_t),

        def pull(state: State) -> tuple[State, list[Tensor]]:
            return (None,), [conv.pull(state[0])[1]]

        stages = [Stage(push, pull, 1, x.nbytes)]
        for i, block in enumerate(self.blocks):
            gain = styles[3 * i + 4] * 0.5 if i + 1 < len(self.blocks) else None
            x, stage = block.linearize(x, styles[3 * i + 1:3 * i + 4], gain)
            stages.append(stage)
        return [*stages, self._linearize_image(x, styles[-1], resolution)]

    def _linearize_image(self, x: Tensor, style: Tensor, resolution: int | None) -> Stage:
        full = resolution is None or resolution == RESOLUTION
        factor = 1 if resolution is None or full else RESOLUTION // 2 // resolution
        weight = self.to_img.weight if full else self.to_img.weight[:3] * 0.5
        bias = self.to_img.bias if full else self.to_img.bias[:3] * 0.5
        scale = style[:, :, None, None]
        pooled = functional.avg_pool2d(x, factor) if factor > 1 else x
        picture = functional.conv2d(pooled * scale, weight, bias)

        def push(state: State, style_t: Tensor) -> State:
            x_t = functional.avg_pool2d(state[0], factor) if factor > 1 else state[0]
            bands = functional.conv2d(x_t * scale + pooled * style_t[:, :, None, None], weight)
            return inverse_haar_doubled(bands) * 0.5 if full else bands,

        def pull(state: State) -> tuple[State, list[Tensor]]:
            g = haar_doubled(state[0]) * 0.5 if full else state[0]
            g = functional.conv2d(g.contiguous(memory_format=torch.channels_last), weight.transpose(0, 1))
            return (spread(g * scale, factor),), [sum_over_pixels(g, pooled)]

        return Stage(push, pull, 1, x.nbytes, inverse_haar(picture) if full else picture)

    def forward(self, ws: Tensor, resolution: int | None = None) -> Tensor:
        return self.from_styles(self.styles(ws), resolution)


class Generator(nn.Module):
    """Mapping and synthesis under the host's names."""

    z_dim = w_dim = STYLE_DIM
    c_dim = 0
    num_ws = NUM_WS
    img_resolution = RESOLUTION
    img_channels = 3
    w_avg: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mapping = MappingNetwork()
        self.synthesis = SynthesisNetwork()
        self.register_buffer('w_avg', torch.zeros(STYLE_DIM))
