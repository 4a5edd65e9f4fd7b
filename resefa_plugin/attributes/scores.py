"""Attributes of a face by name, each a number that follows from areas, places and colours of the parser's parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from resefa_plugin.attributes import shades, shapes
from resefa_plugin.attributes.face_parts import FaceParts
from resefa_plugin.attributes.scales import SCALES
from resefa_plugin.attributes.shapes import BROWS, EYES, LIPS, MOUTH
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.regions.partition import RegionPartition

HALF, QUARTER = 0.5, 0.25

# The smallest changes that are named, in standard deviations over faces. Forms are noticed before colours, and before
# how much of a region is covered; what can be mistaken, make-up for an iris or hair for a hat, has to change more.
# benchmarks/README.md has how well directions are named by them.
FORM, COLOUR, UNSURE = 1.0, 1.5, 3.0

Weights = Callable[[FaceParts], Tensor]


@dataclass(frozen=True)
class Attribute:
    """One attribute.

    Attributes:
        score: of the parts of a picture, larger for more of the attribute.
        more: what one sees when the score grows.
        less: what one sees when it falls.
        place: weights `[512, 512]` of the pixels that the score is of.
        cropped: whether the score is of the pixels inside the region alone: a colour can be seen in a piece of a part,
            a form needs the whole.
        least: the smallest change that is named, in standard deviations. Of several attributes, the one that changes
            most in units of it is.
    """

    score: Callable[[FaceParts], Tensor]
    more: str
    less: str
    place: Weights
    cropped: bool = False
    least: float = FORM

    def belongs(self, parts: FaceParts) -> bool:
        """Whether it is in the region: half of its place or, if cropped, a quarter of the region is of its place."""
        place = self.place(parts)
        share, least = (parts.coverage(place), QUARTER) if self.cropped else (parts.share(place), HALF)
        return bool(share >= least)  # not where nothing of it is seen, which is NaN


def _of(*names: str) -> Weights:
    return lambda parts: parts.sure(*names)


# Validated against pictures that a person looked at: benchmarks/README.md says which, and what was left out.
ATTRIBUTES: dict[str, Attribute] = {
    'eyes_open': Attribute(lambda parts: parts.area(*EYES), 'eyes open', 'eyes close', _of(*EYES)),
    'mouth_open': Attribute(lambda parts: parts.area('mouth'), 'mouth opens', 'mouth closes', _of(*MOUTH)),
    'lipstick': Attribute(shades.lipstick, 'lipstick', 'paler lips', _of(*LIPS), least=COLOUR),
    'nose_size': Attribute(lambda parts: parts.area('nose'), 'nose grows', 'nose shrinks', _of('nose')),
    'mouth_width': Attribute(lambda parts: parts.moments(*MOUTH)[2], 'mouth widens', 'mouth narrows', _of(*MOUTH)),
    'brow_height': Attribute(shapes.brow_height, 'brows rise', 'brows sink', _of(*BROWS)),
    'smile': Attribute(shapes.smile, 'smile', 'smile fades', _of(*MOUTH)),
    'lip_fullness': Attribute(shapes.lip_fullness, 'fuller lips', 'thinner lips', _of(*LIPS)),
    'mouth_height': Attribute(shapes.mouth_height, 'mouth rises', 'mouth sinks', _of(*MOUTH)),
    'gaze': Attribute(shapes.gaze, 'eyes look right', 'eyes look left', _of(*EYES), least=UNSURE),
    'eye_shadow': Attribute(shades.eye_shadow, 'darker around the eyes', 'lighter around the eyes', _of(*EYES),
                            least=COLOUR),
    'glasses': Attribute(lambda parts: parts.area('glasses'), 'glasses', 'glasses fade', _of(*EYES, 'glasses')),
    'brow_slope': Attribute(shapes.brow_slope, 'brows rise outwards', 'brows fall outwards', _of(*BROWS)),
    'brow_thickness': Attribute(shapes.brow_thickness, 'thicker brows', 'thinner brows', _of(*BROWS)),
    'brow_darkness': Attribute(shades.brow_darkness, 'darker brows', 'paler brows', _of(*BROWS), least=COLOUR),
    'nose_width': Attribute(lambda parts: parts.moments('nose')[2], 'nose widens', 'nose narrows', _of('nose')),
    'nose_length': Attribute(shapes.nose_length, 'longer nose', 'shorter nose', _of('nose')),
    'face_width': Attribute(shapes.face_width, 'face widens', 'face narrows', shapes.cheeks),
    'chin_length': Attribute(shapes.chin_length, 'longer chin', 'shorter chin', shapes.chin),
    'head_turn': Attribute(shapes.head_turn, 'head turns right', 'head turns left', _of('skin', 'nose', *EYES)),
    'beard': Attribute(shades.beard, 'beard', 'beard fades', shades.beard_area, True, COLOUR),
    'skin_lightness': Attribute(shades.skin_lightness, 'skin lightens', 'skin darkens', shades.skin, True, COLOUR),
    'skin_redness': Attribute(shades.skin_redness, 'redder skin', 'paler skin', shades.skin, True, COLOUR),
    'hair_length': Attribute(shapes.hair_length, 'longer hair', 'shorter hair', _of('hair')),
    'hair_volume': Attribute(lambda parts: parts.coverage(parts.map('hair')), 'more hair', 'less hair', _of('hair'),
                             True, COLOUR),
    'hair_lightness': Attribute(shades.hair_lightness, 'hair lightens', 'hair darkens', _of('hair'), True, COLOUR),
    'hair_warmth': Attribute(shades.hair_warmth, 'warmer hair', 'greyer hair', _of('hair'), True, COLOUR),
    'fringe': Attribute(shapes.fringe, 'fringe', 'fringe recedes', shapes.forehead, True, COLOUR),
    'hat': Attribute(lambda parts: parts.coverage(parts.map('hat')), 'hat', 'hat fades', _of('hair', 'hat'), True,
                     UNSURE),
}

# What a person would look for it under.
PART_OF = {name: part for part, names in {
    'eyes': ('eyes_open', 'gaze', 'eye_shadow', 'glasses'),
    'eyebrows': ('brow_height', 'brow_slope', 'brow_thickness', 'brow_darkness'),
    'nose': ('nose_size', 'nose_width', 'nose_length'),
    'mouth': ('mouth_open', 'mouth_width', 'mouth_height', 'lipstick', 'lip_fullness', 'smile'),
    'face': ('face_width', 'chin_length', 'head_turn'), 'skin': ('beard', 'skin_lightness', 'skin_redness'),
    'hair': ('hair_length', 'hair_volume', 'hair_lightness', 'hair_warmth', 'fringe', 'hat')}.items()
           for name in names}


def attribute_scores(images: Tensor, networks: Networks,
                     region: RegionPartition | None = None) -> dict[str, Tensor]:
    """Scores of pictures of faces aligned as in FFHQ.

    Args:
        images: `[N, 1 or 3, H, W]` in [-1, 1].
        networks: of which `parsing` is used.
        region: to which attributes that are `cropped` are cropped; None for the whole picture.

    Returns: `[N]` float64 by attribute, in standard deviations over faces (SCALES); NaN where a part that is needed is
        not seen.
    """
    rows = [scores_of(FaceParts(image[None], networks, region)) for image in images]
    return dict(zip(ATTRIBUTES, torch.stack(rows).unbind(1), strict=True))


def scores_of(parts: FaceParts) -> Tensor:
    """The scores of one picture, `[attributes]` float64, in the order of ATTRIBUTES and otherwise as above."""
    return torch.stack([attribute.score(parts) / SCALES[name] for name, attribute in ATTRIBUTES.items()])
