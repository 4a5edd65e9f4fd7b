"""The standard deviation of each attribute over faces of the demo generator, written into the package.

    python -m benchmarks.attribute_scales [--sheets FOLDER] [--write]

With `--sheets`, the pictures of the lowest and the highest scores of each attribute, for a person to look at.
"""

from __future__ import annotations

import pathlib

import click
import torch
from PIL import Image
from torch import Tensor

from resefa_plugin import Viewpoint, open_network
from resefa_plugin.attributes import scales
from resefa_plugin.attributes.face_parts import SIDE, FaceParts
from resefa_plugin.attributes.scores import ATTRIBUTES
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.report import pictures

NETWORK, TRUNCATION = 'mobilestylegan-ffhq', 0.7
SEEDS = range(1000, 1064)  # which neither examples nor tables use
SHOWN, TILE = 8, 192

HEAD = f'''"""The standard deviation of each attribute over faces of the demo generator.

They are seeds {SEEDS[0]} to {SEEDS[-1]} at truncation {TRUNCATION}; a face where a part is not seen is left out.
Written by `python -m benchmarks.attribute_scales --write`.
"""

from __future__ import annotations

'''


@click.command()
@click.option('--sheets', type=click.Path(file_okay=False, path_type=pathlib.Path),
              help='Where to put pictures of the lowest and highest scores')
@click.option('--write', is_flag=True, help='Put the result into attributes/scales.py')
def main(sheets: pathlib.Path | None, write: bool) -> None:
    """Fit the scales of attributes."""
    keep_large_blocks()
    hook, networks, scores, faces = open_network(NETWORK), Networks(fetch=True), [], []
    for seed in SEEDS:
        viewpoint = Viewpoint(hook, None, hook.sample(seed, TRUNCATION), SIDE)
        picture = render_edits(viewpoint, viewpoint.zero())
        scores.append(raw_scores(FaceParts(picture, networks)))
        faces.append(Image.fromarray(pictures.to_uint8(picture)[0]))
    fitted = deviations(torch.stack(scores))
    text = render(fitted)
    print(text)
    if sheets:
        show(torch.stack(scores), faces, sheets)
    if write:
        pathlib.Path(scales.__file__).write_text(text)


def raw_scores(parts: FaceParts) -> Tensor:
    """Scores `[attributes]` in units of their own."""
    return torch.stack([attribute.score(parts) for attribute in ATTRIBUTES.values()])


def deviations(scores: Tensor) -> dict[str, float]:
    """By attribute, of scores `[faces, attributes]`; faces where a part is not seen are left out."""
    return {name: float(column[column.isfinite()].std()) for name, column in zip(ATTRIBUTES, scores.T, strict=True)}


def render(fitted: dict[str, float]) -> str:
    """The text of attributes/scales.py."""
    rows = ''.join(f"    '{name}': {value:.3g},\n" for name, value in fitted.items())
    return f'{HEAD}SCALES = {{\n{rows}}}\n'


def show(scores: Tensor, faces: list[Image.Image], folder: pathlib.Path) -> None:
    """A sheet for each attribute: the lowest scores above, the highest below."""
    tiles = [pictures.thumbnail(face, TILE) for face in faces]
    for name, column in zip(ATTRIBUTES, scores.T, strict=True):
        order = [int(i) for i in column.argsort() if column[i].isfinite()]
        ends = [order[:SHOWN], order[-SHOWN:]]
        rows = [[tiles[i] for i in end] for end in ends]
        captions = [f'{rank}' for rank in range(1, SHOWN + 1)]
        sheet = pictures.contact_sheet(rows, [f'lowest\n{name}', f'highest\n{name}'], captions, name)
        pictures.save_png(sheet, folder / f'{name}.png')
        print(name, *(', '.join(str(SEEDS[i]) for i in end) for end in ends), sep='\n    ')


if __name__ == '__main__':
    main()
