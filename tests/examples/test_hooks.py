"""examples/hooks and the plugin package, with stand-ins of the same call signatures for the foreign code."""

from __future__ import annotations

import configparser
import importlib.metadata
import json
import math
import pathlib
import shutil
import sys
import textwrap

import pytest
import torch
from click.testing import CliRunner

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.foreign import open_function
from resefa_plugin.hooks.opening import open_network
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.scripts.main import main

EXAMPLES = pathlib.Path(__file__).parents[2] / 'examples'
FOREIGN = ('legacy', 'camera_utils', 'stylegan2_pytorch', 'resefa_stylegan2_pytorch', 'eg3d_hook',
           'stylegan_human_hook')

# EG3D: a generator whose renderer draws random numbers, and cameras.
EG3D_LEGACY = '''
import torch
from torch import nn

class Renderer:
    def sample_stratified(self, origins, depth_resolution):
        depths = torch.arange(depth_resolution) / depth_resolution
        return depths + torch.rand_like(depths) / depth_resolution

class Mapping(nn.Linear):
    num_ws = 3

class Generator(nn.Module):
    z_dim, w_dim = 5, 4

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Module()
        self.backbone.mapping = Mapping(5 + 25, 4)
        self.plane = nn.Linear(3 * 4, 3 * 16 * 16)
        self.renderer = Renderer()
        self.rendering_kwargs = dict(depth_resolution=6, depth_resolution_importance=2, avg_camera_radius=2.5,
                                     avg_camera_pivot=[0, 0, 0.2])

    def mapping(self, z, c, truncation_psi=1, truncation_cutoff=None):
        self.told = c
        w = self.backbone.mapping(torch.cat([z, c], dim=1)) * truncation_psi
        return w.unsqueeze(1).repeat(1, 3, 1)

    def synthesis(self, ws, c, noise_mode='random', force_fp32=False):
        assert noise_mode == 'const' and force_fp32 and c.shape == (len(ws), 25)
        options = self.rendering_kwargs
        self.depths = self.renderer.sample_stratified(c[:, 16:], options['depth_resolution'])
        image = self.plane(ws.flatten(1)).unflatten(1, (3, 16, 16))
        image = image * torch.cos(self.depths).mean() + c[:, 3, None, None, None] / 10
        if options['depth_resolution_importance']:
            image = image + torch.rand(())  # the second pass draws, too
        return dict(image=torch.tanh(image), image_raw=None)

def load_network_pkl(f):
    assert f.read() == b'eg3d'
    return dict(G_ema=Generator())
'''
EG3D_CAMERA = '''
import torch

class LookAtPoseSampler:
    @staticmethod
    def sample(horizontal_mean, vertical_mean, lookat_position, horizontal_stddev=0, vertical_stddev=0, radius=1,
               batch_size=1, device='cpu'):
        pose = torch.eye(4, device=device)[None]
        pose[0, 0, 3], pose[0, 1, 3], pose[0, 2, 3] = horizontal_mean, vertical_mean, radius
        pose[0, :3, 2] = lookat_position
        return pose

def FOV_to_intrinsics(fov_degrees, device='cpu'):
    return torch.full((3, 3), fov_degrees, device=device)
'''
# StyleGAN-Human: official layers, pictures twice as high as wide.
HUMAN_LEGACY = '''
import torch
from resefa_plugin.networks import stylegan2
from tests.helpers.network_files import SIZES, SMALL
from tests.helpers.network_oracles import randomize

class Synthesis(stylegan2.SynthesisNetwork):
    def forward(self, ws, noise_mode='random', force_fp32=False):
        assert force_fp32
        return super().forward(ws, noise_mode)[..., 8:24]

def load_network_pkl(f):
    assert f.read() == b'human'
    torch.manual_seed(0)
    G = stylegan2.Generator(**SIZES, synthesis_kwargs=SMALL)
    G = randomize(G)
    G.synthesis.__class__ = Synthesis
    G.synthesis.block_resolutions = [4, 8, 16, 32]
    return dict(G_ema=G)
'''
LUCIDRAINS = '''
import torch
from torch import nn

class StyleVectorizer(nn.Module):
    def __init__(self, emb, depth, lr_mul=0.1):
        super().__init__()
        self.lr_mul = lr_mul
        self.net = nn.Sequential(*(layer for _ in range(depth) for layer in (nn.Linear(emb, emb), nn.LeakyReLU(0.2))))

    def forward(self, x):
        return self.net(nn.functional.normalize(x, dim=1)) * self.lr_mul

class Generator(nn.Module):
    def __init__(self, image_size, latent_dim, network_capacity=16, transparent=False, attn_layers=[], no_const=False,
                 fmap_max=512):
        super().__init__()
        assert network_capacity == 4 and attn_layers == [1] and no_const
        self.image_size, self.latent_dim, self.num_layers = image_size, latent_dim, 3
        self.to_image = nn.Linear(3 * latent_dim, (3 + transparent) * image_size ** 2)

    def forward(self, styles, input_noise):
        size = self.image_size
        assert styles.shape[1:] == (3, self.latent_dim) and input_noise.shape == (len(styles), size, size, 1)
        image = self.to_image(styles.flatten(1)).unflatten(1, (-1, size, size))
        return 0.5 + image + 0.1 * input_noise.movedim(3, 1)
'''


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """A current folder of the test's own, in which no module and no path of the foreign code is left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition('.')[0] in FOREIGN:
            del sys.modules[name]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


def invoke(*arguments):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def eg3d(tmp_path, monkeypatch):
    write(tmp_path / 'eg3d' / 'legacy.py', EG3D_LEGACY)
    write(tmp_path / 'eg3d' / 'camera_utils.py', EG3D_CAMERA)
    (tmp_path / 'net.pkl').write_bytes(b'eg3d')
    monkeypatch.setenv('EG3D', str(tmp_path / 'eg3d'))
    monkeypatch.setenv('EG3D_NETWORK', str(tmp_path / 'net.pkl'))
    shutil.copy(EXAMPLES / 'hooks' / 'eg3d_hook.py', tmp_path)


def test_eg3d_is_seen_from_one_camera(eg3d):
    front, side = (open_function(f'eg3d_hook:{name}') for name in ('front', 'side'))
    assert front.image_shape == (3, 16, 16) and front.num_ws == 3 and front.space_names == ('z', 'w', 'w+')
    pose = front.camera[0, :16].reshape(4, 4)
    assert torch.allclose(pose[:3, 3], torch.tensor([math.pi / 2, math.pi / 2, 2.5]))
    assert torch.allclose(pose[:3, 2], torch.tensor([0, 0, 0.2])) and torch.all(front.camera[0, 16:] == 18.837)
    assert torch.isclose(side.camera[0, 3], torch.tensor(math.pi / 2 + 0.4))
    samples = [hook.sample(0, truncation_psi=0.7) for hook in (front, side)]
    for hook in (front, side):  # the mapping network is told the same camera
        assert torch.equal(hook.G.told, front.camera)
    assert torch.equal(samples[0].latents['ws'], samples[1].latents['ws'])
    pictures = [hook.synthesis(samples[0].latents['ws'], None) for hook in (front, side)]
    assert not torch.allclose(*pictures, atol=1e-3)


def test_eg3ds_pictures_are_a_function_of_the_latent(eg3d):
    hook = open_function('eg3d_hook:front')
    ws = hook.sample(0).latents['ws']
    assert torch.equal(hook.synthesis(ws, None), hook.synthesis(ws, None))
    assert torch.equal(hook.G.depths, (torch.arange(8) + 0.5) / 8)  # middles of all eight intervals
    drawn = torch.rand_like(torch.zeros(3))
    assert not torch.equal(drawn, torch.full((3,), 0.5))  # chance is itself again
    moved = Viewpoint(hook, 'w+', hook.sample(0)).images(torch.randn(2, 12))
    assert moved.shape == (2, 3, 16, 16)
    styles = hook.styles(ws)
    assert torch.equal(hook.from_styles(styles, 8), hook.synthesis(ws, 8))


def test_an_edit_of_eg3d_found_from_the_front_is_seen_from_the_side(eg3d, tmp_path):
    invoke('factorize', '--hook=eg3d_hook:front', '--seeds=0', '--trunc=0.7', '--region=0.35,0.6,0.3,0.2',
           '--num-directions=1', '--outdir=mouth')
    file, = (tmp_path / 'mouth').glob('*.npz')
    invoke('edit', '--hook=eg3d_hook:side', '--seeds=0', '--trunc=0.7', f'--directions={file}', '--outdir=edits')
    assert (tmp_path / 'edits' / 'grid.png').is_file()


def test_stylegan_human_is_a_rectangle(tmp_path, monkeypatch):
    write(tmp_path / 'checkout' / 'legacy.py', HUMAN_LEGACY)
    (tmp_path / 'net.pkl').write_bytes(b'human')
    monkeypatch.setenv('STYLEGAN_HUMAN', str(tmp_path / 'checkout'))
    monkeypatch.setenv('STYLEGAN_HUMAN_NETWORK', str(tmp_path / 'net.pkl'))
    shutil.copy(EXAMPLES / 'hooks' / 'stylegan_human_hook.py', tmp_path)
    hook = open_function('stylegan_human_hook:person')
    assert hook.image_shape == (3, 32, 16)
    sample = hook.sample(0, truncation_psi=0.8)
    assert hook.synthesis(sample.latents['ws'], 16).shape == (1, 3, 16, 8)
    for space in ('w', 's'):
        invoke('factorize', '--hook=stylegan_human_hook:person', '--seeds=0', '--trunc=0.8', f'--space={space}',
               '--region=0.3,0.02,0.4,0.12', '--num-directions=1', f'--outdir={space}')
        file, = (tmp_path / space).glob('*.npz')
        assert DirectionSet.load(file).mask.shape == (32, 16)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """The plugin as pip would have installed it, the package that it needs, and a folder of a trained model."""
    package = EXAMPLES / 'stylegan2_pytorch_plugin'
    site = tmp_path / 'site'
    write(site / 'stylegan2_pytorch' / '__init__.py', '')
    write(site / 'stylegan2_pytorch' / 'stylegan2_pytorch.py', LUCIDRAINS)
    shutil.copy(package / 'resefa_stylegan2_pytorch.py', site)
    stated = configparser.ConfigParser()  # simple enough to be read as one
    stated.read_string((package / 'pyproject.toml').read_text())
    name, points = stated['project']['name'].strip('"'), stated['project.entry-points."resefa_plugin.hooks"']
    info = site / 'resefa_stylegan2_pytorch-0.1.0.dist-info'
    write(info / 'METADATA', f'Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n')
    lines = [f'{key} = {value.strip(chr(34))}' for key, value in points.items()]
    write(info / 'entry_points.txt', '\n'.join(['[resefa_plugin.hooks]', *lines]))
    monkeypatch.syspath_prepend(site)
    point, = importlib.metadata.entry_points(group='resefa_plugin.hooks', name='lucidrains')
    assert point.dist.name == name

    import stylegan2_pytorch.stylegan2_pytorch as foreign
    torch.manual_seed(0)
    SE, GE = foreign.StyleVectorizer(6, 2), foreign.Generator(16, 6, 4, attn_layers=[1], no_const=True)
    folder = tmp_path / 'models' / 'default'
    config = dict(image_size=16, network_capacity=4, lr_mlp=0.2, transparent=False, fq_layers=[], fq_dict_size=256,
                  attn_layers=[1], no_const=True)
    write(folder / '.config.json', json.dumps(config))
    for number in (9, 10):  # 10 is later than 9
        state = {f'SE.{name}': value * (number == 10) for name, value in SE.state_dict().items()}
        state |= {f'GE.{name}': value for name, value in GE.state_dict().items()}
        torch.save(dict(GAN={**state, 'D.weight': torch.zeros(1)}, version='1.9.0'), folder / f'model_{number}.pt')
    return SE, GE


def test_a_plugin_opens_the_last_model_of_stylegan2_pytorch(trained):
    SE, GE = trained
    hook = open_network('lucidrains:models/default')
    assert hook.image_shape == (3, 16, 16) and hook.z_dim == hook.w_dim == 6 and hook.num_ws == 3
    sample = hook.sample(0)
    with torch.no_grad():
        w = SE(sample.latents['z']) * 2  # lr_mlp is 0.2 in its configuration
        expected = 2 * GE(w[:, None].expand(-1, 3, -1), hook.noise).clamp(0, 1) - 1
    torch.testing.assert_close(hook.synthesis(sample.latents['ws'], None), expected)
    average = hook.sample(0, truncation_psi=0).latents['ws']
    half, cut = (hook.sample(0, 0.5, cutoff).latents['ws'] for cutoff in (None, 1))
    torch.testing.assert_close(half, (average + sample.latents['ws']) / 2)
    assert torch.equal(cut[:, :1], half[:, :1]) and torch.equal(cut[:, 1:], sample.latents['ws'][:, 1:])
    assert torch.equal(hook.from_styles(hook.styles(half), 4), hook.synthesis(half, 4))


def test_commands_take_the_plugin(trained, tmp_path):
    invoke('factorize', '--network=lucidrains:models/default', '--seeds=0', '--trunc=0.7', '--region=0,0,0.5,0.5',
           '--space=w+', '--num-directions=1', '--outdir=out')
    file, = (tmp_path / 'out').glob('*.npz')
    assert DirectionSet.load(file).directions.shape == (1, 18)


def test_a_folder_without_a_model_is_named(trained):
    with pytest.raises(CheckpointError, match=r'lucidrains:models: expected a folder models/NAME .* and model_\*.pt'):
        open_network('lucidrains:models')
