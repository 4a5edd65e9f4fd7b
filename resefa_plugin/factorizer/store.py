"""What a run need not compute: files that were kept, and what is known of the network beforehand."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from resefa_plugin.errors import ResefaError
from resefa_plugin.factorizer.constraints import Constraints
from resefa_plugin.factorizer.steps import RegionSolution
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.rayleigh.solvers import Solver
from resefa_plugin.regions.partition import RegionPartition


@dataclass(frozen=True)
class Store:
    """Folders of kept files; None keeps nothing.

    Attributes:
        jacobians: whole Jacobians, which serve any further region of the same sample.
        grams: Gram matrices of the samples of a pool, with which a pool that was stopped goes on.
    """

    jacobians: pathlib.Path | None = None
    grams: pathlib.Path | None = None

    def __post_init__(self) -> None:
        for name in ('jacobians', 'grams'):
            folder = getattr(self, name)
            if folder is not None:
                if not isinstance(folder, (str, os.PathLike)):
                    raise ResefaError(f'{name} is {folder!r}, expected the path of a folder')
                object.__setattr__(self, name, pathlib.Path(folder))


@runtime_checkable
class Known(Protocol):
    """Knows the directions of any region, as an Atlas does."""

    def solve(self, viewpoint: Viewpoint, region: RegionPartition, solver: Solver | None = None,
              constraints: Constraints | None = None) -> RegionSolution:
        """The directions of a region.

        Args:
            viewpoint: a sample in the space that they are to be of.
            region: at the size of the generator's pictures.
            solver: of which tau and the number of directions count.
            constraints: what else they must satisfy.
        """

    def basis(self, regions: Sequence[RegionPartition]) -> tuple[NDArray[np.float64], dict[str, NDArray[np.int64]]]:
        """What the directions of regions are made of: orthonormal rows `[m, d]`, and by region which of them."""
