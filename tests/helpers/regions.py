"""A small mask, and what regions are measured by."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

SIZE = (48, 64)  # (H, W): not square, so that exchanged axes show

LEFT = np.zeros((6, 8), dtype=bool)
LEFT[:, :3] = True


def rectangle(region):
    """(x, y, width, height) of a region that is one box."""
    rows, cols = np.flatnonzero(region.mask.any(axis=1)), np.flatnonzero(region.mask.any(axis=0))
    x, y, width, height = cols[0], rows[0], len(cols), len(rows)
    assert region.mask[y:y + height, x:x + width].all() and region.mask.sum() == width * height
    return x, y, width, height


def save(image, path, **options):
    image.save(path, **options)
    return str(path)


def dense_majority(mask, h, w):
    """At least half foreground, pixel by pixel, in rational numbers."""
    def overlaps(n, size):
        step = Fraction(n, size)
        return np.array([[max(Fraction(0), min((i + 1) * step, Fraction(j + 1)) - max(i * step, Fraction(j)))
                          for j in range(n)] for i in range(size)])

    H, W = mask.shape
    area = overlaps(H, h) @ mask.astype(object) @ overlaps(W, w).T
    return (2 * area >= Fraction(H * W, h * w)).astype(bool)
