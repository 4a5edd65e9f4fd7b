"""What happens to one region at one viewpoint: its Gram matrices, the solution of its quotient, its directions."""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.directions.metadata import DirectionMetadata
from resefa_plugin.editing.strength import Calibration, slopes, uncalibrated
from resefa_plugin.factorizer.agreement import Agreement
from resefa_plugin.factorizer.constraints import Constraints
from resefa_plugin.factorizer.objective import Objective
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.common_basis import factored
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.jacobian.region_operator import RegionOperator
from resefa_plugin.machine.ranks import Ranks
from resefa_plugin.rayleigh.coordinates import Coordinates
from resefa_plugin.rayleigh.operators import DenseGrams, FactoredGrams
from resefa_plugin.rayleigh.solution import RayleighSolution, Search, fix_signs, relative_residuals
from resefa_plugin.rayleigh.solvers import Solver
from resefa_plugin.regions.partition import RegionPartition

IMPERCEPTIBLE = 1e-10  # of the first eigenvalue: a direction below it does not change the region, but for rounding

# Mean squared change inside and outside for a step of length 1, `[k]` each.
Slopes = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class RegionSolution:
    """What one region gave before the strengths of its directions are known.

    Attributes:
        region: less what is protected.
        grams: A and B, protected pixels weighted; in the coordinates of the basis where there is one.
        solution: of the quotient.
        slopes: of the directions; None where they are to be measured at several samples.
        seconds: of the steps so far.
        path: where the Gram matrices are to be kept; None where they are not.
        kept: whether they come from there.
        basis: `[m, d]` orthonormal rows, whose span it was solved in; None for the whole space.
    """

    region: RegionPartition
    grams: DenseGrams | FactoredGrams
    solution: RayleighSolution
    slopes: Slopes | None
    seconds: dict[str, float]
    path: pathlib.Path | None = None
    kept: bool = False
    basis: NDArray[np.float64] | None = None

    @property
    def whole_grams(self) -> DenseGrams | FactoredGrams:
        """A and B of the whole space."""
        if self.basis is None or not isinstance(self.grams, DenseGrams):
            return self.grams
        return factored(self.grams, self.basis)


def solve_region(jacobian: RegionJacobian, region: RegionPartition, solver: Solver, constraints: Constraints,
                 ranks: Ranks | None = None, progress: Callable[[int, float], None] = lambda products, residual: None,
                 predict: bool = True) -> RegionSolution:
    """Solves the quotient of a region: by the Jacobian or a common basis, where they are computed, else by a search.

    Args:
        region: less what is protected.
        ranks: processes that share the products of a search.
        progress: called along a search with the products so far and the largest residual.
        predict: whether the slopes of the directions are wanted, which takes a tangent for each after a search.

    Raises RegionError if the region vanishes at the Jacobian's resolution, SolverError if the quotient has no answer.
    """
    start = time.perf_counter()
    shape = jacobian.image_shape[1:]
    weights = constraints.background_weights(region, *shape)
    coordinates = constraints.coordinates(jacobian.viewpoint, jacobian)
    count = solver.count(jacobian.viewpoint.dim)
    grams: DenseGrams | FactoredGrams
    basis = None if jacobian.computed else jacobian.basis
    vectors: NDArray[np.float64] | None = None
    if basis is not None:
        plain, grams = _dense_grams(basis.inner, region, weights)
        vectors = basis.vectors
        if basis.parts is not None:
            rows = basis.parts[region.name]
            vectors, plain, grams = basis.vectors[rows], _part(plain, rows), _part(grams, rows)
        solution = solve_in_basis(grams, vectors, solver, coordinates, basis.parts is not None)
        solved = time.perf_counter()
        predicted = _slopes_of_grams(basis.inner, region, solution.directions[:count] @ vectors.T,
                                     plain) if predict else None
    elif jacobian.computed:
        plain, grams = _dense_grams(jacobian, region, weights)
        solution = solver.solve(grams, coordinates)
        solved = time.perf_counter()
        predicted = _slopes_of_grams(jacobian, region, solution.directions[:count], plain) if predict else None
    else:
        solution = solver.solve(RegionOperator(jacobian, region.at(*shape), weights, ranks), coordinates, progress)
        assert solution.search is not None  # whatever solves by products alone says what it found
        grams, solved = solution.search.grams, time.perf_counter()
        predicted = measured_slopes(jacobian, region, solution.directions[:count]) if predict else None
    return RegionSolution(region, grams, solution, predicted, {'solve': solved - start},
                          basis=vectors)


