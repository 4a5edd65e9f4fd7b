"""Masked MSE, the paper's measure of locality (Table 1, Figure 5)."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from resefa_plugin.editing.strength import mean_square
from resefa_plugin.metrics.edits import Edits, PairMetric


class MaskedMSE(PairMetric):
    """Mean squared change over the pixels and channels inside the region, and outside.

    The scale is the network's, [-1, 1], which is what `measured_inside` of a directions file and the report have. The
    same change is a quarter of it on the [0, 1] scale, and 127.5 ** 2 times it in squared grey levels of 255. The
    paper prints its figures (1.5e-4 to 2.5e-4) without a scale, and its published code has no metrics: compare
    ratios between methods, not figures.
    """

    keys = ('mse_in', 'mse_out')

    @override
    def __call__(self, edits: Edits) -> dict[str, Tensor]:
        inside, outside = mean_square(edits.change.cpu(), edits.partition)
        return {'mse_in': inside.cpu(), 'mse_out': outside.cpu()}
