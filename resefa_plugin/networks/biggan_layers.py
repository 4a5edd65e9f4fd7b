"""Layers of BigGAN and BigGAN-deep as they are at inference: plain weights, batch statistics from the checkpoint.

Nothing is written in place, so that forward-mode differentiation passes through. Modules and parameters have the names
of BigGAN-PyTorch's states. Spectral normalization has been divided out of the weights, by `checkpoints.biggan_state`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

OUTPUT_BN_EPS = 1e-5  # of the last normalization, whatever BN_eps is


class StoredNorm(nn.Module):
    """Batch normalization by stored statistics."""

    stored_mean: Tensor
    stored_var: Tensor

    def __init__(self, channels: int, eps: float):
        super().__init__()
        self.eps = eps
        self.register_buffer('stored_mean', torch.zeros(channels))
        self.register_buffer('stored_var', torch.ones(channels))

    def scaled(self, x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        """gain (x - mean) / sqrt(var + eps) + bias, with `gain` and `bias` `[N or 1, channels]`."""
        scale = gain * torch.rsqrt(self.stored_var + self.eps)
        shift = bias - self.stored_mean * scale
        return x * scale[:, :, None, None] + shift[:, :, None, None]


class ConditionalNorm(StoredNorm):
    """Normalization whose gain and bias are linear in a conditioning vector `[N, cond_dim]`."""

    def __init__(self, channels: int, cond_dim: int, eps: float):
        super().__init__(channels, eps)
        self.gain = nn.Linear(cond_dim, channels, bias=False)
        self.bias = nn.Linear(cond_dim, channels, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.scaled(x, 1 + self.gain(condition), self.bias(condition))


class OutputNorm(StoredNorm):
    """The last normalization, whose gain and bias are parameters."""

    def __init__(self, channels: int):
        super().__init__(channels, OUTPUT_BN_EPS)
        self.gain = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.scaled(x, self.gain[None], self.bias[None])


class Attention(nn.Module):
    """Self-attention over positions (Zhang et al., SAGAN, ICML 2019), keys and values max-pooled by two."""

    def __init__(self, channels: int):
        super().__init__()
        self.theta = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.phi = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.g = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.o = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        queries = self.theta(x).flatten(2)  # [N, C / 8, h * w]
        keys, values = (functional.max_pool2d(features, 2).flatten(2) for features in (self.phi(x), self.g(x)))
        weights = torch.softmax(queries.mT @ keys, dim=-1)  # [N, h * w, h * w / 4]
        attended = (values @ weights.mT).unflatten(2, tuple(x.shape[2:]))
        return x + self.gamma * self.o(attended)


class Block(nn.Module):
    """A residual block of BigGAN: two 3x3 convolutions, twice the resolution."""

    def __init__(self, in_channels: int, out_channels: int, cond_dim: int, eps: float):
        super().__init__()
        self.bn1 = ConditionalNorm(in_channels, cond_dim, eps)
        self.bn2 = ConditionalNorm(out_channels, cond_dim, eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_sc = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv1(doubled(torch.relu(self.bn1(x, condition))))
        h = self.conv2(torch.relu(self.bn2(h, condition)))
        # A 1x1 convolution commutes with repeating pixels: fewer pixels come first.
        return h + doubled(self.conv_sc(x))


class DeepBlock(nn.Module):
    """A bottleneck block of BigGAN-deep. Its shortcut is the first `out_channels` channels of the input."""

    def __init__(self, in_channels: int, out_channels: int, cond_dim: int, eps: float, upsample: bool):
        super().__init__()
        hidden = in_channels // 4
        self.out_channels, self.upsample = out_channels, upsample
        self.bn1 = ConditionalNorm(in_channels, cond_dim, eps)
        self.conv1 = nn.Conv2d(in_channels, hidden, 1)
        self.bn2 = ConditionalNorm(hidden, cond_dim, eps)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.bn3 = ConditionalNorm(hidden, cond_dim, eps)
        self.conv3 = nn.Conv2d(hidden, hidden, 3, padding=1)
        self.bn4 = ConditionalNorm(hidden, cond_dim, eps)
        self.conv4 = nn.Conv2d(hidden, out_channels, 1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv1(torch.relu(self.bn1(x, condition)))
        h = torch.relu(self.bn2(h, condition))
        shortcut = x[:, :self.out_channels]
        if self.upsample:
            h, shortcut = doubled(h), doubled(shortcut)
        h = torch.relu(self.bn3(self.conv2(h), condition))
        h = torch.relu(self.bn4(self.conv3(h), condition))
        return self.conv4(h) + shortcut


def doubled(x: Tensor) -> Tensor:
    """Each pixel four times: `[N, C, h, w]` -> `[N, C, 2 h, 2 w]`."""
    return functional.interpolate(x, scale_factor=2, mode='nearest')
