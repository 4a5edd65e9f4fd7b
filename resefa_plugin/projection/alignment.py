"""The frame that FFHQ puts around a face, as an exact map between the photograph and the aligned picture.

Karras, Laine and Aila (CVPR 2019) place a square around each face by its eyes and the corners of its mouth. Networks
trained on FFHQ know faces only so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resefa_plugin.editing.resampling import resample, resample_weights
from resefa_plugin.errors import PhotographError

# Of FFHQ: half the side of the square in distances between the eyes, and from eyes to mouth, whichever is more; and how
# far its centre is below the eyes, in distances from eyes to mouth.
EYE_WIDTHS, MOUTH_HEIGHTS, CENTRE = 2.0, 1.8, 0.1
SMALLEST_SQUARE = 16  # pixels of the photograph; of less, nobody would know the person
_QUICK_TURN = np.array([[0.0, -1.0], [1.0, 0.0]])  # by 90 degrees, from right to down


@dataclass(frozen=True)
class Alignment:
    """A rectangle in a photograph, turned or not, which is the picture that a network sees.

    Places are in pixels, (x, y), with the edges of pixels at whole numbers: the first pixel's centre is at (.5, .5).

    Attributes:
        corner: of the rectangle, the one that becomes the upper left.
        across: from there along the edge that becomes the upper one.
        down: along the left one.
    """

    corner: tuple[float, float]
    across: tuple[float, float]
    down: tuple[float, float]

    @classmethod
    def whole(cls, photograph_size: tuple[int, int]) -> Alignment:
        """All of a photograph of `(H, W)`."""
        height, width = photograph_size
        return cls((0.0, 0.0), (float(width), 0.0), (0.0, float(height)))

    @classmethod
    def from_points(cls, points: ArrayLike) -> Alignment:
        """FFHQ's square of a face.

        Args:
            points: (x, y) as a viewer counts pixels, the first pixel's centre at (0, 0): left eye, right eye, left and
                right corner of the mouth `[4, 2]`, or `[5, 2]` with the nose, which is not used, in the middle. Left
                and right are sides of the picture.

        Raises PhotographError for points that are no face.
        """
        array = np.asarray(points, np.float64)
        if array.shape not in ((4, 2), (5, 2)) or not np.isfinite(array).all():
            raise PhotographError(f'the points of a face have shape {list(array.shape)}; expected four or five finite '
                                  'pairs x,y: left eye, right eye, (nose,) left and right corner of the mouth')
        left, right = array[:2]
        eyes, mouth = (left + right) / 2, array[-2:].mean(axis=0)
        eye_to_eye, eye_to_mouth = right - left, mouth - eyes
        if np.cross([*eye_to_eye, 0], [*eye_to_mouth, 0])[2] <= 0:
            raise PhotographError('the points are no face: the eye at the left of the face comes first, then the one '
                                  'at its right, and the mouth is below them')
        right_half = eye_to_eye - _QUICK_TURN @ eye_to_mouth
        right_half *= max(EYE_WIDTHS * np.hypot(*eye_to_eye), MOUTH_HEIGHTS * np.hypot(*eye_to_mouth)) / np.hypot(
            *right_half)
        down_half = _QUICK_TURN @ right_half
        corner = eyes + CENTRE * eye_to_mouth - right_half - down_half + 0.5
        return cls(_pair(corner), _pair(2 * right_half), _pair(2 * down_half))

    @property
    def side(self) -> float:
        """The longer side of the rectangle, pixels of the photograph."""
        return float(max(np.hypot(*self.across), np.hypot(*self.down)))

    def matrix(self, size: tuple[int, int]) -> NDArray[np.float64]:
        """`[2, 3]`: places (x, y, 1) in the aligned picture of `size = (H, W)` -> places (x, y) in the photograph."""
        height, width = size
        return np.column_stack([np.array(self.across) / width, np.array(self.down) / height, self.corner])

    def distance(self, other: Alignment) -> float:
        """The largest distance between corresponding corners, in sides of the other."""
        return float(np.hypot(*(self._corners() - other._corners()).T).max() / other.side)

    def outside(self, photograph_size: tuple[int, int]) -> float:
        """The share of the rectangle that lies outside of a photograph of `(H, W)`, from 0 to 1, to a hundredth."""
        height, width = photograph_size
        column, row = np.meshgrid(np.arange(100) + 0.5, np.arange(100) + 0.5)
        x, y = np.tensordot(self.matrix((100, 100)), np.stack([column, row, np.ones_like(row)]), axes=1)
        return float(1 - ((x >= 0) & (x <= width) & (y >= 0) & (y <= height)).mean())

    def picture(self, rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
        """The aligned picture `[H, W, 3]` of a photograph `[h, w, 3]`, `size = (H, W)`; mirrored beyond its edges."""
        return resample(rgb, self.matrix(size), size).round().clip(0, 255).astype(np.uint8)

    def region(self, mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
        """A region `[h, w]` of the photograph in the aligned picture of `size = (H, W)`."""
        return resample_weights(mask.astype(np.float32), self.matrix(size), size) >= 0.5

    def extent(self, photograph_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """The part of a photograph `(H, W)` that holds the rectangle, as Pillow crops: left, top, right, bottom."""
        height, width = photograph_size
        low, high = np.floor(self._corners().min(axis=0)), np.ceil(self._corners().max(axis=0))
        return (max(0, int(low[0])), max(0, int(low[1])), min(width, int(high[0])), min(height, int(high[1])))

    def _corners(self) -> NDArray[np.float64]:
        corner, across, down = map(np.array, (self.corner, self.across, self.down))
        return np.stack([corner, corner + across, corner + across + down, corner + down])


def parse_points(numbers: Sequence[float]) -> NDArray[np.float64]:
    """The points `[4 or 5, 2]` of `x,y,x,y,...`. Raises PhotographError for another count."""
    if len(numbers) not in (8, 10):
        raise PhotographError(f'{len(numbers)} numbers are no points of a face; expected x,y of the left eye, the '
                              'right eye, (the nose,) the left and the right corner of the mouth: 8 or 10 numbers')
    return np.reshape(np.asarray(numbers, np.float64), (-1, 2))


def _pair(vector: NDArray[np.float64]) -> tuple[float, float]:
    return float(vector[0]), float(vector[1])
