"""ReSeFa as this package does it: with the whole Jacobian, and without forming it."""

from __future__ import annotations

import time

from resefa_plugin.baselines.problem import Found, MethodError, Problem
from resefa_plugin.factorizer.factorizer import QUICK_TOLERANCE
from resefa_plugin.hooks.base import LatentSpace
from resefa_plugin.hooks.style_based import StyleBasedHook
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.jacobian.region_operator import RegionOperator
from resefa_plugin.rayleigh.lobpcg import solve_lobpcg
from resefa_plugin.rayleigh.solve import solve_rayleigh


def resefa_directions(problem: Problem) -> Found:
    """The Rayleigh quotient of the region against the rest, with the ridge (Eq. 7 to 11).

    What is factorized is what is edited: layers restrict the derivative, too.
    """
    jacobian, seconds, extrapolated = problem.jacobians.get(problem.sample, problem.layers)
    start = time.perf_counter()
    solution = solve_rayleigh(*jacobian.gram(problem.region), min(problem.num_directions, jacobian.space.dim))
    return Found.of(solution.directions, jacobian.space, {'jacobian': seconds, 'solve': time.perf_counter() - start},
                    ('jacobian',) if extrapolated else ())


def resefa_quick_directions(problem: Problem) -> Found:
    """The same quotient by products with the Jacobian, which is never formed, to the tolerance of `--quick`."""
    return _matrix_free(problem, problem.hook.space(problem.space, problem.layers))


def resefa_stylespace_directions(problem: Problem) -> Found:
    """The same in StyleSpace, whose thousands of dimensions are out of reach of a whole Jacobian.

    Raises MethodError for a generator without styles.
    """
    if not isinstance(problem.hook, StyleBasedHook):
        raise MethodError(f'{problem.hook.name} has no styles')
    return _matrix_free(problem, problem.hook.space('s', problem.layers))


def _matrix_free(problem: Problem, space: LatentSpace) -> Found:
    return problem.jacobians.once(('resefa', space.name, *problem.key), lambda: _searched(problem, space))


def _searched(problem: Problem, space: LatentSpace) -> Found:
    jacobian = RegionJacobian(problem.hook, space, problem.sample, problem.jacobians.resolution)
    mask = problem.region.at(*jacobian.image_shape[1:])
    start = time.perf_counter()
    solution = solve_lobpcg(RegionOperator(jacobian, mask, ~mask), min(problem.num_directions, space.dim),
                            tolerance=QUICK_TOLERANCE)
    return Found.of(solution.directions, space, {'solve': time.perf_counter() - start})
