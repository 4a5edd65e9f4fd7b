"""Factorizer owns the loop over samples and regions; a Callback hangs pictures, progress and reports into it."""

from __future__ import annotations

import math
import pathlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from resefa_plugin.directions import DirectionMetadata, DirectionSet
from resefa_plugin.editing import Calibration, calibrate
from resefa_plugin.errors import RegionError, SolverError
from resefa_plugin.hooks.base import GeneratorHook, LatentSpace, Sample
from resefa_plugin.jacobian import RegionJacobian
from resefa_plugin.probe import probe
from resefa_plugin.rayleigh import SOLVERS, RayleighSolution, solve_rayleigh
from resefa_plugin.regions import RegionPartition

NOTHING = 1e-10  # of the first eigenvalue: a direction below it does not change the region, but for rounding
SPECTRUM = 20  # eigenvalues to know, so that a reader sees how quickly they fall


@dataclass(frozen=True)
class RegionResult:
    """What came out for one region of one sample.

    Attributes:
        sample: where the derivative was taken.
        space: the latent space of the directions.
        partition: the region.
        directions: what is saved, best direction first.
        eigenvalues: descending, 20 or more if there are as many: the directions end somewhere among them.
        seconds: time of the steps: `jacobian` (shared by the regions of a sample), `solve`, `calibrate`.
    """

    sample: Sample
    space: LatentSpace
    partition: RegionPartition
    directions: DirectionSet
    eigenvalues: np.ndarray
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Stem of the file names made from it: `seed0000-mouth`."""
        return f'{self.sample.name}-{self.partition.name}'


class Callback:
    """Hooks of the loop; override those that are needed. Called in the order of the list that Factorizer was given."""

    def on_run_start(self, factorizer: Factorizer, samples: Sequence[Sample], regions: Sequence[RegionPartition]) -> None:
        """Before anything is computed."""

    def on_sample_start(self, factorizer: Factorizer, sample: Sample, jacobian: RegionJacobian) -> None:
        """Before the Jacobian of a sample."""

    def on_tangents(self, factorizer: Factorizer, sample: Sample, count: int) -> None:
        """After each chunk of `count` columns of the Jacobian."""

    def on_jacobian_end(self, factorizer: Factorizer, sample: Sample, jacobian: RegionJacobian) -> None:
        """After the Jacobian of a sample."""

    def on_region_start(self, factorizer: Factorizer, sample: Sample, region: RegionPartition, num_directions: int) -> None:
        """After a region is solved, before the strength of its directions is measured."""

    def on_direction(self, factorizer: Factorizer, sample: Sample, region: RegionPartition) -> None:
        """After the strength of each direction is measured."""

    def on_region_end(self, factorizer: Factorizer, result: RegionResult) -> None:
        """After each region of each sample."""

    def on_run_end(self, factorizer: Factorizer, results: Sequence[RegionResult]) -> None:
        """After everything."""

    def on_exception(self, factorizer: Factorizer, error: BaseException) -> None:
        """When the run ends early, by an error or Ctrl-C, before the exception goes on."""


class Factorizer:
    """Finds directions of a latent space that change a region of a picture and leave the rest alone.

    For each sample: probe the generator, compute the Jacobian once, solve the Rayleigh quotient of each region
    (Eq. 7 to 12), and calibrate each direction so that strength 1 means the same change everywhere.

    Args:
        hook: the generator.
        space: the latent space to factorize: one of `hook.space_names`.
        layers: the layers that the offset acts on; None for all.
        num_directions: directions to keep per region; fewer where the region has not so many that change it.
        tau: ridge of Eq. 11, relative to tr(B).
        solver: `auto`, `dense` or `woodbury`.
        resolution: longer side of the picture that is differentiated, after box averaging; None for min(256, picture).
        jacobian_dir: a folder to keep Jacobians in and to find them again; None keeps none.
        command: the command line, for the record in the files.
        callbacks: what happens along the way.

    Raises:
        ResefaError: no such space or layers.
        SolverError: tau, solver or num_directions out of range.
    """

    def __init__(self, hook: GeneratorHook, space: str = 'w', layers: tuple[int, ...] | None = None, *, num_directions: int = 5,
                 tau: float = 1e-3, solver: str = 'auto', resolution: int | None = None,
                 jacobian_dir: str | pathlib.Path | None = None, command: str = '', callbacks: Iterable[Callback] = ()):
        if num_directions < 1:
            raise SolverError(f'num_directions is {num_directions}, expected 1 or more')
        if not (math.isfinite(tau) and tau >= 0):
            raise SolverError(f'tau is {tau}, expected a finite number of at least 0 (1e-3 is the paper\'s)')
        if solver not in ('auto', *SOLVERS):
            raise SolverError(f"solver '{solver}' is not one of auto, {', '.join(SOLVERS)}")
        self.hook, self.space = hook, hook.space(space, layers)
        self.num_directions = min(num_directions, self.space.dim)
        self.tau, self.solver, self.resolution = tau, solver, resolution
        self.jacobian_dir, self.command, self.callbacks = jacobian_dir, command, list(callbacks)

    def run(self, samples: Sequence[Sample], regions: Sequence[RegionPartition]) -> list[RegionResult]:
        """Factorizes every region at every sample; returns the results, sample by sample.

        Raises:
            RegionError: two regions of one name, or of another size than the pictures.
            ProbeError: the generator's derivatives cannot be trusted.
            SolverError: a quotient has no answer.
        """
        names = [region.name for region in regions]
        for region in regions:
            if names.count(region.name) > 1:
                raise RegionError(f"two regions are named '{region.name}': name one of them, as in NAME=SPEC")
            if region.mask.shape != tuple(self.hook.image_shape[1:]):
                raise RegionError(f"region '{region.name}' is for pictures of {list(region.mask.shape)}, "
                                  f'but {self.hook.name} makes {list(self.hook.image_shape[1:])}')
        try:
            self._call('on_run_start', samples, regions)
            results = [result for sample in samples for result in self._run_sample(sample, regions)]
            self._call('on_run_end', results)
        except BaseException as error:
            self._call('on_exception', error)
            raise
        return results

    def _call(self, event: str, *args) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *args)

    def _run_sample(self, sample: Sample, regions: Sequence[RegionPartition]) -> list[RegionResult]:
        jacobian = RegionJacobian(self.hook, self.space, sample, self.resolution)
        for region in regions:
            region.at(*jacobian.image_shape[1:])  # a region that vanishes there is better known before the long part
        self._call('on_sample_start', sample, jacobian)
        probe(self.hook, self.space, sample, jacobian.resolution)
        start = time.perf_counter()
        jacobian.compute(lambda count: self._call('on_tangents', sample, count), self.jacobian_dir)
        seconds = time.perf_counter() - start
        self._call('on_jacobian_end', sample, jacobian)
        results = []
        for region in regions:
            result = self._run_region(sample, region, jacobian, seconds)
            results.append(result)
            self._call('on_region_end', result)
        return results

    def _run_region(self, sample: Sample, region: RegionPartition, jacobian: RegionJacobian, seconds: float) -> RegionResult:
        start = time.perf_counter()
        gram = jacobian.gram(region)
        solution = solve_rayleigh(*gram, min(self.space.dim, max(self.num_directions, SPECTRUM)), tau=self.tau, solver=self.solver)
        solved = time.perf_counter()
        k = min(self.num_directions, int((solution.eigenvalues > NOTHING * solution.eigenvalues[0]).sum()))
        self._call('on_region_start', sample, region, k)
        calibration = calibrate(self.space, sample, region, solution.directions[:k], gram, jacobian.image_shape,
                                lambda: self._call('on_direction', sample, region))
        calibrated = time.perf_counter()
        directions = self.direction_set(sample, region, jacobian, solution, calibration)
        return RegionResult(sample, self.space, region, directions, solution.eigenvalues,
                            {'jacobian': seconds, 'solve': solved - start, 'calibrate': calibrated - solved})

    def _extra(self, sample: Sample) -> dict[str, object]:
        """What computed the pictures, and the weights of the sample's classes by number."""
        extra: dict[str, object] = {'implementation': self.hook.implementation}
        if sample.c is not None:
            weights = sample.c[0].tolist()
            extra['class'] = {str(number): weight for number, weight in enumerate(weights) if weight}
        return extra

    def direction_set(self, sample: Sample, region: RegionPartition, jacobian: RegionJacobian, solution: RayleighSolution,
                      calibration: Calibration) -> DirectionSet:
        """What is saved of a region: as many of the solution's directions as were calibrated, and where they come from."""
        k = len(calibration.step)
        metadata = DirectionMetadata(
            network=self.hook.name, network_sha256=self.hook.sha256, image_shape=self.hook.image_shape,
            space=self.space.name, layers=self.space.layers, num_ws=self.hook.num_ws, region=region.name,
            seeds=() if sample.seed is None else (sample.seed,), truncation_psi=sample.truncation_psi,
            truncation_cutoff=sample.truncation_cutoff, resolution=jacobian.resolution, tau=self.tau,
            ridge=solution.ridge, solver=solution.solver, command=self.command, extra=self._extra(sample))
        return DirectionSet(
            directions=solution.directions[:k].astype(np.float32), eigenvalues=solution.eigenvalues[:k],
            residuals=solution.residuals[:k], mask=region.mask, latent=self.space.latent(sample).float().cpu().numpy(),
            step=calibration.step, predicted_inside=calibration.predicted_inside,
            predicted_outside=calibration.predicted_outside, measured_inside=calibration.measured_inside,
            measured_outside=calibration.measured_outside, metadata=metadata)
