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

# What a correction may cost of the edit, to first order: the root mean square difference to the straight edit inside
# the region, over the change by it. An attribute of a face keeps nine tenths of its movement or more, as a rule.
LOSS = 0.1
# Weights of the region's anchor that are tried for it. A pixel of the rest weighs 1.
SMALLEST_MU, LARGEST_MU = 10.0, 1e3
RIDGE, SMALLEST_RIDGE = 1e-5, 1e-9  # below the smallest, rounding of A and B decides
BISECTIONS = 12  # of a factor of 100: mu to a tenth of a percent


def check_settings(mu: float | None, ridge: float) -> None:
    """Raises ResefaError for a weight or a ridge out of range."""
    if mu is not None and not (np.isfinite(mu) and mu > 0):
        raise ResefaError(f'mu is {mu}, expected a finite number above 0, or None to choose it for each edit')
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
    """Steps - (B + mu A + eps I)^-1 J^T W r for residuals r and any mu; W is mu in the region and 1 elsewhere.

    One generalised eigenproblem, A V = (B + eps I) V diag(values), serves all mu.

    Args:
        model: the derivative that A = J_f^T J_f, B = J_b^T J_b and J^T are of.
        ridge: eps relative to tr(A + B).
    """

    def __init__(self, model: TangentModel, partition: RegionPartition, ridge: float):
        self.model = model
        A, B = model.gram(partition)  # empty, as steps are, where nothing moves the picture
        eps = ridge * np.trace(A + B) or 1.0
        self._values: NDArray[np.float64] = np.zeros(0)
        self._vectors: NDArray[np.float64] = B
        if len(B):
            self._values, self._vectors = scipy.linalg.eigh(A, B + eps * np.eye(len(B)))

    def step(self, rest: Tensor, mask: Tensor, mu: float) -> tuple[NDArray[np.float64], float]:
        """The step `[d]` for a residual `[C, h, w]`, and by how much it lessens `size`, to first order."""
        gradient = self._vectors.T @ self.model.pull(torch.where(mask, mu * rest, rest))
        coordinates = gradient / (1 + mu * self._values)
        return -self.model.offset(self._vectors @ coordinates), float(gradient @ coordinates)

    def weight(self, rest: Tensor, mask: Tensor, loss: float) -> float:
        """The mu at which the first step of a straight edit changes its region by so much, to first order.

        Args:
            rest: `[C, h, w]`, of the straight edit: nothing inside.
            loss: the sum of squares inside the region that the step may come to.
        """
        energies = self._values * np.square(self._vectors.T @ self.model.pull(rest))
        low, high = np.log([SMALLEST_MU, LARGEST_MU])
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            if np.sum(energies / np.square(1 + np.exp(middle) * self._values)) > loss:
                low = middle
            else:
                high = middle
        return float(np.exp(high))
