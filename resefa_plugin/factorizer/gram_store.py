"""Gram matrices of samples on disk, so that a run that was stopped goes on with the samples that are done."""

from __future__ import annotations

import hashlib
import os
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resefa_plugin.errors import DamagedFileError
from resefa_plugin.factorizer.protection import Protection
from resefa_plugin.factorizer.steps import RegionSolution
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.machine.arrays import ArrayFile, open_npz, reading
from resefa_plugin.machine.files import replacing
from resefa_plugin.rayleigh.operators import DenseGrams, FactoredGrams
from resefa_plugin.regions.partition import RegionPartition

_DENSE, _FACTORED = ('A', 'B'), ('inside', 'outside')  # names of the arrays in a file of either kind
_KIND = 'resefa-grams'
_ROUNDING = 1e-9  # of the largest value: by which a matrix that was summed up may be asymmetric or not quite positive


class GramStore:
    """A folder of files `seed0000-mouth-HASH.npz`, one for each sample and region.

    The hash is of everything that the matrices depend on, so that a run with other options does not find them.

    Args:
        folder: made when the first file is written; None keeps nothing.
        settings: what else they depend on, as text.
    """

    def __init__(self, folder: pathlib.Path | None, settings: str = ''):
        self.folder, self.settings = folder, settings

    def path(self, jacobian: RegionJacobian, region: RegionPartition,
             protections: Sequence[Protection], basis: NDArray[np.float64] | None = None) -> pathlib.Path | None:
        """The file of a region at a sample, there or not; None where nothing is kept.

        Args:
            basis: `[m, d]`, whose coordinates the matrices are in; None for those of the space.
        """
        if self.folder is None:
            return None
        digest = hashlib.sha256(f'{jacobian.viewpoint.fingerprint()} {self.settings}'.encode())
        if basis is not None:
            digest.update(basis.tobytes())
        for mask, weight in ((region.mask, 1.0), *((p.region.mask, p.weight) for p in protections)):
            digest.update(np.packbits(mask).tobytes() + str(weight).encode())
        return self.folder / f'{jacobian.viewpoint.sample.name}-{region.name}-{digest.hexdigest()[:16]}.npz'

    @staticmethod
    def load(path: pathlib.Path | None, dim: int) -> DenseGrams | FactoredGrams | None:
        """What is in a file; None if there is none, and with a warning if it is damaged or of something else.

        Args:
            dim: of the latent space.
        """
        if path is None or not os.path.exists(path):
            return None
        try:
            return _load(path, dim)
        except DamagedFileError as error:
            warnings.warn(f'{error}. Its matrices are computed anew', stacklevel=2)
            return None

    def keep(self, regions: list[RegionSolution]) -> list[RegionSolution]:
        """Writes the matrices of a sample's regions that were not loaded; returns the regions."""
        for solved in regions:
            if solved.path is not None and not solved.kept:
                self.save(solved.path, solved.grams)
        return regions

    @staticmethod
    def save(path: pathlib.Path | None, grams: DenseGrams | FactoredGrams) -> None:
        """Writes a file, complete or not at all; does nothing without a path."""
        if path is None:
            return
        names = _DENSE if isinstance(grams, DenseGrams) else _FACTORED
        arrays: dict[str, Any] = {name: getattr(grams, name) for name in names}
        with replacing(path) as part, open(part, 'wb') as file:
            np.savez(file, kind=np.array(_KIND), key=np.array(_key(path)), background=np.float64(grams.background),
                     **arrays)


def _key(path: pathlib.Path) -> str:
    """The hash in the name of a file."""
    return path.stem.rpartition('-')[2]


def _load(path: pathlib.Path, dim: int) -> DenseGrams | FactoredGrams:
    with reading(path, DamagedFileError), open_npz(path) as file:
        # Files of version 0.1.0 say neither.
        if 'kind' in file.names and (file.read('kind') != _KIND or file.read('key') != _key(path)):
            raise DamagedFileError('it holds something else than its name says')
        dense = 'A' in file.names
        first, second = (_matrix(file, name, dim) for name in (_DENSE if dense else _FACTORED))
        background = file.read('background')
        if background.dtype != np.float64 or background.shape or not 0 < background.item() < np.inf:
            raise DamagedFileError(f"array 'background' is {background.dtype} {list(background.shape)}, expected a "
                                   'number above 0')
        if not dense:
            return FactoredGrams(first, second, background.item())
        for name, matrix in zip(_DENSE, (first, second), strict=True):
            rounding = _ROUNDING * np.abs(matrix).max()
            if matrix.shape != (dim, dim) or np.abs(matrix - matrix.T).max() > rounding \
                    or matrix.diagonal().min() < -rounding:
                raise DamagedFileError(f"array '{name}' is no Gram matrix of {dim} dimensions")
        return DenseGrams(first, second, background.item())


def _matrix(file: ArrayFile, name: str, dim: int) -> NDArray[np.float64]:
    """An array `[dim, ...]` of finite numbers."""
    matrix = file.read(name)
    if matrix.dtype != np.float64 or matrix.ndim != 2 or len(matrix) != dim or not np.isfinite(matrix).all():
        raise DamagedFileError(f"array '{name}' is {matrix.dtype} {list(matrix.shape)}, expected finite float64 "
                               f'[{dim}, ...]')
    return np.asarray(matrix, np.float64)
