"""The share of the change that falls into the region."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from resefa_plugin.metrics.edits import Edits, PairMetric


class Localisation(PairMetric):
    """Summed squared change inside over that of the whole picture: 0 to 1, NaN where nothing changed.

    A change that does not care for the region scores the region's share of the area.
    """

    keys = ('localisation',)

    @override
    def __call__(self, edits: Edits) -> dict[str, Tensor]:
        squares = edits.change.cpu().double().square().sum(dim=1)  # [N, H, W]
        inside = squares[:, torch.tensor(edits.partition.mask)].sum(dim=1)
        return {'localisation': inside / squares.sum(dim=(1, 2))}
