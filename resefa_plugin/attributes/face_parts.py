"""Where the parts of a face are: the probability of each of 19 parts at each pixel."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from resefa_plugin.metrics.metric_networks import Networks, rgb
from resefa_plugin.regions.partition import RegionPartition

SIDE = 512  # of the pictures that the parser sees; at 256 it misses the mouth between slightly opened lips
PROBABILITIES = 'BiseNetV2/prob'  # the parser's output that is read

# Classes of CelebAMask-HQ. Left and right eye or brow are often mixed up: use them together.
CLASSES = ('background', 'skin', 'left_brow', 'right_brow', 'left_eye', 'right_eye', 'glasses', 'left_ear', 'right_ear',
           'earring', 'nose', 'mouth', 'upper_lip', 'lower_lip', 'neck', 'necklace', 'cloth', 'hair', 'hat')

LUMINANCE = (0.2126, 0.7152, 0.0722)  # weights of red, green and blue, Rec. 709
DARKEST = 0.02  # added to a luminance before its logarithm is taken: black is no minus infinity

_CENTRES = (torch.arange(SIDE, dtype=torch.float64) + 0.5) / SIDE


class FaceParts:
    """The parts of one picture. Methods take names of CLASSES and treat these parts as one.

    All of them can be differentiated, where the picture asks for its derivative.

    Places and lengths are in sides of the picture: rows and columns go from 0 to 1. What is not seen is NaN.

    Args:
        image: `[1, 1 or 3, H, W]` in [-1, 1].
        networks: of which `parsing`, the parser, is used.
        region: to which `inside` and `coverage` are cropped; None for the whole picture.

    Attributes:
        colours: `[3, 512, 512]` float64 from 0 to 1.
        luminance: `[512, 512]` float64 from 0 to 1.
        columns, rows: `[1, 512]` and `[512, 1]`, of the centres of the pixels.
    """

    columns, rows = _CENTRES[None], _CENTRES[:, None]

    def __init__(self, image: Tensor, networks: Networks, region: RegionPartition | None = None) -> None:
        picture = functional.interpolate(rgb(image), (SIDE, SIDE), mode='bilinear', antialias=True, align_corners=False)
        self._probabilities: Tensor = networks.parsing(picture.to(networks.device), PROBABILITIES)[0].cpu().double()
        self.colours = (picture[0].cpu().double() + 1) / 2
        self.luminance = torch.einsum('c,chw->hw', torch.tensor(LUMINANCE, dtype=torch.float64), self.colours)
        self._region = torch.ones(SIDE, SIDE, dtype=torch.float64) if region is None else functional.interpolate(
            torch.tensor(region.mask)[None, None].double(), (SIDE, SIDE), mode='bilinear', antialias=True)[0, 0]
        self._maps: dict[tuple[str, ...], Tensor] = {}  # the same parts are asked for by many attributes

    def map(self, *names: str) -> Tensor:
        """The probability `[512, 512]` of each pixel to be in one of these parts."""
        if names not in self._maps:
            self._maps[names] = self._probabilities[[CLASSES.index(name) for name in names]].sum(dim=0)
        return self._maps[names]

    def sure(self, *names: str) -> Tensor:
        """Weights `[512, 512]` from 0 to 1 of the pixels that are rather in one of these parts than not.

        Small probabilities, far away, would weigh too much where a place or a colour is meant.
        """
        return (2 * self.map(*names) - 1).clamp(min=0)

    def inside(self, weights: Tensor) -> Tensor:
        """Weights `[512, 512]`, those outside of the region set to 0."""
        return weights * self._region

    def area(self, *names: str) -> Tensor:
        """Area of these parts as a fraction of the picture, a pixel counting by its probability."""
        return self.map(*names).mean()

    def coverage(self, weights: Tensor) -> Tensor:
        """The fraction of the region that weights `[512, 512]` from 0 to 1 cover."""
        return mean(weights, self._region)

    def share(self, weights: Tensor) -> Tensor:
        """How much of weights `[512, 512]` lies in the region, from 0 to 1."""
        return mean(self._region, weights)

    def moments(self, *names: str) -> tuple[Tensor, Tensor, Tensor]:
        """Mean column, mean row, and standard deviation of the column of these parts; 1 is the picture's side.

        NaN where these parts are not seen.
        """
        weights = self.sure(*names)
        x, y = mean(self.columns, weights), mean(self.rows, weights)
        return x, y, mean((self.columns - x).square(), weights).sqrt()

    def colour(self, *names: str) -> Tensor:
        """Mean colour `[3]` of these parts, from 0 to 1."""
        return mean(self.colours, self.map(*names))

    def brightness(self, weights: Tensor) -> Tensor:
        """Logarithm of the mean luminance of pixels by their weights `[512, 512]`."""
        return (mean(self.luminance, weights) + DARKEST).log()

    def halves(self) -> tuple[Tensor, Tensor]:
        """Weights `[1, 512]` of the left and the right half of the face: 1 on its side of the nose, else 0."""
        middle = self.moments('nose')[0]
        return (self.columns < middle).double(), (self.columns >= middle).double()


def mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean over the pixels of values `[..., 512, 512]` or a grid of them, by weights `[512, 512]`; NaN without any."""
    return (values * weights).sum(dim=(-2, -1)) / weights.sum()
