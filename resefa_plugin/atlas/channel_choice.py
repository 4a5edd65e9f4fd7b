"""Which channels of thousands an atlas knows: those that regions of any place and size are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from resefa_plugin.jacobian.channels import CHANNELS, STRONGEST
from resefa_plugin.jacobian.common_basis import picture_tiles, tile_gradients
from resefa_plugin.jacobian.region_jacobian import RegionJacobian

SIDES = range(2, 9)  # tiles: of the squares that stand for regions, from a mouth to half of a picture
HALF = 40  # the channel of this rank is wanted half as much as the best one
LITTLE = 0.1  # share of what it wants at which a square counts for half of what it did with nothing


def tile_energies(jacobians: Sequence[RegionJacobian],
                  progress: Callable[[int], None] = lambda count: None) -> NDArray[np.float64]:
    """The squared gradient of each channel summed over the pixels of each tile, `[T, d]`: a mean over samples.

    Estimated without bias by two backward passes for each tile, see `jacobian.channels`. Each sample's energies are
    over their mean, so that all count alike.

    Args:
        jacobians: of samples in one space that has channels, at one resolution.
        progress: called after each chunk of products with their number.
    """
    tiles = len(list(picture_tiles(jacobians[0].image_shape)))
    energies = np.zeros((tiles, jacobians[0].viewpoint.dim))
    for numbers, gradients in tile_gradients(jacobians, progress):
        squares = np.square(gradients)
        np.add.at(energies, numbers, squares / (squares.sum(axis=1).mean() or 1.0))
    return energies / 2


def atlas_channels(energies: NDArray[np.float64], grid: tuple[int, int], count: int) -> NDArray[np.int64]:
    """The channels of which regions all over the picture get most of those they would choose, in ascending order.

    Squares of tiles stand for regions. Each wants the CHANNELS that change it most for what they change of the rest,
    the more the better their rank. Channels are taken one by one, each time the one that is wanted most, where a square
    that has got much already counts for less: so squares with channels of their own get them, too.

    Args:
        energies: `[T, d]`, see `tile_energies`.
        grid: rows and columns of tiles.
        count: of channels, at most.
    """
    total, dim = energies.sum(axis=0), energies.shape[1]
    rank = 1 / (1 + np.arange(CHANNELS) / HALF)
    wanted = [ranked(inside, total - inside)[:CHANNELS] for inside in _squares(energies, grid)]
    starts = np.cumsum([0, *map(len, wanted)])
    wishes = scipy.sparse.csr_array(
        (np.concatenate([rank[:len(each)] / rank[:len(each)].sum() for each in wanted]), np.concatenate(wanted),
         starts), (len(wanted), dim))
    of_channel, got, taken = wishes.tocsc(), np.zeros(len(wanted)), np.zeros(dim, bool)
    for _ in range(min(count, dim)):
        demand = wishes.T @ (1 / (LITTLE + got))
        demand[taken] = -1
        best = int(demand.argmax())
        taken[best] = True
        part = slice(of_channel.indptr[best], of_channel.indptr[best + 1])
        got[of_channel.indices[part]] += of_channel.data[part]
    return np.flatnonzero(taken)


def ranked(inside: NDArray[np.float64], outside: NDArray[np.float64],
           strongest: float = STRONGEST) -> NDArray[np.int64]:
    """The channels that change a region most, those that change the rest least for it first.

    Args:
        inside, outside: energies of the channels, `[d]`.
        strongest: share of the channels that are looked at.
    """
    within, beyond = (energy / (energy.sum() or 1.0) for energy in (inside, np.maximum(outside, 0)))
    strong = np.argsort(-within, kind='stable')[:max(CHANNELS, round(strongest * len(within)))]
    order: NDArray[np.int64] = strong[np.argsort(-(within / (beyond + 1 / len(within)))[strong], kind='stable')]
    return order


def _squares(energies: NDArray[np.float64], grid: tuple[int, int]) -> Iterator[NDArray[np.float64]]:
    """The energies `[d]` of all squares that the picture holds."""
    rows, columns = grid
    sums = np.zeros((rows + 1, columns + 1, energies.shape[1]))
    sums[1:, 1:] = energies.reshape(rows, columns, -1).cumsum(axis=0).cumsum(axis=1)
    for side in SIDES:
        for top in range(rows - side + 1):
            for left in range(columns - side + 1):
                yield (sums[top + side, left + side] - sums[top, left + side]
                       - sums[top + side, left] + sums[top, left])
