"""Our BigGAN networks against the official pictures, and every latent space against dense Jacobians."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian
from torch.func import jvp, vmap

from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.biggan import BigGANHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.probe import probe
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.networks.biggan import BigGANConfig, Generator, layer_inputs
from resefa_plugin.networks.biggan_layers import Attention
from tests.helpers.biggan_toys import CONFIGS, network
from tests.helpers.toys import images_at

EXACT = dict(rtol=0, atol=1e-12)  # float64 pictures and derivatives of order 1, a few hundred roundings deep


@pytest.fixture(scope='module', params=['hier', 'flat', 'deep'])
def case(request):
    hook = BigGANHook(network(request.param))
    sample = hook.sample(0, 0.8, c=torch.tensor([[0, 0.25, 0, 0.75, 0]]))
    inputs = [x.requires_grad_(False) for x in layer_inputs(hook.G.slots, sample.latents['z'], sample.latents['class'])]
    return request.param, hook, sample, inputs


@pytest.fixture(scope='module')
def dense(case):
    """Reverse-mode Jacobians `[pixels, dims]` by each layer's input, box averaged to 4 x 4 pixels."""
    _, hook, _, inputs = case
    blocks = jacobian(lambda *x: pooled(hook.G.synthesis(x)), tuple(inputs))
    return [block[:, 0] for block in blocks]


def pooled(images):
    return images.reshape(3, 4, 8, 4, 8).mean((2, 4)).flatten()


def forward(space, sample):
    """Columns of the Jacobian in a space at zero offset, by forward mode, `[pixels, d]`."""
    zero = torch.zeros(1, space.dim, dtype=torch.float64)
    f = lambda offset: images_at(space, sample, offset, 4).flatten()
    return vmap(lambda v: jvp(f, (zero,), (v[None],))[1])(torch.eye(space.dim, dtype=torch.float64)).T


def by_part(case, dense, source, layers=None):
    """Expected: the sum over layers of what each part of a source does there, `{(start, stop): [pixels, width]}`."""
    slots = CONFIGS[case[0]].slots
    sums = {}
    for i, slot in enumerate(slots):
        column = 0
        for part in slot:
            if part.source == source and (layers is None or i in layers):
                piece = dense[i][:, column:column + part.dim]
                sums[part.start, part.stop] = sums.get((part.start, part.stop), 0) + piece
            column += part.dim
    return torch.cat([sums[key] for key in sorted(sums)], dim=1)


def test_z_class_and_both(case, dense):
    _, hook, sample, _ = case
    z, embedding = by_part(case, dense, 'z'), by_part(case, dense, 'class')
    assert z.shape[1] == hook.z_dim and embedding.shape[1] == 6
    for name, expected in (('z', z), ('class', embedding), ('z+class', torch.cat([z, embedding], dim=1))):
        assert hook.space(name).dim == expected.shape[1]
        torch.testing.assert_close(forward(hook.space(name), sample), expected, **EXACT)


def test_z_and_class_are_the_arguments_of_the_stock_call(case):
    """The same once more without any notion of layers: the derivative of G(z, G.shared(y))."""
    _, hook, sample, _ = case
    z, embedding = sample.latents['z'], sample.latents['class']
    by_z, by_class = jacobian(lambda *x: pooled(hook.G(*x)), (z, embedding))
    expected = torch.cat([by_z, by_class], dim=2)[:, 0]
    torch.testing.assert_close(forward(hook.space('z+class'), sample), expected, **EXACT)


def test_layers(case, dense):
    name, hook, sample, _ = case
    for space, layers in (('z', (0,) if name == 'flat' else (1, 3)), ('class', (2, 3))):
        expected = by_part(case, dense, space, layers)
        torch.testing.assert_close(forward(hook.space(space, layers), sample), expected, **EXACT)


def test_cond(case, dense):
    _, hook, sample, _ = case
    torch.testing.assert_close(forward(hook.space('cond'), sample), torch.cat(dense, dim=1), **EXACT)
    torch.testing.assert_close(forward(hook.space('cond[1:3]'), sample), torch.cat(dense[1:3], dim=1), **EXACT)


