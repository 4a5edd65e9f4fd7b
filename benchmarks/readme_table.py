"""The short form of the comparison for the project's README, from results/evaluate_demo.json.

    python -m benchmarks.readme_table
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
        figures = [cells.get((method, row)) for row in rows]
        lines.append(f'| {method} | ' + ' | '.join('left out' if f is None else f'{_short(1e4 * f["outside"]["mean"])}, {f["identity"]["mean"]:.2f}'
                                                   for f in figures) + ' |')
    return '\n'.join(lines) + '\n'


def _short(value: float) -> str:
    return f'{value:.0f}' if value >= 10 else f'{value:.1f}'


if __name__ == '__main__':
    insert(HERE.parent / 'README.md', 'evaluation', table(json.loads((HERE / 'results' / 'evaluate_demo.json').read_text())))
