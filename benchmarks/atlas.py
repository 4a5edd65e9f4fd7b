"""An atlas against a pool's own search and against each sample's own directions, on the demo generator.

    python -m benchmarks.atlas [--outdir out/atlas] [--write]

It continues where it was stopped.
"""

from __future__ import annotations

import pathlib
import time

import click
import numpy as np
import torch

from benchmarks.common import environment, publish
from resefa_plugin import Auto, Davidson, Factorizer, RegionJacobian, Store, Viewpoint, open_network, parse_region
from resefa_plugin.atlas.atlas import FACTS, Atlas
from resefa_plugin.atlas.builder import COORDINATES, AtlasBuilder
from resefa_plugin.editing.background import BackgroundKeeper
from resefa_plugin.factorizer.constraints import Constraints
from resefa_plugin.factorizer.steps import measured_slopes, solve_region
from resefa_plugin.jacobian.tangent_model import TangentModel
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.rayleigh.solvers import QUICK_TOLERANCE

NETWORK, RESOLUTION, TRUNCATION, SPACE = 'mobilestylegan-ffhq', 256, 0.7, 's'
SEEDS, HELD_OUT, REGIONS = range(8), range(100, 103), ('mouth', 'nose', 'eyes', 'hair')
KEPT = range(100, 102)  # a basis of its own takes a minute for each
NUM_DIRECTIONS, CHANGE, STRENGTH = 3, 0.01, 1.0


@click.command()
@click.option('--device', default='cpu', show_default=True)
@click.option('--outdir', default='out/atlas', show_default=True,
              type=click.Path(file_okay=False, path_type=pathlib.Path))
@click.option('--write', is_flag=True, help='Put the result into results/ and README.md')
def main(device: str, outdir: pathlib.Path, write: bool) -> None:
    """What an atlas takes, and what its directions leak on samples that are not in it."""
    keep_large_blocks()
    hook = open_network(NETWORK, device)
    viewpoints = [Viewpoint(hook, SPACE, hook.sample(seed, TRUNCATION), RESOLUTION) for seed in SEEDS]
    regions = [parse_region(name, hook.image_shape[1:]) for name in REGIONS]
    record: dict = {'environment': environment(), 'network': NETWORK, 'seeds': len(SEEDS), 'coordinates': COORDINATES}
    folder = outdir / 'atlas'
    if not (folder / FACTS).exists():
        start = time.process_time()
        AtlasBuilder(viewpoints, folder).build()
        (outdir / 'seconds.txt').write_text(str(time.process_time() - start))
    record['build_seconds'] = float((outdir / 'seconds.txt').read_text())
    record['megabytes'] = sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) / 1e6
    start = time.perf_counter()
    atlas = Atlas.load(folder)
    record['load_seconds'] = time.perf_counter() - start

    pooled = Factorizer(viewpoints, regions, Auto(NUM_DIRECTIONS), store=Store(grams=outdir / 'grams')).run(pool=True)
    record['rows'] = []
    for region, own_pool in zip(regions, pooled, strict=True):
        start = time.perf_counter()
        known = atlas.solve(viewpoints[0], region, Auto(NUM_DIRECTIONS))
        seconds = time.perf_counter() - start
        directions = {'atlas': known.solution.directions[:NUM_DIRECTIONS], 'pool': own_pool.directions.directions}
        leaks: dict = {name: [] for name in ('atlas', 'pool', 'own')}
        products: dict[str, list[int]] = {'refined': [], 'anew': []}
        for seed in HELD_OUT:
            viewpoint = Viewpoint(hook, SPACE, hook.sample(seed, TRUNCATION), RESOLUTION)
            jacobian = RegionJacobian(viewpoint)
            for name, n in directions.items():
                leaks[name].append(leak(jacobian, region, n))
            refined = atlas.refine(viewpoint, region, Auto(NUM_DIRECTIONS))
            leaks['own'].append(leak(jacobian, region, refined.solution.directions[:NUM_DIRECTIONS]))
            search = Davidson(NUM_DIRECTIONS, tolerance=QUICK_TOLERANCE)
            anew = solve_region(jacobian.within(refined.basis), region, search, Constraints(), predict=False)
            products['refined'].append(refined.solution.search.columns)
            products['anew'].append(anew.solution.search.columns)
            jacobian.release()
            print(region.name, seed, {name: values[-1] for name, values in leaks.items()}, flush=True)
        record['rows'].append({'region': region.name, 'seconds': seconds, 'leaks': leaks, 'products': products,
                               'kept': kept(hook, region, directions['atlas'][0], atlas)})
        print(record['rows'][-1], flush=True)
    table = render(record)
    print(table)
    if write:
        publish('atlas', record, table)


def leak(jacobian: RegionJacobian, region, directions: np.ndarray) -> list[float]:
    """The MSE outside at .01 inside of directions, to first order."""
    with torch.no_grad():
        inside, outside = measured_slopes(jacobian, region, directions)
    return (CHANGE * outside / inside).tolist()


def kept(hook, region, direction: np.ndarray, atlas: Atlas) -> dict[str, list[float]]:
    """MSE outside over that inside of an edit whose background is kept: with the atlas's basis, and with one's own.

    Own: what a Krylov basis for this very edit finds.
    """
    result: dict[str, list[float]] = {'atlas': [], 'own': []}
    for seed in KEPT:
        viewpoint = Viewpoint(hook, SPACE, hook.sample(seed, TRUNCATION), RESOLUTION)
        inside, _ = measured_slopes(RegionJacobian(viewpoint), region, direction[None])
        offset = STRENGTH * (CHANGE / inside[0]) ** 0.5 * direction
        inner = RegionJacobian(viewpoint, gram_room=0).within(atlas.vectors).compute()
        for name, model in (('atlas', TangentModel(atlas.vectors, inner.matrix, inner.gram)), ('own', None)):
            path = BackgroundKeeper(viewpoint, region, model=model).path(offset, [1.0])
            result[name].append(float(path.outside[0] / path.inside[0]))
    return result


def render(record: dict) -> str:
    lines = [f"{record['network']}, space {SPACE}, {record['seeds']} samples, {record['coordinates']} channels, at "
             f"{RESOLUTION}x{RESOLUTION}: {record['build_seconds']:.0f} s of processor time, "
             f"{record['megabytes']:.0f} MB, opened in {record['load_seconds']:.2f} s.", '',
             '| region | s for a region | MSE outside at .01 inside, direction 1 of the atlas | of a pool | of the '
             'sample, refined | atlas / pool | products to refine | anew | MSE outside / inside, kept in the basis of '
             'the atlas | in one for this edit |', '| --- ' * 10 + '|']
    for row in record['rows']:
        atlas, pool, own = (np.exp(np.log([leaks[0] for leaks in row['leaks'][name]]).mean())
                            for name in ('atlas', 'pool', 'own'))
        by_atlas, by_own = (np.exp(np.log(row['kept'][name]).mean()) for name in ('atlas', 'own'))
        lines.append(f"| {row['region']} | {row['seconds']:.2f} | {atlas:.1e} | {pool:.1e} | {own:.1e} | "
                     f"{atlas / pool:.2f} | {np.mean(row['products']['refined']):.0f} | "
                     f"{np.mean(row['products']['anew']):.0f} | {by_atlas:.1e} | {by_own:.1e} |")
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    main()
