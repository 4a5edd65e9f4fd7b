"""Faces in a picture, and five points of each: both eyes, the nose, both corners of the mouth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from resefa_plugin.projection.mtcnn import Detector, normalized

POINTS = ('left eye', 'right eye', 'nose', 'left corner of the mouth', 'right corner of the mouth')
# Longer side at which is searched, smaller first: faces of 1/32 of a photograph are found at the first, of 1/80 at the
# second, which takes six times as long.
SEARCH_SIDES = (640, 1600)
SMALLEST_FACE = 20  # pixels, at the size at which is searched
PYRAMID_STEP = 0.709  # from one size to the next: half the area, as in the paper
# Score that a window needs to be handed on by each of the three networks, and the overlap from which it is the same
# face as a better one.
SCORES = 0.6, 0.7, 0.8
OVERLAP_OF_ONE_SIZE, OVERLAP = 0.5, 0.7
BATCH = 512  # windows at a time


@dataclass(frozen=True)
class Face:
    """A face in a picture.

    Attributes:
        box: left, top, right, bottom, in pixels.
        points: `[5, 2]`, x and y of POINTS in pixels; left and right are sides of the picture.
        score: how sure the detector is, up to 1.
    """

    box: NDArray[np.float64]
    points: NDArray[np.float64]
    score: float

    @property
    def side(self) -> float:
        """The longer side of the box, pixels."""
        left, top, right, bottom = self.box
        return float(max(right - left, bottom - top))


def find_faces(picture: NDArray[np.uint8], detector: Detector) -> list[Face]:
    """Faces in a picture `[H, W, 3]` uint8, the largest first; none if there are none."""
    height, width = picture.shape[:2]
    pixels = torch.tensor(picture).permute(2, 0, 1)[None].float()
    for longer in SEARCH_SIDES:
        scale = min(1.0, longer / max(height, width))
        small = _resized(pixels, max(1, round(height * scale)), max(1, round(width * scale)))
        factor = np.array([width / small.shape[3], height / small.shape[2]])
        faces = [Face(box * np.tile(factor, 2), points * factor, score) for box, points, score in _cascade(small,
                                                                                                        detector)]
        if faces or scale == 1:
            break
    return sorted(faces, key=lambda face: -face.side)


@torch.no_grad()
def _cascade(pixels: Tensor, detector: Detector) -> list[tuple[NDArray[np.float64], NDArray[np.float64], float]]:
    """Boxes `[4]`, points `[5, 2]` and scores of the faces in a picture `[1, 3, H, W]` from 0 to 255."""
    boxes = _proposals(pixels, detector)
    if not len(boxes):
        return []
    seen = [detector.refine(batch) for batch in _windows(pixels, boxes, detector.refine.side)]
    score, shift = torch.cat([s.score for s in seen]), torch.cat([s.shift for s in seen])
    sure = score > SCORES[1]
    boxes = _squares(_distinct(_shifted(boxes[sure], shift[sure]), score[sure], OVERLAP)[0])
    if not len(boxes):
        return []
    final = [detector.output(batch) for batch in _windows(pixels, boxes, detector.output.side)]
    score, shift = torch.cat([s.score for s in final]), torch.cat([s.shift for s in final])
    points = torch.cat([s.points for s in final if s.points is not None])
    sure = score > SCORES[2]
    boxes, score, shift, points = boxes[sure], score[sure], shift[sure], points[sure]
    corner, sides = boxes[:, None, :2], (boxes[:, 2:] - boxes[:, :2])[:, None]
    points = corner + points * sides
    boxes, kept = _distinct(_shifted(boxes, shift), score, OVERLAP, within=True)
    return [(box.double().numpy(), point.double().numpy(), float(s))
            for box, point, s in zip(boxes, points[kept], score[kept], strict=True)]


def _proposals(pixels: Tensor, detector: Detector) -> Tensor:
    """Square windows `[N, 4]` that may be faces, of all sizes from SMALLEST_FACE on."""
    network, found, scores = detector.propose, [], []
    height, width = pixels.shape[2:]
    scale = network.side / SMALLEST_FACE
    while min(height, width) * scale >= network.side:
        small = _resized(pixels, int(height * scale + 1), int(width * scale + 1))
        score, shift = network(normalized(small))
        rows, columns = torch.nonzero(score > SCORES[0], as_tuple=True)
        corners = torch.stack([columns, rows], dim=1) * float(network.stride)
        boxes = torch.cat([corners, corners + network.side], dim=1) / scale
        boxes, kept = _distinct(boxes, score[rows, columns], OVERLAP_OF_ONE_SIZE)
        found.append(_shifted(boxes, shift[rows, columns][kept]))
        scores.append(score[rows, columns][kept])
        scale *= PYRAMID_STEP
    if not found:
        return torch.zeros(0, 4)
    return _squares(_distinct(torch.cat(found), torch.cat(scores), OVERLAP)[0])


def _windows(pixels: Tensor, boxes: Tensor, side: int) -> list[Tensor]:
    """The squares `boxes [N, 4]` of a picture, `[n, 3, side, side]`, normalized; black beyond the picture's edge."""
    height, width = pixels.shape[2:]
    windows = []
    for left, top, right, bottom in boxes.round().long().tolist():
        inside = pixels[:, :, max(top, 0):bottom, max(left, 0):right]
        missing = max(-left, 0), max(right - width, 0), max(-top, 0), max(bottom - height, 0)
        windows.append(normalized(_resized(functional.pad(inside, missing), side, side)))
    return list(torch.cat(windows).split(BATCH))


def _resized(pixels: Tensor, height: int, width: int) -> Tensor:
    return functional.interpolate(pixels, (height, width), mode='bilinear', antialias=True, align_corners=False)


def _shifted(boxes: Tensor, shift: Tensor) -> Tensor:
    """Boxes moved by what a network says of them, in their sides."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes + shift * sides.repeat(1, 2)


def _squares(boxes: Tensor) -> Tensor:
    """Squares `[N, 4]` around the same centres, as large as the longer sides; at least a pixel."""
    centre, side = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).amax(dim=1, keepdim=True)
    half = side.clamp(min=2) / 2
    return torch.cat([centre - half, centre + half], dim=1)


def _distinct(boxes: Tensor, score: Tensor, most: float, within: bool = False) -> tuple[Tensor, Tensor]:
    """The boxes that overlap no better one by more than `most`, best first, and their indices.

    The overlap is that of the areas' intersection with their union, or with the smaller of the two if `within`.
    """
    order, kept = score.argsort(descending=True, stable=True), []
    area = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
    while len(order):
        best, others = order[0], order[1:]
        kept.append(best)
        low = torch.maximum(boxes[best, :2], boxes[others, :2])
        high = torch.minimum(boxes[best, 2:], boxes[others, 2:])
        common = (high - low).clamp(min=0).prod(dim=1)
        whole = torch.minimum(area[best], area[others]) if within else area[best] + area[others] - common
        order = others[common <= most * whole]
    index = torch.stack(kept) if kept else torch.zeros(0, dtype=torch.long)
    return boxes[index], index
