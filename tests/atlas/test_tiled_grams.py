"""Gram matrices of tiles against the pixels' own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resefa_plugin.atlas.tiled_grams import TiledGrams, dimensions, stored, tile_grams, triangle_size

ROUNDING = 2.0 ** -11  # of a float16


def made(m=7, shape=(2, 33, 20), seed=0):
    """Columns `[m, C, h, w]`, and their TiledGrams."""
    columns = torch.randn(m, *shape, generator=torch.Generator().manual_seed(seed))
    triangles, scales = zip(*map(stored, tile_grams(columns.flatten(1), shape)), strict=True)
    return columns.double().numpy(), TiledGrams(np.stack(triangles), np.array(scales), shape)


def exact(columns, weights, rows):
    return np.einsum('mchw,hw,nchw->mn', columns[rows], weights, columns[rows])


@pytest.mark.parametrize('rows', [np.arange(7), np.array([1, 2, 6]), np.array([4])])
def test_a_region_of_whole_tiles_is_the_sum_of_its_pixels(rows):
    columns, tiles = made()
    mask = np.zeros((33, 20))
    mask[3:9, 6:15] = 1  # tiles are 3 pixels wide
    found = tiles.sum(tiles.cover(mask), rows)
    expected = exact(columns, mask, rows)
    assert np.abs(found - expected).max() < ROUNDING * np.trace(exact(columns, mask, np.arange(7)))
    assert np.array_equal(found, found.T)


def test_part_of_a_tile_counts_in_part_and_nothing_is_lost():
    columns, tiles = made()
    mask = np.zeros((33, 20))
    mask[:2, :3] = 1
    cover, rows = tiles.cover(mask), np.arange(7)
    assert cover[0] == pytest.approx(2 / 3) and not cover[1:].any() and len(cover) == 11 * 7
    total = tiles.sum(cover, rows) + tiles.sum(1 - cover, rows)
    assert np.abs(total - exact(columns, np.ones((33, 20)), rows)).max() < ROUNDING * np.trace(total)


def test_energies_are_the_diagonals():
    columns, tiles = made()
    assert tiles.energies.shape == (77, 7)
    expected = np.square(columns).sum(axis=(1, 2, 3))
    assert tiles.energies.sum(axis=0) == pytest.approx(expected, rel=2 * ROUNDING)


def test_a_and_b_are_positive_though_they_are_rounded():
    columns, _ = made(m=40, shape=(1, 8, 8))  # of rank 4 in each tile
    tiles = made(m=40, shape=(1, 8, 8))[1]
    inside = np.zeros(len(tiles.scales))
    inside[:2] = 1
    grams = tiles.grams(inside, 1 - inside, np.arange(40))
    for matrix in (grams.A, grams.B):
        assert np.linalg.eigvalsh(matrix)[0] > -1e-12 * np.linalg.eigvalsh(matrix)[-1]
    assert grams.background == pytest.approx(exact(columns, np.ones((8, 8)), np.arange(40)).trace()
                                             - np.trace(grams.A), rel=1e-2)


def test_a_tile_that_nothing_moves_is_zero():
    triangle, scale = stored(np.zeros(6, np.float32))
    assert scale == 1 and not triangle.any()


@pytest.mark.parametrize('m', [1, 2, 7, 736, 1024])
def test_the_size_of_a_triangle_tells_its_matrix(m):
    assert dimensions(triangle_size(m)) == m
