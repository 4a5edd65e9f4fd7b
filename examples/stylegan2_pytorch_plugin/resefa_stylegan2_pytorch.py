"""Networks of stylegan2-pytorch (github.com/lucidrains/stylegan2-pytorch), as `--network=lucidrains:FOLDER`.

FOLDER is `models/NAME` of a training run, with `.config.json` and `model_*.pt`; the last model is taken. The package
wants an NVIDIA GPU as soon as it is imported.
"""

from __future__ import annotations

import json
import pathlib

import torch
from torch import Tensor, nn
from typing_extensions import override

from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.base import GeneratorHook, box_average
from resefa_plugin.hooks.style_based import StyleBasedHook


def open_folder(rest: str, device: torch.device) -> GeneratorHook:
    """The hook of `lucidrains:FOLDER`: what the entry point of the group `resefa_plugin.hooks` names.

    Raises: CheckpointError if there is no trained model in the folder.
    """
    folder = pathlib.Path(rest).expanduser()
    models = sorted(folder.glob('model_*.pt'), key=lambda path: int(path.stem.partition('_')[2]))
    if not models or not (folder / '.config.json').is_file():
        raise CheckpointError(f'--network=lucidrains:{rest}: expected a folder models/NAME of stylegan2-pytorch, with '
                              '.config.json and model_*.pt')
    from stylegan2_pytorch.stylegan2_pytorch import Generator, StyleVectorizer

    config = json.loads((folder / '.config.json').read_text(encoding='utf-8'))
    state = torch.load(models[-1], map_location='cpu', weights_only=True)['GAN']
    averaged = {part: {name.removeprefix(part): value for name, value in state.items() if name.startswith(part)}
                for part in ('SE.', 'GE.')}  # moving averages of the mapping and the synthesis network
    latent_dim, depth = averaged['SE.']['net.0.weight'].shape[0], len(averaged['SE.']) // 2
    SE = StyleVectorizer(latent_dim, depth, lr_mul=config.get('lr_mlp', 0.1))
    GE = Generator(config['image_size'], latent_dim, config['network_capacity'], transparent=config['transparent'],
                   attn_layers=config.get('attn_layers', []), no_const=config.get('no_const', False))
    for network, part in ((SE, 'SE.'), (GE, 'GE.')):
        network.load_state_dict(averaged[part])
        network.eval().requires_grad_(False).to(device)
    return LucidrainsHook(SE, GE, f'lucidrains:{rest}', torch.device(device))


class LucidrainsHook(StyleBasedHook):
    """The two networks of a model, and a fixed map of noise.

    Args:
        SE: z `[N, latent_dim]` -> w `[N, latent_dim]`.
        GE: w of each layer `[N, num_layers, latent_dim]` and noise `[N, S, S, 1]` -> pictures in about [0, 1].
        name: how it is named to the user.
        device: where they are.
    """

    space_names = ('z', 'w', 'w+')

    def __init__(self, SE: nn.Module, GE: nn.Module, name: str, device: torch.device):
        self.SE, self.GE, self.name, self.device = SE, GE, name, device
        self.implementation = 'stylegan2-pytorch'
        self.z_dim = self.w_dim = GE.latent_dim
        self.num_ws = GE.num_layers
        self.style_dims = (self.w_dim,) * self.num_ws
        size = GE.image_size
        generator = torch.Generator().manual_seed(0)
        self.noise = torch.rand(1, size, size, 1, generator=generator).to(device)
        with torch.no_grad():
            self.average = SE(torch.randn(2000, self.z_dim, generator=generator).to(device)).mean(0, keepdim=True)
            self.image_shape = tuple(self.synthesis(self.average.expand(1, self.num_ws, -1), None).shape[1:])

    @override
    def mapping(self, z: Tensor, c: None, truncation_psi: float, truncation_cutoff: int | None) -> Tensor:
        ws = self.SE(z).unsqueeze(1).repeat(1, self.num_ws, 1)
        truncated = self.average + truncation_psi * (ws - self.average)
        cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
        return torch.cat([truncated[:, :cutoff], ws[:, cutoff:]], dim=1)

    @override
    def synthesis(self, ws: Tensor, resolution: int | None) -> Tensor:
        images = self.GE(ws, self.noise.expand(len(ws), -1, -1, -1)).clamp(0, 1)
        return box_average(2 * images - 1, resolution)

    @override
    def styles(self, ws: Tensor) -> list[Tensor]:
        return list(ws.unbind(dim=1))  # a w for each layer: it has no space 's'

    @override
    def from_styles(self, styles: list[Tensor], resolution: int | None) -> Tensor:
        return self.synthesis(torch.stack(styles, dim=1), resolution)
