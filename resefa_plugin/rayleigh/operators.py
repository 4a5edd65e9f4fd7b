"""The two Gram matrices of a Rayleigh quotient as operators: what a matrix-free solver needs to know of them."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from resefa_plugin.rayleigh.coordinates import Coordinates


class GramOperator(abc.ABC):
    """A = J_f^T J_f and B = J_b^T J_b, known by their products.

    Attributes:
        dim: d.
    """

    dim: int

    @abc.abstractmethod
    def apply(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """A X and B X of `X [d, k]`, `[d, k]` float64 each, and x^T B0 x of each column, `[k]`.

        B0 is the B that the ridge is relative to: B itself unless some pixels of it weigh more than others.
        """

    @abc.abstractmethod
    def sketch(self, inside: int, outside: int, random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        """Random vectors of covariance A, `[d, inside]`, and of covariance B0, `[d, outside]`, float64.

        Only their ranges count where `trace` is known.
        """

    def trace(self, coordinates: Coordinates | None) -> float | None:
        """tr(B0), in the solver's coordinates, where it is known without estimating it."""
        return None


@dataclass(frozen=True, eq=False)
class FactoredGrams(GramOperator):
    """A = F F^T and B = G G^T with few columns: a sample's Gram matrices in thousands of dimensions.

    Attributes:
        inside: F `[d, m]` float64.
        outside: G `[d, m']` float64.
        background: tr(B0); that of G G^T is less where the factors left something out.
    """

    inside: np.ndarray
    outside: np.ndarray
    background: float

    @property
    def dim(self) -> int:
        return len(self.inside)

    def apply(self, X):
        G_X = self.outside.T @ X
        return self.inside @ (self.inside.T @ X), self.outside @ G_X, np.square(G_X).sum(axis=0)

    def sketch(self, inside, outside, random):
        return tuple(F @ random.standard_normal((F.shape[1], count)) for F, count in ((self.inside, inside), (self.outside, outside)))

    def trace(self, coordinates):
        if coordinates is None:
            return self.background
        return self.background * float(np.square(coordinates.pull(self.outside)).sum() / np.square(self.outside).sum())

    def quadratics(self, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """n^T A n and n^T B n of each row of `n [k, d]`."""
        return np.square(n @ self.inside).sum(axis=1), np.square(n @ self.outside).sum(axis=1)

    @classmethod
    def pooled(cls, grams: Sequence[FactoredGrams]) -> FactoredGrams:
        """The mean over samples, each scaled so that its tr(B0) is 1: none dominates, and each keeps its own ridge."""
        scales = [1 / np.sqrt(len(grams) * g.background) for g in grams]
        return cls(np.hstack([s * g.inside for s, g in zip(scales, grams)]), np.hstack([s * g.outside for s, g in zip(scales, grams)]), 1.0)


@dataclass(frozen=True, eq=False)
class DenseGrams(GramOperator):
    """A and B as matrices `[d, d]` float64.

    Attributes:
        A, B: symmetric, positive semi-definite.
        background: tr(B0).
    """

    A: np.ndarray
    B: np.ndarray
    background: float

    @property
    def dim(self) -> int:
        return len(self.A)

    @property
    def whole(self) -> bool:
        """Whether no pixel weighs more than others, so that the ridge is relative to tr(B) itself."""
        return bool(np.isclose(self.background, np.trace(self.B), rtol=1e-12, atol=0))

    def apply(self, X):
        B_X = self.B @ X
        return self.A @ X, B_X, np.sum(X * B_X, axis=0)

    def sketch(self, inside, outside, random):
        # Their ranges are those of the roots, which would cost an eigendecomposition.
        return tuple(M @ random.standard_normal((self.dim, count)) for M, count in ((self.A, inside), (self.B, outside)))

    def trace(self, coordinates):
        if coordinates is None:
            return self.background
        return self.background * float(np.trace(coordinates.gram(self.B)) / np.trace(self.B))

    def quadratics(self, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """n^T A n and n^T B n of each row of `n [k, d]`."""
        return tuple(np.sum((n @ M) * n, axis=1) for M in (self.A, self.B))

    @classmethod
    def pooled(cls, grams: Sequence[DenseGrams]) -> DenseGrams:
        """The mean over samples, each scaled so that its tr(B0) is 1: none dominates, and each keeps its own ridge."""
        return cls(*(sum(getattr(g, M) / (len(grams) * g.background) for g in grams) for M in 'AB'), 1.0)
