"""The pictures of a state: of the generator alone, or laid into the photograph that it shows."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from resefa_plugin.editing.strength import mean_square, render_edits
from resefa_plugin.hooks.base import Sample
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.report import pictures
from resefa_plugin.studio.work.photographs import as_region
from resefa_plugin.studio.work.state import State, edit_offset, moved_region

KEPT = 2  # unedited renderings: of the preview and of the full picture


class Renderer:
    """Renders a session's states. What is unedited is rendered once for a sample and a size."""

    def __init__(self) -> None:
        self._unedited: OrderedDict[tuple[int, Any], tuple[Sample, NDArray[np.uint8]]] = OrderedDict()

    def picture(self, state: State, viewpoint: Viewpoint, scale: float) -> Image.Image:
        """What the studio shows of a state at `scale` times its strengths, as large as the viewpoint's pictures.

        With a photograph, the part of it that the generator shows, with the edited regions in it.
        """
        if state.photograph is None:
            return Image.fromarray(_rendered(state, viewpoint, scale))
        size = viewpoint.image_shape[1], viewpoint.image_shape[2]
        if not state.strengths or not scale:
            return Image.fromarray(state.photograph.aligned(size))
        mask = as_region(moved_region(state).mask, size)
        before, after = self._before(state, viewpoint), _rendered(state, viewpoint, scale)
        return Image.fromarray(state.photograph.edited_part(before, after, mask))

    def whole(self, state: State, viewpoint: Viewpoint) -> Image.Image:
        """The edit at its full size: all of the photograph, if there is one."""
        viewpoint = viewpoint.full()
        if state.photograph is None:
            return self.picture(state, viewpoint, 1.0)
        if not state.strengths:
            return state.photograph.photograph.image
        before, after = self._before(state, viewpoint), _rendered(state, viewpoint, 1.0)
        return state.photograph.edited_whole(before, after, moved_region(state).mask)

    def _before(self, state: State, viewpoint: Viewpoint) -> NDArray[np.uint8]:
        key = id(state.sample), viewpoint.image_shape
        if key not in self._unedited:
            self._unedited[key] = state.sample, _rendered(state, viewpoint, 0.0)  # the sample, so that its id stays
            while len(self._unedited) > KEPT:
                self._unedited.popitem(last=False)
        return self._unedited[key][1]


def _rendered(state: State, viewpoint: Viewpoint, scale: float) -> NDArray[np.uint8]:
    """The generator's picture `[H, W, 3]`."""
    offset = edit_offset(state, viewpoint.dim, scale)
    return pictures.to_uint8(render_edits(viewpoint, offset[None]))[0]


def change(state: State, viewpoint: Viewpoint) -> tuple[Image.Image, float, float, float]:
    """The heat map of an edit, its root mean square in and out of the edited regions, and what is brightest in it.

    All three in grey levels of 255; the map is as large as the picture. Raises ResefaError if nothing is edited.
    """
    region, viewpoint = moved_region(state), viewpoint.full()
    offsets = torch.stack([torch.zeros(viewpoint.dim), edit_offset(state, viewpoint.dim)])
    before, after = render_edits(viewpoint, offsets)
    inside, outside = (pictures.GREY_LEVELS * float(part.sqrt()) for part in
                       mean_square((after - before)[None], region))
    original = Image.fromarray(pictures.to_uint8(before[None])[0])
    lit, top = pictures.lit_by_change(after - before, region.mask, original)
    return lit, inside, outside, top
