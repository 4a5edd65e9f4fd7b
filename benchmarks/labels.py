"""How often a label says what a person sees: directions of the demo generator, their labels, and a person's verdict.

    python -m benchmarks.labels [--outdir out/labels] [--write]

Finds and names the directions, and writes a strip for each. A verdict is a person's who looks at the strip: `right`,
`wrong`, or where there is no label `missing` if a word of the table would have fitted, else `none`. It is put into
results/labels.json by hand, and a further run keeps it for as long as the label stays.
"""

from __future__ import annotations

import json
import pathlib
import time

import click
import numpy as np
import torch
from PIL import Image

from benchmarks.common import HERE, environment, publish
from resefa_plugin import Auto, DirectionSet, Factorizer, Viewpoint, open_network, parse_region
from resefa_plugin.attributes.changes import attribute_changes, seen_by_parser
from resefa_plugin.attributes.labels import STRENGTH
from resefa_plugin.callbacks.directions_writer import DirectionsWriter
from resefa_plugin.callbacks.face_labels import FaceLabels
from resefa_plugin.callbacks.progress import ProgressBar
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.factorizer.store import Store
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.report import pictures

NETWORK, TRUNCATION, SPACE = 'mobilestylegan-ffhq', 0.7, 'w'
SEEDS, REGIONS, NUM_DIRECTIONS = (0, 1, 2), ('mouth', 'eyes', 'nose', 'hair'), 5
MARGIN, TILE = 0.4, 320  # of the strips: surroundings in sides of the region, and pixels
MARKS = {'right': '', 'wrong': ' (wrong)', 'missing': '(missing)', 'none': '-', '': ' (not judged)'}
VERDICTS = ('right', 'wrong', 'missing', 'none')


@click.command()
@click.option('--outdir', default='out/labels', show_default=True,
              type=click.Path(file_okay=False, path_type=pathlib.Path))
@click.option('--write', is_flag=True, help='Put the result into results/ and README.md')
def main(outdir: pathlib.Path, write: bool) -> None:
    """Name directions, and tabulate what a person says of the names."""
    keep_large_blocks()
    outdir.mkdir(parents=True, exist_ok=True)
    hook, networks, rows = open_network(NETWORK), Networks(fetch=True), []
    path = HERE / 'results' / 'labels.json'
    judged = judgements(json.loads(path.read_text())) if path.exists() else {}
    regions = [parse_region(name, hook.image_shape[1:]) for name in REGIONS]
    for seed in SEEDS:
        viewpoint = Viewpoint(hook, SPACE, hook.sample(seed, TRUNCATION))
        labels, writer = FaceLabels(networks), DirectionsWriter(outdir)
        results = Factorizer([viewpoint], regions, Auto(NUM_DIRECTIONS, quick=True), None,
                             [ProgressBar(), labels, writer], Store(jacobians=outdir)).run()
        for result in results:
            for index, label in enumerate(result.directions.labels):
                strip(viewpoint, result.directions, index, outdir / f'{result.name}-{index + 1}.png')
                row = {'seed': seed, 'region': result.partition.name, 'direction': index + 1, 'label': label}
                rows.append(row | {'verdict': judged.get(tuple(row.values()), '')})
    record = {'environment': environment(), 'network': NETWORK, 'truncation_psi': TRUNCATION, 'space': SPACE,
              'seconds': seconds(viewpoint, results[0].directions, networks), 'rows': rows}
    print(render(record))
    if write:
        publish('labels', record, render(record))


def judgements(record: dict) -> dict[tuple, str]:
    """Verdicts by seed, region, direction and label."""
    return {(row['seed'], row['region'], row['direction'], row['label']): row['verdict'] for row in record['rows']}


def strip(viewpoint: Viewpoint, directions: DirectionSet, index: int, path: pathlib.Path) -> None:
    """The ends of the labelled range, and the unedited picture between them, around the region."""
    strengths = (-STRENGTH, 0, STRENGTH)
    edits = render_edits(viewpoint.full(), torch.stack([torch.from_numpy(directions.offset(index + 1, s))
                                                        for s in strengths]))
    window = around(directions.mask)
    tiles = [Image.fromarray(image).crop(window) for image in pictures.to_uint8(edits)]
    pictures.save_png(pictures.strip(tiles, pictures.strength_captions(strengths), path.stem, TILE), path)


def around(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a region with its surroundings."""
    rows, columns = np.nonzero(mask)
    margin = int(MARGIN * max(np.ptp(rows), np.ptp(columns)))
    return (max(0, int(columns.min()) - margin), max(0, int(rows.min()) - margin),
            min(mask.shape[1], int(columns.max()) + margin), min(mask.shape[0], int(rows.max()) + margin))


def seconds(viewpoint: Viewpoint, directions: DirectionSet, networks: Networks) -> float:
    """Processor time that naming takes, for each direction."""
    offsets = torch.stack([torch.from_numpy(directions.offset(i + 1, 1.0)) for i in range(len(directions))])
    start = time.process_time()
    attribute_changes([seen_by_parser(viewpoint)], offsets, networks, STRENGTH,
                      parse_region(directions.metadata.region, viewpoint.hook.image_shape[1:]))
    return (time.process_time() - start) / len(offsets)


def render(record: dict) -> str:
    rows = record['rows']
    lines = [f"{record['network']}, space {record['space']}, truncation {record['truncation_psi']}; "
             f"{record['seconds']:.1f} s of processor time for each direction.", '',
             '| seed | region | ' + ' | '.join(f'direction {i + 1}' for i in range(NUM_DIRECTIONS)) + ' | '
             + ' | '.join(VERDICTS) + ' |', '| --- ' * (NUM_DIRECTIONS + len(VERDICTS) + 2) + '|']
    for seed, region in dict.fromkeys((row['seed'], row['region']) for row in rows):
        own = [row for row in rows if row['seed'] == seed and row['region'] == region]
        cells = [row['label'] + MARKS[row['verdict']] for row in own]
        lines.append(f'| {seed} | {region} | ' + ' | '.join(cells + counts(own)) + ' |')
    lines.append('| all | |' + ' |' * NUM_DIRECTIONS + ' ' + ' | '.join(f'**{n}**' for n in counts(rows)) + ' |')
    return '\n'.join(lines) + '\n'


def counts(rows: list[dict]) -> list[str]:
    return [str(sum(row['verdict'] == verdict for row in rows)) for verdict in VERDICTS]


if __name__ == '__main__':
    main()
