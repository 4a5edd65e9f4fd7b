"""FID: the Frechet distance of Gaussians that are fitted to features (Heusel et al., 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from resefa_plugin.errors import MetricError


def frechet_distance(reference: Tensor, features: Tensor) -> float:
    """|m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2)), in float64.

    With C = X^T X / (n - 1) of centred features X, the eigenvalues of C1 C2 are the squared singular values of
    X1 X2^T / sqrt((n - 1)(m - 1)): the trace of the root is their sum. So there is no root of a singular matrix, and
    2,048 features of a few pictures cost little. The distance of few pictures is biased upwards: compare equal numbers.

    Args:
        reference: `[n, f]`. features: `[m, f]`.

    Raises:
        MetricError: fewer than two rows, different widths, or values that are not finite.
    """
    a, b = checked_features(reference, features)
    a_mean, b_mean = a.mean(dim=0), b.mean(dim=0)
    a, b = (a - a_mean) / (len(a) - 1) ** 0.5, (b - b_mean) / (len(b) - 1) ** 0.5
    # At most f singular values are not zero; the smaller of the two products has them all.
    cross = a @ b.T if len(a) * len(b) <= a.shape[1] ** 2 else _root(a) @ _root(b).T
    root = torch.linalg.svdvals(cross).sum()
    return ((a_mean - b_mean).square().sum() + a.square().sum() + b.square().sum() - 2 * root).item()


def _root(x: Tensor) -> Tensor:
    """R `[f, f]` with R^T R = X^T X, for more rows than columns."""
    return torch.linalg.qr(x, mode='r').R


def checked_features(reference: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """Both as float64 in main memory. Raises MetricError unless they are two or more finite rows of one width."""
    for name, rows in (('reference', reference), ('features', features)):
        if rows.ndim != 2 or len(rows) < 2 or rows.shape[1] != reference.shape[-1]:
            raise MetricError(f'{name} has shape {list(rows.shape)}, expected [n, f] with two pictures or more and the '
                              'same f')
        if not rows.isfinite().all():
            raise MetricError(f'{name} contains NaN or infinity')
    return reference.cpu().double(), features.cpu().double()
