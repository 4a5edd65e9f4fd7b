"""RegionResult: what a factorization gives for one region, and what callbacks found out about it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.factorizer.agreement import Agreement
from resefa_plugin.hooks.base import Sample
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.rayleigh.operators import DenseGrams
from resefa_plugin.regions.partition import RegionPartition

CALIBRATED = 4  # samples of a pool that the strength of its directions is measured on, at most


@dataclass(frozen=True)
class BackgroundRow:
    """One direction, straight and with the background kept. Changes are MSE on the [-1, 1] scale, of the pictures.

    Attributes:
        index: 1 for the first.
        strengths: that are compared, 0 left out.
        straight_inside, straight_outside: one for each strength, without correction.
        kept_inside, kept_outside: one for each strength, with it.
        sheet: pictures over strengths, without and with correction.
        shortfalls: what could not be kept, and at which strengths; a clause for each kind.
    """

    index: int
    strengths: Sequence[float]
    straight_inside: Sequence[float]
    straight_outside: Sequence[float]
    kept_inside: Sequence[float]
    kept_outside: Sequence[float]
    sheet: Image.Image
    shortfalls: Sequence[str] = ()


@dataclass
class RegionResult:
    """What came out for one region of one sample, or of a pool of samples.

    Callbacks read it, and put what they find into it for those that come after them.

    Attributes:
        viewpoints: where the derivative was taken; several for a pool.
        partition: the region.
        directions: what is saved, best direction first.
        eigenvalues: descending; the directions are the first ones of them.
        seconds: time of the steps: `jacobian` (shared by the regions of a sample), `solve`, `calibrate`.
        notes: sentences that a reader should know.
        agreement: of a pool, how well its directions serve each sample.
        transfer: of a pool, how much direction 1 of fewer samples leaks at the others: number of samples -> summed
            square change outside over that inside.
        background: the directions with their background kept; by BackgroundComparison.
        span: of a pool, rows `[k, d]` that more directions of the region may be combined of, and A and B in their
            coordinates.
    """

    viewpoints: tuple[Viewpoint, ...]
    partition: RegionPartition
    directions: DirectionSet
    eigenvalues: NDArray[np.float64]
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    agreement: tuple[Agreement, ...] = ()
    transfer: dict[int, float] = field(default_factory=dict)
    background: list[BackgroundRow] = field(default_factory=list)
    span: tuple[NDArray[np.float64], DenseGrams] | None = None

    def picture(self, index: int, strength: float = 1.0, sample: Sample | None = None) -> Image.Image:
        """The sample that the directions were found at, or another one, moved along direction `index`, from 1.

        Raises DirectionsError for a direction that there is not, or a strength that is not finite.
        """
        return self.directions.picture(self.viewpoint.hook, sample or self.viewpoint.sample, index, strength)

    def __repr__(self) -> str:
        return '\n'.join([f'{self.name}: {self.directions!r}', *(f'  {note}' for note in self.notes)])

    def _repr_html_(self) -> str:
        notes = ''.join(f'<br>{html.escape(note)}' for note in self.notes)
        return f'{self.directions._repr_html_()}{notes}'

    @property
    def viewpoint(self) -> Viewpoint:
        """Where the derivative was taken, the first one of a pool."""
        return self.viewpoints[0]

    @property
    def calibrated(self) -> tuple[Viewpoint, ...]:
        """Where the strength of the directions is measured: of a pool, some of its samples."""
        return looked_at(self.viewpoints)

    @property
    def source(self) -> str:
        """Where the directions come from: the sample's name, or `pooled`."""
        return self.viewpoint.sample.name if len(self.viewpoints) == 1 else 'pooled'

    @property
    def name(self) -> str:
        """Stem of the file names made from it: `seed0000-mouth`, `pooled-mouth`."""
        return f'{self.source}-{self.partition.name}'


def looked_at(viewpoints: Sequence[Viewpoint]) -> tuple[Viewpoint, ...]:
    """Some samples of a pool, spread over it, of which there are few enough to be rendered."""
    return tuple(viewpoints[::max(1, -(-len(viewpoints) // CALIBRATED))])
