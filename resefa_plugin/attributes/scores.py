"""Attributes of a face by name, each a number that follows from areas, places and colours of the parser's parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from resefa_plugin.attributes.face_parts import FaceParts
from resefa_plugin.metrics.metric_networks import Networks

EYES, LIPS = ('left_eye', 'right_eye'), ('upper_lip', 'lower_lip')
BROWS = ('left_brow', 'right_brow')


@dataclass(frozen=True)
class Attribute:
    """One attribute.

    Attributes:
        score: of the parts of a picture, larger for more of the attribute.
        scale: the standard deviation of the score over faces: seeds 1000 to 1063 of the demo generator at truncation
            0.7.
        more: what one sees when the score grows.
        less: what one sees when it falls.
    """

    score: Callable[[FaceParts], Tensor]
    scale: float
    more: str
    less: str


def _redness(parts: FaceParts) -> Tensor:
    """How much redder the lips are than the skin: log(red / green) of the lips less that of the skin.

    The colour of the light adds the same to both logarithms and cancels.
    """
    lips, skin = ((colour[0] / colour[1]).log() for colour in (parts.colour(*LIPS), parts.colour('skin')))
    return lips - skin


def _brow_height(parts: FaceParts) -> Tensor:
    """How far the brows are above the eyes; 1 is the picture's side."""
    return parts.moments(*EYES)[1] - parts.moments(*BROWS)[1]


ATTRIBUTES: dict[str, Attribute] = {
    'eyes_open': Attribute(lambda parts: parts.area(*EYES), 0.00216, 'eyes open', 'eyes close'),
    'mouth_open': Attribute(lambda parts: parts.area('mouth'), 0.00288, 'mouth opens', 'mouth closes'),
    'lipstick': Attribute(_redness, 0.0865, 'lipstick', 'paler lips'),
    'nose_size': Attribute(lambda parts: parts.area('nose'), 0.00176, 'nose grows', 'nose shrinks'),
    'mouth_width': Attribute(lambda parts: parts.moments('mouth', *LIPS)[2], 0.0062, 'mouth widens', 'mouth narrows'),
    'brow_height': Attribute(_brow_height, 0.0099, 'brows rise', 'brows sink'),
}


def attribute_scores(images: Tensor, networks: Networks) -> dict[str, Tensor]:
    """Scores of pictures of faces aligned as in FFHQ.

    Args:
        images: `[N, 1 or 3, H, W]` in [-1, 1].
        networks: of which `parsing` is used.

    Returns: `[N]` float64 by attribute, in standard deviations over faces (`Attribute.scale`); NaN where a part that
        is needed is not seen.
    """
    rows = []
    for image in images:
        parts = FaceParts(image[None], networks)
        rows.append(torch.stack([attribute.score(parts) / attribute.scale for attribute in ATTRIBUTES.values()]))
    return dict(zip(ATTRIBUTES, torch.stack(rows).unbind(1), strict=True))
