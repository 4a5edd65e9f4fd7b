"""The Jacobian of a picture with respect to a latent offset: as an operator, as a matrix, and as Gram matrices."""

from __future__ import annotations

import functools
import math
import os
import pathlib
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resefa_plugin.errors import DamagedFileError, NonFiniteError, ResefaError, TangentError, check_number, check_type
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.kept_columns import read_columns, write_columns
from resefa_plugin.jacobian.reverse_mode import ReverseMode
from resefa_plugin.jacobian.span import Span
from resefa_plugin.jacobian.tile_grams import DirectGrams, TileGrams, pixel_grams
from resefa_plugin.linearization import Linearization, adjoint_mismatch
from resefa_plugin.machine.allocator import give_back
from resefa_plugin.machine.memory import COLUMNS, GRAPH, available_bytes, out_of_memory, room, tangents_at_once
from resefa_plugin.regions.partition import RegionPartition

if TYPE_CHECKING:
    from resefa_plugin.jacobian.common_basis import CommonBasis

MAX_CHUNK = 8  # tangents; measured on the demo generator: more are not faster, and cost memory
# Float32 at 1024 pixels: rounding flips the slope of activations near zero, measured as 4e-4. An error is order 1.
LINEARIZATION_TOLERANCE = 1e-2
SPOT_CHECKS = 2  # columns of a kept Jacobian that are computed again


