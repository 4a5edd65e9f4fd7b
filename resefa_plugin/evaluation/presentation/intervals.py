"""Means with confidence intervals."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

LEVEL, RESAMPLES = 0.95, 10_000  # of the confidence intervals


class Interval(NamedTuple):
    """A mean, the ends of its confidence interval, and of how many values; NaN where there are too few."""

    mean: float
    low: float
    high: float
    count: int  # type: ignore[assignment]  # also the name of a method of tuples, which nobody calls here


def bootstrap(values: ArrayLike, level: float = LEVEL) -> Interval:
    """The mean of independent values with its percentile bootstrap interval, which assumes no distribution.

    Args:
        values: NaN, where a measure has no answer, is left out.
        level: the share of such intervals that hold the true mean.

    The same values give the same interval.
    """
    array = np.asarray(values, np.float64).reshape(-1)
    array = array[~np.isnan(array)]
    if not array.size:
        return Interval(np.nan, np.nan, np.nan, 0)
    if array.size == 1:
        return Interval(float(array[0]), np.nan, np.nan, 1)
    drawn = np.random.RandomState(0).randint(array.size, size=(RESAMPLES, array.size))
    low, high = np.quantile(array[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(array.mean()), float(low), float(high), array.size)
