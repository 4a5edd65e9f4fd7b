"""A basis in which every region of a sample is solved, where a space has too many dimensions for its Jacobian."""

from __future__ import annotations

import copy
import hashlib
import pathlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resefa_plugin.errors import DamagedFileError, NonFiniteError, ResefaError
from resefa_plugin.jacobian.region_jacobian import MAX_CHUNK, RegionJacobian
from resefa_plugin.jacobian.tangent_model import TangentModel
from resefa_plugin.machine.arrays import open_npz, reading
from resefa_plugin.machine.files import replacing
from resefa_plugin.rayleigh.operators import DenseGrams, FactoredGrams

# Chosen on the demo generator in StyleSpace, see benchmarks/README.md.
TILES = 16  # along the longer side of the picture
PROBES = 2 * TILES ** 2  # of a square picture: so many dimensions the basis has at most
# Of the largest eigenvalue: what is left out of a factor of a Gram matrix. Of B, a thousandth of the ridge at most.
NEGLIGIBLE = 1e-6
DEPENDENT = 1e-5  # of the longest row: what is left of one that repeats the others is rounding of float32
ORTHONORMAL = 1e-6  # by which a kept basis may be off

_KIND = 'resefa-basis'

Tile = tuple[slice, slice, slice]  # of a picture [C, h, w]


class CommonBasis:
    """An orthonormal basis of what a picture's tiles respond to, and the pictures J q of its vectors.

    The gradient J^T u of a pattern u on one tile lies in the span of what moves the tile. A random pattern of signs on
    each of 16 x 16 tiles gives the first half of the basis; the pattern that moves most along those gives the second,
    as in subspace iteration. It is a range finder (Halko, Martinsson and Tropp 2011) of which each probe is local, so
    that small regions count as much as large ones. In the span J is known exactly, and a region is a problem of a few
    hundred dimensions.

    Args:
        jacobian: of the sample, in the whole space; not computed.
        vectors: `[m, d]` float64, orthonormal rows.
        parts: by name of a region, the rows that its directions may be made of; None where all may be combined, and
            what is across the span changes nothing.

    Attributes:
        inner: the derivative in the coordinates of the basis, which `compute` computes.
    """

    def __init__(self, jacobian: RegionJacobian, vectors: NDArray[np.float64],
                 parts: Mapping[str, NDArray[np.int64]] | None = None):
        self.vectors, self.parts = vectors, parts
        self.inner = jacobian.within(vectors)

    @classmethod
    def compute(cls, jacobian: RegionJacobian, progress: Callable[[int, int], None] = lambda count, total: None,
                path: str | pathlib.Path | None = None) -> CommonBasis:
        """Finds the basis and its pictures: as many products J^T u as there are probes, then as many J q.

        Args:
            progress: called after each chunk of products with their number, and how many there are in all.
            path: a folder to keep both in, and to find them in again.

        Raises NonFiniteError and ResefaError as `RegionJacobian.compute` does.
        """
        tiles = list(picture_tiles(jacobian.image_shape))

        def report(done: int) -> None:
            progress(done, 4 * len(tiles))

        file = None if path is None else pathlib.Path(path) / f'basis-{jacobian.viewpoint.fingerprint()}-{TILES}.npz'
        vectors = _kept(file, jacobian.viewpoint.dim)
        if vectors is not None:
            report(2 * len(tiles))
            basis = cls(jacobian, vectors)
            basis.inner.compute(report, path)
            return basis
        generator = torch.Generator().manual_seed(0)
        first = cls(jacobian, _orthonormal(_pulled(jacobian, tiles, lambda tile: _signs(tile, generator), report)))
        jacobian.release()
        first.inner.compute(report)
        pictures = first.inner.matrix.unflatten(1, jacobian.image_shape)
        rows = _pulled(jacobian, tiles, lambda tile: _strongest(pictures[(slice(None), *tile)]), report)
        jacobian.release()
        vectors, columns = first.vectors, first.inner.matrix
        new = _orthonormal(rows, vectors)
        if len(new):
            second = cls(jacobian, new)
            second.inner.compute(report)
            parts = [columns, second.inner.matrix]
            if parts[0].device != parts[1].device:  # a GPU had room for one
                parts = [part.cpu() for part in parts]
            vectors, columns = np.concatenate([vectors, new]), torch.cat(parts)
        basis = cls(jacobian, vectors)
        if file is not None:
            _keep(file, vectors)
        basis.inner.take(columns, path)
        return basis

    @staticmethod
    def shared(jacobians: Sequence[RegionJacobian], progress: Callable[[int], None] = lambda count: None,
               path: str | pathlib.Path | None = None) -> NDArray[np.float64]:
        """A basis `[m, d]` of what the tiles respond to at several samples, orthonormal rows.

        Each tile is probed twice by a random pattern, at two of the samples where there are as many: PROBES products
        J^T u in all.

        Args:
            jacobians: of samples in one space, at one resolution.
            progress: called after each chunk of products with their number.
            path: a folder to keep it in, and to find it in again.

        Raises NonFiniteError and ResefaError as `RegionJacobian.compute` does.
        """
        tiles = list(picture_tiles(jacobians[0].image_shape))
        file = None
        if path is not None:
            names = ' '.join(jacobian.viewpoint.fingerprint() for jacobian in jacobians)
            file = pathlib.Path(path) / f'basis-{hashlib.sha256(names.encode()).hexdigest()[:16]}-{TILES}.npz'
            vectors = _kept(file, jacobians[0].viewpoint.dim)
            if vectors is not None:
                progress(2 * len(tiles))
                return vectors
        vectors = _orthonormal(np.concatenate([rows for _, rows in tile_gradients(jacobians, progress)]))
        if file is not None:
            _keep(file, vectors)
        return vectors

    def made_of(self, parts: Mapping[str, NDArray[np.int64]]) -> CommonBasis:
        """The same basis, where the directions of a region are made of some of the rows."""
        same = copy.copy(self)
        same.parts = parts
        return same

    def model(self) -> TangentModel:
        """The picture to first order in the span."""
        return TangentModel(self.vectors, self.inner.matrix, self.inner.gram)


