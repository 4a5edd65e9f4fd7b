"""Checkpoints of rosinality's stylegan2-pytorch: the same pictures as by their definition, and as by its real class."""

from __future__ import annotations

import argparse
import math
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from resefa_plugin.checkpoints.generator_file import read_generator
from resefa_plugin.checkpoints.states import rosinality
from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.opening import open_network

UPSTREAM = os.environ.get('RESEFA_UPSTREAM', '')
ROUNDING = 2e-5  # relative, of a picture through some ten float32 layers
W_DIM, CHANNELS = 8, {4: 12, 8: 12, 16: 6}


def forge_state(channels=CHANNELS, w_dim=W_DIM, num_layers=3, seed=0):
    """A random state in the names and shapes of a checkpoint; filters without symmetry, so that no flip goes unseen."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator)

    def filter_():
        f = randn(4, 4).abs()
        return 4 * f / f.sum()

    def modulated(name, fan_in, fan_out, size):
        return {f'{name}.conv.weight': randn(1, fan_out, fan_in, size, size),
                f'{name}.conv.modulation.weight': randn(fan_in, w_dim),
                f'{name}.conv.modulation.bias': 1 + 0.3 * randn(fan_in)}

    def layer(name, fan_in, fan_out):
        return {**modulated(name, fan_in, fan_out, 3), f'{name}.noise.weight': randn(1),
                f'{name}.activate.bias': randn(fan_out)}

    state = {}
    for i in range(1, num_layers + 1):
        state |= {f'style.{i}.weight': 100 * randn(w_dim, w_dim), f'style.{i}.bias': 30 * randn(w_dim)}
    state |= {'input.input': randn(1, channels[4], 4, 4), **layer('conv1', channels[4], channels[4])}
    state |= {**modulated('to_rgb1', channels[4], 3, 1), 'to_rgb1.bias': randn(1, 3, 1, 1),
              'noises.noise_0': randn(1, 1, 4, 4)}
    for i, resolution in enumerate(sorted(channels)[1:]):
        fan_in, fan_out = channels[resolution // 2], channels[resolution]
        state |= {**layer(f'convs.{2 * i}', fan_in, fan_out), f'convs.{2 * i}.conv.blur.kernel': filter_()}
        state |= layer(f'convs.{2 * i + 1}', fan_out, fan_out)
        state |= {**modulated(f'to_rgbs.{i}', fan_out, 3, 1), f'to_rgbs.{i}.bias': randn(1, 3, 1, 1),
                  f'to_rgbs.{i}.upsample.kernel': filter_()}
        state |= {f'noises.noise_{2 * i + k}': randn(1, 1, resolution, resolution) for k in (1, 2)}
    return state


class Oracle:
    """The network of a checkpoint by its definition, one sample at a time, in float64: the weights are modulated."""

    def __init__(self, state):
        self.state = {key: value.double() for key, value in state.items()}

    def mapping(self, z):
        x = z.double() / (z.double().square().mean() + 1e-8).sqrt()
        for i in range(1, 1 + sum(key.startswith('style.') and key.endswith('bias') for key in self.state)):
            weight, bias = (self.state[f'style.{i}.{part}'] * 0.01 for part in ('weight', 'bias'))
            x = F.leaky_relu(weight @ x / math.sqrt(len(x)) + bias, 0.2) * math.sqrt(2)
        return x

    def modulate(self, name, w, demodulate):
        weight = self.state[f'{name}.conv.weight'][0]
        modulation, bias = (self.state[f'{name}.conv.modulation.{part}'] for part in ('weight', 'bias'))
        style = modulation @ w / math.sqrt(len(w)) + bias
        weight = weight / math.sqrt(weight[0].numel()) * style[:, None, None]
        return weight / (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt() if demodulate else weight

    @staticmethod
    def blur(x, kernel, before, after):
        x = F.pad(x, (before, after, before, after))
        return F.conv2d(x[:, None], kernel.flip(0, 1)[None, None])[:, 0]

    def layer(self, x, name, w, noise):
        weight = self.modulate(name, w, True)
        if f'{name}.conv.blur.kernel' in self.state:
            x = F.conv_transpose2d(x[None], weight.transpose(0, 1), stride=2)[0]
            x = self.blur(x, self.state[f'{name}.conv.blur.kernel'], 1, 1)
        else:
            x = F.conv2d(x[None], weight, padding=1)[0]
        x = x + self.state[f'{name}.noise.weight'] * self.state[f'noises.noise_{noise}'][0]
        x = x + self.state[f'{name}.activate.bias'][:, None, None]
        return F.leaky_relu(x, 0.2) * math.sqrt(2)

    def to_rgb(self, x, name, w, skip):
        rgb = F.conv2d(x[None], self.modulate(name, w, False))[0] + self.state[f'{name}.bias'][0]
        if skip is None:
            return rgb
        spread = x.new_zeros(3, *x.shape[1:])
        spread[:, ::2, ::2] = skip
        return rgb + self.blur(spread, self.state[f'{name}.upsample.kernel'], 2, 1)

    def synthesis(self, ws):
        x = self.layer(self.state['input.input'][0], 'conv1', ws[0], 0)
        picture = self.to_rgb(x, 'to_rgb1', ws[1], None)
        for i in range((len(ws) - 2) // 2):
            x = self.layer(x, f'convs.{2 * i}', ws[2 * i + 1], 2 * i + 1)
            x = self.layer(x, f'convs.{2 * i + 1}', ws[2 * i + 2], 2 * i + 2)
            picture = self.to_rgb(x, f'to_rgbs.{i}', ws[2 * i + 3], picture)
        return picture


def write(folder, state, name='gan.pt', **entries):
    torch.save({'g_ema': state, **entries}, folder / name)
    return str(folder / name)


def relative(actual, expected):
    return ((actual.double() - expected).norm() / expected.norm()).item()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no checkout is


@pytest.mark.parametrize('channels', [CHANNELS, {4: 5, 8: 5, 16: 5}, {4: 7}, {4: 16, 8: 8, 16: 4, 32: 2}])
def test_pictures_are_those_of_the_definition(tmp_path, channels):
    state = forge_state(channels)
    hook = open_network(write(tmp_path, state, latent_avg=torch.randn(W_DIM)))
    assert hook.num_ws == 2 * int(math.log2(max(channels))) - 2 and hook.z_dim == hook.w_dim == W_DIM
    assert hook.image_shape == (3, max(channels), max(channels)) and len(hook.sha256) == 64
    oracle, sample = Oracle(state), hook.sample(0)
    assert relative(sample.latents['ws'][0, 0], oracle.mapping(sample.latents['z'][0])) < ROUNDING
    ws = torch.randn(hook.num_ws, W_DIM, generator=torch.Generator().manual_seed(1))
    assert relative(hook.synthesis(ws[None], None)[0], oracle.synthesis(ws.double())) < ROUNDING


def test_epsilon_of_the_demodulation(tmp_path):
    """With styles as small as this, it is half of what is divided by."""
    state = {key: value * (1e-4 if 'modulation' in key and 'rgb' not in key else 1)
             for key, value in forge_state().items()}
    hook = open_network(write(tmp_path, state, latent_avg=torch.zeros(W_DIM)))
    ws = torch.randn(6, W_DIM, generator=torch.Generator().manual_seed(1))
    assert relative(hook.synthesis(ws[None], None)[0], Oracle(state).synthesis(ws.double())) < ROUNDING


def test_truncation_goes_to_latent_avg(tmp_path, recwarn):
    average = torch.randn(W_DIM)
    for repeats in ((1,), (1, 1), (6, 1)):  # an encoder has it for each layer
        hook = open_network(write(tmp_path, forge_state(), latent_avg=average.repeat(repeats)))
        assert torch.allclose(hook.sample(0, truncation_psi=0).latents['ws'], average.expand(1, 6, -1))
    assert not recwarn.list


def test_without_latent_avg_the_mean_of_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(rosinality, 'W_AVG_SAMPLES', 50)
    state = forge_state()
    file = read_generator(write(tmp_path, state))
    assert file.notes == ('it has no latent_avg: truncation goes to the mean w of 50 samples instead',)
    assert open_network(tmp_path / 'gan.pt').notes == file.notes
    w_avg = file.state_dict['mapping.w_avg']
    z = torch.from_numpy(np.random.RandomState(0).randn(50, W_DIM))
    assert relative(w_avg, torch.stack([Oracle(state).mapping(row) for row in z]).mean(dim=0)) < ROUNDING


def test_a_checkpoint_of_training_is_read(tmp_path):
    """With the optimizer's state, and the parsed command line, which is an object of a class."""
    args = argparse.Namespace(size=16, path='data', augment=False, mixing=0.9)
    optimizer = {'state': {0: {'step': 3, 'exp_avg': torch.zeros(2)}},
                 'param_groups': [{'lr': 0.002, 'betas': (0.0, 0.99), 'params': [0]}]}
    path = write(tmp_path, forge_state(), latent_avg=torch.zeros(W_DIM), args=args, g_optim=optimizer, ada_aug_p=0.0)
    assert read_generator(path).init_kwargs['img_resolution'] == 16


