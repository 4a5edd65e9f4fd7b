"""LPIPS inside and outside of the region."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from resefa_plugin.errors import MetricError
from resefa_plugin.hooks.base import box_average
from resefa_plugin.hooks.viewpoint import default_resolution
from resefa_plugin.metrics.edits import Edits, PairMetric, averages
from resefa_plugin.metrics.metric_networks import Networks, rgb
from resefa_plugin.metrics.networks.lpips import SMALLEST_SIDE


class Perceptual(PairMetric):
    """Spatial LPIPS (AlexNet, version 0.1) averaged over the region and over the rest.

    The picture is box averaged to at most 256 pixels first: the network was trained on patches of 64. Its receptive
    fields reach over the region's edge, so a change inside always shows a little outside.
    """

    keys = ('lpips_in', 'lpips_out')

    def __init__(self, networks: Networks):
        self._network, self._device = networks.lpips, networks.device

    @override
    def __call__(self, edits: Edits) -> dict[str, Tensor]:
        _, channels, height, width = edits.edited.shape
        resolution = default_resolution((channels, height, width))
        original, edited = (rgb(box_average(images, resolution)).to(self._device)
                            for images in (edits.original, edits.edited))
        if min(edited.shape[2:]) < SMALLEST_SIDE:
            raise MetricError(f'LPIPS needs pictures of at least {SMALLEST_SIDE} pixels, these have '
                              f'{list(edited.shape[2:])}')
        originals = original.expand_as(edited)
        with torch.no_grad():
            maps = torch.cat([self._network(a[None], b[None]) for a, b in zip(originals, edited, strict=True)])
        # At the size of the mask, each value repeated over its box.
        maps = functional.interpolate(maps.cpu()[:, None], edits.partition.mask.shape)[:, 0]
        inside, outside = averages(maps, edits.partition)
        return {'lpips_in': inside, 'lpips_out': outside}
