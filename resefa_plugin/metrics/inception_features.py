"""The features of FID and KID."""

from __future__ import annotations

import torch
from torch import Tensor

from resefa_plugin.metrics.metric_networks import Networks, rgb
from resefa_plugin.metrics.networks.tfjs_network import resize_bilinear

SIDE = 299


class InceptionFeatures:
    """Pictures -> 2,048 features of the Inception network that the FID is defined with."""

    def __init__(self, networks: Networks):
        self._network, self._device = networks.inception, networks.device

    def __call__(self, images: Tensor) -> Tensor:
        """`[N, C, H, W]` in about [-1, 1] -> `[N, 2048]` float32 in main memory; one picture at a time.

        As the original: pictures in 256 levels, TensorFlow 1's bilinear resizing to 299 x 299, which skips pixels of
        large pictures, and the range (x - 128) / 128.
        """
        with torch.no_grad():
            return torch.cat([self._network(self._input(image[None]).to(self._device)).cpu() for image in images])

    @staticmethod
    def _input(image: Tensor) -> Tensor:
        levels = (rgb(image) * 127.5 + 128).floor().clamp(0, 255)  # as pictures are saved
        return (resize_bilinear(levels, (SIDE, SIDE)) - 128) / 128