class RegionJacobian:
    """J `[C * h * w, d]`: how the picture at a viewpoint changes with an offset of its latent.

    Forward mode: one pass gives a column of J for each tangent, so the full matrix costs d passes instead of the
    C * h * w of reverse mode, which is used, and announced, where an op of the network has no forward mode. Products
    with J and its transpose are available at any time; `matrix` and `gram` need `compute` first, which is what takes
    long. A computed Jacobian serves any number of regions.

    Args:
        viewpoint: where the derivative is taken, and of pictures of which size.
        chunk_size: tangents per pass; None to choose by the budget of `machine.memory`.
        gram_room: bytes that may be kept beside the columns, to make `product` quick; None to choose by the budget.

    Attributes:
        image_shape: `(C, h, w)` of the viewpoint's pictures.
        basis: what is known in the span of a few directions, where those were computed in place of all columns.
    """

    def __init__(self, viewpoint: Viewpoint, chunk_size: int | None = None, gram_room: int | None = None):
        check_type('viewpoint', viewpoint, Viewpoint)
        if chunk_size is not None:
            check_number('chunk_size', chunk_size, least=1, whole=True)
        self.viewpoint, self.image_shape = viewpoint, viewpoint.image_shape
        self.chunk_size, self.gram_room = chunk_size, gram_room
        self._push: Callable[[Tensor], Tensor] | None = None  # columns of J, once it is known which way
        self._pull: Callable[[Tensor], Tensor] | None = None  # rows of J, likewise
        self._reverse: ReverseMode | None = None  # autograd's graph of the picture
        self._matrix: Tensor | None = None  # [d, C * h * w] float32: rows are columns of J
        self._grams: DirectGrams | TileGrams | None = None
        self.basis: CommonBasis | None = None

    def _images(self, offset: Tensor) -> Tensor:
        """The function that is differentiated: `[d]` -> `[C, h, w]` float32."""
        return self.viewpoint.images(offset[None])[0].to(torch.float32)

    def __repr__(self) -> str:
        return f'<Jacobian at {self.viewpoint!r}>'

    def jvp(self, V: Tensor) -> Tensor:
        """J v for each row v of `V [k, d]`; returns `[k, C, h, w]` float32.

        Raises ResefaError if the memory does not suffice for one tangent.
        """
        return self._in_chunks(self._jvp_chunk, self._check(V, (self.viewpoint.dim,), 'V'))

    def vjp(self, U: Tensor) -> Tensor:
        """J^T u for each picture u of `U [k, C, h, w]`; returns `[k, d]` float32.

        By the network's own transposed pass where it has one, in chunks as `jvp`; else as `vjp_by_autograd`.

        Raises:
            TangentError: the network's own pass is not the transpose of the one of `jvp`.
            ResefaError: the memory does not suffice for one picture.
        """
        return self._in_chunks(self._vjp_chunk, self._check(U, self.image_shape, 'U'))

    def vjp_by_autograd(self, U: Tensor) -> Tensor:
        """The same by one backward pass of autograd for each picture.

        Its graph is kept until `release`, unless it takes more memory than it leaves.
        """
        U = self._check(U, self.image_shape, 'U')
        free = available_bytes(self.viewpoint.device)
        with self.viewpoint.hook.differentiable():
            rows = self._reverse_mode().pull(U)
        if free - available_bytes(self.viewpoint.device) > room(GRAPH, self.viewpoint.device):
            self._reverse = None
        return rows

    def within(self, vectors: NDArray[np.float64]) -> RegionJacobian:
        """The derivative in the coordinates of a basis `[m, d]` of orthonormal rows, to be computed."""
        return RegionJacobian(Span(self.viewpoint, vectors), self.chunk_size, self.gram_room)

    def release(self) -> None:
        """Gives back what products with J and its transpose keep, a linearization or a graph; they make it anew.

        The graph stays if `jvp` needs it.
        """
        if self._push in (None, self._forward_mode):
            self._reverse = None
        if self.__dict__.pop('_linearization', None) is not None:
            self._push = self._pull = None
            self._reverse = None
        give_back()

    def _reverse_mode(self) -> ReverseMode:
        if self._reverse is None:
            self._reverse = ReverseMode(self._images, torch.zeros(self.viewpoint.dim, device=self.viewpoint.device))
        return self._reverse

    def _in_chunks(self, function: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        parts: list[Tensor] = []
        start = 0
        while start < len(batch):
            try:
                parts.append(function(batch[start:start + self._chunk()]))
            except (RuntimeError, MemoryError) as error:
                self._halve_chunk(error)
            else:
                start += len(parts[-1])
        return torch.cat(parts)

    def _check(self, batch: Tensor, shape: tuple[int, ...], name: str) -> Tensor:
        check_type(name, batch, Tensor)
        if tuple(batch.shape[1:]) != shape or len(batch) < 1:
            raise ResefaError(f'{name} has shape {list(batch.shape)}, expected [k, {", ".join(map(str, shape))}]')
        return batch.to(self.viewpoint.device, torch.float32)

    def _jvp_chunk(self, V: Tensor) -> Tensor:
        if self._push is None:
            self._push = self._linearization.push if self._linearization else self._forward_or_reverse()
        return self._push(V)

    def _vjp_chunk(self, U: Tensor) -> Tensor:
        if self._pull is None:
            self._pull = self._checked_pull() or self.vjp_by_autograd
        return self._pull(U)

    def _checked_pull(self) -> Callable[[Tensor], Tensor] | None:
        """The network's own transposed pass, where it has one; believed only if it is that of `jvp` for a pair."""
        if self._linearization is None or self._linearization.pull is None:
            return None
        generator = torch.Generator().manual_seed(0)
        v = torch.randn(1, self.viewpoint.dim, generator=generator).to(self.viewpoint.device)
        mismatch = adjoint_mismatch(v[0], self._linearization.push(v)[0], self._linearization.pull, generator)
        if mismatch:
            raise TangentError(f'{self.viewpoint.hook.name}: its linearization and the transpose of it disagree, '
                               f'{mismatch}; report this with the version of torch')
        return self._linearization.pull

    def _forward_mode(self, V: Tensor) -> Tensor:
        zero = torch.zeros(self.viewpoint.dim, device=self.viewpoint.device)
        with torch.no_grad(), self.viewpoint.hook.differentiable():
            columns: Tensor = torch.func.vmap(lambda v: torch.func.jvp(self._images, (zero,), (v,))[1])(V)
        return columns

    def _forward_or_reverse(self) -> Callable[[Tensor], Tensor]:
        """Forward mode, or backward passes, with a warning, where it fails: for an op that has no rule, as a rule."""
        zero = torch.zeros(self.viewpoint.dim, device=self.viewpoint.device)
        try:
            self._forward_mode(zero[None])
            return self._forward_mode
        except RuntimeError as error:
            if out_of_memory(error):
                raise
            reason = str(error).partition('\n')[0]
        with self.viewpoint.hook.differentiable():
            push, cost = self._reverse_mode().push()
        warnings.warn(f'{self.viewpoint.hook.name}: forward-mode AD does not work ({reason}). Reverse mode is used '
                      f'instead: {cost}', stacklevel=2)

        def reverse(V: Tensor) -> Tensor:
            with self.viewpoint.hook.differentiable():
                return push(V)

        return reverse

    @functools.cached_property
    def _linearization(self) -> Linearization | None:
        """The network's own derivative, where it has one; believed only if it agrees with forward mode on a tangent."""
        linearization = self.viewpoint.linearize()
        if linearization is not None:
            v = torch.randn(1, self.viewpoint.dim, generator=torch.Generator().manual_seed(0)).to(self.viewpoint.device)
            expected = self._forward_mode(v)
            if not expected.isfinite().all() or not expected.any():
                return None  # no scale to compare with: forward mode shows what is wrong
            error = ((linearization.push(v) - expected).norm() / expected.norm()).item()
            if not error < LINEARIZATION_TOLERANCE:
                raise TangentError(f'{self.viewpoint.hook.name}: its linearization is off by {error:.2g} from '
                                   'forward-mode AD; report this with the version of torch')
        return linearization

    def _chunk(self) -> int:
        if self.chunk_size is None:
            self.chunk_size = min(MAX_CHUNK, self.viewpoint.dim)
            if self._linearization is None or not self._linearization.in_parts:
                shape, device = self.viewpoint.hook.image_shape, self.viewpoint.device
                self.chunk_size = min(self.chunk_size, tangents_at_once(shape, device, self._bytes))
        return self.chunk_size

    @property
    def _bytes(self) -> int:
        """Of the columns."""
        return 4 * self.viewpoint.dim * math.prod(self.image_shape)

    def _halve_chunk(self, error: Exception) -> None:
        """Goes on with half as many tangents after an error that says that memory ran out; raises any other."""
        if not out_of_memory(error):
            raise error
        chunk = self._chunk()
        if chunk == 1:
            raise ResefaError('the memory does not suffice for one tangent: choose a smaller --resolution or another '
                              '--device') from error
        self.chunk_size = chunk // 2
        if self.viewpoint.device.type == 'cuda':
            torch.cuda.empty_cache()

    def compute(self, progress: Callable[[int], None] | None = None,
                path: str | pathlib.Path | None = None) -> RegionJacobian:
        """Computes all columns, in chunks; the chunk is halved when memory runs out. Does nothing if it has been done.

        Args:
            progress: called after each chunk with the number of tangents that it had.
            path: a folder to keep the matrix in, as a memory-mapped file that a later run with the same network,
                sample, space and resolution finds, checks and uses; if it is damaged, it is computed anew, with a
                warning. None keeps it in memory, `d * C * h * w * 4` bytes.

        Gives back what the products took: see `release`.

        Returns: itself.

        Raises:
            NonFiniteError: a column contains NaN or infinity.
            ResefaError: the memory does not suffice for one tangent, or the folder cannot be written.
        """
        if self._matrix is not None:
            return self
        if path is None:
            self._matrix = self._fill(self._empty(), progress)
        else:
            file = self._file(path)
            self._matrix = self._kept(file)
            if self._matrix is None:
                shape = self.viewpoint.dim, *self.image_shape
                write_columns(file, shape, lambda matrix: self._fill(matrix, progress))
                self._matrix = read_columns(file, shape)
            elif progress is not None:
                progress(self.viewpoint.dim)
        self.release()
        return self

    def take(self, matrix: Tensor, path: str | pathlib.Path | None = None) -> None:
        """Takes columns `[d, C * h * w]` that were computed elsewhere; `path` as in `compute`."""
        if path is not None:
            file, shape = self._file(path), (self.viewpoint.dim, *self.image_shape)
            write_columns(file, shape, lambda kept: kept.copy_(matrix))
            matrix = read_columns(file, shape)
        self._matrix = matrix

    def is_kept(self, path: str | pathlib.Path | None) -> bool:
        """Whether `compute` would find the matrix in this folder."""
        return path is not None and os.path.exists(self._file(path))

    def _file(self, path: str | pathlib.Path) -> pathlib.Path:
        return pathlib.Path(path) / f'jacobian-{self.viewpoint.fingerprint()}.npy'

    def _empty(self) -> Tensor:
        """Room for the matrix: on an NVIDIA GPU if there is ample (others have no float64), else in main memory."""
        shape = self.viewpoint.dim, math.prod(self.image_shape)
        if self.viewpoint.device.type == 'cuda' and self._bytes < room(COLUMNS, self.viewpoint.device):
            return torch.empty(shape, device=self.viewpoint.device)
        most = room(COLUMNS, torch.device('cpu'))
        if self._bytes > most:
            raise ResefaError(f"the Jacobian of space '{self.viewpoint.space.name}' needs {self._bytes / 1e9:.1f} "
                              f'GB and may take {most / 1e9:.1f} GB: choose fewer --layers, a smaller --resolution, '
                              'a larger --memory, or a folder for it with --jacobian-dir')
        return torch.empty(shape)

    def _kept(self, file: pathlib.Path) -> Tensor | None:
        """The columns in a file; None if there is none, and with a warning if they are not those of this Jacobian.

        Two columns are computed anew and compared.
        """
        if not os.path.exists(file):
            return None
        try:
            matrix = read_columns(file, (self.viewpoint.dim, *self.image_shape))
            chosen = torch.randperm(self.viewpoint.dim, generator=torch.Generator().manual_seed(0))[:SPOT_CHECKS]
            units = torch.eye(self.viewpoint.dim, device=self.viewpoint.device)[chosen]
            expected, found = self.jvp(units).flatten(1).cpu(), matrix[chosen]
            error = ((found - expected).norm() / (expected.norm() or 1)).item()
            if not error < LINEARIZATION_TOLERANCE:
                raise DamagedFileError(f'{file}: columns {chosen.tolist()} are off by {error:.2g}')
            return matrix
        except DamagedFileError as error:
            warnings.warn(f'{error}. The Jacobian is computed anew', stacklevel=2)
            return None

    def _fill(self, matrix: Tensor, progress: Callable[[int], None] | None) -> Tensor:
        start = 0
        while start < self.viewpoint.dim:
            count = min(self._chunk(), self.viewpoint.dim - start)
            V = torch.zeros(count, self.viewpoint.dim, device=self.viewpoint.device)
            V[:, start:start + count] = torch.eye(count, device=self.viewpoint.device)
            try:
                columns = self._jvp_chunk(V)
            except (RuntimeError, MemoryError) as error:
                self._halve_chunk(error)
                continue
            if not columns.isfinite().all():
                raise NonFiniteError(f'{self.viewpoint.hook.name}: the Jacobian of {self.viewpoint.sample.name} '
                                     'contains NaN or infinity')
            matrix[start:start + count] = columns.flatten(1).to(matrix.device)
            start += count
            if progress is not None:
                progress(count)
        return matrix

    @property
    def computed(self) -> bool:
        """Whether all columns are known: `matrix`, `gram` and `product` work."""
        return self._matrix is not None

    @property
    def serves_regions(self) -> bool:
        """Whether regions are solved without further products: all columns are known, or those of a common basis."""
        return self.computed or self.basis is not None

    @property
    def matrix(self) -> Tensor:
        """The columns of J as rows, `[d, C * h * w]` float32. Raises ResefaError before `compute`."""
        if self._matrix is None:
            raise ResefaError('this Jacobian is not computed yet: call compute() first')
        return self._matrix

    def product(self, mask: Tensor | NDArray[np.bool_] | None = None) -> Tensor:
        """J^T diag(mask) J of a boolean mask `[h, w]` at this resolution, or J^T J; `[d, d]` float64, symmetric.

        The first call takes as long as J^T J. Where memory allows, it leaves sums over tiles behind, by which every
        further mask takes a fraction of a second, whatever its size; see `TileGrams`.

        Raises ResefaError before `compute`, or for a mask of another shape or kind.
        """
        if mask is not None:
            mask = torch.as_tensor(mask)
            if mask.dtype != torch.bool or tuple(mask.shape) != self.image_shape[1:]:
                raise ResefaError(f'mask is {mask.dtype} {list(mask.shape)}, expected torch.bool '
                                  f'{list(self.image_shape[1:])}')
            mask = mask.to(self.matrix.device)
        if self._grams is None:
            self._grams = pixel_grams(self.matrix.unflatten(1, self.image_shape), self.gram_room)
        return self._grams.product(mask)

    def gram(self, partition: RegionPartition) -> tuple[Tensor, Tensor]:
        """A = J_f^T J_f and B = J_b^T J_b of a partition (Eq. 3 and 5), `[d, d]` float64 each.

        Products are summed in float64. The smaller part is computed and the larger one is the difference to J^T J: that
        is exact to rounding unless the difference is tiny, in which case it is computed as well.

        Raises ResefaError before `compute`, RegionError if the region vanishes at the Jacobian's resolution.
        """
        check_type('partition', partition, RegionPartition)
        foreground = torch.tensor(partition.at(*self.image_shape[1:]))
        part = foreground if foreground.float().mean() <= 0.5 else ~foreground
        total, small = self.product(), self.product(part)
        large = total - small
        if large.trace() < 1e-6 * total.trace():
            large = self.product(~part)
        return (small, large) if part is foreground else (large, small)


def tangent_seconds(jacobian: RegionJacobian) -> float:
    """Seconds of one column, from a chunk of tangents after another one that warms up."""
    chunk = min(MAX_CHUNK, jacobian.viewpoint.dim)
    V = torch.eye(chunk, jacobian.viewpoint.dim, device=jacobian.viewpoint.device)
    jacobian.jvp(V)
    start = time.perf_counter()
    jacobian.jvp(V).sum().item()  # waits for a GPU
    return (time.perf_counter() - start) / chunk
