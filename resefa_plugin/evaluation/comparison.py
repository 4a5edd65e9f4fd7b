"""Comparison owns the loop over samples, rows and methods, keeps what is done, and writes the results."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from resefa_plugin.baselines.methods import NEED_JACOBIAN, parse_method
from resefa_plugin.baselines.problem import JacobianStore
from resefa_plugin.directions.metadata import package_versions
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.errors import RegionError, ResefaError
from resefa_plugin.evaluation.cell_store import CellStore
from resefa_plugin.evaluation.cells import Cells
from resefa_plugin.evaluation.keepers import Keepers
from resefa_plugin.evaluation.measures import Measures
from resefa_plugin.evaluation.presentation.plots import curves_plot
from resefa_plugin.evaluation.presentation.strips import STRIP_SAMPLES, load_tiles, save_tiles, side_by_side
from resefa_plugin.evaluation.presentation.summary import summarize
from resefa_plugin.evaluation.presentation.tables import markdown
from resefa_plugin.evaluation.robustness import SUBSPACE, robustness
from resefa_plugin.evaluation.rows import Row
from resefa_plugin.evaluation.settings import KEPT, Settings
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.hooks.style_based import StyleBasedHook
from resefa_plugin.hooks.viewpoint import Viewpoint, default_resolution
from resefa_plugin.jacobian.common_basis import CommonBasis
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.machine.files import replacing
from resefa_plugin.regions.partition import RegionPartition
from resefa_plugin.report import pictures

POOL = 16  # samples that a method may look at, which the recommended way does
PROBED = 8  # of them for the basis in which backgrounds are kept


class Comparison:
    """Compares methods at the same change inside each region, on held-out samples.

    Each cell (factorized sample, row, method) is written to `cells/` when it is done; a later run with the same
    settings finds it there and continues.

    Args:
        hook: the generator.
        samples: where methods take their derivatives.
        held_out: where edits are measured; none of `samples`.
        rows: regions and attributes.
        settings: how.
        measures: what is measured, besides the change that is matched.
        outdir: for `results.json`, `table.md`, `curves.png`, `ROW.png` and `cells/`.
        further: samples whose Jacobians are computed only to see how much directions depend on the sample.
        alternatives: other forms of a row's region, by row and name, to see how much directions depend on the form.

    Raises:
        ResefaError: no held-out samples, some that were factorized, an unknown method, or alternatives of an unknown
            row.
        RegionError: two rows of one name.
    """

    def __init__(self, hook: GeneratorHook, samples: Sequence[Sample], held_out: Sequence[Sample], rows: Sequence[Row],
                 settings: Settings, measures: Measures, outdir: pathlib.Path, further: Sequence[Sample] = (),
                 alternatives: Mapping[str, Mapping[str, RegionPartition]] | None = None):
        names = [sample.name for sample in samples]
        both = sorted(set(names) & {sample.name for sample in held_out})
        if both or not held_out:
            problem = f"{', '.join(both)} took part in the factorization" if both else 'no samples'
            raise ResefaError(f'--eval-seeds: {problem}; expected one or more seeds that are not among --seeds')
        for spec in settings.methods:
            parse_method(spec)
        if len({row.name for row in rows}) < len(rows):
            raise RegionError(f"two rows of one name among {', '.join(row.name for row in rows)}: name one of them, as "
                              'in NAME=REGION')
        unknown = sorted(set(alternatives or {}) - {row.name for row in rows})
        if unknown:
            raise ResefaError(f"--variant={unknown[0]}: no row has that name; rows are "
                              f"{', '.join(row.name for row in rows)}")
        self._further = [sample for sample in further if sample.name not in names]
        self._alternatives = alternatives or {}
        self.hook, self.measures = hook, measures
        self.samples, self.held_out, self.rows = list(samples), list(held_out), list(rows)
        resolution = settings.resolution or default_resolution(hook.image_shape)
        self.settings, self.outdir = dataclasses.replace(settings, resolution=resolution), pathlib.Path(outdir)
        self._scratch = self.outdir / 'keepers'  # half a gigabyte for each held-out sample, while cells are missing
        self._jacobians = JacobianStore(hook, settings.space, resolution, settings.jacobian_dir)

    def run(self) -> dict[str, Any]:
        """Computes what is not there yet, writes all files, and returns the results as in `results.json`."""
        space, resolution = self.settings.space, self.settings.resolution
        viewpoints = [Viewpoint(self.hook, space, sample, resolution) for sample in self.held_out]
        originals = [(viewpoint.sample, render_edits(viewpoint, viewpoint.zero())) for viewpoint in viewpoints]
        store = CellStore(self.outdir / 'cells', self.hook, self.settings, self.measures.names, originals)
        ways = (False, True) if self.settings.keep else (False,)
        cells = []
        pool = self._pool()
        computing = Cells(self.hook, self.settings, self.measures, originals, pool, self.rows, self._jacobians,
                          self._keepers(pool))
        for sample, row, method, kept in itertools.product(self.samples, self.rows, self.settings.methods, ways):
            cells.append(store.load(sample, row, method, kept)
                         or self._compute(computing, sample, row, method, kept, store))
        results = {
            'network': self.hook.name, 'network_sha256': self.hook.sha256, 'implementation': self.hook.implementation,
            'image_shape': list(self.hook.image_shape), 'settings': self._plain_settings(),
            'metrics': list(self.measures.names), 'samples': [sample.name for sample in self.samples],
            'held_out': [sample.name for sample in self.held_out], 'versions': package_versions(), 'cells': cells,
            'table': summarize(cells), 'robustness': self._robustness()}
        self._write(results)
        shutil.rmtree(self._scratch, ignore_errors=True)
        return results

    def _pool(self) -> list[Sample]:
        """The samples of a pool: of the first seeds that no edit is measured on."""
        taken = {sample.name for sample in self.held_out}
        first = self.samples[0]
        found = (self.hook.sample(seed, first.truncation_psi, first.truncation_cutoff, first.c)
                 for seed in itertools.count())
        return list(itertools.islice((sample for sample in found if sample.name not in taken), POOL))

    def _keepers(self, pool: Sequence[Sample]) -> Keepers:
        """Keepers with one basis for all edits of a sample: an edit is matched and measured at several strengths."""
        resolution = self.settings.resolution
        if not isinstance(self.hook, StyleBasedHook):
            return Keepers(self.hook, resolution)
        folder = self.settings.jacobian_dir or self._scratch

        def basis() -> np.ndarray:
            return CommonBasis.shared([RegionJacobian(Viewpoint(self.hook, 's', sample, resolution))
                                       for sample in pool[:PROBED]], path=folder)

        return Keepers(self.hook, resolution, functools.cache(basis), folder)

    def _compute(self, computing: Cells, sample: Sample, row: Row, method: str, kept: bool,
                 store: CellStore) -> dict[str, Any]:
        cell, edited = computing.compute(sample, row, method, kept)
        of_whom: dict[str, Any] = {'sample': sample.name, 'row': row.name, 'attribute': row.attribute,
                                   'attribute_sign': row.sign, 'method': method + KEPT * kept, 'elapsed': 0.0}
        cell = of_whom | cell
        if edited is not None:
            signs, originals = cell['signs'], computing.held_out
            shown = cell['edits'][:STRIP_SAMPLES * len(signs)]
            cell['strip'] = [edit['sample'] + (f" {'+' if edit['sign'] > 0 else '-'}" if len(signs) > 1 else '')
                             for edit in shown]
            unedited = torch.cat([picture for _, picture in originals[:STRIP_SAMPLES]])
            save_tiles(unedited.repeat_interleave(len(signs), dim=0), edited[:len(shown)],
                       store.path(sample, row, method, kept).with_suffix('.png'))
            cell['tiles'] = store.path(sample, row, method, kept).with_suffix('.png').name
        return store.save(cell, sample, row, method, kept)

    def _robustness(self) -> list[dict[str, Any]]:
        """Empty where no method needs a whole Jacobian, which may be out of reach, and nothing was asked about it."""
        needed = NEED_JACOBIAN & {method.partition(':')[0] for method in self.settings.methods}
        if not (needed or self._further or self._alternatives):
            return []
        regions: dict[bytes, RegionPartition] = {}
        alternatives: dict[str, dict[str, RegionPartition]] = {}
        for row in self.rows:  # rows may share a region and differ in the attribute
            region = regions.setdefault(row.region.mask.tobytes(), row.region)
            alternatives.setdefault(region.name, {}).update(self._alternatives.get(row.name, {}))
        jacobians = [(sample, self._jacobians.get(sample)[0]) for sample in (*self.samples, *self._further)]
        return robustness(jacobians, list(regions.values()), SUBSPACE, alternatives)

    def _plain_settings(self) -> dict[str, Any]:
        folder = self.settings.jacobian_dir
        return dataclasses.asdict(self.settings) | {'jacobian_dir': None if folder is None else str(folder)}

    def _write(self, results: dict[str, Any]) -> None:
        for name, text in (('results.json', json.dumps(results, indent=1, allow_nan=False) + '\n'),
                           ('table.md', markdown(results))):
            with replacing(self.outdir / name) as part:
                part.write_text(text, encoding='utf-8')
        done = [cell for cell in results['cells'] if 'omitted' not in cell]
        if any(cell['curve'] for cell in done):
            pictures.save_png(curves_plot(done), self.outdir / 'curves.png')
        for row in self.rows:
            shown = [cell for cell in done if cell['row'] == row.name and cell['sample'] == self.samples[0].name]
            if shown:
                tiles = [(cell['method'], load_tiles(self.outdir / 'cells' / cell['tiles'], len(cell['strip'])))
                         for cell in shown]
                pictures.save_png(side_by_side(row.name, tiles, shown[0]['strip']), self.outdir / f'{row.name}.png')
