"""A real generator of others, of a kind that nothing here knows: the DCGAN of PyTorch's tutorial, through `--hook`."""

from __future__ import annotations

import pathlib
import textwrap

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from resefa_plugin import DirectionSet
from resefa_plugin.checkpoints.pickles.torch_storage import read_torch_file
from resefa_plugin.hooks.foreign import open_function
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.probe import probe
from resefa_plugin.scripts.main import main
from resefa_plugin.third_party.assets import Asset

WEIGHTS = 'gan_face_generate/weights.tar'
ASSET = Asset(
    name='test-dcgan', requirement='gan_face_generate==1.1.1',
    archive_sha256='24102f4be41d164e44251168ede0458a45e498a888c81493e2aea48529640569',
    files={WEIGHTS: '0c3b90b138cfc4e8a73310b9fd5ce2a8f1f3a542a037de277412307fcd28771f'}, licence='MIT')

pytestmark = pytest.mark.network


def build(path: pathlib.Path) -> torch.nn.Sequential:
    """z `[N, 100]` -> `[N, 3, 64, 64]`: transposed convolutions of 4 x 4, the first one from a single pixel."""
    layers: list[torch.nn.Module] = []
    for fan_in, fan_out in ((100, 512), (512, 256), (256, 128), (128, 64)):
        stride, padding = (1, 0) if fan_in == 100 else (2, 1)
        layers += [torch.nn.ConvTranspose2d(fan_in, fan_out, 4, stride, padding, bias=False),
                   torch.nn.BatchNorm2d(fan_out), torch.nn.ReLU()]
    main_ = torch.nn.Sequential(*layers, torch.nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), torch.nn.Tanh())
    state = read_torch_file(path)['netG_state_dict']
    main_.load_state_dict({key.removeprefix('main.'): value for key, value in state.items()})
    return torch.nn.Sequential(torch.nn.Unflatten(1, (100, 1, 1)), main_).eval().requires_grad_(False)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a user's four lines."""
    path = ASSET.fetch()[WEIGHTS]
    (tmp_path / 'faces.py').write_text(textwrap.dedent(f"""
        from resefa_plugin import FunctionHook
        from tests.hooks.test_dcgan import build

        def dcgan(device):
            return FunctionHook(build({str(path)!r}).to(device), z_dim=100, device=device)
    """))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_derivative_can_be_trusted(folder):
    hook = open_function('faces:dcgan')
    assert hook.image_shape == (3, 64, 64)
    probe(Viewpoint(hook, hook.space('z'), hook.sample(0)))


def test_a_centre_box_is_edited_from_the_command_line(folder):
    region = '--region=centre=0.25,0.25,0.5,0.5'
    for arguments in (['factorize', '--hook=faces:dcgan', '--seeds=0', region, '--num-directions=2', '--outdir=out'],
                      ['edit', '--hook=faces:dcgan', '--seeds=0', '--directions=out/seed0000-centre.npz', '--steps=3',
                       '--outdir=edits']):
        result = CliRunner().invoke(main, [*arguments, '--device=cpu'])
        assert result.exit_code == 0, result.output
    directions = DirectionSet.load(folder / 'out' / 'seed0000-centre.npz')
    assert directions.directions.shape == (2, 100) and directions.mask.mean() == 0.25
    assert np.sqrt(directions.measured_inside) == pytest.approx(0.1, rel=0.1)
    assert directions.measured_inside[0] > 4 * directions.measured_outside[0]  # mean squares per pixel
    assert (folder / 'edits' / 'seed0000-02.png').stat().st_size > 1000
