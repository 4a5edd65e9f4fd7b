"""Channels of a latent space that change a region: the few of thousands that directions of a pool are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from resefa_plugin.jacobian.region_jacobian import RegionJacobian

# Chosen on the demo generator, see benchmarks/README.md: fewer leave too little to cancel what leaks, and directions of
# all channels are fitted to the samples that they are found at.
CHANNELS = 160
STRONGEST = 0.2  # of the channels are looked at: those that change the region most
PROBES = 128  # backward passes for a region, over all samples, half of them for the rest


def channel_energies(jacobian: RegionJacobian, mask: NDArray[np.bool_],
                     probes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The squared gradient of each channel summed over the pixels inside and outside: `[d]` float64 each.

    For independent random signs u on the pixels of a set, E (J^T u)_c^2 is the sum of J_pc^2 over that set: a few
    backward passes estimate all channels at once, without bias.
    """
    signs = torch.randint(0, 2, (probes, *jacobian.image_shape),
                          generator=torch.Generator().manual_seed(0)).float() * 2 - 1
    inside = torch.tensor(mask).float()
    energies = (jacobian.vjp(signs * part).double().square().mean(dim=0) for part in (inside, 1 - inside))
    within, beyond = (energy.cpu().numpy() for energy in energies)
    return within, beyond


def local_channels(energies: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
                   count: int = CHANNELS) -> NDArray[np.int64]:
    """The channels that change a region most for what they change of the rest, in ascending order.

    Of those that change the region most, the ones of the largest mean, over samples, of the share that a channel has in
    all change inside over its share in all change outside. A share outside that is far below the average counts as the
    average: how far below says nothing.

    Args:
        energies: of each sample, see `channel_energies`.
        count: of channels, at most.
    """
    shares = [(inside / inside.sum(), outside / outside.sum()) for inside, outside in energies]
    strength = np.mean([inside for inside, _ in shares], axis=0)
    ratio = np.mean([inside / (outside + 1 / len(outside)) for inside, outside in shares], axis=0)
    strongest = np.argsort(-strength, kind='stable')[:max(count, round(STRONGEST * len(strength)))]
    best: NDArray[np.int64] = np.sort(strongest[np.argsort(-ratio[strongest], kind='stable')][:count])
    return best


def is_of_channels(basis: NDArray[np.float64]) -> bool:
    """Whether each row of a basis `[m, d]` is a single channel."""
    return bool((np.count_nonzero(basis, axis=1) == 1).all())
