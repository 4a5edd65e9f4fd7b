"""Factorizer owns the loop over samples and regions; a Callback hangs pictures, progress and reports into it."""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.directions.metadata import DirectionMetadata
from resefa_plugin.editing.strength import calibrate, slopes, uncalibrated
from resefa_plugin.errors import RegionError, ResefaError, SolverError
from resefa_plugin.factorizer.agreement import Agreement, agreement, describe
from resefa_plugin.factorizer.callback import Callback
from resefa_plugin.factorizer.gram_store import GramStore
from resefa_plugin.factorizer.protection import Protection, background_weights, reached, without
from resefa_plugin.factorizer.results import RegionResult
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.jacobian.probe import probe
from resefa_plugin.jacobian.region_jacobian import RegionJacobian, default_resolution
from resefa_plugin.jacobian.region_operator import RegionOperator
from resefa_plugin.jacobian.sharded import ShardedJacobian
from resefa_plugin.machine.ranks import Ranks
from resefa_plugin.rayleigh.coordinates import Coordinates
from resefa_plugin.rayleigh.lobpcg import solve_lobpcg
from resefa_plugin.rayleigh.operators import DenseGrams, FactoredGrams
from resefa_plugin.rayleigh.solution import RayleighSolution
from resefa_plugin.rayleigh.solve import SOLVERS, solve_rayleigh
from resefa_plugin.regions.partition import RegionPartition

NORMS = ('identity', 'covariance')
NOTHING = 1e-10  # of the first eigenvalue: a direction below it does not change the region, but for rounding
SPECTRUM = 20  # eigenvalues to know, so that a reader sees how quickly they fall
DENSE_LIMIT = 2048  # dimensions beyond which the whole Jacobian is hours on a CPU and gigabytes
# Measured on the demo generator, in tangents of a Jacobian: what a matrix-free answer to QUICK_TOLERANCE takes for a
# region, in any space. See benchmarks/README.md.
QUICK_TANGENTS = 275
TOLERANCE, QUICK_TOLERANCE = 1e-3, 1e-2  # of residuals; eigenvalues are as good as their squares
CALIBRATED = 4  # samples of a pool that the strength of its directions is measured on, at most


@dataclass(frozen=True)
class _Found:
    """What one region of one sample gave before its strengths are known."""

    grams: DenseGrams | FactoredGrams
    solution: RayleighSolution
    predicted: tuple[np.ndarray, np.ndarray] | None  # change in and out for a step of 1; not of a pool's samples
    seconds: dict[str, float]
    path: pathlib.Path | None  # where the Gram matrices are kept


