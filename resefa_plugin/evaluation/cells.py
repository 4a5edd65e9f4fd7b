"""One cell of a comparison: one method on one row, found at one sample and measured on samples that took no part."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from resefa_plugin.baselines.methods import parse_method
from resefa_plugin.baselines.problem import JacobianStore, MethodError, MethodResult, Problem
from resefa_plugin.errors import SolverError
from resefa_plugin.evaluation.matching import Edit, match_change
from resefa_plugin.evaluation.measures import Measures
from resefa_plugin.evaluation.rows import Row
from resefa_plugin.evaluation.selection import Choice, choose, renderer
from resefa_plugin.evaluation.settings import Settings
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.regions.partition import RegionPartition


def compute_cell(hook: GeneratorHook, sample: Sample, row: Row, spec: str, held_out: list[tuple[Sample, Tensor]],
                 features: dict[str, Tensor], jacobians: JacobianStore, settings: Settings,
                 measures: Measures) -> tuple[dict[str, Any], Tensor | None]:
    """Finds, chooses, matches and measures.

    Args:
        spec: the method, see `parse_method`.
        held_out: samples that took no part, with their unedited pictures `[1, C, h, w]`.
        features: of the unedited pictures, for the set metrics.

    Returns: what is recorded (JSON values), and the edited pictures `[N, C, h, w]`, sample by sample and sign by sign;
    without the pictures, and with the reason under `omitted`, where the method has nothing to offer.
    """
    method, layers = parse_method(spec)
    try:
        found = method(Problem(hook, settings.space, sample, row.region, settings.num_directions, jacobians, layers,
                               row.attribute))
        viewpoint = Viewpoint(hook, found.space, sample, settings.resolution)
        choice = choose(viewpoint, found, row, settings.target, measures.choose)
    except (MethodError, SolverError) as error:
        return {'omitted': str(error)}, None
    partition = RegionPartition(row.region.at(*held_out[0][1].shape[2:]), row.name)
    edits: list[dict[str, Any]] = []
    curve, pictures = [], []
    with tqdm(held_out, desc=f'{row.name} {spec}', unit='sample', dynamic_ncols=True) as bar:
        for number, (other, original) in enumerate(bar):
            viewpoint = Viewpoint(hook, found.space, other, settings.resolution)
            for sign in choice.signs:
                render = renderer(viewpoint, choice.direction, sign, original, partition)
                matched = match_change(render, settings.target, choice.start)
                edits.append({'sample': other.name, 'sign': sign, **_figures(matched.edit), 'reached': matched.reached,
                              'evaluations': matched.evaluations})
                if row.attribute:
                    edits[-1]['attribute'] = measures.attribute_change(other.name, original, matched.edit.picture[None],
                                                                       row.attribute, row.sign)
                pictures.append(matched.edit.picture)
                if number < settings.curve_samples and matched.reached:
                    for multiple in settings.multiples:
                        edit = matched.edit if multiple == 1 else render(multiple * matched.edit.alpha)
                        curve.append({'sample': other.name, 'sign': sign, 'multiple': multiple, **_figures(edit)})
    edited = torch.stack(pictures)
    originals = torch.cat([original for _, original in held_out]).repeat_interleave(len(choice.signs), dim=0)
    for key, values in measures.of_pairs(originals, edited, partition).items():
        for record, value in zip(edits, values, strict=True):
            record[key] = value
    sets = measures.of_sets(features, measures.features(edited))
    return _record(found, choice, edits, curve) | {'sets': sets}, edited


def _figures(edit: Edit) -> dict[str, float]:
    return {'alpha': edit.alpha, 'inside': edit.inside, 'outside': edit.outside}


def _record(found: MethodResult, choice: Choice, edits: list[dict[str, Any]],
            curve: list[dict[str, Any]]) -> dict[str, Any]:
    layers = found.space.layers
    return {'space': found.space.name, 'layers': None if layers is None else list(layers),
            'directions': len(found.directions), 'index': choice.index + 1, 'signs': list(choice.signs),
            'seconds': dict(found.seconds), 'extrapolated': list(found.extrapolated), 'note': found.note,
            'candidates': [_figures(match.edit) | {'reached': match.reached} for match in choice.candidates],
            'direction': np.asarray(choice.direction, float).round(7).tolist(), 'edits': edits, 'curve': curve}