def tile_gradients(jacobians: Sequence[RegionJacobian], progress: Callable[[int], None] = lambda count: None,
                   ) -> Iterator[tuple[list[int], NDArray[np.float64]]]:
    """J^T u of two random patterns of signs on each tile, at two of the samples where there are as many.

    Args:
        jacobians: of samples in one space, at one resolution.
        progress: called after each chunk of products with their number, PROBES in all.

    Yields: for each sample the numbers `[n]` of its tiles and the gradients `[n, d]`.

    Raises NonFiniteError and ResefaError as `RegionJacobian.compute` does.
    """
    tiles, generator = list(picture_tiles(jacobians[0].image_shape)), torch.Generator().manual_seed(0)
    for index, jacobian in enumerate(jacobians):
        probed = [number for turn in range(2) for number in range(len(tiles))
                  if (number + turn) % len(jacobians) == index]
        if probed:
            yield probed, _pulled(jacobian, [tiles[number] for number in probed],
                                  lambda tile: _signs(tile, generator), progress)
        jacobian.release()


def factored(grams: DenseGrams, vectors: NDArray[np.float64]) -> FactoredGrams:
    """Gram matrices `[m, m]` in a basis `[m, d]` as those of the whole space: exact in the span, nothing across it."""
    return FactoredGrams(vectors.T @ gram_root(grams.A), vectors.T @ gram_root(grams.B), grams.background)


def picture_tiles(image_shape: tuple[int, ...], along: int = TILES) -> Iterator[Tile]:
    """The tiles of a picture `(C, h, w)`, row by row, so many along its longer side at most."""
    channels, height, width = image_shape
    side = _side(image_shape, along)
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield slice(0, channels), slice(top, min(top + side, height)), slice(left, min(left + side, width))


