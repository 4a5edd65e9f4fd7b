"""An edited rendering laid back into the photograph that it was made from; all other pixels stay what they are.

Inside a feathered region the edited rendering takes the place of the photograph. What the rendering of the photograph
has wrong at large, such as its light, is corrected by the low-pass of photograph minus unedited rendering. Adding the
difference of the two renderings to the photograph instead would leave ghosts: old teeth behind closed lips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from resefa_plugin.editing.resampling import resample, resample_weights, scale_of
from resefa_plugin.errors import RegionError, ResefaError

# In parts of the rendering's longer side: how far a region is enlarged, how wide its edge is blurred (a standard
# deviation), and which differences of photograph and rendering count as those at large.
GROW, FEATHER, LOW_PASS = 20 / 1024, 14 / 1024, 24 / 1024
TRUNCATE = 3.0  # standard deviations of a blur
FAINT = 0.02    # weights of less are none, so that the feather ends early


@dataclass(frozen=True)
class Patch:
    """One edit.

    Attributes:
        edited: the rendering with the edit, `[h, w, 3]` uint8, in the colours of the photograph.
        unedited: the rendering without it.
        mask: the region: bool `[h, w]` of the rendering, or `[H, W]` of the photograph if `in_photograph`.
        matrix: `[2, 3]`, places (x, y, 1) in the rendering -> places (x, y) in the photograph, in pixels; the edges of
            pixels are at whole numbers.
        in_photograph: whether the region was drawn in the photograph.
    """

    edited: NDArray[np.uint8]
    unedited: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    matrix: NDArray[np.float64]
    in_photograph: bool = False


def paste(photograph: NDArray[np.uint8], patches: Sequence[Patch]) -> NDArray[np.uint8]:
    """The photograph with edits, each laid over those before.

    Args:
        photograph: `[H, W, 3]` uint8.

    Returns: a new array. Where `weights` of all patches is 0, it is the photograph, bit for bit.

    Raises:
        ResefaError: arrays that do not belong together.
        RegionError: a region of which nothing lies in the photograph and in the rendering.
    """
    result = photograph.copy()
    for patch in patches:
        weight = weights(photograph.shape[:2], patch)
        rows, columns = _extent(weight > 0)
        reach = _pixels(LOW_PASS * TRUNCATE, patch)
        # Of what is around the region, only as much as the low-pass sees.
        top, left = max(0, rows.start - reach), max(0, columns.start - reach)
        wide = slice(top, rows.stop + reach), slice(left, columns.stop + reach)
        low = _low_pass(photograph[wide], patch, (top, left))
        inner = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        edited = _into_photograph(patch.edited, patch, (rows.start, columns.start),
                                  (rows.stop - rows.start, columns.stop - columns.start)) + low[inner]
        before, share = result[rows, columns], weight[rows, columns, None]
        # Where the share is 0, this is exactly what was there before.
        result[rows, columns] = (before * (1 - share) + edited * share).round().clip(0, 255).astype(np.uint8)
    return result


def weights(photograph_size: tuple[int, ...], patch: Patch) -> NDArray[np.float32]:
    """How much of the edit each pixel of a photograph `(H, W)` shows, `[H, W]` from 0 to 1.

    The region is enlarged by GROW, its edge blurred by FEATHER. Nothing is shown beyond the rendering, whose edge is
    blurred too where it cuts the region off.

    Raises ResefaError and RegionError as `paste`.
    """
    height, width = photograph_size[:2]
    drawn_on = (height, width) if patch.in_photograph else patch.edited.shape[:2]
    if patch.edited.shape != patch.unedited.shape or patch.mask.shape != drawn_on:
        raise ResefaError(f'renderings {list(patch.edited.shape)} and {list(patch.unedited.shape)} and a mask '
                          f'{list(patch.mask.shape)} do not belong together; expected two renderings of one shape '
                          f'and a mask {list(drawn_on)}')
    weight = np.zeros((height, width), np.float32)
    rows, columns = _frame((height, width), patch)
    into = _at(_inverse(patch.matrix), (rows.start, columns.start))
    box = rows.stop - rows.start, columns.stop - columns.start
    if min(box) > 0:
        side = max(patch.edited.shape[:2])
        margin = max(1, round(side * FEATHER * 2))
        frame = np.pad(np.ones([length - 2 * margin for length in patch.edited.shape[:2]], np.float32), margin)
        inside = resample_weights(_trimmed(frame, side * FEATHER), into, box)
        if patch.in_photograph:
            shown = _feathered(patch.mask[rows, columns], side / scale_of(into))
        else:
            shown = resample_weights(_feathered(patch.mask, side), into, box)
        weight[rows, columns] = shown * inside
    if not weight.any():
        raise RegionError('the region has no pixel that both the photograph and the rendering have: draw it on the '
                          'face that was aligned')
    return weight


def _feathered(mask: NDArray[np.bool_], side: float) -> NDArray[np.float32]:
    """A region enlarged and blurred; lengths are parts of `side` pixels."""
    if not mask.any():
        return np.zeros(mask.shape, np.float32)
    distance = ndimage.distance_transform_edt(~mask)
    return _trimmed((distance <= side * GROW).astype(np.float32), side * FEATHER)


def _trimmed(weight: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    blurred = ndimage.gaussian_filter(weight, sigma, mode='nearest', truncate=TRUNCATE)
    return np.asarray(np.clip((blurred - FAINT) / (1 - 2 * FAINT), 0, 1), np.float32)


def _low_pass(pixels: NDArray[np.uint8], patch: Patch, corner: tuple[int, int]) -> NDArray[np.float32]:
    """The low-pass of photograph minus unedited rendering, where there is a rendering; of a part of the photograph."""
    size = pixels.shape[0], pixels.shape[1]
    known = resample_weights(np.ones(patch.unedited.shape[:2], np.float32), _at(_inverse(patch.matrix), corner), size)
    difference = (pixels - _into_photograph(patch.unedited, patch, corner, size)) * known[..., None]
    sigma = LOW_PASS * max(patch.unedited.shape[:2]) / scale_of(_inverse(patch.matrix))
    blurred = [ndimage.gaussian_filter(layer, sigma, mode='nearest', truncate=TRUNCATE)
               for layer in (known, *difference.transpose(2, 0, 1))]
    return np.asarray(np.stack(blurred[1:], axis=-1) / np.maximum(blurred[0], 1e-6)[..., None], np.float32)


def _into_photograph(rendering: NDArray[np.uint8], patch: Patch, corner: tuple[int, int],
                     size: tuple[int, int]) -> NDArray[np.float32]:
    """The part of the photograph from `corner = (row, column)` on, of `size`, as the rendering has it."""
    return resample(rendering, _at(_inverse(patch.matrix), corner), size)


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of an affine map `[2, 3]`."""
    return np.asarray(np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))[:2])


def _at(matrix: NDArray[np.float64], corner: tuple[int, int]) -> NDArray[np.float64]:
    """The map for a result that begins at `corner = (row, column)`."""
    row, column = corner
    return np.column_stack([matrix[:, :2], matrix @ np.array([column, row, 1.0])])


def _frame(photograph_size: tuple[int, int], patch: Patch) -> tuple[slice, slice]:
    """Rows and columns of a photograph `(H, W)` in which the rendering lies."""
    height, width = patch.edited.shape[:2]
    corners = patch.matrix @ np.array([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1]])
    low = np.clip(np.floor(corners.min(axis=1)), 0, None).astype(int)
    high = np.minimum(np.ceil(corners.max(axis=1)).astype(int), photograph_size[::-1])
    (left, top), (right, bottom) = low.tolist(), np.maximum(high, low).tolist()
    return slice(top, bottom), slice(left, right)


def _pixels(part: float, patch: Patch) -> int:
    """Pixels of the photograph that a part of the rendering's side covers, rounded up."""
    return int(np.ceil(part * max(patch.edited.shape[:2]) / scale_of(_inverse(patch.matrix))))


def _extent(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The rows and the columns from the first to the last that is not empty."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
