"""One set of directions for many samples: how much each counts, and how far the directions carry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.channels import PROBES, channel_energies, local_channels
from resefa_plugin.jacobian.probe import probe
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.rayleigh.operators import DenseGrams, FactoredGrams
from resefa_plugin.rayleigh.solution import RayleighSolution
from resefa_plugin.regions.partition import RegionPartition

Grams = DenseGrams | FactoredGrams

ROUNDS, SETTLED = 12, 0.02  # of the weights, and the change of one below which they have settled
SMALLEST_WEIGHT = 1e-3
SIZES = (1, 2, 3, 4, 6, 8, 12, 16)  # of pools whose directions are tried on the samples that are not in them
WINDOWS = 4  # pools of each size
LEAST = 5  # samples, before a pool may be large enough
GAIN = 0.1  # by which two samples more must lower the leak, or there are enough


@dataclass(frozen=True, eq=False)
class Pooled:
    """What a pool gave for one region.

    Attributes:
        grams: the weighted mean of the samples' A and B.
        solution: of its quotient.
        weights: `[n]`, how much each sample counts, in (0, 1].
    """

    grams: Grams
    solution: RayleighSolution
    weights: NDArray[np.float64]


def pool(samples: Sequence[Grams], solve: Callable[[Grams], RayleighSolution],
         within: Callable[[NDArray[np.float64]], NDArray[np.float64]], count: int) -> Pooled:
    """Solves the quotient of several samples, none of which counts for more than half of them do.

    A sample with glasses moves the region of the eyes so much along some direction that this one wins in the mean,
    though it does nothing for others. So a sample's weight is 1 only if the directions change its region by no more
    than that of the median sample, mean over the directions, and else smaller by as much.

    Args:
        samples: A and B of each.
        solve: the quotient.
        within: directions `[k, d]` of the solution in the coordinates of A and B.
        count: directions that are looked at, from the first.
    """
    weights = np.ones(len(samples))
    for last in reversed(range(ROUNDS)):
        mean = _mean(samples, weights.tolist())
        solution = solve(mean)
        if last == 0 or len(samples) < 3:  # two have no median to be compared with
            break
        directions = within(solution.directions[:count])
        changes = np.array([grams.quadratics(directions)[0] / grams.background for grams in samples])
        typical = np.median(changes, axis=0)
        ratios = (changes[:, typical > 0] / typical[typical > 0]).mean(axis=1)
        better = np.clip(1 / np.maximum(ratios, 1), SMALLEST_WEIGHT, 1)
        if np.abs(better - weights).max() < SETTLED:
            break
        weights = np.sqrt(weights * better)  # half the way: at once, they would swing
    return Pooled(mean, solution, weights)


def _mean(samples: Sequence[Grams], weights: Sequence[float]) -> Grams:
    dense = [grams for grams in samples if isinstance(grams, DenseGrams)]
    if len(dense) == len(samples):
        return DenseGrams.pooled(dense, weights)
    return FactoredGrams.pooled([grams for grams in samples if isinstance(grams, FactoredGrams)], weights)


def transfer(samples: Sequence[Grams], first_direction: Callable[[Sequence[Grams]], NDArray[np.float64]],
             sizes: Sequence[int] = SIZES) -> dict[int, float]:
    """How much direction 1 of pools leaks at samples that are not in them, by the size of the pool.

    Args:
        samples: A and B of each, in their order.
        first_direction: of a pool of some of them, `[d]`, in the coordinates of A and B.
        sizes: of pools; those that leave no sample are left out.

    Returns: size -> summed square change outside over that inside, geometric mean over samples and pools; nothing for
    factors, which say nothing across their spans.
    """
    result, number = {}, len(samples)
    for size in sizes:
        if not 0 < size < number or not all(isinstance(grams, DenseGrams) for grams in samples):
            continue
        logs = []
        for start in sorted({window * number // WINDOWS for window in range(WINDOWS)}):
            chosen = [(start + i) % number for i in range(size)]
            direction = first_direction([samples[i] for i in chosen])[None]
            for i in set(range(number)) - set(chosen):
                inside, outside = samples[i].quadratics(direction)
                logs.append(np.log(max(outside[0], np.finfo(float).tiny) / max(inside[0], np.finfo(float).tiny)))
        result[size] = float(np.exp(np.mean(logs)))
    return result


def is_enough(samples: Sequence[Grams],
              first_direction: Callable[[Sequence[Grams]], NDArray[np.float64]]) -> bool:
    """Whether the last two samples of a pool hardly lowered the leak at samples outside it."""
    most = len(samples) - 1
    if len(samples) < LEAST:
        return False
    leaks = transfer(samples, first_direction, (most - 2, most))
    return bool(leaks) and leaks[most] > (1 - GAIN) * leaks[most - 2]


def channels_of_regions(viewpoints: Sequence[Viewpoint], regions: Sequence[RegionPartition],
                        progress: Callable[[Viewpoint, int], None]) -> dict[str, NDArray[np.int64]]:
    """The channels that change each region most for what they change of the rest, by the region's name.

    Args:
        viewpoints: samples of the pool that are looked at, in a space that has channels.
        progress: called after each region of each sample, with the backward passes that it took.
    """
    energies, each = [], -(-PROBES // (2 * len(viewpoints)))
    for viewpoint in viewpoints:
        probe(viewpoint)
        jacobian, of_regions = RegionJacobian(viewpoint), []
        for region in regions:
            of_regions.append(channel_energies(jacobian, region.at(*viewpoint.image_shape[1:]), each))
            progress(viewpoint, 2 * each)
        jacobian.release()
        energies.append(of_regions)
    return {region.name: local_channels([of_regions[i] for of_regions in energies])
            for i, region in enumerate(regions)}