class Call:
    def __reduce__(self):
        return os.getcwd, ()


class OddNamespace:
    def __reduce__(self):
        return argparse.Namespace, (3,)


@pytest.mark.parametrize('change, message', [
    (lambda s: s.pop('conv1.conv.weight'),
     r'conv1.conv.weight in g_ema is absent, expected \[1, 12, 12, 3, 3\]: not a generator of stylegan2-pytorch'),
    (lambda s: s.update({'iwt.ll': torch.ones(2)}), "has entries that StyleGAN2 has not, such as 'iwt.ll'"),
    (lambda s: s.update({'style.2.weight': torch.ones(8, 9)}),
     r'style.2.weight in g_ema is \[8, 9\], expected \[8, 8\]'),
    (lambda s: s.update({'to_rgb1.bias': torch.ones(3)}),
     r'to_rgb1.bias in g_ema is \[3\], expected \[any, any, any, any\]'),
    (lambda s: s.update({'input.input': torch.ones(1, 0, 4, 4)}),
     r'input.input in g_ema is \[1, 0, 4, 4\], expected \[1, any, 4, 4\]'),
    (lambda s: s.update({'convs.0.conv.blur.kernel': torch.ones(6, 6)}),
     r'blur.kernel in g_ema is \[6, 6\], expected \[4, 4\]'),
    (lambda s: s.update({'noises.noise_1': 'loud'}), "noises.noise_1 in g_ema is absent, expected"),
    (lambda s: s.update({'conv1.activate.bias': torch.ones(12, dtype=torch.int64)}),
     r'conv1.activate.bias in g_ema is \[12\]'),
    (lambda s: [s.pop(key) for key in list(s) if key.startswith('style')],
     '0 mapping layers and 3 resolutions in g_ema'),
    (lambda s: s.update({f'to_rgbs.{i}.bias': torch.ones(1, 3, 1, 1) for i in range(20)}),
     'expected layers and up to 12'),
])
def test_another_network_is_refused(tmp_path, change, message):
    state = forge_state()
    change(state)
    with pytest.raises(CheckpointError, match=message):
        open_network(write(tmp_path, state, latent_avg=torch.zeros(W_DIM)))


