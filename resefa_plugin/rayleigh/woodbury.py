"""The low-rank solver: Woodbury's identity over a truncated eigendecomposition of B (Eq. 12)."""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from resefa_plugin.errors import SolverError
from resefa_plugin.rayleigh.problem import RayleighProblem


def apply_inverse_root(V: NDArray[np.float64], D_squared: NDArray[np.float64], ridge: float,
                       X: NDArray[np.float64]) -> NDArray[np.float64]:
    """Multiplies X by the symmetric square root of Eq. 12, S = (V D^2 V^T + a I)^(-1/2).

    With D~ = D (a I + D^2)^-1 D, Woodbury's identity is

        (V D^2 V^T + a I)^-1 = (1/a) (I - V D~ V^T).

    The paper prints a I in place of (1/a) I in Eq. 12, which is not an inverse of anything unless a = 1. Since V is
    orthonormal, the root of the right-hand side has the same form: S = a^(-1/2) (I - V (I - (I - D~)^(1/2)) V^T).

    Args:
        V: `[d, r]`, orthonormal columns.
        D_squared: `[r]`, the eigenvalues of B that belong to them (squared singular values of J_b).
        ridge: a, above 0.
        X: `[d, m]`.

    Returns: S X, `[d, m]`.
    """
    shrink = 1 - np.sqrt(ridge / (ridge + D_squared))
    return (X - V @ (shrink[:, None] * (V.T @ X))) / math.sqrt(ridge)


def solve_woodbury(problem: RayleighProblem, num_directions: int, rank: int | None) -> tuple[NDArray[np.float64], int]:
    """Solves A n = lambda (V D^2 V^T + a I) n, where V D^2 V^T is B without what the truncation drops.

    The eigenproblem (V D^2 V^T + a I)^-1 A n = lambda n of the paper is not symmetric. With n = S y it becomes
    S A S y = lambda y, which is, so the result is real by construction.

    Args:
        problem: A and B, `[d, d]`.
        num_directions: k, from 1 to d.
        rank: eigenvectors of B to keep, from 1 to d; None keeps all that stand above rounding.

    Returns: `[d, k]` float64, the eigenvectors n of the k largest eigenvalues, and the number r of kept eigenvectors.

    Raises:
        SolverError: a = 0 (the identity divides by it), or a rank that is out of range.
    """
    d = len(problem.B)
    if problem.ridge == 0:
        raise SolverError("solver 'woodbury' divides by a = tau tr(B): give a tau above 0, or take solver 'dense'")
    if rank is not None and not 1 <= rank <= d:
        raise SolverError(f'rank is {rank}, expected 1 to {d}, the dimension of B')
    kept = d if rank is None else rank
    D_squared, V = scipy.linalg.eigh(problem.B, subset_by_index=(d - kept, d - 1))
    # Eigenvalues at the level of rounding have arbitrary signs and vectors; B acts there as zero.
    real = D_squared > d * np.finfo(np.float64).eps * D_squared[-1]
    D_squared, V = D_squared[real], V[:, real]
    half = apply_inverse_root(V, D_squared, problem.ridge, problem.A)
    whitened = apply_inverse_root(V, D_squared, problem.ridge, half.T)
    _, Y = scipy.linalg.eigh(whitened, subset_by_index=(d - num_directions, d - 1))
    return apply_inverse_root(V, D_squared, problem.ridge, Y), len(D_squared)
