"""What a solver returns: unit directions of fixed sign, the quotients they attain, and how well they solve Eq. 11."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resefa_plugin.rayleigh.coordinates import Coordinates
from resefa_plugin.rayleigh.operators import FactoredGrams
from resefa_plugin.rayleigh.problem import RayleighProblem

# Components closer than this (relative to the largest) count as tied, so that rounding, and the 1e-8 by which solvers
# differ, cannot flip a sign.
SIGN_TIE = 1e-6


@dataclass(frozen=True, eq=False)
class Search:
    """How a matrix-free solver got there.

    Attributes:
        columns: products with (A, B) that it took; each is one jvp and two vjps of a network.
        converged: whether all residuals are below the tolerance.
        trace: tr(B0), which the ridge is relative to.
        trace_error: standard error of `trace`, relative; 0 where it is exact.
        grams: A and B as far as the products tell them: exact on all that was searched, too small elsewhere.
    """

    columns: int
    converged: bool
    trace: float
    trace_error: float
    grams: FactoredGrams


@dataclass(frozen=True, eq=False)
class RayleighSolution:
    """Directions that maximise n^T A n / n^T (B + a I) n, best first.

    The sign rule: the component of largest magnitude is positive; of components that tie within 1e-6 of the largest,
    the one of lowest index decides. Directions of equal eigenvalues span a unique subspace, but are any basis of it.

    Attributes:
        directions: `[k, d]` float64, unit rows, not orthogonal to each other in general.
        eigenvalues: `[k]` float64, descending: the quotient that each direction attains with the full A and B, also
            where the solver worked on an approximation of B.
        residuals: `[k]` float64, |A n - lambda (B + a I) n| / max(|A n|, sqrt(eps) |A|_F): 0 for an exact solution,
            about 1 for a vector that solves nothing. The floor is for directions that A ignores up to rounding.
        ridge: a = tau tr(B), Eq. 11.
        tau: the ridge relative to the trace of B.
        solver: name of the solver that was used.
        rank: eigenvectors of B that were kept; None where the solver does not truncate.
        search: how a matrix-free solver got there; None where A and B were matrices.
    """

    directions: NDArray[np.float64]
    eigenvalues: NDArray[np.float64]
    residuals: NDArray[np.float64]
    ridge: float
    tau: float
    solver: str
    rank: int | None = None
    search: Search | None = None


def fix_signs(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Flips the rows of `directions [k, d]` that break the sign rule of RayleighSolution."""
    magnitudes = np.abs(directions)
    tied = magnitudes >= (1 - SIGN_TIE) * magnitudes.max(axis=1, keepdims=True)
    deciding = np.take_along_axis(directions, tied.argmax(axis=1)[:, None], axis=1)
    return np.where(deciding < 0, -directions, directions)


def finish(problem: RayleighProblem, vectors: NDArray[np.float64], solver: str, rank: int | None,
           coordinates: Coordinates | None = None) -> RayleighSolution:
    """Turns a solver's vectors `[d, k]`, of any length, sign and order, into a RayleighSolution.

    Args:
        problem: in the coordinates that it was solved in, if there are any.
    """
    vectors = vectors / np.linalg.norm(vectors, axis=0)
    A_n = problem.A @ vectors
    B_n = problem.B @ vectors + problem.ridge * vectors
    eigenvalues = np.sum(vectors * A_n, axis=0) / np.sum(vectors * B_n, axis=0)
    residuals = relative_residuals(A_n, B_n, eigenvalues, float(np.linalg.norm(problem.A)))
    order = np.argsort(-eigenvalues, kind='stable')
    return RayleighSolution(
        directions=unit_rows(vectors[:, order], coordinates), eigenvalues=eigenvalues[order],
        residuals=residuals[order], ridge=problem.ridge, tau=problem.tau, solver=solver, rank=rank)


def relative_residuals(A_n: NDArray[np.float64], B_n: NDArray[np.float64], eigenvalues: NDArray[np.float64],
                       scale: float) -> NDArray[np.float64]:
    """|A n - lambda (B + a I) n| / max(|A n|, sqrt(eps) scale) of each column; `scale` is |A|_F or below it."""
    floor = np.sqrt(np.finfo(np.float64).eps) * scale
    lengths: NDArray[np.float64] = np.linalg.norm(A_n, axis=0)
    errors: NDArray[np.float64] = np.linalg.norm(A_n - eigenvalues * B_n, axis=0)
    relative: NDArray[np.float64] = errors / np.maximum(lengths, floor)
    return relative


def unit_rows(vectors: NDArray[np.float64], coordinates: Coordinates | None) -> NDArray[np.float64]:
    """Columns `[d, k]` in the solver's coordinates as unit rows `[k, d]` in those of the latent, of fixed sign."""
    vectors = vectors if coordinates is None else coordinates.latent(vectors)
    return fix_signs((vectors / np.linalg.norm(vectors, axis=0)).T)
