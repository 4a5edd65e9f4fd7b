"""Edits with the background kept, against straight ones at equal change inside, on the demo generator.

    python -m benchmarks.keep_background [--jacobian-dir DIR] [--write]
"""

from __future__ import annotations

import pathlib
import time

import click
import numpy as np
import torch

from benchmarks.common import environment, median_ratio, paired, publish
from resefa_plugin import Davidson, RegionJacobian, RegionPartition, open_network, parse_region, solve_rayleigh
from resefa_plugin.editing.background import BackgroundKeeper
from resefa_plugin.editing.strength import calibrate, slopes
from resefa_plugin.factorizer.constraints import Constraints
from resefa_plugin.factorizer.steps import mean_slopes, solve_region
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.tangent_model import TangentModel
from resefa_plugin.machine.allocator import keep_large_blocks

NETWORK, RESOLUTION, TRUNCATION = 'mobilestylegan-ffhq', 256, 0.7
CHANGES = ('inside', 'outside', 'difference', 'straight_inside', 'straight_outside')
REGIONS, STRENGTHS = ('mouth', 'eyes'), (-3, -1, 1, 3)


@click.command()
@click.option('--device', default='cpu', show_default=True)
@click.option('--rounds', default=3, show_default=True, help='Paired rounds of the ratios')
@click.option('--jacobian-dir', type=click.Path(file_okay=False, path_type=pathlib.Path), help='To keep Jacobians in')
@click.option('--write', is_flag=True, help='Put the result into results/ and README.md')
def main(device: str, rounds: int, jacobian_dir: pathlib.Path | None, write: bool) -> None:
    """Edits with the background kept, against straight ones."""
    keep_large_blocks()
    hook = open_network(NETWORK, device)
    viewpoints, in_styles = ([Viewpoint(hook, space, hook.sample(seed, TRUNCATION), RESOLUTION) for seed in (0, 1)]
                             for space in ('w', 's'))
    jacobians = [RegionJacobian(viewpoint).compute(path=jacobian_dir) for viewpoint in viewpoints]
    cases = {'the sample itself, kept Jacobian, 1 correction': (0, TangentModel.of_jacobian(jacobians[0]), 1),
             'the sample itself, kept Jacobian': (0, TangentModel.of_jacobian(jacobians[0]), 3),
             'another sample, its own Jacobian': (1, TangentModel.of_jacobian(jacobians[1]), 3),
             'another sample, nothing known of it': (1, None, 3)}
    rows = []
    for name in REGIONS:
        region = parse_region(name, hook.image_shape[1:])
        direction = solve_rayleigh(*jacobians[0].gram(region), 1).directions
        predicted = slopes(jacobians[0].jvp(torch.from_numpy(direction)), region)
        step = calibrate(viewpoints[:1], region, direction, predicted).step[0]
        for case, (number, model, corrections) in cases.items():
            rows.append({'region': name, 'case': case,
                         **kept(viewpoints[number], region, step * direction[0], model, corrections)})
            print(rows[-1])
        found = solve_region(RegionJacobian(in_styles[0]), region, Davidson(1), Constraints()).solution.directions[:1]
        step = calibrate(in_styles[:1], region, found, mean_slopes(in_styles[:1], region, found)).step[0]
        rows.append({'region': name, 'case': 'another sample, nothing known of it, in StyleSpace',
                     **kept(in_styles[1], region, step * found[0], None, 3)})
        print(rows[-1])

    V = torch.randn(8, viewpoints[0].dim, device=hook.device)
    U = torch.randn(3, *jacobians[0].image_shape, device=hook.device)
    with torch.no_grad():
        zero = viewpoints[0].zero()
        calls = {'picture': lambda: viewpoints[0].images(zero), 'jvp': lambda: jacobians[0].jvp(V),
                 'vjp': lambda: jacobians[0].vjp(U)}
        times = paired(calls, hook.device, rounds)[hook.device.type != 'cuda']
    record = {'environment': environment(), 'network': NETWORK, 'resolution': RESOLUTION, 'truncation_psi': TRUNCATION,
              'rows': rows,
              'pictures_per_jvp': median_ratio(times['jvp'], times['picture']) / len(V),
              'pictures_per_vjp': median_ratio(times['vjp'], times['picture']) / len(U)}
    table = render(record)
    print(table)
    if write:
        publish('keep_background', record, table)


def kept(viewpoint: Viewpoint, region: RegionPartition, offset: np.ndarray, model: TangentModel | None,
         corrections: int) -> dict:
    """What an edit at several strengths changes with the background kept, and what that takes."""
    start, processor = time.perf_counter(), time.process_time()
    path = BackgroundKeeper(viewpoint, region, model=model, corrections=corrections).path(offset, STRENGTHS)
    return {'seconds': time.perf_counter() - start, 'processor_seconds': time.process_time() - processor,
            'strengths': STRENGTHS, 'pictures': path.pictures, 'products': path.products,
            **{key: getattr(path, key).tolist() for key in CHANGES}}


def render(record: dict) -> str:
    side, strengths = record['resolution'], ', '.join(f'{s:+d}' for s in record['rows'][0]['strengths'])
    lines = [f'{record["network"]}, seeds 0 and 1, truncation {record["truncation_psi"]}, at {side}x{side}; a product '
             f'J v costs {record["pictures_per_jvp"]:.2f} pictures, a J^T u {record["pictures_per_vjp"]:.2f}.', '',
             f'| region | edited | MSE outside / inside, straight | kept | MSE outside cut by, at strengths '
             f'{strengths} | RMS inside, kept / straight | RMS inside, to the straight edit | pictures | products '
             '| s |',
             '| --- ' * 10 + '|']
    for row in record['rows']:
        inside, outside, difference, straight_inside, straight_outside = (np.array(row[key]) for key in CHANGES)
        share, lost = np.sqrt(inside / straight_inside), np.sqrt(difference / straight_inside)
        cuts = ', '.join(f'{cut:.1f}' for cut in straight_outside / outside)
        lines.append(f'| {row["region"]} | {row["case"]} | {np.mean(straight_outside / straight_inside):.4f} '
                     f'| {np.mean(outside / inside):.4f} | {cuts} | {share.min():.3f} to {share.max():.3f} '
                     f'| {lost.min():.3f} to {lost.max():.3f} '
                     f'| {row["pictures"]} | {row["products"]} | {row["seconds"]:.1f} |')
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    main()
