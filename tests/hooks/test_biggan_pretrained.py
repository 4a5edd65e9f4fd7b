"""pytorch-pretrained-biggan: its real code in a small configuration, read from a folder as its users have it."""

from __future__ import annotations

import json
import pathlib
import sys

import pytest
import torch

from resefa_plugin.errors import CheckpointError, ResefaError
from resefa_plugin.hooks.biggan import PretrainedBigGANHook, open_biggan
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.probe import probe
from resefa_plugin.third_party.pretrained_biggan import PretrainedBigGAN
from tests.helpers.toys import images_at

EXACT = dict(rtol=0, atol=1e-12)
SETTINGS = dict(layers=[(False, 16, 16), (True, 16, 8), (True, 8, 4), (True, 4, 2), (False, 2, 1)], channel_width=4,
                z_dim=8, class_embed_dim=8, num_classes=10, attention_layer_position=3, output_dim=32, eps=1e-4,
                n_stats=51)


@pytest.fixture(scope='module')
def stock(tmp_path_factory):
    """The package's model with weights and statistics that make lively pictures, float64, and a folder with it."""
    package = pytest.importorskip('pytorch_pretrained_biggan', reason='the extra biggan is not installed')
    torch.manual_seed(0)
    model = package.BigGAN(package.BigGANConfig(**SETTINGS))
    for name, value in model.state_dict().items():
        if name.endswith(('bn.weight', 'bn.bias', 'gamma')):
            value.copy_(0.7 + 0.1 * torch.randn_like(value))
        elif name.endswith('running_means'):
            value.copy_(0.2 * torch.randn_like(value))
        elif name.endswith('running_vars'):
            value.copy_(0.5 + torch.rand_like(value))
    with torch.no_grad():
        for _ in range(30):  # a fresh spectral norm is far from its weight
            model(torch.randn(1, 8), torch.eye(10)[:1], 1.0)
    model = model.double().eval().requires_grad_(False)
    folder = tmp_path_factory.mktemp('biggan-deep')
    (folder / 'config.json').write_text(json.dumps(SETTINGS))
    torch.save(model.state_dict(), folder / 'pytorch_model.bin')
    return model, folder


@pytest.fixture(scope='module')
def hook(stock):
    return open_biggan(stock[1])


def picture(hook, psi, label='3', seed=0):
    sample = hook.sample(seed, psi, c=hook.class_vector(label))
    return images_at(hook.space('z'), sample, torch.zeros(1, 8))


@pytest.mark.parametrize('psi', [1.0, 0.5, 0.4, 0.02])
def test_hooks_equal_the_stock_forward(stock, hook, psi):
    from pytorch_pretrained_biggan import truncated_noise_sample
    assert isinstance(hook, PretrainedBigGANHook) and hook.image_shape == (3, 32, 32) and hook.c_dim == 10
    z = torch.from_numpy(truncated_noise_sample(dim_z=8, truncation=psi, seed=5)).double()
    label = torch.zeros(1, 10, dtype=torch.float64)
    label[0, 2] = label[0, 7] = 0.5
    expected = stock[0](z, label, psi)
    torch.testing.assert_close(picture(hook, psi, '2:0.5,7:0.5', seed=5), expected, **EXACT)
    assert expected.std() > 0.05


@pytest.mark.parametrize('psi, row', [
    (0.14, 7), (0.28, 14), (0.56, 28), (0.58, 29), (0.94, 47), (0.005, 0), (0.5075, 25), (1.0, 50)])
def test_statistics_are_the_nearest_row(stock, hook, psi, row):
    """Where its own division rounds, the package takes the next row; a table of one row only has no other."""
    assert hook.G.statistics_row(psi) == row
    sample = hook.sample(0, psi, c=hook.class_vector('3'))
    model, _ = stock
    saved = {name: table.clone() for name, table in model.named_buffers() if 'running' in name}
    try:
        for name, table in model.named_buffers():
            if name in saved:
                table.copy_(saved[name][row].expand_as(table))
        expected = model(sample.latents['z'], sample.c.double(), psi)
    finally:
        for name, table in model.named_buffers():
            if name in saved:
                table.copy_(saved[name])
    torch.testing.assert_close(picture(hook, psi), expected, **EXACT)
    other = hook.G.synthesis(sample.latents['cond'].split([16] * 6, dim=1), max(row - 1, 1))
    assert (picture(hook, psi) - other).abs().max() > 1e-3


