"""Regions solved in a basis common to all of them, against a search in the whole space, on the demo generator.

    python -m benchmarks.common_basis [--samples N] [--write]
"""

from __future__ import annotations

import time

import click
import numpy as np
import torch

from benchmarks.common import environment, publish
from resefa_plugin import Auto, Davidson, RegionJacobian, Viewpoint, open_network, parse_region
from resefa_plugin.factorizer.constraints import Constraints
from resefa_plugin.factorizer.steps import measured_slopes, solve_region
from resefa_plugin.jacobian.common_basis import CommonBasis
from resefa_plugin.machine.allocator import keep_large_blocks

NETWORK, RESOLUTION, TRUNCATION = 'mobilestylegan-ffhq', 256, 0.7
SPACE, REGIONS, NUM_DIRECTIONS = 's', ('mouth', 'nose', 'eyes', 'hair'), 3


@click.command()
@click.option('--device', default='cpu', show_default=True)
@click.option('--samples', default=4, show_default=True, help='Seeds from 0')
@click.option('--write', is_flag=True, help='Put the result into results/ and README.md')
def main(device: str, samples: int, write: bool) -> None:
    """First-order leak of directions from a common basis, over that of a search."""
    keep_large_blocks()
    hook, rows = open_network(NETWORK, device), []
    for seed in range(samples):
        jacobian = RegionJacobian(Viewpoint(hook, SPACE, hook.sample(seed, TRUNCATION), RESOLUTION))
        start = time.process_time()
        jacobian.basis = CommonBasis.compute(jacobian)
        basis_seconds = time.process_time() - start
        for name in REGIONS:
            region = parse_region(name, hook.image_shape[1:])
            row = {'seed': seed, 'region': name, 'basis_seconds': basis_seconds,
                   'dimensions': len(jacobian.basis.vectors)}
            row['leaks'], row['seconds'], _ = solved(jacobian, region, Auto(NUM_DIRECTIONS))
            searched = RegionJacobian(jacobian.viewpoint)
            row['judge'], row['judge_seconds'], row['columns'] = solved(searched, region, Davidson(NUM_DIRECTIONS))
            rows.append(row)
            print(row, flush=True)
    record = {'environment': environment(), 'network': NETWORK, 'resolution': RESOLUTION, 'truncation_psi': TRUNCATION,
              'space': SPACE, 'rows': rows}
    table = render(record)
    print(table)
    if write:
        publish('common_basis', record, table)


def solved(jacobian: RegionJacobian, region, solver) -> tuple[list[float], float, int]:
    """The MSE outside at .01 inside of the first directions, to first order; processor time; columns of a search."""
    start = time.process_time()
    solution = solve_region(jacobian, region, solver, Constraints(), predict=False).solution
    seconds = time.process_time() - start
    with torch.no_grad():
        inside, outside = measured_slopes(jacobian, region, solution.directions[:NUM_DIRECTIONS])
    columns = 0 if solution.search is None else solution.search.columns
    return (0.01 * outside / inside).tolist(), seconds, columns


def render(record: dict) -> str:
    rows = record['rows']
    basis = np.mean([row['basis_seconds'] for row in rows])
    lines = [f"{record['network']}, space {record['space']}, {rows[0]['dimensions']} dimensions of a basis, truncation "
             f"{record['truncation_psi']}, at {record['resolution']}x{record['resolution']}; processor time of a basis "
             f'{basis:.0f} s.', '',
             '| seed | region | MSE outside at .01 inside, directions 1 to 3, in the basis | by a search | ratio of '
             'direction 1 | s (processor), in the basis | by a search |', '| --- | --- | --- | --- | --- | --- | --- |']
    for row in rows:
        mine, judge = (', '.join(f'{leak:.1e}' for leak in row[key]) for key in ('leaks', 'judge'))
        lines.append(f"| {row['seed']} | {row['region']} | {mine} | {judge} | {row['leaks'][0] / row['judge'][0]:.2f} "
                     f"| {row['seconds']:.1f} | {row['judge_seconds']:.0f} |")
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    main()
