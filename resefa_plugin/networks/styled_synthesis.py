"""Synthesis networks of StyleGAN2 and StyleGAN3 as functions of their style vectors, and the derivatives of these."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from resefa_plugin.errors import ResefaError
from resefa_plugin.linearization import Linearization
from resefa_plugin.networks.stylegan_layers import NOISE_MODES, FullyConnectedLayer, MappingNetwork


class StyledSynthesis(nn.Module, abc.ABC):
    """A synthesis network as a function of its style vectors, the coordinates of StyleSpace.

    A style vector is what comes out of a layer's affine map, before any constant that the layer multiplies it with.
    A subclass registers its layers with `add_style`, in the order in which the picture is made.

    Attributes:
        num_ws: how many w it takes.
        w_dim: dimensions of each.
        img_resolution: pixels per side.
        img_channels: colours.
        style_names: the layers that take a style, in the order in which the picture is made.
        style_dims: dimensions of each style.
        style_ws: for each style, the index of the w that it is made from.
    """

    num_ws: int
    w_dim: int
    img_resolution: int
    img_channels: int

    def __init__(self) -> None:
        super().__init__()
        self.style_names: tuple[str, ...] = ()
        self.style_dims: tuple[int, ...] = ()
        self.style_ws: tuple[int, ...] = ()

    def add_style(self, name: str, ws_index: int) -> None:
        """Registers the layer of that name, whose `affine` makes its style from `ws[:, ws_index]`."""
        self.style_names += (name,)
        self.style_dims += (self._affine(name).weight.shape[0],)
        self.style_ws += (ws_index,)

    def remove_last_styles(self, count: int) -> None:
        """Removes the last `count` layers that were registered."""
        for name in self.style_names[-count:]:
            delattr(self, name)
        self.style_names = self.style_names[:-count]
        self.style_dims = self.style_dims[:-count]
        self.style_ws = self.style_ws[:-count]

    def styles(self, ws: Tensor) -> list[Tensor]:
        """Style vectors `[N, style_dims[l]]` of intermediate latents `ws [N, num_ws, w_dim]`."""
        if ws.ndim != 3 or tuple(ws.shape[1:]) != (self.num_ws, self.w_dim):
            raise ResefaError(f'ws: expected shape [N, {self.num_ws}, {self.w_dim}], got {list(ws.shape)}')
        affines = [self._affine(name) for name in self.style_names]
        ws = ws.to(affines[0].weight.dtype)
        return [affine(ws[:, index]) for affine, index in zip(affines, self.style_ws, strict=True)]

    def _affine(self, name: str) -> FullyConnectedLayer:
        affine = self.get_submodule(f'{name}.affine')
        assert isinstance(affine, FullyConnectedLayer)
        return affine

    def from_styles(self, styles: Sequence[Tensor], noise_mode: str = 'const') -> Tensor:
        """The picture `[N, img_channels, img_resolution, img_resolution]` of style vectors, in about [-1, 1].

        Args:
            styles: as `styles` returns them.
            noise_mode: 'const', the network's own noise, or 'none'.

        Raises: ResefaError for 'random', whose derivative would be noise, and for styles of other shapes.
        """
        self._check(styles, noise_mode)
        return self._render(styles, noise_mode)

    @torch.no_grad()
    def linearize(self, styles: Sequence[Tensor], resolution: int | None = None,
                  noise_mode: str = 'const') -> Linearization:
        """The derivative of `from_styles` at a point.

        `push` is the same as forward-mode AD, at about half its cost: the point itself is computed once and not with
        each batch of tangents, gain, activation and clamp are one slope, and tangents are changed in place. `pull` goes
        back through the transposed layers. Both take few rows at a time where pictures are large: see `Chain`.

        Args:
            styles: `[1, style_dims[i]]` each.
            resolution: side of the picture after box averaging, a divisor of `img_resolution`; None for all pixels.
            noise_mode: 'const' or 'none', as in `from_styles`.

        Returns: `push`: tangents `[K, style_dims[i]]` each -> `[K, img_channels, resolution, resolution]`, and `pull`:
            the reverse. They raise ResefaError for other shapes.

        Raises: ResefaError for a resolution that is not a divisor, and what `from_styles` raises.
        """
        self._check(styles, noise_mode)
        if any(len(s) != 1 for s in styles):
            raise ResefaError(f'styles: expected those of one picture, got {[len(s) for s in styles]} rows')
        resolution = self.img_resolution if resolution is None else resolution
        if resolution < 1 or self.img_resolution % resolution:
            raise ResefaError(f'resolution: expected a divisor of {self.img_resolution}, got {resolution}')
        unchecked = self._linearize(styles, self.img_resolution // resolution, noise_mode)

        pull_unchecked = unchecked.pull
        assert pull_unchecked is not None

        @torch.no_grad()
        def push(styles_t: Sequence[Tensor]) -> Tensor:
            self._check(styles_t, noise_mode)
            return unchecked.push(styles_t)

        @torch.no_grad()
        def pull(img_g: Tensor) -> list[Tensor]:
            shape = (self.img_channels, resolution, resolution)
            if img_g.ndim != 4 or tuple(img_g.shape[1:]) != shape:
                raise ResefaError(f'pictures: expected [K, {", ".join(map(str, shape))}], got {list(img_g.shape)}')
            return pull_unchecked(img_g)

        return Linearization(push, pull, unchecked.in_parts)

    def _check(self, styles: Sequence[Tensor], noise_mode: str) -> None:
        if noise_mode not in NOISE_MODES:
            raise ResefaError(f"noise_mode '{noise_mode}' is not one of {', '.join(NOISE_MODES)}; the picture has to "
                              'be a function of its latent, which it is not with random noise')
        dims = tuple(s.shape[-1] for s in styles)
        if dims != self.style_dims or any(s.ndim != 2 for s in styles):
            raise ResefaError(f'styles: expected {len(self.style_dims)} tensors [N, C] with C = {self.style_dims}, got '
                              f'{[list(s.shape) for s in styles]}')

    @abc.abstractmethod
    def _render(self, styles: Sequence[Tensor], noise_mode: str) -> Tensor:
        """The picture of styles that have been checked."""

    @abc.abstractmethod
    def _linearize(self, styles: Sequence[Tensor], factor: int, noise_mode: str) -> Linearization:
        """The derivative of the picture, averaged over boxes of that side, at styles that have been checked."""

    def forward(self, ws: Tensor, noise_mode: str = 'const') -> Tensor:
        """The picture of intermediate latents: `from_styles(styles(ws))`."""
        return self.from_styles(self.styles(ws), noise_mode)


class StyledGenerator(nn.Module, abc.ABC):
    """z to pictures: `G(z, c)`, or `G.synthesis(G.mapping(z, c))`.

    Args:
        z_dim: dimensions of z.
        c_dim: dimensions of the label, 0 if it takes none.
        w_dim: dimensions of w.
        img_resolution: pixels per side, a power of two.
        img_channels: colours.
        mapping_kwargs: arguments of the mapping network.
        synthesis_kwargs: arguments of the synthesis network; settings of speed, such as `num_fp16_res`, are dropped.

    Attributes:
        parts: the classes that take the arguments in each dictionary.

    Raises: CheckpointError for arguments that are unknown, of another type or out of range.
    """

    parts: Mapping[str, tuple[type[nn.Module], ...]]

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, img_resolution: int, img_channels: int,
                 mapping_kwargs: Mapping[str, Any] = {}, synthesis_kwargs: Mapping[str, Any] = {}):
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim = z_dim, c_dim, w_dim
        self.img_resolution, self.img_channels = img_resolution, img_channels
        self.synthesis = self._synthesis(synthesis_kwargs)
        self.num_ws = self.synthesis.num_ws
        self.mapping = self._mapping(mapping_kwargs)

    @abc.abstractmethod
    def _synthesis(self, kwargs: Mapping[str, Any]) -> StyledSynthesis:
        """The synthesis network of arguments in a file."""

    @abc.abstractmethod
    def _mapping(self, kwargs: Mapping[str, Any]) -> MappingNetwork:
        """The mapping network of arguments in a file; `num_ws` is known by now."""

    def forward(self, z: Tensor, c: Tensor | None, truncation_psi: float = 1, truncation_cutoff: int | None = None,
                noise_mode: str = 'const') -> Tensor:
        """The pictures `[N, img_channels, img_resolution, img_resolution]` of latents `z [N, z_dim]`."""
        return self.synthesis(self.mapping(z, c, truncation_psi, truncation_cutoff), noise_mode)
