"""Straight edits and edits with the background kept, side by side: a callback of Factorizer."""

from __future__ import annotations

import pathlib

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm
from typing_extensions import override

from resefa_plugin.callbacks.picture_writer import STRENGTHS
from resefa_plugin.editing.background import CORRECTIONS, BackgroundKeeper, KeptPath
from resefa_plugin.editing.strength import mean_square, render_edits
from resefa_plugin.factorizer.callback import Callback
from resefa_plugin.factorizer.results import BackgroundRow, RegionResult
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.jacobian.sharded import ShardedJacobian
from resefa_plugin.jacobian.tangent_model import TangentModel
from resefa_plugin.report import pictures
from resefa_plugin.report.kept_background import shortfalls

TILE = 192  # longer side of the pictures of a sheet


def keep(keeper: BackgroundKeeper, offsets: Tensor, title: str) -> KeptPath:
    """`keeper.keep` with a progress bar."""
    count = int(offsets.any(dim=1).sum())
    with tqdm(total=count, desc=title, unit='edit', dynamic_ncols=True) as bar:
        return keeper.keep(offsets, bar.update)


class BackgroundComparison(Callback):
    """Puts edits along each direction, straight and with the background kept, into the result.

    Writes `seed0000-mouth/direction1-kept.png`, ...

    Args:
        outdir: the folder of the run.
        corrections: see BackgroundKeeper.
    """

    def __init__(self, outdir: pathlib.Path, corrections: int = CORRECTIONS):
        self.outdir, self.corrections = outdir, corrections
        self._jacobian: RegionJacobian | None = None

    @override
    def on_jacobian_end(self, jacobian: RegionJacobian) -> None:
        self._jacobian = jacobian

    @override
    def on_region_end(self, result: RegionResult) -> None:
        jacobian, model = self._jacobian, None
        if jacobian is not None and jacobian.viewpoint is result.viewpoint:  # of a pool, it may be another sample's
            if jacobian.basis is not None:
                model = jacobian.basis.model()
            elif jacobian.computed and not isinstance(jacobian, ShardedJacobian):  # of which each process has a part
                model = TangentModel.of_jacobian(jacobian)
        keeper = BackgroundKeeper(result.viewpoint, result.partition, model=model, corrections=self.corrections)
        result.background = [self._row(keeper, result, index) for index in range(len(result.directions))]

    def _row(self, keeper: BackgroundKeeper, result: RegionResult, index: int) -> BackgroundRow:
        title = f'{result.name} {index + 1}: background'
        straight = torch.stack([torch.from_numpy(result.directions.offset(index + 1, s)) for s in STRENGTHS])
        path, captions = keep(keeper, straight, title), pictures.strength_captions(STRENGTHS)
        edits = [render_edits(result.viewpoint.full(), offsets) for offsets in (straight, path.offsets)]
        sheet = pictures.contact_sheet([_tiles(row) for row in edits], ['straight', 'kept'], captions,
                                       f'{result.partition.name} {index + 1}')
        pictures.save_png(sheet, self.outdir / result.name / f'direction{index + 1}-kept.png')
        original = edits[0][STRENGTHS.index(0)]
        moved = [i for i, strength in enumerate(STRENGTHS) if strength]
        plain, corrected = (mean_square(row[moved] - original, result.partition) for row in edits)
        return BackgroundRow(index + 1, [STRENGTHS[i] for i in moved], plain[0].tolist(), plain[1].tolist(),
                             corrected[0].tolist(), corrected[1].tolist(), sheet,
                             shortfalls(path, captions))


def _tiles(images: Tensor) -> list[Image.Image]:
    return [pictures.thumbnail(Image.fromarray(image), TILE) for image in pictures.to_uint8(images)]
