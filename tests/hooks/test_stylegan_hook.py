"""The StyleGAN hooks, and network files opened without a checkout. Official code: test_nvlabs_checkout.py."""

from __future__ import annotations

import copy
import functools
import itertools
import pathlib

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from resefa_plugin import DirectionSet
from resefa_plugin.checkpoints.generator_arguments import generator_arguments
from resefa_plugin.checkpoints.generator_file import read_generator
from resefa_plugin.errors import CheckpointError, ResefaError
from resefa_plugin.hooks.opening import open_network
from resefa_plugin.hooks.stylegan import OfficialStyleGANHook, StyleGANHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.probe import probe
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.scripts.main import main
from tests.helpers.network_files import SIZES, SMALL, SMALL3, forge, make_generator, write_network
from tests.helpers.toys import images_at

# Float32 rounding through some ten layers; a sample within rounding of a kink would cost more. An error is order 1.
JACOBIAN_TOLERANCE = 1e-4
PSI, CUTOFF, POOLED = 0.7, 3, 8

HOOKS = {'own': StyleGANHook, 'official': OfficialStyleGANHook}


@pytest.fixture(params=['stylegan2', 'stylegan3', 'conditional'])
def network(request):
    """A generator of 16 pixels, its label, and its dense Jacobians in float64, by `dense`."""
    return make_network(request.param)


@functools.cache
def make_network(name):
    family = 'stylegan3' if name == 'stylegan3' else 'stylegan2'
    sizes = {'c_dim': 3} if name == 'conditional' else {}
    G = make_generator(family, img_resolution=16, **sizes)
    if family == 'stylegan3':
        G.synthesis.layer_names = G.synthesis.style_names[1:]  # as the official ones have
    c = torch.tensor([[0.0, 1.0, 0.0]]) if sizes else None
    return G, c, Dense(G, c)


class Dense:
    """Jacobians in reverse mode and float64, of networks and latents alone: what the spaces are compared with."""

    def __init__(self, G: torch.nn.Module, c: Tensor | None):
        G = copy.deepcopy(G).double()
        z = torch.from_numpy(np.random.RandomState(0).randn(1, G.z_dim)).float().double()
        w = G.mapping(z, None if c is None else c.double())[:, :1]
        psi = torch.full([G.num_ws, 1], 1.0, dtype=torch.float64)
        psi[:CUTOFF] = PSI
        self.ws = G.mapping.w_avg + psi * (w - G.mapping.w_avg)
        self.psi = psi
        self.z = _jacobian(lambda z: G.mapping(z, None if c is None else c.double())[0, 0], z)[:, 0]  # [w_dim, z_dim]
        styles = torch.cat(G.synthesis.styles(self.ws), dim=1)
        widths = list(G.synthesis.style_dims)
        self.ws_jacobian = _jacobian(lambda ws: _pooled(G.synthesis(ws)), self.ws)[:, 0]  # [pixels, num_ws, w_dim]
        self.s_jacobian = _jacobian(lambda s: _pooled(G.synthesis.from_styles(s.split(widths, dim=1))), styles)[:, 0]
        self.widths = widths

    def __call__(self, space: str, layers: tuple[int, ...]) -> Tensor:
        """`[pixels, d]`."""
        chosen = self.ws_jacobian[:, list(layers)] if space != 's' else None
        if space == 'z':
            return torch.einsum('plw,l,wz->pz', chosen, self.psi[list(layers), 0], self.z)
        if space == 'w':
            return chosen.sum(dim=1)
        if space == 'w+':
            return chosen.flatten(1)
        parts = self.s_jacobian.split(self.widths, dim=1)
        return torch.cat([parts[i] for i in layers], dim=1)


def _jacobian(f, x):
    return torch.autograd.functional.jacobian(f, x, vectorize=True)


