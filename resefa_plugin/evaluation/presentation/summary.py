"""From the figures of single edits to one line per row and method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from resefa_plugin.evaluation.presentation.intervals import bootstrap

NOT_FIGURES = {'sample', 'sign', 'reached', 'evaluations'}  # of an edit


def summarize(cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry per row and method, in the order of the cells.

    Figures are means over the edits that reached the target: `reached` of `edits`. The edits of one held-out sample,
    both signs and the directions of every factorized sample, are averaged first, because a confidence interval needs
    independent values.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for cell in cells:
        groups.setdefault((cell['row'], cell['method']), []).append(cell)
    return [_line(row, method, group) for (row, method), group in groups.items()]


def _line(row: str, method: str, group: list[dict[str, Any]]) -> dict[str, Any]:
    done = [cell for cell in group if 'omitted' not in cell]
    line = {'row': row, 'method': method, 'attribute': group[0]['attribute'],
            'attribute_sign': group[0]['attribute_sign']}
    if not done:
        return line | {'omitted': group[0]['omitted']}
    edits = [edit for cell in done for edit in cell['edits']]
    reached = [edit for edit in edits if edit['reached']]
    figures = {}
    for key in edits[0]:
        if key not in NOT_FIGURES:
            by_sample: dict[str, list[float]] = {}
            for edit in reached:
                if edit[key] is not None:
                    by_sample.setdefault(edit['sample'], []).append(edit[key])
            interval = bootstrap([np.mean(values) for values in by_sample.values()])
            figures[key] = {name: None if isinstance(value, float) and math.isnan(value) else value
                            for name, value in interval._asdict().items()}
    sets = {}
    for name in done[0]['sets']:
        values = [cell['sets'][name] for cell in done if cell['sets'][name] is not None]
        sets[name] = float(np.mean(values)) if values else None
    seconds = {stage: float(np.mean([cell['seconds'][stage] for cell in done])) for stage in done[0]['seconds']}
    return line | {'space': done[0]['space'], 'layers': done[0]['layers'], 'index': [cell['index'] for cell in done],
                   'signs': done[0]['signs'], 'edits': len(edits), 'reached': len(reached), 'figures': figures,
                   'sets': sets, 'seconds': seconds, 'extrapolated': done[0]['extrapolated'], 'note': done[0]['note'],
                   'omitted_samples': len(group) - len(done)}
