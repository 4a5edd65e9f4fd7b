"""Straight edits and edits with the background kept, side by side: a callback of Factorizer."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from resefa_plugin.callbacks.writers import STRENGTHS
from resefa_plugin.editing.background import BackgroundKeeper, KeptPath
from resefa_plugin.editing.strength import mean_square, render_edits
from resefa_plugin.factorizer.callback import Callback
from resefa_plugin.jacobian.sharded import ShardedJacobian
from resefa_plugin.jacobian.tangent_model import TangentModel
from resefa_plugin.report import pictures
from resefa_plugin.report.page import BackgroundRow, grey_levels
from resefa_plugin.report.pictures import significant

TILE = 192  # longer side of the pictures of a sheet


def keep(keeper: BackgroundKeeper, offset: np.ndarray, strengths: Sequence[float], title: str) -> KeptPath:
    """`keeper.path` with a progress bar."""
    with tqdm(total=len({float(s) for s in strengths if s}), desc=title, unit='strength', dynamic_ncols=True) as bar:
        return keeper.path(offset, strengths, bar.update)


def outside_summary(path: KeptPath) -> str:
    """What was gained, as a sentence."""
    kept, straight = (significant(grey_levels(changes.max())) for changes in (path.outside, path.straight_outside))
    return f'outside the region the change is at most {kept} grey levels of 255, {straight} without --keep-background'


class BackgroundComparison(Callback):
    """Edits along each direction, straight and with the background kept.

    Writes `seed0000-mouth/direction1-kept.png`, ...

    Args:
        outdir: the folder of the run.
        corrections: see BackgroundKeeper.

    Attributes:
        rows: the figures and sheets by the name of the result, for the report.
    """

    def __init__(self, outdir: pathlib.Path, corrections: int = 3):
        self.outdir, self.corrections = outdir, corrections
        self.rows: dict[str, list[BackgroundRow]] = {}
        self._jacobian = None

    def on_jacobian_end(self, factorizer, sample, jacobian):
        self._jacobian = jacobian

    def on_region_end(self, factorizer, result):
        jacobian = self._jacobian  # the last one: of a pool, perhaps of another sample; of several processes, a part
        known = (jacobian is not None and jacobian.sample is result.sample and jacobian.computed
                 and not isinstance(jacobian, ShardedJacobian))
        keeper = BackgroundKeeper(
            factorizer.hook, result.space, result.sample, result.partition, corrections=self.corrections,
            model=TangentModel.of_jacobian(jacobian) if known else None,
            resolution=result.directions.metadata.resolution)
        self.rows[result.name] = [self._row(keeper, result, index) for index in range(len(result.directions))]

    def _row(self, keeper, result, index) -> BackgroundRow:
        title = f'{result.name} {index + 1}: background'
        kept = keep(keeper, result.directions.offset(index, 1.0), STRENGTHS, title).offsets
        straight = torch.stack([torch.from_numpy(result.directions.offset(index, s)) for s in STRENGTHS])
        edits = [render_edits(result.space, result.sample, offsets) for offsets in (straight, kept)]
        sheet = pictures.contact_sheet([_tiles(row) for row in edits], ['straight', 'kept'],
                                       pictures.strength_captions(STRENGTHS), f'{result.partition.name} {index + 1}')
        pictures.save_png(sheet, self.outdir / result.name / f'direction{index + 1}-kept.png')
        original = edits[0][STRENGTHS.index(0)]
        moved = [i for i, strength in enumerate(STRENGTHS) if strength]
        changes = [side.tolist() for row in edits for side in mean_square(row[moved] - original, result.partition)]
        return BackgroundRow(index + 1, [STRENGTHS[i] for i in moved], *changes, sheet)


def _tiles(images: Tensor) -> list[Image.Image]:
    return [pictures.thumbnail(Image.fromarray(image), TILE) for image in pictures.to_uint8(images)]
