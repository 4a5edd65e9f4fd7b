"""Finished cells of a comparison on disk, so that a run that was stopped continues."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from resefa_plugin.baselines.methods import method_file
from resefa_plugin.evaluation.rows import Row
from resefa_plugin.evaluation.settings import Settings
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.machine.files import replacing


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
        self._pictures = hashlib.sha256()  # which tell one function from another where there is no hash of weights
        for sample, picture in held_out:
            self._pictures.update(sample.name.encode())
            self._pictures.update(picture.cpu().numpy().tobytes())

    def path(self, sample: Sample, row: Row, method: str) -> pathlib.Path:
        """Where the cell of a factorized sample, a row and a method is kept."""
        return self.folder / f'{sample.name}-{row.name}-{pathlib.Path(method).name.replace(":", "_")}.json'

    def load(self, sample: Sample, row: Row, method: str) -> dict[str, Any] | None:
        """The cell, or None if it is not there or was made with other settings."""
        path = self.path(sample, row, method)
        if not path.exists():
            return None
        cell = json.loads(path.read_text(encoding='utf-8'))
        return cell if cell.get('fingerprint') == self.fingerprint(sample, row, method) else None

    def save(self, cell: dict[str, Any], sample: Sample, row: Row, method: str) -> dict[str, Any]:
        """Writes a cell, complete or not at all, and returns it with its fingerprint."""
        cell = {'fingerprint': self.fingerprint(sample, row, method)} | cell
        with replacing(self.path(sample, row, method)) as part:
            part.write_text(json.dumps(cell, allow_nan=False) + '\n', encoding='utf-8')
        return cell

    def fingerprint(self, sample: Sample, row: Row, method: str) -> str:
        """A hash of network, samples, row, method and settings."""
        # Where Jacobians are kept, and what other methods there are, is of no matter to a cell.
        settings = dataclasses.asdict(dataclasses.replace(self.settings, methods=(method,), jacobian_dir=None))
        facts = {'network': self.hook.sha256 or self.hook.name, 'row': [row.name, row.attribute, row.sign],
                 'settings': settings, 'metrics': self.metrics, 'sample': sample.name}
        digest = self._pictures.copy()
        digest.update(json.dumps(facts, sort_keys=True).encode())
        digest.update(row.region.mask.tobytes())
        for latent in (*sample.latents.values(), sample.c):
            if latent is not None:
                digest.update(latent.cpu().numpy().tobytes())
        file = method_file(method)
        if file is not None and file.is_file():
            digest.update(file.read_bytes())
        return digest.hexdigest()[:16]
