"""Where the parts of a face are: the probability of each of 19 parts at each pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from resefa_plugin.metrics.metric_networks import Networks, rgb

SIDE = 512  # of the pictures that the parser sees; at 256 it misses the mouth between slightly opened lips
PROBABILITIES = 'BiseNetV2/prob'  # the parser's output that is read

# Classes of CelebAMask-HQ. Left and right eye or brow are often mixed up: use them together.
CLASSES = ('background', 'skin', 'left_brow', 'right_brow', 'left_eye', 'right_eye', 'glasses', 'left_ear', 'right_ear',
           'earring', 'nose', 'mouth', 'upper_lip', 'lower_lip', 'neck', 'necklace', 'cloth', 'hair', 'hat')


class FaceParts:
    """The parts of one picture. Methods take names of CLASSES and treat these parts as one.

    Args:
        image: `[1, 1 or 3, H, W]` in [-1, 1].
        networks: of which `parsing`, the parser, is used.

    Attributes:
        colours: `[3, 512, 512]` float64 from 0 to 1.
    """

    def __init__(self, image: Tensor, networks: Networks) -> None:
        picture = functional.interpolate(rgb(image), (SIDE, SIDE), mode='bilinear', antialias=True, align_corners=False)
        with torch.no_grad():
            self._probabilities: Tensor = networks.parsing(picture.to(networks.device), PROBABILITIES)[0].cpu().double()
        self.colours = (picture[0].cpu().double() + 1) / 2

    def map(self, *names: str) -> Tensor:
        """The probability `[512, 512]` of each pixel to be in one of these parts."""
        return self._probabilities[[CLASSES.index(name) for name in names]].sum(dim=0)

    def area(self, *names: str) -> Tensor:
        """Area of these parts as a fraction of the picture, a pixel counting by its probability."""
        return self.map(*names).mean()

    def moments(self, *names: str) -> tuple[Tensor, Tensor, Tensor]:
        """Mean column, mean row, and standard deviation of the column of these parts; 1 is the picture's side.

        NaN where these parts are not seen.
        """
        weights = (2 * self.map(*names) - 1).clamp(min=0)  # small probabilities, far away, would weigh too much
        weights = weights / weights.sum()
        grid = (torch.arange(SIDE, dtype=torch.float64) + 0.5) / SIDE
        x, y = (weights.sum(dim=0) * grid).sum(), (weights.sum(dim=1) * grid).sum()
        return x, y, (weights.sum(dim=0) * (grid - x).square()).sum().sqrt()

    def colour(self, *names: str) -> Tensor:
        """Mean colour `[3]` of these parts, from 0 to 1."""
        weights = self.map(*names) / self.map(*names).sum()
        return (self.colours * weights).sum(dim=(1, 2))
