"""Pictures seen through an affine map: turned, scaled and moved, without aliasing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

CUBIC, LINEAR = 3, 1  # orders of splines
NEARLY = 1e-6         # by which a whole number may be missed


def scale_of(matrix: NDArray[np.float64]) -> float:
    """How many pixels of the source one pixel of the result spans, along the longer axis, of a map `[2, 3]`."""
    return float(np.hypot(*matrix[:, :2]).max())


def resample(source: NDArray[np.uint8], matrix: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """The picture that an affine map shows; the source is mirrored at its edges.

    A source of more pixels is box averaged first, and where the boxes are not the pixels, two samples of it are taken
    per pixel and axis.

    Args:
        source: `[h, w, C]` uint8.
        matrix: `[2, 3]`, places (x, y, 1) in the result -> places (x, y) in the source, in pixels; the edges of pixels
            are at whole numbers, so that the first pixel's centre is at (.5, .5).
        size: `(H, W)` of the result.

    Returns: `[H, W, C]` on the scale of the source; a spline may overshoot it by a little.
    """
    factor = max(1, int(scale_of(matrix) + NEARLY))
    finer = 2 if scale_of(matrix) > factor + NEARLY else 1
    channels = []
    for i in range(source.shape[2]):
        layer = Image.fromarray(np.ascontiguousarray(source[..., i]))
        pixels = np.asarray(layer.reduce(factor) if factor > 1 else layer, np.float32)
        channels.append(_sampled(pixels, matrix / factor, size, finer, CUBIC, 'mirror'))
    return np.stack(channels, axis=-1)


def resample_weights(source: NDArray[np.float32], matrix: NDArray[np.float64],
                     size: tuple[int, int]) -> NDArray[np.float32]:
    """The same of weights `[h, w]` from 0 to 1, 0 beyond the edges: they stay in this range, and 0 stays 0."""
    finer = min(4, max(1, round(scale_of(matrix))))
    return _sampled(source, matrix, size, finer, LINEAR, 'constant')


def _sampled(pixels: NDArray[np.float32], matrix: NDArray[np.float64], size: tuple[int, int], finer: int, order: int,
             beyond: str) -> NDArray[np.float32]:
    """Pixels `[h, w]` at `finer * finer` places of each pixel of the result, averaged."""
    height, width = size
    # scipy takes (row, column) of pixels' centres at whole numbers: of the finer result -> of the source.
    linear = matrix[::-1, 1::-1] / finer
    offset = matrix[::-1, :2][:, ::-1] @ np.full(2, 0.5 / finer) + matrix[::-1, 2] - 0.5
    values = ndimage.affine_transform(pixels, linear, offset, (height * finer, width * finer), order=order, mode=beyond)
    return np.asarray(values.reshape(height, finer, width, finer).mean(axis=(1, 3)), np.float32)
