"""Scores of areas, places and forms of the parts of a face."""

from __future__ import annotations

import torch
from torch import Tensor

from resefa_plugin.attributes.face_parts import SIDE, FaceParts, mean

EYES, LIPS = ('left_eye', 'right_eye'), ('upper_lip', 'lower_lip')
BROWS = ('left_brow', 'right_brow')
MOUTH = ('mouth', *LIPS)

FEW_BROWS = 0.007  # part of the picture: where less of the brows is seen, hair or glasses hide them

# Height and half width of a forehead above the brows, sides of the picture.
FOREHEAD = (0.16, 0.11)
CHIN = 0.03  # half width of the strip that the chin is measured in, sides of the picture


def brow_height(parts: FaceParts) -> Tensor:
    """How far the brows are above the eyes."""
    return parts.moments(*EYES)[1] - parts.moments(*BROWS)[1]


def brows(parts: FaceParts) -> Tensor:
    """Weights `[512, 512]` of the brows; NaN where they are hidden: what is left tells nothing of their form."""
    weights = parts.sure(*BROWS)
    return weights if parts.area(*BROWS) > FEW_BROWS else weights * torch.nan


def brow_slope(parts: FaceParts) -> Tensor:
    """How steeply the brows fall towards the nose, as in a frown: 1 is 45 degrees. Mean of both."""
    left, right = (parabola(parts, brows(parts) * half)[1] for half in parts.halves())
    return (left - right) / 2


def brow_thickness(parts: FaceParts) -> Tensor:
    """The standard deviation of the rows of a brow about a parabola along it; mean of both."""
    return torch.stack([_thickness(parts, brows(parts) * half) for half in parts.halves()]).mean()


def _thickness(parts: FaceParts, weights: Tensor) -> Tensor:
    height, slope, bend = parabola(parts, weights)
    u = parts.columns - mean(parts.columns, weights)
    return mean((parts.rows - height - slope * u - bend * u.square()).square(), weights).sqrt()


def smile(parts: FaceParts) -> Tensor:
    """How much higher the corners of the mouth are than its middle: of the parabola through mouth and lips."""
    weights = parts.sure(*MOUTH)
    return -parabola(parts, weights)[2] * parts.moments(*MOUTH)[2].square()


def mouth_height(parts: FaceParts) -> Tensor:
    """How little the mouth is below the nose: the nose's row less the mouth's."""
    return parts.moments('nose')[1] - parts.moments(*MOUTH)[1]


def lip_fullness(parts: FaceParts) -> Tensor:
    """Area of the lips for the width of the mouth."""
    return parts.area(*LIPS) / parts.moments(*MOUTH)[2]


def nose_length(parts: FaceParts) -> Tensor:
    """Standard deviation of the rows of the nose."""
    return mean((parts.rows - parts.moments('nose')[1]).square(), parts.sure('nose')).sqrt()


def gaze(parts: FaceParts) -> Tensor:
    """How far what is dark in an eye, its iris, is right of the eye's middle, in widths of the eye; mean of both."""
    return torch.stack([_gaze(parts, parts.sure(*EYES) * half) for half in parts.halves()]).mean()


def _gaze(parts: FaceParts, eye: Tensor) -> Tensor:
    x = mean(parts.columns, eye)
    width = mean((parts.columns - x).square(), eye).sqrt()
    darkness = (mean(parts.luminance, eye) - parts.luminance).clamp(min=0)
    return (mean(parts.columns, eye * darkness) - x) / width


def head_turn(parts: FaceParts) -> Tensor:
    """How far the nose is right of the middle between the eyes; 1 is the standard deviation of the eyes' columns."""
    x, _, width = parts.moments(*EYES)
    return (parts.moments('nose')[0] - x) / width


def face_width(parts: FaceParts) -> Tensor:
    """Width of the face from the nose's row to the mouth's: skin, nose and mouth, without ears."""
    rows = _between_nose_and_mouth(parts)
    return (parts.map('skin', 'nose', *MOUTH) * rows).sum() / rows.sum() / SIDE


def cheeks(parts: FaceParts) -> Tensor:
    """Weights `[512, 512]` of the skin where `face_width` is measured."""
    return parts.sure('skin') * _between_nose_and_mouth(parts)


def _between_nose_and_mouth(parts: FaceParts) -> Tensor:
    """1 for each of the rows `[512, 1]` between the two, else 0."""
    return ((parts.rows > parts.moments('nose')[1]) & (parts.rows < parts.moments(*MOUTH)[1])).double()


def chin_length(parts: FaceParts) -> Tensor:
    """How far the skin goes down from the middle of the mouth, lips left out."""
    return chin(parts).sum() / SIDE / (2 * CHIN * SIDE)


def chin(parts: FaceParts) -> Tensor:
    """Weights `[512, 512]` of a strip of skin below the middle of the mouth."""
    x, y, _ = parts.moments(*MOUTH)
    return parts.sure('skin') * ((parts.columns - x).abs() < CHIN) * (parts.rows > y)


def hair_length(parts: FaceParts) -> Tensor:
    """Area of the hair below the mouth, as a fraction of the picture."""
    return (parts.map('hair') * (parts.rows > parts.moments(*MOUTH)[1])).mean()


def fringe(parts: FaceParts) -> Tensor:
    """How much of the forehead, within the region, is covered by hair."""
    return mean(parts.map('hair'), parts.inside(forehead(parts)))


def forehead(parts: FaceParts) -> Tensor:
    """Weights `[512, 512]`, 0 or 1, of a box above the brows."""
    x, y, _ = parts.moments(*BROWS)
    height, half = FOREHEAD
    return ((parts.columns - x).abs() < half).double() * ((parts.rows < y) & (parts.rows > y - height))


def parabola(parts: FaceParts, weights: Tensor) -> Tensor:
    """Coefficients `[3]` of the row as a parabola of the column, from its mean on: height, slope, bend.

    Least squares over the pixels by their weights `[512, 512]`; NaN where there are none.
    """
    u = (parts.columns - mean(parts.columns, weights)).flatten()
    powers = torch.stack([torch.ones_like(u), u, u.square()])  # [3, 512]
    columns = weights.sum(dim=0)
    right = powers @ (weights * parts.rows).sum(dim=0)
    solution, info = torch.linalg.solve_ex((powers * columns) @ powers.T, right)
    return solution if not info else torch.full_like(solution, torch.nan)
