"""Regions that move together, on Jacobians whose parts are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resefa_plugin.atlas.own_regions import affinity, cell_grid, own_regions
from resefa_plugin.errors import RegionError

SHAPE = (3, 64, 64)


def parts():
    """Numbers 0 to 3 of the quarters of a picture, the last of which has a hole of number 4."""
    numbers = np.zeros((64, 64), int)
    numbers[:, 32:] += 1
    numbers[32:] += 2
    numbers[40:56, 40:56] = 4
    return numbers


def jacobian(noise=0.2, seed=0):
    """Columns `[50, 3 * 64 * 64]`: the pixels of a part share 5 random rows, with noise of their own."""
    random = np.random.RandomState(seed)
    rows = random.randn(5, 50, 3)
    strength = random.uniform(0.2, 2, (64, 64)) * random.choice([-1, 1], (8, 8)).repeat(8, 0).repeat(8, 1)
    pixels = rows[parts()] * strength[..., None, None] + noise * random.randn(64, 64, 50, 3)
    return torch.from_numpy(pixels.transpose(2, 3, 0, 1).reshape(50, -1)).float()


def test_parts_that_move_together_are_found():
    found = own_regions(affinity(jacobian(), SHAPE), (32, 32), 5, (128, 128))
    assert [region.name for region in found] == ['auto1', 'auto2', 'auto3', 'auto4', 'auto5']
    assert np.array_equal(sum(region.mask.astype(int) for region in found), np.ones((128, 128)))
    truth = parts().repeat(2, 0).repeat(2, 1)
    for number in range(5):
        mask = truth == number
        best = max((mask & region.mask).sum() / (mask | region.mask).sum() for region in found)
        assert best > 0.95  # cells are of 2 x 2 pixels, and edges are drawn between their centres
    again = own_regions(affinity(jacobian(), SHAPE), (32, 32), 5, (128, 128))
    assert all(np.array_equal(one.mask, other.mask) for one, other in zip(found, again, strict=True))


def test_affinity_is_the_squared_cosine_of_rows():
    J = jacobian(seed=1)
    alike = affinity(J, SHAPE)
    cells = J.double().numpy().reshape(50, 3, 32, 2, 32, 2).mean(axis=(3, 5)).reshape(150, 1024)
    cells /= np.linalg.norm(cells, axis=0)
    assert np.abs(alike - (cells.T @ cells) ** 2).max() < 1e-5
    assert alike.shape == (1024, 1024) and alike.dtype == np.float32


def test_what_does_not_move_is_alike_to_nothing():
    J = jacobian().unflatten(1, SHAPE)
    J[:, :, :8] = 1e-9 * torch.randn(50, 3, 8, 64)
    alike = affinity(J.flatten(1), SHAPE)
    assert np.allclose(alike[:128, :128], np.eye(128), atol=1e-6) and np.isfinite(alike).all()
    assert len(own_regions(alike, (32, 32), 4, (64, 64))) >= 2
    assert np.array_equal(affinity(torch.zeros(5, 3 * 64 * 64), SHAPE), np.eye(1024))


@pytest.mark.parametrize(('shape', 'grid'), [((3, 64, 64), (32, 32)), ((1, 64, 32), (32, 16)),
                                             ((3, 100, 256), (12, 32)),
                                             ((3, 8, 512), (1, 32))])
def test_cells_are_as_square_as_they_come(shape, grid):
    assert cell_grid(shape) == grid
    assert affinity(torch.randn(4, int(np.prod(shape))), shape).shape == (np.prod(grid),) * 2


@pytest.mark.parametrize('count', [1, 0, 65, 1000])
def test_another_number_is_refused(count):
    with pytest.raises(RegionError, match='expected a number of regions from 2 to 64'):
        own_regions(np.eye(1024), (32, 32), count, (64, 64))
