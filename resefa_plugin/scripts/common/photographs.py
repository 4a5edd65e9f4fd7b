"""What commands do with photographs: read, say what was found in them, lay edits into them."""

from __future__ import annotations

import functools
import pathlib
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from resefa_plugin.editing.paste import Patch, paste
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.metrics.networks.lpips import LPIPS
from resefa_plugin.projection.framing import Framing, frame
from resefa_plugin.projection.landmarks import Face, find_faces
from resefa_plugin.projection.mtcnn import load_detector
from resefa_plugin.projection.photograph import Photograph, read_photograph

_detector = functools.cache(load_detector)


def face_finder(picture: NDArray[np.uint8]) -> list[Face]:
    """Faces by the published detector, which is loaded when it is first used."""
    return find_faces(picture, _detector())


def load_lpips_network(device: torch.device) -> LPIPS:
    """LPIPS, fetched on first use."""
    return Networks(fetch=True, device=device).lpips


def framed(target: pathlib.Path, how: Any, face: int, size: tuple[int, int]) -> tuple[Photograph, Framing]:
    """A photograph and the part of it that a network of pictures `(H, W)` sees; notes go to the console."""
    photograph = read_photograph(target)
    framing = frame(photograph, how, size, face_finder, face)
    for note in (*photograph.notes, *framing.notes):
        click.echo(f'{target.name}: {note}', err=True)
    return photograph, framing


def laid_in(photograph: Photograph, framing: Framing, unedited: NDArray[np.uint8], edited: NDArray[np.uint8],
            mask: NDArray[np.bool_], in_photograph: bool = False) -> Image.Image:
    """The photograph with a region of an edited rendering `[H, W, 3]`, see `Patch`."""
    matrix = framing.alignment.matrix((edited.shape[0], edited.shape[1]))
    patch = Patch(photograph.in_its_colours(edited), photograph.in_its_colours(unedited), mask, matrix, in_photograph)
    return photograph.with_pixels(paste(photograph.pixels, [patch]))
