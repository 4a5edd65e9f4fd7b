"""Which part of a photograph the network is to see: found, given, or all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from resefa_plugin.editing.paste import Patch, paste
from resefa_plugin.errors import PhotographError, check_number
from resefa_plugin.projection.alignment import SMALLEST_SQUARE, Alignment
from resefa_plugin.projection.landmarks import Face
from resefa_plugin.projection.photograph import Photograph

FaceFinder = Callable[[NDArray[np.uint8]], list[Face]]
Points = NDArray[np.float64]

AUTO, WHOLE = 'auto', 'none'
# A square picture is aligned already if no corner of its face's square is further from the picture's than so many
# sides.
ALIGNED = 0.12
FEW_PIXELS = 256    # of the side of a square; of less, the aligned picture is visibly blurred
MUCH_OUTSIDE = 0.1  # of the square


@dataclass(frozen=True)
class Framing:
    """What was chosen, and why.

    Attributes:
        alignment: of the network's picture in the photograph.
        points: of the face, `[4 or 5, 2]`; None where all of the photograph was taken.
        faces: that were found, the largest first; none where none were looked for.
        notes: what the user should know, in sentences.
    """

    alignment: Alignment
    points: Points | None = None
    faces: tuple[Face, ...] = ()
    notes: tuple[str, ...] = ()


def frame(photograph: Photograph, how: str | Points, image_size: tuple[int, int], find: FaceFinder,
          number: int = 1) -> Framing:
    """Chooses the part of a photograph.

    Args:
        how: `auto`: the face is found, and FFHQ's square put around it, unless the photograph is aligned already;
            `none`: the photograph as it is, which must have the shape of the network's pictures; or the points of a
            face, see `Alignment.from_points`.
        image_size: `(H, W)` of the network's pictures.
        find: faces in a picture `[H, W, 3]`, the largest first.
        number: which of the faces, from 1 on.

    Raises PhotographError, which says what to do, where there is no such face, or it is too small.
    """
    check_number('number', number, least=1, whole=True)
    if isinstance(how, str):
        if how not in (AUTO, WHOLE):
            raise PhotographError(f"alignment '{how}' is not {AUTO}, {WHOLE} or the points of a face")
        return _found(photograph, image_size, find, number) if how == AUTO else _whole(photograph, image_size)
    return _around(photograph, how)


def laid_in(photograph: Photograph, alignment: Alignment, unedited: NDArray[np.uint8], edited: NDArray[np.uint8],
            mask: NDArray[np.bool_], in_photograph: bool = False) -> Image.Image:
    """The photograph with a region of an edited rendering `[H, W, 3]`, see `Patch`."""
    matrix = alignment.matrix((edited.shape[0], edited.shape[1]))
    patch = Patch(photograph.in_its_colours(edited), photograph.in_its_colours(unedited), mask, matrix, in_photograph)
    return photograph.with_pixels(paste(photograph.pixels, [patch]))


def numbered_faces(photograph: Photograph, faces: tuple[Face, ...], side: int = 1024) -> Image.Image:
    """The photograph with the number of each face on it, its longer side at most `side` pixels."""
    picture = Image.fromarray(photograph.rgb)
    picture.thumbnail((side, side))
    scale, draw = picture.width / photograph.image.width, ImageDraw.Draw(picture)
    for number, face in enumerate(faces, 1):
        left, top, right, bottom = (face.box * scale).tolist()
        draw.rectangle((left, top, right, bottom), outline='white', width=3)
        draw.text((left + 5, top + 3), str(number), 'white', font_size=28, stroke_width=3, stroke_fill='black')
    return picture


def _found(photograph: Photograph, image_size: tuple[int, int], find: FaceFinder, number: int) -> Framing:
    faces = tuple(find(photograph.rgb))
    if not faces:
        raise PhotographError(
            f"no face was found in '{photograph.name}': the finder wants one that is upright, seen from the front and "
            'at least a thirtieth of the picture. Turn or crop the photograph, give the points of the face by hand '
            '(--align=x,y,... of left eye, right eye, left and right corner of the mouth), or take it as it is if it '
            'has the frame of the pictures that the network was trained on (--align=none)')
    if number > len(faces):
        raise PhotographError(f"there is no face {number} in '{photograph.name}': {len(faces)} found, the largest is 1")
    framing = _around(photograph, faces[number - 1].points)
    whole = Alignment.whole(photograph.size)
    if photograph.size[0] * image_size[1] == photograph.size[1] * image_size[0] and \
            framing.alignment.distance(whole) < ALIGNED:
        return Framing(whole, None, faces, ('it is aligned already and was taken as it is',))
    notes = framing.notes
    if len(faces) > 1:
        notes = (f'{len(faces)} faces were found, and face {number} was taken, as counted from the largest: choose '
                 'another with --face', *notes)
    return Framing(framing.alignment, framing.points, faces, notes)


def _around(photograph: Photograph, points: Points) -> Framing:
    alignment = Alignment.from_points(points)
    side, outside = alignment.side, alignment.outside(photograph.size)
    if side < SMALLEST_SQUARE:
        raise PhotographError(f"the face in '{photograph.name}' is too small: the square around it has a side of "
                              f'{side:.0f} pixels, expected at least {SMALLEST_SQUARE}; take a larger photograph')
    if outside == 1:
        raise PhotographError(f"the points lie outside of '{photograph.name}', which is {photograph.size[1]} x "
                              f'{photograph.size[0]} pixels (width x height)')
    notes = []
    if side < FEW_PIXELS:
        notes.append(f'the square around the face has a side of {side:.0f} pixels only: the aligned picture is blurred')
    if outside > MUCH_OUTSIDE:
        notes.append(f'{outside:.0%} of the square around the face lie outside of the photograph and were filled by '
                     'mirroring')
    return Framing(alignment, points, (), tuple(notes))


def _whole(photograph: Photograph, image_size: tuple[int, int]) -> Framing:
    (h, w), (height, width) = photograph.size, image_size
    if 2 * abs(h * width - w * height) > max(height, width) + max(h, w):
        raise PhotographError(f"--align=none takes '{photograph.name}' as it is, but it is {w} x {h} (width x height) "
                              f'and the pictures of the network are {width} x {height}: crop it to that shape')
    return Framing(Alignment.whole(photograph.size))