def test_files_that_are_no_checkpoint(tmp_path):
    torch.save({'state_dict': {}}, tmp_path / 'other.pt')
    torch.save([1], tmp_path / 'list.pt')
    for name, found in (('other.pt', "found 'state_dict'"), ('list.pt', 'found a value of type list')):
        with pytest.raises(CheckpointError, match=f'{name}: no generator: expected an entry G_ema .*{found}'):
            open_network(name)
    for latent_avg, came in ((torch.randn(18, W_DIM), r'\[18, 8\]'), (torch.zeros(W_DIM + 1), r'\[9\]')):
        with pytest.raises(CheckpointError, match=rf'latent_avg is {came}, expected \[8\], or the same for each layer'):
            open_network(write(tmp_path, forge_state(), latent_avg=latent_avg))
    with pytest.raises(CheckpointError, match='trust-pickle needs the checkout'):
        open_network(write(tmp_path, forge_state()), trust_pickle=True)
    with pytest.raises(CheckpointError, match='missing.pt: no such network'):
        open_network('missing.pt')


@pytest.mark.parametrize('args', [Call(), OddNamespace()])
def test_what_stands_beside_the_generator_may_be_anything(tmp_path, args):
    assert open_network(write(tmp_path, forge_state(), latent_avg=torch.zeros(W_DIM), args=args)).num_ws == 6


@pytest.mark.parametrize('wrapped', [
    lambda state: state, lambda state: {'g_ema': state, 'g': {key: value + 1 for key, value in state.items()}},
    lambda state: {'state_dict': {f'decoder.{key}': value for key, value in state.items()}
                   | {'encoder.input_layer.0.weight': torch.ones(2)}, 'opts': argparse.Namespace(size=16)},
    lambda state: {'g_ema': {f'module.{key}': value for key, value in state.items()}},
    lambda state: {'g_ema': {key: value.half() for key, value in state.items()}}])
