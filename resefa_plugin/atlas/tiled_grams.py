"""Gram matrices of the tiles of a picture, from which those of any region are summed."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from resefa_plugin.jacobian.common_basis import grid_shape, picture_tiles
from resefa_plugin.rayleigh.operators import DenseGrams

# A float16 has 11 bits: an element is off by 2^-11 of itself. Times a tile's scale it is never above 1.
STORED = np.float16
MEMBERS = np.int16


class TiledGrams:
    """J^T diag(tile) J of each tile of a picture, in m coordinates of a latent space.

    Of a tile, the squares of all coordinates are known, and the products of those two that move it most: its k members.
    The other products are taken to be 0, which leaves the matrix positive.

    Args:
        members: `[T, k]` int16, ascending.
        values: `[T, k (k + 1) / 2]` float16, the upper triangle of the members' matrix over its scale, row by row; may
            be mapped from a file.
        scales: `[T]` float64.
        energies: `[T, m]` float64, the squares.
        image_shape: `(C, h, w)` of the pictures.
        along: tiles along the longer side of the picture, at most.

    Attributes:
        dim: m.
    """

    def __init__(self, members: NDArray[np.int16], values: NDArray[np.float16], scales: NDArray[np.float64],
                 energies: NDArray[np.float64], image_shape: tuple[int, int, int], along: int):
        self.members, self.values, self.scales, self.energies = members, values, scales, energies
        self.image_shape, self.along, self.dim = image_shape, along, energies.shape[1]

    @classmethod
    def of(cls, matrix: Tensor, image_shape: tuple[int, int, int], along: int, kept: int) -> TiledGrams:
        """Those of columns `[m, C * h * w]`, of which so many are members of a tile."""
        pictures = matrix.unflatten(1, image_shape)
        grams = ((pixels @ pixels.T).cpu().double().numpy() for pixels in
                 (pictures[(slice(None), *tile)].flatten(1) for tile in picture_tiles(image_shape, along)))
        return cls._stored(grams, image_shape, along, kept)

    @classmethod
    def pooled(cls, samples: Sequence[TiledGrams], weights: NDArray[np.float64]) -> TiledGrams:
        """The sum of samples, each by its weights `[n, T]`."""
        first = samples[0]
        grams = (sum((weight * sample.dense(number) for sample, weight in
                      zip(samples, weights[:, number], strict=True)), np.zeros((first.dim, first.dim)))
                 for number in range(len(first.scales)))
        return cls._stored(grams, first.image_shape, first.along, first.members.shape[1])

    @classmethod
    def _stored(cls, grams: Iterator[NDArray[np.float64]], image_shape: tuple[int, int, int], along: int,
                kept: int) -> TiledGrams:
        members, values, scales, energies = [], [], [], []
        for gram in grams:
            squares = gram.diagonal().copy()
            chosen = np.sort(np.argsort(-squares, kind='stable')[:kept])
            triangle = gram[np.ix_(chosen, chosen)][_upper(len(chosen))]
            scale = float(np.abs(triangle).max()) or 1.0
            members.append(chosen.astype(MEMBERS))
            values.append((triangle / scale).astype(STORED))
            scales.append(scale)
            energies.append(squares)
        return cls(np.stack(members), np.stack(values), np.array(scales), np.stack(energies), image_shape, along)

    def dense(self, number: int) -> NDArray[np.float64]:
        """The matrix `[m, m]` of a tile."""
        members = self.members[number].astype(np.int64)
        first, second = _upper(len(members))
        result = np.zeros((self.dim, self.dim))
        result[members[first], members[second]] = self.scales[number] * self.values[number].astype(np.float64)
        result[members[second], members[first]] = result[members[first], members[second]]
        np.fill_diagonal(result, self.energies[number])
        return result

    @functools.cached_property
    def _total(self) -> NDArray[np.float64]:
        """The upper triangle of the sum of all tiles, `[m, m]`."""
        total = np.zeros((self.dim, self.dim))
        first, second = _upper(self.members.shape[1])
        for members, scale, values in zip(self.members, self.scales, self.values, strict=True):
            total[members[first], members[second]] += scale * values
        return total

    @functools.cached_property
    def _places(self) -> NDArray[np.int16]:
        """Where each coordinate is among the members of a tile, `[T, m]`; -1 for those that are none."""
        places = np.full((len(self.members), self.dim), -1, np.int16)
        np.put_along_axis(places, self.members.astype(np.int64), np.arange(self.members.shape[1], dtype=np.int16), 1)
        return places

    @functools.cached_property
    def larger(self) -> NDArray[np.int64]:
        """In which of the tiles of `common_basis` the middle of each tile is, `[T]`."""
        columns, side = grid_shape(self.image_shape)[1], next(picture_tiles(self.image_shape))[1].stop
        return np.array([(high.start + high.stop) // 2 // side * columns + (wide.start + wide.stop) // 2 // side
                         for _, high, wide in picture_tiles(self.image_shape, self.along)])

    def cover(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """The mean over each tile of weights `[h, w]` of pixels, `[T]`."""
        return np.array([weights[tile[1:]].mean() for tile in picture_tiles(self.image_shape, self.along)], np.float64)

    def sum(self, weights: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The sum of the tiles, each by its weight `[T]`, for some of the coordinates, `[r, r]` float64.

        Args:
            rows: `[r]`, ascending.
        """
        squares = weights @ self.energies[:, rows]
        upper: NDArray[np.float64] = np.zeros((len(rows), len(rows)))
        if 2 * np.count_nonzero(weights) > len(weights):  # what is missing of all tiles is less
            upper, weights = self._total[np.ix_(rows, rows)], weights - 1
        places = self._places[:, rows].astype(np.int64)
        for number in np.flatnonzero(weights):
            here = np.flatnonzero(places[number] >= 0)
            first, second = _upper(len(here))
            at = _packed(places[number, here[first]], places[number, here[second]], self.members.shape[1])
            upper[here[first], here[second]] += weights[number] * self.scales[number] * self.values[number][at]
        result = np.triu(upper, 1)
        return result + result.T + np.diag(squares)

    def grams(self, inside: NDArray[np.float64], outside: NDArray[np.float64],
              rows: NDArray[np.int64]) -> DenseGrams:
        """A and B of some coordinates.

        Args:
            inside, outside: `[T]`, how much of each tile counts in A and in B; tiles of neither are left out.
            rows: `[r]`, ascending.
        """
        A, B = self.sum(inside, rows), self.sum(outside, rows)
        return DenseGrams(_positive(A), _positive(B), float(np.trace(B)))

    def coarse(self) -> NDArray[np.float32]:
        """Upper triangles of the sums over the larger tiles of `common_basis`, `[T', m (m + 1) / 2]`."""
        rows, columns = grid_shape(self.image_shape)
        result = np.zeros((rows * columns, triangle_size(self.dim)), np.float32)
        for number, into in enumerate(self.larger):
            result[into] += self.dense(number)[_upper(self.dim)]
        return result


def triangle_size(dim: int) -> int:
    """Elements of the upper triangle of a matrix `[m, m]`."""
    return dim * (dim + 1) // 2


def diagonal(dim: int) -> NDArray[np.int64]:
    """Where the diagonal of a matrix `[dim, dim]` is in its triangle."""
    return _packed(np.arange(dim), np.arange(dim), dim)


@functools.lru_cache(maxsize=256)
def _upper(dim: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.triu_indices(dim)


def _packed(rows: NDArray[np.int64], columns: NDArray[np.int64], dim: int) -> NDArray[np.int64]:
    """Where the elements above the diagonal, rows <= columns, are in a triangle."""
    return rows * dim - rows * (rows - 1) // 2 + columns - rows


def _positive(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """A matrix that is positive but for rounding, lifted by what it lacks."""
    lowest = np.linalg.eigvalsh(gram)[0]
    return gram - min(lowest, 0.0) * np.eye(len(gram))
