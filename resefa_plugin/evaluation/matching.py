"""The step at which an edit changes the region by a given amount, so that methods are compared at equal change."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from resefa_plugin.errors import NonFiniteError

TOLERANCE = 0.05         # of the mean squared change; misses of either sign average out
MAX_EVALUATIONS = 12
MAX_FACTOR = 4.0         # by which the step changes at once
STALLED = 1.05           # a step that grew by half without more than 5 % of change has come to the end of the direction
SLOPES = (0.5, 4.0)      # of log change over log step; 2 to first order


@dataclass(frozen=True)
class Edit:
    """One rendered edit.

    Attributes:
        alpha: length of the step, above 0.
        inside, outside: mean squared change, [-1, 1] scale.
        picture: `[C, h, w]`.
    """

    alpha: float
    inside: float
    outside: float
    picture: Tensor


@dataclass(frozen=True)
class Matched:
    """The edit nearest to the target, whether it is within the tolerance, and how many pictures that took."""

    edit: Edit
    reached: bool
    evaluations: int


def match_change(render: Callable[[float], Edit], target: float, start: float, tolerance: float = TOLERANCE,
                 most: int = MAX_EVALUATIONS, slope: float = 2.0) -> Matched:
    """Finds the alpha with `render(alpha).inside` equal to the target.

    A secant on the logarithms of change and step, which is exact where the change is a power of the step; once the
    target is bracketed, steps stay in the bracket, and every third one halves it. A direction whose change stops
    growing below the target (the picture saturates), or that takes too many pictures, is returned as not reached.

    Args:
        render: the picture at a step alpha > 0.
        target: mean squared change inside, above 0.
        start: the first alpha.
        tolerance: by which the change may be off, relative to the target.
        most: pictures at most.
        slope: of log change over log step, as it is taken to be at first.

    Raises NonFiniteError if no picture is finite.
    """
    below: Edit | None = None   # the highest step known to be too small, and the lowest known to be too large
    above: Edit | None = None
    last: Edit | None = None
    edit = best = _rendered(render, start)
    for count in range(1, most + 1):
        if _distance(edit, target) <= _distance(best, target):
            best = edit
        if abs(edit.inside / target - 1) <= tolerance or count == most:
            break
        if edit.inside >= target:
            above = edit
        else:
            if (below is not None and above is None and edit.alpha > 1.5 * below.alpha
                    and edit.inside < STALLED * below.inside):
                break
            below = edit
        alpha = _next(below, above, last, edit, target, count % 3 == 0, slope)
        last, edit = edit, _rendered(render, alpha)
    if not math.isfinite(best.inside):
        raise NonFiniteError(f'the edited picture contains NaN or infinity, at steps down to {edit.alpha:g}')
    return Matched(best, abs(best.inside / target - 1) <= tolerance, count)


def _rendered(render: Callable[[float], Edit], alpha: float) -> Edit:
    """The edit at a step; one whose change is not finite is far too strong."""
    edit = render(alpha)
    return edit if math.isfinite(edit.inside) else Edit(alpha, math.inf, math.inf, edit.picture)


def _distance(edit: Edit, target: float) -> float:
    return abs(math.log(max(edit.inside, 1e-300) / target))


def _next(below: Edit | None, above: Edit | None, last: Edit | None, edit: Edit, target: float, halve: bool,
          slope: float) -> float:
    if below is not None and above is not None:
        low, high = below, above
        if halve or low.inside <= 0 or math.isinf(high.inside):
            return math.sqrt(low.alpha * high.alpha)
        share = math.log(target / low.inside) / math.log(high.inside / low.inside)
        return low.alpha * (high.alpha / low.alpha) ** min(max(share, 0.05), 0.95)
    if edit.inside <= 0:
        return edit.alpha * MAX_FACTOR
    if last is not None and 0 < last.inside < math.inf and edit.inside < math.inf:
        slope = math.log(edit.inside / last.inside) / math.log(edit.alpha / last.alpha)
        if slope < SLOPES[0] and edit.inside > target:  # on a plateau above the target, whose end is somewhere below
            return edit.alpha / MAX_FACTOR
        slope = min(max(slope, SLOPES[0]), SLOPES[1])
    factor = (target / edit.inside) ** (1 / slope)
    return edit.alpha * min(max(factor, 1 / MAX_FACTOR), MAX_FACTOR)
