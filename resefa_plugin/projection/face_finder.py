"""The finder of faces that commands and the studio share."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from resefa_plugin.projection.landmarks import Face, find_faces
from resefa_plugin.projection.mtcnn import load_detector

_detector = functools.cache(load_detector)


def face_finder(picture: NDArray[np.uint8]) -> list[Face]:
    """Faces in a picture `[H, W, 3]`, the largest first, by the published detector, fetched and loaded on first use."""
    return find_faces(picture, _detector())
