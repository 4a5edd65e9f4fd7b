"""Small BigGANs with weights from a formula, and their states as the official training would store them."""

from __future__ import annotations

import pathlib
from collections import OrderedDict

import numpy as np
import torch
from torch import Tensor

from resefa_plugin.networks.biggan import BigGANConfig, Generator

SMALL = dict(n_classes=5, shared_dim=6, attention=(16,))
CONFIGS = {
    'hier': BigGANConfig(32, (16,) * 4, 12, **SMALL),
    'flat': BigGANConfig(32, (16,) * 4, 7, **SMALL, hier=False),
    'hier64': BigGANConfig(64, (32, 32, 16, 8, 4), 15, **SMALL),
    'deep': BigGANConfig(32, (16,) * 4, 7, **SMALL, depth=2),
    'deep64': BigGANConfig(64, (32, 32, 16, 8, 4), 7, **SMALL, depth=2),
}


def fill(state: dict[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """Random float64 tensors of the same shapes, of sizes at which the picture is neither grey nor saturated."""
    random = np.random.RandomState(seed)
    filled = {}
    for key in sorted(state):
        shape = tuple(state[key].shape)
        values = random.randn(*shape)
        if key.endswith('_var'):
            values = 0.5 + values ** 2
        elif key.startswith('output_layer.0.gain') or key.endswith('gamma'):
            values = 0.7 + 0.1 * values
        elif len(shape) > 1 and not key.startswith('shared') and not key.endswith('u0'):
            values = 0.8 * values / np.prod(shape[1:]) ** 0.5
        elif len(shape) < 2:
            values = 0.3 * values
        filled[key] = torch.from_numpy(np.asarray(values))
    return filled


def network(name: str = 'hier') -> Generator:
    """Our own network, float64, in eval mode."""
    G = Generator(CONFIGS[name]).double().eval().requires_grad_(False)
    G.load_state_dict(fill(G.state_dict()))
    return G


def official_state(name: str = 'hier') -> dict[str, Tensor]:
    """What G.pth holds after a training with spectral norm: our state and its power iterations."""
    state = OrderedDict(Generator(CONFIGS[name]).state_dict())
    for key in list(state):
        if key.endswith('.weight') and not key.startswith('shared'):
            state[key.replace('weight', 'u0')] = torch.zeros(1, len(state[key]))
    state = fill(state)
    return state | {key.replace('.u0', '.sv0'): torch.ones(1) for key in state if key.endswith('.u0')}


def record(name: str = 'hier', **changes: object) -> dict:
    """The command line of that training, as far as it matters, with what cannot be read as plain data."""
    config = CONFIGS[name]
    return dict(
        model='BigGANdeep' if config.depth else 'BigGAN', resolution=config.resolution, G_ch=config.ch,
        dim_z=config.dim_z, n_classes=config.n_classes, shared_dim=config.shared_dim, G_shared=config.G_shared,
        hier=config.hier,
        G_depth=config.depth or 1, G_attn='_'.join(map(str, config.attention)), BN_eps=1e-4, SN_eps=1e-6,
        norm_style='bn', G_nl='inplace_relu', G_activation=torch.nn.ReLU(inplace=True), z_var=1.0) | changes


def experiment(folder: pathlib.Path, name: str = 'hier', state: dict | None = None, **changes: object) -> pathlib.Path:
    """An experiment folder with G_ema.pth and state_dict.pth."""
    folder.mkdir(exist_ok=True)
    torch.save(official_state(name) if state is None else state, folder / 'G_ema.pth')
    torch.save({'itr': 10, 'best_IS': np.float64(3), 'config': record(name, **changes)}, folder / 'state_dict.pth')
    return folder
