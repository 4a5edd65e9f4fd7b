"""Coordinates in which latents of a generator are alike: its own mean at zero, its own spread known.

A step of an optimizer means little in W itself: the standard deviations along its principal axes differ by a factor of
fifty. Here each axis is scaled by a power of its own.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.base import GeneratorHook, LatentSpace, Sample
from resefa_plugin.hooks.style_based import COVARIANCE_SAMPLES, StyleBasedHook
from resefa_plugin.hooks.viewpoint import Viewpoint

# Axes of less than this share of the largest standard deviation are taken to have so much.
LEAST_DEVIATION = 1e-3


class Spread:
    """An offset `[d]` of a latent space from the mean of the generator's own latents, as coordinates.

    Args:
        viewpoint: whose sample is that mean.
        power: of the standard deviation of each principal axis by which it is scaled: 1 whitens, 0 only turns.
    """

    def __init__(self, viewpoint: Viewpoint, power: float):
        self._axes: list[Tensor] = []
        self._scales: list[Tensor] = []
        self._deviations: list[Tensor] = []
        known: dict[int, tuple[Tensor, Tensor]] = {}
        blocks = viewpoint.covariance()
        for block in blocks:
            if id(block) not in known:  # of w+, all are one
                values, axes = np.linalg.eigh(block)
                deviation = np.sqrt(np.maximum(values, LEAST_DEVIATION ** 2 * max(values[-1], 1e-12)))
                known[id(block)] = (torch.from_numpy(axes).to(viewpoint.device, torch.float32),
                                    torch.from_numpy(deviation).to(viewpoint.device, torch.float32))
            axes_of_block, deviation_of_block = known[id(block)]
            self._axes.append(axes_of_block)
            self._deviations.append(deviation_of_block)
            self._scales.append(deviation_of_block ** power)
        self._sizes = [len(block) for block in blocks]
        self._blocks = blocks  # kept, so that no other one gets their id

    @property
    def shape(self) -> tuple[int, int]:
        """The coordinates as a matrix `(layers, dimensions)`; as one row where layers have different dimensions."""
        sizes = set(self._sizes)
        return (len(self._sizes), self._sizes[0]) if len(sizes) == 1 else (1, sum(self._sizes))

    def offset(self, coordinates: Tensor) -> Tensor:
        """Coordinates `[d]` -> an offset `[d]` from the mean."""
        return torch.cat([axes @ (scale * part) for axes, scale, part in
                          zip(self._axes, self._scales, coordinates.split(self._sizes), strict=True)])

    def coordinates(self, offset: Tensor) -> Tensor:
        """The reverse."""
        return torch.cat([axes.T @ part / scale for axes, scale, part in
                          zip(self._axes, self._scales, offset.split(self._sizes), strict=True)])

    def deviations(self, coordinates: Tensor) -> Tensor:
        """How far the latent is from the mean along each axis, in the generator's standard deviations, `[d]`."""
        return torch.cat([scale * part / deviation for scale, part, deviation in
                          zip(self._scales, coordinates.split(self._sizes), self._deviations, strict=True)])


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
