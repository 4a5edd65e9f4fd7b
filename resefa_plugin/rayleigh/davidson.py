"""The matrix-free solver: a preconditioned block method that knows A and B by their products only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from resefa_plugin.errors import SolverError
from resefa_plugin.rayleigh.coordinates import Coordinates
from resefa_plugin.rayleigh.operators import FactoredGrams, GramOperator
from resefa_plugin.rayleigh.problem import TAU
from resefa_plugin.rayleigh.solution import RayleighSolution, Search, relative_residuals, unit_rows

TOLERANCE = 1e-3  # of residuals; eigenvalues are as good as its square
BLOCK = 8  # columns per step: a chunk of tangents. More per step take more in all, fewer leave the cores idle
# Columns of the start that sketch B. They cost nothing in the end: what they take, the better preconditioner saves.
BACKGROUND_SKETCH = 16
PROBES = 16  # vectors that estimate what is left of tr(B); with the sketch about 1 % of it
REPEATED = 1e-8  # a column of which less is new, relative, is rounding
ROUNDING = 1e-7  # of the largest eigenvalue of S^T B S: below it is rounding of float32 products


def solve_davidson(operator: GramOperator, num_directions: int, *, tau: float = TAU, tolerance: float = TOLERANCE,
                   max_columns: int | None = None, coordinates: Coordinates | None = None,
                   progress: Callable[[int, float], None] = lambda columns, residual: None,
                   seed: int = 0) -> RayleighSolution:
    """The best directions of n^T A n / n^T (B + a I) n, a = tau tr(B0) (Eq. 7, 10 and 11), from products alone.

    Block Davidson (Morgan and Scott 1986): each step adds the preconditioned residuals of the best Ritz vectors to the
    basis, and Rayleigh and Ritz choose among all columns so far. LOBPCG (Knyazev 2001) is the same with only the last
    three blocks. A column costs a jvp and two vjps of a network and d numbers of memory, so that keeping it is cheap
    and forgetting it is not; on the same products this is at least as good as LOBPCG. The preconditioner is
    (B^ + a I)^-1 with the Nystroem approximation B^ = B S (S^T B S)^-1 S^T B, which the products give for nothing,
    inverted by Woodbury's identity as in Eq. 12.

    tr(B0), where the operator does not know it, is what the basis holds of it plus a Hutchinson estimate of the rest
    (Meyer et al., Hutch++, 2021) by vectors that take no other part.

    Args:
        operator: A and B.
        num_directions: k, from 1 to d.
        tau: the ridge relative to tr(B0), above 0.
        tolerance: of the relative residuals (see RayleighSolution); eigenvalues are as good as its square.
        max_columns: products to spend at most; None allows 40 + 25 k.
        coordinates: in which to solve; None means those of the latent.
        progress: called after each step with the columns so far and the largest residual.
        seed: of the random start.

    Returns: the k best directions; `search` says whether they converged.

    Raises:
        SolverError: A or B is zero or not finite, or an argument is out of range.
    """
    d = operator.dim
    if not 1 <= num_directions <= d:
        raise SolverError(f'num_directions is {num_directions}, expected 1 to {d}, the dimension of A and B')
    if not (np.isfinite(tau) and tau > 0):
        raise SolverError(f"tau is {tau!r}, and solver 'davidson' needs a number above 0: {TAU:g} is the paper's")
    if not tolerance > 0:
        raise SolverError(f'tolerance is {tolerance!r}, expected a number above 0')
    known = operator.trace(coordinates)
    coordinates = coordinates or Coordinates()
    budget = min(d, max(num_directions, 40 + 25 * num_directions if max_columns is None else max_columns))
    block = max(BLOCK, num_directions)

    inside, outside = operator.sketch(block, BACKGROUND_SKETCH + PROBES, np.random.RandomState(seed))
    probes = coordinates.pull(outside[:, BACKGROUND_SKETCH:])
    new = coordinates.pull(np.hstack([inside, outside[:, :BACKGROUND_SKETCH]]))
    basis = _Basis(operator, coordinates)
    while True:
        added = basis.add(new[:, :budget - basis.size])
        if not basis.A_S.any():
            raise SolverError('A is zero: no direction changes the region to first order. Choose a region that the '
                              'generator paints, or another latent space')
        trace, error = (known, 0.0) if known is not None else basis.trace(probes)
        if not trace > 0:
            raise SolverError('B is zero: no direction changes anything outside the region, so that the ridge '
                              'a = tau tr(B) is zero too. Choose a smaller region')
        ridge = tau * trace
        values, X, A_X, B_X = basis.ritz(block, ridge)
        residuals = relative_residuals(A_X, B_X, values, float(np.linalg.norm(A_X[:, 0])))
        worst = residuals[:num_directions].max() if len(values) >= num_directions else np.inf
        progress(basis.size, float(worst))
        converged = bool(worst <= tolerance)
        if converged or basis.size >= budget or not added:
            break
        rest = (A_X - values * B_X)[:, residuals > tolerance]
        new = basis.precondition(rest, ridge)
    return RayleighSolution(
        directions=unit_rows(X[:, :num_directions], coordinates), eigenvalues=values[:num_directions],
        residuals=residuals[:num_directions], ridge=ridge, tau=tau, solver='davidson',
        search=Search(basis.size, converged or basis.size == d, trace, error, basis.grams(trace)))


class _Basis:
    """Orthonormal columns S `[d, m]` in the solver's coordinates and what is known of A and B on them.

    Args:
        operator, coordinates: as of `solve_davidson`.
    """

    def __init__(self, operator: GramOperator, coordinates: Coordinates):
        self.operator, self.coordinates = operator, coordinates
        empty: NDArray[np.float64] = np.zeros((operator.dim, 0))
        self.S, self.A_S, self.B_S = empty, empty, empty  # in the solver's coordinates
        self.N, self.A_N, self.B_N = empty, empty, empty  # the same in those of the latent
        self.background = 0.0  # tr(S^T B0 S)

    @property
    def size(self) -> int:
        """Number of columns m."""
        return int(self.S.shape[1])

    def add(self, new: NDArray[np.float64]) -> int:
        """Adds what is new in some columns; returns how many that were."""
        new = new / np.maximum(np.linalg.norm(new, axis=0), np.finfo(np.float64).tiny)
        for _ in range(2):  # twice is enough
            new = new - self.S @ (self.S.T @ new)
            new, scale, _ = scipy.linalg.qr(new, mode='economic', pivoting=True)
            new = new[:, np.abs(np.diag(scale)) > REPEATED]
        if not new.size:
            return 0
        N = self.coordinates.latent(new)
        A_N, B_N, background = self.operator.apply(N)
        if not (np.isfinite(A_N).all() and np.isfinite(B_N).all()):
            raise SolverError('products with A or B hold NaN or infinity: the Jacobian they were made from is not '
                              'finite')
        self.S, self.N = np.hstack([self.S, new]), np.hstack([self.N, N])
        self.A_N, self.B_N = np.hstack([self.A_N, A_N]), np.hstack([self.B_N, B_N])
        self.A_S = np.hstack([self.A_S, self.coordinates.pull(A_N)])
        self.B_S = np.hstack([self.B_S, self.coordinates.pull(B_N)])
        self.background += background.sum()
        return int(new.shape[1])

    def trace(self, probes: NDArray[np.float64]) -> tuple[float, float]:
        """tr(B0) and its relative standard error, from vectors `[d, p]` of covariance B0."""
        rest = np.square(probes - self.S @ (self.S.T @ probes)).sum(axis=0)
        total = self.background + rest.mean()
        return float(total), float(rest.std(ddof=1) / np.sqrt(len(rest)) / total) if total else 0.0

    def ritz(self, count: int, ridge: float) -> tuple[
            NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """The best Ritz values, descending, their unit vectors X `[d, count]`, A X and (B + a I) X."""
        A, B = ((M + M.T) / 2 for M in (self.S.T @ self.A_S, self.S.T @ self.B_S))
        try:
            _, Y = scipy.linalg.eigh(A, B + ridge * np.eye(len(B)))
        except scipy.linalg.LinAlgError as error:
            raise SolverError(f'B + a I is singular to the precision of its products with a = {ridge:.3g}: give a '
                              'larger tau, such as 1e-3') from error
        Y = Y[:, ::-1][:, :count]
        Y = Y / np.linalg.norm(Y, axis=0)
        X, A_X = self.S @ Y, self.A_S @ Y
        B_X = self.B_S @ Y + ridge * X
        return np.sum(X * A_X, axis=0) / np.sum(X * B_X, axis=0), X, A_X, B_X

    def precondition(self, R: NDArray[np.float64], ridge: float) -> NDArray[np.float64]:
        """(B^ + a I)^-1 R."""
        F = _root(self.S, self.B_S)
        inner: NDArray[np.float64] = scipy.linalg.solve(F.T @ F + ridge * np.eye(F.shape[1]), F.T @ R, assume_a='pos')
        return (R - F @ inner) / ridge

    def grams(self, trace: float) -> FactoredGrams:
        """A and B as far as the products tell them, where tr(B0) is `trace`."""
        return FactoredGrams(_root(self.N, self.A_N), _root(self.N, self.B_N), trace)


def _root(N: NDArray[np.float64], M_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """F `[d, m]` with F F^T = M N (N^T M N)^-1 N^T M, the Nystroem approximation of M."""
    small = N.T @ M_N
    values, U = np.linalg.eigh((small + small.T) / 2)
    kept = values > ROUNDING * values[-1]
    root: NDArray[np.float64] = M_N @ (U[:, kept] / np.sqrt(values[kept]))
    return root
