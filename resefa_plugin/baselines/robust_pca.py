"""Robust principal components: a symmetric matrix as a low-rank one plus a sparse one."""

from __future__ import annotations

import math

import numpy as np

from resefa_plugin.errors import SolverError

TOLERANCE, MAX_ITERATIONS = 1e-7, 500
GROWTH, CEILING = 1.5, 1e7  # of the penalty, per iteration and in all


def robust_pca(M: np.ndarray, sparsity: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Minimises |L|_* + sparsity |S|_1 subject to L + S = M: the convex form of robust PCA (Candes et al., JACM 2011).

    By the inexact augmented Lagrangian method (Lin et al., arXiv 1009.5055): L is M - S + Y / mu with its eigenvalues
    shrunk by 1 / mu, S is M - L + Y / mu with its entries shrunk by sparsity / mu, and the multiplier Y and the penalty
    mu grow.

    Args:
        M: `[d, d]` float64, symmetric.
        sparsity: weight of the sparse part; None for 1 / sqrt(d), which recovers L and S exactly under the paper's
            conditions.

    Returns: L and S, `[d, d]`, symmetric.

    Raises SolverError if it does not converge, or for a zero matrix.
    """
    norm = float(np.linalg.norm(M, 2))
    if not norm > 0:
        raise SolverError('robust PCA of a zero matrix: the region has no first-order change')
    sparsity = 1 / math.sqrt(len(M)) if sparsity is None else sparsity
    Y = M / max(norm, float(np.abs(M).max()) / sparsity)
    S, mu = np.zeros_like(M), 1.25 / norm
    ceiling = CEILING * mu
    for _ in range(MAX_ITERATIONS):
        values, vectors = np.linalg.eigh(M - S + Y / mu)
        L = (vectors * _shrunk(values, 1 / mu)) @ vectors.T
        S = _shrunk(M - L + Y / mu, sparsity / mu)
        gap = M - L - S
        if np.linalg.norm(gap) < TOLERANCE * np.linalg.norm(M):
            return L, S
        Y, mu = Y + mu * gap, min(GROWTH * mu, ceiling)
    raise SolverError(f'robust PCA did not converge in {MAX_ITERATIONS} iterations: '
                      f'{np.linalg.norm(gap) / np.linalg.norm(M):.2g} of the matrix is left')


def _shrunk(values: np.ndarray, by: float) -> np.ndarray:
    return np.sign(values) * np.maximum(np.abs(values) - by, 0)
