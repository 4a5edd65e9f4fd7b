"""What is wanted of a region beyond a change: something that can be measured, which directions are combined for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.regions.partition import RegionPartition


@runtime_checkable
class Objective(Protocol):
    """Makes one direction of those that change a region and leave the rest alone.

    Attributes:
        num_directions: so many of them it is given, or as many as there are.
        name: what is wanted, as files record it.
        label: what one sees when the strength grows.
    """

    num_directions: int
    name: str
    label: str

    def __call__(self, viewpoints: Sequence[Viewpoint], region: RegionPartition, offsets: Tensor) -> Tensor:
        """The direction that is wanted, `[d]`, of any length.

        Args:
            viewpoints: the sample, or some of a pool.
            region: what the directions change.
            offsets: `[k, d]` float32, the directions, each as long as strength 1.
        """
