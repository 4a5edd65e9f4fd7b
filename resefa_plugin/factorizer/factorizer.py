"""Factorizer owns the loop over samples and regions; a Callback hangs pictures, progress and reports into it."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from resefa_plugin.editing.strength import calibrate, describe_unreached
from resefa_plugin.errors import RegionError, ResefaError, check_type
from resefa_plugin.factorizer.agreement import Agreement, agreement, describe
from resefa_plugin.factorizer.callback import Callback
from resefa_plugin.factorizer.constraints import Constraints
from resefa_plugin.factorizer.gram_store import GramStore
from resefa_plugin.factorizer.objective import Objective
from resefa_plugin.factorizer.pooling import Grams, Pooled, channels_of_regions, is_enough, pool, transfer
from resefa_plugin.factorizer.results import RegionResult, looked_at
from resefa_plugin.factorizer.steps import (
    RegionSolution,
    describe_search,
    direction_set,
    mean_slopes,
    solve_in_basis,
    solve_region,
    spanned,
    with_direction,
    worthwhile,
)
from resefa_plugin.factorizer.store import Known, Store
from resefa_plugin.factorizer.way import Way
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.channels import is_of_channels
from resefa_plugin.jacobian.common_basis import CommonBasis
from resefa_plugin.jacobian.probe import probe
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.jacobian.sharded import ShardedJacobian
from resefa_plugin.machine.ranks import Ranks
from resefa_plugin.rayleigh.operators import DenseGrams, FactoredGrams
from resefa_plugin.rayleigh.solution import RayleighSolution
from resefa_plugin.rayleigh.solvers import Auto, Solver
from resefa_plugin.regions.partition import RegionPartition

PROBED = 8  # samples of a pool whose tiles are probed for the basis that they share, at most

T = TypeVar('T')


class Factorizer:
    """Finds directions of a latent space that change a region of a picture and leave the rest alone.

    For each sample: probe the generator, compute the Jacobian once, or products with it where that is cheaper, solve
    the Rayleigh quotient of each region (Eq. 7 to 12), and calibrate each direction so that strength 1 means the same
    change everywhere.

    Args:
        viewpoints: where derivatives are taken: samples in one space of one generator, at one resolution.
        regions: what shall change, each by itself.
        solver: how the quotient is solved, and how many directions are found; None means `Auto()`.
        constraints: what else directions must satisfy; None where there is nothing else.
        callbacks: what happens along the way.
        store: where Jacobians and the Gram matrices of a pool are kept and found; None keeps nothing.
        objective: what is wanted of each region; the results then are one direction each, made of those of the region.
        known: an Atlas, whose directions a pooled run takes; the viewpoints then only tell how long a step is. A run
            of each sample by itself makes its directions of what those of the atlas are made of.

    Raises:
        ResefaError: no viewpoint, or viewpoints that differ in generator, space or resolution.
        RegionError: two regions of one name, of another size than the pictures, too small for the resolution, or
            wholly protected.
    """

    def __init__(self, viewpoints: Sequence[Viewpoint], regions: Sequence[RegionPartition],
                 solver: Solver | None = None, constraints: Constraints | None = None,
                 callbacks: Sequence[Callback] = (), store: Store | None = None, objective: Objective | None = None,
                 known: Known | None = None):
        check_type('viewpoints', viewpoints, Viewpoint, is_list=True)
        check_type('regions', regions, RegionPartition, is_list=True)
        self.viewpoints, self.solver = tuple(viewpoints), solver or Auto()
        self.constraints, self.store = constraints or Constraints(), store or Store()
        check_type('callbacks', callbacks, Callback, is_list=True)
        for name, kind in (('solver', Solver), ('constraints', Constraints), ('store', Store)):
            check_type(name, getattr(self, name), kind)
        self.callbacks, self.objective, self.known = list(callbacks), objective, known
        if objective is not None and not isinstance(objective, Objective):
            raise ResefaError(f'objective is {repr(objective)[:100]}, expected one such as AttributeObjective, or None')
        if objective is not None and self.solver.num_directions is None:
            self.solver = dataclasses.replace(self.solver, num_directions=objective.num_directions)
        self._check_viewpoints()
        self._check_regions(regions)
        self.regions = [self.constraints.unprotected(region) for region in regions]
        for region in self.regions:  # one that vanishes at the resolution is better known before the long part
            region.at(*self.viewpoints[0].image_shape[1:])
        self._ranks = Ranks()

    def _check_viewpoints(self) -> None:
        if not self.viewpoints:
            raise ResefaError('viewpoints is empty, expected one sample or more')
        kinds = {(id(v.hook), v.space.name, v.space.layers, v.resolution) for v in self.viewpoints}
        if len(kinds) > 1:
            raise ResefaError('the viewpoints differ in generator, space, layers or resolution: factorize those apart')

    def _check_regions(self, regions: Sequence[RegionPartition]) -> None:
        if not regions:
            raise RegionError('regions is empty, expected one region or more')
        hook, names = self.viewpoints[0].hook, [region.name for region in regions]
        for region in [*regions, *(protection.region for protection in self.constraints.protect)]:
            if names.count(region.name) > 1:
                raise RegionError(f"two regions are named '{region.name}': name one of them, as in NAME=SPEC")
            if region.mask.shape != tuple(hook.image_shape[1:]):
                raise RegionError(f"region '{region.name}' is for pictures of {list(region.mask.shape)}, "
                                  f'but {hook.name} makes {list(hook.image_shape[1:])}')

    def run(self, pool: bool = False, ranks: Ranks | None = None, stop_early: bool = False) -> list[RegionResult]:
        """Factorizes every region at every sample, or at the pool of them; returns the results, sample by sample.

        Args:
            pool: one set of directions per region for all samples, from the mean of their Gram matrices (each over its
                tr(B)), of which none counts for more than half of them do.
            ranks: the processes of this run; None where this one is alone. Only rank 0 calls callbacks and returns
                results.
            stop_early: of a pool, take samples in their order until more of them hardly lower what the directions leak
                at samples that are not in it.

        Raises:
            ProbeError: the generator's derivatives cannot be trusted.
            SolverError: a quotient has no answer.
            ResefaError: constraints that do not go with a pool, or stop_early without one.
        """
        if pool:
            self.constraints.check_poolable()
        elif stop_early:
            raise ResefaError('stop_early is for a pool: give pool=True, too')
        return self._reported((lambda: self._pooled(stop_early)) if pool else self._each, ranks)

    def collect(self, part: tuple[int, int] = (1, 1), ranks: Ranks | None = None) -> None:
        """What takes long of a pooled run: keeps the Gram matrices of each sample, and solves nothing.

        Several runs may collect parts of one pool; a run of all of them then finds them there.

        Args:
            part: `(i, n)`, the i-th of n parts of the samples, from 1.
            ranks: as of `run`.

        Raises ResefaError where the store keeps no Gram matrices or there is no such part, and as `run` does.
        """
        if self.store.grams is None:
            raise ResefaError('collect is for a pool whose Gram matrices are kept: give store=Store(grams=FOLDER)')
        self.constraints.check_poolable()
        index, count = part
        if not 1 <= index <= count <= len(self.viewpoints):
            raise ResefaError(f'part is {part}, expected (i, n) with i from 1 to n, and no more parts than the '
                              f'{len(self.viewpoints)} samples')

        def steps() -> Iterator[object]:
            yield from self._solved(self._pool(), self.viewpoints[index - 1::count])

        self._reported(steps, ranks)

    def _reported(self, steps: Callable[[], Iterable[T]], ranks: Ranks | None) -> list[T]:
        """The steps of a run, with the events of its beginning and end."""
        self._ranks = ranks or Ranks()
        try:
            self._notify('on_run_start', self.viewpoints, self.regions)
            results = []
            for result in steps():
                results.append(result)
                if isinstance(result, RegionResult):
                    self._notify('on_region_end', result)
            self._notify('on_run_end', [result for result in results if isinstance(result, RegionResult)])
        except BaseException as error:
            self._notify('on_exception', error)
            raise
        return results

    def _notify(self, event: str, *details: object) -> None:
        if self._ranks.first:
            for callback in self.callbacks:
                getattr(callback, event)(*details)

    def _each(self) -> Iterator[RegionResult]:
        basis, parts = (None, None) if self.known is None else self.known.basis(self.regions)
        for viewpoint, regions in self._solved(Way(GramStore(None), False, basis, parts), self.viewpoints):
            for solved in regions:
                yield self._calibrate((viewpoint,), solved)

    def _looked_up(self, known: Known) -> Iterator[RegionResult]:
        for region in self.regions:
            yield self._calibrate(self.viewpoints, known.solve(self.viewpoints[0], region, self.solver,
                                                               self.constraints))

    def _pooled(self, stop_early: bool) -> Iterator[RegionResult]:
        if self.known is not None:
            yield from self._looked_up(self.known)
            return
        way = self._pool()
        samples: list[list[RegionSolution]] = []

        def pooled(grams: Sequence[Grams], region: RegionPartition) -> Pooled:
            return pool(grams, lambda mean: self._solve_grams(mean, way, region), lambda n: within(n, region),
                        self.solver.count(self._dim))

        def within(directions: NDArray[np.float64], region: RegionPartition) -> NDArray[np.float64]:
            basis = way.basis_of(region)
            return directions if basis is None else directions @ basis.T

        def first(region: RegionPartition) -> Callable[[Sequence[Grams]], NDArray[np.float64]]:
            return lambda grams: np.asarray(within(pooled(grams, region).solution.directions[:1], region)[0])

        def enough() -> bool:
            return stop_early and all(is_enough([solved.grams for solved in of_region], first(of_region[0].region))
                                      for of_region in zip(*samples, strict=True))

        for _, regions in self._solved(way, self.viewpoints, enough):
            samples.append(regions)
        viewpoints = self.viewpoints[:len(samples)]
        for of_region in zip(*samples, strict=True):
            start, grams, region = time.perf_counter(), [solved.grams for solved in of_region], of_region[0].region
            found = pooled(grams, region)
            seconds = {'jacobian': sum(solved.seconds.get('jacobian', 0) for solved in of_region),
                       'solve': time.perf_counter() - start}
            solved = RegionSolution(region, found.grams, found.solution, None, seconds, basis=way.basis_of(region))
            result = self._calibrate(viewpoints, solved, self._agreement(of_region, found))
            result.transfer = transfer(grams, first(region))
            yield result

    def _pool(self) -> Way:
        first = self.viewpoints[0]
        dim, count = first.dim, len(self.regions)
        basis, parts = None, None
        if first.space.has_channels and self.solver.needs_channels(dim):
            basis, parts = self._channels()
            key: list[object] = ['basis']
        elif self.solver.needs_shared_basis(dim, count):
            basis = self._ranks.broadcast(self._shared_basis() if self._ranks.first else None)
            key = ['basis']
        else:
            key = self.solver.matrices_key(dim, count)
            key += self.constraints.search_key() if key else []
        return Way(GramStore(self.store.grams, repr(key)), True, basis, parts)

    def _shared_basis(self) -> NDArray[np.float64]:
        """The span `[m, d]` that a pool is solved in, of directions that move the tiles of its first samples."""
        probe(self.viewpoints[0])
        return CommonBasis.shared([RegionJacobian(viewpoint) for viewpoint in self.viewpoints[:PROBED]],
                                  lambda count: self._notify_pool(self.viewpoints[0], count), self.store.grams)

    def _channels(self) -> tuple[NDArray[np.float64], dict[str, NDArray[np.int64]]]:
        """The channels that the directions of a pool are made of, as unit rows, and which of them are each region's.

        The same on every rank.
        """
        chosen = self._ranks.broadcast(channels_of_regions(self.viewpoints[:PROBED], self.regions, self._notify_pool)
                                       if self._ranks.first else None)
        union = np.unique(np.concatenate(list(chosen.values())))
        vectors = np.zeros((len(union), self._dim))
        vectors[np.arange(len(union)), union] = 1
        return vectors, {name: np.searchsorted(union, channels) for name, channels in chosen.items()}

    def _notify_pool(self, viewpoint: Viewpoint, count: int) -> None:
        self._notify('on_pool', viewpoint, count,
                     self.solver.tangents(self._dim, len(self.regions), len(self.viewpoints),
                                          viewpoint.space.has_channels))

    def _solve_grams(self, grams: DenseGrams | FactoredGrams, way: Way, region: RegionPartition) -> RayleighSolution:
        coordinates, basis = self.constraints.coordinates(self.viewpoints[0]), way.basis_of(region)
        if basis is None or not isinstance(grams, DenseGrams):
            return self.solver.solve(grams, coordinates)
        return solve_in_basis(grams, basis, self.solver, coordinates, way.parts is not None)

    def _agreement(self, of_region: Sequence[RegionSolution], pooled: Pooled) -> tuple[Agreement, ...]:
        """How well pooled directions serve each sample; nothing for a pool of one."""
        if len(of_region) < 2:
            return ()
        k, tau = self.solver.count(self._dim), self.solver.tau
        return tuple(agreement(viewpoint.sample.name, solved.whole_grams, solved.solution.directions[:k],
                               pooled.solution.directions[:k], tau, weight)
                     for viewpoint, solved, weight in zip(self.viewpoints, of_region, pooled.weights.tolist(),
                                                          strict=False))  # a pool may have stopped early

    @property
    def _dim(self) -> int:
        return self.viewpoints[0].dim

    def _solved(self, way: Way, viewpoints: Sequence[Viewpoint],
                enough: Callable[[], bool] = lambda: False) -> Iterator[tuple[Viewpoint, list[RegionSolution]]]:
        """Each sample with what its regions gave, on rank 0, until there are enough.

        As many samples at a time as there are ranks; the last ones, if they are fewer, one by one with their tangents
        shared out.
        """
        size = self._ranks.size
        whole = len(viewpoints) // size * size if size > 1 else 0
        for start in range(0, whole, size):
            batch = viewpoints[start:start + size]
            gathered = self._ranks.gather(self._sample(batch[self._ranks.rank], Ranks(), way))
            if gathered is not None:  # on rank 0
                for viewpoint, regions in zip(batch, gathered, strict=True):
                    yield viewpoint, way.store.keep(regions)
            if self._ranks.broadcast(self._ranks.first and enough()):
                return
        for viewpoint in viewpoints[whole:]:
            regions = self._sample(viewpoint, self._ranks, way)
            if self._ranks.first:
                yield viewpoint, way.store.keep(regions)
            if self._ranks.broadcast(self._ranks.first and enough()):
                return

    def _sample(self, viewpoint: Viewpoint, ranks: Ranks, way: Way) -> list[RegionSolution]:
        """What the regions of one sample give: from kept Gram matrices if all are there, else from its Jacobian."""
        jacobian = RegionJacobian(viewpoint) if ranks.size == 1 else ShardedJacobian(viewpoint, ranks)
        self._notify('on_sample_start', viewpoint)
        bases = [way.basis_of(region) for region in self.regions]
        paths = [way.store.path(jacobian, region, self.constraints.protect, basis)
                 for region, basis in zip(self.regions, bases, strict=True)]
        kept = [grams for path, basis in zip(paths, bases, strict=True)
                if (grams := way.store.load(path, viewpoint.dim if basis is None else len(basis))) is not None]
        if ranks.least(len(kept) == len(paths), viewpoint.device):
            self._notify('on_jacobian_end', jacobian)
            return [RegionSolution(region, grams, self._solve_grams(grams, way, region), None, {}, path, True, basis)
                    for region, grams, path, basis in zip(self.regions, kept, paths, bases, strict=True)]
        seconds = self._compute(jacobian, way)
        self._notify('on_jacobian_end', jacobian)
        return [self._solve(jacobian, region, ranks, seconds, path, way.pool)
                for region, path in zip(self.regions, paths, strict=True)]

    def _compute(self, jacobian: RegionJacobian, way: Way) -> float:
        """Probes the generator, then computes what the solver wants: the Jacobian or a basis; returns the seconds.

        One sample in several processes is searched without a basis.
        """
        viewpoint = jacobian.viewpoint
        probe(viewpoint)
        start = time.perf_counter()
        # Samples of a pool are all of one kind.
        found = self.solver.takes_kept_jacobian and not way.pool and jacobian.is_kept(self.store.jacobians)
        if way.basis is not None:
            jacobian.basis = CommonBasis(jacobian, way.basis, way.parts)
            total = len(way.basis)
            jacobian.basis.inner.compute(
                lambda count: self._notify_pool(viewpoint, count) if way.pool
                else self._notify('on_basis', viewpoint, count, total), self.store.jacobians)
        elif found or self.solver.needs_jacobian(viewpoint.dim, len(self.regions)):
            jacobian.compute(lambda count: self._notify('on_tangents', viewpoint, count), self.store.jacobians)
        elif self.solver.needs_basis(viewpoint.dim, len(self.regions)) and not isinstance(jacobian, ShardedJacobian):
            jacobian.basis = CommonBasis.compute(
                jacobian, lambda count, total: self._notify('on_basis', viewpoint, count, total), self.store.jacobians)
        return time.perf_counter() - start

    def _solve(self, jacobian: RegionJacobian, region: RegionPartition, ranks: Ranks, seconds: float,
               path: pathlib.Path | None, pool: bool) -> RegionSolution:
        viewpoint = jacobian.viewpoint
        solved = solve_region(jacobian, region, self.solver, self.constraints, ranks,
                              lambda *state: self._notify('on_products', viewpoint, region, *state), predict=not pool)
        return dataclasses.replace(solved, path=path, seconds={'jacobian': seconds, **solved.seconds})

    def _calibrate(self, viewpoints: tuple[Viewpoint, ...], solved: RegionSolution,
                   rows: tuple[Agreement, ...] = ()) -> RegionResult:
        """Measures the strength of the directions, at some of the samples of a pool."""
        first, region, start = viewpoints[0], solved.region, time.perf_counter()
        k = worthwhile(solved.solution, self.solver.count(first.dim))
        span = None if len(viewpoints) == 1 and self.objective is None else spanned(solved, k, self.constraints)
        if self.objective is not None and span is not None:
            solved, rows, k = with_direction(solved, self.objective(viewpoints, region, *span)), (), 1
        solution, chosen = solved.solution, looked_at(viewpoints)
        self._notify('on_region_start', first, region, k)
        predicted = solved.slopes or mean_slopes(chosen, region, solution.directions[:k])
        calibration = calibrate(chosen, region, solution.directions[:k], (predicted[0][:k], predicted[1][:k]),
                                lambda: self._notify('on_direction', first, region))
        directions = direction_set(viewpoints, solved, calibration, self.constraints, rows, self.objective)
        notes = [describe(rows)] if rows else []
        if calibration.unreached:
            notes.append(describe_unreached(calibration.unreached))
        if solution.search is not None and not rows:
            notes.append(describe_search(solution.search, solution.residuals))
        if solved.basis is not None and not is_of_channels(solved.basis):
            notes.append(f'Solved in the span of {len(solved.basis)} directions that move the tiles of the picture.')
        elif solved.basis is not None and len(solved.basis) < first.dim:
            notes.append(f'Made of {len(solved.basis)} of {first.dim} channels.')
        return RegionResult(viewpoints, region, directions, solution.eigenvalues,
                            solved.seconds | {'calibrate': time.perf_counter() - start}, notes, rows, span=span)
