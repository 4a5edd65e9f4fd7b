"""A person's own photograph: the part of it that the generator shows, and edits laid into it."""

from __future__ import annotations

import functools
import hashlib
import pathlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resefa_plugin.editing.paste import Patch, paste
from resefa_plugin.errors import PhotographError
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.metrics.networks.lpips import LPIPS
from resefa_plugin.projection.alignment import Alignment
from resefa_plugin.projection.face_finder import face_finder
from resefa_plugin.projection.framing import AUTO, WHOLE, frame, laid_in
from resefa_plugin.projection.likeness import Likeness
from resefa_plugin.projection.photograph import Photograph, read_photograph
from resefa_plugin.projection.projector import Projection, Projector

_SAME_PLACE = np.array([[1.0, 0, 0], [0, 1.0, 0]])
NO_FACE = ('no face was found in {}: it should be upright, seen from the front, and not too small. Turn or crop the '
           'photograph; or, if the network makes other pictures than faces, choose to take all of the photograph')


@dataclass(frozen=True, eq=False)
class Placed:
    """A photograph, and the part of it that the generator shows.

    Attributes:
        photograph: its pixels.
        alignment: of the generator's picture in it.
        content: the file as it came.
        notes: what its owner should know, in sentences.
    """

    photograph: Photograph
    alignment: Alignment
    content: bytes
    notes: tuple[str, ...] = ()
    _aligned: dict[tuple[int, int], NDArray[np.uint8]] = field(default_factory=dict)

    @functools.cached_property
    def digest(self) -> str:
        """Of the file."""
        return hashlib.sha256(self.content).hexdigest()

    def aligned(self, size: tuple[int, int]) -> NDArray[np.uint8]:
        """The part as a picture `[H, W, 3]` of `size = (H, W)`."""
        if size not in self._aligned:
            self._aligned[size] = self.alignment.picture(self.photograph.rgb, size)
        return self._aligned[size]

    def edited_part(self, unedited: NDArray[np.uint8], edited: NDArray[np.uint8],
                    mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """The aligned part with an edit, as large as the renderings `[H, W, 3]`; `mask` `[H, W]` is the region."""
        aligned = self.aligned((edited.shape[0], edited.shape[1]))
        return paste(aligned, [Patch(edited, unedited, mask, _SAME_PLACE)])

    def edited_whole(self, unedited: NDArray[np.uint8], edited: NDArray[np.uint8],
                     mask: NDArray[np.bool_]) -> Image.Image:
        """All of the photograph with an edit."""
        return laid_in(self.photograph, self.alignment, unedited, edited, mask)


def place(path: pathlib.Path, name: str, image_size: tuple[int, int], face: int) -> Placed:
    """Reads a photograph and finds the part of it that a generator of pictures `(H, W)` shows.

    Args:
        name: of the file where it came from.
        face: which one, from 1 on, the largest first; 0 takes all of the photograph as it is.

    Raises PhotographError, which says what to do, where it cannot be read or has no such face.
    """
    photograph = read_photograph(path)
    stem = re.sub(r'[^A-Za-z0-9]+', '-', pathlib.PurePath(name).stem).strip('-')[:40] or 'photograph'
    photograph = Photograph(photograph.image, stem, photograph.notes)
    if not face:
        return Placed(photograph, frame(photograph, WHOLE, image_size, face_finder).alignment, path.read_bytes(),
                      photograph.notes)
    faces = face_finder(photograph.rgb)
    if not faces:
        raise PhotographError(NO_FACE.format(name))
    framing = frame(photograph, AUTO, image_size, lambda picture: faces, face)
    notes = [*photograph.notes, *(note for note in framing.notes if '--face' not in note)]
    if len(faces) > 1:
        notes.append(f'{len(faces)} faces were found; you may choose another one')
    return Placed(photograph, framing.alignment, path.read_bytes(), tuple(notes))


class Finder:
    """Finds samples that look like photographs; what that takes is loaded, and fetched, on first use."""

    def __init__(self, hook: GeneratorHook, load_lpips: Callable[[], LPIPS] | None = None):
        self._hook = hook
        self._load_lpips = load_lpips or (lambda: Networks(fetch=True, device=hook.device).lpips)

    @functools.cached_property
    def projector(self) -> Projector:
        """Raises ResefaError where the network of LPIPS cannot be had."""
        c = self._hook.class_vector('0') if self._hook.c_dim else None
        return Projector(self._hook, lpips=self._load_lpips(), c=c)

    def find(self, placed: Placed, report: Callable[[int, int], None],
             look: Callable[[int, Tensor], None]) -> Projection:
        """The sample of a photograph.

        Args:
            report: called with the passes done and their number; an exception that it raises ends the search.
            look: called after each pass with its number and the picture so far, `[1, C, h, w]` in [-1, 1].
        """
        projector, passes = self.projector, 0
        size = self._hook.image_shape[1], self._hook.image_shape[2]

        def progress(likeness: Likeness) -> None:
            nonlocal passes
            passes = likeness.passes
            report(passes, projector.settings.passes)

        def seen(picture: Any) -> None:
            look(passes, picture)

        return projector.project(Image.fromarray(placed.aligned(size)), placed.photograph.name, progress=progress,
                                 look=seen)


def restored(content: bytes, path: pathlib.Path, name: str, corner: Any, across: Any, down: Any) -> Placed:
    """A photograph of saved work: `path` holds its `content`. Raises PhotographError for one that cannot be read."""
    photograph = read_photograph(path)
    edges = [tuple(float(value) for value in pair) for pair in (corner, across, down)]
    if any(len(pair) != 2 or not np.isfinite(pair).all() or np.abs(pair).max() > 1e6 for pair in edges):
        raise PhotographError('the frame of the photograph is damaged')
    alignment = Alignment(*edges)  # type: ignore[arg-type]  # pairs, as was just seen
    if abs(float(np.linalg.det(np.array(edges[1:])))) < 1:
        raise PhotographError('the frame of the photograph is damaged')
    return Placed(Photograph(photograph.image, name, photograph.notes), alignment, content)


def as_region(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """A region for a picture of another size `(H, W)`: a pixel belongs to it if half of it does."""
    if mask.shape == size:
        return mask
    share = torch.nn.functional.interpolate(torch.from_numpy(mask)[None, None].float(), size, mode='area')
    return np.asarray(share[0, 0] >= 0.5)
