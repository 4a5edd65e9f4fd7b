"""Gram matrices of tiles against the pixels' own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resefa_plugin.atlas.tiled_grams import TiledGrams, diagonal, triangle_size
from resefa_plugin.jacobian.common_basis import picture_tiles

ROUNDING = 2.0 ** -11  # of a float16


def made(m=7, shape=(2, 33, 20), seed=0, along=16, kept=99):
    """Columns `[m, C, h, w]`, and their TiledGrams."""
    columns = torch.randn(m, *shape, generator=torch.Generator().manual_seed(seed))
    return columns.double().numpy(), TiledGrams.of(columns.flatten(1), shape, along, kept)


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
    tiles = TiledGrams.of(torch.zeros(3, 2 * 16), (2, 4, 4), 2, 2)
    assert not tiles.values.any() and (tiles.scales == 1).all() and not tiles.dense(0).any()


def test_of_a_tile_the_products_of_what_moves_it_most_and_all_squares_are_known():
    columns, tiles = made(m=6, shape=(1, 8, 8), along=4, kept=3)
    for number, tile in enumerate(picture_tiles((1, 8, 8), 4)):
        part = columns[(slice(None), *tile)].reshape(6, -1)
        exact, squares = part @ part.T, np.square(part).sum(axis=1)
        members = np.sort(np.argsort(-squares)[:3])
        expected = np.diag(squares)
        expected[np.ix_(members, members)] = exact[np.ix_(members, members)]
        assert np.array_equal(tiles.members[number], members)
        assert np.abs(tiles.dense(number) - expected).max() < ROUNDING * np.trace(exact)
        assert np.linalg.eigvalsh(tiles.dense(number))[0] > -ROUNDING * np.trace(exact)


@pytest.mark.parametrize('rows', [np.arange(6), np.array([0, 3, 5])])
@pytest.mark.parametrize('share', [0.1, 0.9])
def test_sums_are_those_of_the_tiles(rows, share):
    _, tiles = made(m=6, shape=(1, 8, 8), along=4, kept=3)
    weights = np.random.RandomState(0).rand(16) * (np.random.RandomState(1).rand(16) < share)
    expected = sum(weight * tiles.dense(number) for number, weight in enumerate(weights))[np.ix_(rows, rows)]
    np.testing.assert_allclose(tiles.sum(weights, rows), expected, atol=1e-12 * 64)


def test_samples_are_pooled_tile_by_tile():
    one, other = (made(m=6, shape=(1, 8, 8), along=4, kept=6, seed=seed)[1] for seed in (0, 1))
    weights = np.random.RandomState(0).rand(2, 16)
    pooled = TiledGrams.pooled([one, other], weights)
    for number in range(16):
        expected = weights[0, number] * one.dense(number) + weights[1, number] * other.dense(number)
        assert np.abs(pooled.dense(number) - expected).max() < ROUNDING * np.trace(expected)


def test_larger_tiles_are_sums_of_smaller_ones():
    columns, fine = made(m=5, shape=(1, 64, 48), along=32)
    found = fine.coarse()
    assert found.shape == (16 * 12, triangle_size(5))
    for number, tile in enumerate(picture_tiles((1, 64, 48))):
        part = columns[(slice(None), *tile)].reshape(5, -1)
        expected = (part @ part.T)[np.triu_indices(5)]
        assert np.abs(found[number] - expected).max() < 2 * ROUNDING * expected[diagonal(5)].sum()


def test_where_the_diagonal_is():
    assert diagonal(4).tolist() == [0, 4, 7, 9] and triangle_size(4) == 10
