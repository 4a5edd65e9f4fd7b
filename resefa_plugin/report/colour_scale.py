"""Colours for magnitudes: from black through violet and orange to pale yellow, equal steps looking equal."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# sRGB, 0 to 255. Lightness rises throughout, and no two colours differ by red against green alone.
ANCHORS = np.array([(0, 0, 0), (38, 17, 88), (98, 26, 118), (158, 42, 105), (212, 72, 66), (242, 122, 32),
                    (252, 182, 52), (255, 244, 180)], float)


def colours(t: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Colours `[..., 3]`, 0 to 255, of values from 0 to 1; lightness is proportional to the value.

    Between the anchors the channels are interpolated, each anchor standing at the value that is its own lightness.
    """
    position = _lightness(ANCHORS)
    return np.stack([np.interp(t, position / position[-1], channel) for channel in ANCHORS.T], -1)


def _lightness(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIE L* (0 to 100) of sRGB colours `[..., 3]` in 0 to 255."""
    s = rgb / 255
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(luminance > 216 / 24389, 116 * np.cbrt(luminance) - 16, luminance * 24389 / 27)
