"""The demo generator as a hook."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.base import pooling_factor
from resefa_plugin.hooks.style_based import StyleBasedHook
from resefa_plugin.linearization import Linearization
from resefa_plugin.networks.mobile_stylegan import Generator
from resefa_plugin.third_party import mobilestylegan_ffhq


class MobileStyleGANHook(StyleBasedHook):
    """MobileStyleGAN, unconditional, 1024x1024. Pictures at 512 and below skip the last wavelet transform.

    Args:
        G: the generator, in eval mode.
        name: how it is named to the user.
    """

    def __init__(self, G: Generator, name: str = mobilestylegan_ffhq.NAME, sha256: str = '', licence: str = ''):
        self.G, self.name, self.sha256, self.licence = G, name, sha256, licence
        self.image_shape = (G.img_channels, G.img_resolution, G.img_resolution)
        self.z_dim, self.w_dim, self.num_ws = G.z_dim, G.w_dim, G.num_ws
        self.style_dims = G.synthesis.style_dims
        self.device = G.w_avg.device

    @classmethod
    def open(cls, device: torch.device | str = 'cpu') -> MobileStyleGANHook:
        """Fetches the network if it is not cached. Raises CheckpointError if it cannot be had."""
        G = mobilestylegan_ffhq.load(device)
        return cls(G, sha256=mobilestylegan_ffhq.ASSET.sha256, licence=mobilestylegan_ffhq.ASSET.licence)

    @override
    def mapping(self, z: Tensor, c: Tensor | None, truncation_psi: float, truncation_cutoff: int | None) -> Tensor:
        if c is not None:
            raise ResefaError(f'{self.name} is unconditional: it takes no class label')
        w = self.G.mapping(z)[:, None]
        cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
        truncated = torch.arange(self.num_ws, device=w.device)[:, None] < cutoff
        return torch.where(truncated, self.G.w_avg.lerp(w, truncation_psi), w)

    @override
    def styles(self, ws: Tensor) -> list[Tensor]:
        return self.G.synthesis.styles(ws)

    @override
    def synthesis(self, ws: Tensor, resolution: int | None) -> Tensor:
        return self.from_styles(self.styles(ws), resolution)

    @override
    def from_styles(self, styles: list[Tensor], resolution: int | None) -> Tensor:
        pooling_factor(self.image_shape, resolution)
        return self.G.synthesis.from_styles(styles, resolution)

    @override
    def linearize_synthesis(self, styles: list[Tensor], resolution: int | None) -> Linearization | None:
        return self.G.synthesis.linearize(styles, resolution)
