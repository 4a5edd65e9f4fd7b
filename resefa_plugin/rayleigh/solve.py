"""Solvers of the generalized Rayleigh quotient: which unit directions change the region most and the rest least."""

from __future__ import annotations

import functools
from collections.abc import Callable
from operator import index
from typing import Any, SupportsIndex

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from resefa_plugin.errors import SolverError
from resefa_plugin.rayleigh.cholesky import solve_cholesky
from resefa_plugin.rayleigh.coordinates import Coordinates
from resefa_plugin.rayleigh.davidson import solve_davidson
from resefa_plugin.rayleigh.operators import DenseGrams
from resefa_plugin.rayleigh.problem import TAU, RayleighProblem
from resefa_plugin.rayleigh.solution import RayleighSolution, finish
from resefa_plugin.rayleigh.woodbury import solve_woodbury

# Dimensions up to which one thread solves. More gain little there, and spin when they are done, against those of torch,
# which then takes several times as long for the Gram matrices of the next region.
SMALL = 1024


def _dense(problem: RayleighProblem, num_directions: int, rank: int | None) -> tuple[NDArray[np.float64], None]:
    if rank is not None:
        raise SolverError(f"rank is {rank}, but solver 'dense' does not truncate: leave it out, or take solver "
                          "'woodbury'")
    return solve_cholesky(problem, num_directions), None


def _davidson(problem: RayleighProblem, num_directions: int, rank: int | None) -> tuple[NDArray[np.float64], None]:
    if rank is not None:
        raise SolverError(f"rank is {rank}, but solver 'davidson' does not truncate: leave it out, or take solver "
                          "'woodbury'")
    if problem.ridge == 0:
        raise SolverError("solver 'davidson' needs a ridge a = tau tr(B): give a tau above 0, or take solver 'dense'")
    grams = DenseGrams(problem.A, problem.B, problem.ridge / problem.tau)
    return solve_davidson(grams, num_directions, tau=problem.tau).directions.T, None


# name -> (problem, num_directions, rank) -> (vectors [d, k], rank used)
METHODS: dict[str, Callable[[RayleighProblem, int, int | None], tuple[NDArray[np.float64], int | None]]] = {
    'dense': _dense,
    'woodbury': solve_woodbury,
    'davidson': _davidson,
}


def solve_rayleigh(
    A: torch.Tensor | NDArray[Any],
    B: torch.Tensor | NDArray[Any],
    num_directions: int | None = None,
    *,
    tau: float = TAU,
    solver: str = 'auto',
    rank: int | None = None,
    trace: float | None = None,
    coordinates: Coordinates | None = None,
) -> RayleighSolution:
    """Maximises n^T A n / n^T (B + a I) n over unit n, with a = tau tr(B) (Eq. 7, 10 and 11).

    Args:
        A: `[d, d]`, J_f^T J_f, the change inside the region. Real and symmetric; computed in float64.
        B: `[d, d]`, J_b^T J_b, the change outside it.
        num_directions: k, from 1 to d; None means all d.
        tau: the ridge relative to the trace of B; 0 solves Eq. 8 as it stands, which needs a regular B.
        solver: 'dense' (Cholesky, Eq. 9), 'woodbury' (Eq. 12), 'davidson' (matrix-free, which pays where A and B are
            not known as matrices: see solve_davidson), or 'auto': woodbury if a rank is given, else dense.
        rank: how many eigenvectors of B woodbury keeps, from 1 to d; None keeps all that stand above rounding.
        trace: what the ridge is relative to, in place of tr(B), where some pixels weigh more in B than others.
        coordinates: in which to solve; None means those of A and B.

    Returns: the k best directions, by descending eigenvalue; fewer where coordinates leave fewer.

    Raises:
        SolverError: the matrices have no such quotient (see RayleighProblem), or an argument is out of range.
    """
    small = isinstance(A, (torch.Tensor, np.ndarray)) and A.ndim > 0 and len(A) <= SMALL
    with _blas().limit(limits=1 if small else None, user_api='blas'):
        return _solve(A, B, num_directions, tau, solver, rank, trace, coordinates)


def _solve(A: torch.Tensor | NDArray[Any], B: torch.Tensor | NDArray[Any], num_directions: int | None, tau: float,
           solver: str, rank: int | None, trace: float | None, coordinates: Coordinates | None) -> RayleighSolution:
    if solver != 'auto' and solver not in METHODS:
        raise SolverError(f"solver '{solver}' is not one of auto, {', '.join(METHODS)}")
    problem = RayleighProblem.checked(A, B, tau, trace, coordinates)
    d = len(problem.A)
    num_directions = d if num_directions is None else _integer(num_directions, 'num_directions')
    if not 1 <= num_directions <= d:
        raise SolverError(f'num_directions is {num_directions}, expected 1 to {d}, the dimension of A and B')
    rank = None if rank is None else _integer(rank, 'rank')
    if solver == 'auto':
        solver = 'dense' if rank is None else 'woodbury'
    if coordinates is not None and coordinates.excluded is not None:
        num_directions = min(num_directions, d - len(coordinates.excluded))
    vectors, kept = METHODS[solver](problem, num_directions, rank)
    return finish(problem, vectors, solver, kept, coordinates)


@functools.cache
def _blas() -> ThreadpoolController:
    """The BLAS of numpy and scipy, looked for once: that takes as long as a solve."""
    return ThreadpoolController()


def _integer(value: SupportsIndex, name: str) -> int:
    try:
        return index(value)
    except TypeError:
        raise SolverError(f'{name} is {value!r}, expected a whole number') from None
