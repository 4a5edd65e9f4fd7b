"""Gram matrices of the tiles of a picture, from which those of any region are summed."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resefa_plugin.jacobian.common_basis import picture_tiles
from resefa_plugin.rayleigh.operators import DenseGrams

# A float16 has 11 bits: an element is off by 2^-11 of itself. Times a tile's scale it is never above 1.
STORED = np.float16


class TiledGrams:
    """J^T diag(tile) J of each tile of a picture, in m coordinates of a latent space.

    What is summed is exact to the rounding of float16, so that A and B are positive to about 1e-5 of their largest
    eigenvalue.

    Args:
        values: `[T, m (m + 1) / 2]` float16, the upper triangle of each matrix over its scale, row by row; may be
            mapped from a file.
        scales: `[T]` float64.
        image_shape: `(C, h, w)` of the pictures.

    Attributes:
        dim: m.
        energies: `[T, m]` float64, the diagonals.
    """

    def __init__(self, values: NDArray[np.float16], scales: NDArray[np.float64], image_shape: tuple[int, int, int]):
        self.values, self.scales, self.image_shape = values, scales, image_shape
        self.dim = dimensions(values.shape[1])
        self.energies = values[:, diagonal(self.dim)] * scales[:, None]

    @functools.cached_property
    def _total(self) -> NDArray[np.float64]:
        """The triangle of all tiles."""
        total = np.zeros(self.values.shape[1])
        for scale, values in zip(self.scales, self.values, strict=True):
            total += scale * values
        return total

    def cover(self, weights: NDArray[np.floating]) -> NDArray[np.float64]:
        """The mean over each tile of weights `[h, w]` of pixels, `[T]`."""
        return np.array([weights[tile[1:]].mean() for tile in picture_tiles(self.image_shape)], np.float64)

    def sum(self, weights: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The sum of the tiles, each by its weight `[T]`, for some of the coordinates, `[r, r]` float64."""
        first, second = np.triu_indices(len(rows))
        chosen = _packed(rows[first], rows[second], self.dim)
        triangle: NDArray[np.float64] = np.zeros(len(chosen))
        if 2 * np.count_nonzero(weights) > len(weights):  # what is missing of all tiles is less
            triangle, weights = self._total[chosen], weights - 1
        for number in np.flatnonzero(weights):
            triangle += weights[number] * self.scales[number] * self.values[number][chosen]
        result = np.zeros((len(rows), len(rows)))
        result[first, second] = result[second, first] = triangle
        return result

    def grams(self, inside: NDArray[np.float64], outside: NDArray[np.float64],
              rows: NDArray[np.int64]) -> DenseGrams:
        """A and B of some coordinates.

        Args:
            inside, outside: `[T]`, how much of each tile counts in A and in B; tiles of neither are left out.
            rows: `[r]`, ascending.
        """
        A, B = self.sum(inside, rows), self.sum(outside, rows)
        return DenseGrams(_positive(A), _positive(B), float(np.trace(B)))


def tile_grams(matrix: Tensor, image_shape: tuple[int, int, int]) -> Iterator[NDArray[np.float32]]:
    """The upper triangle of X X^T for the part X of columns `[m, C * h * w]` on each tile, `[m (m + 1) / 2]`."""
    pictures = matrix.unflatten(1, image_shape)
    rows, columns = torch.triu_indices(len(matrix), len(matrix))
    for tile in picture_tiles(image_shape):
        pixels = pictures[(slice(None), *tile)].flatten(1)
        yield (pixels @ pixels.T)[rows, columns].cpu().numpy()


def stored(triangle: NDArray[np.float32]) -> tuple[NDArray[np.float16], float]:
    """A triangle as it is stored, and its scale."""
    scale = float(np.abs(triangle).max()) or 1.0
    return (triangle / scale).astype(STORED), scale


def triangle_size(dim: int) -> int:
    """Elements of the upper triangle of a matrix `[m, m]`."""
    return dim * (dim + 1) // 2


def dimensions(size: int) -> int:
    """m of a triangle of so many elements."""
    return int((np.sqrt(8 * size + 1) - 1) / 2)


def diagonal(dim: int) -> NDArray[np.int64]:
    """Where the diagonal of a matrix `[dim, dim]` is in its triangle."""
    return _packed(np.arange(dim), np.arange(dim), dim)


def _packed(rows: NDArray[np.int64], columns: NDArray[np.int64], dim: int) -> NDArray[np.int64]:
    """Where the elements above the diagonal, rows <= columns, are in a triangle."""
    return rows * dim - rows * (rows - 1) // 2 + columns - rows


def _positive(gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """A matrix that is positive but for rounding, lifted by what it lacks."""
    lowest = np.linalg.eigvalsh(gram)[0]
    return gram - min(lowest, 0.0) * np.eye(len(gram))
