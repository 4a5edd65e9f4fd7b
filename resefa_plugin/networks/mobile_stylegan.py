"""MobileStyleGAN (Belousov, arXiv 2104.04767): a StyleGAN2 distilled into separable convolutions and Haar wavelets.

Each block synthesises a picture's wavelet bands instead of pixels: an inverse wavelet transform is its upsampling.
Demodulation is folded into the weights and the noise is a constant, so the picture is a smooth function of the styles.
Written for forward mode: weights never carry tangents, and `SynthesisNetwork.linearize` does by hand what
`torch.func.jvp` does in general. In channels_last layout, where 1x1 convolutions are plain matrix products.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

NUM_WS = 23
STYLE_DIM = 512
RESOLUTION = 1024
SLOPE = 0.2
IN_CHANNELS = (512, 512, 512, 512, 512, 256, 128)  # of blocks 0..6, at 4, 8, ..., 256 pixels
OUT_CHANNELS = (512, 512, 512, 512, 256, 128, 64)


def inverse_haar(bands: Tensor) -> Tensor:
    """One level of the inverse Haar wavelet transform.

    Args:
        bands: `[N, 4 * C, H, W]`: the low-pass channels, then their vertical, horizontal and diagonal details.

    Returns: `[N, C, 2 * H, 2 * W]`, in channels_last layout.
    """
    low, vertical, horizontal, diagonal = bands.permute(0, 2, 3, 1).chunk(4, dim=3)  # [N, H, W, C]
    top, bottom = low + vertical, low - vertical
    left, right = horizontal + diagonal, horizontal - diagonal
    upper = torch.stack([top + left, top - left], dim=3).flatten(2, 3)  # [N, H, 2 W, C]
    lower = torch.stack([bottom + right, bottom - right], dim=3).flatten(2, 3)
    return torch.stack([upper, lower], dim=2).flatten(1, 2).permute(0, 3, 1, 2) * 0.5


def _inverse_haar_doubled(bands: Tensor) -> Tensor:
    """Twice `inverse_haar` for what needs no derivative: written into its place, with no copies in between."""
    n, channels, height, width = bands.shape
    low, vertical, horizontal, diagonal = bands.permute(0, 2, 3, 1).chunk(4, dim=3)
    pixels = bands.new_empty(n, height, 2, width, 2, channels // 4)
    for row, sign in enumerate((1, -1)):
        one, other = torch.add(low, vertical, alpha=sign), torch.add(horizontal, diagonal, alpha=sign)
        torch.add(one, other, out=pixels[:, :, row, :, 0])
        torch.sub(one, other, out=pixels[:, :, row, :, 1])
    return pixels.view(n, 2 * height, 2 * width, channels // 4).permute(0, 3, 1, 2)


class MappingNetwork(nn.Module):
    """z `[N, 512]` -> w `[N, 512]`: normalisation and eight fully connected layers. Gains are folded into the weights."""

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

    def linearize(self, x: Tensor, style: Tensor, gain: Tensor | None) -> tuple[Tensor, Callable]:
        """The output at a point, and the function that maps tangents of x and style to `gain` times the output's tangent.

        A modulation before a depthwise convolution is folded into its weights: dw(x_t s + x s_t) = dw_s(x_t) + dw(x) s_t.

        Args:
            x: `[1, C, H, W]`. style: `[1, C]`. gain: `[1, out]` or None for 1.
        """
        scale = style[:, :, None, None]
        if self.weight_dw is None:
            filtered = None
            out = functional.conv2d(x * scale, self.weight, self.bias, padding=1)
        else:
            filtered = functional.conv2d(x, self.weight_dw, padding=1, groups=x.shape[1])
            out = functional.conv2d(filtered * scale, self.weight, self.bias)
        out += self.noise
        slope = torch.where(out > 0, torch.ones_like(out), SLOPE)
        out *= slope
        if gain is not None:
            slope *= gain[:, :, None, None]

        def push(x_t: Tensor | None, style_t: Tensor) -> Tensor:
            style_t = style_t[:, :, None, None]
            if filtered is None:  # the constant input: x_t is None
                return functional.conv2d(x * style_t, self.weight, padding=1).mul_(slope)
            x_t = functional.conv2d(x_t, self.weight_dw * scale[0, :, None], padding=1, groups=x.shape[1])
            return functional.conv2d(x_t.addcmul_(filtered, style_t), self.weight).mul_(slope)

        return out, push


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


class SynthesisNetwork(nn.Module):
    """23 styles -> picture `[N, 3, 1024, 1024]`."""

    def __init__(self):
        super().__init__()
        self.input = nn.Parameter(torch.zeros(1, STYLE_DIM, 4, 4))
        self.conv1 = ModulatedConv(STYLE_DIM, STYLE_DIM, 4, separable=False)
        self.layers = nn.ModuleList(Block(i, o, 8 << n) for n, (i, o) in enumerate(zip(IN_CHANNELS, OUT_CHANNELS)))
        self.to_img = ToImage(OUT_CHANNELS[-1])
        self.modulated = [self.conv1, *(m for b in self.layers for m in (b.up, b.conv1, b.conv2)), self.to_img]
        self.style_dims = tuple(m.affine.out_features for m in self.modulated)

    def styles(self, ws: Tensor) -> list[Tensor]:
        """The style vectors `[N, style_dims[i]]` of `ws [N, 23, 512]`: the coordinates of StyleSpace."""
        return [m.affine(ws[:, i]) for i, m in enumerate(self.modulated)]

    def from_styles(self, styles: list[Tensor], resolution: int | None = None) -> Tensor:
        """The picture of 23 style vectors.

        Args:
            styles: `[N, style_dims[i]]` each.
            resolution: side after box averaging, a divisor of 1024; None for 1024. At 512 and below the averaged picture
                is the low-pass band of the last wavelet transform, which is then not computed.

        Returns: `[N, 3, resolution, resolution]` in about [-1, 1].
        """
        x = self.conv1(self.input, styles[0])
        for i, block in enumerate(self.layers):
            x = block.up(x, styles[3 * i + 1])
            x = block.conv1(x, styles[3 * i + 2])
            x = block.conv2(x, styles[3 * i + 3])
        style = styles[-1][:, :, None, None]
        if resolution is None or resolution == RESOLUTION:
            return inverse_haar(functional.conv2d(x * style, self.to_img.weight, self.to_img.bias))
        # Averaging commutes with the 1x1 convolution. The mean of 2x2 pixels is half the low-pass band.
        x = functional.avg_pool2d(x, RESOLUTION // 2 // resolution) if resolution < RESOLUTION // 2 else x
        return functional.conv2d(x * style, self.to_img.weight[:3] * 0.5, self.to_img.bias[:3] * 0.5)

    def linearize(self, styles: list[Tensor], resolution: int | None = None) -> Callable[[list[Tensor]], Tensor]:
        """The derivative of `from_styles` at a point, as a function that may be called any number of times.

        The same as forward-mode AD, at about half its cost: the point itself is computed once and not with each batch of
        tangents, modulations are folded into weights and slopes, and tangents are changed in place.

        Args:
            styles: `[1, style_dims[i]]` each.
            resolution: of the pictures, see `from_styles`.

        Returns: tangents `[K, style_dims[i]]` each -> `[K, 3, resolution, resolution]`.
        """
        halves, pushes = [], []
        # The modulation of an upsampling, and the half of its transform, are gains of the convolution before it.
        x, push = self.conv1.linearize(self.input, styles[0], styles[1] * 0.5)
        pushes.append(push)
        for i, block in enumerate(self.layers):
            halves.append(x * 0.5)
            x = block.up(x, styles[3 * i + 1])
            x, push = block.conv1.linearize(x, styles[3 * i + 2], None)
            pushes.append(push)
            x, push = block.conv2.linearize(x, styles[3 * i + 3], styles[3 * i + 4] * 0.5 if i + 1 < len(self.layers) else None)
            pushes.append(push)
        image = self._image_linearized(x, styles[-1], resolution)

        def push_all(styles_t: list[Tensor]) -> Tensor:
            x_t = pushes[0](None, styles_t[0])
            for i in range(len(self.layers)):
                x_t.addcmul_(halves[i], styles_t[3 * i + 1][:, :, None, None])
                x_t = _inverse_haar_doubled(x_t)
                x_t = pushes[2 * i + 1](x_t, styles_t[3 * i + 2])
                x_t = pushes[2 * i + 2](x_t, styles_t[3 * i + 3])
            return image(x_t, styles_t[-1])

        return push_all

    def _image_linearized(self, x: Tensor, style: Tensor, resolution: int | None) -> Callable[[Tensor, Tensor], Tensor]:
        full = resolution is None or resolution == RESOLUTION
        factor = 1 if full else RESOLUTION // 2 // resolution
        weight = self.to_img.weight if full else self.to_img.weight[:3] * 0.5
        pooled = functional.avg_pool2d(x, factor) if factor > 1 else x

        def push(x_t: Tensor, style_t: Tensor) -> Tensor:
            x_t = functional.avg_pool2d(x_t, factor) if factor > 1 else x_t
            bands = functional.conv2d(x_t * style[:, :, None, None] + pooled * style_t[:, :, None, None], weight)
            return _inverse_haar_doubled(bands) * 0.5 if full else bands

        return push

    def forward(self, ws: Tensor, resolution: int | None = None) -> Tensor:
        return self.from_styles(self.styles(ws), resolution)


class Generator(nn.Module):
    """Mapping and synthesis under the host's names."""

    z_dim = w_dim = STYLE_DIM
    c_dim = 0
    num_ws = NUM_WS
    img_resolution = RESOLUTION
    img_channels = 3

    def __init__(self):
        super().__init__()
        self.mapping = MappingNetwork()
        self.synthesis = SynthesisNetwork()
        self.register_buffer('w_avg', torch.zeros(STYLE_DIM))
