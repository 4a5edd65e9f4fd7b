"""Which channels change a region, from given energies; these are tested with the rival that uses them."""

from __future__ import annotations

import numpy as np

from resefa_plugin.jacobian.channels import CHANNELS, local_channels


def energies(*samples):
    return [(np.array(inside, float), np.array(outside, float)) for inside, outside in samples]


def test_of_the_strongest_those_that_change_the_region_most_for_what_they_change_of_the_rest():
    inside, outside = [5, 4, *[0.1] * 8], [8, 1, *[1e-6] * 8]  # a fifth of ten channels is looked at
    assert local_channels(energies((inside, outside)), 1).tolist() == [1]
    assert local_channels(energies((inside, outside)), 2).tolist() == [0, 1]


def test_a_share_far_below_the_average_is_no_better_than_the_average():
    inside = np.ones(10)
    outside = np.array([1e-9, 1e-3, 1, 1, 1, 1, 1, 1, 1, 1])
    inside[1] = 1.05
    assert local_channels([(inside, outside)], 1).tolist() == [1]


def test_samples_count_alike_however_much_they_change():
    random = np.random.RandomState(1)
    one, other = ((random.rand(50), random.rand(50)) for _ in range(2))
    expected = local_channels([one, other], 5)
    assert local_channels([one, (1e6 * other[0], 1e-3 * other[1])], 5).tolist() == expected.tolist()
    assert expected.tolist() not in (local_channels([one], 5).tolist(), local_channels([other], 5).tolist())


def test_there_are_as_many_as_are_asked_for_or_as_there_are():
    random = np.random.RandomState(0)
    samples = [(random.rand(300), random.rand(300)) for _ in range(2)]
    assert len(local_channels(samples, 96)) == 96 and len(set(local_channels(samples).tolist())) == CHANNELS
    assert local_channels(energies(([1, 2], [1, 2])), 5).tolist() == [0, 1]
