"""The least squares problem of an edit that keeps the background: two anchors, and a Gauss-Newton step towards both."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from resefa_plugin.errors import ResefaError
from resefa_plugin.jacobian.tangent_model import TangentModel
from resefa_plugin.regions.partition import RegionPartition

MU = 10.0
RIDGE, SMALLEST_RIDGE = 1e-5, 1e-9  # below the smallest, rounding of A and B decides


def check_settings(mu: float, ridge: float) -> None:
    """Raises ResefaError for a weight or a ridge out of range."""
    if not (np.isfinite(mu) and mu > 0):
        raise ResefaError(f'mu is {mu}, expected a finite number above 0 ({MU:g} is the default)')
    if not (np.isfinite(ridge) and ridge >= SMALLEST_RIDGE):
        raise ResefaError(f'ridge is {ridge}, expected a finite number of at least {SMALLEST_RIDGE:g} '
                          f'({RIDGE:g} is the default)')


def residual(picture: Tensor, original: Tensor, straight: Tensor, mask: Tensor) -> Tensor:
    """What a picture `[C, h, w]` differs by from its anchors: in the region the straight edit, elsewhere the original.

    Args:
        mask: bool `[h, w]`, the region.
    """
    return picture - torch.where(mask, straight, original)


def size(rest: Tensor, mask: Tensor, mu: float) -> float:
    """The sum of squares of a residual `[C, h, w]`, in the region times mu: what is minimised."""
    squares = rest.double().square().sum(dim=0)
    return (mu * squares[mask].sum() + squares[~mask].sum()).item()


class GaussNewton:
    """Steps - (B + mu A + eps I)^-1 J^T W r for residuals r, W = mu in the region and 1 elsewhere.

    Args:
        model: the derivative that A = J_f^T J_f, B = J_b^T J_b and J^T are of.
        mu, ridge: see BackgroundKeeper; eps = ridge * tr(B + mu A).
    """

    def __init__(self, model: TangentModel, partition: RegionPartition, mu: float, ridge: float):
        self.model, self.mu = model, mu
        A, B = model.gram(partition)
        normal = B + mu * A  # of a basis of nothing, where nothing moves the picture, it is empty, as steps are
        eps = ridge * np.trace(normal) or 1.0  # a picture that does not move is at its anchors, whatever the step
        self._factor = scipy.linalg.cho_factor(normal + eps * np.eye(len(normal)))

    def step(self, rest: Tensor, mask: Tensor) -> NDArray[np.float64]:
        """The step `[d]` for a residual `[C, h, w]`."""
        gradient = self.model.pull(torch.where(mask, self.mu * rest, rest))
        return -self.model.offset(scipy.linalg.cho_solve(self._factor, gradient))
