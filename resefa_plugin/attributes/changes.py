"""How attributes change along directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from resefa_plugin.attributes.scores import ATTRIBUTES, attribute_scores
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.errors import MetricError
from resefa_plugin.hooks.base import LatentSpace, Sample
from resefa_plugin.metrics.metric_networks import Networks

STRENGTH = 2.0  # clearly visible, and before pictures saturate


@dataclass(frozen=True, eq=False)
class AttributeChanges:
    """Changes of attributes along k directions at a number of samples.

    Attributes:
        values: `[k, samples, attributes]` float64: score at +strength less that at -strength. 1 is the standard
            deviation of the attribute over faces.
        strength: at which they were measured.
    """

    values: Tensor
    strength: float

    def of(self, attribute: str) -> Tensor:
        """Mean change of one attribute over the samples, `[k]`. Raises MetricError if there is no such attribute."""
        if attribute not in ATTRIBUTES:
            raise MetricError(f"'{attribute}' is not an attribute; attributes: {', '.join(ATTRIBUTES)}")
        return self.values[:, :, list(ATTRIBUTES).index(attribute)].mean(dim=1)

    @property
    def mean(self) -> Tensor:
        """Mean changes over the samples, `[k, attributes]`, in the order of ATTRIBUTES."""
        return self.values.mean(dim=1)

    @property
    def consistent(self) -> Tensor:
        """Whether all samples change the same way, bool `[k, attributes]`."""
        return (self.values > 0).all(dim=1) | (self.values < 0).all(dim=1)


def attribute_changes(space: LatentSpace, samples: Sequence[Sample], offsets: Tensor, networks: Networks,
                      strength: float = STRENGTH, resolution: int | None = None,
                      progress: Callable[[], None] = lambda: None) -> AttributeChanges:
    """Goes along each direction both ways at each sample and measures what becomes of the face.

    Args:
        space: of the directions.
        samples: one or more: the sample of the directions, and others to see whether it is the same there.
        offsets: `[k, d]`, one per direction, at strength 1: `DirectionSet.offset(i, 1)`.
        networks: of which `parsing` is used.
        strength: how far to go each way.
        resolution: longer side of the pictures, pixels; None for all that the generator makes. The parser sees 512.
        progress: called after each direction of each sample.

    Raises:
        MetricError: no sample, or offsets of another width.
    """
    if not samples or offsets.ndim != 2 or offsets.shape[1] != space.dim:
        raise MetricError(f'expected one sample or more and offsets [k, {space.dim}], got {len(samples)} samples and '
                          f'{list(offsets.shape)}')
    values = torch.empty(len(offsets), len(samples), len(ATTRIBUTES), dtype=torch.float64)
    for j, sample in enumerate(samples):
        for i, offset in enumerate(offsets):
            pictures = render_edits(space, sample, torch.stack([strength * offset, -strength * offset]), resolution)
            scores = torch.stack(list(attribute_scores(pictures, networks).values()), dim=1)  # [2, attributes]
            values[i, j] = scores[0] - scores[1]
            progress()
    return AttributeChanges(values, strength)
