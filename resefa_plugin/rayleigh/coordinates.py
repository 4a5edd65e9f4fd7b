"""Other coordinates for a Rayleigh quotient: a norm that knows where the latents are, and excluded directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from resefa_plugin.errors import SolverError

# Of the mean variance, added to each: covariances of latents are nearly singular, and a direction that latents never
# take must not get a ridge of infinity.
SHRINKAGE = 1e-2
DEPENDENT = 1e-6  # of the largest singular value: an excluded direction below it repeats the others


@dataclass(frozen=True, eq=False)
class Coordinates:
    """n = C y: the quotient is solved for y, in which the ridge of Eq. 10 is a I, and n is what is returned.

    C = K P. K is the root of a covariance of latents, so that in y the latents are spread equally and a I costs a
    direction n the more, the less the generator's own latents vary along it: a n^T Sigma^-1 n in place of a n^T n. P
    projects excluded directions away: those n are orthogonal to them.

    Attributes:
        roots: K K^T = Sigma, block by block along the diagonal, lower triangular; None where K is the identity.
        excluded: `[m, d]`, orthonormal rows in y; None where no direction is excluded.
    """

    roots: tuple[NDArray[np.float64], ...] | None = None
    excluded: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, dim: int, covariance: Sequence[NDArray[np.float64]] | None = None,
           orthogonal_to: NDArray[np.floating[Any]] | None = None) -> Coordinates | None:
        """Coordinates in which the latents are white and some directions do not exist.

        None where there is neither a covariance nor a direction to exclude.

        Args:
            dim: d.
            covariance: square blocks along the diagonal of the covariance of the latents, d rows in all; only its shape
                counts, since it is scaled so that its mean variance is 1.
            orthogonal_to: `[m, d]`, the directions that results shall be orthogonal to; of any length.

        Raises:
            SolverError: shapes that do not fit, values that are not finite, or nothing is left.
        """
        roots = None if covariance is None else _roots(covariance, dim)
        if orthogonal_to is None or not len(orthogonal_to):
            return None if roots is None else cls(roots)
        E = np.asarray(orthogonal_to, np.float64)
        if E.ndim != 2 or E.shape[1] != dim or not np.isfinite(E).all():
            raise SolverError(f'orthogonal_to has shape {list(E.shape)}, expected [m, {dim}] of finite numbers')
        return cls(roots, _independent(cls(roots).pull(E.T).T))  # n.e = y.(K^T e)

    def within(self, vectors: NDArray[np.float64]) -> Coordinates:
        """The same where no direction but n = Q^T c is allowed, as coordinates of c.

        Args:
            vectors: Q `[m, d]`, orthonormal rows.

        Raises SolverError if the excluded directions leave nothing of the span.
        """
        roots = None
        if self.roots is not None:  # n^T Sigma^-1 n = c^T (Q Sigma^-1 Q^T) c
            whitened = self._blocks(vectors.T, scipy.linalg.inv)
            roots = (scipy.linalg.cholesky(scipy.linalg.inv(whitened.T @ whitened), lower=True),)
        if self.excluded is None:
            return Coordinates(roots)
        directions = self._blocks(self.excluded.T, lambda K: scipy.linalg.inv(K.T)).T  # e = K^-T (K^T e)
        return Coordinates(roots, _independent(Coordinates(roots).pull(vectors @ directions.T).T))

    def latent(self, Y: NDArray[np.float64]) -> NDArray[np.float64]:
        """C y for each column of `Y [d, k]`."""
        if self.excluded is not None:
            Y = Y - self.excluded.T @ (self.excluded @ Y)
        return self._blocks(Y, lambda K: K)

    def solve(self, N: NDArray[np.float64]) -> NDArray[np.float64]:
        """The y of each column n of `N [d, k]`, as far as directions are not excluded."""
        Y = self._blocks(N, scipy.linalg.inv)
        return Y if self.excluded is None else Y - self.excluded.T @ (self.excluded @ Y)

    def pull(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        """C^T x for each column of `X [d, k]`."""
        X = self._blocks(X, lambda K: K.T)
        return X if self.excluded is None else X - self.excluded.T @ (self.excluded @ X)

    def gram(self, A: NDArray[np.float64]) -> NDArray[np.float64]:
        """C^T A C of a symmetric `A [d, d]`."""
        return self.pull(self.pull(A).T)

    def _blocks(self, X: NDArray[np.float64],
                side: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.float64]:
        if self.roots is None:
            return X
        ends = np.cumsum([len(K) for K in self.roots])[:-1]
        return np.concatenate([side(K) @ part for K, part in zip(self.roots, np.split(X, ends), strict=True)])


def _independent(E: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal rows of the same span as rows `[m, d]`. Raises SolverError if that is the whole space."""
    dim = E.shape[1]
    E = E / np.maximum(np.linalg.norm(E, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    _, scale, rows = np.linalg.svd(E, full_matrices=False)
    independent: NDArray[np.float64] = rows[scale > DEPENDENT * scale[0]]
    if len(independent) >= dim:
        raise SolverError('the directions that are excluded (orthogonal_to, or all that reach a region protected with '
                          f'weight inf) span all {dim} dimensions and leave nothing: exclude fewer, or give a finite '
                          'weight, such as 100')
    return independent


def _roots(covariance: Sequence[NDArray[np.float64]], dim: int) -> tuple[NDArray[np.float64], ...]:
    blocks = [np.asarray(block, np.float64) for block in covariance]
    if any(block.ndim != 2 or block.shape[0] != block.shape[1] for block in blocks) or sum(map(len, blocks)) != dim:
        raise SolverError(f'the covariance has blocks {[list(block.shape) for block in blocks]}, expected square ones '
                          f'of {dim} rows in all')
    if not all(np.isfinite(block).all() for block in blocks):
        raise SolverError('the covariance of the latents holds NaN or infinity, expected finite numbers')
    mean = sum(np.trace(block) for block in blocks) / dim
    if mean <= 0:
        raise SolverError(f'the mean variance of the latents is {mean:g}, expected a number above 0')
    return tuple(scipy.linalg.cholesky((block / mean + SHRINKAGE * np.eye(len(block))) / (1 + SHRINKAGE), lower=True)
                 for block in blocks)
