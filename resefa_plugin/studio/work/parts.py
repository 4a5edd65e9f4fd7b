"""Parts of a picture that a person points at: of a face, as a parser sees them, or those that a network has itself."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from resefa_plugin.atlas.atlas import Atlas
from resefa_plugin.attributes.face_parts import SIDE, FaceParts
from resefa_plugin.errors import RegionError
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.regions.files import fit_labels

# What people call them, and the parser's classes. Left and right are mixed up by it, and belong together.
PARTS = {
    'eyes': ('left_eye', 'right_eye'), 'eyebrows': ('left_brow', 'right_brow'), 'nose': ('nose',),
    'mouth': ('mouth', 'upper_lip', 'lower_lip'), 'glasses': ('glasses',), 'ears': ('left_ear', 'right_ear'),
    'earrings': ('earring',), 'skin': ('skin',), 'neck': ('neck',), 'necklace': ('necklace',), 'clothes': ('cloth',),
    'hair': ('hair',), 'hat': ('hat',), 'background': ('background',),
}
# Small parts move: their region has so much room around them, in sides of the picture.
ROOM = {'eyes': 0.025, 'eyebrows': 0.02, 'nose': 0.02, 'mouth': 0.03}
FACE = 'eyes', 'nose', 'mouth'
SEEN = 2e-4  # of the picture: a part that is there at all
OWN = 8  # parts that a network is cut into


@dataclass(frozen=True, eq=False)
class SeenParts:
    """The part at each place of a picture.

    Attributes:
        labels: `[h, w]` uint8, indices of `titles`.
        names: of the parts that are there.
        titles: of all parts.
    """

    labels: NDArray[np.uint8]
    names: tuple[str, ...]
    titles: tuple[str, ...] = tuple(PARTS)

    def mask(self, name: str, image_size: tuple[int, int]) -> NDArray[np.bool_]:
        """A part with room to move, bool `[H, W]`. Raises RegionError for one that is not seen."""
        if name not in self.names:
            raise RegionError(f"no '{name}' is seen in this picture: there are {', '.join(self.names)}")
        inside = self.labels == self.titles.index(name)
        if name in ROOM:
            inside = ndimage.distance_transform_edt(~inside) <= ROOM[name] * SIDE
        return np.asarray(fit_labels(inside.astype(np.uint8), image_size) == 1)


def seen_parts(picture: Image.Image, networks: Networks) -> SeenParts:
    """The parts in a picture, by the parser of `networks`.

    Raises RegionError where no face is seen, and CheckpointError where the parser cannot be had.
    """
    pixels = torch.from_numpy(np.array(picture.convert('RGB'))).permute(2, 0, 1)[None]
    parts = FaceParts(pixels.float() / 127.5 - 1, networks)
    labels = torch.stack([parts.map(*classes) for classes in PARTS.values()]).argmax(dim=0).numpy().astype(np.uint8)
    area = np.bincount(labels.ravel(), minlength=len(PARTS)) / labels.size
    names = tuple(name for name, share in zip(PARTS, area, strict=True) if share > SEEN)
    if not set(FACE) & set(names):
        raise RegionError('no face is seen in this picture: draw a box, or paint the region')
    return SeenParts(labels, names)


class OwnParts:
    """The parts that move together in a network's pictures, whatever they show: `part1`, the largest, `part2`, ...

    Args:
        image_size: `(H, W)` of its pictures.
    """

    def __init__(self, atlas: Atlas, image_size: tuple[int, int]):
        self._atlas, self._image_size = atlas, image_size

    @functools.cached_property
    def parts(self) -> SeenParts:
        """They are the same in every picture."""
        regions = self._atlas.own_regions(OWN, self._image_size)
        titles = tuple(f'part{number}' for number in range(1, len(regions) + 1))
        masks = np.stack([region.mask for region in regions])
        return SeenParts(masks.argmax(axis=0).astype(np.uint8), titles, titles)