def test_a_bracketed_name_is_the_name_and_its_layers():
    hook = BigGANHook(network('hier'))
    space = hook.space('z[1:3]')
    assert (space.name, space.layers, space.dim) == ('z', (1, 2), 6)  # chunks of 3
    assert hook.space('z[0:4]').layers is None and hook.layer_count('z') == 4
    offset = torch.arange(1, 7, dtype=torch.float64)[None]
    sample = hook.sample(0, c=hook.class_vector('0'))
    moved = space.saved(space.move(space.latent(sample), offset), sample)['z'] - sample.latents['z']
    expected = torch.tensor([[0, 0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(moved, expected, **EXACT)


def test_z_per_layer_is_a_list_of_zs_as_in_ganspace():
    """BigGAN-deep with one z per layer, of which the layers 2 and 4 have another one."""
    hook = BigGANHook(network('deep'))
    sample = hook.sample(3, c=hook.class_vector('1:0.5,4:0.5'))
    step = torch.randn(1, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    zs = [sample.latents['z'] + (step if i in (2, 4) else 0) for i in range(7)]
    expected = hook.G.synthesis([torch.cat([sample.latents['class'], z], dim=1) for z in zs])
    torch.testing.assert_close(images_at(hook.space('z', (2, 4)), sample, step), expected, **EXACT)


@pytest.mark.parametrize('name, layers, keys', [
    ('z', None, ['class', 'z']), ('class', None, ['class', 'z']), ('z', (1,), ['cond']), ('cond', None, ['cond'])])
def test_saved_latents_make_the_picture(name, layers, keys):
    hook = BigGANHook(network('deep'))
    sample = hook.sample(0, c=hook.class_vector('2'))
    space = hook.space(name, layers)
    offset = 0.1 * torch.ones(2, space.dim, dtype=torch.float64) * torch.tensor([[1.0], [-2.0]])
    latent = space.move(space.latent(sample), offset)
    saved = space.saved(latent, sample)
    assert sorted(saved) == keys
    picture = (hook.G(saved['z'], saved['class']) if 'z' in saved
               else hook.G.synthesis(saved['cond'].split([13] * 7, dim=1)))
    torch.testing.assert_close(picture, images_at(space, sample, offset), **EXACT)


@pytest.mark.parametrize('name', ['z', 'class', 'z+class', 'cond', 'cond[1:2]'])
@pytest.mark.parametrize('family', ['hier', 'deep'])
def test_probes_pass_and_the_float32_jacobian_is_the_float64_one(family, name):
    hook = BigGANHook(network(family).float())
    sample = hook.sample(0, c=hook.class_vector('1'))
    space = hook.space(name)
    probe(Viewpoint(hook, space, sample, 16))
    J = RegionJacobian(Viewpoint(hook, space, sample, 4)).compute().matrix.T
    exact = BigGANHook(network(family))
    expected = forward(exact.space(name), exact.sample(0, c=exact.class_vector('1')))
    assert (J - expected).norm() < 1e-5 * expected.norm()  # 60 float32 roundings would be 4e-6


def test_a_direction_of_one_class_moves_another_by_the_same_offset(case):
    _, hook, _, _ = case
    first, second = (hook.sample(5, c=hook.class_vector(spec)) for spec in ('0', '3'))
    space = hook.space('z+class')
    assert not torch.equal(space.latent(first), space.latent(second))
    offset = torch.ones(1, space.dim, dtype=torch.float64)
    moves = [space.move(space.latent(sample), offset) - space.latent(sample) for sample in (first, second)]
    torch.testing.assert_close(*moves, **EXACT)


def test_without_a_learned_embedding_the_label_is_the_embedding():
    config = dataclasses.replace(CONFIGS['flat'], G_shared=False, shared_dim=5)
    G = Generator(config).double().eval().requires_grad_(False)
    G.shared.weight.copy_(torch.eye(5))
    c = torch.tensor([[0, 0.5, 0, 0.5, 0]])
    sample = BigGANHook(G).sample(0, c=c)
    assert torch.equal(sample.latents['class'], c.double()) and BigGANHook(G).space('class').dim == 5


@pytest.mark.parametrize('widths, dim_z, total', [((16, 16, 8, 4, 2, 1), 120, 760), ((16, 16, 8, 8, 4, 2, 1), 140, 908),
                                                  ((16, 16, 8, 8, 4, 2, 1, 1), 128, 1024)])
def test_the_published_networks_have_these_dimensions(widths, dim_z, total):
    config = BigGANConfig(4 << len(widths) - 1, widths, dim_z, 1000, 128)
    assert config.resolution in (128, 256, 512) and sum(part.dim for slot in config.slots for part in slot) == total


def test_attention_by_loops():
    attention = Attention(8).double().requires_grad_(False)
    attention.gamma.fill_(0.7)
    x = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pool = lambda y: y.reshape(-1, 2, 2, 2, 2).amax((2, 4)).flatten(1)
    q, k, v = (np.einsum('oc,chw->ohw', layer.weight[:, :, 0, 0], x[0])
               for layer in (attention.theta, attention.phi, attention.g))
    keys, values = pool(torch.from_numpy(k)).numpy(), pool(torch.from_numpy(v)).numpy()
    expected = x[0].numpy().copy()
    for row in range(4):
        for column in range(4):
            weights = np.exp(q[:, row, column] @ keys)
            attended = values @ (weights / weights.sum())
            expected[:, row, column] += 0.7 * attention.o.weight[:, :, 0, 0].numpy() @ attended
    np.testing.assert_allclose(attention(x)[0], expected, rtol=0, atol=1e-12)


# The hook's arguments.

def hook_of_five_classes():
    return BigGANHook(network('hier'), name='birds')


@pytest.mark.parametrize('kwargs, match', [
    (dict(truncation_cutoff=2), 'leave the truncation cutoff out'),
    (dict(truncation_psi=float('nan')), 'truncation psi is nan'),
    (dict(c=None), 'birds is class-conditional: name a class, 0 to 4'),
    (dict(c=torch.zeros(1, 4)), r'shape \[1, 4\]; expected finite weights \[1, 5\]'),
    (dict(c=torch.full((1, 5), float('nan'))), 'expected finite weights'),
    (dict(seed=-1), 'seed is -1, expected a whole number of at least 0'),
])
def test_samples_that_cannot_be(kwargs, match):
    with pytest.raises(ResefaError, match=match):
        hook_of_five_classes().sample(**{'seed': 0, 'c': torch.eye(5)[:1]} | kwargs)


@pytest.mark.parametrize('name, layers, match', [
    ('w', None, r"space 'w' is not one of z, class, z\+class, cond, the spaces of birds"),
    ('w[0:2]', None, "space 'w' is not one of"),
    ('z[1:2]', (1,), 'names its layers already'),
    ('z[2:2]', None, r"layers \(none\) of space 'z'"),
    ('z[2:9]', None, "layers 2, 3, 4, 5, 6, 7, 8 of space 'z': in birds it enters at layers 0 to 3"),
    ('class', (0, 1), "layers 0, 1 of space 'class': in birds it enters at layers 1 to 3"),
    ('cond', (-1,), 'enters at layers 0 to 3'),
])
def test_spaces_that_cannot_be(name, layers, match):
    with pytest.raises(ResefaError, match=match):
        hook_of_five_classes().space(name, layers)


def test_z_that_enters_at_one_layer():
    with pytest.raises(ResefaError, match='it enters at layers 0$'):
        BigGANHook(network('flat')).space('z', (1,))


def test_resolutions_that_do_not_divide():
    hook = hook_of_five_classes()
    sample = hook.sample(0, c=hook.class_vector('1'))
    space = hook.space('z')
    with pytest.raises(ResefaError, match='resolution 5 does not divide'):
        space.render(space.latent(sample), sample, 5)


def test_truncation_scales_z_and_the_seed_is_numpys():
    hook = hook_of_five_classes()
    expected = 0.5 * np.random.RandomState(7).randn(1, 12).astype(np.float32)
    np.testing.assert_array_equal(hook.sample(7, 0.5, c=hook.class_vector('1')).latents['z'], expected)


def test_one_class_needs_no_label():
    G = Generator(dataclasses.replace(CONFIGS['hier'], n_classes=1))
    sample = BigGANHook(G.eval().requires_grad_(False)).sample(0)
    assert torch.equal(sample.c, torch.ones(1, 1)) and torch.equal(sample.latents['class'], G.shared.weight)
