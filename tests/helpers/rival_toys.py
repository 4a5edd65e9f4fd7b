"""A style-based generator whose every step is linear and known: mapping, affine style layers, and a patch of picture
per style channel.
"""

from __future__ import annotations

import numpy as np
import torch

from resefa_plugin.hooks.base import box_average
from resefa_plugin.hooks.style_based import StyleBasedHook


class PatchHook(StyleBasedHook):
    """z (6) -> w = spread * z -> 3 layers of 4 styles, A_i w_i + b_i -> each style channel paints a patch of 8 x 8 of
    32 x 24 pixels.

    Style channel c paints patch (c // 3, c % 3) with `gain[c]` times its value, in grey.
    """

    name, sha256, licence, device = 'patches', 'b' * 64, '', torch.device('cpu')
    image_shape, z_dim, w_dim, num_ws, style_dims = (3, 32, 24), 6, 6, 3, (4, 4, 4)
    SIDE = 8

    def __init__(self, seed: int = 0):
        random = np.random.RandomState(seed)
        self.spread = np.array([3.0, 0.5, 2.0, 0.25, 1.5, 1.0])
        self.A = random.randn(3, 4, 6)
        self.b = random.randn(3, 4)
        self.gain = np.ones(12)

    def mapping(self, z, c, truncation_psi, truncation_cutoff):
        w = z * torch.from_numpy(self.spread).to(z) * truncation_psi
        return w[:, None].repeat(1, self.num_ws, 1)

    def styles(self, ws):
        A, b = (torch.from_numpy(x).to(ws) for x in (self.A, self.b))
        return list((torch.einsum('nld,lcd->nlc', ws, A) + b).unbind(1))

    def synthesis(self, ws, resolution):
        return self.from_styles(self.styles(ws), resolution)

    def from_styles(self, styles, resolution):
        values = torch.cat(styles, dim=1) * torch.from_numpy(self.gain).to(styles[0]) * 0.05
        patches = values.unflatten(1, (1, 4, 3)).repeat_interleave(self.SIDE, 2).repeat_interleave(self.SIDE, 3)
        return box_average(patches.expand(-1, 3, -1, -1), resolution)

    def patch_mask(self, *channels: int) -> np.ndarray:
        """`[H, W]` bool: where these style channels paint."""
        mask = np.zeros(self.image_shape[1:], bool)
        for channel in channels:
            row, column = (self.SIDE * index for index in divmod(channel, 3))
            mask[row:row + self.SIDE, column:column + self.SIDE] = True
        return mask
