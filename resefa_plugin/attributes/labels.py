"""From measured changes to words: what a direction may be called, and which direction does what is wanted."""

from __future__ import annotations

import torch

from resefa_plugin.attributes.changes import AttributeChanges
from resefa_plugin.attributes.scores import ATTRIBUTES

STRENGTHS = (1.5, 3.0)  # each way, at which a direction is looked at to be named: what people use
# A smaller change from -strength to +strength, in standard deviations over faces, is not seen.
THRESHOLD = 0.8


def direction_labels(changes: AttributeChanges) -> list[str]:
    """A label for each direction, what positive strength does, e.g. `mouth opens +`; empty where nothing is clear.

    It names the attribute in the region that changes most of those that change the same way at all samples and
    strengths, if by THRESHOLD or more. A direction of the mouth is never called after what it does to the nose.
    """
    result = []
    for change, consistent in zip(changes.mean, changes.consistent, strict=True):
        clear = torch.where(consistent & changes.belongs, change, 0).abs()
        best = int(clear.argmax())
        attribute = list(ATTRIBUTES.values())[best]
        result.append('' if clear[best] < THRESHOLD else f'{attribute.more if change[best] > 0 else attribute.less} +')
    return result


def best_direction(changes: AttributeChanges, attribute: str, sign: int = 1) -> tuple[int, int] | None:
    """The direction that changes one attribute most, and in which sense to go along it.

    Args:
        changes: of directions of the region that the attribute is in: those of the mouth move the nose, too.
        attribute: one of ATTRIBUTES.
        sign: 1 for more of the attribute, -1 for less (`eyes_open`, -1: closes the eyes).

    Returns: index of the direction, and the sign, 1 or -1, of the strength that does it; None if no direction changes
        the attribute by THRESHOLD or more in the same way at all samples.

    Raises MetricError if there is no such attribute.
    """
    change = changes.of(attribute)
    change = torch.where(changes.consistent[:, list(ATTRIBUTES).index(attribute)], change, 0)
    best = int(change.abs().argmax())
    if change[best].abs() < THRESHOLD:
        return None
    return best, sign if change[best] > 0 else -sign
