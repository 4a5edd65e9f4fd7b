"""Regions that move together, on Jacobians whose parts are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resefa_plugin.atlas.own_regions import SHARPNESS, STILL, likeness, own_regions
from resefa_plugin.atlas.tiled_grams import TiledGrams
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


def tiles_of(J):
    """The Gram matrices of the 16 x 16 tiles, of 4 x 4 pixels each, as an atlas keeps them."""
    return TiledGrams.of(J, SHAPE, 16, len(J))


def found_regions(alike):
    return own_regions(alike, (16, 16), 5, (128, 128))


def test_parts_that_move_together_are_found():
    found = found_regions(likeness(tiles_of(jacobian())))
    assert [region.name for region in found] == ['auto1', 'auto2', 'auto3', 'auto4', 'auto5']
    assert np.array_equal(sum(region.mask.astype(int) for region in found), np.ones((128, 128)))
    truth = parts().repeat(2, 0).repeat(2, 1)
    for number in range(5):
        mask = truth == number
        best = max((mask & region.mask).sum() / (mask | region.mask).sum() for region in found)
        assert best > 0.95  # corners are rounded
    again = found_regions(likeness(tiles_of(jacobian())))
    assert all(np.array_equal(one.mask, other.mask) for one, other in zip(found, again, strict=True))


def test_likeness_is_a_power_of_the_cosine_of_gram_matrices():
    J = jacobian(seed=1)
    pixels = J.double().numpy().reshape(50, 3, 16, 4, 16, 4).transpose(2, 4, 0, 1, 3, 5).reshape(256, 50, -1)
    grams = pixels @ pixels.transpose(0, 2, 1)
    grams = (grams + STILL * grams.mean(axis=0)).reshape(256, -1)
    grams /= np.linalg.norm(grams, axis=1, keepdims=True)
    # Float16 rounds each element by 2^-11 of itself at most, and a power multiplies that.
    assert np.abs(likeness(tiles_of(J)) - (grams @ grams.T) ** SHARPNESS).max() < SHARPNESS * 2.0 ** -10


def test_likeness_does_not_depend_on_the_basis():
    J = jacobian(seed=2)
    turned = torch.linalg.qr(torch.randn(50, 50, generator=torch.Generator().manual_seed(0))).Q @ J
    assert np.abs(likeness(tiles_of(turned)) - likeness(tiles_of(J))).max() < SHARPNESS * 2.0 ** -10


@pytest.mark.parametrize('noise', [0.0, 1e-9])
def test_all_that_does_not_move_is_one_region(noise):
    J = jacobian().unflatten(1, SHAPE)
    J[:, :, :32, :32] = noise * torch.randn(50, 3, 32, 32)
    alike = likeness(tiles_of(J.flatten(1)))
    assert np.isfinite(alike).all() and alike.reshape(16, 16, 16, 16)[:8, :8, :8, :8].min() > 0.99
    still = np.zeros((128, 128), bool)
    still[:64, :64] = True
    assert max((still & region.mask).sum() / (still | region.mask).sum() for region in found_regions(alike)) > 0.95
    assert np.array_equal(likeness(tiles_of(torch.zeros(5, 3 * 64 * 64))), np.eye(256))


@pytest.mark.parametrize('count', [1, 0, 65, 1000])
def test_another_number_is_refused(count):
    with pytest.raises(RegionError, match='expected a number of regions from 2 to 64'):
        own_regions(np.eye(256), (16, 16), count, (64, 64))
