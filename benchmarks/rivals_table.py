"""The short form of the comparison for docs/rivals.md, from results/evaluate_demo.json.

    python -m benchmarks.rivals_table
"""

from __future__ import annotations

import json

from benchmarks.common import HERE, insert


def table(record: dict) -> str:
    """Change outside, in 1e-4, and identity for each method and row, means over the held-out samples."""
    rows = list(dict.fromkeys(cell['row'] for cell in record['table']))
    cells = {(cell['method'], cell['row']): cell['figures'] for cell in record['table']}
    lines = ['| MSE outside x 1e4, identity | ' + ' | '.join(rows) + ' |', '|---|' + '---|' * len(rows)]
    for method in dict.fromkeys(cell['method'] for cell in record['table']):
        figures = [_figures(cells.get((method, row))) for row in rows]
        lines.append(f'| {method} | ' + ' | '.join(figures) + ' |')
    return '\n'.join(lines) + '\n'


def _figures(figures: dict | None) -> str:
    if figures is None:
        return 'left out'
    return f'{_short(1e4 * figures["outside"]["mean"])}, {figures["identity"]["mean"]:.2f}'


def _short(value: float) -> str:
    return f'{value:.0f}' if value >= 10 else f'{value:.1f}'


if __name__ == '__main__':
    results = json.loads((HERE / 'results' / 'evaluate_demo.json').read_text())
    insert(HERE.parent / 'docs' / 'rivals.md', 'evaluation', table(results))
