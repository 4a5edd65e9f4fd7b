"""RegionResult: what a factorization gives for one region."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.factorizer.agreement import Agreement
from resefa_plugin.hooks.base import LatentSpace, Sample
from resefa_plugin.regions.partition import RegionPartition


@dataclass(frozen=True)
class RegionResult:
    """What came out for one region of one sample, or of a pool of samples.

    Attributes:
        samples: where the derivative was taken; several for a pool.
        space: the latent space of the directions.
        partition: the region.
        directions: what is saved, best direction first.
        eigenvalues: descending; the directions are the first ones of them.
        seconds: time of the steps: `jacobian` (shared by the regions of a sample), `solve`, `calibrate`.
        notes: sentences that a reader should know.
        agreement: of a pool, how well its directions serve each sample.
    """

    samples: tuple[Sample, ...]
    space: LatentSpace
    partition: RegionPartition
    directions: DirectionSet
    eigenvalues: np.ndarray
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    agreement: tuple[Agreement, ...] = ()

    @property
    def sample(self) -> Sample:
        """The sample, the first one of a pool."""
        return self.samples[0]

    @property
    def source(self) -> str:
        """Where the directions come from: the sample's name, or `pooled`."""
        return self.sample.name if len(self.samples) == 1 else 'pooled'

    @property
    def name(self) -> str:
        """Stem of the file names made from it: `seed0000-mouth`, `pooled-mouth`."""
        return f'{self.source}-{self.partition.name}'
