"""Callbacks of Factorizer: a progress bar, directions files, and pictures with a report."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from resefa_plugin.editing.strength import render_edits
from resefa_plugin.factorizer.callback import Callback
from resefa_plugin.factorizer.results import RegionResult
from resefa_plugin.hooks.base import LatentSpace, Sample
from resefa_plugin.report import pictures, plots
from resefa_plugin.report.page import BackgroundRow, DirectionRow, RegionSection, Report, SampleSection, write_report

STRENGTHS = (-3, -2, -1, 0, 1, 2, 3)
OTHER_STRENGTHS = (-3, -1, 0, 1, 3)
PICTURE_SIDE = 512  # longer side of the pictures kept for sheets and the report


class ProgressBar(Callback):
    """A bar for the tangents of each Jacobian or the products of a search, and one for each region's strengths."""

    def __init__(self):
        self._bar = None

    def _open(self, **options):
        if self._bar is None:
            self._bar = tqdm(dynamic_ncols=True, **options)
        return self._bar

    def _close(self):
        if self._bar is not None:
            self._bar.close()
        self._bar = None

    def on_tangents(self, factorizer, sample, count):
        self._open(total=factorizer.space.dim, desc=f'{sample.name}: Jacobian', unit='tangent').update(count)

    def on_jacobian_end(self, factorizer, sample, jacobian):
        self._close()

    def on_columns(self, factorizer, sample, region, columns, residual):
        bar = self._open(desc=f'{sample.name}-{region.name}: search', unit='product')
        bar.set_postfix_str(f'residual {residual:.1e}', refresh=False)
        bar.update(columns - bar.n)

    def on_region_start(self, factorizer, sample, region, num_directions):
        self._close()
        self._open(total=num_directions, desc=f'{region.name}: strengths', unit='direction')

    def on_direction(self, factorizer, sample, region):
        self._bar.update()

    def on_region_end(self, factorizer, result):
        self._close()

    def on_exception(self, factorizer, error):
        self._close()


class DirectionsWriter(Callback):
    """Saves each directions file as soon as it is there: `seed0000-mouth.npz`."""

    def __init__(self, outdir: pathlib.Path):
        self.outdir = outdir

    def on_region_end(self, factorizer, result):
        result.directions.save(self.outdir / f'{result.name}.npz')


