"""Gram matrices of any set of pixels of one Jacobian, J^T diag(mask) J: directly, or from sums over tiles."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from resefa_plugin.machine.memory import COLUMNS, SUMS, room

PANEL = 256  # rows of a product that are computed at a time, each up to the diagonal only: a quarter less for 512
BLOCK = 8192  # columns of a product that are held in float64 at a time
SIDES = (8, 16, 32)  # pixels; a smaller tile leaves fewer pixels at the border of a region, and takes more memory
LARGEST_CANCELLATION = 1e6  # sum of what is added and subtracted over what remains: leaves 1e-10 of float64


def pixel_grams(pixels: Tensor, most: int | None = None) -> DirectGrams | TileGrams:
    """The quickest way there is memory for: tiles in main memory, else directly, which a GPU does about as quickly.

    Args:
        pixels: `[d, C, h, w]` float32, the columns of a Jacobian as pictures. Not copied.
        most: bytes that sums over tiles may take; None for their share of the budget, and no more than the columns
            leave.
    """
    if pixels.device.type == 'cpu':
        if most is None:
            most = min(room(SUMS, pixels.device), room(COLUMNS, pixels.device) - pixels.nbytes)
        side, _ = choose_side(pixels.shape, most)
        if side is not None:
            return TileGrams(pixels, side)
    return DirectGrams(pixels)


def choose_side(shape: tuple[int, ...], most: int) -> tuple[int | None, int]:
    """The smallest side of tiles whose sums for pictures `[d, C, h, w]` take at most `most` bytes, and the bytes.

    None, and the bytes of J^T J, where none fits.
    """
    d, _, height, width = shape
    for side in SIDES:
        needed = 8 * d * d * -(-width // side) * -(-height // side)
        if needed <= most:
            return side, needed
    return None, 8 * d * d


class DirectGrams:
    """J^T diag(mask) J by multiplying the pixels of the mask, in float64."""

    def __init__(self, pixels: Tensor):
        self.pixels = pixels.flatten(2)  # [d, C, h * w]
        self._total: Tensor | None = None

    def product(self, mask: Tensor | None) -> Tensor:
        """J^T diag(mask) J of a boolean mask `[h, w]`, or J^T J for None; `[d, d]` float64, symmetric."""
        if mask is not None:
            return self.signed(mask.to(torch.int8))
        if self._total is None:
            self._total = symmetric(self._add_columns(self._zeros(), self.pixels.split(self._block(), dim=2)))
        return self._total.clone()

    def signed(self, signs: Tensor) -> Tensor:
        """J^T diag(signs) J of `signs [h, w]` in -1, 0, 1."""
        product = self._zeros()
        for sign in (1, -1):
            index = (signs.flatten() == sign).nonzero()[:, 0]
            chosen = (self.pixels[:, :, block] for block in index.split(self._block()) if len(block))
            self._add_columns(product, chosen, sign)
        return symmetric(product)

    def _zeros(self) -> Tensor:
        d = len(self.pixels)
        return torch.zeros(d, d, dtype=torch.float64, device=self.pixels.device)

    def _block(self) -> int:
        return max(1, BLOCK // self.pixels.shape[1])

    @staticmethod
    def _add_columns(product: Tensor, blocks: Iterable[Tensor], sign: int = 1) -> Tensor:
        for block in blocks:
            columns = block.flatten(1).double()
            for rows in range(0, len(columns), PANEL):
                panel = product[rows:rows + PANEL, :rows + PANEL]
                panel.addmm_(columns[rows:rows + PANEL], columns[:rows + PANEL].T, alpha=sign)
        return product


class TileGrams:
    """J^T diag(mask) J of any region at a cost that hardly depends on its size.

    The Gram matrices of square tiles are computed once, which takes the multiplications of J^T J, and kept as running
    sums along each row of tiles. A region is the tiles of which it has more than half, two sums for each stretch of
    them, and, multiplied directly, the pixels by which it differs from them.

    Differences of sums lose digits where a region changes much less than its neighbourhood. How many is known
    beforehand from each pixel's energy |J_p|^2; where it is too many, the region is multiplied directly.

    Args:
        pixels: `[d, C, h, w]` float32; not copied.
        side: of a tile, in pixels. `d^2 * 8` bytes are kept for each tile.
    """

    def __init__(self, pixels: Tensor, side: int):
        d, _, height, width = pixels.shape
        self.direct, self.side = DirectGrams(pixels), side
        rows, columns = -(-height // side), -(-width // side)
        self._sums = torch.empty(rows, columns, d, d, dtype=torch.float64)  # [i, j]: of tiles 0 to j of row i
        self._energy = torch.empty(height, width, dtype=torch.float64)
        nothing = torch.zeros(d, d, dtype=torch.float64)
        for row in range(rows):
            for column in range(columns):
                area = slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side)
                tile = pixels[(slice(None), slice(None), *area)].double()
                self._energy[area] = tile.square().sum((0, 1))
                tile = tile.flatten(1)  # [d, C * pixels of the tile]
                before = self._sums[row, column - 1] if column else nothing
                torch.addmm(before, tile, tile.T, out=self._sums[row, column])
        self._sizes = self._per_tile(torch.ones(height, width, dtype=torch.float64))
        self._sum_energies = self._per_tile(self._energy).cumsum(1)
        self._total = symmetric(self._sums[:, -1].sum(0))

    def product(self, mask: Tensor | None) -> Tensor:
        """J^T diag(mask) J of a boolean mask `[h, w]`, or J^T J for None; `[d, d]` float64, symmetric."""
        if mask is None:
            return self._total.clone()
        whole = 2 * self._per_tile(mask.double()) > self._sizes
        steps = whole.to(torch.int8)
        steps[:, :-1] -= steps[:, 1:].clone()  # how often each sum is added
        height, width = mask.shape
        covered = whole.repeat_interleave(self.side, 0)[:height].repeat_interleave(self.side, 1)[:, :width]
        ragged = mask.to(torch.int8) - covered.to(torch.int8)
        magnitude = (steps.abs() * self._sum_energies).sum() + (ragged.abs() * self._energy).sum()
        if magnitude > LARGEST_CANCELLATION * self._energy[mask].sum():
            return self.direct.product(mask)
        product = self.direct.signed(ragged)
        for row, column in steps.nonzero().tolist():
            product.add_(self._sums[row, column], alpha=int(steps[row, column]))
        return symmetric(product)

    def _per_tile(self, values: Tensor) -> Tensor:
        """Sums of `values [h, w]` over each tile."""
        rows, columns = self._sums.shape[:2]
        height, width = values.shape
        padded = torch.nn.functional.pad(values, (0, columns * self.side - width, 0, rows * self.side - height))
        return padded.unflatten(1, (columns, self.side)).unflatten(0, (rows, self.side)).sum((1, 3))


def symmetric(product: Tensor) -> Tensor:
    """The symmetric matrix of a lower triangle."""
    return product.tril() + product.tril(-1).T
