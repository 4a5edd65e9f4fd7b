"""The two Gram matrices of a Rayleigh quotient as operators: what a matrix-free solver needs to know of them."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from resefa_plugin.rayleigh.coordinates import Coordinates


class GramOperator(abc.ABC):
    """A = J_f^T J_f and B = J_b^T J_b, known by their products."""

    @property
    @abc.abstractmethod
    def dim(self) -> int:
        """Number of dimensions d."""

    @abc.abstractmethod
    def apply(self, X: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """A X and B X of `X [d, k]`, `[d, k]` float64 each, and x^T B0 x of each column, `[k]`.

        B0 is the B that the ridge is relative to: B itself unless some pixels of it weigh more than others.
        """

    @abc.abstractmethod
    def sketch(self, inside: int, outside: int,
               random: np.random.RandomState) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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

    inside: NDArray[np.float64]
    outside: NDArray[np.float64]
    background: float

    @property
    @override
    def dim(self) -> int:
        return len(self.inside)

    @override
    def apply(self, X: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        G_X = self.outside.T @ X
        return self.inside @ (self.inside.T @ X), self.outside @ G_X, np.square(G_X).sum(axis=0)

    @override
    def sketch(self, inside: int, outside: int,
               random: np.random.RandomState) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return (self.inside @ random.standard_normal((self.inside.shape[1], inside)),
                self.outside @ random.standard_normal((self.outside.shape[1], outside)))

    @override
    def trace(self, coordinates: Coordinates | None) -> float:
        if coordinates is None:
            return self.background
        return self.background * float(np.square(coordinates.pull(self.outside)).sum() / np.square(self.outside).sum())

    def quadratics(self, n: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """n^T A n and n^T B n of each row of `n [k, d]`."""
        return np.square(n @ self.inside).sum(axis=1), np.square(n @ self.outside).sum(axis=1)

    @classmethod
    def pooled(cls, grams: Sequence[FactoredGrams], weights: Sequence[float] | None = None) -> FactoredGrams:
        """The mean over samples, each scaled so that its tr(B0) is 1: none dominates, and each keeps its own ridge.

        Args:
            weights: how much each sample counts, above 0; None for all alike.
        """
        total = len(grams) if weights is None else sum(weights)
        scaled = [(math.sqrt(w / (total * g.background)), g)
                  for g, w in zip(grams, weights or [1.0] * len(grams), strict=True)]
        return cls(np.hstack([s * g.inside for s, g in scaled]), np.hstack([s * g.outside for s, g in scaled]), 1.0)


@dataclass(frozen=True, eq=False)
class DenseGrams(GramOperator):
    """A and B as matrices `[d, d]` float64.

    Attributes:
        A, B: symmetric, positive semi-definite.
        background: tr(B0).
    """

    A: NDArray[np.float64]
    B: NDArray[np.float64]
    background: float

    @property
    @override
    def dim(self) -> int:
        return len(self.A)

    @property
    def whole(self) -> bool:
        """Whether no pixel weighs more than others, so that the ridge is relative to tr(B) itself."""
        return bool(np.isclose(self.background, np.trace(self.B), rtol=1e-12, atol=0))

    @override
    def apply(self, X: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        B_X = self.B @ X
        return self.A @ X, B_X, np.sum(X * B_X, axis=0)

    @override
    def sketch(self, inside: int, outside: int,
               random: np.random.RandomState) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        # Their ranges are those of the roots, which would cost an eigendecomposition.
        return (self.A @ random.standard_normal((self.dim, inside)),
                self.B @ random.standard_normal((self.dim, outside)))

    @override
    def trace(self, coordinates: Coordinates | None) -> float:
        if coordinates is None:
            return self.background
        return self.background * float(np.trace(coordinates.gram(self.B)) / np.trace(self.B))

    def quadratics(self, n: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """n^T A n and n^T B n of each row of `n [k, d]`."""
        return np.sum((n @ self.A) * n, axis=1), np.sum((n @ self.B) * n, axis=1)

    @classmethod
    def pooled(cls, grams: Sequence[DenseGrams], weights: Sequence[float] | None = None) -> DenseGrams:
        """The mean over samples, each scaled so that its tr(B0) is 1: none dominates, and each keeps its own ridge.

        Args:
            weights: how much each sample counts, above 0; None for all alike.
        """
        zero, total = np.zeros_like(grams[0].A), len(grams) if weights is None else sum(weights)
        scaled = [(w / (total * g.background), g) for g, w in zip(grams, weights or [1.0] * len(grams), strict=True)]
        return cls(sum((s * g.A for s, g in scaled), zero), sum((s * g.B for s, g in scaled), zero), 1.0)
