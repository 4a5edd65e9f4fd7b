"""StyleGAN2 and StyleGAN3: our own networks, and the official ones of a checkout."""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from resefa_plugin.errors import CheckpointError, ResefaError
from resefa_plugin.hooks.base import Sample, box_average
from resefa_plugin.hooks.style_based import StyleBasedHook
from resefa_plugin.linearization import Linearization
from resefa_plugin.networks.stylegan_layers import NOISE_MODES
from resefa_plugin.patches.registry import apply_patches
from resefa_plugin.third_party.nvlabs import Checkout

_ATTRIBUTES = ('z_dim', 'c_dim', 'w_dim', 'num_ws', 'img_resolution', 'img_channels', 'mapping', 'synthesis')


def inverse_placement(translate: tuple[float, float], rotate: float) -> Tensor:
    """What StyleGAN3's `synthesis.input.transform` is for a placement: see `GeneratorHook.place`.

    The placement is a rotation, then a translation: `p' = R p + t` with `R = [[cos, sin], [-sin, cos]]`. The network
    looks up where a point of the picture comes from, `p = R^T p' - R^T t`.

    Returns: `[3, 3]` float64.
    """
    angle = math.radians(rotate)
    back = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64)
    inverse = torch.eye(3, dtype=torch.float64)
    inverse[:2, :2], inverse[:2, 2] = back, -back @ torch.tensor(translate, dtype=torch.float64)
    return inverse


