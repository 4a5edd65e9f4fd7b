"""Toy generators whose Jacobians are known in closed form, in float64."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from resefa_plugin.hooks.base import box_average
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.hooks.style_based import StyleBasedHook


class TanhToy:
    """x = tanh(M z + b): the Jacobian at z is diag(1 - x^2) M.

    Args:
        z_dim: d. shape: `(C, H, W)` of the pictures. seed: of M.
    """

    def __init__(self, z_dim: int = 6, shape: tuple[int, int, int] = (3, 8, 8), seed: int = 0):
        random = np.random.RandomState(seed)
        self.z_dim, self.shape = z_dim, shape
        self.M = random.randn(int(np.prod(shape)), z_dim) / z_dim ** 0.5
        self.b = 0.3 * random.randn(int(np.prod(shape)))

    def images(self, z: torch.Tensor) -> torch.Tensor:
        M, b = torch.from_numpy(self.M).to(z), torch.from_numpy(self.b).to(z)
        return torch.tanh(z @ M.T + b).unflatten(1, self.shape)

    def jacobian(self, z: torch.Tensor, factor: int = 1) -> np.ndarray:
        """`[C, H / factor, W / factor, d]` float64, of the picture box averaged over factor x factor pixels."""
        x = np.tanh(self.M @ z.double().numpy()[0] + self.b)
        full = ((1 - x ** 2)[:, None] * self.M).reshape(*self.shape, self.z_dim)
        c, h, w = self.shape
        return full.reshape(c, h // factor, factor, w // factor, factor, self.z_dim).mean(axis=(2, 4))

    def hook(self) -> FunctionHook:
        return FunctionHook(self.images, self.z_dim, name='tanh-toy')


class TwoPartToy:
    """z[0] moves the left half, z[1] the right half, z[2] both, of a 1 x 8 x 8 picture; linear."""

    shape, z_dim = (1, 8, 8), 3

    def images(self, z: torch.Tensor) -> torch.Tensor:
        left = torch.zeros(8, 8)
        left[:, :4] = 1
        parts = torch.stack([left, 1 - left, torch.ones(8, 8)]).to(z)
        return 0.2 * torch.einsum('nd,dhw->nhw', z, parts)[:, None]

    def hook(self) -> FunctionHook:
        return FunctionHook(self.images, self.z_dim, name='two-part-toy')


class TinyGenerator(nn.Module):
    """The network of TinyHook: a layer for each style `[N, 4]`, whose pictures are added up."""

    def __init__(self):
        super().__init__()
        weight = torch.from_numpy(np.random.RandomState(0).randn(32, 3 * 32 * 32).astype(np.float32)) / 8
        self.synthesis = nn.ModuleList(nn.Module() for _ in range(8))
        for layer, rows in zip(self.synthesis, weight.split(4), strict=True):
            layer.affine, layer.weight = nn.Identity(), nn.Parameter(rows.clone(), requires_grad=False)

    def forward(self, styles):
        weight = torch.cat([layer.weight for layer in self.synthesis])
        return torch.tanh(torch.cat(styles, dim=1) @ weight).unflatten(1, (3, 32, 32))


class TinyHook(StyleBasedHook):
    """A style-based generator of 32 x 32 pixels with z = w of 4 dimensions, 8 layers and styles = ws: quick."""

    name, sha256, image_shape, licence = 'tiny', 'a' * 64, (3, 32, 32), 'CC0'
    z_dim = w_dim = 4
    num_ws, style_dims, device = 8, (4,) * 8, torch.device('cpu')

    def __init__(self):
        self.G = TinyGenerator()

    def mapping(self, z, c, truncation_psi, truncation_cutoff):
        ws = z[:, None].repeat(1, 8, 1)
        cutoff = 8 if truncation_cutoff is None else truncation_cutoff
        return torch.cat([ws[:, :cutoff] * truncation_psi, ws[:, cutoff:]], dim=1)

    def styles(self, ws):
        return list(ws.unbind(1))

    def synthesis(self, ws, resolution):
        return self.from_styles(self.styles(ws), resolution)

    def from_styles(self, styles, resolution):
        return box_average(self.G(styles), resolution)


def images_at(space, sample, offset, resolution=None):
    """The picture of a sample moved by offsets `[N, d]`, by the space's own definition; None for all pixels."""
    return space.render(space.move(space.latent(sample), offset), sample, resolution)


def tiny_on(device):
    """A TinyHook whose network is on a device."""
    hook = TinyHook()
    hook.G.to(device)
    hook.device = torch.device(device)
    return hook
