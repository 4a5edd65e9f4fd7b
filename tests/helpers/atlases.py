"""An atlas of a small generator, with edits that have names."""

from __future__ import annotations

from resefa_plugin import Auto, Factorizer, RegionPartition, Viewpoint
from resefa_plugin.atlas.builder import AtlasBuilder
from resefa_plugin.studio.work.named_edits import load_edits

# Of each: what one sees at both ends, what the region is called in the file, and its box as fractions of the picture.
EDITS = (('mouth opens', 'mouth closes', 'mouth', (3 / 8, 5 / 8, 5 / 8, 7 / 8)),
         ('smile', 'smile fades', 'face', (3 / 8, 9 / 16, 5 / 8, 3 / 4)),
         ('hair lightens', 'hair darkens', 'parser_hair', (0, 0, 1, 1 / 4)),
         ('eyes open', 'eyes close', 'left_eye', (1 / 4, 5 / 16, 7 / 16, 7 / 16)))


def box_mask(image_size, box):
    """A region by its left, top, right and bottom side, as fractions."""
    height, width = image_size
    left, top, right, bottom = (round(side * length) for side, length in zip(box, (width, height) * 2, strict=True))
    return RegionPartition.from_box(left, top, right - left, bottom - top, image_size).mask


def write_edits(hook, folder, space, edits=EDITS):
    """Named edits of the first sample, in the folder of an atlas."""
    for more, less, region, box in edits:
        partition = RegionPartition(box_mask(hook.image_shape[1:], box), region)
        result, = Factorizer([Viewpoint(hook, space, hook.sample(0))], [partition], Auto(1)).run()
        directions = result.directions.labelled([f'{more} +'])
        directions.metadata.extra.update(less=less, works=14, faces=16, part='mouth' if region == 'face' else region)
        directions.save(folder / 'edits' / f'{more.replace(" ", "-")}.npz')


def known(hook, folder, space='s'):
    """Options of a studio whose network has an atlas in a folder, with the edits above."""
    atlas = AtlasBuilder([Viewpoint(hook, space, hook.sample(seed)) for seed in range(2)], folder).build()
    write_edits(hook, folder, space)
    return {'atlas': atlas, 'named': load_edits(folder, atlas, hook)}
