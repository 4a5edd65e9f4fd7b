"""StyleGAN-Human (github.com/stylegan-human/StyleGAN-Human): people of 1024 x 512 pixels.

    export STYLEGAN_HUMAN=~/StyleGAN-Human STYLEGAN_HUMAN_NETWORK=~/stylegan_human_v2_1024.pkl
    resefa factorize --hook=stylegan_human_hook:person --seeds=0 --trunc=0.8 --region=0.3,0.02,0.4,0.12 --outdir=head

Put this file into the current folder. `STYLEGAN_HUMAN` is the folder of your checkout; its loader EXECUTES the code in
the network file, and leaves a file `ori_model.txt` in the current folder. It is a fork of the official code whose
layers are the same, so that the hook of official networks serves it, with spaces z, w, w+ and s.
"""

from __future__ import annotations

import importlib
import os
import pathlib
import sys

import torch

from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.hooks.stylegan import OfficialStyleGANHook
from resefa_plugin.patches.pkg_resources_shim import shim_pkg_resources
from resefa_plugin.patches.plugin_loader import patch_plugin_loader


def person(device: torch.device) -> GeneratorHook:
    """The generator in `STYLEGAN_HUMAN_NETWORK`, by the code in `STYLEGAN_HUMAN`: version 2 or 3."""
    sys.path.insert(0, str(pathlib.Path(os.environ['STYLEGAN_HUMAN']).expanduser()))
    with shim_pkg_resources(), patch_plugin_loader():
        legacy = importlib.import_module('legacy')
        with open(pathlib.Path(os.environ['STYLEGAN_HUMAN_NETWORK']).expanduser(), 'rb') as file:
            G = legacy.load_network_pkl(file)['G_ema'].eval().requires_grad_(False).float().to(device)
    hook = OfficialStyleGANHook(G, 'stylegan-human')
    with torch.no_grad():  # its img_resolution is the height only
        hook.image_shape = tuple(hook.synthesis(hook.sample(0).latents['ws'], None).shape[1:])
    return hook