def _pooled(img):
    return torch.nn.functional.avg_pool2d(img, img.shape[-1] // POOLED).flatten()


# Layers are a matter of the spaces, which both hooks share, and labels of the mapping network, which z alone passes.
SPACES, LAYERS = ('z', 'w', 'w+', 's'), (None, (1, 3))


@pytest.mark.parametrize('network, kind, space, layers', [
    *itertools.product(['stylegan2', 'stylegan3'], ['own'], SPACES, LAYERS),
    *itertools.product(['stylegan2', 'stylegan3'], ['official'], SPACES, LAYERS[1:]),
    *itertools.product(['conditional'], HOOKS, ['z'], LAYERS),
], indirect=['network'])
def test_jacobian_of_each_space(network, kind, space, layers):
    G, c, dense = network
    hook = HOOKS[kind](G, 'net')
    sample = hook.sample(0, PSI, CUTOFF, c)
    torch.testing.assert_close(sample.latents['ws'].double(), dense.ws, rtol=1e-5, atol=1e-5)
    jacobian = RegionJacobian(Viewpoint(hook, hook.space(space, layers), sample, POOLED))
    expected = dense(space, layers or tuple(range(hook.layer_count(space))))
    matrix = jacobian.compute().matrix.T.double()
    assert matrix.shape == expected.shape
    assert (matrix - expected).norm() < JACOBIAN_TOLERANCE * expected.norm()
    U = torch.randn(3, *jacobian.image_shape, generator=torch.Generator().manual_seed(1))
    rows = U.flatten(1).double() @ expected
    assert (jacobian.vjp(U) - rows).norm() < JACOBIAN_TOLERANCE * rows.norm()


@pytest.mark.parametrize('kind', HOOKS)
def test_probe_accepts_the_hooks(network, kind):
    G, c, _ = network
    hook = HOOKS[kind](G, 'net')
    for name in hook.space_names:
        probe(Viewpoint(hook, hook.space(name), hook.sample(1, c=c), 16))


@pytest.mark.parametrize('kind', HOOKS)
def test_pictures_are_the_networks(network, kind):
    G, c, _ = network
    hook = HOOKS[kind](G, 'net')
    sample = hook.sample(5, PSI, None, c)
    z = torch.from_numpy(np.random.RandomState(5).randn(1, 8)).float()
    expected = G(z, c, truncation_psi=PSI)
    zero = torch.zeros(1, hook.space('w').dim)
    assert torch.equal(images_at(hook.space('w'), sample, zero), expected)
    torch.testing.assert_close(hook.synthesis(sample.latents['ws'], 4), torch.nn.functional.avg_pool2d(expected, 4))
    styles = hook.styles(sample.latents['ws'])
    assert tuple(style.shape[1] for style in styles) == hook.style_dims == G.synthesis.style_dims
    torch.testing.assert_close(hook.from_styles(styles, None), expected, rtol=1e-5, atol=1e-5)
    assert not any(module._forward_hooks for module in G.modules())


def test_noise_modes():
    G = make_generator()
    const, none = StyleGANHook(G, 'net'), OfficialStyleGANHook(G, 'net', 'none')
    ws = const.sample(0).latents['ws']
    assert torch.equal(none.synthesis(ws, None), G.synthesis(ws, 'none'))
    assert not torch.allclose(const.synthesis(ws, None), none.synthesis(ws, None), atol=1e-3)
    with pytest.raises(ResefaError, match='noise-mode=random: expected const or none; .* derivative would be noise'):
        StyleGANHook(G, 'net', 'random')


def test_labels():
    conditional, plain = StyleGANHook(make_generator(c_dim=3), 'cond'), StyleGANHook(make_generator(), 'plain')
    with pytest.raises(ResefaError, match='cond has classes 0 to 2: choose one with --class'):
        conditional.sample(0)
    with pytest.raises(ResefaError, match=r'label of shape \[1, 2\]; expected \[1, 3\]'):
        conditional.sample(0, c=torch.zeros(1, 2))
    with pytest.raises(ResefaError, match='unconditional and takes none'):
        plain.sample(0, c=torch.zeros(1, 3))
    first, second = (conditional.sample(0, c=torch.eye(3)[i:i + 1]).latents['ws'] for i in (0, 1))
    assert not torch.allclose(first, second)


def test_networks_that_cannot_be_used():
    G = make_generator()
    with pytest.raises(ResefaError, match=r'net is in training mode.*\.eval\(\)'):
        StyleGANHook(copy.deepcopy(G).train(), 'net')
    G.mapping.w_avg = None
    with pytest.raises(ResefaError, match='no average of W.*--trunc=1'):
        StyleGANHook(G, 'net').sample(0, 0.5)
    del G.num_ws
    with pytest.raises(CheckpointError, match='Generator has no num_ws, which an official generator has'):
        OfficialStyleGANHook(G, 'net')
    G = make_generator()
    G.synthesis.block_resolutions = []
    with pytest.raises(CheckpointError, match='SynthesisNetwork is laid out neither as StyleGAN2 nor as StyleGAN3'):
        OfficialStyleGANHook(G, 'net')


@pytest.mark.parametrize('family, nested, sizes', [
    ('stylegan2', True, {}), ('stylegan2', False, {}), ('stylegan2', True, dict(c_dim=4)),
    ('stylegan2', False, dict(img_channels=1)), ('stylegan3', False, {}), ('stylegan3', False, dict(c_dim=2)),
])
def test_files(tmp_path, family, nested, sizes):
    path, G = forge(tmp_path, family, nested=nested, **sizes)
    hook = open_network(path)
    assert hook.image_shape == (sizes.get('img_channels', 3), 32, 32) and hook.c_dim == sizes.get('c_dim', 0)
    assert hook.implementation == f'our own {family} network (no checkout found)' and len(hook.sha256) == 64
    c = torch.eye(hook.c_dim)[:1] if hook.c_dim else None
    sample = hook.sample(2, c=c)
    expected = G(sample.latents['z'], c)
    if family == 'stylegan2':  # what stylegan3 takes for granted
        assert hook.G.synthesis.b4.conv1.conv_clamp == (None if nested else 256)
    assert torch.equal(hook.synthesis(sample.latents['ws'], None), expected)


def test_positional_arguments_and_float16_states(tmp_path):
    G = make_generator(c_dim=2)
    state = {name: value.half() for name, value in G.state_dict().items()}
    path = write_network(tmp_path / 'net.pkl', state, img_channels=3, w_dim=8, synthesis_kwargs=SMALL, z_dim=8, c_dim=2,
                         img_resolution=np.int64(32), mapping_kwargs={})
    assert all(p.dtype == torch.float32 for p in open_network(path).G.parameters())
    file = read_generator(path)
    positional = copy.copy(file)
    object.__setattr__(positional, 'init_args', (8, 2, 8, 32, 3, {}, SMALL))
    object.__setattr__(positional, 'init_kwargs', {})
    assert generator_arguments(positional) == generator_arguments(file)


BAD2 = [
    (dict(img_resolution=2 ** 30), 'img_resolution is 1073741824, but the state has 32'),
    (dict(img_resolution=32.0), 'img_resolution is 32.0; expected a number'),
    (dict(z_dim=-1), 'z_dim is -1; expected a number'),
    (dict(w_dim=None), 'w_dim is None; expected a number'),
    (dict(z_dim=2 ** 40), 'does not fit our own stylegan2 network in 1 places: .mapping.fc0.weight. is'),
    (dict(c_dim=2 ** 62), 'does not (fit|take)'),
    (dict(mapping_kwargs=dict(num_layers=2 ** 40)), 'num_layers of the mapping is 1099511627776, but the state has 8'),
    (dict(mapping_kwargs=[1]), 'are expected to be dictionaries'),
    (dict(mapping_kwargs=dict(exec='x')), 'mapping_kwargs: exec is not one of'),
    (dict(synthesis_kwargs=dict(SMALL, channel_max=2 ** 24, channel_base=2 ** 40)), 'does not fit .* places'),
    (dict(synthesis_kwargs=dict(SMALL, resample_filter=[1] * 6)), 'resample_filter.*expected \\[6, 6\\]'),
    (dict(mapping_kwargs=dict(lr_multiplier='a')), "mapping_kwargs: lr_multiplier is 'a', expected float"),
    (dict(mapping_kwargs=dict(activation=None)), 'mapping_kwargs: activation is None, expected str'),
    (dict(synthesis_kwargs=dict(SMALL, conv_clamp='256')), r"conv_clamp is '256', expected float \| None"),
    (dict(synthesis_kwargs=dict(SMALL, conv_clamp=float('nan'))), r'conv_clamp is nan, expected float \| None'),
    (dict(synthesis_kwargs=dict(SMALL, use_noise=5)), 'use_noise is 5, expected bool'),
    (dict(synthesis_kwargs=dict(SMALL, kernel_size=3.0)), 'kernel_size is 3.0, expected int'),
    (dict(synthesis_kwargs=dict(SMALL, resample_filter=[1, '3', 3, 1])), r"resample_filter is .*'3', 3, 1., expected"),
    (dict(channel_max=16),
     "no official StyleGAN2 generator takes synthesis_kwargs next to 'channel_max'.*--trust-pickle"),
]
BAD3 = [
    (dict(img_resolution=2 ** 30), 'img_resolution 1073741824 with 5 layers'),
    (dict(img_resolution=64), 'img_resolution is 64, but the state has 32'),
    (dict(num_layers=2 ** 40), 'num_layers is 1099511627776, but the state has 4'),
    (dict(filter_size=2 ** 20), 'filter_size 1048576 and lrelu_upsampling 2: expected'),
    (dict(lrelu_upsampling=0.5), 'lrelu_upsampling 0.5: expected'),
    (dict(first_stopband=1e-9), 'do not ascend up to the resolution 32'),
    (dict(first_cutoff=float('nan')), 'do not ascend'),
    (dict(first_cutoff=10 ** 400), 'do not ascend'),
    (dict(first_cutoff='2'), "first_cutoff '2'.* do not ascend"),
    (dict(last_stopband_rel=True), 'last_stopband_rel True do not ascend'),
    (dict(output_scale='1'), "synthesis_kwargs: output_scale is '1', expected float"),
    (dict(use_radial_filters=1), 'use_radial_filters is 1, expected bool'),
    (dict(margin_size=2 ** 50), 'does not fit our own stylegan3 network'),
    (dict(synthesis_kwargs={}), 'no official StyleGAN3 generator takes synthesis_kwargs next to .channel_base., '),
]


@pytest.mark.parametrize('family, change, match', [
    *[('stylegan2', *bad) for bad in BAD2], *[('stylegan3', *bad) for bad in BAD3]])
def test_arguments_that_contradict_the_state(tmp_path, family, change, match):
    G = make_generator(family)
    init = dict(SIZES, **(dict(synthesis_kwargs=SMALL) if family == 'stylegan2' else SMALL3))
    path = write_network(tmp_path / 'net.pkl', G.state_dict(), **{**init, **change})
    with pytest.raises(CheckpointError, match=match) as caught:
        open_network(path)
    assert str(path) in str(caught.value)


def test_foreign_files(tmp_path):
    state = make_generator().state_dict()
    init = dict(SIZES, synthesis_kwargs=SMALL)
    with pytest.raises(CheckpointError, match="class 'MyGenerator', which is not an official one.*--trust-pickle"):
        open_network(write_network(tmp_path / 'a.pkl', state, 'MyGenerator', **init))
    with pytest.raises(CheckpointError, match=r"1 places: 'extra.weight' is \[2\], expected absent.*--trust-pickle"):
        open_network(write_network(tmp_path / 'b.pkl', {**state, 'extra.weight': torch.zeros(2)}, **init))
    with pytest.raises(CheckpointError, match='own code: --repo .*--trust-pickle'):
        open_network(write_network(tmp_path / 'c.pkl', {'encoder.weight': torch.zeros(2)}, **init))
    with pytest.raises(CheckpointError, match='positional arguments next to'):
        object.__setattr__(file := read_generator(tmp_path / 'a.pkl'), 'class_name', 'Generator')
        object.__setattr__(file, 'init_args', (8, 0))
        generator_arguments(file)


def test_networks_that_are_not_there(tmp_path):
    with pytest.raises(CheckpointError, match='no such network; expected a network file, its URL, .*mobilestylegan'):
        open_network(tmp_path / 'absent.pkl')
    with pytest.raises(CheckpointError, match='mobilestylegan-ffhq takes no --noise-mode'):
        open_network('mobilestylegan-ffhq', noise_mode='none')
    path, _ = forge(tmp_path)
    with pytest.raises(CheckpointError, match='--repo: .* is no checkout .*dnnlib/util.py'):
        open_network(path, repo=tmp_path)


def invoke(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_commands_on_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, _ = forge(tmp_path, c_dim=3)
    out = pathlib.Path('out')
    common = ('--network', path, '--outdir')
    invoke('factorize', *common, out, '--seeds=1', '--class=2', '--trunc=0.7', '--region=0.2,0.5,0.5,0.4', '--space=w+',
           '--layers=1-3', '--num-directions=2', '--other-seeds=4', '--noise-mode=none')
    directions = DirectionSet.load(next(out.glob('seed0001-*.npz')))
    assert directions.directions.shape == (2, 24) and directions.metadata.layers == (1, 2, 3)
    assert '"implementation": "our own stylegan2 network (no checkout found)"' in (out / 'options.json').read_text()
    file = next(out.glob('seed0001-*.npz'))
    invoke('edit', *common, 'edits', '--seeds=1', '--class=2', '--steps=3', '--directions', file)
    latents = np.load('edits/seed0001-01.npz')['w']
    # A projected latent of a conditional network needs no class.
    invoke('factorize', *common, 'proj', '--projected-w=edits/seed0001-01.npz', '--region=mouth', '--num-directions=1')
    assert latents.shape == (1, 8, 8) and list(pathlib.Path('proj').glob('proj00-mouth.npz'))
    shown = invoke('info', path)
    assert 'computed by our own stylegan2 network' in shown and '3 classes' in shown and 'layers 0-10' in shown


def test_usage_errors_of_the_commands(tmp_path):
    conditional, _ = forge(tmp_path, c_dim=3)
    plain, _ = forge(tmp_path, seed=1)
    common = ('factorize', '--region=mouth', '--preview', '--outdir', tmp_path / 'out', '--network')
    assert 'has classes 0 to 2: choose one with --class' in invoke(*common, conditional, code=2)
    assert '3 is not a class of' in invoke(*common, conditional, '--class=3', code=2)
    assert f'warn: --class=1 is ignored: {plain} is unconditional' in invoke(*common, plain, '--class=1')
    assert 'noise-mode=random: expected const or none' in invoke(*common, plain, '--noise-mode=random', code=1)
    assert '--trust-pickle needs the checkout' in invoke(*common, plain, '--trust-pickle', code=1)


def test_kept_jacobians_of_two_noise_modes_are_two(tmp_path):
    """One file, one hash, two functions."""
    path, _ = forge(tmp_path)
    names = set()
    for mode in ('const', 'none', 'const'):
        hook = open_network(path, noise_mode=mode)
        names.add(Viewpoint(hook, hook.space('w'), hook.sample(0)).fingerprint())
    assert len(names) == 2
