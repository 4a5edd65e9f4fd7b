"""MobileStyleGAN (Belousov, arXiv 2104.04767): a StyleGAN2 distilled into separable convolutions and Haar wavelets.

Each block synthesises a picture's wavelet bands instead of pixels: an inverse wavelet transform is its upsampling.
Demodulation is folded into the weights and the noise is a constant, so the picture is a smooth function of the styles.
Written for forward mode: weights never carry tangents, nothing is written in place.
"""

from __future__ import annotations

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
        bands: `[N, 4 * C, H, W]`: C low-pass channels, then the vertical, horizontal and diagonal detail of each in turn.

    Returns: `[N, C, 2 * H, 2 * W]`.
    """
    n, channels, height, width = bands.shape
    c = channels // 4
    low = bands[:, :c]
    vertical, horizontal, diagonal = bands[:, c:].unflatten(1, (c, 3)).unbind(2)
    top, bottom = low + vertical, low - vertical
    left, right = horizontal + diagonal, horizontal - diagonal
    pixels = torch.stack([top + left, top - left, bottom + right, bottom - right], dim=2)  # [N, C, 4, H, W]
    return functional.pixel_shuffle(pixels.flatten(1, 2), 2) * 0.5


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
