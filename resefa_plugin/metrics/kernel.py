"""KID: the squared maximum mean discrepancy of features under a polynomial kernel (Binkowski et al., 2018)."""

from __future__ import annotations

from torch import Tensor

from resefa_plugin.metrics.frechet import checked_features


def kernel_distance(reference: Tensor, features: Tensor) -> float:
    """The unbiased estimate with k(x, y) = (x . y / f + 1)^3, in float64; about 0, at times below, for equal sets.

    Args:
        reference: `[n, f]`. features: `[m, f]`.

    Raises:
        MetricError: as `frechet_distance`.
    """
    a, b = checked_features(reference, features)
    return (_mean_of_pairs(a) + _mean_of_pairs(b) - 2 * _kernel(a, b).mean()).item()


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _mean_of_pairs(a: Tensor) -> Tensor:
    """The mean of k over pairs of different rows."""
    kernel = _kernel(a, a)
    return (kernel.sum() - kernel.trace()) / (len(a) * (len(a) - 1))
