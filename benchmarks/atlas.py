"""An atlas against a pool's own search, each sample's own search and basis, on the demo generator.

    python -m benchmarks.atlas [--outdir out/atlas] [--face 100] [--write]

It continues where it was stopped, and several runs may take faces each.
"""

from __future__ import annotations

import json
import pathlib
import time

import click
import numpy as np
import torch

from benchmarks.common import environment, publish
from resefa_plugin import Auto, Factorizer, RegionJacobian, Store, Viewpoint, open_network, parse_region
from resefa_plugin.atlas.atlas import FACTS, Atlas
from resefa_plugin.atlas.builder import COORDINATES, AtlasBuilder
from resefa_plugin.editing.background import BackgroundKeeper
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.factorizer.constraints import Constraints
from resefa_plugin.factorizer.steps import measured_slopes, solve_region
from resefa_plugin.jacobian.common_basis import CommonBasis
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.scripts.atlas import SEEDS

NETWORK, RESOLUTION, TRUNCATION, SPACE = 'mobilestylegan-ffhq', 256, 0.7, 's'
POOLED, REGIONS = range(8), ('mouth', 'nose', 'eyes', 'hair')
HELD_OUT = range(100, 112)
FACES = 100, 101  # a search for each region and a basis of its own take ten minutes of processor time for each
NUM_DIRECTIONS, CHANGE = 3, 0.01
SKETCHED = 40  # products J^T u before a search: eight of the region, 16 of the rest, 16 that estimate tr(B)


@click.command()
@click.option('--device', default='cpu', show_default=True)
@click.option('--outdir', default='out/atlas', show_default=True,
              type=click.Path(file_okay=False, path_type=pathlib.Path))
@click.option('--face', 'faces', type=int, multiple=True, default=FACES, show_default=True)
@click.option('--write', is_flag=True, help='Put the result into results/ and README.md')
def main(device: str, outdir: pathlib.Path, faces: tuple[int, ...], write: bool) -> None:
    """What an atlas takes, and what its directions leak on samples that are not in it."""
    keep_large_blocks()
    hook = open_network(NETWORK, device)
    regions = [parse_region(name, hook.image_shape[1:]) for name in REGIONS]
    folder = outdir / 'atlas'
    if not (folder / FACTS).exists():
        start = time.process_time()
        AtlasBuilder([viewpoint(hook, seed) for seed in SEEDS], folder).build()
        (outdir / 'seconds.txt').write_text(str(time.process_time() - start))
    start = time.perf_counter()
    atlas = Atlas.load(folder)
    record: dict = {'environment': environment(), 'network': NETWORK, 'seeds': len(SEEDS), 'coordinates': COORDINATES,
                    'load_seconds': time.perf_counter() - start, 'faces': list(faces),
                    'build_seconds': float((outdir / 'seconds.txt').read_text()),
                    'megabytes': sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) / 1e6}
    record['own'] = [kept(outdir / f'face-{face}.json', lambda face=face: own(hook, face, regions, atlas))
                     for face in faces]
    record['rows'] = kept(outdir / 'rows.json', lambda: pooled(hook, regions, atlas, outdir / 'grams'))
    table = render(record)
    print(table)
    if write:
        publish('atlas', record, table)


def kept(path: pathlib.Path, compute):
    """What a file holds, or what is computed and kept there."""
    if not path.exists():
        path.write_text(json.dumps(compute()))
    return json.loads(path.read_text())


def viewpoint(hook, seed: int) -> Viewpoint:
    return Viewpoint(hook, SPACE, hook.sample(seed, TRUNCATION), RESOLUTION)


def pooled(hook, regions, atlas: Atlas, grams: pathlib.Path) -> list[dict]:
    """Of each region what the directions of the atlas and of a pool leak at faces that are in neither."""
    viewpoints = [viewpoint(hook, seed) for seed in POOLED]
    pool = Factorizer(viewpoints, regions, Auto(NUM_DIRECTIONS), store=Store(grams=grams)).run(pool=True)
    found = []
    for region in regions:
        for _ in range(2):  # the first time, the file is read
            start = time.perf_counter()
            known = atlas.solve(viewpoints[0], region, Auto(NUM_DIRECTIONS))
            seconds = time.perf_counter() - start
        found.append((seconds, known.solution.directions[:NUM_DIRECTIONS]))
    rows = [{'region': region.name, 'seconds': seconds, 'atlas': [], 'pool': []}
            for region, (seconds, _) in zip(regions, found, strict=True)]
    for seed in HELD_OUT:
        jacobian = RegionJacobian(viewpoint(hook, seed))
        for row, region, result, (_, directions) in zip(rows, regions, pool, found, strict=True):
            row['atlas'].append(leak(jacobian, region, directions))
            row['pool'].append(leak(jacobian, region, result.directions.directions))
        jacobian.release()
        print(seed, [(row['atlas'][-1][0], row['pool'][-1][0]) for row in rows], flush=True)
    return rows


