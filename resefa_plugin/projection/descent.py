"""Descent along gradients: Adam in the axes of the gradients' own covariance.

A latent of w+ is a matrix, layers by dimensions, and what its numbers do to the picture is tangled up: Adam, which
scales each of them by itself, sees the wrong axes. As in SOAP (Vyas et al., 2024) it works here in the eigenvectors of
the running means of G G^T and G^T G. Two eigendecompositions in five passes cost nothing beside a pass.
"""

from __future__ import annotations

import math
import pathlib

import numpy as np
import torch
from torch import Tensor

from resefa_plugin.errors import DamagedFileError, ResefaError
from resefa_plugin.machine.arrays import open_npz, reading
from resefa_plugin.machine.files import replacing

EPSILON = 1e-8        # of Adam
MEMORY = 0.95         # share of a covariance that is kept from pass to pass
TURN_EVERY = 5        # passes between two choices of the axes
LARGEST_SIDE = 2048   # of a matrix; along longer sides the axes stay what they are
_PARTS = ('x', 'best', 'mean', 'square', 'rows', 'columns', 'left', 'right')


class Descent:
    """One vector on its way down, which can be put on disk.

    Args:
        x: where it begins, `[d]`.
        shape: `(r, c)`, as what matrix the vector is seen, r c = d.
        betas: of Adam.

    Attributes:
        x: where it is.
        best: where the loss was least.
        passes: done.
    """

    def __init__(self, x: Tensor, shape: tuple[int, int], betas: tuple[float, float]):
        self.x, self.best, self.passes, self._betas = x, x.clone(), 0, betas
        r, c = shape
        self.mean, self.square = x.new_zeros(r, c), x.new_zeros(r, c)
        # Of a side that is too long, and of a single row or column, there is nothing to turn.
        r, c = (side if side <= LARGEST_SIDE else 0 for side in shape)
        self.rows, self.columns = x.new_zeros(r, r), x.new_zeros(c, c)
        self.left, self.right = torch.eye(r).to(x), torch.eye(c).to(x)
        self._least = math.inf

    def seen(self, loss: float) -> None:
        """The loss at x. Raises ResefaError if it is not finite."""
        if not math.isfinite(loss):
            raise ResefaError(f'pass {self.passes + 1} of the projection gave a loss of {loss}: the picture of the '
                              'generator is not finite there; take a lower rate')
        if loss < self._least:
            self._least, self.best = loss, self.x.clone()

    def step(self, gradient: Tensor, rate: float) -> None:
        """Moves x along a gradient `[d]`."""
        G = gradient.reshape(self.mean.shape)
        first, second = self._betas
        if len(self.rows):
            self.rows = MEMORY * self.rows + (1 - MEMORY) * G @ G.T
        if len(self.columns):
            self.columns = MEMORY * self.columns + (1 - MEMORY) * G.T @ G
        if self.passes % TURN_EVERY == 0:
            self._turn()
        self.passes += 1
        self.mean = first * self.mean + (1 - first) * G
        self.square = second * self.square + (1 - second) * self._turned(G).square()
        root = (self.square / (1 - second ** self.passes)).sqrt()
        step = self._turned(self.mean) / (1 - first ** self.passes) / (root + EPSILON)
        self.x = self.x - rate * self._turned_back(step).flatten()

    def _turn(self) -> None:
        """Takes the eigenvectors of the covariances for axes, and carries the squares over to them."""
        if len(self.rows):
            left = torch.linalg.eigh(self.rows)[1]
            self.square = (left.T @ self.left).square() @ self.square
            self.left = left
        if len(self.columns):
            right = torch.linalg.eigh(self.columns)[1]
            self.square = self.square @ (self.right.T @ right).square()
            self.right = right

    def _turned(self, matrix: Tensor) -> Tensor:
        matrix = self.left.T @ matrix if len(self.left) else matrix
        return matrix @ self.right if len(self.right) else matrix

    def _turned_back(self, matrix: Tensor) -> Tensor:
        matrix = self.left @ matrix if len(self.left) else matrix
        return matrix @ self.right.T if len(self.right) else matrix

    def save(self, path: pathlib.Path, key: str) -> None:
        """Writes all of it; `key` says what it belongs to."""
        arrays = {name: getattr(self, name).cpu().numpy() for name in _PARTS}
        with replacing(path) as part, open(part, 'wb') as file:
            np.savez(file, numbers=np.array([self.passes, self._least]), key=np.array(key), **arrays)

    def load(self, path: pathlib.Path, key: str) -> None:
        """Goes on from a file; one of another key is left aside. Raises DamagedFileError for what is no state."""
        with reading(path, DamagedFileError), open_npz(path) as file:
            if str(file.read('key')) != key:
                return
            arrays = {name: file.read(name) for name in _PARTS}
            passes, least = file.read('numbers').tolist()
            for name, array in arrays.items():
                mine = getattr(self, name)
                dtype = mine.cpu().numpy().dtype
                if array.dtype != dtype or array.shape != tuple(mine.shape) or not np.isfinite(array).all():
                    raise DamagedFileError(f"array '{name}' is {array.dtype} {list(array.shape)}, expected finite "
                                           f'{dtype} {list(mine.shape)}')
            if not (passes >= 0 and passes == int(passes) and least > 0):
                raise DamagedFileError(f'it says {passes} passes and a loss of {least}')
        for name, array in arrays.items():
            setattr(self, name, torch.from_numpy(array).to(self.x))
        self.passes, self._least = int(passes), float(least)
