"""Pictures of a run, and the report that shows them."""

from __future__ import annotations

import math
import pathlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm
from typing_extensions import override

from resefa_plugin.editing.strength import STRENGTH_RMS, mean_square, render_edits
from resefa_plugin.factorizer.callback import Callback
from resefa_plugin.factorizer.results import RegionResult
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.report import pictures, plots
from resefa_plugin.report.page import DirectionRow, RegionSection, Report, SampleSection, write_report

STRENGTHS = (-3, -2, -1, 0, 1, 2, 3)
OTHER_STRENGTHS = (-3, 0, 3)  # and twice or three times as far where that is hardly seen
SEEN = 2 * STRENGTH_RMS  # root mean square in the region that is seen well
NEAR, FAR = 480, 288  # longer side of pictures in the report: the part around the region, and the whole
PICTURE_SIDE = 512  # of whole pictures in the overview


class PictureWriter(Callback):
    """Strips, sheets, heat maps, plots, `overview.jpg`, `report.html`: what a person looks at to believe the figures.

    Args:
        outdir: the folder of the run.
        record: what the report says of the run: `options`, `versions` (by name) and `command`; in `edit`, the words
            with which a command begins that edits pictures of the same generator.
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
        folder, name = self.outdir / result.name, result.partition.name
        image, *_ = [self._image(viewpoint) for viewpoint in result.viewpoints]  # all of a pool's are written
        mask, directions, captions = result.partition.mask, result.directions, pictures.strength_captions(STRENGTHS)
        box = pictures.region_box(mask)
        is_part = box != (0, 0, *image.size)
        rows: list[DirectionRow] = []
        with tqdm(total=len(directions), desc=f'{result.name}: pictures', unit='direction', dynamic_ncols=True) as bar:
            for index in range(len(directions)):
                offsets = torch.stack([torch.from_numpy(directions.offset(index + 1, s)) for s in STRENGTHS])
                edits = render_edits(result.viewpoint.full(), offsets)
                if index == 0:
                    change = edits[STRENGTHS.index(1)] - edits[STRENGTHS.index(0)]
                    heat_map = pictures.heat_map(change, mask, image)
                    overview = _tiles(edits, None, PICTURE_SIDE)
                near = _tiles(edits, box, NEAR)
                strip = pictures.strip(near, captions, f'{name} {index + 1} {directions.labels[index]}'.rstrip())
                pictures.save_png(strip, folder / f'direction{index + 1}.png')
                rows.append(DirectionRow(
                    index + 1, directions.eigenvalues[index], directions.residuals[index], directions.step[index],
                    directions.predicted_inside[index], directions.predicted_outside[index],
                    directions.measured_inside[index], directions.measured_outside[index],
                    near, _tiles(edits, None, FAR) if is_part else (), directions.labels[index]))
                bar.update()
        named = {
            'region': pictures.region_overlay(image, mask),
            'heat_map': heat_map,
            'eigenvalues': plots.eigenvalue_plot(result.eigenvalues, len(directions)),
            'sheet': pictures.contact_sheet([row.near for row in rows], [f'{row.index}\n{row.label}' for row in rows],
                                            captions, result.name),
        }
        if result.transfer:
            named['transfer'] = plots.transfer_plot(result.transfer)
        others = [*result.viewpoints[1:4], *self.others]
        if others:
            named['other_seeds'] = self._other_seeds(result, others, box)
        for file, picture in named.items():
            pictures.save_png(picture, folder / f'{file}.png')
        self._regions.setdefault(result.source, []).append(RegionSection(
            name, self._edit_command(result), captions, float(mask.mean()), named['region'], heat_map,
            named['eigenvalues'], rows, named.get('other_seeds'), result.notes, result.agreement,
            named.get('transfer'), result.background))
        self._overview.append((result.name, [pictures.thumbnail(named['region'], PICTURE_SIDE), *overview]))
        self._seconds |= {f'{result.source} {stage}' if stage == 'jacobian' else f'{result.name} {stage}': value
                          for stage, value in result.seconds.items()}

    def _edit_command(self, result: RegionResult) -> str:
        """The command that moves the samples of a result along its first direction."""
        begin = self.record.get('edit', ['resefa', 'edit', f'--network={result.viewpoint.hook.name}'])
        return shlex.join([*begin, f'--directions={self.outdir / result.name}.npz', '--index=1', '--strength=-3,3',
                           f'--outdir={self.outdir / "edits"}'])

    def _other_seeds(self, result: RegionResult, others: Sequence[Viewpoint],
                     box: tuple[int, int, int, int]) -> Image.Image:
        """Direction 1 on other samples, as far as it takes for something to be seen in the region."""
        rendered, changes = [], []
        strengths: Sequence[float] = OTHER_STRENGTHS
        with tqdm(others, desc=f'{result.name}: other samples', unit='sample', dynamic_ncols=True) as bar:
            for viewpoint in bar:
                rendered.append(_edits(result, viewpoint, strengths))
                change = rendered[-1][[0, -1]] - rendered[-1][[1]]
                changes.append(float(mean_square(change, result.partition)[0].mean().sqrt()))
        further = min(3, math.ceil(SEEN / max(sum(changes) / len(changes), 1e-6)))
        if further > 1:
            strengths = [further * strength for strength in strengths]
            rendered = [_edits(result, viewpoint, strengths) for viewpoint in others]
        return pictures.contact_sheet([_tiles(edits, box, NEAR) for edits in rendered],
                                      [viewpoint.sample.name for viewpoint in others],
                                      pictures.strength_captions(strengths),
                                      f'{result.partition.name} 1 on other samples', tile=256)

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
            title=f'{_listed(dict.fromkeys(result.partition.name for result in results))} of {hook.name}',
            network=hook.name, network_licence=hook.licence, samples=samples,
            options=self.record['options'], versions=self.record['versions'], seconds=self._seconds,
            command=self.record['command']))


def _listed(names: Iterable[str]) -> str:
    """`mouth, nose and eyes`."""
    *first, last = names
    return f'{", ".join(first)} and {last}' if first else last


def _edits(result: RegionResult, viewpoint: Viewpoint, strengths: Sequence[float]) -> Tensor:
    """Pictures `[N, C, H, W]` of a sample along direction 1."""
    offsets = torch.stack([torch.from_numpy(result.directions.offset(1, strength)) for strength in strengths])
    return render_edits(viewpoint.full(), offsets)


def _tiles(images: Tensor, box: tuple[int, int, int, int] | None, side: int) -> list[Image.Image]:
    """Pictures `[N, C, H, W]`, or this part of them, with a longer side of at most `side` pixels."""
    return [pictures.thumbnail(Image.fromarray(image).crop(box or (0, 0, image.shape[1], image.shape[0])), side)
            for image in pictures.to_uint8(images)]
