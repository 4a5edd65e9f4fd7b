"""Pictures of a run, and the report that shows them."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm
from typing_extensions import override

from resefa_plugin.editing.strength import render_edits
from resefa_plugin.factorizer.callback import Callback
from resefa_plugin.factorizer.results import RegionResult
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.report import pictures, plots
from resefa_plugin.report.page import DirectionRow, RegionSection, Report, SampleSection, write_report

STRENGTHS = (-3, -2, -1, 0, 1, 2, 3)
OTHER_STRENGTHS = (-3, -1, 0, 1, 3)
PICTURE_SIDE = 512  # longer side of the pictures kept for sheets and the report


class PictureWriter(Callback):
    """Strips, sheets, heat maps, plots, `overview.jpg`, `report.html`: what a person looks at to believe the figures.

    Args:
        outdir: the folder of the run.
        record: what the report says of the run: `options`, `versions` (by name) and `command`.
        others: samples that took no part; direction 1 of each region is tried on them, and on the first of a pool.
    """

    def __init__(self, outdir: pathlib.Path, record: Mapping[str, Any], others: Sequence[Viewpoint] = ()):
        self.outdir, self.record, self.others = outdir, record, list(others)
        self._images: dict[str, Image.Image] = {}  # unedited, by the name of the sample
        self._regions: dict[str, list[RegionSection]] = {}  # by the name of the sample, or `pooled`
        self._overview: list[tuple[str, list[Image.Image]]] = []
        self._seconds: dict[str, float] = {}

    @override
    def on_sample_start(self, viewpoint: Viewpoint) -> None:
        self._image(viewpoint)

    def _image(self, viewpoint: Viewpoint) -> Image.Image:
        """The unedited picture of a sample, which is written when it is first asked for."""
        name = viewpoint.sample.name
        if name not in self._images:
            original = render_edits(viewpoint.full(), viewpoint.zero())
            self._images[name] = Image.fromarray(pictures.to_uint8(original)[0])
            pictures.save_png(self._images[name], self.outdir / f'{name}.png')
        return self._images[name]

    @override
    def on_region_end(self, result: RegionResult) -> None:
        folder = self.outdir / result.name
        image, *_ = [self._image(viewpoint) for viewpoint in result.viewpoints]  # all of a pool's are written
        mask, directions = result.partition.mask, result.directions
        rows, tiles = [], []
        with tqdm(total=len(directions), desc=f'{result.name}: pictures', unit='direction', dynamic_ncols=True) as bar:
            for index in range(len(directions)):
                offsets = torch.stack([torch.from_numpy(directions.offset(index, s)) for s in STRENGTHS])
                edits = render_edits(result.viewpoint.full(), offsets)
                if index == 0:
                    change = edits[STRENGTHS.index(1)] - edits[STRENGTHS.index(0)]
                    heat_map = pictures.heat_map(change, mask, image)
                tiles.append(_thumbnails(edits))
                title = f'{result.partition.name} {index + 1}'
                strip = pictures.strip(tiles[-1], pictures.strength_captions(STRENGTHS), title)
                pictures.save_png(strip, folder / f'direction{index + 1}.png')
                rows.append(DirectionRow(
                    index + 1, directions.eigenvalues[index], directions.residuals[index], directions.step[index],
                    directions.predicted_inside[index], directions.predicted_outside[index],
                    directions.measured_inside[index], directions.measured_outside[index],
                    strip, (tiles[-1][0], tiles[-1][-1]), directions.labels[index]))
                bar.update()
        captions = [f'{row.index}\n{pictures.significant(row.eigenvalue)}' for row in rows]
        named = {
            'region': pictures.region_overlay(image, mask),
            'heat_map': heat_map,
            'eigenvalues': plots.eigenvalue_plot(result.eigenvalues, len(directions)),
            'sheet': pictures.contact_sheet(tiles, captions, pictures.strength_captions(STRENGTHS), result.name),
        }
        if result.transfer:
            named['transfer'] = plots.transfer_plot(result.transfer)
        others = [*result.viewpoints[1:4], *self.others]
        if others:
            named['other_seeds'] = self._other_seeds(result, others)
        for name, picture in named.items():
            pictures.save_png(picture, folder / f'{name}.png')
        self._regions.setdefault(result.source, []).append(RegionSection(
            result.partition.name, f'{result.name}.npz', float(mask.mean()), named['region'], heat_map,
            named['eigenvalues'], rows, named['sheet'], named.get('other_seeds'), result.notes, result.agreement,
            named.get('transfer'), result.background))
        self._overview.append((result.name, [pictures.thumbnail(named['region'], PICTURE_SIDE), *tiles[0]]))
        self._seconds |= {f'{result.source} {stage}' if stage == 'jacobian' else f'{result.name} {stage}': value
                          for stage, value in result.seconds.items()}

    def _other_seeds(self, result: RegionResult, others: Sequence[Viewpoint]) -> Image.Image:
        offsets = torch.stack([torch.from_numpy(result.directions.offset(0, s)) for s in OTHER_STRENGTHS])
        with tqdm(others, desc=f'{result.name}: other seeds', unit='sample', dynamic_ncols=True) as bar:
            rows = [_thumbnails(render_edits(viewpoint.full(), offsets)) for viewpoint in bar]
        return pictures.contact_sheet(rows, [viewpoint.sample.name for viewpoint in others],
                                      pictures.strength_captions(OTHER_STRENGTHS),
                                      f'{result.partition.name} 1 on other samples')

    @override
    def on_run_end(self, results: Sequence[RegionResult]) -> None:
        hook = results[0].viewpoint.hook
        names, rows = zip(*self._overview, strict=True)
        overview = pictures.contact_sheet(rows, [f'{name}\ndirection 1' for name in names],
                                          ['region', *pictures.strength_captions(STRENGTHS)])
        pictures.save_jpeg(overview, self.outdir / 'overview.jpg')
        # The section of a pool shows its first sample.
        images = {result.source: self._image(result.viewpoint) for result in results}
        samples = [SampleSection(source, images[source], regions) for source, regions in self._regions.items()]
        write_report(self.outdir / 'report.html', Report(
            title=f'{", ".join(dict.fromkeys(r.partition.name for r in results))} of {hook.name}',
            network=hook.name, network_licence=hook.licence, samples=samples,
            options=self.record['options'], versions=self.record['versions'], seconds=self._seconds,
            command=self.record['command']))


def _thumbnails(images: Tensor) -> list[Image.Image]:
    return [pictures.thumbnail(Image.fromarray(image), PICTURE_SIDE) for image in pictures.to_uint8(images)]
