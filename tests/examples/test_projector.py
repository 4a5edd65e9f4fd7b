"""examples/after_projector.py, called by a stub of a host's projector."""

from __future__ import annotations

import pathlib
import runpy

import numpy as np
import torch

from resefa_plugin.hooks.latent_files import read_latents
from resefa_plugin.hooks.stylegan import StyleGANHook
from tests.helpers.network_files import make_generator

EXAMPLE = pathlib.Path(__file__).parents[2] / 'examples' / 'after_projector.py'


def project(G, target, num_steps=3):
    """As a host's projector: one w, optimized, in all layers; returns its steps."""
    w = torch.zeros(1, 1, G.w_dim, requires_grad=True)
    optimizer = torch.optim.Adam([w], lr=0.1)
    steps = torch.zeros(num_steps, G.num_ws, G.w_dim)
    for step in range(num_steps):
        loss = (G.synthesis(w.expand(-1, G.num_ws, -1), noise_mode='const') - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        steps[step] = w.detach()[0]
    return steps


def test_a_projector_calls_the_example(tmp_path):
    G = make_generator(img_resolution=16)
    steps = project(G, torch.zeros(1, 3, 16, 16))
    paths = runpy.run_path(str(EXAMPLE))['edit_projection'](G, steps[-1:], '0.25,0.5,0.5,0.25', tmp_path / 'out')
    assert [path.name for path in paths] == [f'projected_w{s}.npz' for s in ('-3', '-1', '+1', '+3')]
    ws = torch.cat([read_latents(path, StyleGANHook(G, 'own'))[0].ws for path in paths])
    assert ws.shape == (4, G.num_ws, G.w_dim)
    offsets = (ws - steps[-1:]).double().numpy()
    # One offset for all layers, proportional to the strength; float32 rounding.
    expected = offsets[3][:1] / 3 * np.array([-3, -1, 1, 3])[:, None, None]
    assert np.abs(offsets).max() > 1e-2 and np.allclose(offsets, expected, atol=1e-5)
    # Strength 1 changes the region by an RMS of 0.1, and the rest less.
    change = (G.synthesis(ws[2:3]) - G.synthesis(steps[-1:]))[0].square().mean(dim=0)
    inside = change[8:12, 4:12]
    outside = (change.sum() - inside.sum()) / (256 - inside.numel())
    assert 0.05 < inside.mean().sqrt() < 0.2 and outside < inside.mean()
