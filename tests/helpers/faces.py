"""Forged face parsers, which see boxes and other shapes whatever the picture is."""

from __future__ import annotations

import types

import torch

from resefa_plugin.attributes.face_parts import CLASSES, SIDE


def box(name, top, left, height, width):
    return CLASSES.index(name), slice(top, top + height), slice(left, left + width)


FACE = [box('hair', 20, 60, 400, 380), box('skin', 100, 100, 350, 300), box('left_brow', 200, 150, 12, 80),
        box('right_brow', 200, 290, 12, 80), box('left_eye', 230, 160, 20, 40), box('right_eye', 230, 300, 20, 40),
        box('nose', 250, 225, 80, 50), box('upper_lip', 360, 200, 20, 100), box('mouth', 380, 200, 20, 100),
        box('lower_lip', 400, 200, 20, 100)]


def forged(parts):
    """Networks whose parser always sees these boxes, later ones above earlier ones."""
    labels = torch.zeros(SIDE, SIDE, dtype=torch.long)
    for index, rows, columns in parts:
        labels[rows, columns] = index
    return seeing(labels)


def seeing(labels):
    """Networks whose parser always sees these classes `[512, 512]`."""
    probabilities = torch.nn.functional.one_hot(labels, len(CLASSES)).permute(2, 0, 1)[None].float()
    return types.SimpleNamespace(device=torch.device('cpu'), parsing=lambda images, output: probabilities)


def painted(colours):
    """A picture `[1, 3, 512, 512]` of FACE in which parts by name have a colour from 0 to 1, the rest is grey."""
    image = torch.full((1, 3, SIDE, SIDE), 0.5)
    for index, rows, columns in FACE:
        colour = colours.get(CLASSES[index])
        if colour is not None:
            image[:, :, rows, columns] = torch.tensor(colour)[:, None, None]
    return 2 * image - 1
