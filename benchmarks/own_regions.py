"""The regions that a network has itself against face parsing, on the demo generator.

    python -m benchmarks.own_regions [--atlas DIR] [--write]
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import click
import numpy as np
import scipy.cluster.vq
import torch
from torch.nn import functional

from benchmarks.common import environment, publish
from resefa_plugin import Viewpoint, open_network
from resefa_plugin.atlas.atlas import Atlas, atlas_folder
from resefa_plugin.attributes.face_parts import CLASSES, FaceParts
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.metrics.metric_networks import Networks

NETWORK, TRUNCATION, FACES, SIDE = 'mobilestylegan-ffhq', 0.7, range(100, 116), 256
PARTS = {'background': ('background',), 'skin': ('skin',), 'hair': ('hair', 'hat'), 'eyes': ('left_eye', 'right_eye'),
         'brows': ('left_brow', 'right_brow'), 'nose': ('nose',), 'mouth': ('mouth', 'upper_lip', 'lower_lip'),
         'neck': ('neck',), 'clothes': ('cloth',)}
SMALLEST = 1e-3  # share of a face's picture: a part that has less is not there
COUNTS = (8, 12, 16)

Masks = list[np.ndarray]


@click.command()
@click.option('--atlas', 'folder', type=click.Path(file_okay=False, path_type=pathlib.Path),
              help='An atlas of the network  [default: where `resefa atlas` puts it]')
@click.option('--write', is_flag=True, help='Put the result into results/ and README.md')
def main(folder: pathlib.Path | None, write: bool) -> None:
    """Of each part of a face, how well the best of so many regions fits it."""
    keep_large_blocks()
    hook = open_network(NETWORK)
    atlas = Atlas.load(folder or atlas_folder(hook))
    atlas.check_fits(hook)
    networks, pictures, parsed = Networks(fetch=True), [], []
    for seed in FACES:
        viewpoint = Viewpoint(hook, 'w', hook.sample(seed, TRUNCATION)).full()
        with torch.no_grad():
            picture = render_edits(viewpoint, viewpoint.zero())
            parts = FaceParts(picture, networks)
        pictures.append(functional.adaptive_avg_pool2d(picture, SIDE)[0].numpy())
        maps = torch.stack([parts.map(name) for name in CLASSES])[None]
        parsed.append(functional.adaptive_avg_pool2d(maps, SIDE)[0].argmax(dim=0).numpy())
    rows = []
    for count in COUNTS:
        own = [region.mask for region in atlas.own_regions(count, (SIDE, SIDE))]
        ways: dict[str, Callable[[int], Masks]] = {
            "the network's own": lambda face, own=own: own,
            'k-means on colour': lambda face, count=count: clusters(pictures[face], count),
            'k-means on colour and place': lambda face, count=count: clusters(pictures[face], count, place=True),
            'random boxes': lambda face, count=count: boxes(face, count)}
        for name, masks_of in ways.items():
            rows.append({'regions': count, 'way': name, **fits([masks_of(face) for face in range(len(FACES))], parsed)})
            print(rows[-1])
    record = {'environment': environment(), 'network': NETWORK, 'faces': len(FACES), 'rows': rows}
    table = render(record)
    print(table)
    if write:
        publish('own_regions', record, table)


def fits(masks: list[Masks], parsed: list[np.ndarray]) -> dict[str, float]:
    """Of each part the intersection over union with the region that fits it best, a mean over the faces that have it.

    Args:
        masks: the regions of each face.
        parsed: the number of the class of each pixel, of each face.
    """
    found = {}
    for part, names in PARTS.items():
        truths = [np.isin(face, [CLASSES.index(name) for name in names]) for face in parsed]
        found[part] = float(np.mean([max((mask & truth).sum() / (mask | truth).sum() for mask in regions)
                                     for regions, truth in zip(masks, truths, strict=True)
                                     if truth.mean() >= SMALLEST]))
    return found


def clusters(picture: np.ndarray, count: int, place: bool = False) -> Masks:
    """Regions of alike colour in one picture `[3, h, w]`, and of alike place if wanted."""
    points = picture.reshape(3, -1).T
    if place:
        points = np.concatenate([points, np.mgrid[:SIDE, :SIDE].reshape(2, -1).T * (2 / SIDE) - 1], axis=1)
    _, labels = scipy.cluster.vq.kmeans2(points, count, minit='++', seed=0)
    return [(labels == number).reshape(SIDE, SIDE) for number in range(count)]


def boxes(face: int, count: int) -> Masks:
    """Boxes of any place and size."""
    random = np.random.RandomState(face)
    found = []
    for _ in range(count):
        (top, bottom), (left, right) = (np.sort(random.randint(0, SIDE, 2)) for _ in range(2))
        mask = np.zeros((SIDE, SIDE), bool)
        mask[top:bottom + 1, left:right + 1] = True
        found.append(mask)
    return found


def render(record: dict) -> str:
    lines = [f"{record['network']}, {record['faces']} faces that are not in the atlas; intersection over union of each "
             'part with the region that fits it best.', '',
             f"| regions | found by | {' | '.join(PARTS)} | mean |", '| --- ' * (len(PARTS) + 3) + '|']
    for row in record['rows']:
        values = [row[part] for part in PARTS]
        lines.append(f"| {row['regions']} | {row['way']} | {' | '.join(f'{value:.2f}' for value in values)} | "
                     f'{np.mean(values):.3f} |')
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    main()
