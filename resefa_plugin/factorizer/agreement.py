"""How well directions that were pooled over samples serve each one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resefa_plugin.rayleigh.operators import DenseGrams, FactoredGrams


@dataclass(frozen=True)
class Agreement:
    """One sample of a pool.

    Attributes:
        sample: its name.
        own: the Rayleigh quotient of the best direction of this sample alone.
        pooled: the quotient that the first pooled direction attains on this sample.
        overlap: of the subspaces of its own and of the pooled directions, the mean squared cosine of their principal
            angles: 1 for the same subspace, k / d for unrelated ones.
        weight: how much the sample counts in the pool, in (0, 1].
    """

    sample: str
    own: float
    pooled: float
    overlap: float
    weight: float = 1.0

    @property
    def share(self) -> float:
        """What the pooled direction attains of the best quotient on this sample, about 0 to 1."""
        return self.pooled / self.own if self.own > 0 else float('nan')


def agreement(sample: str, grams: DenseGrams | FactoredGrams, own: NDArray[np.float64], pooled: NDArray[np.float64],
              tau: float, weight: float = 1.0) -> Agreement:
    """Compares directions `[k, d]` of a sample alone with pooled ones, by the quotient of Eq. 11 on that sample."""
    k = min(len(own), len(pooled))
    own_basis, pooled_basis = (np.linalg.qr(n[:k].T)[0] for n in (own, pooled))
    overlap = float(np.square(own_basis.T @ pooled_basis).sum() / k)
    return Agreement(sample, _quotient(grams, own[:1], tau), _quotient(grams, pooled[:1], tau), overlap, weight)


def _quotient(grams: DenseGrams | FactoredGrams, n: NDArray[np.float64], tau: float) -> float:
    inside, outside = grams.quadratics(n)
    return float(inside[0] / (outside[0] + tau * grams.background * np.square(n).sum()))


def describe(rows: Sequence[Agreement]) -> str:
    """One sentence: on how much of the samples the pooled direction is nearly as good as their own."""
    shares = [row.share for row in rows]
    overlap = np.mean([row.overlap for row in rows])
    return (f'The first pooled direction attains {np.median(shares):.0%} (median; {min(shares):.0%} to '
            f'{max(shares):.0%}) of the best quotient of each of the {len(rows)} samples; the subspaces overlap by '
            f'{overlap:.0%}.')
