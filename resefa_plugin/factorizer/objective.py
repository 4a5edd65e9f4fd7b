"""What is wanted of a region beyond a change: something that can be measured, which directions are combined for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.rayleigh.operators import DenseGrams
from resefa_plugin.regions.partition import RegionPartition


@runtime_checkable
class Objective(Protocol):
    """Makes one direction of those that change a region and leave the rest alone.

    Attributes:
        num_directions: of the quotient; so many it is given where there is nothing else to combine.
        name: what is wanted, as files record it.
        label: what one sees when the strength grows.
    """

    num_directions: int
    name: str
    label: str

    def __call__(self, viewpoints: Sequence[Viewpoint], region: RegionPartition, span: NDArray[np.float64],
                 grams: DenseGrams) -> NDArray[np.float64]:
        """The direction that is wanted, `[d]`, of any length.

        Args:
            viewpoints: the sample, or those of a pool.
            region: what the direction is to change.
            span: `[k, d]` float64, linearly independent rows that it is made of.
            grams: A and B of the region in the coordinates of these rows.
        """
