"""One cell of a comparison: one method on one row, found at one sample and measured on samples that took no part."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from resefa_plugin.baselines.methods import parse_method
from resefa_plugin.baselines.problem import JacobianStore, MethodError, MethodResult, Problem
from resefa_plugin.errors import SolverError
from resefa_plugin.evaluation.keepers import Keepers
from resefa_plugin.evaluation.matching import Edit, match_change
from resefa_plugin.evaluation.measures import Measures
from resefa_plugin.evaluation.rows import Row
from resefa_plugin.evaluation.selection import Choice, choose, renderer
from resefa_plugin.evaluation.settings import Settings
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.regions.partition import RegionPartition

# An attribute is a measurement of a picture by another network, which is not exact to a few percent.
ATTRIBUTE_TOLERANCE, ATTRIBUTE_EVALUATIONS = 0.15, 4


class Clock:
    """How long edits take.

    Attributes:
        seconds, calls: of all renderings.
    """

    def __init__(self) -> None:
        self.seconds, self.calls = 0.0, 0

    def timed(self, render: Callable[[float], Edit]) -> Callable[[float], Edit]:
        """The same, timed."""
        def call(alpha: float) -> Edit:
            start = time.perf_counter()
            edit = render(alpha)
            self.seconds, self.calls = self.seconds + time.perf_counter() - start, self.calls + 1
            return edit

        return call


class Cells:
    """Computes the cells of one comparison.

    Args:
        hook: the generator.
        settings, measures: of the comparison.
        held_out: samples that took no part, with their unedited pictures `[1, C, h, w]`.
        pool: samples that methods may look at, besides the one that they are given.
        rows: of the comparison.
        jacobians: what methods share.
        keepers: how backgrounds are kept.
    """

    def __init__(self, hook: GeneratorHook, settings: Settings, measures: Measures,
                 held_out: Sequence[tuple[Sample, Tensor]], pool: Sequence[Sample], rows: Sequence[Row],
                 jacobians: JacobianStore, keepers: Keepers):
        self.hook, self.settings, self.measures, self.held_out = hook, settings, measures, list(held_out)
        self.pool, self.jacobians, self.keepers = tuple(pool), jacobians, keepers
        self.regions = tuple(row.region for row in rows)
        self._features: dict[str, Tensor] = {}
        self._steps: dict[tuple[str, ...], float] = {}  # of straight edits: kept ones change the region about as much

    def compute(self, sample: Sample, row: Row, spec: str, kept: bool) -> tuple[dict[str, Any], Tensor | None]:
        """Finds, chooses, matches and measures.

        Args:
            sample: where the method may take its derivatives.
            spec: the method, see `parse_method`.
            kept: whether edits have their background kept.

        Returns: what is recorded (JSON values), and the edited pictures `[N, C, h, w]`, sample by sample and sign by
        sign; without the pictures, and with the reason under `omitted`, where the method has nothing to offer.
        """
        start = time.perf_counter()
        try:
            found, choice = self.jacobians.once(('choice', sample.name, row.name, spec),
                                                lambda: self._choice(sample, row, spec))
        except (MethodError, SolverError) as error:
            return {'omitted': str(error)}, None
        partition = RegionPartition(row.region.at(*self.held_out[0][1].shape[2:]), row.name)
        edits: list[dict[str, Any]] = []
        curve: list[dict[str, Any]] = []
        pictures, clock = [], Clock()
        title = f"{row.name} {spec}{', kept' if kept else ''}"
        with tqdm(self.held_out, desc=title, unit='sample', dynamic_ncols=True) as bar:
            for number, (other, original) in enumerate(bar):
                viewpoint = Viewpoint(self.hook, found.space, other, self.settings.resolution)
                for sign in choice.signs:
                    make = self.keepers.renderer if kept else renderer
                    render = clock.timed(make(viewpoint, choice.direction, sign, original, partition))
                    edit_of = (sample.name, row.name, spec, other.name, str(sign))
                    matched = match_change(render, self.settings.target, self._steps.get(edit_of, choice.start))
                    if not kept and matched.reached:
                        self._steps[edit_of] = matched.edit.alpha
                    of_whom = {'sample': other.name, 'sign': sign}
                    edits.append({**of_whom, **_figures(matched.edit), 'reached': matched.reached,
                                  'evaluations': matched.evaluations})
                    if row.attribute:
                        edits[-1] |= self._attribute(other.name, original, render, matched.edit, row)
                    pictures.append(matched.edit.picture)
                    if number < self.settings.curve_samples and matched.reached:
                        for multiple in self.settings.multiples:
                            edit = matched.edit if multiple == 1 else render(multiple * matched.edit.alpha)
                            curve.append({**of_whom, 'multiple': multiple, **_figures(edit)})
        edited = torch.stack(pictures)
        seconds = dict(found.seconds) | {'edit': clock.seconds / clock.calls}
        originals = torch.cat([original for _, original in self.held_out]).repeat_interleave(len(choice.signs), dim=0)
        for key, values in self.measures.of_pairs(originals, edited, partition).items():
            for record, value in zip(edits, values, strict=True):
                record[key] = value
        sets = self.measures.of_sets(self._unedited(), self.measures.features(edited))
        record = _record(found, choice, edits, curve) | {'sets': sets, 'seconds': seconds}
        return record | {'elapsed': time.perf_counter() - start}, edited

    def _choice(self, sample: Sample, row: Row, spec: str) -> tuple[MethodResult, Choice]:
        method, layers = parse_method(spec)
        combine = functools.partial(self.measures.combine, row.attribute, row.sign) if row.attribute else None
        found = method(Problem(self.hook, self.settings.space, sample, row.region, self.settings.num_directions,
                               self.jacobians, layers, row.attribute, self.pool, self.regions, combine))
        viewpoint = Viewpoint(self.hook, found.space, sample, self.settings.resolution)
        return found, choose(viewpoint, found, row, self.settings.target, self.measures)

    def _attribute(self, sample: str, original: Tensor, render: Callable[[float], Edit], edit: Edit,
                   row: Row) -> dict[str, float | None]:
        """How far an edit moved the attribute, and what changes where it is moved by as much as the settings say."""
        def moved(edit: Edit) -> float | None:
            return self.measures.attribute_change(sample, original, edit.picture[None], row.attribute, row.sign)

        def as_change(alpha: float) -> Edit:
            other = edit if alpha == edit.alpha else render(alpha)
            if not math.isfinite(other.inside):
                return other
            return Edit(alpha, max(moved(other) or 0.0, 0.0), other.outside, other.picture)

        change = moved(edit)
        figures: dict[str, float | None] = {'attribute': change, 'outside_at_attribute': None}
        if change is not None:
            wanted = self.settings.attribute_target
            same = match_change(as_change, wanted, edit.alpha, ATTRIBUTE_TOLERANCE, ATTRIBUTE_EVALUATIONS, slope=1.0)
            figures['attribute_reached'] = float(same.reached)
            if same.reached:
                figures['outside_at_attribute'] = same.edit.outside
        return figures

    def _unedited(self) -> dict[str, Tensor]:
        """What the set metrics know of the unedited pictures, computed once."""
        if not self._features:
            self._features = self.measures.features(torch.cat([picture for _, picture in self.held_out]))
        return self._features


def _figures(edit: Edit) -> dict[str, float]:
    return {'alpha': edit.alpha, 'inside': edit.inside, 'outside': edit.outside}


def _record(found: MethodResult, choice: Choice, edits: list[dict[str, Any]],
            curve: list[dict[str, Any]]) -> dict[str, Any]:
    layers = found.space.layers
    return {'space': found.space.name, 'layers': None if layers is None else list(layers),
            'directions': len(found.directions), 'index': choice.index + 1, 'signs': list(choice.signs),
            'extrapolated': list(found.extrapolated), 'note': found.note,
            'candidates': [_figures(match.edit) | {'reached': match.reached} for match in choice.candidates],
            'direction': np.asarray(choice.direction, float).round(7).tolist(), 'edits': edits, 'curve': curve}
