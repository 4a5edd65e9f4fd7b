"""Means with confidence intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

LEVEL, RESAMPLES = 0.95, 10_000


class Interval(NamedTuple):
    """A mean, the ends of its confidence interval, and how many values it is of; NaN where there are too few."""

    mean: float
    low: float
    high: float
    count: int


def bootstrap(values: ArrayLike, level: float = LEVEL) -> Interval:
    """The mean of independent values with its percentile bootstrap interval, which assumes no distribution.

    Values that are NaN (a measure without an answer there) are left out. The resamples are the same on every call.
    """
    values = np.asarray(values, np.float64).reshape(-1)
    values = values[~np.isnan(values)]
    if not values.size:
        return Interval(np.nan, np.nan, np.nan, 0)
    if values.size == 1:
        return Interval(float(values[0]), np.nan, np.nan, 1)
    drawn = np.random.RandomState(0).randint(values.size, size=(RESAMPLES, values.size))
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high), values.size)
