"""The demo generator in small."""

from __future__ import annotations

import torch

from resefa_plugin.hooks.mobile_stylegan import MobileStyleGANHook
from resefa_plugin.networks import mobile_stylegan


def small_mobile_stylegan(monkeypatch):
    """A hook of it with random weights, of four blocks and a sixteenth of the channels, at 128 pixels."""
    for name, value in {
        'STYLE_DIM': 32,
        'RESOLUTION': 128,
        'IN_CHANNELS': (32, 32, 32, 16),
        'OUT_CHANNELS': (32, 32, 16, 8),
    }.items():
        monkeypatch.setattr(mobile_stylegan, name, value)
    G = mobile_stylegan.Generator()
    generator = torch.Generator().manual_seed(0)
    for parameter in G.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    for module in G.synthesis.modulated:
        torch.nn.init.constant_(module.affine.bias, 1.0)
    G.z_dim = G.w_dim = 32
    G.num_ws, G.img_resolution = len(G.synthesis.modulated), 128
    return MobileStyleGANHook(G.eval().requires_grad_(False), 'small')
