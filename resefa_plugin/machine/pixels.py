"""Tensors on the scale of generators as pixels that can be shown and saved."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resefa_plugin.errors import NonFiniteError, ResefaError

_SQUARES, _BOARD = 32, (0.6, 0.2)  # along the longer side; their greys, on the [-1, 1] scale


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Pictures as the host saves them: `(img * 127.5 + 128).clamp(0, 255)`, truncated.

    Args:
        images: `[N, C, H, W]` in about [-1, 1], C = 1 (repeated), 3, or 4: what is transparent shows a checkerboard.

    Returns: `[N, H, W, 3]` uint8.

    Raises:
        ResefaError: not four axes, or another number of channels.
        NonFiniteError: a NaN or an infinity.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3, 4):
        raise ResefaError(f'images has shape {list(images.shape)}; expected [N, C, H, W] with C = 1, 3 or 4')
    images = images.detach().to('cpu', torch.float32)
    if not images.isfinite().all():
        raise NonFiniteError('images contains NaN or infinity: the edit left the network\'s range; lower the strength')
    if images.shape[1] == 4:
        images = _over_checkerboard(images)
    grey = (images * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    return grey.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).contiguous().numpy()  # [N, H, W, 3]


def _over_checkerboard(images: Tensor) -> Tensor:
    """The colours `[N, 3, H, W]` of RGBA pictures `[N, 4, H, W]`, over squares of light and less light grey."""
    opacity = ((images[:, 3:] + 1) / 2).clamp(0, 1)
    _, _, height, width = images.shape
    side = max(1, max(height, width) // _SQUARES)
    rows, columns = torch.arange(height)[:, None] // side, torch.arange(width) // side
    board = torch.where((rows + columns) % 2 == 0, *_BOARD)
    return opacity * images[:, :3] + (1 - opacity) * board
