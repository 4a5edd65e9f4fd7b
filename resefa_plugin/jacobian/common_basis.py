"""A basis in which every region of a sample is solved, where a space has too many dimensions for its Jacobian."""

from __future__ import annotations

import copy
import hashlib
import pathlib
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from resefa_plugin.errors import DamagedFileError, NonFiniteError, ResefaError
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import MAX_CHUNK, RegionJacobian
from resefa_plugin.jacobian.tangent_model import TangentModel
from resefa_plugin.linearization import Linearization
from resefa_plugin.machine.arrays import open_npz, reading
from resefa_plugin.machine.files import replacing
from resefa_plugin.rayleigh.operators import DenseGrams, FactoredGrams

# Chosen on the demo generator in StyleSpace, see benchmarks/README.md.
TILES = 16  # along the longer side of the picture
ROUNDS = 2  # probes of each tile, in a picture of 3 channels
PROBES = ROUNDS * TILES ** 2  # of a square picture: about as many dimensions has the basis
# Of the largest eigenvalue: what is left out of a factor of a Gram matrix. Of B, a thousandth of the ridge at most.
NEGLIGIBLE = 1e-6
DEPENDENT = 1e-5  # of the longest row: what is left of one that repeats the others is rounding of float32
ORTHONORMAL = 1e-6  # by which a kept basis may be off


class CommonBasis:
    """An orthonormal basis of what a picture's tiles respond to, and the pictures J q of its vectors.

    The gradient of a random sign pattern on one tile, J^T u, lies in the span of the directions that move the tile. Two
    of each of 16 x 16 tiles span nearly everything that moves a region: a range finder (Halko, Martinsson and Tropp
    2011) of which each probe is local, so that small regions count as much as large ones. In the span J is known
    exactly, and a region is a problem of a few hundred dimensions.

    Args:
        jacobian: of the sample, in the whole space; not computed.
        vectors: `[m, d]` float64, orthonormal rows.

    Attributes:
        inner: the derivative in the coordinates of the basis, which `compute` computes.
    """

    def __init__(self, jacobian: RegionJacobian, vectors: NDArray[np.float64]):
        self.vectors = vectors
        self.inner = RegionJacobian(_Span(jacobian.viewpoint, vectors), jacobian.chunk_size, jacobian.gram_room)

    @classmethod
    def compute(cls, jacobian: RegionJacobian, progress: Callable[[int, int], None] = lambda count, total: None,
                path: str | pathlib.Path | None = None) -> CommonBasis:
        """Finds the basis and its pictures: as many products J^T u as there are probes, then as many J q.

        Args:
            progress: called after each chunk of products with their number, and how many there are in all.
            path: a folder to keep both in, and to find them in again.

        Raises NonFiniteError and ResefaError as `RegionJacobian.compute` does.
        """
        count = sum(1 for _ in _tiles(jacobian.image_shape)) * ROUNDS
        file = None if path is None else \
            pathlib.Path(path) / f'basis-{jacobian.viewpoint.fingerprint()}-{TILES}x{ROUNDS}.npz'
        vectors = _kept(file, jacobian.viewpoint.dim)
        if vectors is None:
            vectors = _orthonormal(_probed(jacobian, lambda done: progress(done, 2 * count)))
            if file is not None:
                with replacing(file) as part, open(part, 'wb') as opened:
                    np.savez(opened, vectors=vectors)
        else:
            progress(count, 2 * count)
        jacobian.release()
        basis = cls(jacobian, vectors)
        basis.inner.compute(lambda done: progress(done, 2 * count), path)
        return basis

    def model(self) -> TangentModel:
        """The picture to first order in the span."""
        return TangentModel(self.vectors, self.inner.matrix, self.inner.gram)

    def factored(self, grams: DenseGrams) -> FactoredGrams:
        """Gram matrices `[m, m]` in the basis as those of the whole space: exact in the span, nothing across it."""
        return FactoredGrams(self.vectors.T @ _root(grams.A), self.vectors.T @ _root(grams.B), grams.background)


