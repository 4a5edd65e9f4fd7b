"""How latents of a generator spread: the length by which a latent is far from where the generator was trained.

A plain length says little in W: the standard deviations along its principal axes differ by a factor of fifty.
"""

from __future__ import annotations

import dataclasses

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


class Spread:
    """How far offsets `[d]` from the mean of the generator's own latents are, in the generator's standard deviations.

    Args:
        viewpoint: whose sample is that mean.

    Attributes:
        shape: an offset as a matrix `(layers, dimensions)`; as one row where layers have different dimensions.
    """

    def __init__(self, viewpoint: Viewpoint):
        blocks = viewpoint.covariance()
        of_block = {id(block): _whitening(block).to(viewpoint.device) for block in blocks}  # of w+, all are one
        self._whitenings = [of_block[id(block)] for block in blocks]
        self._sizes = [len(block) for block in blocks]
        self.shape = (len(blocks), self._sizes[0]) if len(set(self._sizes)) == 1 else (1, sum(self._sizes))

    def deviations(self, offset: Tensor) -> Tensor:
        """Along each principal axis, `[d]`: of mean 0 and variance 1 for the generator's own latents."""
        return torch.cat([whitening @ part for whitening, part in
                          zip(self._whitenings, offset.split(self._sizes), strict=True)])


def _whitening(covariance: NDArray[np.float64]) -> Tensor:
    """`[d, d]`: principal axes as rows, each divided by its standard deviation."""
    variances, axes = np.linalg.eigh(covariance)
    variances = np.maximum(variances, LEAST_DEVIATION ** 2 * max(variances[-1], np.finfo(np.float32).tiny))
    return torch.from_numpy(axes.T / np.sqrt(variances)[:, None]).float()


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
