"""What directions must not do, and how their length is measured: the conditions that a user adds to the quotient."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resefa_plugin.errors import RegionError, ResefaError, check_type
from resefa_plugin.factorizer.protection import Protection, reached
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.rayleigh.coordinates import Coordinates
from resefa_plugin.regions.partition import RegionPartition

NORMS = ('identity', 'covariance')


@dataclass(frozen=True, eq=False)
class Constraints:
    """Conditions beyond "change the region and leave the rest alone".

    Attributes:
        protect: regions to leave still, beyond their part in the background.
        orthogonal_to: `[m, d]`, directions that the results shall be orthogonal to; None if there are none.
        norm: `identity` is the ridge of Eq. 10; `covariance` takes the latents' own spread in place of I: see
            Coordinates.

    Raises ResefaError for a norm that does not exist, and for arguments of another type.
    """

    protect: tuple[Protection, ...] = ()
    orthogonal_to: NDArray[np.floating[Any]] | None = None
    norm: str = 'identity'
    _covariances: dict[object, list[NDArray[np.float64]]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_type('protect', self.protect, Protection, is_list=True)
        object.__setattr__(self, 'protect', tuple(self.protect))
        known = self.orthogonal_to
        if known is not None and (not isinstance(known, np.ndarray) or known.ndim != 2 or not np.isfinite(known).all()):
            raise ResefaError(f'orthogonal_to is {repr(known)[:100]}, expected an array [m, d] of finite numbers')
        if self.norm not in NORMS:
            raise ResefaError(f"norm '{self.norm}' is not one of {', '.join(NORMS)}")

    def check_poolable(self) -> None:
        """Raises ResefaError if samples cannot share one set of directions under these constraints."""
        if any(math.isinf(protection.weight) for protection in self.protect):
            raise ResefaError('a protected region of infinite weight leaves another set of directions to each sample, '
                              'which cannot be pooled: give a finite weight, such as 100, or do not pool')

    def unprotected(self, region: RegionPartition) -> RegionPartition:
        """The region less what is protected. Raises RegionError if nothing is left."""
        mask = region.mask.copy()
        for protection in self.protect:
            mask &= ~protection.region.mask
        if not mask.any():
            names = ', '.join(protection.region.name for protection in self.protect)
            raise RegionError(f"region '{region.name}' lies wholly within the protected {names}: protect less")
        return dataclasses.replace(region, mask=mask)

    def background_weights(self, region: RegionPartition, h: int, w: int) -> NDArray[np.float32]:
        """How much each pixel counts in B, `[h, w]` float32: 0 in the region, 1 elsewhere, more where protected."""
        weights = (~region.at(h, w)).astype(np.float32)
        for protection in self.protect:
            if math.isfinite(protection.weight):
                weights[protection.region.at(h, w) & (weights > 0)] = protection.weight
        return weights

    @property
    def restrict(self) -> bool:
        """Whether some directions are excluded, or lengths are not plain ones."""
        return (self.orthogonal_to is not None or self.norm != 'identity'
                or any(math.isinf(protection.weight) for protection in self.protect))

    def coordinates(self, viewpoint: Viewpoint, jacobian: RegionJacobian | None = None) -> Coordinates | None:
        """Coordinates of the norm, without the directions that are excluded; None where neither changes anything.

        Args:
            jacobian: tells which directions reach regions of infinite weight; None where there are no such regions.
        """
        excluded = [] if self.orthogonal_to is None else [self.orthogonal_to]
        rows = None if jacobian is None else reached(jacobian, self.protect)
        if rows is not None:
            excluded.append(rows)
        covariance = self._covariance(viewpoint) if self.norm == 'covariance' else None
        return Coordinates.of(viewpoint.dim, covariance, np.concatenate(excluded) if excluded else None)

    def _covariance(self, viewpoint: Viewpoint) -> list[NDArray[np.float64]]:
        """Of the latents of the viewpoint's space and class, which takes thousands of samples: once for each."""
        c = viewpoint.sample.c
        key = viewpoint.hook, viewpoint.space.name, viewpoint.space.layers, None if c is None else tuple(c[0].tolist())
        if key not in self._covariances:
            self._covariances[key] = viewpoint.covariance()
        return self._covariances[key]

    def to_json(self) -> dict[str, object]:
        """What a directions file records of them; nothing of those that are not there."""
        record: dict[str, object] = {}
        if self.protect:
            record['protect'] = [str(protection) for protection in self.protect]
        if self.orthogonal_to is not None:
            record['orthogonal_to'] = len(self.orthogonal_to)
        if self.norm != 'identity':
            record['norm'] = self.norm
        return record

    def search_key(self) -> list[object]:
        """What a search depends on beside pixels and their weights, for the names of kept files."""
        key: list[object] = [self.norm]
        if self.orthogonal_to is not None:
            key.append(np.asarray(self.orthogonal_to, np.float32).tobytes().hex())
        return key
