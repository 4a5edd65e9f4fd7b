"""Which channels an atlas knows, on energies whose places are known, and on those of a toy."""

from __future__ import annotations

import numpy as np

from resefa_plugin import RegionJacobian, Viewpoint
from resefa_plugin.atlas.channel_choice import atlas_channels, ranked, tile_energies
from resefa_plugin.jacobian.channels import CHANNELS
from tests.factorizer.test_channel_pool import ChannelHook

GRID, PLACES, EACH = (16, 16), 16, 100


def energies():
    """16 blocks of 4 x 4 tiles with 100 channels each, and 400 channels that change everything."""
    random = np.random.RandomState(0)
    result = np.full((16, 16, PLACES * EACH + 400), 1e-3)
    result[..., PLACES * EACH:] = 0.2
    for place in range(PLACES):
        top, left = place // 4 * 4, place % 4 * 4
        result[top:top + 4, left:left + 4, place * EACH:(place + 1) * EACH] = 1
    return (result * random.uniform(0.5, 1.5, result.shape)).reshape(256, -1)


def test_every_place_gets_channels_of_its_own():
    chosen = atlas_channels(energies(), GRID, 480)
    assert len(chosen) == 480 and np.array_equal(chosen, np.unique(chosen))
    counts = np.bincount(chosen // EACH, minlength=PLACES)[:PLACES]
    assert counts.min() >= 10  # 30 if all were alike; those in the corners are wanted by fewer squares
    assert counts.sum() == 480  # and none of the ones that change everything


def test_all_are_taken_where_there_are_no_more():
    assert np.array_equal(atlas_channels(energies()[:, :300], GRID, 736), np.arange(300))


def test_channels_of_a_region_come_first_by_what_they_leave_alone():
    inside, outside = np.full(2000, 0.01), np.full(2000, 1.0)
    inside[:300] = 1  # the strongest fifth, of which the later ones change less outside
    outside[:300] = np.linspace(2, 0.1, 300)
    assert np.array_equal(ranked(inside, outside)[:300], np.arange(300)[::-1])
    assert len(ranked(inside, outside)) == 400 and len(ranked(inside[:200], outside[:200])) == CHANNELS


def test_energies_of_tiles_are_those_of_the_jacobian():
    hook = ChannelHook()
    found = sum(tile_energies([RegionJacobian(Viewpoint(hook, 's', hook.sample(seed))) for seed in (0, 1)][::order])
                for order in (1, -1)) / 2
    exact = np.zeros((256, 240))
    for seed in (0, 1):
        squares = np.square(hook.jacobian(hook.sample(seed))).sum(axis=0)
        tiles = squares.reshape(16, 2, 16, 2, 240).sum(axis=(1, 3)).reshape(256, 240)
        exact += tiles / tiles.sum(axis=1).mean() / 2
    # The square of a sum of random signs has twice the square of its mean for variance. With four in a tile:
    deviation = np.sqrt(np.square(exact).sum(axis=0) / 2)
    assert (np.abs(found.sum(axis=0) - exact.sum(axis=0)) < 5 * deviation).all()
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.5
