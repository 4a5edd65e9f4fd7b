"""Where the parts of a face are: probabilities of 19 classes at each pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from resefa_plugin.metrics.metric_networks import Networks, rgb

SIDE = 512  # of the pictures that the parser sees; at 256 it misses the mouth between slightly opened lips
PROBABILITIES = 'BiseNetV2/prob'

# Classes of CelebAMask-HQ. Left and right eye or brow are often mixed up: use them together.
CLASSES = ('background', 'skin', 'left_brow', 'right_brow', 'left_eye', 'right_eye', 'glasses', 'left_ear', 'right_ear',
           'earring', 'nose', 'mouth', 'upper_lip', 'lower_lip', 'neck', 'necklace', 'cloth', 'hair', 'hat')


class FaceParts:
    """The parts of one picture.

    Args:
        image: `[1, 1 or 3, H, W]` in [-1, 1].
        networks: has the parser.

    Attributes:
        colours: `[3, 512, 512]` from 0 to 1.
    """

    def __init__(self, image: Tensor, networks: Networks):
        picture = functional.interpolate(rgb(image), (SIDE, SIDE), mode='bilinear', antialias=True, align_corners=False)
        with torch.no_grad():
            self._probabilities = networks.parsing(picture.to(networks.device), PROBABILITIES)[0].cpu().double()
        self.colours = (picture[0].cpu().double() + 1) / 2

    def map(self, *names: str) -> Tensor:
        """The probability `[512, 512]` of being one of these parts."""
        return sum(self._probabilities[CLASSES.index(name)] for name in names)

    def area(self, *names: str) -> Tensor:
        """Expected area of these parts as a fraction of the picture."""
        return self.map(*names).mean()

    def moments(self, *names: str) -> tuple[Tensor, Tensor, Tensor]:
        """Mean column, mean row and standard deviation of the column of these parts, in parts of the picture."""
        weights = (2 * self.map(*names) - 1).clamp(min=0)  # without the faint tails, which lie far away
        weights = weights / weights.sum()
        grid = (torch.arange(SIDE, dtype=torch.float64) + 0.5) / SIDE
        x, y = (weights.sum(dim=0) * grid).sum(), (weights.sum(dim=1) * grid).sum()
        return x, y, (weights.sum(dim=0) * (grid - x).square()).sum().sqrt()

    def colour(self, *names: str) -> Tensor:
        """Mean colour `[3]` of these parts, from 0 to 1."""
        weights = self.map(*names) / self.map(*names).sum()
        return (self.colours * weights).sum(dim=(1, 2))
