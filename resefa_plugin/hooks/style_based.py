"""Generators with a mapping and a synthesis network (the StyleGAN families), and their spaces z, w, w+ and s."""

from __future__ import annotations

import abc
import copy
import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import Self, override

from resefa_plugin.errors import ResefaError, check_number, check_shape
from resefa_plugin.hooks.base import GeneratorHook, LatentSpace, Sample, seed_z
from resefa_plugin.linearization import Linearization
from resefa_plugin.ranges import format_ranges

# Samples that a covariance of latents is taken from: eight per dimension of w.
COVARIANCE_SAMPLES, COVARIANCE_BATCH = 4096, 512


class StyleBasedHook(GeneratorHook):
    """A generator z -> ws `[N, num_ws, w_dim]` -> styles -> picture.

    Attributes:
        w_dim: dimensions of w.
        style_dims: channels that each style scales, in the order of the layers: the shape of StyleSpace.
        G: the network, where it is a module.
    """

    w_dim: int
    style_dims: tuple[int, ...]
    G: Any = None
    space_names = ('z', 'w', 'w+', 's')
    value_range = -1.0, 1.0

    @abc.abstractmethod
    def mapping(self, z: Tensor, c: Tensor | None, truncation_psi: float, truncation_cutoff: int | None) -> Tensor:
        """z `[N, z_dim]` -> ws `[N, num_ws, w_dim]`, truncated."""

    @abc.abstractmethod
    def styles(self, ws: Tensor) -> list[Tensor]:
        """ws `[N, num_ws, w_dim]` -> styles, `[N, style_dims[i]]` each."""

    @abc.abstractmethod
    def synthesis(self, ws: Tensor, resolution: int | None) -> Tensor:
        """ws `[N, num_ws, w_dim]` -> pictures `[N, C, h, w]`, box averaged to `resolution`; not averaged if None."""

    @abc.abstractmethod
    def from_styles(self, styles: list[Tensor], resolution: int | None) -> Tensor:
        """The same from styles: `synthesis(ws, r) == from_styles(styles(ws), r)`."""

    @override
    def sample(self, seed: int, truncation_psi: float = 1.0, truncation_cutoff: int | None = None,
               c: Tensor | None = None) -> Sample:
        z = seed_z(seed, self.z_dim, self.device)
        sample = self.sample_from_z(z, f'seed{seed:04d}', truncation_psi, truncation_cutoff, c)
        return dataclasses.replace(sample, seed=seed)

    def sample_from_z(self, z: Tensor, name: str = 'proj00', truncation_psi: float = 1.0,
                      truncation_cutoff: int | None = None, c: Tensor | None = None) -> Sample:
        """A sample from z `[1, z_dim]`, through the mapping network. Raises ResefaError for other shapes."""
        check_shape('z', z, 1, self.z_dim)
        check_number('truncation_psi', truncation_psi)
        if c is not None and self.c_dim:
            check_shape('c', c, 1, self.c_dim)
        z, c = torch.as_tensor(z).to(self.device, torch.float32), None if c is None else c.to(self.device)
        with torch.no_grad():
            ws = self.mapping(z, c, truncation_psi, truncation_cutoff)
        return Sample(name, {'z': z, 'ws': ws}, c, truncation_psi, truncation_cutoff)

    def sample_from_ws(self, ws: Tensor, name: str = 'proj00') -> Sample:
        """A sample from latents that a projector found.

        Args:
            ws: `[num_ws, w_dim]`, `[1, num_ws, w_dim]`, or one w for all layers: `[w_dim]`, `[1, w_dim]`,
                `[1, 1, w_dim]`.

        Raises ResefaError for other shapes and for values that are not finite.
        """
        given = list(getattr(ws, 'shape', ()))
        ws = torch.as_tensor(ws).to(self.device, torch.float32)
        if ws.ndim == 1 or list(ws.shape) == [1, self.w_dim]:
            ws = ws.reshape(1, 1, -1)
        elif ws.ndim == 2:
            ws = ws[None]
        if ws.ndim != 3 or ws.shape[0] != 1 or ws.shape[1] not in (1, self.num_ws) or ws.shape[2] != self.w_dim:
            raise ResefaError(f'latents of shape {given} do not fit {self.name}: expected '
                              f'[1, {self.num_ws}, {self.w_dim}]')
        if not ws.isfinite().all():
            raise ResefaError('the latents contain NaN or infinity')
        return Sample(name, {'ws': ws.expand(1, self.num_ws, self.w_dim).contiguous()})

    def with_network(self, G: nn.Module) -> Self:
        """The same of another network of the same shape."""
        other = copy.copy(self)
        other.G = G
        return other

    def noise(self) -> list[Tensor]:
        """A copy of the noise of each layer that has some, `[h, w]`."""
        return []

    def use_noise(self, noise: Sequence[Tensor]) -> None:
        """Takes other noise for all pictures from now on.

        Args:
            noise: for each layer that has some, in their order: `[h, w]`, with any number of axes of 1 before.

        Raises ResefaError, and changes nothing, where it does not fit.
        """
        raise ResefaError(f'{self.name} has no noise that could be another')

    @override
    def space(self, name: str, layers: tuple[int, ...] | None = None) -> LatentSpace:
        if name not in SPACES:
            raise self.unknown_space(name)
        count = self.layer_count(name)
        if layers is not None:
            if isinstance(layers, (int, str)) or not all(isinstance(layer, (int, np.integer)) for layer in layers):
                raise ResefaError(f'layers is {layers!r}, expected their numbers, such as (4, 5, 6), or None for all')
            layers = tuple(sorted(set(layers)))
            if not layers or layers[0] < 0 or layers[-1] >= count:
                named = format_ranges(layers) or '(none)'
                raise ResefaError(f"layers {named} of space '{name}': {self.name} has layers 0 to {count - 1}")
            if len(layers) == count:
                layers = None
        return SPACES[name](self, layers)

    @override
    def layer_count(self, space: str) -> int:
        return len(self.style_dims) if space == 's' else self.num_ws

    def latents(self, c: Tensor | None, count: int) -> Iterator[Tensor]:
        """ws `[n, num_ws, w_dim]` of random z, not truncated, batch by batch, `count` in all; always the same ones."""
        z = torch.from_numpy(np.random.RandomState(0).randn(count, self.z_dim)).to(self.device, torch.float32)
        c = None if c is None else c.to(self.device)
        for part in z.split(COVARIANCE_BATCH):
            with torch.no_grad():
                yield self.mapping(part, None if c is None else c.expand(len(part), -1), 1.0, None)

    def linearize_synthesis(self, styles: list[Tensor], resolution: int | None) -> Linearization | None:
        """The derivative of `from_styles` by hand, between lists of `[k, style_dims[i]]` and `[k, C, h, w]`.

        None where only automatic differentiation has it.
        """
        return None


