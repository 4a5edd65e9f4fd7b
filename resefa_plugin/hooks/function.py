"""Any callable `f(latent) -> images` as a hook."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from typing_extensions import override

from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.base import GeneratorHook, LatentSpace, Sample, box_average, seed_z


class FunctionHook(GeneratorHook):
    """A generator that is a plain function, with one latent space, `z`.

    Args:
        f: latents `[N, z_dim]` float32 -> pictures `[N, C, H, W]` in about [-1, 1]. Deterministic, each picture
            depending on its own latent alone, differentiable by torch, no dropout and no batch statistics.
        z_dim: dimensions of the latent.
        name: how it is named to the user.
        device: where `f` wants its latents.

    Raises:
        ResefaError: `f` does not return pictures.
    """

    space_names = ('z',)

    def __init__(self, f: Callable[[Tensor], Tensor], z_dim: int, *, name: str = 'function',
                 device: torch.device | str = 'cpu'):
        self.f, self.z_dim, self.name, self.device = f, z_dim, name, torch.device(device)
        with torch.no_grad():
            images = f(seed_z(0, z_dim, self.device))
        if not isinstance(images, Tensor) or images.ndim != 4 or len(images) != 1:
            came = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise ResefaError(f'{name}: f(latent [1, {z_dim}]) must return pictures [1, C, H, W], got {came}')
        _, channels, height, width = images.shape
        self.image_shape = channels, height, width

    @override
    def sample(self, seed: int, truncation_psi: float = 1.0, truncation_cutoff: int | None = None,
               c: Tensor | None = None) -> Sample:
        if truncation_cutoff is not None or c is not None:
            raise ResefaError(f'{self.name} is a plain function of z: it takes no truncation cutoff and no class label')
        z = seed_z(seed, self.z_dim, self.device) * truncation_psi
        return Sample(f'seed{seed:04d}', {'z': z}, truncation_psi=truncation_psi, seed=seed)

    @override
    def space(self, name: str, layers: tuple[int, ...] | None = None) -> LatentSpace:
        if name not in self.space_names:
            raise self.unknown_space(name)
        if layers is not None:
            raise ResefaError(f'{self.name} is a plain function of z: it has no layers to choose from')
        return _FunctionSpace(self)


class _FunctionSpace(LatentSpace):
    name, layers = 'z', None

    def __init__(self, hook: FunctionHook):
        self.hook, self.dim = hook, hook.z_dim

    @override
    def latent(self, sample: Sample) -> Tensor:
        return sample.latents['z']

    @override
    def move(self, latent: Tensor, offset: Tensor) -> Tensor:
        return latent + offset

    @override
    def saved(self, latent: Tensor, sample: Sample) -> dict[str, Tensor]:
        return {'z': latent}

    @override
    def render(self, latent: Tensor, sample: Sample, resolution: int | None = None) -> Tensor:
        return box_average(self.hook.f(latent), resolution)
