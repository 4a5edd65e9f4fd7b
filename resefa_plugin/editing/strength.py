"""Edits: moving a sample along a direction, measuring what changes, and giving strength a meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from resefa_plugin.errors import NonFiniteError, check_shape
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.regions.partition import RegionPartition

# Strength 1 changes the region by this root mean square, on the [-1, 1] scale: 12.75 grey levels of 255.
STRENGTH_RMS = 0.1
# The step is corrected by what was measured, so often, and by this factor at most: beyond it the picture saturates.
CORRECTIONS, MAX_CORRECTION = 2, 4.0
CLOSE_ENOUGH = 0.02
TILES = 32  # along the longer side of a picture, of which each is seen by itself
NOT_REACHED = 0.2  # relative: a change that is further from STRENGTH_RMS is not what strength 1 promises


def render_edits(viewpoint: Viewpoint, offsets: Tensor, breathe: Callable[[], None] = lambda: None) -> Tensor:
    """Pictures of a sample moved by each offset `[N, d]`; returns `[N, C, h, w]` in main memory.

    One picture at a time: the same pictures whatever else is rendered with them, and the least memory.

    Args:
        breathe: called before each picture; may wait, or end this by an exception.

    Raises ResefaError for offsets of another shape.
    """
    check_shape('offsets', offsets, 'N', viewpoint.dim)
    pictures: Tensor | None = None
    for index, offset in enumerate(offsets.to(viewpoint.latent)):
        breathe()
        with torch.no_grad():
            picture = viewpoint.images(offset[None])[0]
        if pictures is None:  # all at once: kept ones in between would break up the memory that the next one needs
            pictures = torch.empty(len(offsets), *picture.shape, dtype=picture.dtype)
        pictures[index] = picture
    assert pictures is not None
    return pictures


def mean_square(change: Tensor, partition: RegionPartition) -> tuple[Tensor, Tensor]:
    """Mean squared change inside and outside the region, over pixels and channels.

    Args:
        change: `[N, C, H, W]`, differences of pictures on the [-1, 1] scale, at the resolution of the partition's mask.

    Returns: inside `[N]` and outside `[N]`, float64.
    """
    mask = torch.tensor(partition.mask)
    squares = change.double().square().mean(dim=1)  # [N, H, W]
    return squares[:, mask].mean(dim=1), squares[:, ~mask].mean(dim=1)


def largest_outside(change: Tensor, partition: RegionPartition) -> Tensor:
    """Mean squared change of the tile outside the region that changes most: a mean over all of it hides what is seen.

    Args:
        change, partition: as of `mean_square`.

    Returns: `[N]` float64, over 32 x 32 tiles along the longer side and channels; 0 where nothing is outside.
    """
    outside = ~torch.tensor(partition.mask)[None]
    squares = change.double().square().mean(dim=1) * outside  # [N, H, W]
    side = -(-max(squares.shape[1:]) // TILES)
    sums, counts = (functional.avg_pool2d(each[:, None].double(), side, ceil_mode=True, divisor_override=1)
                    for each in (squares, outside))
    enough = counts >= side ** 2 / 4  # a few pixels between region and border are no tile
    return (sums / counts.clamp(min=1) * enough).amax(dim=(1, 2, 3))


@dataclass(frozen=True)
class Calibration:
    """What strength 1 means for each of k directions. Mean squares are on the [-1, 1] scale, means of +1 and -1.

    Attributes:
        step: `[k]`, the length of the offset (alpha of Eq. 1) at strength 1.
        predicted_inside, predicted_outside: `[k]`, mean squared change at strength 1 by Eq. 5 and 3.
        measured_inside, measured_outside: `[k]`, the same, rendered.
    """

    step: NDArray[np.float64]
    predicted_inside: NDArray[np.float64]
    predicted_outside: NDArray[np.float64]
    measured_inside: NDArray[np.float64]
    measured_outside: NDArray[np.float64]

    @property
    def unreached(self) -> dict[int, float]:
        """Directions, from 1, that do not change the region as strength 1 promises -> the root mean square they reach.

        Their pictures saturate, or the generator answers to a step in another way than its derivative says.
        """
        reached = np.sqrt(self.measured_inside)
        far = np.abs(reached / STRENGTH_RMS - 1) > NOT_REACHED
        return {int(i) + 1: float(reached[i]) for i in np.flatnonzero(far)}


def describe_unreached(unreached: Mapping[int, float]) -> str:
    """The directions of `Calibration.unreached` in a sentence."""
    what = ', '.join(f'{number} ({value:.2g})' for number, value in unreached.items())
    return (f'Strength 1 is to change the region by a root mean square of {STRENGTH_RMS} and does not for direction '
            f'{what}: the pictures saturate there, or are not in [-1, 1].')


def slopes(changes: Tensor, partition: RegionPartition) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean squared change in and out of the region for a step of length 1, to first order (Eq. 5 and 3).

    Args:
        changes: `[k, C, h, w]`, J n of k unit directions.

    Returns: inside `[k]` and outside `[k]`, float64.
    """
    foreground = torch.tensor(partition.at(*changes.shape[2:])).to(changes.device)
    squares = changes.double().square().mean(dim=1)  # [k, h, w]
    return squares[:, foreground].mean(dim=1).cpu().numpy(), squares[:, ~foreground].mean(dim=1).cpu().numpy()


