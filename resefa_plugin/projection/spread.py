"""How latents of a generator spread: the length by which a latent is far from where the generator was trained.

A plain length says little in W: the standard deviations along its principal axes differ by a factor of fifty.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.base import GeneratorHook, LatentSpace, Sample
from resefa_plugin.hooks.style_based import COVARIANCE_SAMPLES, StyleBasedHook
from resefa_plugin.hooks.viewpoint import Viewpoint

# Axes of less than this share of the largest standard deviation are taken to have so much.
LEAST_DEVIATION = 1e-3
WHITENED = 0.75  # of the descent's coordinates: 1 for standard deviations, 0 for the latent's own numbers


class Spread:
    """How far offsets `[d]` from the mean of the generator's own latents are, in the generator's standard deviations.

    Args:
        viewpoint: whose sample is that mean.

    Attributes:
        shape: an offset as a matrix `(layers, dimensions)`; as one row where layers have different dimensions.
    """

    def __init__(self, viewpoint: Viewpoint):
        blocks = viewpoint.covariance()
        of_block = {id(block): _Axes.of(block, viewpoint.device) for block in blocks}  # of w+, all are one
        self._axes = [of_block[id(block)] for block in blocks]
        self._sizes = [len(block) for block in blocks]
        self.shape = (len(blocks), self._sizes[0]) if len(set(self._sizes)) == 1 else (1, sum(self._sizes))

    def deviations(self, offset: Tensor) -> Tensor:
        """Along each principal axis, `[d]`: of mean 0 and variance 1 for the generator's own latents."""
        return self._each(lambda axes, part: axes.vectors.T @ part / axes.deviations, offset)

    def even(self, offset: Tensor) -> Tensor:
        """An offset in the coordinates that a descent takes, `[d]`.

        The unit along a principal axis lies between the standard deviation there and that of all axes. In standard
        deviations alone, a descent is too slow along axes on which the generator's latents hardly differ; in the
        latent's own numbers, it goes far from them there.
        """
        return self._each(lambda axes, part: axes.vectors.T @ part / axes.units, offset)

    def offset(self, even: Tensor) -> Tensor:
        """The offset `[d]` of these coordinates."""
        return self._each(lambda axes, part: axes.vectors @ (axes.units * part), even)

    def pull(self, gradient: Tensor) -> Tensor:
        """The gradient `[d]` by the coordinates of what has that gradient by the offset."""
        return self._each(lambda axes, part: axes.units * (axes.vectors.T @ part), gradient)

    def _each(self, change: Callable[[_Axes, Tensor], Tensor], vector: Tensor) -> Tensor:
        return torch.cat([change(axes, part) for axes, part in
                          zip(self._axes, vector.split(self._sizes), strict=True)])


@dataclass(frozen=True)
class _Axes:
    """Principal axes of a block of dimensions.

    Attributes:
        vectors: as columns, `[d, d]`.
        deviations: standard deviations along them, `[d]`.
        units: of the coordinates of a descent, `[d]`.
    """

    vectors: Tensor
    deviations: Tensor
    units: Tensor

    @classmethod
    def of(cls, covariance: NDArray[np.float64], device: torch.device) -> _Axes:
        variances, vectors = np.linalg.eigh(covariance)
        variances = np.maximum(variances, LEAST_DEVIATION ** 2 * max(variances[-1], np.finfo(np.float32).tiny))
        deviations = np.sqrt(variances)
        units = deviations ** WHITENED * np.sqrt(variances.mean()) ** (1 - WHITENED)
        return cls(*(torch.from_numpy(array).float().to(device) for array in (vectors, deviations, units)))


def mean_sample(hook: GeneratorHook, space: LatentSpace, c: Tensor | None, name: str) -> Sample:
    """The sample at the mean of the generator's own latents in a space.

    Raises ResefaError for spaces of which it is not known.
    """
    if space.name in ('w', 'w+', 's') and isinstance(hook, StyleBasedHook):
        ws = torch.cat([batch[:, 0] for batch in hook.latents(c, COVARIANCE_SAMPLES)])
        sample = dataclasses.replace(hook.sample_from_ws(ws.mean(dim=0), name), c=c)
        if space.name != 's':
            return sample
        batches = [torch.cat(hook.styles(ws), dim=1) for ws in hook.latents(c, COVARIANCE_SAMPLES)]
        return dataclasses.replace(sample, latents={'s': torch.cat(batches).mean(dim=0, keepdim=True)})
    if space.name == 'z':
        sample = hook.sample(0, c=c)
        return dataclasses.replace(sample, name=name, seed=None,
                                   latents={**sample.latents, 'z': torch.zeros_like(space.latent(sample))})
    raise ResefaError(f"a photograph cannot be projected into space '{space.name}', as the spread of its latents is "
                      'not known: take z, w, w+ or s')