class StyleGANHook(StyleBasedHook):
    """A generator of `resefa_plugin.networks`.

    Args:
        G: the generator, in eval mode, without gradients.
        name: how it is named to the user.
        noise_mode: 'const', the network's own noise, or 'none'.
        sha256: SHA-256 of the file.
        licence: what the user must know about it.
        implementation: what computes the pictures, in words.

    Raises: ResefaError for another noise mode, and for a network in training mode.
    """

    def __init__(self, G: nn.Module, name: str, noise_mode: str = 'const', *, sha256: str = '', licence: str = '',
                 implementation: str = 'our own network'):
        if noise_mode not in NOISE_MODES:
            raise ResefaError(f"--noise-mode={noise_mode}: expected {' or '.join(NOISE_MODES)}; the picture has to be "
                              'a function of its latent, which it is not with random noise: its derivative would be '
                              'noise')
        if G.training:
            raise ResefaError(f'{name} is in training mode, in which it changes whenever it is called: '
                              'call .eval() first')
        self.G, self.name, self.noise_mode = G, name, noise_mode
        self.sha256, self.licence, self.implementation = sha256, licence, implementation
        self.image_shape = (self.G.img_channels, self.G.img_resolution, self.G.img_resolution)
        self.z_dim, self.c_dim, self.w_dim, self.num_ws = self.G.z_dim, self.G.c_dim, self.G.w_dim, self.G.num_ws
        self.style_dims = self._style_dims()
        self.device = next(G.parameters()).device
        w_avg = getattr(G.mapping, 'w_avg', None)
        if self.c_dim and w_avg is not None and w_avg.ndim == 1:
            self.notes = ('truncation goes to the mean of all classes: this network has no mean of each class',)

    def _style_dims(self) -> tuple[int, ...]:
        return self.G.synthesis.style_dims

    @override
    def place(self, translate: tuple[float, float], rotate: float) -> None:
        transform = getattr(getattr(self.G.synthesis, 'input', None), 'transform', None)
        if transform is None:
            super().place(translate, rotate)
        else:
            transform.copy_(inverse_placement(translate, rotate))

    def _noise_layers(self) -> list[Any]:
        return [module for module in self.G.synthesis.modules() if hasattr(module, 'noise_const')]

    @override
    def noise(self) -> list[Tensor]:
        return [layer.noise_const.clone() for layer in self._noise_layers()]

    @override
    def use_noise(self, noise: Sequence[Tensor]) -> None:
        if self.noise_mode == 'none':
            raise ResefaError('--noise-mode=none renders without noise')
        layers = self._noise_layers()
        shapes = [tuple(layer.noise_const.shape) for layer in layers]
        if [tuple(each.shape[-2:]) for each in noise] != shapes or any(each.shape[:-2].numel() != 1 for each in noise):
            raise ResefaError(f'noise of shapes {", ".join(str(list(each.shape)) for each in noise)} does not fit '
                              f'{self.name}: expected {", ".join(str(list(shape)) for shape in shapes) or "none"}')
        if not all(each.isfinite().all() for each in noise):
            raise ResefaError('the noise contains NaN or infinity')
        for layer, each in zip(layers, noise, strict=True):
            layer.noise_const.copy_(each.reshape(layer.noise_const.shape))

    @override
    def sample_from_z(self, z: Tensor, name: str = 'proj00', truncation_psi: float = 1.0,
                      truncation_cutoff: int | None = None, c: Tensor | None = None) -> Sample:
        self.check_label(c)
        return super().sample_from_z(z, name, truncation_psi, truncation_cutoff, c)

    def check_label(self, c: Tensor | None) -> None:
        """Raises ResefaError unless c is `[1, c_dim]`, or None for a network without classes."""
        if self.c_dim and c is None:
            raise ResefaError(f'{self.name} has classes 0 to {self.c_dim - 1}: choose one with --class')
        if c is not None and list(c.shape) != [1, self.c_dim]:
            takes = f'expected [1, {self.c_dim}]' if self.c_dim else 'the network is unconditional and takes none'
            raise ResefaError(f'{self.name}: a label of shape {list(c.shape)}; {takes}')

    @override
    def mapping(self, z: Tensor, c: Tensor | None, truncation_psi: float, truncation_cutoff: int | None) -> Tensor:
        if truncation_psi != 1 and getattr(self.G.mapping, 'w_avg', None) is None:
            raise ResefaError(f'{self.name} has no average of W to truncate to: use --trunc=1')
        return self._map(z, c, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff)

    def _map(self, z: Tensor, c: Tensor | None, **truncation: float | int | None) -> Tensor:
        return self.G.mapping(z, c, **truncation)

    @override
    def styles(self, ws: Tensor) -> list[Tensor]:
        return self.G.synthesis.styles(ws)

    @override
    def synthesis(self, ws: Tensor, resolution: int | None) -> Tensor:
        return box_average(self.G.synthesis(ws, self.noise_mode), resolution)

    @override
    def from_styles(self, styles: list[Tensor], resolution: int | None) -> Tensor:
        return box_average(self.G.synthesis.from_styles(styles, self.noise_mode), resolution)

    @override
    def linearize_synthesis(self, styles: list[Tensor], resolution: int | None) -> Linearization | None:
        return self.G.synthesis.linearize(styles, resolution, self.noise_mode)


