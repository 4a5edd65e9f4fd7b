"""Regions by name: boxes on aligned faces and on BigGAN's ImageNet pictures.

Rows, columns and sizes are on a grid of 256 x 256 over the picture and grow with it, each axis by itself. Left and
right are sides of the picture: `left_eye` is the eye at the left of the picture, which is the person's right eye.
"""

from __future__ import annotations

from typing import NamedTuple

GRID = 256  # side of the picture that the presets are written for


class PresetBox(NamedTuple):
    """A box by its centre pixel, as the ReSeFa authors print theirs. An odd size extends equally to both sides."""

    row: int
    col: int
    height: int
    width: int

    @property
    def edges(self) -> tuple[int, int, int, int]:
        """First and past-the-end pixels on the grid: `(top, left, bottom, right)`."""
        top, left = self.row - self.height // 2, self.col - self.width // 2
        return top, left, top + self.height, left + self.width


# Faces aligned as in FFHQ. The first seven are published with the method. In `eyebrows`, row and column are exchanged:
# as printed, the box would lie off centre across the eyes. The others are ours, drawn on FFHQ samples; `hair` is the
# top of the head, where nearly every aligned face has hair.
FACE_PRESETS = {
    'left_eye': PresetBox(120, 95, 20, 38),
    'right_eye': PresetBox(120, 159, 20, 38),
    'eyes': PresetBox(120, 128, 20, 115),
    'nose': PresetBox(142, 131, 40, 46),
    'mouth': PresetBox(184, 127, 30, 70),
    'chin': PresetBox(217, 130, 42, 110),
    'eyebrows': PresetBox(105, 126, 15, 118),
    'forehead': PresetBox(76, 124, 36, 84),
    'left_cheek': PresetBox(156, 84, 32, 36),
    'right_cheek': PresetBox(156, 172, 32, 36),
    'glasses': PresetBox(125, 128, 42, 152),
    'hair': PresetBox(20, 128, 40, 160),
    'face': PresetBox(146, 128, 188, 144),
}

# ImageNet pictures, published with the method.
BIGGAN_PRESETS = {
    'center0': PresetBox(120, 120, 80, 80),
    'center1': PresetBox(120, 120, 130, 130),
    'center2': PresetBox(120, 120, 200, 200),
    'left_side': PresetBox(128, 64, 256, 128),
    'top_side': PresetBox(64, 128, 128, 256),
    'head0': PresetBox(89, 115, 49, 70),
    'head1': PresetBox(93, 110, 48, 70),
}

# What people call a preset -> its name.
OTHER_NAMES = {'lips': 'mouth', 'lip': 'mouth', 'smile': 'mouth', 'teeth': 'mouth', 'eye': 'eyes', 'brows': 'eyebrows',
               'brow': 'eyebrows', 'jaw': 'chin', 'beard': 'chin', 'cheek': 'left_cheek',
               'cheeks': 'left_cheek+right_cheek', 'eyeglasses': 'glasses', 'bangs': 'forehead', 'head': 'face',
               'background': '~face'}

PRESETS = {**FACE_PRESETS, **BIGGAN_PRESETS}
