"""Edits: moving a sample along a direction, measuring what changes, and giving strength a meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resefa_plugin.hooks.base import LatentSpace, Sample
from resefa_plugin.regions import RegionPartition

# Strength 1 changes the region by this root mean square, on the [-1, 1] scale: 12.75 grey levels of 255.
STRENGTH_RMS = 0.1
# The step is corrected by what was measured, so often, and by this factor at most: beyond it the picture saturates.
CORRECTIONS, MAX_CORRECTION = 2, 4.0
CLOSE_ENOUGH = 0.02


def render_edits(space: LatentSpace, sample: Sample, offsets: Tensor, resolution: int | None = None) -> Tensor:
    """Pictures of a sample moved by each offset `[N, d]`; returns `[N, C, h, w]` in main memory.

    One picture at a time: the same pictures whatever else is rendered with them, and the least memory.
    """
    with torch.no_grad():
        pictures = [space.images(sample, offset[None], resolution).cpu() for offset in offsets.to(space.latent(sample))]
    return torch.cat(pictures)


def mean_square(change: Tensor, partition: RegionPartition) -> tuple[Tensor, Tensor]:
    """Mean squared change inside and outside the region, over pixels and channels.

    Args:
        change: `[N, C, H, W]`, differences of pictures on the [-1, 1] scale, at the resolution of the partition's mask.

    Returns: inside `[N]` and outside `[N]`, float64.
    """
    mask = torch.tensor(partition.mask)
    squares = change.double().square().mean(dim=1)  # [N, H, W]
    return squares[:, mask].mean(dim=1), squares[:, ~mask].mean(dim=1)


@dataclass(frozen=True)
class Calibration:
    """What strength 1 means for each of k directions. Mean squares are on the [-1, 1] scale, means of +1 and -1.

    Attributes:
        step: `[k]`, the length of the offset (alpha of Eq. 1) at strength 1.
        predicted_inside, predicted_outside: `[k]`, mean squared change at strength 1 by Eq. 5 and 3.
        measured_inside, measured_outside: `[k]`, the same, rendered.
    """

    step: np.ndarray
    predicted_inside: np.ndarray
    predicted_outside: np.ndarray
    measured_inside: np.ndarray
    measured_outside: np.ndarray


def predicted_change(partition: RegionPartition, directions: np.ndarray, gram: tuple[Tensor, Tensor],
                     jacobian_shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Mean squared change inside and outside the region by Eq. 5 and 3, per squared length of the offset.

    Args:
        directions: `[k, d]`, unit rows.
        gram: A and B of the partition, `[d, d]`.
        jacobian_shape: `(C, h, w)` of the pictures that A and B sum over.

    Returns: inside `[k]` and outside `[k]`, float64.
    """
    channels, height, width = jacobian_shape
    foreground = int(partition.at(height, width).sum())
    n = torch.from_numpy(np.asarray(directions, np.float64)).to(gram[0].device)
    inside, outside = (torch.einsum('kd,de,ke->k', n, M, n).cpu().numpy() for M in gram)
    return inside / (channels * foreground), outside / (channels * (height * width - foreground))


def calibrate(space: LatentSpace, sample: Sample, partition: RegionPartition, directions: np.ndarray,
              gram: tuple[Tensor, Tensor], jacobian_shape: tuple[int, int, int],
              progress: Callable[[], None] = lambda: None) -> Calibration:
    """Finds the step of each direction that changes the region by a root mean square of 0.1 (STRENGTH_RMS).

    The step is predicted from A, alpha^2 n^T A n = sum of squares (Eq. 5), and corrected by what `measure` renders.

    Args:
        directions, gram, jacobian_shape: as in `predicted_change`.
        progress: called after each direction.
    """
    change = predicted_change(partition, directions, gram, jacobian_shape)
    return measure(space, sample, partition, directions, *change, progress)


def measure(space: LatentSpace, sample: Sample, partition: RegionPartition, directions: np.ndarray, inside: np.ndarray,
            outside: np.ndarray, progress: Callable[[], None] = lambda: None) -> Calibration:
    """Renders each direction at +alpha and -alpha at full resolution, and corrects alpha until strength 1 is what it means.

    Args:
        directions: `[k, d]`, unit rows.
        inside, outside: `[k]`, the predicted mean squared change per squared length, see `predicted_change`.
        progress: called after each direction.
    """
    original = render_edits(space, sample, torch.zeros(1, space.dim))
    steps, measured = [], []
    for direction, slope in zip(directions, inside):
        direction = torch.from_numpy(np.asarray(direction, np.float32))
        step = STRENGTH_RMS / np.sqrt(slope)
        change = _both_ways(space, sample, partition, original, step * direction)
        for _ in range(CORRECTIONS):
            ratio = np.sqrt(change[0]) / STRENGTH_RMS
            if abs(ratio - 1) < CLOSE_ENOUGH:
                break
            step /= np.clip(ratio, 1 / MAX_CORRECTION, MAX_CORRECTION)
            change = _both_ways(space, sample, partition, original, step * direction)
        steps.append(step)
        measured.append(change)
        progress()
    step, measured = np.array(steps), np.array(measured)
    return Calibration(step, step ** 2 * inside, step ** 2 * outside, measured[:, 0], measured[:, 1])


def _both_ways(space, sample, partition, original, offset) -> tuple[float, float]:
    change = render_edits(space, sample, torch.stack([offset, -offset])) - original
    return tuple(part.mean().item() for part in mean_square(change, partition))
