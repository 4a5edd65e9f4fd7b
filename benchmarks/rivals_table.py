"""The short form of the comparison for docs/rivals.md, from results/evaluate_demo.json.

    python -m benchmarks.rivals_table
"""

from __future__ import annotations

import json

from benchmarks.common import HERE, insert
from resefa_plugin.evaluation.settings import KEPT

# Of the straight edits, and in parentheses of those that keep the background; times 1e5 where they are squares.
FIGURES = {'MSE outside x 1e5 at .01 inside: straight (kept)': ('outside', 1e5),
           'MSE outside x 1e5 at equal movement of the attribute: straight (kept)': ('outside_at_attribute', 1e5),
           'attribute moved, in standard deviations of faces, at .01 inside: straight (kept)': ('attribute', 1),
           'identity at .01 inside: straight (kept)': ('identity', 1)}


def table(record: dict) -> str:
    """A table of each figure: methods by rows of the paper's Table 1, means over the held-out samples."""
    rows = list(dict.fromkeys(cell['row'] for cell in record['table']))
    cells = {(cell['method'], cell['row']): cell.get('figures', {}) for cell in record['table']}
    methods = list(dict.fromkeys(cell['method'].removesuffix(KEPT) for cell in record['table']))
    parts = []
    for title, (key, factor) in FIGURES.items():
        lines = [f'| {title} | ' + ' | '.join(rows) + ' |', '| --- ' * (1 + len(rows)) + '|']
        for method in methods:
            texts = [' '.join((_figure(cells.get((method, row)), key, factor),
                               f'({_figure(cells.get((method + KEPT, row)), key, factor)})')) for row in rows]
            lines.append(f'| {method} | ' + ' | '.join(texts) + ' |')
        parts.append('\n'.join(lines) + '\n')
    return '\n'.join(parts)


def _figure(figures: dict | None, key: str, factor: float) -> str:
    if not figures or figures.get(key) is None or figures[key]['mean'] is None:
        return '-'
    value = factor * figures[key]['mean']
    return f'{value:.2f}' if factor == 1 else f'{value:.0f}' if value >= 10 else f'{value:.1f}'


if __name__ == '__main__':
    results = json.loads((HERE / 'results' / 'evaluate_demo.json').read_text())
    insert(HERE.parent / 'docs' / 'rivals.md', 'evaluation', table(results))
