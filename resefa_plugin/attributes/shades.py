"""Scores of colours and textures of the parts of a face, within the region that the parts are cropped to."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from resefa_plugin.attributes.face_parts import DARKEST, FaceParts, mean
from resefa_plugin.attributes.shapes import EYES, LIPS, MOUTH, brows

FINE = 7        # pixels of the window whose mean is taken from a luminance: what is left is texture
EDGE = 4        # pixels of skin that are left out beside other parts: their edges are no texture
LIDS = 8        # pixels around the eyes that are lids and lashes
BROW_EDGE = 10  # pixels around the brows whose skin they are compared with
# The skin that may bear a beard: so far below the middle of the nose, in sides of the picture, and beside the middle of
# the mouth, in standard deviations of its columns.
BEARD_BELOW, BEARD_BESIDE = 0.04, 2.6
BELOW_EYES = 0.03  # where cheeks begin, in sides of the picture


def lipstick(parts: FaceParts) -> Tensor:
    """How much redder the lips are than the skin: log(red / green) of the lips less that of the skin.

    The colour of the light adds the same to both logarithms and cancels.
    """
    lips, skin = ((colour[0] / colour[1]).log() for colour in (parts.colour(*LIPS), parts.colour('skin')))
    return lips - skin


def skin(parts: FaceParts) -> Tensor:
    """Weights `[512, 512]` of the skin of the face, the nose's too."""
    return parts.sure('skin', 'nose')


def skin_lightness(parts: FaceParts) -> Tensor:
    """Logarithm of the luminance of the skin."""
    return parts.brightness(parts.inside(skin(parts)))


def skin_redness(parts: FaceParts) -> Tensor:
    """log(red / green) of the skin."""
    red, green, _ = mean(parts.colours, parts.inside(skin(parts)))
    return (red / green).log()


def hair_lightness(parts: FaceParts) -> Tensor:
    """Logarithm of the luminance of the hair."""
    return parts.brightness(parts.inside(parts.sure('hair')))


def hair_warmth(parts: FaceParts) -> Tensor:
    """How much red there is in the hair beyond blue, in parts of all light. What is nearly black has no colour."""
    colour = mean(parts.colours, parts.inside(parts.sure('hair')))
    return (colour[0] - colour[2]) / (colour.sum() + 0.3)


def brow_darkness(parts: FaceParts) -> Tensor:
    """How much darker the brows are than the skin around them, as a logarithm."""
    weights = brows(parts)
    around = functional.max_pool2d(weights[None, None].float(), 2 * BROW_EDGE + 1, 1, BROW_EDGE)[0, 0].double()
    return parts.brightness(around * parts.sure('skin')) - parts.brightness(weights)


def eye_shadow(parts: FaceParts) -> Tensor:
    """How much darker the lids and lashes around the eyes are than the cheeks, as a logarithm."""
    eyes = parts.sure(*EYES)
    around = functional.max_pool2d(eyes[None, None].float(), 2 * LIDS + 1, 1, LIDS)[0, 0].double() - eyes
    return parts.brightness(_cheeks(parts)) - parts.brightness(around)


def beard(parts: FaceParts) -> Tensor:
    """How much rougher the skin about mouth and chin is, within the region, than that of the cheeks, as a logarithm."""
    return _roughness(parts, parts.inside(_without_edge(beard_area(parts)))) - _roughness(
        parts, _without_edge(_cheeks(parts)))


def beard_area(parts: FaceParts) -> Tensor:
    """Weights `[512, 512]` of the skin about mouth and chin."""
    x, _, width = parts.moments(*MOUTH)
    below = (parts.rows > parts.moments('nose')[1] + BEARD_BELOW).double()
    return parts.sure('skin') * below * ((parts.columns - x).abs() < BEARD_BESIDE * width)


def _cheeks(parts: FaceParts) -> Tensor:
    """Weights `[512, 512]` of the skin from below the eyes to below the nose."""
    top, bottom = parts.moments(*EYES, 'glasses')[1] + BELOW_EYES, parts.moments('nose')[1] + BEARD_BELOW / 2
    return parts.sure('skin') * ((parts.rows > top) & (parts.rows < bottom))


def _without_edge(weights: Tensor) -> Tensor:
    """Weights `[512, 512]`, each the least within EDGE pixels."""
    return 1 - functional.max_pool2d(1 - weights[None, None].float(), 2 * EDGE + 1, 1, EDGE)[0, 0].double()


def _roughness(parts: FaceParts, weights: Tensor) -> Tensor:
    """Logarithm of the root mean square of what is finer than FINE pixels in the logarithm of the luminance."""
    light = (parts.luminance + DARKEST).log()[None, None]
    smooth = functional.avg_pool2d(functional.pad(light, [FINE // 2] * 4, mode='replicate'), FINE, 1)
    return mean((light - smooth)[0, 0].square(), weights).sqrt().log()
