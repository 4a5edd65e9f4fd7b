"""How attributes change along directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from resefa_plugin.attributes.scores import ATTRIBUTES, attribute_scores
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.errors import MetricError
from resefa_plugin.hooks.viewpoint import Viewpoint
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

    def typical(self, attribute: str) -> Tensor:
        """Median change of one attribute over the samples, `[k]`: one with glasses hides its eyes.

        0 where it is not seen. Raises MetricError if there is no such attribute.
        """
        self.of(attribute)
        values = self.values[:, :, list(ATTRIBUTES).index(attribute)].nan_to_num()
        return values.quantile(0.5, dim=1)

    @property
    def mean(self) -> Tensor:
        """Mean changes over the samples, `[k, attributes]`, in the order of ATTRIBUTES."""
        return self.values.mean(dim=1)

    @property
    def consistent(self) -> Tensor:
        """Whether all samples change the same way, bool `[k, attributes]`."""
        return (self.values > 0).all(dim=1) | (self.values < 0).all(dim=1)


def attribute_changes(viewpoints: Sequence[Viewpoint], offsets: Tensor, networks: Networks, strength: float = STRENGTH,
                      progress: Callable[[], None] = lambda: None) -> AttributeChanges:
    """Goes along each direction both ways at each sample and measures what becomes of the face.

    Args:
        viewpoints: one sample or more, the directions' own, and others to see whether it holds; at the resolution of
            the pictures, of which the parser sees 512 pixels.
        offsets: `[k, d]`, one per direction, at strength 1: `DirectionSet.offset(i, 1)`.
        networks: of which `parsing` is used.
        strength: how far to go each way.
        progress: called after each direction of each sample.

    Raises:
        MetricError: no sample, or offsets of another width.
    """
    dim = viewpoints[0].dim if viewpoints else 0
    if not viewpoints or offsets.ndim != 2 or offsets.shape[1] != dim:
        raise MetricError(f'expected one sample or more and offsets [k, {dim or "d"}], got {len(viewpoints)} samples '
                          f'and {list(offsets.shape)}')
    values = torch.empty(len(offsets), len(viewpoints), len(ATTRIBUTES), dtype=torch.float64)
    for j, viewpoint in enumerate(viewpoints):
        for i, offset in enumerate(offsets):
            pictures = render_edits(viewpoint, torch.stack([strength * offset, -strength * offset]))
            scores = torch.stack(list(attribute_scores(pictures, networks).values()), dim=1)  # [2, attributes]
            values[i, j] = scores[0] - scores[1]
            progress()
    return AttributeChanges(values, strength)
