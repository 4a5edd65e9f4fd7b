"""Small network files in the shape of the official ones, forged from the states of our own networks."""

from __future__ import annotations

import pathlib

import torch

from resefa_plugin.networks import stylegan2
from resefa_plugin.networks.stylegan3 import network as stylegan3
from resefa_plugin.networks.stylegan3 import xl as stylegan_xl
from tests.helpers.network_oracles import randomize
from tests.helpers.pickle_forge import dumps, persistent

SIZES = dict(z_dim=8, c_dim=0, w_dim=8, img_resolution=32, img_channels=3)
SMALL = dict(channel_base=128, channel_max=16)
SMALL3 = dict(channel_base=128, channel_max=8, num_layers=4, margin_size=2)


def make_generator(family: str = 'stylegan2', seed: int = 0, synthesis: dict | None = None,
                   **sizes: int) -> torch.nn.Module:
    """A generator of ours with random weights, float32."""
    torch.manual_seed(seed)
    if family == 'stylegan2':
        G = stylegan2.Generator(**{**SIZES, **sizes}, synthesis_kwargs=synthesis or SMALL)
    else:
        network = stylegan_xl if family == 'stylegan-xl' else stylegan3
        G = network.Generator(**{**SIZES, **sizes}, synthesis_kwargs=synthesis or SMALL3)
        with torch.no_grad():
            G.synthesis.input.affine.weight.copy_(0.3 * torch.randn_like(G.synthesis.input.affine.weight))
    return randomize(G, seed).float()


def skeleton(state: dict[str, torch.Tensor]) -> torch.nn.Module:
    """Bare modules that have this state and no attributes of ours."""
    root = torch.nn.Module()
    for name, value in state.items():
        *path, leaf = name.split('.')
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, torch.nn.Module())
            module = module._modules[part]
        module.register_buffer(leaf, value)
    return root.eval()


def write_network(path: pathlib.Path, state: dict[str, torch.Tensor], class_name: str = 'Generator',
                  **init_kwargs: object) -> pathlib.Path:
    """A snapshot with this state as `G_ema`."""
    path.write_bytes(dumps({'G_ema': persistent(skeleton(state), class_name, **init_kwargs)}))
    return path


def forge(folder: pathlib.Path, family: str = 'stylegan2', *, nested: bool | None = None, seed: int = 0,
          synthesis: dict | None = None, **sizes: int) -> tuple[pathlib.Path, torch.nn.Module]:
    """A network file and the generator in it; nested as stylegan2-ada-pytorch writes it, or flat as stylegan3 does."""
    G = make_generator(family, seed, synthesis, **sizes)
    synthesis = synthesis or (SMALL if family == 'stylegan2' else SMALL3)
    nested = family == 'stylegan2' if nested is None else nested
    init = {**SIZES, **sizes, **(dict(synthesis_kwargs=synthesis) if nested else synthesis)}
    return write_network(folder / f'{family}-{seed}.pkl', G.state_dict(), **init), G