def grid_shape(image_shape: tuple[int, ...], along: int = TILES) -> tuple[int, int]:
    """Rows and columns of the tiles of a picture `(C, h, w)`."""
    side = _side(image_shape, along)
    return -(-image_shape[1] // side), -(-image_shape[2] // side)


def _side(image_shape: tuple[int, ...], along: int) -> int:
    return -(-max(image_shape[1:]) // along)


def _signs(tile: Tile, generator: torch.Generator) -> Tensor:
    """A random pattern for a tile, `[C, h, w]` of its size."""
    shape = [part.stop - part.start for part in tile]
    return torch.randint(0, 2, shape, generator=generator) * 2.0 - 1


def _strongest(pictures: Tensor) -> Tensor:
    """The pattern `[C, h, w]` that pictures of a tile, `[m, C, h, w]`, share most: their first singular vector."""
    return torch.linalg.svd(pictures.flatten(1).cpu().double(), full_matrices=False)[2][0].view(pictures.shape[1:])


def _pulled(jacobian: RegionJacobian, tiles: Sequence[Tile], pattern: Callable[[Tile], Tensor],
            progress: Callable[[int], None]) -> NDArray[np.float64]:
    """J^T u for a pattern u on each tile, `[tiles, d]`."""
    rows = []
    for start in range(0, len(tiles), MAX_CHUNK):
        chosen = tiles[start:start + MAX_CHUNK]
        pictures = torch.zeros(len(chosen), *jacobian.image_shape)
        for picture, tile in zip(pictures, chosen, strict=True):
            picture[tile] = pattern(tile).float()
        rows.append(jacobian.vjp(pictures).cpu())
        if not rows[-1].isfinite().all():
            raise NonFiniteError(f'{jacobian.viewpoint.hook.name}: the Jacobian of {jacobian.viewpoint.sample.name} '
                                 'contains NaN or infinity')
        progress(len(chosen))
    return torch.cat(rows).double().numpy()


def _orthonormal(rows: NDArray[np.float64], known: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """An orthonormal basis of what rows `[n, d]` span beside known orthonormal ones; short rows count as long ones."""
    lengths = np.linalg.norm(rows, axis=1)
    rows = rows[lengths > DEPENDENT * lengths.max()]
    if not len(rows):
        raise ResefaError('the picture does not move with the latent: there is nothing to find directions in')
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    if known is not None:
        for _ in range(2):  # twice is enough (Kahan and Parlett)
            rows = rows - rows @ known.T @ known
    _, sizes, basis = np.linalg.svd(rows, full_matrices=False)
    new = basis[sizes > DEPENDENT * max(1.0, sizes[0])]
    if known is not None and len(new):
        new = np.linalg.qr((new - new @ known.T @ known).T)[0].T
    return np.ascontiguousarray(new)


def gram_root(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """F `[m, r]` with F F^T = a Gram matrix `[m, m]`, but for what is negligible of it."""
    values, vectors = np.linalg.eigh(gram)
    large = values > NEGLIGIBLE * max(values[-1], 0.0)
    return np.asarray(vectors[:, large] * np.sqrt(values[large]))


def _keep(file: pathlib.Path, vectors: NDArray[np.float64]) -> None:
    with replacing(file) as part, open(part, 'wb') as opened:
        np.savez(opened, kind=np.array(_KIND), key=np.array(file.stem), vectors=vectors)


def _kept(file: pathlib.Path | None, dim: int) -> NDArray[np.float64] | None:
    """The basis in a file; None if there is none, and with a warning if it is damaged."""
    if file is None or not file.exists():
        return None
    try:
        with reading(file, DamagedFileError), open_npz(file) as arrays:
            if arrays.read('kind') != _KIND or arrays.read('key') != file.stem:
                raise DamagedFileError('it holds something else than its name says')
            vectors = arrays.read('vectors')
            if vectors.dtype != np.float64 or vectors.ndim != 2 or vectors.shape[1] != dim or not len(vectors):
                raise DamagedFileError(f'it holds {vectors.dtype} {list(vectors.shape)}, expected float64 [m, {dim}]')
            if not np.abs(vectors @ vectors.T - np.eye(len(vectors))).max() < ORTHONORMAL:
                raise DamagedFileError('its rows are not orthonormal')
        return np.asarray(vectors)
    except DamagedFileError as error:
        warnings.warn(f'{error}. The basis is computed anew', stacklevel=2)
        return None
