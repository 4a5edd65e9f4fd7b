"""What a session of the studio is at a moment, and the edit that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.base import Sample
from resefa_plugin.regions.partition import RegionPartition
from resefa_plugin.studio.work.findings import Finding
from resefa_plugin.studio.work.photographs import Placed
from resefa_plugin.studio.work.sources import Source

MAX_STRENGTH = 20.0
MAX_REGIONS = 12


@dataclass(frozen=True, eq=False)
class Region:
    """A region that the user drew.

    Attributes:
        mask: bool `[H, W]`.
        protect: it is to be kept rather than changed.
    """

    mask: np.ndarray
    protect: bool = False


@dataclass(frozen=True, eq=False)
class State:
    """Everything that undo restores; never changed, always replaced.

    Attributes:
        source, sample: what is shown.
        space, layers: what is factorized.
        regions: by name, in the order of their making.
        findings: directions of regions by their name; and those that an atlas has names for, while they are moved.
        strengths: of directions by (region, index), those that are not zero.
        photograph: that the sample shows, and that the edit is laid into; None for a picture of the generator alone.
        keep: the background of the edit is to be kept.
        bend: `[d]`, what is added to the offset for that; None until it is known.
        shortfalls: what could not be kept, a clause for each kind.
    """

    source: Source
    sample: Sample
    space: str
    layers: tuple[int, ...] | None
    regions: Mapping[str, Region] = field(default_factory=dict)
    findings: Mapping[str, Finding] = field(default_factory=dict)
    strengths: Mapping[tuple[str, int], float] = field(default_factory=dict)
    photograph: Placed | None = None
    keep: bool = False
    bend: np.ndarray | None = None
    shortfalls: tuple[str, ...] = ()


def edit_offset(state: State, dim: int, scale: float = 1.0) -> Tensor:
    """The offset `[dim]` float32 of a state's sliders, added in order as `resefa edit` does, and its bend."""
    total = np.zeros(dim, np.float32)
    for (name, index), strength in state.strengths.items():
        total += state.findings[name].directions.offset(index + 1, scale * strength)
    if state.bend is not None:
        total += scale ** 2 * state.bend  # which grows with the square of the way
    return torch.from_numpy(total)


def moved_title(before: Mapping[tuple[str, int], float], strengths: Mapping[tuple[str, int], float],
                findings: Mapping[str, Finding]) -> str:
    """What a person calls the change from some strengths to others: the slider, and where it is now."""
    moved = [key for key in {**before, **strengths} if before.get(key) != strengths.get(key)]
    if not strengths and len(before) > 1:
        return 'All sliders at zero'
    if len(moved) != 1:
        return f'{len(moved)} sliders'
    name, index = moved[0]
    label = findings[name].directions.labels[index] or f'{name} {index + 1}'
    return f'{label.removesuffix(" +")}: {strengths.get(moved[0], 0.0):+.1f}'


def moved_region(state: State) -> RegionPartition:
    """The union of the regions whose sliders are not at zero. Raises ResefaError if all are."""
    if not state.strengths:
        raise ResefaError('nothing is changed yet: move a slider')
    masks = [state.findings[name].partition.mask for name in {name for name, _ in state.strengths}]
    return RegionPartition(np.any(masks, axis=0), 'edited')
