"""Methods side by side on the same held-out pictures."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from resefa_plugin.report import pictures

STRIP_SAMPLES = 3  # held-out samples on a sheet


def save_tiles(originals: Tensor, edited: Tensor, path: pathlib.Path) -> None:
    """Writes pictures `[N, C, h, w]` in [-1, 1] as one PNG: the unedited ones above, the edited ones below."""
    tiles = torch.cat([torch.cat(list(part), dim=2) for part in (originals, edited)], dim=1)
    pictures.save_png(Image.fromarray(pictures.to_uint8(tiles[None])[0]), path)


def load_tiles(path: pathlib.Path, columns: int) -> list[list[Image.Image]]:
    """The unedited and the edited pictures that `save_tiles` wrote, `columns` of each."""
    with Image.open(path) as both:
        width, height = both.width // columns, both.height // 2
        return [[both.crop((i * width, j * height, (i + 1) * width, (j + 1) * height)) for i in range(columns)]
                for j in range(2)]


def side_by_side(title: str, methods: Sequence[tuple[str, list[list[Image.Image]]]],
                 captions: Sequence[str]) -> Image.Image:
    """A sheet: the unedited pictures, then a row of edited ones for each method.

    Args:
        title: of the sheet.
        methods: names, each with its unedited and its edited pictures; the unedited ones are the same for all.
        captions: of the columns.
    """
    rows = [methods[0][1][0], *(edited for _, (_, edited) in methods)]
    return pictures.contact_sheet(rows, ['unedited', *(name for name, _ in methods)], captions, title)
