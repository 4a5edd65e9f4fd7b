"""Finished cells of a comparison on disk, so that a run that was stopped continues."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from resefa_plugin.baselines.methods import method_file
from resefa_plugin.errors import DamagedFileError, printable
from resefa_plugin.evaluation.rows import Row
from resefa_plugin.evaluation.settings import Settings
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.machine.arrays import reading
from resefa_plugin.machine.files import replacing

_KIND = 'resefa-cell'
# By which mean colours of pictures may be off, [-1, 1] scale: another number of threads rounds otherwise.
_ROUNDING = 1e-4
# Of every cell in which a method had something to offer.
_KEYS = {'sample', 'row', 'method', 'space', 'index', 'signs', 'edits', 'curve', 'sets', 'direction', 'tiles', 'strip'}


class CellStore:
    """A JSON file for each cell, with a fingerprint of all that it depends on.

    Args:
        folder: of the files.
        hook: the generator.
        settings, metrics: of the comparison.
        held_out: samples that edits are measured on, with their unedited pictures.
    """

    def __init__(self, folder: pathlib.Path, hook: GeneratorHook, settings: Settings, metrics: Sequence[str],
                 held_out: Sequence[tuple[Sample, Tensor]]):
        self.folder, self.hook, self.settings, self.metrics = folder, hook, settings, tuple(metrics)
        self._held_out = [sample.name for sample, _ in held_out]
        # Mean colours, which tell one function from another where there is no hash of weights.
        self._colours = np.array([picture[0].mean(dim=(1, 2)).tolist() for _, picture in held_out])

    def path(self, sample: Sample, row: Row, method: str, kept: bool = False) -> pathlib.Path:
        """Where the cell of a factorized sample, a row and a method is kept."""
        name = pathlib.Path(method).name.replace(':', '_') + '-kept' * kept
        return self.folder / f'{sample.name}-{row.name}-{name}.json'

    def load(self, sample: Sample, row: Row, method: str, kept: bool = False) -> dict[str, Any] | None:
        """The cell, or None if it is not there, was made with other settings, or, with a warning, is damaged."""
        path = self.path(sample, row, method, kept)
        if not os.path.exists(path):
            return None
        try:
            cell = read_cell(path)
        except DamagedFileError as error:
            warnings.warn(f'{error}. This cell is computed anew', stacklevel=2)
            return None
        fits = cell.get('fingerprint') == self.fingerprint(sample, row, method, kept)
        return cell if fits and self._same_pictures(cell.get('colours')) else None

    def _same_pictures(self, colours: Any) -> bool:
        try:
            return bool(np.abs(np.array(colours, float) - self._colours).max() < _ROUNDING)
        except (TypeError, ValueError):  # of another kind or number
            return False

    def save(self, cell: dict[str, Any], sample: Sample, row: Row, method: str,
             kept: bool = False) -> dict[str, Any]:
        """Writes a cell, complete or not at all, and returns it with its fingerprint."""
        cell = {'fingerprint': self.fingerprint(sample, row, method, kept), 'colours': self._colours.tolist()} | cell
        write_cell(self.path(sample, row, method, kept), cell)
        return cell

    def fingerprint(self, sample: Sample, row: Row, method: str, kept: bool = False) -> str:
        """A hash of network, samples, row, method, settings, and whether backgrounds are kept."""
        # Where Jacobians are kept, and what other methods there are, is of no matter to a cell.
        settings = dataclasses.asdict(
            dataclasses.replace(self.settings, methods=(method,), jacobian_dir=None, keep=True))
        facts = {'network': self.hook.sha256 or self.hook.name, 'held_out': self._held_out,
                 'row': [row.name, row.attribute, row.sign],
                 'settings': settings, 'metrics': self.metrics, 'sample': sample.name, 'kept': kept}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        digest.update(row.region.mask.tobytes())
        for latent in (*sample.latents.values(), sample.c):
            if latent is not None:
                digest.update(latent.cpu().numpy().tobytes())
        file = method_file(method)
        if file is not None and os.path.isfile(file):
            digest.update(file.read_bytes())
        return digest.hexdigest()[:16]


def write_cell(path: pathlib.Path, cell: dict[str, Any]) -> None:
    """Writes the file of a cell, complete or not at all, with a hash of it and of its pictures."""
    record = {'kind': _KIND, 'sha256': _digest(path, cell), 'cell': cell}
    with replacing(path) as part:
        part.write_text(json.dumps(record, allow_nan=False) + '\n', encoding='utf-8')


def read_cell(path: pathlib.Path) -> dict[str, Any]:
    """What `write_cell` wrote. Raises DamagedFileError if it is something else."""
    with reading(path, DamagedFileError):
        record = json.loads(path.read_text(encoding='utf-8'))
        if not isinstance(record, dict) or record.get('kind', _KIND) != _KIND:
            raise DamagedFileError('it is no cell of a comparison')
        if 'kind' not in record:  # of version 0.1.0, without a hash
            lacks = _KEYS - record.keys()
            if lacks and 'omitted' not in record:
                raise DamagedFileError(f"it lacks {', '.join(sorted(lacks))}")
            return record
        cell = record['cell']
        if not isinstance(cell, dict) or record['sha256'] != _digest(path, cell):
            raise DamagedFileError('its contents are not those that were written')
        return cell


def _digest(path: pathlib.Path, cell: dict[str, Any]) -> str:
    """SHA-256 of a cell, as JSON has it, and of its pictures beside it. Raises DamagedFileError if these are gone."""
    digest = hashlib.sha256(json.dumps(json.loads(json.dumps(cell)), sort_keys=True).encode())
    if 'tiles' in cell:
        tiles = path.parent / pathlib.PurePath(cell['tiles']).name
        if not os.path.isfile(tiles):
            raise DamagedFileError(f'its pictures, {printable(tiles.name)}, are not there')
        digest.update(tiles.read_bytes())
    return digest.hexdigest()
