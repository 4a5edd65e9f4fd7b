"""Bring the faces of photographs into the frame of FFHQ."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import click
import numpy as np
from PIL import Image

from resefa_plugin.machine.files import replacing
from resefa_plugin.projection.framing import Framing, numbered_faces
from resefa_plugin.report import pictures
from resefa_plugin.scripts.common import options
from resefa_plugin.scripts.common.hints import HintedCommand
from resefa_plugin.scripts.common.photographs import framed
from resefa_plugin.scripts.common.types import FILE


@click.command(cls=HintedCommand)
@click.option('--target', 'targets', metavar='FILE', type=FILE, multiple=True, required=True,
              help='A photograph (PNG, JPEG, WebP, TIFF); repeat it for several')
@options.align_option
@options.face_option
@click.option('--size', metavar='INT', type=click.IntRange(16, 4096), default=1024, show_default=True,
              help='Side of the aligned picture, pixels')
@options.outdir_option
@options.user_errors
def align(targets: tuple[pathlib.Path, ...], how: Any, face: int, size: int, outdir: pathlib.Path) -> None:
    """Bring the faces of photographs into the frame of FFHQ, which networks trained on faces expect.

    Writes NAME-aligned.png and NAME-alignment.json, which says where the picture lies in the photograph: places
    (x, y, 1) in the picture times `matrix` are places in the photograph, in pixels. Where there are several faces,
    NAME-faces.jpg shows their numbers.

    Examples:

    \b
    resefa align --target=portrait.jpg --outdir=aligned

    \b
    # Of several faces the second largest, in the size of a smaller network
    resefa align --target=portrait.jpg --face=2 --size=256 --outdir=aligned

    \b
    # No face is found, or at the wrong place: eyes and corners of the mouth by hand
    resefa align --target=portrait.jpg --align=202,100,248,103,206,143,243,143 --outdir=aligned
    """
    for target in targets:
        photograph, framing = framed(target, how, face, (size, size))
        if len(framing.faces) > 1:
            pictures.save_jpeg(numbered_faces(photograph, framing.faces), outdir / f'{target.stem}-faces.jpg')
        with replacing(outdir / f'{target.stem}-alignment.json') as part:
            part.write_text(json.dumps(_record(framing, size), indent=2) + '\n', encoding='utf-8')
        path = outdir / f'{target.stem}-aligned.png'
        pictures.save_png(Image.fromarray(framing.alignment.picture(photograph.rgb, (size, size))), path)
        click.echo(path)
    options.say_open(path)


def _record(framing: Framing, size: int) -> dict[str, Any]:
    return {'size': [size, size], 'matrix': framing.alignment.matrix((size, size)).tolist(),
            'points': None if framing.points is None else np.round(framing.points, 2).tolist()}


if __name__ == '__main__':
    align()