class Factorizer:
    """Finds directions of a latent space that change a region of a picture and leave the rest alone.

    For each sample: probe the generator, compute the Jacobian once, or products with it where that is cheaper, solve the
    Rayleigh quotient of each region (Eq. 7 to 12), and calibrate each direction so that strength 1 means the same change
    everywhere.

    Args:
        hook: the generator.
        space: the latent space to factorize: one of `hook.space_names`.
        layers: the layers that the offset acts on; None for all.
        num_directions: directions to keep per region; fewer where the region has not so many that change it.
        tau: ridge of Eq. 11, relative to tr(B).
        solver: `dense` and `woodbury` need the whole Jacobian, `lobpcg` does without; `auto` is dense up to 2048 dimensions.
        quick: with solver `auto`, do without the Jacobian wherever that is faster, to a residual of 1e-2.
        resolution: longer side of the picture that is differentiated, after box averaging; None for min(256, picture).
        jacobian_dir: a folder to keep Jacobians in and to find them again; None keeps none.
        pool: one set of directions per region for all samples, from the mean of their Gram matrices (each over its tr(B)).
        gram_dir: a folder in which a pool keeps the Gram matrices of each sample, to go on with after it was stopped.
        protect: regions to leave still, beyond their part in the background.
        orthogonal_to: `[m, d]`, directions that the results shall be orthogonal to; None for none.
        norm: `identity` is the ridge of Eq. 10; `covariance` takes the latents' own spread in place of I: see Coordinates.
        ranks: the processes of this run. Only rank 0 calls callbacks and returns results.
        command: the command line, for the record in the files.
        callbacks: what happens along the way.

    Raises:
        ResefaError: no such space or layers, or options that exclude each other.
        SolverError: tau, solver or num_directions out of range.
    """

    def __init__(self, hook: GeneratorHook, space: str = 'w', layers: tuple[int, ...] | None = None, *, num_directions: int = 5,
                 tau: float = 1e-3, solver: str = 'auto', quick: bool = False, resolution: int | None = None,
                 jacobian_dir: str | pathlib.Path | None = None, pool: bool = False, gram_dir: str | pathlib.Path | None = None,
                 protect: Sequence[Protection] = (), orthogonal_to: np.ndarray | None = None, norm: str = 'identity',
                 ranks: Ranks | None = None, command: str = '', callbacks: Iterable[Callback] = ()):
        if num_directions < 1:
            raise SolverError(f'num_directions is {num_directions}, expected 1 or more')
        if not (math.isfinite(tau) and tau >= 0):
            raise SolverError(f'tau is {tau}, expected a finite number of at least 0 (1e-3 is the paper\'s)')
        if solver not in ('auto', *SOLVERS):
            raise SolverError(f"solver '{solver}' is not one of auto, {', '.join(SOLVERS)}")
        if quick and solver != 'auto':
            raise SolverError(f"quick chooses the solver, so that solver '{solver}' cannot be given too: leave one of them out")
        if norm not in NORMS:
            raise SolverError(f"norm '{norm}' is not one of {', '.join(NORMS)}")
        if pool and any(math.isinf(protection.weight) for protection in protect):
            raise ResefaError('a protected region of infinite weight leaves another set of directions to each sample, which cannot be '
                              'pooled: give a finite weight, such as 100, or do not pool')
        self.hook, self.space = hook, hook.space(space, layers)
        self.num_directions = min(num_directions, self.space.dim)
        self.tau, self.solver, self.quick, self.resolution = tau, solver, quick, resolution
        self.jacobian_dir, self.pool, self.gram_dir = jacobian_dir, pool, None if gram_dir is None else pathlib.Path(gram_dir)
        self.protect, self.orthogonal_to, self.norm = tuple(protect), orthogonal_to, norm
        self.ranks, self.command, self.callbacks = ranks or Ranks(), command, list(callbacks)

    def choose_solver(self, num_regions: int) -> str:
        """What solver `auto` stands for with so many regions per sample: `dense`, or `lobpcg` where that is cheaper."""
        if self.solver != 'auto':
            return self.solver
        affordable = num_regions * QUICK_TANGENTS if self.quick else DENSE_LIMIT
        return 'dense' if self.space.dim <= affordable or self.tau == 0 else 'lobpcg'

    def run(self, samples: Sequence[Sample], regions: Sequence[RegionPartition]) -> list[RegionResult]:
        """Factorizes every region at every sample, or at the pool of them; returns the results, sample by sample.

        Raises:
            RegionError: two regions of one name, or of another size than the pictures, or wholly protected.
            ProbeError: the generator's derivatives cannot be trusted.
            SolverError: a quotient has no answer.
        """
        run = self._pooled if self.pool else self._each
        return self._guarded(samples, regions, lambda kept: run(samples, kept))

    def _guarded(self, samples, regions, steps: Callable[[Sequence[RegionPartition]], Iterable]) -> list:
        names = [region.name for region in regions]
        for region in [*regions, *(protection.region for protection in self.protect)]:
            if names.count(region.name) > 1:
                raise RegionError(f"two regions are named '{region.name}': name one of them, as in NAME=SPEC")
            if region.mask.shape != tuple(self.hook.image_shape[1:]):
                raise RegionError(f"region '{region.name}' is for pictures of {list(region.mask.shape)}, "
                                  f'but {self.hook.name} makes {list(self.hook.image_shape[1:])}')
        regions = [without(region, self.protect) for region in regions]
        try:
            self._call('on_run_start', samples, regions)
            results = []
            for result in steps(regions):
                results.append(result)
                if isinstance(result, RegionResult):
                    self._call('on_region_end', result)
            self._call('on_run_end', results)
        except BaseException as error:
            self._call('on_exception', error)
            raise
        return results

    def _call(self, event: str, *args) -> None:
        if self.ranks.first:
            for callback in self.callbacks:
                getattr(callback, event)(self, *args)

    def _each(self, samples: Sequence[Sample], regions: Sequence[RegionPartition]) -> Iterator[RegionResult]:
        for sample, found in self._found(samples, regions, GramStore(None)):
            for region, one in zip(regions, found):
                yield self._result((sample,), region, one.solution, one.predicted, one.seconds)

    def _pooled(self, samples: Sequence[Sample], regions: Sequence[RegionPartition]) -> Iterator[RegionResult]:
        found = [found for _, found in self._found(samples, regions, self._store(regions))]
        for region, founds in zip(regions, zip(*found)):
            start = time.perf_counter()
            grams = [one.grams for one in founds]
            solution = self._solve(type(grams[0]).pooled(grams), self._coordinates(samples[0], None))
            k = self.num_directions
            rows = tuple(agreement(sample.name, one.grams, one.solution.directions[:k], solution.directions[:k], self.tau)
                         for sample, one in zip(samples, founds) if len(samples) > 1)
            seconds = {'jacobian': sum(one.seconds.get('jacobian', 0) for one in founds), 'solve': time.perf_counter() - start}
            yield self._result(tuple(samples), region, solution, None, seconds, rows)

    def collect(self, samples: Sequence[Sample], regions: Sequence[RegionPartition]) -> None:
        """The part of a pooled run that takes long: keeps the Gram matrices of each sample in `gram_dir`, and solves nothing.

        Several runs may collect samples of one pool; a run of all of them then finds them there.
        """
        if not self.pool or self.gram_dir is None:
            raise ResefaError('collect is for a pool whose Gram matrices are kept: give pool=True and a gram_dir')
        self._guarded(samples, regions, lambda kept: self._found(samples, kept, self._store(kept)))

    def _store(self, regions: Sequence[RegionPartition]) -> GramStore:
        settings: list[object] = []  # matrices of a whole Jacobian depend on nothing else than it and the pixels
        if self.choose_solver(len(regions)) == 'lobpcg':
            settings += ['searched', self.quick, self.tau, self.num_directions, self.norm]
            if self.orthogonal_to is not None:
                settings.append(np.asarray(self.orthogonal_to, np.float32).tobytes().hex())
        return GramStore(self.gram_dir, repr(settings))

    def _found(self, samples: Sequence[Sample], regions: Sequence[RegionPartition],
               store: GramStore) -> Iterator[tuple[Sample, list[_Found]]]:
        """Each sample with what its regions gave, on rank 0. As many samples at a time as there are ranks; the last ones,
        if they are fewer, one by one with their tangents shared out."""
        size = self.ranks.size
        whole = len(samples) // size * size if size > 1 else 0
        for start in range(0, whole, size):
            batch = samples[start:start + size]
            gathered = self.ranks.gather(self._sample(batch[self.ranks.rank], regions, Ranks(), store))
            for sample, found in zip(batch, gathered or []):
                yield sample, self._kept(found)
        for sample in samples[whole:]:
            found = self._sample(sample, regions, self.ranks, store)
            if self.ranks.first:
                yield sample, self._kept(found)

    @staticmethod
    def _kept(found: list[_Found]) -> list[_Found]:
        for one in found:
            if one.path is not None and not one.path.exists():
                GramStore.save(one.path, one.grams)
        return found

    def _sample(self, sample: Sample, regions: Sequence[RegionPartition], ranks: Ranks, store: GramStore) -> list[_Found]:
        make = RegionJacobian if ranks.size == 1 else functools.partial(ShardedJacobian, ranks)
        jacobian = make(self.hook, self.space, sample, self.resolution)
        for region in regions:
            region.at(*jacobian.image_shape[1:])  # a region that vanishes there is better known before the long part
        self._call('on_sample_start', sample, jacobian)
        paths = [store.path(jacobian, region, self.protect) for region in regions]
        kept = [store.load(path) for path in paths]
        seconds = 0.0
        if not ranks.least(all(kept), self.hook.device):
            probe(self.hook, self.space, sample, jacobian.resolution)
            start = time.perf_counter()
            # Samples of a pool are all of one kind.
            if self.choose_solver(len(regions)) != 'lobpcg' or self.quick and not self.pool and jacobian.is_kept(self.jacobian_dir):
                jacobian.compute(lambda count: self._call('on_tangents', sample, count), self.jacobian_dir)
            seconds, kept = time.perf_counter() - start, [None] * len(regions)
        self._call('on_jacobian_end', sample, jacobian)
        return [self._region(sample, region, jacobian, ranks, path, seconds) if grams is None
                else _Found(grams, self._solve(grams, self._coordinates(sample, None)), None, {}, path)
                for region, path, grams in zip(regions, paths, kept)]

    def _region(self, sample: Sample, region: RegionPartition, jacobian: RegionJacobian, ranks: Ranks, path: pathlib.Path | None,
                seconds: float) -> _Found:
        start = time.perf_counter()
        shape = jacobian.image_shape[1:]
        coordinates, weights = self._coordinates(sample, jacobian), background_weights(region, self.protect, *shape)
        if jacobian.computed:
            A, B = jacobian.gram(region)
            background, plain = float(B.trace()), DenseGrams(A.cpu().numpy(), B.cpu().numpy(), 0.0)
            for weight in np.unique(weights[(weights != 0) & (weights != 1)]):
                B = B + (float(weight) - 1) * jacobian.product(weights == weight)
            grams = DenseGrams(plain.A, B.cpu().numpy(), background)
            solution = self._solve(grams, coordinates)
        else:
            solution = solve_lobpcg(RegionOperator(jacobian, region.at(*shape), weights, ranks), self.num_directions, tau=self.tau,
                                    tolerance=QUICK_TOLERANCE if self.quick else TOLERANCE, coordinates=coordinates,
                                    progress=lambda *state: self._call('on_columns', sample, region, *state))
            plain, grams = None, solution.search.grams
        solved = time.perf_counter()
        predicted = None if self.pool else self._predict(jacobian, region, solution.directions[:self.num_directions], plain)
        return _Found(grams, solution, predicted, {'jacobian': seconds, 'solve': solved - start}, path)

    @staticmethod
    def _predict(jacobian: RegionJacobian, region: RegionPartition, directions: np.ndarray,
                 grams: DenseGrams | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The `slopes` of directions; from A and B without weights where they are known, which takes no pass of the network."""
        if grams is not None:
            channels, height, width = jacobian.image_shape
            pixels = int(region.at(height, width).sum())
            inside, outside = grams.quadratics(directions)
            return inside / (channels * pixels), outside / (channels * (height * width - pixels))
        return slopes(jacobian.jvp(torch.from_numpy(directions)), region)

    def _solve(self, grams: DenseGrams | FactoredGrams, coordinates: Coordinates | None) -> RayleighSolution:
        if isinstance(grams, FactoredGrams):
            return solve_lobpcg(grams, self.num_directions, tau=self.tau, coordinates=coordinates)
        solver = 'dense' if self.solver == 'auto' else self.solver
        trace = None if grams.whole else grams.trace(coordinates)
        return solve_rayleigh(grams.A, grams.B, min(self.space.dim, max(self.num_directions, SPECTRUM)), tau=self.tau, solver=solver,
                              trace=trace, coordinates=coordinates)

    def _coordinates(self, sample: Sample, jacobian: RegionJacobian | None) -> Coordinates | None:
        """Of the norm, and without what is excluded; `jacobian` tells what reaches protected regions."""
        excluded = [] if self.orthogonal_to is None else [self.orthogonal_to]
        rows = None if jacobian is None else reached(jacobian, self.protect)
        if rows is not None:
            excluded.append(rows)
        return Coordinates.of(self.space.dim, self.space.covariance(sample) if self.norm == 'covariance' else None,
                              np.concatenate(excluded) if excluded else None)

    def _result(self, samples: tuple[Sample, ...], region: RegionPartition, solution: RayleighSolution,
                predicted: tuple[np.ndarray, np.ndarray] | None, seconds: dict[str, float],
                rows: tuple[Agreement, ...] = ()) -> RegionResult:
        k = self._count(solution)
        self._call('on_region_start', samples[0], region, k)
        start = time.perf_counter()
        chosen = samples[::max(1, math.ceil(len(samples) / CALIBRATED))]
        if predicted is None:
            each = [self._predict(RegionJacobian(self.hook, self.space, sample, self.resolution), region, solution.directions[:k])
                    for sample in chosen]
            predicted = tuple(np.mean(parts, axis=0) for parts in zip(*each))
        calibration = calibrate(self.space, chosen, region, solution.directions[:k], tuple(part[:k] for part in predicted),
                                lambda: self._call('on_direction', samples[0], region))
        directions = self._direction_set(samples, region, solution, calibration, rows)
        notes = [describe(rows)] if rows else []
        if solution.search is not None and not rows:
            notes.append(_tell(solution))
        return RegionResult(samples, self.space, region, directions, solution.eigenvalues,
                            seconds | {'calibrate': time.perf_counter() - start}, tuple(notes), rows)

    def find(self, sample: Sample, region: RegionPartition, jacobian: RegionJacobian) -> tuple[DirectionSet, tuple[np.ndarray, np.ndarray]]:
        """The directions of one region at one sample, before anything of them is rendered.

        Args:
            jacobian: of this sample, space and resolution. Where it is not computed, it is done without.

        Returns: the directions, whose `measured_*` repeat what is predicted, and their `slopes`, as `calibrate` takes them.

        Raises RegionError and SolverError as `run` does.
        """
        region = without(region, self.protect)
        found = self._region(sample, region, jacobian, Ranks(), None, 0.0)
        predicted = tuple(part[:self._count(found.solution)] for part in found.predicted)
        return self._direction_set((sample,), region, found.solution, uncalibrated(predicted), ()), predicted

    def _count(self, solution: RayleighSolution) -> int:
        """How many directions are worth keeping."""
        return min(self.num_directions, int((solution.eigenvalues > NOTHING * solution.eigenvalues[0]).sum()))

    def _extra(self, samples: tuple[Sample, ...], solution: RayleighSolution, rows: tuple[Agreement, ...]) -> dict[str, object]:
        """What a reader of the file may want to know besides: where the pictures are from, and options that were taken."""
        extra: dict[str, object] = {'implementation': self.hook.implementation}
        if samples[0].c is not None:
            weights = samples[0].c[0].tolist()
            extra['class'] = {str(number): weight for number, weight in enumerate(weights) if weight}
        if rows:
            extra['pooled'] = [dataclasses.asdict(row) for row in rows]
        if solution.search is not None:
            search = solution.search
            extra['search'] = {'columns': search.columns, 'converged': search.converged, 'trace_error': search.trace_error}
        if self.protect:
            extra['protect'] = [str(protection) for protection in self.protect]
        if self.orthogonal_to is not None:
            extra['orthogonal_to'] = len(self.orthogonal_to)
        if self.norm != 'identity':
            extra['norm'] = self.norm
        return extra

    def _direction_set(self, samples, region, solution: RayleighSolution, calibration, rows) -> DirectionSet:
        k, first = len(calibration.step), samples[0]
        resolution = default_resolution(self.hook.image_shape) if self.resolution is None else self.resolution
        metadata = DirectionMetadata(
            network=self.hook.name, network_sha256=self.hook.sha256, image_shape=self.hook.image_shape,
            space=self.space.name, layers=self.space.layers, num_ws=self.hook.num_ws, region=region.name,
            seeds=tuple(sample.seed for sample in samples if sample.seed is not None), truncation_psi=first.truncation_psi,
            truncation_cutoff=first.truncation_cutoff, resolution=resolution, tau=self.tau,
            ridge=solution.ridge, solver=solution.solver, command=self.command, extra=self._extra(samples, solution, rows))
        return DirectionSet(
            directions=solution.directions[:k].astype(np.float32), eigenvalues=solution.eigenvalues[:k],
            residuals=solution.residuals[:k], mask=region.mask, latent=self.space.latent(first).float().cpu().numpy(),
            step=calibration.step, predicted_inside=calibration.predicted_inside,
            predicted_outside=calibration.predicted_outside, measured_inside=calibration.measured_inside,
            measured_outside=calibration.measured_outside, metadata=metadata)


def describe_choice(factorizer: Factorizer, num_regions: int) -> str:
    """Which way a run will go, and why, as a line for the user."""
    d, solver = factorizer.space.dim, factorizer.choose_solver(num_regions)
    name = f"space '{factorizer.space.name}' has {d} dimensions"
    if factorizer.solver != 'auto' or not (factorizer.quick or solver == 'lobpcg'):
        return f'{name}; solver {solver}'
    searched = f'{num_regions} region{"s" if num_regions > 1 else ""} without the Jacobian take{"" if num_regions > 1 else "s"} about ' \
               f'{num_regions * QUICK_TANGENTS} tangents'
    return f'{name}, so that its Jacobian takes {d} tangents; {searched}: ' + (
        'the Jacobian is computed' if solver == 'dense' else 'it is not computed')


def _tell(solution: RayleighSolution) -> str:
    search = solution.search
    text = (f'Solved without the Jacobian, from {search.columns} products with it, to a residual of {solution.residuals.max():.1g}; '
            f'tr(B) is known to {search.trace_error:.1%}.')
    return text if search.converged else text + ' It did not converge: the last directions may not be the best ones.'