class OfficialStyleGANHook(StyleGANHook):
    """The official generator, through its own ops.

    Everything is computed in float32, even if the file asks for half precision: derivatives in half precision are not
    reliable, and the picture that is shown has to be the one that was differentiated. For the same reason the patches
    are in place whenever the network runs, not only while it is differentiated: patched and unpatched modulation differ
    in rounding. Besides, on a GPU the first call builds the plugins, which needs the patch of their loader.

    Args:
        G: a generator of a checkout, or one that its loader unpickled.
        checkout: the one that has its code; None if the modules of its code are imported already.
        name, noise_mode, sha256, licence, implementation: as in StyleGANHook.

    Raises: CheckpointError for a network that lacks an attribute of the official ones.
    """

    def __init__(self, G: nn.Module, name: str, noise_mode: str = 'const', *, checkout: Checkout | None = None,
                 sha256: str = '', licence: str = '', implementation: str = 'official network'):
        missing = [attribute for attribute in _ATTRIBUTES if not hasattr(G, attribute)]
        if missing:
            raise CheckpointError(f'{name}: {type(G).__name__} has no {missing[0]}, which an official generator has')
        self.G, self.checkout = G, checkout
        self._affines, self._style_ws = _style_layers(name, self.G.synthesis)
        super().__init__(G, name, noise_mode, sha256=sha256, licence=licence, implementation=implementation)
        taken = {parameter for module in self.G.synthesis.modules() for parameter in _parameters(module)}
        options = {'noise_mode': noise_mode, 'force_fp32': True}
        self._options = {option: value for option, value in options.items() if option in taken}
        self.image_shape = self._measured_shape()

    def _measured_shape(self) -> tuple[int, int, int]:
        """`(C, H, W)` of a picture that is made for it: forks make others than squares of `img_resolution`.

        Raises CheckpointError if the network makes none.
        """
        try:
            with torch.no_grad():
                images = self.synthesis(torch.zeros(1, self.num_ws, self.w_dim, device=self.device), None)
            _, channels, height, width = images.shape
        except Exception as error:  # code of others
            raise CheckpointError(f'{self.name}: {type(self.G).__name__} makes no picture: {type(error).__name__}: '
                                  f'{str(error)[:200]}') from error
        return channels, height, width

    @override
    def _style_dims(self) -> tuple[int, ...]:
        return tuple(affine.weight.shape[0] for affine in self._affines)

    @override
    @contextlib.contextmanager
    def differentiable(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            if self.checkout is not None:
                stack.enter_context(self.checkout.active())
            stack.enter_context(apply_patches(self.G))
            yield

    @override
    def _map(self, z: Tensor, c: Tensor | None, **truncation: float | int | None) -> Tensor:
        with self.differentiable():
            return self.G.mapping(z, c, **truncation)

    @override
    def styles(self, ws: Tensor) -> list[Tensor]:
        with self.differentiable():
            return [affine(ws[:, index]) for affine, index in zip(self._affines, self._style_ws, strict=True)]

    @override
    def synthesis(self, ws: Tensor, resolution: int | None) -> Tensor:
        with self.differentiable():
            return box_average(self.G.synthesis(ws, **self._options), resolution)

    @override
    def from_styles(self, styles: list[Tensor], resolution: int | None) -> Tensor:
        # The network reads ws through its affine layers only, whose outputs are replaced.
        ws = styles[0].new_zeros(len(styles[0]), self.num_ws, self.w_dim)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.differentiable())
            for affine, style in zip(self._affines, styles, strict=True):
                handle = affine.register_forward_hook(lambda module, inputs, output, style=style: style)
                stack.callback(handle.remove)
            return self.synthesis(ws, resolution)

    @override
    def linearize_synthesis(self, styles: list[Tensor], resolution: int | None) -> None:
        return None


def _style_layers(name: str, synthesis: Any) -> tuple[list[Any], list[int]]:
    """The affine layers in the order in which the picture is made, and the index of the w that each one reads."""
    layers: list[tuple[Any, int]] = []
    if hasattr(synthesis, 'block_resolutions'):  # StyleGAN2
        index = 0
        for resolution in synthesis.block_resolutions:
            block = getattr(synthesis, f'b{resolution}')
            for part in ('conv0', 'conv1', 'torgb'):
                if hasattr(block, part):
                    layers.append((getattr(block, part), index))
                    index += part != 'torgb'  # torgb shares its w with the next block's first layer
    elif hasattr(synthesis, 'layer_names') and hasattr(synthesis, 'input'):  # StyleGAN3
        layers = [(getattr(synthesis, part), index) for index, part in enumerate(['input', *synthesis.layer_names])]
    if not layers or not all(hasattr(layer, 'affine') for layer, _ in layers):
        raise CheckpointError(f'{name}: {type(synthesis).__name__} is laid out neither as StyleGAN2 nor as StyleGAN3')
    return [layer.affine for layer, _ in layers], [index for _, index in layers]


def _parameters(module: nn.Module) -> tuple[str, ...]:
    return tuple(inspect.signature(type(module).forward).parameters)
