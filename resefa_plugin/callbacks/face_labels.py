"""Labels for the directions of a run: what each one does to a face."""

from __future__ import annotations

import torch
from tqdm import tqdm
from typing_extensions import override

from resefa_plugin.attributes.changes import attribute_changes, seen_by_parser
from resefa_plugin.attributes.labels import STRENGTH, direction_labels
from resefa_plugin.factorizer.callback import Callback
from resefa_plugin.factorizer.results import RegionResult
from resefa_plugin.metrics.metric_networks import Networks

SAMPLES = 3  # of a pool, at most: its directions shall do the same on all of them


class FaceLabels(Callback):
    """Puts a label for each direction of a generator of aligned faces into the result: `mouth opens +`, `lipstick +`.

    They are also in the metadata of the directions: a DirectionsWriter that comes after this one writes them.

    Args:
        networks: with `parsing`.
    """

    def __init__(self, networks: Networks):
        self.networks = networks

    @override
    def on_region_end(self, result: RegionResult) -> None:
        directions = result.directions
        if all(directions.labels):  # of an attribute that was asked for
            return
        viewpoints = [seen_by_parser(viewpoint) for viewpoint in result.viewpoints[:SAMPLES]]
        offsets = torch.stack([torch.from_numpy(directions.offset(i + 1, 1.0)) for i in range(len(directions))])
        edits, title = len(offsets) * len(viewpoints), f'{result.name}: labels'
        with tqdm(total=edits, desc=title, unit='edit', dynamic_ncols=True) as bar:
            changes = attribute_changes(viewpoints, offsets, self.networks, STRENGTH, result.partition, bar.update)
        result.directions = directions.labelled(direction_labels(changes))
