"""The Jacobian of one sample computed by several processes, each of which keeps all columns of some pixels."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from resefa_plugin.errors import NonFiniteError, ResefaError
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.jacobian.span import Span
from resefa_plugin.jacobian.tile_grams import DirectGrams
from resefa_plugin.machine.ranks import Ranks


class ShardedJacobian(RegionJacobian):
    """A RegionJacobian whose tangents are shared out and whose Gram matrices are summed over the ranks.

    Every rank makes it and calls `compute` and `gram` alike. The columns are exchanged chunk by chunk, so that the
    ranks hold one matrix between them.

    Args:
        viewpoint: where the derivative is taken.
        ranks: the processes.
    """

    def __init__(self, viewpoint: Viewpoint, ranks: Ranks):
        super().__init__(viewpoint)
        self.ranks = ranks
        _, height, width = self.image_shape
        self._pixels = ranks.share(height * width)

    @override
    def within(self, vectors: NDArray[np.float64]) -> ShardedJacobian:
        return ShardedJacobian(Span(self.viewpoint, vectors), self.ranks)

    @override
    def compute(self, progress: Callable[[int], None] | None = None,
                path: str | pathlib.Path | None = None) -> ShardedJacobian:
        if path is not None:
            raise ResefaError('a kept Jacobian is whole, and each of several processes holds a part of it: leave out '
                              '--jacobian-dir')
        if self._matrix is not None:
            return self
        device, d = self.viewpoint.device, self.viewpoint.dim
        chunk = self.ranks.least(self._chunk(), device)
        self._matrix = torch.empty(d, self.image_shape[0] * len(self._pixels), device=device)
        for start in range(0, d, chunk * self.ranks.size):
            # The last tangents may be fewer than ranks: the others push zeros, to be of one shape.
            V = torch.zeros(chunk, d, device=device)
            own = range(start + self.ranks.rank * chunk, min(d, start + (self.ranks.rank + 1) * chunk))
            V[range(len(own)), own] = 1
            columns = torch.cat(self.ranks.all_gather(self._jvp_chunk(V).flatten(2)))[:d - start]  # [k, C, h * w]
            if not columns.isfinite().all():
                raise NonFiniteError(f'{self.viewpoint.hook.name}: the Jacobian of {self.viewpoint.sample.name} '
                                     'contains NaN or infinity')
            self._matrix[start:start + len(columns)] = columns[:, :, self._pixels.start:self._pixels.stop].flatten(1)
            if progress is not None:
                progress(len(columns))
        self.release()
        return self

    @override
    def product(self, mask: Tensor | NDArray[np.bool_] | None = None) -> Tensor:
        own = slice(self._pixels.start, self._pixels.stop)
        part = None if mask is None else torch.as_tensor(mask).flatten()[own, None].to(self.matrix.device)
        return self.ranks.sum(DirectGrams(self.matrix.unflatten(1, (self.image_shape[0], -1, 1))).product(part))
