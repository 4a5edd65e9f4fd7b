"""Photographs and generated faces, projected into the demo generator: against other projectors, and how well it does.

    python -m benchmarks.projection [--part PART] [--passes-official N] [--write]
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import click
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.common import HERE, environment, publish
from benchmarks.projectors import Found, adam_in_w_plus, official
from resefa_plugin import Viewpoint, open_network
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.metrics.identity import Identity
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.projection.framing import frame
from resefa_plugin.projection.likeness import Comparison, as_target
from resefa_plugin.projection.photograph import read_photograph
from resefa_plugin.projection.projector import Projector
from resefa_plugin.projection.spread import Spread, mean_sample
from resefa_plugin.projection.tuning import tune
from resefa_plugin.scripts.common.photographs import face_finder
from resefa_plugin.third_party.example_photographs import astronaut, group

NETWORK = 'mobilestylegan-ffhq'
# The number of a picture, and of a face in it as counted from the largest.
FACES = ((1, 3), (3, 1), (3, 2), (3, 3), (4, 2), (5, 2), (5, 5), (6, 1), (6, 2), (6, 3), (6, 4))
HELD_OUT, TRUNCATION = (100, 101, 102, 103), 0.7


PARTS = 'photographs', 'known', 'rivals'


@click.command()
@click.option('--part', 'parts', multiple=True, type=click.Choice(PARTS), default=PARTS, show_default=True,
              help='What to measure; the rest is as results/ has it')
@click.option('--passes-official', default=1000, show_default=True, help='Fewer to try the script')
@click.option('--write', is_flag=True, help='Put the result into results/ and README.md')
def main(parts: tuple[str, ...], passes_official: int, write: bool) -> None:
    """Likeness, passes and seconds."""
    keep_large_blocks()
    lab = Lab(open_network(NETWORK), Networks(fetch=True))
    path = HERE / 'results' / 'projection.json'
    record = json.loads(path.read_text()) if path.exists() else {}
    record.update(network=NETWORK, truncation_psi=TRUNCATION)
    measure = {'photographs': lab.photographs, 'known': lab.known, 'rivals': lambda: lab.rivals(passes_official)}
    for part in parts:
        record[part] = {'environment': environment(), 'rows': []}
        for row in measure[part]():
            print(row, flush=True)
            record[part]['rows'].append(row)
            if write:  # each row as soon as it is there: it takes a while
                publish('projection', record, render(record))
    print(render(record))


class Lab:
    """The generator, and what measures its pictures."""

    def __init__(self, hook, networks: Networks):
        self.hook, self.lpips, self.identity = hook, networks.lpips, Identity(networks)
        self.projector = Projector(hook, 'w+', self.lpips)
        self._viewpoints = {name: Viewpoint(hook, name, mean_sample(hook, hook.space(name), None, 'mean'))
                            for name in ('w', 'w+')}
        self._spreads = {name: Spread(view) for name, view in self._viewpoints.items()}
        self._last: Tensor | None = None

    def photographs(self) -> Iterator[dict]:
        """Rows of real faces."""
        yield self.measured('astronaut', self.portrait(astronaut(), 1), self.ours)
        for number, face in FACES:
            yield self.measured(f'picture {number}, face {face}', self.portrait(group(number), face), self.ours)

    def known(self) -> Iterator[dict]:
        """Rows of generated faces, whose latents are known."""
        for seed in HELD_OUT:
            sample = self.hook.sample(seed, TRUNCATION)
            with torch.no_grad():
                picture = self.viewpoint('w+').space.render(sample.latents['ws'], sample)
            yield {**self.measured(f'seed {seed}', picture, self.ours), **self.distance(sample)}

    def rivals(self, passes_official: int) -> Iterator[dict]:
        """Rows of the same portrait by other projectors, and by ours with the generator tuned."""
        face = self.portrait(astronaut(), 1)
        ours = self.measured('ours', face, self.ours)
        yield ours
        yield {**ours, **self.tuned(face)}
        yield self.measured('Adam of the trial', face, self.trial)
        yield self.measured("the official projector's settings", face, lambda face: self.official(face,
                                                                                                  passes_official))

    def viewpoint(self, name: str) -> Viewpoint:
        return self._viewpoints[name]

    def portrait(self, path, number: int) -> Image.Image:
        """A face of a photograph, aligned."""
        photograph, size = read_photograph(path), self.hook.image_shape[1:]
        framing = frame(photograph, 'auto', size, face_finder, number)
        picture = Image.fromarray(framing.alignment.picture(photograph.rgb, size))
        picture.info['side'] = framing.alignment.side
        return picture

    def ours(self, picture) -> tuple[str, Found]:
        sample = self.projector.project(picture)
        latent = sample.sample.latents['ws']
        return 'w+', Found((latent - self.viewpoint('w+').latent).flatten(), sample.likeness.passes)

    def trial(self, picture) -> tuple[str, Found]:
        view = self.viewpoint('w+')
        return 'w+', adam_in_w_plus(view, Comparison(as_target(picture, view), self.lpips))

    def official(self, picture, passes: int) -> tuple[str, Found]:
        view = self.viewpoint('w')
        ws = torch.cat([batch[:, 0] for batch in self.hook.latents(None, 4096)])
        deviation = float((ws - ws.mean(dim=0)).square().sum(dim=1).mean().sqrt())
        return 'w', official(view, Comparison(as_target(picture, view), self.lpips), deviation, passes)

    def measured(self, name: str, picture, project) -> dict:
        """A row of the tables."""
        wall, processor = time.perf_counter(), time.process_time()
        space, found = project(picture)
        row = {'name': name, 'passes': found.passes, 'seconds': time.perf_counter() - wall,
               'processor_seconds': time.process_time() - processor,
               'side': picture.info.get('side') if isinstance(picture, Image.Image) else None}
        view = self.viewpoint(space)
        with torch.no_grad():
            image = view.images(found.offset[None])
        row.update(self._figures(picture, view, image))
        row['deviation'] = float(self._spreads[space].deviations(found.offset).square().mean().sqrt())
        self._last = found.offset
        return row

    def _figures(self, picture, view: Viewpoint, image: Tensor) -> dict:
        target = as_target(picture, view)
        with torch.no_grad():
            mse, lpips = Comparison(target, self.lpips)(image)
        one, other = self.identity.embeddings(torch.cat([target, image.clamp(-1, 1)]))
        return {'mse': float(mse), 'lpips': float(lpips), 'identity': float(one @ other)}

    def tuned(self, picture) -> dict:
        """What tuning makes of what was found last, and what it costs more."""
        view = self.viewpoint('w+')
        sample = self.hook.sample_from_ws(view.latent[0] + self._last.unflatten(0, view.latent.shape[1:]), 'tuned')
        wall, processor = time.perf_counter(), time.process_time()
        tuning, fit = tune(self.hook, picture, sample, self.lpips)
        seconds = {'seconds': time.perf_counter() - wall, 'processor_seconds': time.process_time() - processor}
        tuned = Viewpoint(tuning.applied(self.hook), 'w+', sample)
        with torch.no_grad():
            image = tuned.images(tuned.zero())
        megabytes = sum(difference.numel() * 2 for difference in tuning.differences.values()) / 1e6
        return {'name': f'then tuned ({megabytes:.1f} MB), besides', **self._figures(picture, view, image), **seconds,
                'passes': fit.passes, 'moved': fit.moved}

    def distance(self, truth) -> dict:
        """How far the latent that was found last is from the true one, in standard deviations."""
        offset = (truth.latents['ws'] - self.viewpoint('w+').latent).flatten()
        apart = self._spreads['w+'].deviations(self._last - offset)
        return {'apart': float(apart.square().mean().sqrt()),
                'true_deviation': float(self._spreads['w+'].deviations(offset).square().mean().sqrt())}


def render(record: dict) -> str:
    lines = []
    if 'rivals' in record:
        lines += [*_machine(record, 'rivals'), '| the astronaut, by | passes | s | s (processor) | MSE | LPIPS | '
                  'identity | standard deviations |', '| --- | --- | --- | --- | --- | --- | --- | --- |']
        lines += [f'| {row["name"]} | {row["passes"]} | {_seconds(row)} | {_figures(row)} |'
                  for row in record['rivals']['rows']]
        lines.append('')
    if 'photographs' in record:
        rows = record['photographs']['rows']
        means = {key: float(np.mean([row[key] for row in rows])) for key in ('mse', 'lpips', 'identity', 'deviation')}
        lines += [*_machine(record, 'photographs'), '| photograph | square around the face | s | s (processor) | MSE | '
                  'LPIPS | identity | standard deviations |', '| --- | --- | --- | --- | --- | --- | --- | --- |']
        lines += [f'| {row["name"]} | {row["side"]:.0f} | {_seconds(row)} | {_figures(row)} |' for row in rows]
        lines += [f'| mean of {len(rows)} | | | | {_figures(means)} |', '']
    if 'known' in record:
        lines += [*_machine(record, 'known'), f'| generated, truncation {record["truncation_psi"]} | MSE | LPIPS | '
                  'identity | standard deviations | of the true latent | between the two |',
                  '| --- | --- | --- | --- | --- | --- | --- |']
        lines += [f'| {row["name"]} | {_figures(row)} | {row["true_deviation"]:.2f} | {row["apart"]:.2f} |'
                  for row in record['known']['rows']]
    return '\n'.join(lines).rstrip() + '\n'


def _machine(record: dict, part: str) -> list[str]:
    machine = record[part]['environment']
    return [f'{record["network"]} at 256 pixels, on {machine["cpu"]}, {machine["cores"]} cores, torch '
            f'{machine["torch"]}:', '']


def _seconds(row: dict) -> str:
    return f'{row["seconds"]:.0f} | {row["processor_seconds"]:.0f}'


def _figures(row: dict) -> str:
    return f'{row["mse"]:.4f} | {row["lpips"]:.3f} | {row["identity"]:.2f} | {row["deviation"]:.2f}'


if __name__ == '__main__':
    main()
