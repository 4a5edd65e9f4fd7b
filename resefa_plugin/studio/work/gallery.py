"""Small pictures of samples to start from, rendered once for all pages."""

from __future__ import annotations

import threading
from collections import OrderedDict

from PIL import Image

from resefa_plugin.editing.strength import render_edits
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.hooks.viewpoint import Viewpoint, default_resolution
from resefa_plugin.report import pictures
from resefa_plugin.studio.work.sources import Source, seed_sample

SIDE, KEPT = 128, 400  # pixels; pictures of some kilobytes


class Gallery:
    """Pictures of seeds by a generator, the last ones that were asked for."""

    def __init__(self, hook: GeneratorHook):
        self._hook, self._lock = hook, threading.Lock()
        self._kept: OrderedDict[Source, bytes] = OrderedDict()

    def picture(self, source: Source) -> bytes:
        """A JPEG of the sample of a seed. Raises ResefaError for one that the generator does not have."""
        with self._lock:
            if source in self._kept:
                self._kept.move_to_end(source)
                return self._kept[source]
        hook = self._hook
        viewpoint = Viewpoint(hook, hook.default_space, seed_sample(hook, source), default_resolution(hook.image_shape))
        image = Image.fromarray(pictures.to_uint8(render_edits(viewpoint, viewpoint.zero()))[0])
        content = pictures.jpeg_bytes(pictures.thumbnail(image, SIDE))
        with self._lock:
            self._kept[source] = content
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return content