class StyleBasedSpace(LatentSpace):
    """A space whose latents become styles."""

    def __init__(self, hook: StyleBasedHook, layers: tuple[int, ...] | None):
        self.hook, self.layers = hook, layers
        self._indices = list(range(hook.layer_count(self.name)) if layers is None else layers)
        self.dim = self._dim()

    @abc.abstractmethod
    def _dim(self) -> int:
        """Number of coordinates d, given the layers."""

    @override
    def latent(self, sample: Sample) -> Tensor:
        if 'ws' not in sample.latents:
            raise ResefaError(f"{sample.name} is known by its styles only, so it cannot be edited in space "
                              f"'{self.name}'; use 's'")
        check_shape(f"{sample.name}: latents['ws']", sample.latents['ws'], 1, self.hook.num_ws, self.hook.w_dim)
        return sample.latents['ws']

    @override
    def render(self, latent: Tensor, sample: Sample, resolution: int | None = None) -> Tensor:
        return self.hook.synthesis(latent, resolution)

    def moved_styles(self, latent: Tensor, sample: Sample) -> list[Tensor]:
        """The styles of native latents of this space, `[N, style_dims[i]]` of each layer i."""
        return self.hook.styles(latent)

    @override
    def linearize(self, latent: Tensor, sample: Sample, resolution: int | None = None) -> Linearization | None:
        zero = torch.zeros(self.dim, device=self.hook.device)
        with torch.no_grad():
            synthesis = self.hook.linearize_synthesis(self.moved_styles(latent, sample), resolution)
        if synthesis is None:
            return None

        def styles(offset: Tensor) -> tuple[Tensor, ...]:
            return tuple(style[0] for style in self.moved_styles(self.move(latent, offset[None]), sample))

        @torch.no_grad()
        def push(V: Tensor) -> Tensor:
            return synthesis.push(list(torch.func.vmap(lambda v: torch.func.jvp(styles, (zero,), (v,))[1])(V)))

        pull_synthesis = synthesis.pull
        if pull_synthesis is None:
            return Linearization(push)

        @torch.no_grad()
        def pull(U: Tensor) -> Tensor:
            pull_styles = torch.func.vjp(styles, zero)[1]
            return torch.func.vmap(lambda *styles_g: pull_styles(styles_g)[0])(*pull_synthesis(U))

        return Linearization(push, pull, synthesis.in_parts, synthesis.value)

    @override
    def saved(self, latent: Tensor, sample: Sample) -> dict[str, Tensor]:
        return {'w': latent}


