"""The regions that a network has itself: parts of the picture that move together, whatever the latent does."""

from __future__ import annotations

import numpy as np
import scipy.cluster.vq
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from resefa_plugin.errors import RegionError
from resefa_plugin.regions.partition import RegionPartition

CELLS = 32  # along the longer side of the picture
MOST = 64  # regions
STILL = 1e-3  # of the mean energy of a cell: one that moves less is alike to nothing but itself
TRIES = 10  # starts of k-means, of which the best is taken


def cell_grid(image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Rows and columns of the cells of a picture `(C, h, w)`: as square as they come."""
    _, height, width = image_shape
    longer = max(height, width)
    return (max(1, round(CELLS * height / longer)), max(1, round(CELLS * width / longer)))


def affinity(matrix: Tensor, image_shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """How alike the cells of a picture move: the squared cosine of their rows of J, `[P, P]` from 0 to 1.

    Args:
        matrix: columns of J, `[m, C * h * w]`, in orthonormal coordinates.
        image_shape: `(C, h, w)`.
    """
    cells = functional.adaptive_avg_pool2d(matrix.unflatten(1, image_shape), cell_grid(image_shape))  # [m, C, r, c]
    rows = cells.flatten(2).permute(2, 0, 1).flatten(1)  # [P, m * C]
    energy = rows.square().sum(dim=1)
    rows = rows / energy.clamp(min=STILL * float(energy.mean()) or 1.0).sqrt()[:, None]
    alike: NDArray[np.float32] = (rows @ rows.T).square().clamp(max=1).cpu().numpy()
    np.fill_diagonal(alike, 1)
    return alike


def own_regions(alike: NDArray[np.floating], grid: tuple[int, int], count: int,
                image_size: tuple[int, int]) -> list[RegionPartition]:
    """Cuts the picture into regions that move together, the largest first.

    Spectral clustering (Ng, Jordan and Weiss 2001): the cells in the coordinates of the first eigenvectors of the
    normalized affinity, then k-means.

    Args:
        alike: `[P, P]`, see `affinity`; a mean over samples.
        grid: rows and columns of cells.
        count: of regions, from 2 to 64.
        image_size: `(H, W)` of the generator's pictures.

    Returns: regions `auto1`, `auto2`, ..., which cover the picture and do not overlap; fewer than asked for if cells
    hardly differ.

    Raises RegionError for another count.
    """
    if not 2 <= count <= min(MOST, len(alike) // 2):
        raise RegionError(f'auto:{count}: expected a number of regions from 2 to {min(MOST, len(alike) // 2)}')
    weights = np.asarray(alike, np.float64)
    scale = 1 / np.sqrt(weights.sum(axis=1))
    last = len(weights) - 1  # all of it: an iteration does not end where many cells are alike to nothing
    _, vectors = scipy.linalg.eigh(scale[:, None] * weights * scale, subset_by_index=(last + 1 - count, last))
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(float).tiny)
    labels = _clusters(vectors, count)
    one_hot = functional.one_hot(torch.from_numpy(labels), count).T.reshape(1, count, *grid).double()
    full = functional.interpolate(one_hot, image_size, mode='bilinear', align_corners=False)[0].argmax(dim=0).numpy()
    masks = sorted((full == label for label in range(count)), key=lambda mask: -int(mask.sum()))
    return [RegionPartition(mask, f'auto{number}') for number, mask in enumerate(masks, 1) if mask.any()]


def _clusters(points: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """k-means, the best of some starts: the number of the cluster of each point."""
    best: tuple[float, NDArray[np.int64]] | None = None
    for seed in range(TRIES):
        centres, labels = scipy.cluster.vq.kmeans2(points, count, minit='++', seed=seed, missing='warn')
        distance = float(np.square(points - centres[labels]).sum())
        if best is None or distance < best[0]:
            best = distance, labels.astype(np.int64)
    assert best is not None
    return best[1]