def uncalibrated(predicted: tuple[NDArray[np.float64], NDArray[np.float64]]) -> Calibration:
    """The calibration by prediction alone: `measured_*` repeat what is predicted, until somebody renders it."""
    inside, outside = predicted
    step = STRENGTH_RMS / np.sqrt(inside)
    changes = step ** 2 * inside, step ** 2 * outside
    return Calibration(step, *changes, *changes)


def calibrate(viewpoints: Sequence[Viewpoint], partition: RegionPartition, directions: NDArray[np.floating[Any]],
              predicted: tuple[NDArray[np.float64], NDArray[np.float64]], progress: Callable[[], None] = lambda: None,
              breathe: Callable[[], None] = lambda: None) -> Calibration:
    """Finds the step of each direction that changes the region by a root mean square of 0.1 (STRENGTH_RMS).

    The step is predicted by Eq. 5, rendered at +alpha and -alpha at full resolution, and corrected by what was
    measured.

    Args:
        viewpoints: one sample, or several whose mean change is meant; their resolution does not matter.
        directions: `[k, d]`, unit rows.
        predicted: what `slopes` says of them, inside `[k]` and outside `[k]`, means over the samples.
        progress: called after each direction.
        breathe: called before each picture, as in `render_edits`.
    """
    inside, outside = predicted
    viewpoints = [viewpoint.full() for viewpoint in viewpoints]
    originals = [render_edits(viewpoint, viewpoint.zero(), breathe) for viewpoint in viewpoints]

    def both_ways(offset: Tensor) -> tuple[float, float]:
        changes = torch.cat([render_edits(viewpoint, torch.stack([offset, -offset]), breathe) - original
                             for viewpoint, original in zip(viewpoints, originals, strict=True)])
        if not changes.isfinite().all():
            raise NonFiniteError(f'{viewpoints[0].hook.name}: a picture of {viewpoints[0].sample.name} contains NaN or '
                                 f'infinity once the latent is moved by {offset.norm():.3g}, to find what strength 1 '
                                 'is. Load the weights in float32, or look for a division or a root in the network')
        within, beyond = mean_square(changes, partition)
        return within.mean().item(), beyond.mean().item()

    steps, changes = [], []
    for direction, slope in zip(torch.from_numpy(np.asarray(directions, np.float32)), inside, strict=True):
        step = STRENGTH_RMS / np.sqrt(slope)
        change = both_ways(step * direction)
        for _ in range(CORRECTIONS):
            ratio = np.sqrt(change[0]) / STRENGTH_RMS
            if abs(ratio - 1) < CLOSE_ENOUGH:
                break
            step /= np.clip(ratio, 1 / MAX_CORRECTION, MAX_CORRECTION)
            change = both_ways(step * direction)
        steps.append(step)
        changes.append(change)
        progress()
    lengths, measured = np.array(steps), np.array(changes)
    return Calibration(lengths, lengths ** 2 * inside, lengths ** 2 * outside, measured[:, 0], measured[:, 1])
