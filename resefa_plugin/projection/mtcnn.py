"""The three networks of MTCNN (Zhang et al., 2016, "Joint Face Detection and Alignment"): each refines the one before.

Written from the paper. The weights come as state dicts, and are read as data.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from torch import Tensor, nn
from torch.nn import functional

from resefa_plugin.checkpoints.pickles.torch_storage import read_torch_file
from resefa_plugin.errors import CheckpointError
from resefa_plugin.third_party.face_detector import FACE_DETECTOR

Network = TypeVar('Network', bound=nn.Module)


class Windows(NamedTuple):
    """What a network says of square windows.

    Attributes:
        score: probability that there is a face, `[N]`.
        shift: left, top, right and bottom of the face against those of the window, in sides of the window, `[N, 4]`.
        points: of the last network: five points (x, y) in the window, in its sides, `[N, 5, 2]`: eyes, nose, corners of
            the mouth, those at the left of the picture first. None of the others.
    """

    score: Tensor
    shift: Tensor
    points: Tensor | None = None


class ProposalNet(nn.Module):
    """Windows of 12 x 12 pixels at every second row and column of a picture, as a convolution."""

    side, stride = 12, 2

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 10, 3), nn.PReLU(10)
        self.conv2, self.prelu2 = nn.Conv2d(10, 16, 3), nn.PReLU(16)
        self.conv3, self.prelu3 = nn.Conv2d(16, 32, 3), nn.PReLU(32)
        self.conv4_1, self.conv4_2 = nn.Conv2d(32, 2, 1), nn.Conv2d(32, 4, 1)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """Scores `[h, w]` and shifts `[h, w, 4]` of the windows of a picture `[1, 3, H, W]` in [-1, 1]."""
        x = functional.max_pool2d(self.prelu1(self.conv1(picture)), 2, 2, ceil_mode=True)
        x = self.prelu3(self.conv3(self.prelu2(self.conv2(x))))
        return self.conv4_1(x).softmax(dim=1)[0, 1], self.conv4_2(x)[0].permute(1, 2, 0)


class RefinementNet(nn.Module):
    """Windows of 24 x 24 pixels: face or not, and where exactly."""

    side = 24

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), nn.PReLU(28)
        self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), nn.PReLU(48)
        self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), nn.PReLU(64)
        self.dense4, self.prelu4 = nn.Linear(576, 128), nn.PReLU(128)
        self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)

    def forward(self, windows: Tensor) -> Windows:
        """What it says of windows `[N, 3, side, side]` in [-1, 1]."""
        x = functional.max_pool2d(self.prelu1(self.conv1(windows)), 3, 2, ceil_mode=True)
        x = functional.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = self.prelu4(self.dense4(_columns_first(self.prelu3(self.conv3(x)))))
        return Windows(self.dense5_1(x).softmax(dim=1)[:, 1], self.dense5_2(x))


class OutputNet(nn.Module):
    """Windows of 48 x 48 pixels: face or not, where exactly, and five points."""

    side = 48

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.prelu1 = nn.Conv2d(3, 32, 3), nn.PReLU(32)
        self.conv2, self.prelu2 = nn.Conv2d(32, 64, 3), nn.PReLU(64)
        self.conv3, self.prelu3 = nn.Conv2d(64, 64, 3), nn.PReLU(64)
        self.conv4, self.prelu4 = nn.Conv2d(64, 128, 2), nn.PReLU(128)
        self.dense5, self.prelu5 = nn.Linear(1152, 256), nn.PReLU(256)
        self.dense6_1, self.dense6_2, self.dense6_3 = nn.Linear(256, 2), nn.Linear(256, 4), nn.Linear(256, 10)

    def forward(self, windows: Tensor) -> Windows:
        """What it says of windows `[N, 3, side, side]` in [-1, 1]."""
        x = functional.max_pool2d(self.prelu1(self.conv1(windows)), 3, 2, ceil_mode=True)
        x = functional.max_pool2d(self.prelu2(self.conv2(x)), 3, 2, ceil_mode=True)
        x = functional.max_pool2d(self.prelu3(self.conv3(x)), 2, 2, ceil_mode=True)
        x = self.prelu5(self.dense5(_columns_first(self.prelu4(self.conv4(x)))))
        points = self.dense6_3(x).unflatten(1, (2, 5)).transpose(1, 2)  # all x, then all y -> [N, 5, 2]
        return Windows(self.dense6_1(x).softmax(dim=1)[:, 1], self.dense6_2(x), points)


class Detector(NamedTuple):
    """The three networks, in eval mode without gradients."""

    propose: ProposalNet
    refine: RefinementNet
    output: OutputNet


def load_detector() -> Detector:
    """The detector with the published weights, fetched on first use.

    Raises CheckpointError if they cannot be had, or do not fit.
    """
    propose, refine, output = FACE_DETECTOR.fetch().values()
    return Detector(_filled(ProposalNet(), propose), _filled(RefinementNet(), refine), _filled(OutputNet(), output))


def _filled(network: Network, path: str | os.PathLike[str]) -> Network:
    state = read_torch_file(path)
    try:
        if not isinstance(state, Mapping):
            raise TypeError('it holds no state')
        network.load_state_dict(dict(state))
    except (TypeError, RuntimeError) as error:
        raise CheckpointError(f'{path}: is not the {type(network).__name__} of MTCNN ({error})') from error
    return network.eval().requires_grad_(False)


def _columns_first(x: Tensor) -> Tensor:
    """`[N, C, H, W]` -> `[N, W * H * C]`, the order in which the dense layers of the weights take them."""
    return x.permute(0, 3, 2, 1).flatten(1)


def normalized(pixels: Tensor) -> Tensor:
    """What all three networks take: pixels from 0 to 255, in about [-1, 1]."""
    return (pixels - 127.5) / 128
