"""The Haar wavelet transform of pictures, in channels_last layout."""

from __future__ import annotations

import torch
from torch import Tensor


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


def inverse_haar_doubled(bands: Tensor) -> Tensor:
    """Twice `inverse_haar`, without a derivative: the result is written in place, which saves copies."""
    n, channels, height, width = bands.shape
    low, vertical, horizontal, diagonal = bands.permute(0, 2, 3, 1).chunk(4, dim=3)
    pixels = bands.new_empty(n, height, 2, width, 2, channels // 4)
    for row, sign in enumerate((1, -1)):
        one, other = torch.add(low, vertical, alpha=sign), torch.add(horizontal, diagonal, alpha=sign)
        torch.add(one, other, out=pixels[:, :, row, :, 0])
        torch.sub(one, other, out=pixels[:, :, row, :, 1])
    return pixels.view(n, 2 * height, 2 * width, channels // 4).permute(0, 3, 1, 2)


def haar_doubled(picture: Tensor) -> Tensor:
    """Twice the transform that `inverse_haar` undoes, the transpose of `inverse_haar_doubled`.

    Args:
        picture: `[N, C, 2 * H, 2 * W]`.

    Returns: `[N, 4 * C, H, W]`, in channels_last layout.
    """
    n, channels, height, width = picture.shape
    pixels = picture.permute(0, 2, 3, 1).reshape(n, height // 2, 2, width // 2, 2, channels)
    bands = picture.new_empty(n, height // 2, width // 2, 4 * channels)
    low, vertical, horizontal, diagonal = bands.chunk(4, dim=3)
    upper, lower = pixels.unbind(2)  # [n, H, W, 2, C]
    for combine, even, odd in ((torch.add, low, horizontal), (torch.sub, vertical, diagonal)):
        left, right = combine(upper, lower).unbind(3)
        torch.add(left, right, out=even)
        torch.sub(left, right, out=odd)
    return bands.permute(0, 3, 1, 2)
