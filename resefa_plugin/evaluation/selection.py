"""Which of a method's directions stands for it: the same rule for all methods, on the factorized sample alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from resefa_plugin.baselines.problem import MethodError, MethodResult
from resefa_plugin.editing.strength import mean_square, render_edits
from resefa_plugin.evaluation.matching import Edit, Matched, match_change
from resefa_plugin.evaluation.rows import Row
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.regions.partition import RegionPartition

# (viewpoint, offsets [k, d], attribute, sign) -> (number of a direction, its sign), or None
Chooser = Callable[[Viewpoint, torch.Tensor, str, int], tuple[int, int] | None]


@dataclass(frozen=True)
class Choice:
    """The direction that is compared.

    Attributes:
        direction: `[d]` float32, unit.
        index: its number among the method's, from 0.
        signs: the signs that are tried: one if an attribute decides it, else both.
        start: alpha that matched the target at the factorized sample.
        candidates: what each of the method's directions came to at the factorized sample, sign +1.
    """

    direction: np.ndarray
    index: int
    signs: tuple[int, ...]
    start: float
    candidates: list[Matched]


def choose(viewpoint: Viewpoint, found: MethodResult, row: Row, target: float, chooser: Chooser) -> Choice:
    """Chooses by the row's attribute, else by the least change outside, at matched change, at the factorized sample.

    Args:
        viewpoint: the factorized sample in the space of the directions.

    Raises MethodError if the row names an attribute that none of the directions changes.
    """
    partition = RegionPartition(row.region.at(*viewpoint.image_shape[1:]), row.name)
    tangents = RegionJacobian(viewpoint).jvp(torch.from_numpy(found.directions))
    slopes = mean_square(tangents.cpu(), partition)[0].numpy()
    starts = np.sqrt(target / np.where(slopes > 0, slopes, target))
    original = render_edits(viewpoint, viewpoint.zero())
    matches = [match_change(renderer(viewpoint, direction, 1, original, partition), target, start)
               for direction, start in zip(found.directions, starts, strict=True)]
    signs: tuple[int, ...] = (1, -1)
    if row.attribute:
        offsets = torch.from_numpy(found.directions * np.array([[match.edit.alpha] for match in matches], np.float32))
        chosen = chooser(viewpoint, offsets, row.attribute, row.sign)
        if chosen is None:
            raise MethodError(f"none of its {len(matches)} directions changes '{row.attribute}' visibly at the "
                              'factorized sample')
        index, signs = chosen[0], (chosen[1],)
    else:
        index = min(range(len(matches)), key=lambda i: _preference(matches[i]))
    return Choice(found.directions[index], index, signs, matches[index].edit.alpha, matches)


def renderer(viewpoint: Viewpoint, direction: np.ndarray, sign: int, original: torch.Tensor,
             partition: RegionPartition) -> Callable[[float], Edit]:
    """The edit of a sample by `sign * alpha * direction` as a function of alpha."""
    def render(alpha: float) -> Edit:
        offset = torch.from_numpy(np.float32(sign * alpha) * direction)[None]
        picture = render_edits(viewpoint, offset)
        inside, outside = mean_square(picture - original, partition)
        return Edit(alpha, inside.item(), outside.item(), picture[0])
    return render


def _preference(match: Matched) -> tuple[bool, float]:
    """Directions that reach the target first, by least change outside; else the one that comes nearest to it."""
    return not match.reached, match.edit.outside if match.reached else -match.edit.inside
