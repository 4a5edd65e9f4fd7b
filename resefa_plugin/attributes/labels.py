"""From measured changes to words: what a direction may be called."""

from __future__ import annotations

import torch

from resefa_plugin.attributes.changes import AttributeChanges
from resefa_plugin.attributes.scores import ATTRIBUTES

STRENGTH = 3.0  # each way, at which a direction is looked at to be named: as far as people go


def direction_labels(changes: AttributeChanges) -> list[str]:
    """A label for each direction, what positive strength does, e.g. `mouth opens +`; empty where nothing is clear.

    It names an attribute in the region that changes steadily and the same way at all samples, the one that changes
    most by the measure of its `least`. A direction of the mouth is never called after what it does to the nose.
    """
    attributes, result = list(ATTRIBUTES.values()), []
    least = torch.tensor([attribute.least for attribute in attributes], dtype=torch.float64)
    named = changes.consistent if changes.belongs is None else changes.consistent & changes.belongs
    for change, fit in zip(changes.mean / least, named, strict=True):
        clear = torch.where(fit, change, 0).abs()
        best = int(clear.argmax())
        more, less = attributes[best].more, attributes[best].less
        result.append('' if clear[best] < 1 else f'{more if change[best] > 0 else less} +')
    return result
