"""What options beyond the paper do to a direction: pooled samples, protected regions, the norm of the ridge, one eye.

    python -m benchmarks.beyond_the_paper [--jacobian-dir DIR] [--pictures DIR] [--write]

Everything is compared at the same change inside the region, on the factorized sample and on samples that took no part.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import click
import numpy as np
import torch
from PIL import Image

from benchmarks.common import environment, publish
from resefa_plugin import Auto, Constraints, Factorizer, RegionPartition, Store, Viewpoint, open_network, parse_region
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.evaluation.matching import match_change
from resefa_plugin.evaluation.selection import renderer
from resefa_plugin.factorizer.protection import Protection
from resefa_plugin.hooks.base import Sample
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.rayleigh.coordinates import Coordinates
from resefa_plugin.report import pictures

NETWORK, TRUNCATION, RESOLUTION = 'mobilestylegan-ffhq', 0.7, 256
TARGET = 0.01  # mean squared change inside, [-1, 1] scale
POOL, HELD_OUT = range(4), range(10, 14)


class Bench:
    """One generator, and what has been rendered of it."""

    def __init__(self, jacobian_dir: str | None, folder: pathlib.Path | None):
        self.hook, self.jacobian_dir, self.folder = open_network(NETWORK), jacobian_dir, folder
        self.space = self.hook.space('w')
        self.size = self.hook.image_shape[1:]

    def sample(self, seed: int) -> Sample:
        return self.hook.sample(seed, TRUNCATION)

    def region(self, name: str) -> RegionPartition:
        return parse_region(name, self.size)

    def viewpoint(self, seed: int) -> Viewpoint:
        return Viewpoint(self.hook, self.space, self.sample(seed), RESOLUTION)

    def direction(self, seeds: Sequence[int], region: str, constraints: Constraints | None = None) -> np.ndarray:
        """The first direction `[d]` of a region."""
        factorizer = Factorizer([self.viewpoint(seed) for seed in seeds], [self.region(region)], Auto(1), constraints,
                                store=Store(self.jacobian_dir))
        return factorizer.run(pool=len(seeds) > 1)[0].directions.directions[0].astype(np.float64)

    def matched(self, seed: int, n: np.ndarray, region: RegionPartition,
                others: Sequence[RegionPartition] = ()) -> list[float]:
        """Outside change, and changes of other regions, at the target inside: geometric means over both signs."""
        viewpoint, low = self.viewpoint(seed), RegionPartition(region.at(RESOLUTION, RESOLUTION), region.name)
        original = render_edits(viewpoint, viewpoint.zero())
        found = []
        for sign in (1, -1):
            edit = match_change(renderer(viewpoint, n, sign, original, low), TARGET, 0.3).edit
            squares = (edit.picture - original[0]).square().mean(0).numpy()
            elsewhere = [squares[other.at(RESOLUTION, RESOLUTION)].mean() for other in others]
            found.append([edit.outside, edit.alpha, *elsewhere])
            self._show(f'{seed}-{region.name}-{sign}', edit.picture)
        return list(np.exp(np.log(found).mean(0)))

    def _show(self, name: str, picture: torch.Tensor) -> None:
        if self.folder is not None:
            count = len(list(self.folder.glob('*.png')))
            image = Image.fromarray(pictures.to_uint8(picture[None])[0])
            pictures.save_png(image, self.folder / f'{count:03d}-{name}.png')

    def mean(self, seeds: Sequence[int], n: np.ndarray, region: RegionPartition) -> list[float]:
        return list(np.exp(np.mean([np.log(self.matched(seed, n, region)) for seed in seeds], axis=0)))


def pooled(bench: Bench) -> list[tuple]:
    rows = []
    for region in ('mouth', 'eyes'):
        for seeds in (POOL[:1], POOL[:2], POOL):
            n, partition = bench.direction(seeds, region), bench.region(region)
            rows.append((region, len(seeds), bench.matched(0, n, partition)[0], bench.mean(HELD_OUT, n, partition)[0]))
    return rows


def norms(bench: Bench) -> list[tuple]:
    rows, covariance = [], bench.viewpoint(0).covariance()
    white = Coordinates.of(bench.space.dim, covariance)
    for region in ('mouth', 'eyes', 'nose'):
        for norm in ('identity', 'covariance'):
            n = bench.direction([0], region, Constraints(norm=norm))
            own = bench.matched(0, n, bench.region(region))
            other = bench.mean(HELD_OUT, n, bench.region(region))
            # Length of the step in standard deviations of the latents (a direction of mean variance has 1).
            spread = float(np.linalg.norm(white.solve(n[:, None])) / np.sqrt(np.trace(covariance[0]) / len(n)))
            rows.append((region, norm, own[0], other[0], own[1], own[1] * spread))
    return rows


def protections(bench: Bench) -> list[tuple]:
    rows = []
    for region, kept in (('left_eye', 'right_eye'), ('hair', 'face'), ('mouth', 'chin')):
        for weight in (None, 10.0, 100.0, float('inf')):
            protect = () if weight is None else (Protection(bench.region(kept), weight),)
            n = bench.direction([0], region, Constraints(protect))
            partition, other = bench.region(region), bench.region(kept)
            partition = RegionPartition(partition.mask & ~other.mask, region)
            outside, _, at_kept = bench.matched(0, n, partition, [other])
            rows.append((region, kept, 'none' if weight is None else f'{weight:g}', outside, at_kept))
    return rows


@click.command()
@click.option('--jacobian-dir', help='Folder of kept Jacobians')
@click.option('--pictures', 'folder', type=click.Path(path_type=pathlib.Path, file_okay=False),
              help='Where to put the edited pictures')
@click.option('--write', is_flag=True, help='Put the result into results/ and README.md')
def main(jacobian_dir: str | None, folder: pathlib.Path | None, write: bool) -> None:
    """What options beyond the paper do to a direction, on the demo generator."""
    keep_large_blocks()
    bench = Bench(jacobian_dir, folder)
    record = {'environment': environment(), 'target': TARGET, 'pool': list(POOL), 'held_out': list(HELD_OUT),
              'protect': protections(bench), 'norm': norms(bench), 'pooled': pooled(bench)}
    table = render(record)
    print(table)
    if write:
        publish('beyond_the_paper', record, table)


def render(r: dict) -> str:
    def rows(heads: Sequence[str], lines: list[tuple]) -> list[str]:
        return ['| ' + ' | '.join(heads) + ' |', '|' + '---|' * len(heads),
                *('| ' + ' | '.join(x if isinstance(x, str) else f'{x:.2g}' for x in line) + ' |' for line in lines),
                '']
    return '\n'.join([
        f'MSE on the [-1, 1] scale at {r["target"]} inside, geometric means over both signs; '
        f'{len(r["held_out"])} held-out samples.', '',
        *rows(('region', 'samples pooled', 'outside, first sample', 'outside, held-out samples'), r['pooled']),
        *rows(('region', 'norm', 'outside, own sample', 'outside, held-out samples', 'step in W',
               'step in standard deviations'), r['norm']),
        *rows(('region', 'protected', 'weight', 'outside', 'in the protected region'), r['protect'])])


if __name__ == '__main__':
    main()
