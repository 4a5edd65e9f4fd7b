"""The matrices of a Rayleigh quotient, checked before anything is solved."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray

from resefa_plugin.errors import SolverError
from resefa_plugin.rayleigh.coordinates import Coordinates

TAU = 1e-3  # the paper's ridge, relative to tr(B)
# Gram matrices of float32 pictures are symmetric and semi-definite to about 1e-7 of their largest entry; these leave
# room for that and still catch a matrix that is something else.
ASYMMETRIC = 1e-5
INDEFINITE = 1e-5


@dataclass(frozen=True, eq=False)
class RayleighProblem:
    """max over unit n of n^T A n / n^T (B + a I) n, a = tau tr(B) (Eq. 7 and 11).

    Attributes:
        A: `[d, d]` float64, J_f^T J_f: the change inside the region.
        B: `[d, d]` float64, J_b^T J_b: the change outside it.
        tau: the ridge relative to tr(B), at least 0.
        ridge: a; B + a I is positive definite to working precision.
    """

    A: NDArray[np.float64]
    B: NDArray[np.float64]
    tau: float
    ridge: float

    @classmethod
    def checked(cls, A: torch.Tensor | NDArray[Any], B: torch.Tensor | NDArray[Any], tau: float,
                trace: float | None = None, coordinates: Coordinates | None = None) -> RayleighProblem:
        """Converts A and B to float64, in the given coordinates, and refuses whatever has no answer.

        `trace` takes the place of tr(B) in the ridge.

        Raises:
            SolverError: not a matrix of finite real numbers, not square, of different sizes, not symmetric, A or B
                zero or noticeably indefinite, tau negative, or B + a I singular to working precision.
        """
        if not isinstance(tau, Real) or not np.isfinite(tau) or tau < 0:
            raise SolverError(f'tau is {tau!r}, expected a number of at least 0 ({TAU:g} is the paper\'s)')
        A, B = _matrix(A, 'A'), _matrix(B, 'B')
        if A.shape != B.shape:
            raise SolverError(f'A has shape {list(A.shape)} and B has shape {list(B.shape)}: expected Gram matrices of '
                              'one Jacobian, [d, d] both')
        if not A.any():
            raise SolverError('A is zero: no direction changes the region to first order. Choose a region that the '
                              'generator paints, or another latent space')
        if not B.any():
            raise SolverError('B is zero: no direction changes anything outside the region, so that the ridge '
                              'a = tau tr(B) is zero too. Choose a smaller region')
        if coordinates is not None:
            A, B = coordinates.gram(A), coordinates.gram(B)
        _check_semidefinite(A, 'A')
        least = _check_semidefinite(B, 'B')
        ridge = float(tau) * float(np.trace(B) if trace is None else trace)
        rounding = len(B) * np.finfo(np.float64).eps
        if least + ridge <= rounding * (np.linalg.norm(B) + ridge):  # the bounds leave it open: a very small tau
            smallest, largest = _extremes(B)
            if smallest + ridge <= rounding * (largest + ridge):
                raise SolverError(f'B + a I is singular with tau = {tau:g} (eigenvalues of B from {smallest:.3g} to '
                                  f'{largest:.3g}): give a larger tau, such as 1e-3')
        return cls(A, B, float(tau), ridge)


def _matrix(value: torch.Tensor | NDArray[Any], name: str) -> NDArray[np.float64]:
    """A finite symmetric matrix as float64; rounding errors of its symmetry are averaged away."""
    if isinstance(value, torch.Tensor):
        if value.is_complex():
            raise SolverError(f'{name} is {value.dtype}, expected real numbers')
        value = value.detach().cpu().double().numpy()
    if not isinstance(value, np.ndarray) or value.dtype.kind not in 'fiu':
        raise SolverError(f'{name} is {getattr(value, "dtype", type(value).__name__)}, expected a torch tensor or a '
                          'numpy array of real numbers')
    if value.ndim != 2 or value.shape[0] != value.shape[1] or not value.size:
        raise SolverError(f'{name} has shape {list(value.shape)}, expected a square matrix [d, d]')
    matrix = value.astype(np.float64)
    bad = np.count_nonzero(~np.isfinite(matrix))
    if bad:
        raise SolverError(f'{name} holds {bad} NaN or infinite entries of {matrix.size}: the Jacobian it was made from '
                          'is not finite')
    asymmetry = np.abs(matrix - matrix.T).max()
    if asymmetry > ASYMMETRIC * np.abs(matrix).max():
        raise SolverError(f'{name} is not symmetric (|{name} - {name}^T| up to {asymmetry:.3g}, entries up to '
                          f'{np.abs(matrix).max():.3g}): expected a Gram matrix J^T J')
    return (matrix + matrix.T) / 2


def _check_semidefinite(matrix: NDArray[np.float64], name: str) -> float:
    """A bound below the smallest eigenvalue of a symmetric matrix that is positive semi-definite up to rounding.

    A Cholesky factor of the matrix plus a permitted shift proves it at a fifth of the cost of the eigenvalues, which
    are computed where there is no factor. The shift is safe: the largest entry of the diagonal is below the largest
    eigenvalue.
    """
    shift = INDEFINITE * float(matrix.diagonal().max())
    try:
        scipy.linalg.cholesky(matrix + shift * np.eye(len(matrix)), overwrite_a=True, check_finite=False)
        return -shift
    except scipy.linalg.LinAlgError:
        smallest, largest = _extremes(matrix)
    if smallest < -INDEFINITE * largest:
        raise SolverError(f'{name} is indefinite (eigenvalues from {smallest:.3g} to {largest:.3g}): expected a Gram '
                          'matrix J^T J, which has none below zero')
    return smallest


def _extremes(matrix: NDArray[np.float64]) -> tuple[float, float]:
    """The smallest and the largest eigenvalue of a symmetric matrix."""
    spectrum = scipy.linalg.eigvalsh(matrix, check_finite=False)
    return float(spectrum[0]), float(spectrum[-1])
