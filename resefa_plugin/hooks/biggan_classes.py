"""Classes by number, by name, or as a mix."""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor

from resefa_plugin.errors import ResefaError

# Index in ImageNet-1k's 1000 classes, for those that make good pictures to edit.
IMAGENET_NAMES = {
    'goldfish': 1, 'great white shark': 2, 'ostrich': 9, 'goldfinch': 11, 'house finch': 12, 'indigo bunting': 14,
    'robin': 15, 'jay': 17, 'bald eagle': 22, 'great grey owl': 24, 'tree frog': 31, 'peacock': 84, 'macaw': 88,
    'hummingbird': 94, 'toucan': 96, 'black swan': 100, 'koala': 105, 'jellyfish': 107, 'flamingo': 130,
    'king penguin': 145, 'Chihuahua': 151, 'beagle': 162, 'golden retriever': 207, 'Labrador retriever': 208,
    'German shepherd': 235, 'Siberian husky': 250, 'dalmatian': 251, 'pug': 254, 'Samoyed': 258, 'timber wolf': 269,
    'red fox': 277, 'tabby': 281, 'Persian cat': 283, 'Siamese cat': 284, 'lion': 291, 'tiger': 292, 'cheetah': 293,
    'brown bear': 294, 'ladybug': 301, 'monarch': 323, 'zebra': 340, 'African elephant': 386, 'giant panda': 388,
    'airliner': 404, 'balloon': 417, 'barn': 425, 'castle': 483, 'fountain': 562, "jack-o'-lantern": 607,
    'palace': 698, 'school bus': 779, 'sports car': 817, 'teapot': 849, 'cheeseburger': 933, 'mushroom': 947,
    'strawberry': 949, 'pizza': 963, 'alp': 970, 'coral reef': 973, 'geyser': 974, 'seashore': 978, 'valley': 979,
    'volcano': 980, 'daisy': 985,
}

_BY_KEY = {name.casefold(): index for name, index in IMAGENET_NAMES.items()}
SUM_TOLERANCE = 1e-3  # of weights that people type: thirds as 0.333


def class_vector(spec: str, n_classes: int) -> Tensor:
    """The label of a class, `[1, n_classes]` float32, weights that sum to 1.

    Args:
        spec: a class number from 0; a name of IMAGENET_NAMES if there are 1000 classes, in any case, `_` for a space;
            or a soft mix with weights, such as `12:0.5,golden retriever:0.5`.
        n_classes: of the generator.

    Raises:
        ResefaError: no such class, or weights that are not positive or do not sum to 1.
    """
    vector = torch.zeros(1, n_classes)
    items = [item.strip() for item in spec.split(',')]
    for item in items:
        name, colon, weight = item.partition(':')
        if not colon and len(items) > 1:
            raise ResefaError(f"class '{spec}': '{item}' has no weight; a mix is written like 12:0.5,207:0.5")
        vector[0, _index(name.strip(), n_classes)] += _weight(spec, weight) if colon else 1.0
    total = vector.sum().item()
    if abs(total - 1) > SUM_TOLERANCE:
        raise ResefaError(f"class '{spec}': the weights sum to {total:g}, expected 1")
    return vector / total


def _index(name: str, n_classes: int) -> int:
    if re.fullmatch(r'[0-9]{1,9}', name):
        if int(name) >= n_classes:
            raise ResefaError(f'class {name} is out of range: this network has classes 0 to {n_classes - 1}')
        return int(name)
    if n_classes != 1000:
        raise ResefaError(f"class '{name}': this network has {n_classes} classes, not ImageNet's 1000, so they have no "
                          f'names here; expected a number from 0 to {n_classes - 1}')
    index = _BY_KEY.get(name.casefold().replace('_', ' '))
    if index is None:
        raise ResefaError(f"class '{name}' is not known by name; expected a number from 0 to 999 or one of: "
                          f'{", ".join(IMAGENET_NAMES)}')
    return index


def _weight(spec: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight <= 1:
        raise ResefaError(f"class '{spec}': weight '{text}' is not a number above 0 up to 1")
    return weight
