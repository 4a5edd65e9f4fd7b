"""The Gram matrices of a region as products with a network's Jacobian, which is never formed."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import override

from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.machine.ranks import Ranks
from resefa_plugin.rayleigh.operators import GramOperator


class RegionOperator(GramOperator):
    """A = J_f^T J_f and B = J_b^T W J_b by jvp and vjp; memory for a few pictures, whatever the dimensions.

    Args:
        jacobian: J; not computed.
        foreground: bool `[h, w]`, the region at the Jacobian's resolution.
        weights: `[h, w]`, W: 0 in the region, 1 for an ordinary pixel of the background.
        ranks: processes that share the columns of each product; None where this one is alone.
    """

    def __init__(self, jacobian: RegionJacobian, foreground: NDArray[np.bool_], weights: NDArray[np.float32],
                 ranks: Ranks | None = None):
        self.jacobian, self.ranks = jacobian, ranks or Ranks()
        device = jacobian.viewpoint.device
        self._inside = torch.tensor(foreground, dtype=torch.float32, device=device)
        self._outside, self._weights = 1 - self._inside, torch.tensor(weights, dtype=torch.float32, device=device)

    @property
    @override
    def dim(self) -> int:
        return self.jacobian.viewpoint.dim

    @override
    def apply(self, X: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        if self.ranks.size == 1:
            return self._apply(X)
        # Equal shares, the last ones filled up with zeros, so that all ranks exchange one shape.
        share = -(-X.shape[1] // self.ranks.size)
        padded = np.zeros((self.dim, share * self.ranks.size))
        padded[:, :X.shape[1]] = X
        A_X, B_X, background = self._apply(padded[:, self.ranks.rank * share:(self.ranks.rank + 1) * share])
        rows = torch.from_numpy(np.vstack([A_X, B_X, background[None]]).T.copy()).to(self._inside.device)
        whole = torch.cat(self.ranks.all_gather(rows)).cpu().numpy().T[:, :X.shape[1]]
        return whole[:self.dim], whole[self.dim:-1], whole[-1]

    def _apply(self, X: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        pictures = self.jacobian.jvp(torch.from_numpy(np.ascontiguousarray(X.T)))
        background = (pictures * self._outside).double().square().flatten(1).sum(dim=1).cpu().numpy()
        pulled = self.jacobian.vjp(torch.cat([pictures * self._inside, pictures * self._weights]))
        A_X, B_X = pulled.cpu().double().numpy().reshape(2, *X.T.shape)
        return A_X.T, B_X.T, background

    @override
    def sketch(self, inside: int, outside: int,
               random: np.random.RandomState) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        seed = int(random.randint(2 ** 31))
        noise = torch.randn(inside + outside, *self.jacobian.image_shape, generator=torch.Generator().manual_seed(seed))
        noise = noise.to(self._inside.device)
        noise[:inside] *= self._inside
        noise[inside:] *= self._outside
        pulled = self.jacobian.vjp(noise).cpu().double().numpy().T
        return pulled[:, :inside], pulled[:, inside:]
