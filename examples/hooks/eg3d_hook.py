"""EG3D (github.com/NVlabs/eg3d): directions of a tri-plane generator, seen from one camera.

    export EG3D=~/eg3d/eg3d EG3D_NETWORK=~/ffhqrebalanced512-128.pkl
    resefa factorize --hook=eg3d_hook:front --seeds=0 --trunc=0.7 --region=0.35,0.6,0.3,0.2 --outdir=mouth

Put this file into the current folder. `EG3D` is the folder of your checkout that has `legacy.py`; its loader EXECUTES
the code in the network file. An edit that was found from the front can be looked at from the side, with
`resefa edit --hook=eg3d_hook:side`: w knows nothing of the camera.

Ray sampling without forward-mode rules is differentiated in reverse mode, which is announced. Begin with
`--resolution=64`.
"""

from __future__ import annotations

import importlib
import math
import os
import pathlib
import sys
from unittest import mock

import torch
from torch import Tensor, nn
from typing_extensions import override

from resefa_plugin.hooks.base import GeneratorHook, box_average
from resefa_plugin.hooks.style_based import StyleBasedHook
from resefa_plugin.patches.plugin_loader import patch_plugin_loader

FIELD_OF_VIEW = 18.837  # degrees, of the published networks


def front(device: torch.device) -> GeneratorHook:
    """The head from the front."""
    return open_eg3d(device)


def side(device: torch.device) -> GeneratorHook:
    """The head turned by 0.4 radians."""
    return open_eg3d(device, yaw=0.4)


def open_eg3d(device: torch.device, yaw: float = 0.0, pitch: float = 0.0) -> GeneratorHook:
    """The generator in `EG3D_NETWORK`, by the code in `EG3D`, with a camera at these angles (radians)."""
    sys.path.insert(0, str(pathlib.Path(os.environ['EG3D']).expanduser()))
    with patch_plugin_loader():
        legacy, camera = importlib.import_module('legacy'), importlib.import_module('camera_utils')
        with open(pathlib.Path(os.environ['EG3D_NETWORK']).expanduser(), 'rb') as file:
            G = legacy.load_network_pkl(file)['G_ema'].eval().requires_grad_(False).to(device)
    still(G)
    intrinsics = camera.FOV_to_intrinsics(FIELD_OF_VIEW, device=device).reshape(1, 9)

    def label(yaw: float, pitch: float) -> Tensor:  # [1, 25]: camera to world [4, 4], then intrinsics [3, 3]
        pivot = torch.tensor(G.rendering_kwargs.get('avg_camera_pivot', [0, 0, 0]), device=device)
        pose = camera.LookAtPoseSampler.sample(math.pi / 2 + yaw, math.pi / 2 + pitch, pivot, device=device,
                                               radius=G.rendering_kwargs.get('avg_camera_radius', 2.7))
        return torch.cat([pose.reshape(1, 16), intrinsics], dim=1)

    return EG3DHook(G, camera=label(yaw, pitch), conditioning=label(0, 0), device=device)


def still(G: nn.Module) -> None:
    """Takes chance out of the renderer: the picture has to be a function of the latent.

    Samples along a ray lie in the middle of their intervals. A second pass, whose samples lie where the first saw
    something, has no derivative; the first one has all samples instead.
    """
    options, renderer = G.rendering_kwargs, G.renderer
    options['depth_resolution'] += options['depth_resolution_importance']
    options['depth_resolution_importance'] = 0
    jittered = renderer.sample_stratified

    def sample_stratified(*args, **kwargs):
        with mock.patch.object(torch, 'rand_like', lambda x: torch.full_like(x, 0.5)):
            return jittered(*args, **kwargs)

    renderer.sample_stratified = sample_stratified


class EG3DHook(StyleBasedHook):
    """A tri-plane generator behind one camera; what is edited is w.

    Args:
        G: the generator.
        camera: `[1, 25]`, from where the picture is taken.
        conditioning: `[1, 25]`, the camera that the mapping network is told; the same for all pictures of a head.
        device: where it is.
    """

    space_names = ('z', 'w', 'w+')

    def __init__(self, G: nn.Module, camera: Tensor, conditioning: Tensor, device: torch.device):
        self.G, self.camera, self.conditioning, self.device = G, camera, conditioning, torch.device(device)
        self.name = 'eg3d'
        self.z_dim, self.w_dim, self.num_ws = G.z_dim, G.w_dim, G.backbone.mapping.num_ws
        self.style_dims = (self.w_dim,) * self.num_ws
        with torch.no_grad():
            picture = self.synthesis(torch.zeros(1, self.num_ws, self.w_dim, device=self.device), None)
        self.image_shape = tuple(picture.shape[1:])

    @override
    def mapping(self, z: Tensor, c: None, truncation_psi: float, truncation_cutoff: int | None) -> Tensor:
        return self.G.mapping(z, self.conditioning.expand(len(z), -1), truncation_psi=truncation_psi,
                              truncation_cutoff=truncation_cutoff)

    @override
    def synthesis(self, ws: Tensor, resolution: int | None) -> Tensor:
        images = self.G.synthesis(ws, self.camera.expand(len(ws), -1), noise_mode='const', force_fp32=True)['image']
        return box_average(images, resolution)

    @override
    def styles(self, ws: Tensor) -> list[Tensor]:
        return list(ws.unbind(dim=1))  # a w for each layer: it has no space 's'

    @override
    def from_styles(self, styles: list[Tensor], resolution: int | None) -> Tensor:
        return self.synthesis(torch.stack(styles, dim=1), resolution)
