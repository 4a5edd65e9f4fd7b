"""Regions that an edit must leave still: they weigh more than the rest of the background, or are out of reach."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from resefa_plugin.errors import RegionError
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.regions.partition import RegionPartition, parse_region

DEFAULT_WEIGHT = 10.0
# Directions that change a protected region by less than this, relative to the one that changes it most and squared, may
# be used all the same: without it nothing is left, since almost every direction changes almost everything a little.
NULL = 1e-3
SKETCH = 64  # vectors that span what changes a protected region, where there is no Jacobian to take them from

PROTECT_HELP = ('Keep this region still as well: REGION as below, or WEIGHT*REGION; its pixels count WEIGHT times in '
                'the background (default 10; inf: only directions that do not change it to first order). Pixels that '
                'are in --region too are kept')


@dataclass(frozen=True, eq=False)
class Protection:
    """A region to leave still.

    Attributes:
        region: the pixels, as the foreground of a partition.
        weight: how much they count, relative to other background pixels, above 0; infinite for the null space of their
            Jacobian.
    """

    region: RegionPartition
    weight: float = DEFAULT_WEIGHT

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise RegionError(f"protected region '{self.region.name}' has weight {self.weight}, expected a number "
                              'above 0, or inf')

    def __str__(self) -> str:
        return f'{self.weight:g}*{self.region.name}'


def parse_protection(spec: str, image_size: tuple[int, int]) -> Protection:
    """`REGION` or `WEIGHT*REGION`, in the grammar of `regions.REGION_HELP`. Raises RegionError, which quotes `spec`."""
    weight, star, rest = spec.partition('*')
    if star and re.fullmatch(r'\s*(\d+\.?\d*(e[+-]?\d+)?|\.\d+|inf)\s*', weight):
        return Protection(parse_region(rest, image_size), float(weight))
    return Protection(parse_region(spec, image_size))


def reached(jacobian: RegionJacobian, protections: Sequence[Protection]) -> NDArray[np.float64] | None:
    """Directions `[m, d]` that change regions of infinite weight, to which an edit must be orthogonal.

    None where no region has infinite weight.
    """
    mask = np.zeros(jacobian.image_shape[1:], bool)
    for protection in protections:
        if math.isinf(protection.weight):
            mask |= protection.region.at(*mask.shape)
    if not mask.any():
        return None
    if jacobian.computed:
        values, vectors = np.linalg.eigh(jacobian.product(mask).cpu().numpy())
        strong: NDArray[np.float64] = vectors.T[values > NULL * values[-1]]
        return strong
    noise = torch.randn(SKETCH, *jacobian.image_shape, generator=torch.Generator().manual_seed(0))
    pulled = jacobian.vjp(noise * torch.from_numpy(mask)).cpu().double().numpy()
    _, scale, rows = np.linalg.svd(pulled, full_matrices=False)
    spanning: NDArray[np.float64] = rows[scale ** 2 > NULL * scale[0] ** 2]
    return spanning
