"""Comparison owns the loop over samples, rows and methods, keeps what is done, and writes the results."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor

from resefa_plugin import pictures
from resefa_plugin.baselines import JacobianStore, parse_method
from resefa_plugin.directions import package_versions
from resefa_plugin.editing import render_edits
from resefa_plugin.errors import RegionError, ResefaError
from resefa_plugin.evaluation.cells import compute_cell
from resefa_plugin.evaluation.measures import Measures
from resefa_plugin.evaluation.plots import curves_plot
from resefa_plugin.evaluation.robustness import SUBSPACE, robustness
from resefa_plugin.evaluation.rows import Row
from resefa_plugin.evaluation.settings import Settings
from resefa_plugin.evaluation.strips import STRIP_SAMPLES, side_by_side
from resefa_plugin.evaluation.summary import summarize
from resefa_plugin.evaluation.tables import markdown
from resefa_plugin.files import replacing
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.jacobian import default_resolution
from resefa_plugin.regions import RegionPartition


class Comparison:
    """Compares methods at the same change inside each region, on held-out samples.

    Each cell (factorized sample, row, method) is written to `cells/` when it is done; a later run with the same settings
    finds it there and continues.

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
        ResefaError: no held-out samples, some that were factorized, an unknown method, or alternatives of an unknown row.
        RegionError: two rows of one name.
    """

    def __init__(self, hook: GeneratorHook, samples: Sequence[Sample], held_out: Sequence[Sample], rows: Sequence[Row],
                 settings: Settings, measures: Measures, outdir: pathlib.Path, further: Sequence[Sample] = (),
                 alternatives: Mapping[str, Mapping[str, RegionPartition]] | None = None):
        names = [sample.name for sample in samples]
        both = sorted(set(names) & {sample.name for sample in held_out})
        if both or not held_out:
            raise ResefaError(f"--eval-seeds: {', '.join(both) + ' took part in the factorization' if both else 'no samples'}; expected one or "
                              'more seeds that are not among --seeds')
        for spec in settings.methods:
            parse_method(spec)
        if len({row.name for row in rows}) < len(rows):
            raise RegionError(f"two rows of one name among {', '.join(row.name for row in rows)}: name one of them, as in NAME=REGION")
        unknown = sorted(set(alternatives or {}) - {row.name for row in rows})
        if unknown:
            raise ResefaError(f"--variant={unknown[0]}: no row has that name; rows are {', '.join(row.name for row in rows)}")
        self._further, self._alternatives = [sample for sample in further if sample.name not in names], alternatives or {}
        self.hook, self.samples, self.held_out, self.rows, self.measures = hook, list(samples), list(held_out), list(rows), measures
        resolution = settings.resolution or default_resolution(hook.image_shape)
        self.settings, self.outdir = dataclasses.replace(settings, resolution=resolution), pathlib.Path(outdir)
        self._jacobians = JacobianStore(hook, settings.space, resolution, settings.jacobian_dir)
        self._originals: list[tuple[Sample, Tensor]] = []
        self._features: dict[str, Tensor] = {}

    def run(self) -> dict:
        """Computes what is not there yet, writes all files, and returns the results as in `results.json`."""
        cells = [self._cell(sample, row, spec) for sample in self.samples for row in self.rows for spec in self.settings.methods]
        results = {
            'network': self.hook.name, 'network_sha256': self.hook.sha256, 'implementation': self.hook.implementation,
            'image_shape': list(self.hook.image_shape), 'settings': _plain(self.settings), 'metrics': list(self.measures.names),
            'samples': [sample.name for sample in self.samples], 'held_out': [sample.name for sample in self.held_out],
            'versions': package_versions(), 'cells': cells, 'table': summarize(cells),
            'robustness': self._robustness()}
        self._write('results.json', json.dumps(results, indent=1, allow_nan=False) + '\n')
        self._write('table.md', markdown(results))
        if any(cell.get('curve') for cell in cells):
            pictures.save_png(curves_plot(cells), self.outdir / 'curves.png')
        for row in self.rows:
            done = [cell for cell in cells if cell['row'] == row.name and 'omitted' not in cell and cell['sample'] == self.samples[0].name]
            if done:
                pictures.save_png(side_by_side(row.name, [(cell['method'], self._tiles(cell)) for cell in done], done[0]['strip']),
                                  self.outdir / f'{row.name}.png')
        return results

    def _robustness(self) -> list[dict]:
        regions: dict[bytes, RegionPartition] = {}
        alternatives: dict[str, dict[str, RegionPartition]] = {}
        for row in self.rows:  # rows may share a region and differ in the attribute
            region = regions.setdefault(row.region.mask.tobytes(), row.region)
            alternatives.setdefault(region.name, {}).update(self._alternatives.get(row.name, {}))
        jacobians = [(sample, self._jacobians.get(sample)[0]) for sample in (*self.samples, *self._further)]
        return robustness(jacobians, list(regions.values()), SUBSPACE, alternatives)

    def _cell(self, sample: Sample, row: Row, spec: str) -> dict:
        path = self.outdir / 'cells' / f'{sample.name}-{row.name}-{pathlib.Path(spec).name.replace(":", "_")}.json'
        key = self._fingerprint(sample, row, spec)
        if path.exists():
            kept = json.loads(path.read_text(encoding='utf-8'))
            if kept.get('fingerprint') == key:
                return kept
        if not self._originals:
            zero = torch.zeros(1, self.hook.space(self.settings.space).dim)
            self._originals = [(other, render_edits(self.hook.space(self.settings.space), other, zero, self.settings.resolution))
                               for other in self.held_out]
            self._features = self.measures.features(torch.cat([picture for _, picture in self._originals]))
        cell, edited = compute_cell(self.hook, sample, row, spec, self._originals, self._features, self._jacobians, self.settings, self.measures)
        cell = {'fingerprint': key, 'sample': sample.name, 'row': row.name, 'attribute': row.attribute, 'attribute_sign': row.sign,
                'method': spec, 'tiles': path.with_suffix('.png').name} | cell
        if edited is not None:
            shown, both = cell['edits'][:len(cell['signs']) * STRIP_SAMPLES], len(cell['signs']) > 1
            cell['strip'] = [edit['sample'] + (f" {'+' if edit['sign'] > 0 else '-'}" if both else '') for edit in shown]
            originals = torch.cat([picture for _, picture in self._originals[:STRIP_SAMPLES]]).repeat_interleave(len(cell['signs']), dim=0)
            tiles = torch.cat([torch.cat(list(part[:len(cell['strip'])]), dim=2) for part in (originals, edited)], dim=1)
            pictures.save_png(Image.fromarray(pictures.to_uint8(tiles[None])[0]), path.with_suffix('.png'))
        self._write(path.relative_to(self.outdir), json.dumps(cell, allow_nan=False) + '\n')
        return cell

    def _tiles(self, cell: dict) -> list[list[Image.Image]]:
        """The unedited and the edited pictures of a cell's strip."""
        with Image.open(self.outdir / 'cells' / cell['tiles']) as both:
            width, height = both.width // len(cell['strip']), both.height // 2
            return [[both.crop((i * width, j * height, (i + 1) * width, (j + 1) * height)) for i in range(len(cell['strip']))] for j in range(2)]

    def _fingerprint(self, sample: Sample, row: Row, spec: str) -> str:
        """A hash of all that a cell depends on."""
        facts = {'network': self.hook.sha256 or self.hook.name, 'row': [row.name, row.attribute, row.sign], 'spec': spec,
                 'settings': _plain(dataclasses.replace(self.settings, methods=(spec,), jacobian_dir=None)), 'metrics': self.measures.names,
                 'samples': [sample.name, *(other.name for other in self.held_out)]}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        digest.update(row.region.mask.tobytes())
        for one in (sample, *self.held_out):
            for latent in (*one.latents.values(), one.c):
                if latent is not None:
                    digest.update(latent.cpu().numpy().tobytes())
        file = pathlib.Path(spec.rpartition(':')[0] or spec)
        for path in (pathlib.Path(spec), file):
            if path.suffix in ('.npy', '.npz') and path.is_file():
                digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    def _write(self, name: str | pathlib.Path, text: str) -> None:
        with replacing(self.outdir / name) as part:
            part.write_text(text, encoding='utf-8')


def _plain(settings: Settings) -> dict:
    return {key: str(value) if isinstance(value, pathlib.Path) else value for key, value in dataclasses.asdict(settings).items()}
