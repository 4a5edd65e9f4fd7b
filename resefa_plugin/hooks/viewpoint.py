"""Where a picture is differentiated and edited: a generator, a latent space, a sample of it, and a resolution."""

from __future__ import annotations

import copy
import functools
import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resefa_plugin.errors import check_shape, check_type
from resefa_plugin.hooks.base import GeneratorHook, LatentSpace, Sample, pooling_factor
from resefa_plugin.linearization import Linearization
from resefa_plugin.ranges import format_ranges

DEFAULT_RESOLUTION, SMALLEST_DEFAULT = 256, 64
FINE = 1e-3  # of the [-1, 1] scale: a smaller difference of two pictures, on the average, is rounding


class Viewpoint:
    """The picture of one sample as a function of an offset of its latent.

    Args:
        hook: the generator.
        space: what an offset means: a space of `hook`, or its name; None means the generator's default.
        sample: where the offset is zero.
        resolution: longer side of the pictures after exact box averaging; None means `default_resolution`.

    Attributes:
        image_shape: `(C, h, w)` at this resolution.

    Raises ResefaError for a space that the generator does not have, and for a resolution that does not divide the
    picture.
    """

    def __init__(self, hook: GeneratorHook, space: LatentSpace | str | None, sample: Sample,
                 resolution: int | None = None):
        check_type('hook', hook, GeneratorHook)
        check_type('sample', sample, Sample)
        self.hook, self.sample = hook, sample
        self.space = space if isinstance(space, LatentSpace) else hook.space(space or hook.default_space)
        self._set_resolution(default_resolution(hook.image_shape) if resolution is None else resolution)

    def _set_resolution(self, resolution: int) -> None:
        channels, height, width = self.hook.image_shape
        factor = pooling_factor(self.hook.image_shape, resolution)
        self.resolution, self.image_shape = resolution, (channels, height // factor, width // factor)

    def __repr__(self) -> str:
        _, height, width = self.image_shape
        layers = '' if self.space.layers is None else f', layers {format_ranges(self.space.layers)}'
        return (f'<{self.sample.name} of {self.hook.name} in space {self.space.name}{layers} ({self.dim} dimensions), '
                f'{height} x {width}>')

    @functools.cached_property
    def latent(self) -> Tensor:
        """Native latents at zero offset, `[1, ...]`. Raises ResefaError if the sample has none in this space."""
        return self.space.latent(self.sample).to(self.device)

    @property
    def dim(self) -> int:
        """Number of coordinates d of an offset."""
        return self.space.dim

    @property
    def device(self) -> torch.device:
        """Where the generator is."""
        return self.hook.device

    def images(self, offsets: Tensor) -> Tensor:
        """Pictures `[N, C, h, w]` of offsets `[N, d]`: what is differentiated at zero, and shown for edits.

        Raises ResefaError for offsets of another shape.
        """
        check_shape('offsets', offsets, 'N', self.dim)
        offsets = torch.as_tensor(offsets).to(self.latent)
        return self.space.render(self.space.move(self.latent, offsets), self.sample, self.resolution)

    def zero(self, count: int = 1) -> Tensor:
        """Offsets of zero, `[count, d]`, on the generator's device."""
        return torch.zeros(count, self.dim, device=self.device)

    def moved(self, offset: Tensor) -> Viewpoint:
        """The same with its zero at an offset `[d]`: derivatives are taken there.

        Raises ResefaError for an offset of another shape.
        """
        check_shape('offset', offset, self.dim)
        moved = copy.copy(self)
        moved.latent = self.space.move(self.latent, torch.as_tensor(offset)[None].to(self.latent))
        return moved

    def at(self, resolution: int) -> Viewpoint:
        """The same at another resolution. Raises ResefaError if that does not divide the picture."""
        other = copy.copy(self)
        other._set_resolution(resolution)
        return other

    def full(self) -> Viewpoint:
        """The same at the resolution of the generator."""
        return self.at(max(self.hook.image_shape[1:]))

    def linearize(self) -> Linearization | None:
        """The derivative of `images` at zero by hand, see `LatentSpace.linearize`; None where only AD has it."""
        return self.space.linearize(self.latent, self.sample, self.resolution)

    def covariance(self) -> list[NDArray[np.float64]]:
        """How the generator's own latents spread in the coordinates of the space, see `LatentSpace.covariance`."""
        return self.space.covariance(self.sample.c)

    def fingerprint(self) -> str:
        """A hash of everything that the derivative depends on: network, space, layers, sample, resolution.

        Pictures count by the mean and the spread of their quarters: another number of threads rounds otherwise.
        """
        facts = {'network': self.hook.sha256 or self.hook.name, 'space': self.space.name, 'layers': self.space.layers,
                 'image_shape': self.image_shape, 'psi': self.sample.truncation_psi,
                 'cutoff': self.sample.truncation_cutoff}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        with torch.no_grad():  # the picture tells functions apart that have no hash, and noise modes
            picture = self.images(self.zero())[0].double().cpu()
        quarters = [half for part in picture.tensor_split(2, dim=1) for half in part.tensor_split(2, dim=2)]
        seen = torch.stack([number for part in quarters for number in (part.mean(), part.std(correction=0))])
        digest.update(str((seen.nan_to_num() / FINE).round().long().tolist()).encode())
        for part in (self.latent, self.sample.c):
            if part is not None:
                digest.update(part.detach().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


def viewpoints_of(hook: GeneratorHook, samples: Sequence[Sample], space: str = 'auto',
                  layers: tuple[int, ...] | None = None, resolution: int | None = None,
                  pool: bool | None = None) -> list[Viewpoint]:
    """Samples as they are best differentiated.

    Args:
        hook: the generator.
        samples: of it.
        space: name of a latent space. `auto` takes StyleSpace for a pool, where there is one, since directions of it
            carry over best, and for one that is known by its styles; else the generator's default, W as a rule, which
            is quickest.
        layers: as of `GeneratorHook.space`.
        resolution: as of Viewpoint.
        pool: whether the samples are to share directions; None: if there are several.

    Raises ResefaError as Viewpoint does.
    """
    check_type('samples', samples, Sample, is_list=True)
    if space == 'auto':
        pool = len(samples) > 1 if pool is None else pool
        only_styles = any(not sample.latents.keys() - {'s'} for sample in samples)
        space = 's' if (pool or only_styles) and 's' in hook.space_names else hook.default_space
    chosen = hook.space(space, layers)
    return [Viewpoint(hook, chosen, sample, resolution) for sample in samples]


def default_resolution(image_shape: tuple[int, int, int]) -> int:
    """The largest resolution up to 256 that divides the picture into equal boxes; the picture's own if below 64."""
    _, height, width = image_shape
    longer = max(height, width)
    factors = [f for f in range(1, longer // SMALLEST_DEFAULT + 1) if height % f == 0 and width % f == 0]
    return longer // next((f for f in factors if longer // f <= DEFAULT_RESOLUTION), 1)
