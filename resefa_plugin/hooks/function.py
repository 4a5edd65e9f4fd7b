"""Any callable `f(latent) -> images` as a hook."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from typing_extensions import override

from resefa_plugin.errors import ResefaError, check_number, check_shape
from resefa_plugin.hooks.base import GeneratorHook, LatentSpace, Sample, box_average, seed_z
from resefa_plugin.machine.module_state import ModuleState, in_training

CHANNELS = 1, 3, 4  # of pictures that can be shown: grey, RGB, RGBA
SMALLEST = 8  # pixels: so many channels and fewer columns are no picture


class FunctionHook(GeneratorHook):
    """A generator that is a plain function, with one latent space, `z`.

    Args:
        f: latents `[N, z_dim]` float32 -> pictures `[N, C, H, W]` in about [-1, 1]. Deterministic, each picture
            depending on its own latent alone, differentiable by torch, no dropout and no batch statistics.
        z_dim: dimensions of the latent.
        name: how it is named to the user.
        device: where `f` wants its latents.
        value_range: black and white in the pictures of `f`, such as `(0, 1)` or `(0, 255)`, which are then brought to
            [-1, 1]. None takes them for [-1, 1], and `probe` warns if they do not look like it.

    Warns if layers behind `f` are in training mode.

    Raises:
        ResefaError: an argument of another type, `f` fails or does not return pictures.
    """

    space_names = ('z',)

    def __init__(self, f: Callable[[Tensor], Tensor], z_dim: int, *, name: str = 'function',
                 device: torch.device | str = 'cpu', value_range: tuple[float, float] | None = None):
        if not callable(f):
            raise ResefaError(f'{name}: f is {type(f).__name__}, expected a function of latents [N, z_dim]')
        check_number(f'{name}: z_dim', z_dim, least=1, whole=True)
        self.f, self.z_dim, self.name, self.device = f, z_dim, name, torch.device(device)
        if value_range is not None:
            self.state_range(value_range)
        layers = in_training(f)
        if layers:
            warnings.warn(f'{name}: {", ".join(layers[:3])}{f" and {len(layers) - 3} more" * (len(layers) > 3)} are in '
                          'training mode: pictures then depend on chance or on their batch. Call .eval() on the '
                          'network first', stacklevel=2)
        state = ModuleState(f)
        try:
            with torch.no_grad():
                images = f(seed_z(0, z_dim, self.device))
        except Exception as error:  # code of others may raise anything
            raise ResefaError(f'{name}: f(latent [1, {z_dim}] float32 on {self.device}) fails with '
                              f'{type(error).__name__}: {error}') from error
        finally:
            state.put_back()
        self.image_shape = _image_shape(name, z_dim, images)

    @override
    def state_range(self, value_range: tuple[float, float]) -> None:
        self.value_range = _checked_range(value_range)

    def images(self, latent: Tensor) -> Tensor:
        """Pictures `[N, C, H, W]` in about [-1, 1] of latents `[N, z_dim]`."""
        images = self.f(latent)
        if self.value_range is None:
            return images
        black, white = self.value_range
        return (images - black) * (2 / (white - black)) - 1

    @override
    def sample(self, seed: int, truncation_psi: float = 1.0, truncation_cutoff: int | None = None,
               c: Tensor | None = None) -> Sample:
        if truncation_cutoff is not None or c is not None:
            raise ResefaError(f'{self.name} is a plain function of z: it takes no truncation cutoff and no class label')
        check_number('truncation_psi', truncation_psi)
        z = seed_z(seed, self.z_dim, self.device) * truncation_psi
        return Sample(f'seed{seed:04d}', {'z': z}, truncation_psi=truncation_psi, seed=seed)

    @override
    def sample_of(self, latents: Mapping[str, Tensor], name: str, truncation_psi: float = 1.0,
                  c: Tensor | None = None) -> Sample:
        if 'z' not in latents:
            raise ResefaError(f'{self.name} is a function of z [1, {self.z_dim}]: it takes no {", ".join(latents)}')
        check_shape('z', latents['z'], 1, self.z_dim)
        return Sample(name, {'z': latents['z'].to(self.device)})

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
        if 'z' not in sample.latents:
            raise ResefaError(f'{sample.name} has no z, which {self.hook.name} is a function of')
        check_shape(f"{sample.name}: latents['z']", sample.latents['z'], 1, self.dim)
        return sample.latents['z']

    @override
    def move(self, latent: Tensor, offset: Tensor) -> Tensor:
        return latent + offset

    @override
    def saved(self, latent: Tensor, sample: Sample) -> dict[str, Tensor]:
        return {'z': latent}

    @override
    def render(self, latent: Tensor, sample: Sample, resolution: int | None = None) -> Tensor:
        return box_average(self.hook.images(latent), resolution)


def _checked_range(value_range: tuple[float, float]) -> tuple[float, float]:
    try:
        black, white = map(float, value_range)
    except (TypeError, ValueError):
        black = white = math.nan
    if not black < white or not math.isfinite(white - black):
        raise ResefaError(f'value_range is {value_range!r}, expected two numbers, that of black first, such as (0, 1)')
    return black, white


def _image_shape(name: str, z_dim: int, images: object) -> tuple[int, int, int]:
    """`(C, H, W)` of what `f` returned for one latent. Raises ResefaError unless it is a picture."""
    expected = f'{name}: f(latent [1, {z_dim}]) must return pictures [1, C, H, W]'
    if not isinstance(images, Tensor):
        raise ResefaError(f'{expected}, got {type(images).__name__}')
    if images.ndim != 4 or len(images) != 1 or not images.numel():
        raise ResefaError(f'{expected}, got {list(images.shape)}')
    if not images.is_floating_point():
        raise ResefaError(f'{expected} of floating-point numbers, got {images.dtype}, which has no derivative: leave '
                          'the rounding out')
    _, channels, height, width = images.shape
    if channels not in CHANNELS and width in CHANNELS and min(channels, height) >= SMALLEST:
        raise ResefaError(f'{expected}, got {list(images.shape)}, which looks like [1, H, W, C]: return '
                          'images.permute(0, 3, 1, 2)')
    if channels not in CHANNELS:
        warnings.warn(f'{name}: its pictures have {channels} channels. Directions can be found, but only grey, RGB and '
                      'RGBA can be shown: return the channels that are to be seen', stacklevel=3)
    return channels, height, width