def own(hook, face: int, regions, atlas: Atlas) -> list[dict]:
    """Of each region the face's own directions, by the channels of the atlas and by a search; and a kept edit."""
    view = viewpoint(hook, face)
    jacobian, channels, whole = (RegionJacobian(view) for _ in range(3))
    whole.basis = CommonBasis.compute(whole)
    inner = CommonBasis(channels, atlas.vectors)
    inner.inner.compute()
    rows = []
    for region in regions:
        searched = solve_region(jacobian, region, Auto(NUM_DIRECTIONS, quick=True), Constraints(), predict=False)
        # As `Atlas.basis` makes it: the products are among those of all channels.
        channels.basis = inner.made_of({region.name: atlas.rows(region)})
        mine = solve_region(channels, region, Auto(NUM_DIRECTIONS), Constraints(), predict=False)
        row = {'region': region.name, 'searched': rendered(view, region, jacobian, searched.solution.directions[0]),
               'search_products': 3 * searched.solution.search.columns + SKETCHED,
               'refined': rendered(view, region, jacobian, mine.solution.directions[0]),
               'refine_products': len(atlas.rows(region))}
        direction = atlas.solve(view, region, Auto(NUM_DIRECTIONS)).solution.directions[0]
        row['atlas'] = rendered(view, region, jacobian, direction)
        inside, _ = measured_slopes(jacobian, region, direction[None])
        for name, basis in (('kept', inner), ('kept_own', whole.basis)):
            path = BackgroundKeeper(view, region, model=basis.model()).path(
                (CHANGE / inside[0]) ** 0.5 * direction, [1.0])
            row[name] = float(path.outside[0] / path.inside[0])
        rows.append(row)
        print(face, row, flush=True)
    return rows


def leak(jacobian: RegionJacobian, region, directions: np.ndarray) -> list[float]:
    """The MSE outside at .01 inside of directions, to first order."""
    with torch.no_grad():
        inside, outside = measured_slopes(jacobian, region, directions)
    return (CHANGE * outside / inside).tolist()


def rendered(view: Viewpoint, region, jacobian: RegionJacobian, direction: np.ndarray) -> float:
    """The MSE outside at .01 inside of a direction, at steps of both signs that would change the region so to first
    order."""
    inside, _ = measured_slopes(jacobian, region, direction[None])
    step = (CHANGE / inside[0]) ** 0.5
    offsets = torch.from_numpy(np.stack([0 * direction, -step * direction, step * direction]))
    original, *edits = render_edits(view, offsets)
    mask = region.at(*view.image_shape[1:])
    changes = [(edit - original).square().mean(dim=0).cpu().numpy() for edit in edits]
    return float(np.mean([CHANGE * change[~mask].mean() / change[mask].mean() for change in changes]))


def geometric(values) -> float:
    return float(np.exp(np.log(values).mean()))


def render(record: dict) -> str:
    lines = [f"{record['network']}, space {SPACE}, {record['seeds']} samples, {record['coordinates']} channels, at "
             f"{RESOLUTION}x{RESOLUTION}: {record['build_seconds']:.0f} s of processor time, "
             f"{record['megabytes']:.0f} MB, opened in {record['load_seconds']:.2f} s. MSE outside at .01 inside of "
             f'directions 1, 2 and 3, to first order, of the atlas and of a pool of {len(POOLED)} samples, geometric '
             f'means over {len(HELD_OUT)} faces that are in neither:',
             '', '| region | s for a region | atlas | pool | direction 1, atlas / pool |', '| --- ' * 5 + '|']
    for row in record['rows']:
        atlas, pool = ([geometric(column) for column in zip(*row[name], strict=True)] for name in ('atlas', 'pool'))
        lines.append(f"| {row['region']} | {row['seconds']:.2f} | {', '.join(f'{x:.1e}' for x in atlas)} | "
                     f"{', '.join(f'{x:.1e}' for x in pool)} | {atlas[0] / pool[0]:.2f} |")
    ratio = geometric([leaks[0] for row in record['rows'] for leaks in row['atlas']]) / geometric(
        [leaks[0] for row in record['rows'] for leaks in row['pool']])
    lines += [f'| all | | | | {ratio:.2f} |', '',
              f"At {len(record['faces'])} of these faces, direction 1, MSE outside at .01 inside as rendered, and MSE "
              'outside over that inside of an edit by the atlas whose background is kept:', '',
              '| region | of the atlas | its own, of the channels that the atlas chooses | products J v | its own by a '
              'quick search of the whole space | products J v and J^T u | kept in the basis of the atlas | kept in a '
              'basis of its own | ratio |', '| --- ' * 9 + '|']
    for rows in zip(*record['own'], strict=True):
        mean = {name: geometric([row[name] for row in rows]) for name in rows[0] if name != 'region'}
        lines.append(f"| {rows[0]['region']} | {mean['atlas']:.1e} | {mean['refined']:.1e} | "
                     f"{mean['refine_products']:.0f} | {mean['searched']:.1e} | {mean['search_products']:.0f} | "
                     f"{mean['kept']:.1e} | {mean['kept_own']:.1e} | {mean['kept'] / mean['kept_own']:.2f} |")
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    main()