class ZSpace(StyleBasedSpace):
    """z `[N, z_dim]`, before the mapping network.

    With layers, only they see the moved z; the others keep the sample's ws.
    """

    name = 'z'

    @override
    def _dim(self) -> int:
        return self.hook.z_dim

    @override
    def latent(self, sample: Sample) -> Tensor:
        if 'z' not in sample.latents:
            raise ResefaError(f"{sample.name} is known by its w only, so it cannot be edited in space 'z'; use 'w' or "
                              "'w+'")
        check_shape(f"{sample.name}: latents['z']", sample.latents['z'], 1, self.hook.z_dim)
        return sample.latents['z']

    @override
    def move(self, latent: Tensor, offset: Tensor) -> Tensor:
        return latent + offset

    def _ws(self, latent: Tensor, sample: Sample) -> Tensor:
        c = None if sample.c is None else sample.c.expand(len(latent), -1)
        ws = self.hook.mapping(latent, c, sample.truncation_psi, sample.truncation_cutoff)
        if self.layers is None:
            return ws
        moved = torch.zeros(self.hook.num_ws, 1, dtype=torch.bool, device=ws.device)
        moved[self._indices] = True
        return torch.where(moved, ws, sample.latents['ws'])

    @override
    def render(self, latent: Tensor, sample: Sample, resolution: int | None = None) -> Tensor:
        return self.hook.synthesis(self._ws(latent, sample), resolution)

    @override
    def moved_styles(self, latent: Tensor, sample: Sample) -> list[Tensor]:
        return self.hook.styles(self._ws(latent, sample))

    @override
    def saved(self, latent: Tensor, sample: Sample) -> dict[str, Tensor]:
        return {'w': self._ws(latent, sample), 'z': latent}


class WSpace(StyleBasedSpace):
    """One offset `[w_dim]` for all layers, or for the chosen ones, of ws `[N, num_ws, w_dim]`."""

    name = 'w'

    @override
    def _dim(self) -> int:
        return self.hook.w_dim

    @override
    def covariance(self, c: Tensor | None) -> list[NDArray[np.float64]]:
        return [_covariance(ws[:, 0] for ws in self.hook.latents(c, COVARIANCE_SAMPLES))]

    @override
    def move(self, latent: Tensor, offset: Tensor) -> Tensor:
        moved = latent.new_zeros(self.hook.num_ws, 1)
        moved[self._indices] = 1
        return latent + moved * offset[:, None]


class WPlusSpace(StyleBasedSpace):
    """An offset of its own for each (chosen) layer: `[layers * w_dim]`, layer after layer."""

    name = 'w+'

    @override
    def _dim(self) -> int:
        return len(self._indices) * self.hook.w_dim

    @override
    def covariance(self, c: Tensor | None) -> list[NDArray[np.float64]]:
        # The same block for each layer: the generator's own latents have one w, by which each layer's offset is judged.
        return [_covariance(ws[:, 0] for ws in self.hook.latents(c, COVARIANCE_SAMPLES))] * len(self._indices)

    @override
    def move(self, latent: Tensor, offset: Tensor) -> Tensor:
        offset = offset.unflatten(1, (len(self._indices), self.hook.w_dim))
        if self.layers is None:
            return latent + offset
        zeros = offset.new_zeros(len(offset), 1, self.hook.w_dim)
        rows = [zeros] * self.hook.num_ws
        for row, layer in enumerate(self._indices):
            rows[layer] = offset[:, row:row + 1]
        return latent + torch.cat(rows, dim=1)


class StyleSpace(StyleBasedSpace):
    """The style vectors that scale the channels, `[N, sum(style_dims)]`: StyleSpace (Wu et al., CVPR 2021)."""

    name, has_channels = 's', True

    @override
    def _dim(self) -> int:
        return sum(self.hook.style_dims[i] for i in self._indices)

    @override
    def latent(self, sample: Sample) -> Tensor:
        if 's' in sample.latents:
            check_shape(f"{sample.name}: latents['s']", sample.latents['s'], 1, sum(self.hook.style_dims))
            return sample.latents['s']
        with torch.no_grad():
            return torch.cat(self.hook.styles(sample.latents['ws']), dim=1)

    @override
    def covariance(self, c: Tensor | None) -> list[NDArray[np.float64]]:
        batches = [self.hook.styles(ws) for ws in self.hook.latents(c, COVARIANCE_SAMPLES)]
        return [_covariance(styles[i] for styles in batches) for i in self._indices]

    @override
    def move(self, latent: Tensor, offset: Tensor) -> Tensor:
        if self.layers is None:
            return latent + offset
        chosen = iter(offset.split([self.hook.style_dims[i] for i in self._indices], dim=1))
        zeros = [offset.new_zeros(len(offset), width) for width in self.hook.style_dims]
        return latent + torch.cat([next(chosen) if i in self._indices else zeros[i] for i in range(len(zeros))], dim=1)

    @override
    def moved_styles(self, latent: Tensor, sample: Sample) -> list[Tensor]:
        return list(latent.split(list(self.hook.style_dims), dim=1))

    @override
    def render(self, latent: Tensor, sample: Sample, resolution: int | None = None) -> Tensor:
        return self.hook.from_styles(self.moved_styles(latent, sample), resolution)

    @override
    def saved(self, latent: Tensor, sample: Sample) -> dict[str, Tensor]:
        return {'s': latent}


def _covariance(batches: Iterable[Tensor]) -> NDArray[np.float64]:
    """Of vectors `[n, d]`, batch by batch; `[d, d]` float64."""
    return np.atleast_2d(np.cov(torch.cat(list(batches)).cpu().double().numpy(), rowvar=False))


SPACES: dict[str, type[StyleBasedSpace]] = {space.name: space for space in (ZSpace, WSpace, WPlusSpace, StyleSpace)}
