"""How attributes change along directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from resefa_plugin.attributes.face_parts import SIDE, FaceParts
from resefa_plugin.attributes.scores import ATTRIBUTES, attribute_scores
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.errors import MetricError, ResefaError
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.regions.partition import RegionPartition

STRENGTH = 2.0  # clearly visible, and before pictures saturate


@dataclass(frozen=True, eq=False)
class AttributeChanges:
    """Changes of attributes along k directions at a number of samples.

    Attributes:
        values: `[k, samples, strengths, attributes]` float64: score at +strength less that at -strength. 1 is the
            standard deviation of the attribute over faces. NaN where a part that is needed is not seen.
        strengths: at which they were measured, ascending.
        belongs: bool `[attributes]`, whether an attribute is in the directions' region.
    """

    values: Tensor
    strengths: tuple[float, ...]
    belongs: Tensor

    def of(self, attribute: str) -> Tensor:
        """Mean change of one attribute over the samples, `[k]`. Raises MetricError if there is no such attribute."""
        if attribute not in ATTRIBUTES:
            raise MetricError(f"'{attribute}' is not an attribute; attributes: {', '.join(ATTRIBUTES)}")
        return self.mean[:, list(ATTRIBUTES).index(attribute)]

    @property
    def mean(self) -> Tensor:
        """Mean changes over the samples, `[k, attributes]`, in the order of ATTRIBUTES.

        Of a sample it is what the largest strength changes, by the straight line through all of its strengths.
        """
        strength = torch.tensor(self.strengths, dtype=torch.float64)[:, None]
        slope = (strength * self.values).sum(dim=2) / strength.square().sum()
        return slope.mean(dim=1) * self.strengths[-1]

    @property
    def consistent(self) -> Tensor:
        """Whether all samples change the same way at all strengths, bool `[k, attributes]`."""
        return (self.values > 0).flatten(1, 2).all(dim=1) | (self.values < 0).flatten(1, 2).all(dim=1)


def attribute_changes(viewpoints: Sequence[Viewpoint], offsets: Tensor, networks: Networks,
                      strengths: Sequence[float] = (STRENGTH,), region: RegionPartition | None = None,
                      progress: Callable[[], None] = lambda: None,
                      breathe: Callable[[], None] = lambda: None) -> AttributeChanges:
    """Goes along each direction both ways at each sample and measures what becomes of the face.

    Args:
        viewpoints: one sample or more, at the resolution of the pictures, of which the parser sees 512 pixels.
        offsets: `[k, d]`, one per direction, at strength 1: `DirectionSet.offset(i, 1)`.
        networks: of which `parsing` is used.
        strengths: how far to go each way, ascending.
        region: of the directions, to which colours are cropped; None for the whole picture.
        progress: called after each direction of each sample.
        breathe: called before each picture, as in `render_edits`.

    Raises:
        MetricError: no sample, or offsets of another width.
    """
    dim = viewpoints[0].dim if viewpoints else 0
    if not viewpoints or offsets.ndim != 2 or offsets.shape[1] != dim:
        raise MetricError(f'expected one sample or more and offsets [k, {dim or "d"}], got {len(viewpoints)} samples '
                          f'and {list(offsets.shape)}')
    values = torch.empty(len(offsets), len(viewpoints), len(strengths), len(ATTRIBUTES), dtype=torch.float64)
    for j, viewpoint in enumerate(viewpoints):
        for i, offset in enumerate(offsets):
            for s, strength in enumerate(strengths):
                pictures = render_edits(viewpoint, torch.stack([strength * offset, -strength * offset]), breathe)
                scores = torch.stack(list(attribute_scores(pictures, networks, region).values()), dim=1)
                values[i, j, s] = scores[0] - scores[1]
            progress()
    belongs = torch.ones(len(ATTRIBUTES), dtype=torch.bool)
    if region is not None:
        parts = FaceParts(render_edits(viewpoints[0], viewpoints[0].zero()), networks, region)
        belongs = torch.tensor([attribute.belongs(parts) for attribute in ATTRIBUTES.values()])
    return AttributeChanges(values, tuple(strengths), belongs)


def seen_by_parser(viewpoint: Viewpoint) -> Viewpoint:
    """At the resolution of the face parser, where the pictures are larger and can be averaged to it."""
    try:
        return viewpoint.at(SIDE)
    except ResefaError:
        return viewpoint.full()