class _Span(Viewpoint):
    """A viewpoint whose offsets are coordinates in a basis `[m, d]` of its space."""

    def __init__(self, viewpoint: Viewpoint, vectors: NDArray[np.float64]):
        self.__dict__ |= copy.copy(viewpoint).__dict__
        self._whole, self._vectors = viewpoint, torch.from_numpy(vectors).float().to(viewpoint.device)

    @property
    @override
    def dim(self) -> int:
        return len(self._vectors)

    @override
    def images(self, offsets: Tensor) -> Tensor:
        return self._whole.images(offsets @ self._vectors)

    @override
    def linearize(self) -> Linearization | None:
        whole = self._whole.linearize()
        if whole is None:
            return None
        pull = whole.pull
        return Linearization(lambda V: whole.push(V @ self._vectors),
                             None if pull is None else lambda U: pull(U) @ self._vectors.T, whole.in_parts)

    @override
    def fingerprint(self) -> str:
        digest = hashlib.sha256(self._whole.fingerprint().encode())
        digest.update(self._vectors.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


def _tiles(image_shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """The tiles of a picture `(C, h, w)`, row by row."""
    _, height, width = image_shape
    side = -(-max(height, width) // TILES)
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield slice(top, top + side), slice(left, left + side)


def _probed(jacobian: RegionJacobian, progress: Callable[[int], None]) -> NDArray[np.float64]:
    """J^T u for random signs u on each tile, `[probes, d]`."""
    generator, tiles = torch.Generator().manual_seed(0), list(_tiles(jacobian.image_shape)) * ROUNDS
    rows = []
    for start in range(0, len(tiles), MAX_CHUNK):
        chosen = tiles[start:start + MAX_CHUNK]
        pictures = torch.zeros(len(chosen), *jacobian.image_shape)
        for picture, (rows_, columns) in zip(pictures, chosen, strict=True):
            part = picture[:, rows_, columns]
            part[:] = torch.randint(0, 2, part.shape, generator=generator) * 2 - 1
        rows.append(jacobian.vjp(pictures).cpu())
        if not rows[-1].isfinite().all():
            raise NonFiniteError(f'{jacobian.viewpoint.hook.name}: the Jacobian of {jacobian.viewpoint.sample.name} '
                                 'contains NaN or infinity')
        progress(len(chosen))
    return torch.cat(rows).double().numpy()


def _orthonormal(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """An orthonormal basis of the span of rows `[n, d]`, each of which counts the same, however long it is."""
    lengths = np.linalg.norm(rows, axis=1)
    rows = rows[lengths > DEPENDENT * lengths.max()]
    if not len(rows):
        raise ResefaError('the picture does not move with the latent: there is nothing to find directions in')
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    _, sizes, basis = np.linalg.svd(rows, full_matrices=False)
    return np.ascontiguousarray(basis[sizes > DEPENDENT * sizes[0]])


def _root(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """F `[m, r]` with F F^T = a Gram matrix `[m, m]`, but for what is negligible of it."""
    values, vectors = np.linalg.eigh(gram)
    large = values > NEGLIGIBLE * max(values[-1], 0.0)
    return np.asarray(vectors[:, large] * np.sqrt(values[large]))


def _kept(file: pathlib.Path | None, dim: int) -> NDArray[np.float64] | None:
    """The basis in a file; None if there is none, and with a warning if it is damaged."""
    if file is None or not file.exists():
        return None
    try:
        with reading(file, DamagedFileError), open_npz(file) as arrays:
            vectors = arrays.read('vectors')
            if vectors.dtype != np.float64 or vectors.ndim != 2 or vectors.shape[1] != dim or not len(vectors):
                raise DamagedFileError(f'it holds {vectors.dtype} {list(vectors.shape)}, expected float64 [m, {dim}]')
            if not np.abs(vectors @ vectors.T - np.eye(len(vectors))).max() < ORTHONORMAL:
                raise DamagedFileError('its rows are not orthonormal')
        return np.asarray(vectors)
    except DamagedFileError as error:
        warnings.warn(f'{error}. The basis is computed anew', stacklevel=2)
        return None
