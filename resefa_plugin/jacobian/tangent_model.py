"""The picture of a sample to first order, in all coordinates of its latent space or in a few that matter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.regions.partition import RegionPartition

# A new vector of a basis is kept if this much of it is new: below, float32 rounding decides where it points.
NEW = 1e-4


class TangentModel:
    """x(o) ~ x(0) + J o for offsets o in the span of a basis: pictures J q_i, and the Gram matrices of those.

    One kept Jacobian is such a model (all coordinates); the factors of a low-rank Gram matrix are one (their span);
    a few Krylov vectors are one where nothing is known of the sample.

    Attributes:
        basis: `[m, d]` float64, orthonormal rows q_i; None means the unit vectors, all coordinates, m = d.
        columns: `[m, C * h * w]` float32, the pictures J q_i.
        products: how many products J v and J^T u it took, for the record.
    """

    def __init__(self, basis: NDArray[np.float64] | None, columns: Tensor,
                 gram: Callable[[RegionPartition], tuple[Tensor, Tensor]], products: int = 0):
        self.basis, self.columns, self._gram, self.products = basis, columns, gram, products

    @classmethod
    def of_jacobian(cls, jacobian: RegionJacobian) -> TangentModel:
        """All coordinates, of a Jacobian that is computed. Raises ResefaError if it is not."""
        return cls(None, jacobian.matrix, jacobian.gram)

    @classmethod
    def of_basis(cls, jacobian: RegionJacobian, vectors: NDArray[np.float64]) -> TangentModel:
        """The span of `vectors [k, d]`: the factors of low-rank Gram matrices, or what an iterative solver found."""
        builder = _Builder(jacobian)
        builder.add(np.asarray(vectors, np.float64))
        return builder.model()

    @classmethod
    def krylov(cls, jacobian: RegionJacobian, weights: Tensor, pictures: Tensor, blocks: int) -> TangentModel:
        """A basis from products with J and J^T alone: block Lanczos on J^T diag(weights) J.

        First come J^T of the given pictures; each further block is J^T diag(weights) J times the last. The solution of
        (J^T diag(weights) J + e I) x = J^T u lies in their span to a tolerance that falls as for conjugate gradients,
        but one basis serves all steps, at no further product.

        Args:
            weights: `[h, w]`, of the pixels.
            pictures: `[k, C, h, w]`.
            blocks: number of blocks of k vectors, at least 1.
        """
        builder, weights = _Builder(jacobian), weights.to(jacobian.viewpoint.device)
        pictures = pictures.to(jacobian.viewpoint.device)
        for _ in range(blocks):
            pushed = builder.add(builder.pull(pictures))
            if not len(pushed):
                break
            pictures = pushed * weights
        return builder.model()

    def gram(self, partition: RegionPartition) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A and B of Eq. 5 and 3 in the coordinates of the basis, `[m, m]` float64 each."""
        A, B = self._gram(partition)
        return A.cpu().double().numpy(), B.cpu().double().numpy()

    def coordinates(self, vector: NDArray[np.float64]) -> NDArray[np.float64]:
        """`[d]` -> `[m]`, of the part of a vector in the span."""
        return vector if self.basis is None else self.basis @ vector

    def offset(self, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        """`[m]` -> `[d]`."""
        return coordinates if self.basis is None else coordinates @ self.basis

    def pull(self, picture: Tensor) -> NDArray[np.float64]:
        """J^T u of a picture u `[C, h, w]`, in the coordinates of the basis, `[m]` float64."""
        return (self.columns @ picture.to(self.columns).flatten()).cpu().double().numpy()


class _Builder:
    """An orthonormal basis that grows, with its pictures."""

    def __init__(self, jacobian: RegionJacobian):
        self.jacobian, self.products = jacobian, 0
        self.basis: NDArray[np.float64] = np.zeros((0, jacobian.viewpoint.dim))
        self.pictures: list[Tensor] = []

    def add(self, vectors: NDArray[np.float64]) -> Tensor:
        """Adds what is new in `vectors [k, d]`; returns the pictures of the new vectors, `[<= k, C, h, w]`."""
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = vectors[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0]
        for _ in range(2):  # twice is enough (Kahan and Parlett)
            vectors = vectors - vectors @ self.basis.T @ self.basis
        _, sizes, new = np.linalg.svd(vectors, full_matrices=False)
        new = new[sizes > NEW]
        if not len(new):
            return torch.zeros(0, *self.jacobian.image_shape, device=self.jacobian.viewpoint.device)
        new -= new @ self.basis.T @ self.basis
        self.basis = np.concatenate([self.basis, new / np.linalg.norm(new, axis=1, keepdims=True)])
        self.products += len(new)
        self.pictures.append(self.jacobian.jvp(torch.from_numpy(self.basis[-len(new):])))
        return self.pictures[-1]

    def pull(self, pictures: Tensor) -> NDArray[np.float64]:
        """J^T u of each picture u of `[k, C, h, w]`, `[k, d]`."""
        self.products += len(pictures)
        return self.jacobian.vjp(pictures).cpu().double().numpy()

    def model(self) -> TangentModel:
        """The basis so far as a model."""
        nothing = torch.zeros(0, *self.jacobian.image_shape, device=self.jacobian.viewpoint.device)
        pictures = torch.cat([nothing, *self.pictures])

        def gram(partition: RegionPartition) -> tuple[Tensor, Tensor]:
            mask = torch.tensor(partition.at(*pictures.shape[2:])).to(pictures.device)
            inside, outside = (pictures[:, :, part].flatten(1).cpu().double() for part in (mask, ~mask))
            return inside @ inside.T, outside @ outside.T

        return TangentModel(self.basis, pictures.flatten(1), gram, self.products)
