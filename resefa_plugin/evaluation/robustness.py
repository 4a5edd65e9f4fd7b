"""How much the directions depend on the exact region, and on the sample: the claim that a rough box will do, measured.

On computed Jacobians a variant of a region costs milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.linalg
from scipy import ndimage

from resefa_plugin.errors import RegionError, SolverError
from resefa_plugin.hooks.base import Sample
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.rayleigh.solve import solve_rayleigh
from resefa_plugin.regions.partition import RegionPartition

SHARES = (0.1, 0.25)  # of the region's side (the root of its area), by which it is shifted, grown and shrunk
SUBSPACE = 3  # directions that span the compared subspaces


def variants(region: RegionPartition, shares: Sequence[float] = SHARES) -> dict[str, RegionPartition]:
    """The region shifted, grown and shrunk on all sides by shares of its side, and its bounding box where it is no box.

    A variant that has no pixel, or leaves none outside, is left out.
    """
    mask = region.mask
    side = math.sqrt(mask.sum())
    masks = {}
    for share in shares:
        pixels = max(1, round(share * side))
        square = np.ones((2 * pixels + 1,) * 2, bool)
        for word, (down, right) in {'down': (1, 0), 'up': (-1, 0), 'right': (0, 1), 'left': (0, -1)}.items():
            masks[f'{word} {share:.0%}'] = ndimage.shift(mask, (down * pixels, right * pixels), order=0)
        masks[f'grown {share:.0%}'] = ndimage.binary_dilation(mask, square)
        masks[f'shrunk {share:.0%}'] = ndimage.binary_erosion(mask, square)
    box = np.zeros_like(mask)
    box[ndimage.find_objects(mask.astype(int))[0]] = True
    if (box != mask).any():
        masks['bounding box'] = box
    return {name: RegionPartition(varied, region.name) for name, varied in masks.items() if varied.any()
            and not varied.all()}


def compare_subspaces(reference: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Angles in degrees between directions `[k, d]`: of the first ones, and principal angles of the spans."""
    first = abs(reference[0] @ other[0]) / (np.linalg.norm(reference[0]) * np.linalg.norm(other[0]))
    angles = np.degrees(scipy.linalg.subspace_angles(reference.T, other.T))
    return {'first_angle': float(np.degrees(np.arccos(min(first, 1.0)))), 'largest_angle': float(angles.max()),
            'mean_angle': float(angles.mean())}


def leakage(direction: np.ndarray, gram: tuple, region: RegionPartition, shape: tuple[int, int]) -> float:
    """Mean squared change outside over that inside, to first order (Eq. 3 over Eq. 5), cut to 1e-12 ... 1e12."""
    share = region.at(*shape).mean()
    inside, outside = (float(direction @ matrix.cpu().numpy() @ direction) for matrix in gram)
    return float(np.clip((outside / (1 - share)) / max(inside / share, 1e-300), 1e-12, 1e12))


def robustness(jacobians: Sequence[tuple[Sample, RegionJacobian]], regions: Sequence[RegionPartition],
               num_directions: int = SUBSPACE,
               alternatives: Mapping[str, Mapping[str, RegionPartition]] | None = None) -> list[dict[str, Any]]:
    """Directions of variants of each region, and of other samples, against those of the region itself.

    Args:
        jacobians: computed ones, of several samples.
        regions: the originals.
        num_directions: directions that span the compared subspaces.
        alternatives: further variants of regions, by the region's name.

    Returns: entries with sample, region, variant, angles, the region's own leakage, and `leakage_ratio`: the leakage of
    the variant's first direction with respect to the original region, relative to that of the original's (1: as good).
    """
    entries = []
    for sample, jacobian in jacobians:
        shape, k = jacobian.image_shape[1:], min(num_directions, jacobian.viewpoint.dim)
        for region in regions:
            gram = jacobian.gram(region)
            own = solve_rayleigh(*gram, k).directions
            base = leakage(own[0], gram, region, shape)
            others = {}
            for name, variant in {**variants(region), **(alternatives or {}).get(region.name, {})}.items():
                try:
                    others[name] = solve_rayleigh(*jacobian.gram(variant), k).directions
                except (RegionError, SolverError):
                    continue  # nothing of it is left at this resolution, or nothing in it changes
            for another, foreign in jacobians:
                if another is not sample:
                    others[f'sample {another.name}'] = solve_rayleigh(*foreign.gram(region), k).directions
            entries += [{'sample': sample.name, 'region': region.name, 'variant': name,
                         **compare_subspaces(own, directions), 'leakage': base,
                         'leakage_ratio': leakage(directions[0], gram, region, shape) / base}
                        for name, directions in others.items()]
    return entries