def solve_in_basis(grams: DenseGrams, vectors: NDArray[np.float64], solver: Solver,
                   coordinates: Coordinates | None, only: bool = False) -> RayleighSolution:
    """The best directions of the whole space by Gram matrices `[m, m]` in the coordinates of a basis.

    Args:
        vectors: the basis, `[m, d]` orthonormal rows.
        coordinates: of the whole space.
        only: whether directions are to be made of the basis alone; else what is across it is taken to change nothing,
            and serves the coordinates.
    """
    if coordinates is None or only:
        inner = solver.solve(grams, None if coordinates is None else coordinates.within(vectors))
        return dataclasses.replace(inner, directions=fix_signs(inner.directions @ vectors))
    # Products with factors are no search.
    return dataclasses.replace(solver.solve(factored(grams, vectors), coordinates), search=None)


def _part(grams: DenseGrams, rows: NDArray[np.int64]) -> DenseGrams:
    """A and B of some coordinates; the ridge is relative to what these change."""
    A, B = (matrix[np.ix_(rows, rows)] for matrix in (grams.A, grams.B))
    share = np.trace(B) / np.trace(grams.B) if np.trace(grams.B) > 0 else 1.0
    return DenseGrams(A, B, grams.background * share)


def _dense_grams(jacobian: RegionJacobian, region: RegionPartition,
                 weights: NDArray[np.float32]) -> tuple[DenseGrams, DenseGrams]:
    """A and B without and with the weights of protected pixels; tr(B0) is without them in both."""
    A, B = jacobian.gram(region)
    background, unweighted = float(B.trace()), DenseGrams(A.cpu().numpy(), B.cpu().numpy(), 0.0)
    for weight in np.unique(weights[(weights != 0) & (weights != 1)]):
        B = B + (float(weight) - 1) * jacobian.product(weights == weight)
    return unweighted, DenseGrams(unweighted.A, B.cpu().numpy(), background)


def _slopes_of_grams(jacobian: RegionJacobian, region: RegionPartition, directions: NDArray[np.float64],
                     grams: DenseGrams) -> Slopes:
    """The slopes of directions `[k, d]` by A and B, which takes no pass of the network."""
    channels, height, width = jacobian.image_shape
    pixels = int(region.at(height, width).sum())
    inside, outside = grams.quadratics(directions)
    return inside / (channels * pixels), outside / (channels * (height * width - pixels))


def measured_slopes(jacobian: RegionJacobian, region: RegionPartition, directions: NDArray[np.float64]) -> Slopes:
    """The slopes of directions `[k, d]` by a tangent for each."""
    return slopes(jacobian.jvp(torch.from_numpy(directions)), region)


def spanned(solved: RegionSolution, count: int, constraints: Constraints) -> tuple[NDArray[np.float64], DenseGrams]:
    """What directions of the region may be combined of, rows `[k, d]`, and A and B in the coordinates of these rows.

    The basis or the whole space, where A and B are known there as matrices; else the first `count` directions, which
    keep to the constraints where there are some.
    """
    if isinstance(solved.grams, DenseGrams) and not constraints.restrict:
        return np.eye(solved.grams.dim) if solved.basis is None else solved.basis, solved.grams
    n = solved.solution.directions[:count]
    A_n, B_n, _ = solved.whole_grams.apply(n.T)
    return n, DenseGrams(n @ A_n, n @ B_n, solved.grams.background)


def with_direction(solved: RegionSolution, direction: NDArray[np.float64]) -> RegionSolution:
    """A direction `[d]` in place of those that the quotient chose, with what the quotient says of it."""
    n = direction / np.linalg.norm(direction)
    A_n, B_n, _ = solved.whole_grams.apply(n[:, None])
    B_n = B_n + solved.solution.ridge * n[:, None]
    value = np.array([n @ A_n[:, 0] / (n @ B_n[:, 0])])
    solution = dataclasses.replace(solved.solution, directions=n[None], eigenvalues=value, search=None,
                                   residuals=relative_residuals(A_n, B_n, value, 0.0))
    return dataclasses.replace(solved, solution=solution, slopes=None)


def mean_slopes(viewpoints: Sequence[Viewpoint], region: RegionPartition, directions: NDArray[np.float64]) -> Slopes:
    """The slopes of directions `[k, d]`, means over samples."""
    inside, outside = zip(*(measured_slopes(RegionJacobian(viewpoint), region, directions) for viewpoint in viewpoints),
                          strict=True)
    return np.mean(inside, axis=0), np.mean(outside, axis=0)