def test_wherever_the_state_is(tmp_path, wrapped):
    """Bare, beside one in training, in an encoder (pSp, e4e), of several GPUs, in half precision."""
    expected = Oracle(forge_state())
    torch.save(wrapped(forge_state()), tmp_path / 'state.bin')
    hook = open_network(tmp_path / 'state.bin')
    ws = torch.randn(6, W_DIM, generator=torch.Generator().manual_seed(1))
    is_half = any(value.dtype == torch.half for value in wrapped(forge_state()).get('g_ema', {}).values())
    picture = hook.synthesis(ws[None], None)[0]
    assert relative(picture, expected.synthesis(ws.double())) < (3e-3 if is_half else ROUNDING)


def test_channels_that_no_stylegan2_has(tmp_path):
    with pytest.raises(CheckpointError, match='its state does not fit our own stylegan2 network'):
        open_network(write(tmp_path, forge_state({4: 8, 8: 4, 16: 8}), latent_avg=torch.zeros(W_DIM)))


# In the child: its ops need CUDA when they are imported; here they are replaced by what they compute.
CHILD = '''
import math, sys, types
import torch
import torch.nn.functional as F

def fused_leaky_relu(x, bias=None, negative_slope=0.2, scale=2 ** 0.5):
    return F.leaky_relu(x + bias.reshape(1, -1, *[1] * (x.ndim - 2)), negative_slope) * scale

class FusedLeakyReLU(torch.nn.Module):
    def __init__(self, channel):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(channel))
    def forward(self, x):
        return fused_leaky_relu(x, self.bias)

def upfirdn2d(x, kernel, up=1, down=1, pad=(0, 0)):
    n, c, h, w = x.shape
    spread = x.new_zeros(n, c, h * up, w * up)
    spread[:, :, ::up, ::up] = x
    spread = F.pad(spread, (pad[0], pad[1], pad[0], pad[1]))
    return F.conv2d(spread, kernel.flip(0, 1).expand(c, 1, -1, -1), groups=c)[:, :, ::down, ::down]

op = types.ModuleType('op')
op.__dict__.update(FusedLeakyReLU=FusedLeakyReLU, fused_leaky_relu=fused_leaky_relu, upfirdn2d=upfirdn2d,
                   conv2d_gradfix=F)
sys.modules['op'] = op
sys.path.insert(0, sys.argv[1])
from model import Generator
torch.manual_seed(0)
G = Generator(16, 16, 4).eval().requires_grad_(False)
for name, value in G.named_parameters():
    if name.endswith(('bias', 'noise.weight')):
        value.add_(0.3 * torch.randn_like(value) / (0.01 if name.startswith('style') else 1))
torch.save({'g_ema': G.state_dict(), 'latent_avg': G.mean_latent(16)[0]}, sys.argv[2])
z = torch.randn(2, 16)
w = G.style(z)
ws = torch.randn(2, G.n_latent, 16)
torch.save({'z': z, 'w': w, 'ws': ws, 'picture': G([z], randomize_noise=False)[0],
            'of_ws': G([ws], input_is_latent=True, randomize_noise=False)[0]}, sys.argv[3])
'''


@pytest.mark.upstream
@pytest.mark.skipif(not UPSTREAM, reason='RESEFA_UPSTREAM is not set')
def test_pictures_are_those_of_the_real_class(tmp_path):
    checkout = pathlib.Path(UPSTREAM, 'stylegan2-pytorch')
    if not checkout.is_dir():
        pytest.skip('no stylegan2-pytorch in RESEFA_UPSTREAM')
    command = [sys.executable, '-c', CHILD, checkout, tmp_path / 'gan.pt', tmp_path / 'found.pt']
    done = subprocess.run([str(part) for part in command],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = torch.load(tmp_path / 'found.pt')
    hook = open_network(tmp_path / 'gan.pt')
    ws = hook.mapping(found['z'], None, 1, None)
    assert hook.num_ws == found['ws'].shape[1] and relative(ws[:, 0], found['w'].double()) < ROUNDING
    assert relative(hook.synthesis(ws, None), found['picture'].double()) < ROUNDING
    assert relative(hook.synthesis(found['ws'], None), found['of_ws'].double()) < ROUNDING


def test_keys_that_are_no_names(tmp_path):
    torch.save({'g_ema': {3: torch.zeros(1)}}, tmp_path / 'x.pt')
    with pytest.raises(CheckpointError, match='no generator'):
        read_generator(tmp_path / 'x.pt')