class PictureWriter(Callback):
    """Strips, sheets, heat maps, plots, `overview.jpg` and `report.html`: what a person looks at to believe the figures.

    Args:
        outdir: the folder of the run.
        record: what the report says of the run: `options`, `versions` (by name) and `command`.
        other_samples: samples that took no part; direction 1 of each region is tried on them, and on the first of a pool.
        background: what BackgroundComparison, before this callback, found, by the name of the result.
        labels: what FaceLabels, before this callback, found, likewise.
    """

    def __init__(self, outdir: pathlib.Path, record: Mapping[str, Any], other_samples: Sequence[Sample] = (),
                 background: Mapping[str, Sequence[BackgroundRow]] = MappingProxyType({}),
                 labels: Mapping[str, Sequence[str]] = MappingProxyType({})):
        self.outdir, self.record, self.other_samples, self.background, self.labels = outdir, record, other_samples, background, labels
        self._images: dict[str, Image.Image] = {}  # unedited, by the name of the sample
        self._samples: list[SampleSection] = []
        self._overview: list[tuple[str, list[Image.Image]]] = []
        self._seconds: dict[str, float] = {}

    def on_sample_start(self, factorizer, sample, jacobian):
        self._image(factorizer.space, sample)

    def _image(self, space: LatentSpace, sample: Sample) -> Image.Image:
        """The unedited picture of a sample, which is written when it is first asked for."""
        if sample.name not in self._images:
            original = render_edits(space, sample, torch.zeros(1, space.dim))
            self._images[sample.name] = Image.fromarray(pictures.to_uint8(original)[0])
            pictures.save_png(self._images[sample.name], self.outdir / f'{sample.name}.png')
        return self._images[sample.name]

    def _section(self, result: RegionResult) -> SampleSection:
        """The section of a result's sample; of a pool, with the picture of its first sample."""
        for section in self._samples:
            if section.name == result.source:
                return section
        image, *_ = [self._image(result.space, sample) for sample in result.samples]
        self._samples.append(SampleSection(result.source, image, []))
        return self._samples[-1]

    def on_region_end(self, factorizer, result):
        folder = self.outdir / result.name
        section = self._section(result)
        image = section.image
        mask, directions = result.partition.mask, result.directions
        bar = tqdm(total=len(directions), desc=f'{result.name}: pictures', unit='direction', dynamic_ncols=True)
        rows, tiles, labels = [], [], self.labels.get(result.name, [''] * len(directions))
        for index in range(len(directions)):
            offsets = torch.stack([torch.from_numpy(directions.offset(index, s)) for s in STRENGTHS])
            edits = render_edits(result.space, result.sample, offsets)
            if index == 0:
                change = edits[STRENGTHS.index(1)] - edits[STRENGTHS.index(0)]
                heat_map = pictures.heat_map(change, mask, image)
            tiles.append(_thumbnails(edits))
            strip = pictures.strip(tiles[-1], pictures.strength_captions(STRENGTHS), f'{result.partition.name} {index + 1}')
            pictures.save_png(strip, folder / f'direction{index + 1}.png')
            rows.append(DirectionRow(
                index + 1, directions.eigenvalues[index], directions.residuals[index], directions.step[index],
                directions.predicted_inside[index], directions.predicted_outside[index],
                directions.measured_inside[index], directions.measured_outside[index],
                strip, (tiles[-1][0], tiles[-1][-1]), labels[index]))
            bar.update()
        bar.close()
        named = {
            'region': pictures.region_overlay(image, mask),
            'heat_map': heat_map,
            'eigenvalues': plots.eigenvalue_plot(result.eigenvalues, len(directions)),
            'sheet': pictures.contact_sheet(tiles, [f'{row.index}\n{pictures.significant(row.eigenvalue)}' for row in rows],
                                            pictures.strength_captions(STRENGTHS), result.name),
        }
        others = [*result.samples[1:4], *self.other_samples]
        if others:
            named['other_seeds'] = self._other_seeds(result, others)
        for name, picture in named.items():
            pictures.save_png(picture, folder / f'{name}.png')
        section.regions.append(RegionSection(
            result.partition.name, f'{result.name}.npz', float(mask.mean()), named['region'], heat_map, named['eigenvalues'],
            rows, named['sheet'], named.get('other_seeds'), result.notes, result.agreement,
            self.background.get(result.name, ())))
        self._overview.append((result.name, [pictures.thumbnail(named['region'], PICTURE_SIDE), *tiles[0]]))
        self._seconds |= {f'{result.source} {stage}' if stage == 'jacobian' else f'{result.name} {stage}': value
                          for stage, value in result.seconds.items()}

    def _other_seeds(self, result: RegionResult, others: Sequence[Sample]) -> Image.Image:
        offsets = torch.stack([torch.from_numpy(result.directions.offset(0, s)) for s in OTHER_STRENGTHS])
        bar = tqdm(others, desc=f'{result.name}: other seeds', unit='sample', dynamic_ncols=True)
        rows = [_thumbnails(render_edits(result.space, sample, offsets)) for sample in bar]
        return pictures.contact_sheet(rows, [sample.name for sample in others],
                                      pictures.strength_captions(OTHER_STRENGTHS), f'{result.partition.name} 1 on other samples')

    def on_run_end(self, factorizer, results):
        names, rows = zip(*self._overview)
        overview = pictures.contact_sheet(rows, [f'{name}\ndirection 1' for name in names],
                                          ['region', *pictures.strength_captions(STRENGTHS)])
        pictures.save_jpeg(overview, self.outdir / 'overview.jpg')
        write_report(self.outdir / 'report.html', Report(
            title=f'{", ".join(dict.fromkeys(r.partition.name for r in results))} of {factorizer.hook.name}',
            network=factorizer.hook.name, network_licence=factorizer.hook.licence, samples=self._samples,
            options=self.record['options'], versions=self.record['versions'], seconds=self._seconds, command=self.record['command']))


def _thumbnails(images: Tensor) -> list[Image.Image]:
    return [pictures.thumbnail(Image.fromarray(image), PICTURE_SIDE) for image in pictures.to_uint8(images)]
