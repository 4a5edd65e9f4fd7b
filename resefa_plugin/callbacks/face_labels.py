"""Labels for the directions of a run: a callback that says what each one does to a face."""

from __future__ import annotations

import torch
from tqdm import tqdm

from resefa_plugin.attributes.changes import attribute_changes
from resefa_plugin.attributes.face_parts import SIDE
from resefa_plugin.attributes.labels import direction_labels
from resefa_plugin.errors import ResefaError
from resefa_plugin.factorizer.callback import Callback
from resefa_plugin.hooks.base import pooling_factor
from resefa_plugin.metrics.metric_networks import Networks

SAMPLES = 2  # besides the direction's own: a label must hold on others, too


class FaceLabels(Callback):
    """Suggests a label for each direction of a generator of aligned faces: `mouth opens +`, `lipstick +`.

    Args:
        networks: with `parsing`.
        other_samples: samples that took no part; the first ones are looked at.

    Attributes:
        labels: by the name of the result, one for each direction; empty where nothing is clear.
    """

    def __init__(self, networks: Networks, other_samples=()):
        self.networks, self.other_samples = networks, other_samples
        self.labels: dict[str, list[str]] = {}

    def on_region_end(self, factorizer, result):
        directions = result.directions
        samples = [*result.samples, *self.other_samples][:1 + SAMPLES]
        offsets = torch.stack([torch.from_numpy(directions.offset(i, 1.0)) for i in range(len(directions))])
        with tqdm(total=len(offsets) * len(samples), desc=f'{result.name}: labels', unit='edit', dynamic_ncols=True) as bar:
            changes = attribute_changes(result.space, samples, offsets, self.networks, resolution=_resolution(factorizer.hook.image_shape),
                                        progress=bar.update)
        self.labels[result.name] = direction_labels(changes)


def _resolution(image_shape: tuple[int, int, int]) -> int | None:
    """That of the face parser, where the pictures are larger and can be averaged to it."""
    try:
        pooling_factor(image_shape, SIDE)
    except ResefaError:
        return None
    return SIDE
