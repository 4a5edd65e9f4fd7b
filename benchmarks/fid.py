"""FID of a thousand edited pictures for the methods that leak least, with the edits that evaluate_demo found.

    python -m benchmarks.fid [--evaluation out/evaluation] [--outdir out/fid] [--write]

It continues where it was stopped.
"""

from __future__ import annotations

import json
import pathlib

import click
import numpy as np
import torch
from tqdm import tqdm

from benchmarks.common import environment, publish
from benchmarks.evaluate_demo import FACTORIZED, NETWORK, ROWS, TRUNCATION
from resefa_plugin import Viewpoint, open_network
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.machine.files import replacing
from resefa_plugin.metrics.frechet import frechet_distance
from resefa_plugin.metrics.inception_features import InceptionFeatures
from resefa_plugin.metrics.metric_networks import Networks

COUNT, CHUNK = 1000, 100
EDITED, OTHERS = 1000, 2000  # first seeds: of the edited pictures, and of others
METHODS = ('resefa-best', 'stylespace', 'resefa-s')
NAMES = [spec.partition('=')[0] for spec in ROWS]


@click.command()
@click.option('--evaluation', default='out/evaluation', show_default=True, help='Output folder of evaluate_demo',
              type=click.Path(file_okay=False, path_type=pathlib.Path))
@click.option('--row', 'rows', multiple=True, type=click.Choice(NAMES), default=NAMES[:2], show_default=True,
              help='Rows of the evaluation: about half an hour each')
@click.option('--outdir', default='out/fid', show_default=True, help='Where features are kept, 8 MB for each row',
              type=click.Path(file_okay=False, path_type=pathlib.Path))
@click.option('--write', is_flag=True, help='Put the result into results/ and README.md')
def main(evaluation: pathlib.Path, rows: tuple[str, ...], outdir: pathlib.Path, write: bool) -> None:
    """FID of straight edits, each at one strength: that which changes the region by 0.01 on half of the faces."""
    keep_large_blocks()
    hook = open_network(NETWORK)
    inception = InceptionFeatures(Networks(fetch=True))
    unedited = features(hook, inception, outdir / 'unedited', EDITED)
    others = features(hook, inception, outdir / 'others', OTHERS)
    between = frechet_distance(others, unedited)
    record: dict = {'environment': environment(), 'network': NETWORK, 'pictures': COUNT, 'unedited': between}
    record['rows'] = []
    for row in rows:
        for method in METHODS:
            cell = json.loads((evaluation / 'cells' / f'seed{FACTORIZED:04d}-{row}-{method}.json').read_text())['cell']
            strength = float(np.median([edit['alpha'] for edit in cell['edits']]))
            offset = torch.tensor(cell['direction']).double() * (cell['signs'][0] * strength)
            edited = features(hook, inception, outdir / f'{row}-{method}', EDITED, cell['space'], offset)
            record['rows'].append({'row': row, 'method': method, 'others': frechet_distance(others, edited),
                                   'same': frechet_distance(unedited, edited)})
            print(record['rows'][-1], flush=True)
    table = render(record)
    print(table)
    if write:
        publish('fid', record, table)


def features(hook: GeneratorHook, inception: InceptionFeatures, folder: pathlib.Path, first: int, space: str = 'w',
             offset: torch.Tensor | None = None) -> torch.Tensor:
    """Of pictures of COUNT seeds, all moved by one offset, `[COUNT, 2048]`; what is in the folder is not done again."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for start in range(first, first + COUNT, CHUNK):
        path = folder / f'{start}.npy'
        if not path.exists():
            found = []
            for seed in tqdm(range(start, start + CHUNK), desc=f'{folder.name} {start}', leave=False):
                viewpoint = Viewpoint(hook, space, hook.sample(seed, TRUNCATION)).full()
                with torch.no_grad():
                    picture = render_edits(viewpoint, viewpoint.zero() if offset is None else offset[None].float())
                found.append(inception(picture))
            with replacing(path) as part, open(part, 'wb') as file:
                np.save(file, torch.cat(found).numpy())
        parts.append(torch.from_numpy(np.load(path)))
    return torch.cat(parts)


def render(record: dict) -> str:
    lines = [f"{record['network']}, {record['pictures']} pictures of each; two sets of unedited pictures of different "
             f"seeds have an FID of {record['unedited']:.2f}.", '',
             '| row | method | FID to unedited pictures of other seeds | of the same seeds |',
             '| --- | --- | --- | --- |']
    lines += [f"| {row['row']} | {row['method']} | {row['others']:.2f} | {row['same']:.2f} |" for row in record['rows']]
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    main()
