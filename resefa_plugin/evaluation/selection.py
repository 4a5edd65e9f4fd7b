"""Which of a method's directions stands for it: the same rule for all methods, on the factorized sample alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from resefa_plugin.attributes.changes import THRESHOLD
from resefa_plugin.baselines.problem import MethodError, MethodResult
from resefa_plugin.editing.strength import mean_square, render_edits
from resefa_plugin.errors import MetricError
from resefa_plugin.evaluation.matching import Edit, Matched, match_change
from resefa_plugin.evaluation.measures import Measures
from resefa_plugin.evaluation.rows import Row
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.regions.partition import RegionPartition


@dataclass(frozen=True)
class Choice:
    """The direction that is compared.

    Attributes:
        direction: `[d]` float32, unit.
        index: its number among the method's, from 0; one more than there are for a combination of them.
        signs: the signs that are tried: one if an attribute decides it, else both.
        start: alpha that matched the target at the factorized sample.
        candidates: what each of the method's directions came to at the factorized sample, sign +1.
    """

    direction: np.ndarray
    index: int
    signs: tuple[int, ...]
    start: float
    candidates: list[Matched]


def choose(viewpoint: Viewpoint, found: MethodResult, row: Row, target: float, measures: Measures) -> Choice:
    """Chooses by the least change outside at the factorized sample.

    It is compared at equal movement of the row's attribute, if it has one, else at equal change inside. Where there is
    an attribute, a method is also offered the combination of its directions that moves it best.

    Args:
        viewpoint: the factorized sample in the space of the directions.

    Raises MethodError if the row names an attribute that none of the directions changes.
    """
    partition = RegionPartition(row.region.at(*viewpoint.image_shape[1:]), row.name)
    directions = found.directions
    starts = _starts(viewpoint, directions, partition, target)
    if row.attribute and len(directions) > 1:
        try:
            wanted = measures.combine(row.attribute, row.sign, [viewpoint], row.region, directions.astype(np.float64))
        except MetricError:  # none of them changes it
            pass
        else:
            combined = (wanted / np.linalg.norm(wanted)).astype(np.float32)[None]
            directions = np.concatenate([directions, combined])
            starts = np.concatenate([starts, _starts(viewpoint, combined, partition, target)])
    original = render_edits(viewpoint, viewpoint.zero())
    matches = [match_change(renderer(viewpoint, direction, 1, original, partition), target, start)
               for direction, start in zip(directions, starts, strict=True)]
    if not row.attribute:
        index = min(range(len(matches)), key=lambda i: _preference(matches[i]))
        return Choice(directions[index], index, (1, -1), matches[index].edit.alpha, matches)
    steps = np.array([[match.edit.alpha] for match in matches], np.float32)
    changes = measures.changes(viewpoint, torch.from_numpy(directions * steps), row.attribute).numpy()
    visible = [i for i in range(len(matches)) if abs(changes[i]) >= THRESHOLD]
    if not visible:
        raise MethodError(f"none of its {len(matches)} directions changes '{row.attribute}' visibly at the factorized "
                          'sample')
    index = min(visible, key=lambda i: (not matches[i].reached, matches[i].edit.outside / changes[i] ** 2))
    sign = row.sign if changes[index] > 0 else -row.sign
    return Choice(directions[index], index, (sign,), matches[index].edit.alpha, matches)


def _starts(viewpoint: Viewpoint, directions: np.ndarray, partition: RegionPartition, target: float) -> np.ndarray:
    """The steps `[k]` at which directions `[k, d]` change the region as the target says, to first order."""
    tangents = RegionJacobian(viewpoint).jvp(torch.from_numpy(directions))
    slopes = mean_square(tangents.cpu(), partition)[0].numpy()
    steps: np.ndarray = np.sqrt(target / np.where(slopes > 0, slopes, target))
    return steps


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
