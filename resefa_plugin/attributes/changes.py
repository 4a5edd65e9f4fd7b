"""How attributes change along directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from resefa_plugin.attributes.face_parts import SIDE, FaceParts
from resefa_plugin.attributes.scores import ATTRIBUTES, attribute_scores, scores_of
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.errors import MetricError, ResefaError
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.regions.partition import RegionPartition

STRENGTH = 2.0  # clearly visible, and before pictures saturate
THRESHOLD = 0.8  # a smaller change from -STRENGTH to +STRENGTH, in standard deviations over faces, is not seen
BACK = 0.1  # of the whole change: by so much one half of the way may go against the other; a closed mouth stays closed


@dataclass(frozen=True, eq=False)
class AttributeChanges:
    """Changes of attributes along k directions at a number of samples.

    Attributes:
        values: `[k, samples, attributes]` float64: score at +strength less that at -strength. 1 is the standard
            deviation of the attribute over faces. NaN where a part that is needed is not seen.
        strength: at which they were measured.
        steady: bool `[k, samples, attributes]`, whether the unedited picture is in between, or hardly beyond one end;
            None where it was not looked at.
        belongs: bool `[attributes]`, whether an attribute is in the directions' region; None for no region.
    """

    values: Tensor
    strength: float
    steady: Tensor | None = None
    belongs: Tensor | None = None

    def of(self, attribute: str) -> Tensor:
        """Mean change of one attribute over the samples, `[k]`. Raises MetricError if there is no such attribute."""
        if attribute not in ATTRIBUTES:
            raise MetricError(f"'{attribute}' is not an attribute; attributes: {', '.join(ATTRIBUTES)}")
        return self.mean[:, list(ATTRIBUTES).index(attribute)]

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
        """Whether all samples change the same way, and steadily, bool `[k, attributes]`."""
        same = (self.values > 0).all(dim=1) | (self.values < 0).all(dim=1)
        return same if self.steady is None else same & self.steady.all(dim=1)


def attribute_changes(viewpoints: Sequence[Viewpoint], offsets: Tensor, networks: Networks,
                      strength: float = STRENGTH, region: RegionPartition | None = None,
                      progress: Callable[[], None] = lambda: None,
                      breathe: Callable[[], None] = lambda: None) -> AttributeChanges:
    """Goes along each direction both ways at each sample and measures what becomes of the face.

    Args:
        viewpoints: one sample or more, at the resolution of the pictures, of which the parser sees 512 pixels.
        offsets: `[k, d]`, one per direction, at strength 1: `DirectionSet.offset(index, 1)`.
        networks: of which `parsing` is used.
        strength: how far to go each way.
        region: of the directions, to which colours are cropped; the unedited pictures are looked at, too. None for the
            whole picture.
        progress: called after each direction of each sample.
        breathe: called before each picture, as in `render_edits`.

    Raises:
        MetricError: no sample, or offsets of another width.
    """
    dim = viewpoints[0].dim if viewpoints else 0
    if not viewpoints or offsets.ndim != 2 or offsets.shape[1] != dim:
        raise MetricError(f'expected one sample or more and offsets [k, {dim or "d"}], got {len(viewpoints)} samples '
                          f'and {list(offsets.shape)}')
    values = torch.empty(len(offsets), len(viewpoints), len(ATTRIBUTES), dtype=torch.float64)
    steady = None if region is None else torch.empty(values.shape, dtype=torch.bool)
    belongs = None
    for j, viewpoint in enumerate(viewpoints):
        if region is not None:
            parts = FaceParts(render_edits(viewpoint, viewpoint.zero(), breathe), networks, region)
            unedited = scores_of(parts)
            if belongs is None:
                belongs = torch.tensor([attribute.belongs(parts) for attribute in ATTRIBUTES.values()])
        for i, offset in enumerate(offsets):
            pictures = render_edits(viewpoint, torch.stack([strength * offset, -strength * offset]), breathe)
            after, before = torch.stack(list(attribute_scores(pictures, networks, region).values()), dim=1)
            values[i, j] = after - before
            if steady is not None:
                halves = torch.stack([after - unedited, unedited - before])
                steady[i, j] = (halves * values[i, j].sign() >= -BACK * values[i, j].abs()).all(dim=0)
            progress()
    return AttributeChanges(values, strength, steady, belongs)


def seen_by_parser(viewpoint: Viewpoint) -> Viewpoint:
    """At the resolution of the face parser, where the pictures are larger and can be averaged to it."""
    try:
        return viewpoint.at(SIDE)
    except ResefaError:
        return viewpoint.full()
