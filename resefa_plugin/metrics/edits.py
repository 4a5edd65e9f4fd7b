"""What a paired metric is, and what it looks at: originals, edits and the region."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from resefa_plugin.errors import MetricError
from resefa_plugin.regions.partition import RegionPartition


@dataclass(frozen=True, eq=False)
class Edits:
    """N edited pictures and what they were before.

    Attributes:
        original: `[N, C, H, W]` or `[1, C, H, W]`, one for all, in about [-1, 1].
        edited: `[N, C, H, W]`.
        partition: the region, at the size of the pictures.
        predicted_inside, predicted_outside: `[N]`, mean squared change by the Jacobian (Eq. 5 and 3), on the [-1, 1]
            scale: at the sample of a directions file, `predicted_inside * strength ** 2`. None where there is no
            prediction.

    Raises:
        MetricError: shapes that do not fit each other, or pictures with NaN or infinity.
    """

    original: Tensor
    edited: Tensor
    partition: RegionPartition
    predicted_inside: Tensor | None = None
    predicted_outside: Tensor | None = None

    def __post_init__(self) -> None:
        shape, count = tuple(self.edited.shape), len(self.edited)
        if len(shape) != 4 or tuple(self.original.shape) not in (shape, (1, *shape[1:])):
            raise MetricError(f'original has shape {list(self.original.shape)} and edited {list(shape)}, expected '
                              '[N or 1, C, H, W] and [N, C, H, W]')
        if self.partition.mask.shape != shape[2:]:
            raise MetricError(f"region '{self.partition.name}' is for pictures of {list(self.partition.mask.shape)}, "
                              f'the pictures are {list(shape[2:])}')
        if not (self.original.isfinite().all() and self.edited.isfinite().all()):
            raise MetricError('a picture contains NaN or infinity, so that nothing can be measured on it')
        for name in ('predicted_inside', 'predicted_outside'):
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != (count,):
                raise MetricError(f'{name} has shape {list(value.shape)}, expected [{count}], one number per edited '
                                  'picture')

    @property
    def change(self) -> Tensor:
        """Differences `[N, C, H, W]`."""
        return self.edited - self.original


class PairMetric(abc.ABC):
    """Compares edits with their originals.

    Attributes:
        keys: names of the figures that a call returns.
    """

    keys: ClassVar[tuple[str, ...]]

    @abc.abstractmethod
    def __call__(self, edits: Edits) -> dict[str, Tensor]:
        """`[N]` float64 in main memory for each of `keys`."""


def averages(maps: Tensor, partition: RegionPartition) -> tuple[Tensor, Tensor]:
    """Means of maps `[N, H, W]` over the region and over the rest, `[N]` float64 each."""
    mask = torch.tensor(partition.mask, device=maps.device)
    maps = maps.double()
    return maps[:, mask].mean(dim=1), maps[:, ~mask].mean(dim=1)
