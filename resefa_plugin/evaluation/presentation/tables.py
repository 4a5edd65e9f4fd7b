"""Results as Markdown. Every figure comes from the results; nothing is typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from resefa_plugin.report.pictures import significant

# Headings of figures; others appear under their own names.
HEADINGS = {'inside': 'MSE inside', 'outside': 'MSE outside', 'attribute': 'attribute moved',
            'outside_at_attribute': 'MSE outside at equal attribute', 'attribute_reached': 'moved so far',
            'lpips_in': 'LPIPS inside', 'lpips_out': 'LPIPS outside', 'fid': 'FID', 'kid': 'KID'}
HIDDEN = {'alpha', 'mse_in', 'mse_out'}  # the last two repeat `inside` and `outside`


def markdown(results: dict[str, Any]) -> str:
    """The comparison, the speed of the methods, and the robustness of the region."""
    settings, lines = results['settings'], results['table']
    head = (f"{results['network']}; directions found at {', '.join(results['samples'])}, measured on "
            f"{len(results['held_out'])} other samples at a mean squared change of {significant(settings['target'])} "
            f"inside the region ([-1, 1] scale, pictures at {settings['resolution']}); means with 95 % bootstrap "
            'intervals over samples.')
    parts = [head, '', comparison_table(lines)]
    if any(line.get('seconds') for line in lines):
        parts += ['', 'Time of each method in this run; `~` is extrapolated from a part that was timed:', '',
                  speed_table(lines)]
    if results['robustness']:
        parts += ['', 'ReSeFa with another form of the region, or at another sample, against the region itself; angles '
                  'in degrees, leakage to first order:', '', robustness_table(results['robustness'])]
    omitted = dict.fromkeys(f"- {line['row']}, {line['method']}: left out, {line['omitted']}" for line in lines
                            if 'omitted' in line)
    notes = dict.fromkeys(f"- {line['method']}: {line['note']}" for line in lines if line.get('note'))
    return '\n'.join([*parts, '', *omitted, *notes]).rstrip() + '\n'


def comparison_table(lines: Sequence[dict[str, Any]]) -> str:
    """A line per row and method. Means are of the edits that reached the target; `reached` says how many did."""
    done = [line for line in lines if 'omitted' not in line]
    figures = [key for key in dict.fromkeys(key for line in done for key in line['figures']) if key not in HIDDEN]
    sets = list(dict.fromkeys(key for line in done for key in line['sets']))
    rows = []
    for line in lines:
        name = line['row'] + (f" ({line['attribute']} {'+' if line['attribute_sign'] > 0 else '-'})"
                              if line['attribute'] else '')
        if 'omitted' in line:
            rows.append([name, line['method'], '-', '-', *['-'] * (len(figures) + len(sets))])
            continue
        index = ', '.join(f"{number}{'' if len(line['signs']) > 1 else '+' if line['signs'][0] > 0 else '-'}"
                          for number in line['index'])
        rows.append([name, line['method'], f"{_space(line)} {index}", f"{line['reached']}/{line['edits']}",
                     *(_interval(line['figures'].get(key)) for key in figures),
                     *('-' if line['sets'].get(key) is None else significant(line['sets'][key]) for key in sets)])
    return _table(['row', 'method', 'direction', 'reached', *(HEADINGS.get(key, key) for key in (*figures, *sets))],
                  rows)


def speed_table(lines: Sequence[dict[str, Any]]) -> str:
    """Seconds of each method and of one edit, means over rows; `~` is extrapolated from a part that was timed."""
    rows = []
    for method in dict.fromkeys(line['method'] for line in lines):
        group = [line for line in lines if line['method'] == method and line.get('seconds')]
        if not group:
            continue
        stages = {stage: float(np.mean([line['seconds'][stage] for line in group])) for stage in group[0]['seconds']}
        before = {stage: seconds for stage, seconds in stages.items() if stage not in ('solve', 'edit')}
        texts = [f"{'~' if stage in group[0]['extrapolated'] else ''}{significant(seconds)} s {stage}"
                 for stage, seconds in before.items()]
        rows.append([method, ', '.join(texts) or '-', f"{significant(stages.get('solve', 0.0), 2)} s",
                     f"{significant(stages['edit'], 2)} s" if 'edit' in stages else '-'])
    return _table(['method', 'derivatives', 'solve', 'edit'], rows)


def robustness_table(entries: Sequence[dict[str, Any]]) -> str:
    """A line per region and variant of it: medians over samples; the four shifts by one size are one variant."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in entries:
        variant = re.sub('^(down|up|left|right) ', 'shifted ', re.sub('^sample .*', 'another sample', entry['variant']))
        groups.setdefault((entry['region'], variant), []).append(entry)
    rows = [[region, variant, *(f'{np.median([entry[key] for entry in group]):.0f}'
                                for key in ('first_angle', 'mean_angle', 'largest_angle')),
             significant(float(np.median([entry['leakage_ratio'] for entry in group])))]
            for (region, variant), group in groups.items()]
    return _table(['region', 'variant', 'angle of direction 1', 'mean angle of the subspaces', 'largest angle',
                   'leakage, times the original\'s'], rows)


def _space(line: dict[str, Any]) -> str:
    """`w`, or `w:4-7` where an edit acts on some layers."""
    layers = line['layers']
    return line['space'] if layers is None else f"{line['space']}:{layers[0]}-{layers[-1]}"


def _interval(figure: dict[str, Any] | None) -> str:
    if figure is None or figure['mean'] is None:
        return '-'
    ends = '' if figure['low'] is None else f" [{significant(figure['low'])}, {significant(figure['high'])}]"
    return significant(figure['mean']) + ends


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in [heading, ['---'] * len(heading), *rows])
