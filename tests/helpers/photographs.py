"""Small drawn photographs, a finder that knows where their faces are, and LPIPS without its weights."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from resefa_plugin.metrics.networks.lpips import LPIPS
from resefa_plugin.projection.landmarks import Face

# Set by hand: eyes, and corners of the mouth.
ASTRONAUT_POINTS = np.array([[202.3, 100.3], [247.7, 103.3], [206, 142.7], [243.3, 142.7]])


def face_at(points, side=40.0):
    """A face with four points `[4, 2]`, as the finder gives it."""
    points = np.asarray(points, float)
    five = np.insert(points, 2, points.mean(axis=0), axis=0)
    centre = points.mean(axis=0)
    return Face(np.concatenate([centre - side / 2, centre + side / 2]), five, 0.99)


def write_portrait(path):
    """A grey photograph of 400 x 300 pixels in which `find_two` finds faces."""
    Image.fromarray(np.full((300, 400, 3), 128, np.uint8)).save(path)


def find_two(picture):
    """Two faces, the larger one at the left, in a picture of 400 x 300 pixels."""
    face = np.array([[100, 120], [160, 122], [105, 190], [158, 191]], float)
    return [face_at(face, 100), face_at((face - face[0]) / 2 + [280, 150], 50)]


def stand_in_lpips(device):
    """LPIPS with random weights, always the same ones."""
    network = LPIPS().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for convolution in network.convs:
        convolution.bias.zero_()
        convolution.weight.copy_(0.05 * torch.randn(convolution.weight.shape, generator=generator))
    for head in network.heads:
        head.fill_(0.01)
    return network


def without_downloads(monkeypatch):
    """A finder that knows where faces are, LPIPS without its weights, and no SFace, for the commands."""
    place = 'resefa_plugin.scripts.common.photographs'
    monkeypatch.setattr(f'{place}.face_finder', find_two)
    monkeypatch.setattr(f'{place}.load_lpips_network', stand_in_lpips)
    monkeypatch.setattr(f'{place}.load_identity', lambda device: None)


def ramp(height, width):
    """A picture `[height, width, 3]` whose channels are linear in x, in y and in both, at the pixels' centres."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([x, y, (x + y) / 2], axis=-1)
