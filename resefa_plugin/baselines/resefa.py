"""ReSeFa as this package does it: with the whole Jacobian, and without forming it."""

from __future__ import annotations

import pathlib
import time

import numpy as np

from resefa_plugin.baselines.problem import MethodError, MethodResult, Problem
from resefa_plugin.errors import MetricError
from resefa_plugin.factorizer.constraints import Constraints
from resefa_plugin.factorizer.factorizer import Factorizer
from resefa_plugin.factorizer.results import RegionResult
from resefa_plugin.factorizer.steps import solve_region
from resefa_plugin.factorizer.store import Store
from resefa_plugin.hooks.base import LatentSpace
from resefa_plugin.hooks.style_based import StyleBasedHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.common_basis import CommonBasis
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.rayleigh.solvers import QUICK_TOLERANCE, Auto, Davidson, Dense, Solver

EVERY = 4  # regions of a comparison, as a rule


def resefa_directions(problem: Problem) -> MethodResult:
    """The Rayleigh quotient of the region against the rest, with the ridge (Eq. 7 to 11).

    What is factorized is what is edited: layers restrict the derivative, too.
    """
    jacobian, seconds, extrapolated = problem.jacobians.get(problem.sample, problem.layers)
    found, solving = _solved(problem, jacobian, Dense(problem.num_directions))
    return MethodResult.of(found, jacobian.viewpoint.space, {'jacobian': seconds, 'solve': solving},
                    ('jacobian',) if extrapolated else ())


def resefa_quick_directions(problem: Problem) -> MethodResult:
    """The same quotient by products with the Jacobian, which is never formed, to the tolerance of `--quick`."""
    return _matrix_free(problem, problem.hook.space(problem.space, problem.layers))


def resefa_stylespace_directions(problem: Problem) -> MethodResult:
    """The same in StyleSpace, whose thousands of dimensions are out of reach of a whole Jacobian.

    Raises MethodError for a generator without styles.
    """
    if not isinstance(problem.hook, StyleBasedHook):
        raise MethodError(f'{problem.hook.name} has no styles')
    return _in_a_basis(problem, problem.hook.space('s', problem.layers))


def resefa_best_directions(problem: Problem) -> MethodResult:
    """The recommended way: channels of StyleSpace, pooled until more samples do not help, combined for the attribute.

    Raises MethodError for a generator without styles, and if no direction moves the attribute.
    """
    if not isinstance(problem.hook, StyleBasedHook):
        raise MethodError(f'{problem.hook.name} has no styles')
    space = problem.hook.space('s', problem.layers)
    viewpoints = [Viewpoint(problem.hook, space, sample, problem.jacobians.resolution)
                  for sample in problem.pool or (problem.sample,)]
    regions = {region.mask.tobytes(): region for region in problem.regions or (problem.region,)}  # rows may share one

    folder = None if problem.jacobians.folder is None else pathlib.Path(problem.jacobians.folder)

    def pooled() -> tuple[dict[bytes, RegionResult], float]:
        start, store = time.perf_counter(), Store(folder, folder)
        found = Factorizer(viewpoints, list(regions.values()), Auto(problem.num_directions), store=store).run(
            pool=True, stop_early=True)
        return ({result.partition.mask.tobytes(): result for result in found},
                (time.perf_counter() - start) / len(found))

    results, seconds = problem.jacobians.once(('pooled', space.layers, *regions), pooled)
    result = results[problem.region.mask.tobytes()]
    if problem.combine is None:
        return MethodResult.of(result.directions.directions[:problem.num_directions], space,
                               {'jacobian': seconds, 'solve': 0.0})
    start = time.perf_counter()
    span, grams = result.span or (result.directions.directions.astype(np.float64), None)
    try:
        combined = problem.combine(result.viewpoints, problem.region, span, grams)[None]
    except MetricError as error:
        raise MethodError(str(error)) from error
    return MethodResult.of(combined, space, {'jacobian': seconds, 'solve': time.perf_counter() - start})


def _matrix_free(problem: Problem, space: LatentSpace) -> MethodResult:
    return problem.jacobians.once(('resefa', space.name, *problem.key), lambda: _searched(problem, space))


def _in_a_basis(problem: Problem, space: LatentSpace) -> MethodResult:
    """By a basis that serves all regions of the sample; in a space that is smaller than one, by products."""
    solver = Auto(problem.num_directions)
    if not solver.needs_basis(space.dim, EVERY):
        return _matrix_free(problem, space)

    def compute() -> tuple[RegionJacobian, float]:
        start, jacobian = time.perf_counter(), RegionJacobian(problem.viewpoint(space))
        jacobian.basis = CommonBasis.compute(jacobian)
        return jacobian, time.perf_counter() - start

    viewpoint = problem.viewpoint(space)
    jacobian, seconds = problem.jacobians.once(
        ('basis', space.name, space.layers, viewpoint.sample.name, viewpoint.resolution), compute)
    directions, solving = _solved(problem, jacobian, solver)
    return MethodResult.of(directions, space, {'jacobian': seconds, 'solve': solving})


def _searched(problem: Problem, space: LatentSpace) -> MethodResult:
    solver = Davidson(problem.num_directions, tolerance=QUICK_TOLERANCE)
    directions, solving = _solved(problem, RegionJacobian(problem.viewpoint(space)), solver)
    return MethodResult.of(directions, space, {'solve': solving})


def _solved(problem: Problem, jacobian: RegionJacobian, solver: Solver) -> tuple[np.ndarray, float]:
    """Directions `[k, d]` of the region, and the seconds that they took."""
    start = time.perf_counter()
    solved = solve_region(jacobian, problem.region, solver, Constraints(), predict=False)
    return solved.solution.directions[:solver.count(jacobian.viewpoint.dim)], time.perf_counter() - start
