"""What commands do with photographs: read, say what was found in them, lay edits into them."""

from __future__ import annotations

import pathlib
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from resefa_plugin.errors import CheckpointError, PhotographError
from resefa_plugin.metrics.identity import Identity
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.metrics.networks.lpips import LPIPS
from resefa_plugin.projection.face_finder import face_finder
from resefa_plugin.projection.framing import Framing, frame
from resefa_plugin.projection.photograph import Photograph, read_photograph

# Of the files in a folder, those with other endings are no photographs; what a file is, its content decides.
ENDINGS = '.png', '.jpg', '.jpeg', '.webp', '.tif', '.tiff'
# Cosines of SFace: of faces of two persons of the demo generator, none has the first and one in 20 has the second.
SAME_PERSON, PERHAPS = 0.58, 0.46

def load_lpips_network(device: torch.device) -> LPIPS:
    """LPIPS, fetched on first use."""
    return Networks(fetch=True, device=device).lpips


def load_identity(device: torch.device) -> Identity | None:
    """SFace, fetched on first use; None, with a word, where it cannot be had."""
    try:
        return Identity(Networks(fetch=True, device=device))
    except CheckpointError as error:
        click.echo(f'note: whether it is the same person is not measured: {str(error).splitlines()[0]}', err=True)
        return None


def same_person(identity: Identity, one: NDArray[np.uint8], other: NDArray[np.uint8]) -> str:
    """What SFace says of two aligned faces `[H, W, 3]`, in words."""
    faces = torch.from_numpy(np.stack([one, other])).permute(0, 3, 1, 2) / 127.5 - 1
    a, b = identity.embeddings(faces)
    cosine = float(a @ b)
    person = 'the same person' if cosine >= SAME_PERSON else 'perhaps the same person' if cosine >= PERHAPS else (
        'another person, as a network that knows faces sees it')
    return f'{person} (cosine {cosine:.2f} of SFace)'


def photographs_in(targets: tuple[pathlib.Path, ...]) -> list[pathlib.Path]:
    """Files, and of folders the photographs in them; files of one name in two endings are refused.

    Raises PhotographError where there are none.
    """
    found: list[pathlib.Path] = []
    for target in targets:
        paths = sorted(path for path in target.iterdir() if path.suffix.lower() in ENDINGS) if target.is_dir() else [
            target]
        if not paths:
            raise PhotographError(f"'{target}' holds no photographs; expected files that end in {', '.join(ENDINGS)}")
        found += paths
    stems = [path.stem for path in found]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise PhotographError(f"two photographs are called '{twice}', and what is made of them would be, too: rename "
                              'one of them')
    return found


def framed(target: pathlib.Path, how: Any, face: int, size: tuple[int, int]) -> tuple[Photograph, Framing]:
    """A photograph and the part of it that a network of pictures `(H, W)` sees; notes go to the console."""
    photograph = read_photograph(target)
    framing = frame(photograph, how, size, face_finder, face)
    for note in (*photograph.notes, *framing.notes):
        click.echo(f'{target.name}: {note}', err=True)
    return photograph, framing
