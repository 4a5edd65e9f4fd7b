"""What a method is given, what it gives back, and the Jacobians that methods share."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.base import GeneratorHook, LatentSpace, Sample
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import MAX_CHUNK, RegionJacobian, tangent_seconds
from resefa_plugin.rayleigh.operators import DenseGrams
from resefa_plugin.regions.partition import RegionPartition

T = TypeVar('T')
Combine = Callable[[Sequence[Viewpoint], RegionPartition, NDArray[np.float64], DenseGrams | None], NDArray[np.float64]]


class MethodError(ResefaError):
    """A method that has nothing to offer for this generator, space or region; a comparison says so in its row."""


class JacobianStore:
    """Jacobians by sample and layers, each computed once and timed.

    Args:
        hook: the generator.
        space: name of the space that is differentiated.
        resolution: longer side of the differentiated picture; None means the default.
        folder: where Jacobians are kept, or found from an earlier run; None where they are not kept.
    """

    def __init__(self, hook: GeneratorHook, space: str, resolution: int | None = None,
                 folder: str | pathlib.Path | None = None):
        self.hook, self.space_name, self.resolution, self.folder = hook, space, resolution, folder
        self._once: dict[Hashable, Any] = {}
        self._kept: dict[Hashable, tuple[RegionJacobian, float, bool]] = {}

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """What `compute` returned when it was first called with this key, for what a method shares between problems."""
        if key not in self._once:
            self._once[key] = compute()
        result: T = self._once[key]
        return result

    def get(self, sample: Sample, layers: tuple[int, ...] | None = None) -> tuple[RegionJacobian, float, bool]:
        """The computed Jacobian, the seconds that it takes, and whether those are extrapolated.

        A Jacobian that was found in the folder is timed on one chunk of tangents and extrapolated to all.
        """
        key = (sample.name, layers)
        if key not in self._kept:
            space = self.hook.space(self.space_name, layers)
            jacobian = RegionJacobian(Viewpoint(self.hook, space, sample, self.resolution))
            chunks: list[int] = []
            start = time.perf_counter()
            jacobian.compute(chunks.append, self.folder)
            seconds = time.perf_counter() - start
            found = chunks == [jacobian.viewpoint.dim] and jacobian.viewpoint.dim > MAX_CHUNK
            if found:
                seconds = tangent_seconds(jacobian) * jacobian.viewpoint.dim
            self._kept[key] = jacobian, seconds, found
        return self._kept[key]


@dataclass(frozen=True)
class Problem:
    """The question that every method is asked.

    Attributes:
        hook: the generator.
        space: name of the latent space, for the methods that may choose one.
        sample: where derivatives are taken, for the methods that take some.
        region: what shall change.
        num_directions: directions to return at most.
        jacobians: those of `space`.
        layers: layers that the user restricts the method to; None leaves it to the method.
        attribute: what is looked for in the region, as it is named to the user; empty for nothing special.
        pool: samples that no edit is measured on, for the methods that look at several.
        regions: of all problems of a comparison, for what is computed once for them; no region for this one alone.
        combine: `(viewpoints, region, span [k, d], grams)` -> `[d]`, the combination of rows that moves the attribute
            most for what it changes outside; None where no attribute is looked for.
    """

    hook: GeneratorHook
    space: str
    sample: Sample
    region: RegionPartition
    num_directions: int
    jacobians: JacobianStore
    layers: tuple[int, ...] | None = None
    attribute: str = ''
    pool: tuple[Sample, ...] = ()
    regions: tuple[RegionPartition, ...] = ()
    combine: Combine | None = None

    def viewpoint(self, space: LatentSpace) -> Viewpoint:
        """The sample in a space, at the resolution of the Jacobians."""
        return Viewpoint(self.hook, space, self.sample, self.jacobians.resolution)

    @property
    def key(self) -> tuple[Hashable, ...]:
        """Sample, region, layers and number of directions: equal where only the name or the attribute differs."""
        return self.sample.name, self.region.mask.tobytes(), self.layers, self.num_directions


@dataclass(frozen=True)
class MethodResult:
    """Directions of one method.

    Attributes:
        directions: `[k, d]` float32, unit rows, in the method's own order, best first.
        space: the latent space of their coordinates, in which they are edited.
        seconds: wall clock of the method's own stages.
        extrapolated: stages whose seconds are scaled up from a part that was timed.
        note: what a reader of the row must know; may be empty.
    """

    directions: np.ndarray
    space: LatentSpace
    seconds: dict[str, float] = field(default_factory=dict)
    extrapolated: tuple[str, ...] = ()
    note: str = ''

    @classmethod
    def of(cls, directions: np.ndarray, space: LatentSpace, seconds: dict[str, float],
           extrapolated: tuple[str, ...] = (), note: str = '') -> MethodResult:
        """Scales the rows to unit length.

        Raises MethodError for rows of another length than `space.dim`, zeros and NaN.
        """
        lengths = np.linalg.norm(directions, axis=1, keepdims=True)
        fits = len(directions) > 0 and directions.shape[1] == space.dim
        if not (fits and np.isfinite(lengths).all() and lengths.all()):
            raise MethodError(f"directions {list(directions.shape)} for space '{space.name}' of {space.dim} "
                              'dimensions: expected finite rows of that length other than zero')
        return cls((directions / lengths).astype(np.float32), space, seconds, extrapolated, note)