def worthwhile(solution: RayleighSolution, count: int) -> int:
    """How many directions are worth keeping, `count` at most: those that change the region at all."""
    return min(count, int((solution.eigenvalues > IMPERCEPTIBLE * solution.eigenvalues[0]).sum()))


def find_directions(jacobian: RegionJacobian, region: RegionPartition, solver: Solver, constraints: Constraints,
                    progress: Callable[[int, float], None] = lambda products, residual: None,
                    ) -> tuple[DirectionSet, Slopes]:
    """The directions of one region at one sample, before anything of them is rendered.

    Args:
        jacobian: where it is not computed, it is done without.
        progress: as of `solve_region`.

    Returns: the directions, whose `measured_*` repeat what is predicted, and their slopes, as `calibrate` takes them.

    Raises RegionError and SolverError as `solve_region` does.
    """
    solved = solve_region(jacobian, constraints.unprotected(region), solver, constraints, progress=progress)
    count = worthwhile(solved.solution, solver.count(jacobian.viewpoint.dim))
    assert solved.slopes is not None  # solve_region predicts them unless told not to
    predicted = solved.slopes[0][:count], solved.slopes[1][:count]
    return direction_set([jacobian.viewpoint], solved, uncalibrated(predicted), constraints), predicted


def direction_set(viewpoints: Sequence[Viewpoint], solved: RegionSolution, calibration: Calibration,
                  constraints: Constraints, agreement: Sequence[Agreement] = (),
                  objective: Objective | None = None) -> DirectionSet:
    """Directions as they are saved, with everything needed to use and to reproduce them.

    Args:
        viewpoints: where the derivative was taken; several for a pool.
        calibration: of so many of the solution's directions, from the first.
        agreement: of a pool, for the record.
        objective: what they were made for, for the record.
    """
    first, solution, count = viewpoints[0], solved.solution, len(calibration.step)
    seeds = tuple(viewpoint.sample.seed for viewpoint in viewpoints if viewpoint.sample.seed is not None)
    metadata = DirectionMetadata(
        network=first.hook.name, network_sha256=first.hook.sha256, image_shape=first.hook.image_shape,
        space=first.space.name, layers=first.space.layers, num_ws=first.hook.num_ws, region=solved.region.name,
        seeds=seeds, truncation_psi=first.sample.truncation_psi, truncation_cutoff=first.sample.truncation_cutoff,
        resolution=first.resolution, tau=solution.tau, ridge=solution.ridge, solver=solution.solver,
        extra=_extra(first, solution, calibration, constraints, agreement)
        | ({} if objective is None else {'objective': objective.name, 'labels': [objective.label]}))
    return DirectionSet(
        directions=solution.directions[:count].astype(np.float32), eigenvalues=solution.eigenvalues[:count],
        residuals=solution.residuals[:count], mask=solved.region.mask, latent=first.latent.float().cpu().numpy(),
        step=calibration.step, predicted_inside=calibration.predicted_inside,
        predicted_outside=calibration.predicted_outside, measured_inside=calibration.measured_inside,
        measured_outside=calibration.measured_outside, metadata=metadata)


def _extra(viewpoint: Viewpoint, solution: RayleighSolution, calibration: Calibration, constraints: Constraints,
           agreement: Sequence[Agreement]) -> dict[str, object]:
    """What a reader of the file may want to know besides: where the pictures are from, and options that were taken."""
    extra: dict[str, object] = {'implementation': viewpoint.hook.implementation}
    if viewpoint.sample.c is not None:
        weights = viewpoint.sample.c[0].tolist()
        extra['class'] = {str(number): weight for number, weight in enumerate(weights) if weight}
    if viewpoint.hook.value_range not in (None, (-1, 1)):
        extra['value_range'] = viewpoint.hook.value_range
    if calibration.unreached:
        extra['unreached'] = {str(number): reached for number, reached in calibration.unreached.items()}
    if agreement:
        extra['pooled'] = [dataclasses.asdict(row) for row in agreement]
    if solution.search is not None:
        search = solution.search
        extra['search'] = {'columns': search.columns, 'converged': search.converged, 'trace_error': search.trace_error}
    return extra | constraints.to_json()


def describe_search(search: Search, residuals: NDArray[np.float64]) -> str:
    """How a matrix-free search ended, in a sentence or two."""
    text = (f'Solved without the Jacobian, from {search.columns} products with it, to a residual of '
            f'{residuals.max():.1g}; tr(B) is known to {search.trace_error:.1%}.')
    return text if search.converged else text + ' It did not converge: the last directions may not be the best ones.'