@pytest.mark.parametrize('name', ['z', 'class', 'z+class', 'cond', 'z[2:4]', 'cond[1:2]'])
def test_spaces_against_dense_jacobians(stock, hook, name):
    sample = hook.sample(0, 0.5, c=hook.class_vector('3'))
    space = hook.space(name)
    z, embedding = sample.latents['z'], sample.latents['class']

    def by_hand(zs, embeddings):
        """The picture from one z and one embedding per layer, by the modules of the stock model."""
        conditions = iter([torch.cat(pair, dim=1) for pair in zip(zs, embeddings, strict=True)])
        G = stock[0].generator
        x = G.gen_z(next(conditions)).view(-1, 4, 4, 64).permute(0, 3, 1, 2)
        for layer in G.layers:
            x = layer(x) if type(layer).__name__ == 'SelfAttn' else layer(x, next(conditions), 0.5)
        return torch.tanh(G.conv_to_rgb(torch.relu(G.bn(x, 0.5)))[:, :3])

    def moved(offset):
        zs, embeddings = [z] * 6, [embedding] * 6
        base, _, layers = name.partition('[')
        chosen = range(int(layers[0]), int(layers[2])) if layers else range(6)
        for place, i in enumerate(chosen):
            part = offset[:, 16 * place:16 * place + 16] if base == 'cond' else offset
            if base in ('z', 'z+class', 'cond'):
                zs[i] = z + part[:, :8]
            if base in ('class', 'z+class', 'cond'):
                embeddings[i] = embedding + part[:, -8:]
        return by_hand(zs, embeddings).reshape(3, 4, 8, 4, 8).mean((2, 4)).flatten()

    zero = torch.zeros(1, space.dim, dtype=torch.float64)
    expected = torch.autograd.functional.jacobian(moved, zero)[:, 0]
    f = lambda offset: images_at(space, sample, offset, 4).flatten()
    basis = torch.eye(space.dim, dtype=torch.float64)
    J = torch.func.vmap(lambda v: torch.func.jvp(f, (zero,), (v[None],))[1])(basis).T
    torch.testing.assert_close(J, expected, **EXACT)


def test_probes_pass_in_float32(stock, tmp_path):
    model, _ = stock
    (tmp_path / 'config.json').write_text(json.dumps(SETTINGS))
    torch.save({key: value.float() for key, value in model.state_dict().items()}, tmp_path / 'pytorch_model.bin')
    hook = open_biggan(tmp_path)
    assert hook.dtype == torch.float32
    for space in ('z', 'class', 'z+class', 'cond'):
        probe(Viewpoint(hook, hook.space(space), hook.sample(0, 0.6, c=hook.class_vector('1')), 16))


def test_the_model_is_in_eval_mode_without_spectral_norm(hook):
    modules = list(hook.G.modules())
    assert isinstance(hook.G, PretrainedBigGAN) and not any(module.training for module in modules)
    assert not any(hasattr(module, 'weight_orig') for module in modules)
    assert not any(parameter.requires_grad for parameter in hook.G.parameters())


@pytest.mark.parametrize('psi', [0.0, -0.5, 1.02, float('nan')])
def test_truncations_without_statistics(hook, psi):
    with pytest.raises(ResefaError, match='truncation psi'):
        hook.sample(0, psi, c=hook.class_vector('1'))


def test_seeds_that_numpy_does_not_take(hook):
    with pytest.raises(ResefaError, match='seed is -1, expected a whole number of at least 0'):
        hook.sample(-1, c=hook.class_vector('1'))


def test_options_of_the_other_family(stock):
    with pytest.raises(ResefaError, match='says all about itself: leave out BN_eps, SN_eps'):
        open_biggan(stock[1], BN_eps=1e-4, SN_eps=1e-4)


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pytorch_pretrained_biggan', None)
    for name in ('config.json', 'pytorch_model.bin'):
        (tmp_path / name).write_bytes(b'{}')
    with pytest.raises(CheckpointError, match='pip install pytorch-pretrained-biggan==0.1.1'):
        open_biggan(tmp_path)


def write(folder: pathlib.Path, settings: object, state: object) -> pathlib.Path:
    (folder / 'config.json').write_text(settings if isinstance(settings, str) else json.dumps(settings))
    torch.save(state, folder / 'pytorch_model.bin')
    return folder


@pytest.mark.parametrize('settings, match', [
    ('{', 'config.json: not a configuration'),
    ('[]', 'config.json: not a configuration'),
    (SETTINGS | {'layers': [[True]]}, 'config.json: not a configuration'),
    (SETTINGS | {'layers': 3}, 'config.json: not a configuration'),
    (SETTINGS | {'z_dim': -1}, 'z_dim -1 and class_embed_dim 8 differ'),
    (SETTINGS | {'class_embed_dim': 4}, 'z_dim 8 and class_embed_dim 4 differ'),
    (SETTINGS | {'n_stats': 1}, 'n_stats is 1, expected at least 2'),
    (SETTINGS | {'channel_width': 8}, r'pytorch_model.bin: \d+ tensors do not fit: '),
    (SETTINGS | {'channel_width': 1 << 24}, 'tensors do not fit|not a configuration'),
])
def test_configurations_that_do_not_fit(stock, tmp_path, settings, match):
    with pytest.raises(CheckpointError, match=match):
        open_biggan(write(tmp_path, settings, stock[0].state_dict()))


def test_weights_that_do_not_fit(stock, tmp_path):
    state = {key: value for key, value in stock[0].state_dict().items() if 'gamma' not in key}
    with pytest.raises(CheckpointError, match='1 tensors do not fit: generator.layers.3.gamma: nothing in the file'):
        open_biggan(write(tmp_path, SETTINGS, state))
    with pytest.raises(CheckpointError, match='expected the state of a generator, tensors by name'):
        open_biggan(write(tmp_path, SETTINGS, [1]))
    (tmp_path / 'pytorch_model.bin').write_bytes(b'PK\x03\x04')
    with pytest.raises(CheckpointError, match='pytorch_model.bin: .*a damaged zip archive'):
        open_biggan(tmp_path)
