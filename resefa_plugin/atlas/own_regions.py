"""The regions that a network has itself: parts of the picture that move together, whatever the latent does."""

from __future__ import annotations

import numpy as np
import scipy.cluster.vq
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch.nn import functional

from resefa_plugin.atlas.tiled_grams import TiledGrams, diagonal
from resefa_plugin.errors import RegionError
from resefa_plugin.regions.partition import RegionPartition

MOST = 64  # regions
STILL = 1e-3  # of the mean Gram matrix, which is added to each: tiles that do not move are alike
SHARPNESS = 12  # power of the cosine, measured on the demo generator: see benchmarks/README.md
TRIES = 10  # starts of k-means, of which the best is taken
_BLOCK = 1 << 14  # columns


def likeness(tiles: TiledGrams) -> NDArray[np.float64]:
    """How alike the tiles of a picture move, `[T, T]` from 0 to 1: a power of the cosine between their Gram matrices.

    Two Gram matrices are alike where the same directions of the latent space move both tiles, each as much, whatever
    basis these are written in.
    """
    triangles = tiles.coarse()
    count, size = triangles.shape
    products = np.zeros((count, count))
    weights = np.full(size, np.sqrt(2), np.float32)  # an element above the diagonal stands for two
    weights[diagonal(tiles.dim)] = 1
    triangles /= triangles[:, diagonal(tiles.dim)].sum(axis=1).mean() or 1.0
    for start in range(0, size, _BLOCK):
        part = slice(start, start + _BLOCK)
        block = weights[part] * triangles[:, part]
        block += STILL * block.mean(axis=0)
        products += block @ block.T
    lengths = np.sqrt(np.maximum(products.diagonal(), np.finfo(float).tiny))
    alike: NDArray[np.float64] = np.clip(products / lengths / lengths[:, None], 0, 1) ** SHARPNESS
    np.fill_diagonal(alike, 1)
    return alike


def own_regions(alike: NDArray[np.floating], grid: tuple[int, int], count: int,
                image_size: tuple[int, int]) -> list[RegionPartition]:
    """Cuts the picture into regions that move together, the largest first.

    Spectral clustering (Ng, Jordan and Weiss 2001): the tiles in the coordinates of the first eigenvectors of the
    normalized affinity, then k-means.

    Args:
        alike: `[T, T]`, see `likeness`.
        grid: rows and columns of tiles.
        count: of regions, from 2 to 64.
        image_size: `(H, W)` of the generator's pictures.

    Returns: regions `auto1`, `auto2`, ..., which cover the picture and do not overlap; fewer than asked for if tiles
    hardly differ.

    Raises RegionError for another count.
    """
    if not 2 <= count <= min(MOST, len(alike) // 2):
        raise RegionError(f'auto:{count}: expected a number of regions from 2 to {min(MOST, len(alike) // 2)}')
    weights = np.asarray(alike, np.float64)
    scale = 1 / np.sqrt(weights.sum(axis=1))
    last = len(weights) - 1  # all of it: an iteration does not end where many tiles are alike to nothing
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
