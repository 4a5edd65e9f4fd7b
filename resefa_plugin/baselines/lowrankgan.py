"""LowRankGAN (Zhu et al., NeurIPS 2021): principal vectors of the region in the null space of the rest."""

from __future__ import annotations

import time

import numpy as np

from resefa_plugin.baselines.problem import MethodError, MethodResult, Problem
from resefa_plugin.baselines.robust_pca import robust_pca

RANK_TOLERANCE = 1e-6   # of the largest eigenvalue: below it the low-rank part is rounding
VANISHED = 1e-4         # of a principal vector is left in the null space: its direction is rounding


def lowrankgan_directions(problem: Problem) -> MethodResult:
    """Low-rank parts of J_f^T J_f and J_b^T J_b by robust PCA, then the null-space projection (I - V_b V_b^T) v_f.

    The Jacobian is that of all layers, and so are the edits unless layers are chosen.

    Raises MethodError if the rest leaves no null space, or nothing of the region lies in it.
    """
    jacobian, seconds, extrapolated = problem.jacobians.get(problem.sample)
    start = time.perf_counter()
    A, B = (matrix.cpu().numpy() for matrix in jacobian.gram(problem.region))
    directions = project_principal_vectors(A, B)[:problem.num_directions]
    return MethodResult.of(directions, problem.hook.space(problem.space, problem.layers),
                    {'jacobian': seconds, 'solve': time.perf_counter() - start}, ('jacobian',) if extrapolated else ())


def project_principal_vectors(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """The region's principal vectors, largest first, projected on the null space of the rest's low-rank part.

    Args:
        A, B: `[d, d]` float64, Gram matrices of the region and of the rest.

    Returns: unit rows `[k, d]`.
    """
    V_f, V_b = _principal_vectors(A), _principal_vectors(B)
    if V_b.shape[1] == len(B):
        raise MethodError(f'LowRankGAN: the low-rank part of the rest has all {len(B)} dimensions, and there is no '
                          'null space to project on')
    projected = (V_f - V_b @ (V_b.T @ V_f)).T
    lengths = np.linalg.norm(projected, axis=1, keepdims=True)
    left = lengths[:, 0] > VANISHED
    if not left.any():
        raise MethodError('LowRankGAN: the principal vectors of the region lie in the span of those of the rest, so '
                          'that nothing is left of them in its null space')
    return projected[left] / lengths[left]


def _principal_vectors(gram: np.ndarray) -> np.ndarray:
    """Eigenvectors of the low-rank part that stand above rounding, `[d, r]`, largest first."""
    low_rank, _ = robust_pca(gram)
    values, vectors = np.linalg.eigh(low_rank)
    return vectors[:, values > RANK_TOLERANCE * values[-1]][:, ::-1]
