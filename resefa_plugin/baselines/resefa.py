"""ReSeFa as this package does it."""

from __future__ import annotations

import time

from resefa_plugin.baselines.problem import Found, Problem
from resefa_plugin.rayleigh import solve_rayleigh


def resefa_directions(problem: Problem) -> Found:
    """The Rayleigh quotient of the region against the rest, with the ridge (Eq. 7 to 11), edited in the space that was factorized."""
    jacobian, seconds, extrapolated = problem.jacobians.get(problem.sample, problem.layers)
    start = time.perf_counter()
    solution = solve_rayleigh(*jacobian.gram(problem.region), min(problem.num_directions, jacobian.space.dim))
    return Found.of(solution.directions, jacobian.space, {'jacobian': seconds, 'solve': time.perf_counter() - start},
                    ('jacobian',) if extrapolated else ())
