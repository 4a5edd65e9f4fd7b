"""Gram matrices of samples on disk, so that a run that was stopped goes on with the samples that are done."""

from __future__ import annotations

import hashlib
import pathlib
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from resefa_plugin.errors import DirectionsError, ResefaError
from resefa_plugin.factorizer.protection import Protection
from resefa_plugin.factorizer.steps import RegionSolution
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.machine.arrays import read_member, reading
from resefa_plugin.machine.files import replacing
from resefa_plugin.rayleigh.operators import DenseGrams, FactoredGrams
from resefa_plugin.regions.partition import RegionPartition

_DENSE, _FACTORED = ('A', 'B'), ('inside', 'outside')  # names of the arrays in a file of either kind


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
             protections: Sequence[Protection]) -> pathlib.Path | None:
        """The file of a region at a sample, there or not; None where nothing is kept."""
        if self.folder is None:
            return None
        digest = hashlib.sha256(f'{jacobian.viewpoint.fingerprint()} {self.settings}'.encode())
        for mask, weight in ((region.mask, 1.0), *((p.region.mask, p.weight) for p in protections)):
            digest.update(np.packbits(mask).tobytes() + str(weight).encode())
        return self.folder / f'{jacobian.viewpoint.sample.name}-{region.name}-{digest.hexdigest()[:16]}.npz'

    @staticmethod
    def load(path: pathlib.Path | None) -> DenseGrams | FactoredGrams | None:
        """What is in a file; None if there is none. Raises ResefaError if it is damaged."""
        if path is None or not path.exists():
            return None
        try:
            return _load(path)
        except DirectionsError as error:
            raise ResefaError(f'{error}; or delete it, and it is computed anew') from error

    def keep(self, regions: list[RegionSolution]) -> list[RegionSolution]:
        """Writes the matrices of a sample's regions that are not there yet; returns the regions."""
        for solved in regions:
            if solved.path is not None and not solved.path.exists():
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
            np.savez(file, background=np.float64(grams.background), **arrays)


def _load(path: pathlib.Path) -> DenseGrams | FactoredGrams:
    with reading(path), zipfile.ZipFile(path) as archive:
        dense = 'A.npy' in archive.namelist()
        first, second = (read_member(archive, name) for name in (_DENSE if dense else _FACTORED))
        background = float(read_member(archive, 'background'))
        return DenseGrams(first, second, background) if dense else FactoredGrams(first, second, background)
