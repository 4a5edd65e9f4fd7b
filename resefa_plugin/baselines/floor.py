"""The floor: directions drawn at random."""

from __future__ import annotations

import numpy as np

from resefa_plugin.baselines.problem import MethodResult, Problem


def random_directions(problem: Problem) -> MethodResult:
    """Independent directions, uniform on the unit sphere; the same ones for the same number of dimensions."""
    space = problem.hook.space(problem.space, problem.layers)
    return MethodResult.of(np.random.RandomState(0).randn(problem.num_directions, space.dim), space, {'solve': 0.0})
