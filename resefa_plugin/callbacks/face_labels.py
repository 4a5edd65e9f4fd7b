"""Labels for the directions of a run: what each one does to a face."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tqdm import tqdm
from typing_extensions import override

from resefa_plugin.attributes.changes import attribute_changes
from resefa_plugin.attributes.face_parts import SIDE
from resefa_plugin.attributes.labels import direction_labels
from resefa_plugin.errors import ResefaError
from resefa_plugin.factorizer.callback import Callback
from resefa_plugin.factorizer.results import RegionResult
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.metrics.metric_networks import Networks

SAMPLES = 2  # besides the direction's own: a label must hold on others, too


class FaceLabels(Callback):
    """Puts a label for each direction of a generator of aligned faces into the result: `mouth opens +`, `lipstick +`.

    Args:
        networks: with `parsing`.
        others: samples that took no part; the first ones are looked at.
    """

    def __init__(self, networks: Networks, others: Sequence[Viewpoint] = ()):
        self.networks, self.others = networks, list(others)

    @override
    def on_region_end(self, result: RegionResult) -> None:
        directions = result.directions
        viewpoints = [_seen_by_parser(viewpoint) for viewpoint in [*result.viewpoints, *self.others][:1 + SAMPLES]]
        offsets = torch.stack([torch.from_numpy(directions.offset(i, 1.0)) for i in range(len(directions))])
        edits, title = len(offsets) * len(viewpoints), f'{result.name}: labels'
        with tqdm(total=edits, desc=title, unit='edit', dynamic_ncols=True) as bar:
            changes = attribute_changes(viewpoints, offsets, self.networks, progress=bar.update)
        result.labels = direction_labels(changes)


def _seen_by_parser(viewpoint: Viewpoint) -> Viewpoint:
    """At the resolution of the face parser, where the pictures are larger and can be averaged to it."""
    try:
        return viewpoint.at(SIDE)
    except ResefaError:
        return viewpoint.full()
