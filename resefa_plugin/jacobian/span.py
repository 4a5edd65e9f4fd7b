"""A viewpoint restricted to a few directions of its latent space."""

from __future__ import annotations

import copy
import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.linearization import Linearization


class Span(Viewpoint):
    """A viewpoint whose offsets are coordinates in a basis of its space: for derivatives in m dimensions.

    It stays where it is: what is moved, or at another resolution, is the whole viewpoint.

    Args:
        viewpoint: in the whole space.
        vectors: `[m, d]` float64, orthonormal rows.
    """

    def __init__(self, viewpoint: Viewpoint, vectors: NDArray[np.float64]):
        self.__dict__ |= copy.copy(viewpoint).__dict__
        self.whole, self.vectors = viewpoint, vectors
        self._rows = torch.from_numpy(vectors).float().to(viewpoint.device)

    @property
    @override
    def dim(self) -> int:
        return len(self.vectors)

    @override
    def images(self, offsets: Tensor) -> Tensor:
        return self.whole.images(offsets @ self._rows)

    @override
    def linearize(self) -> Linearization | None:
        whole = self.whole.linearize()
        if whole is None:
            return None
        pull = whole.pull
        return Linearization(lambda V: whole.push(V @ self._rows),
                             None if pull is None else lambda U: pull(U) @ self._rows.T, whole.in_parts)

    @override
    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.whole.fingerprint().encode())
        digest.update(self._rows.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]
