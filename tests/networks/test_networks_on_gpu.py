"""All networks and their derivatives on a GPU that is not there: what they make lies where their weights are."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from resefa_plugin.networks import biggan, mobile_stylegan
from tests.helpers.biggan_toys import CONFIGS, fill
from tests.helpers.mobile_toys import small_mobile_stylegan
from tests.helpers.network_files import SMALL, SMALL3, make_generator
from tests.helpers.pretend_gpu import GPU, assert_same_on_gpu

pytestmark = pytest.mark.usefixtures('gpu')

NETWORKS = {
    'skip': lambda: make_generator('stylegan2', synthesis={**SMALL, 'conv_clamp': 1}),
    'resnet': lambda: make_generator('stylegan2', synthesis={**SMALL, 'architecture': 'resnet'}),
    'orig': lambda: make_generator('stylegan2', synthesis={**SMALL, 'architecture': 'orig'}),
    'conditional': lambda: make_generator('stylegan2', c_dim=3),
    't': lambda: make_generator('stylegan3', synthesis={**SMALL3, 'conv_clamp': 2}),
    'r': lambda: make_generator('stylegan3', synthesis={**SMALL3, 'conv_kernel': 1, 'use_radial_filters': True}),
    'xl': lambda: make_generator('stylegan-xl'),
}


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=[*NETWORKS, 'mobile'])
def G(request, monkeypatch):
    """Every generator with styles, small."""
    if request.param == 'mobile':
        return small_mobile_stylegan(monkeypatch).G
    return NETWORKS[request.param]()


def point(G, device):
    """Styles `[1, dims]` of a sample."""
    z = randn(1, G.z_dim).to(device)
    if isinstance(G, mobile_stylegan.Generator):
        ws = G.mapping(z)[:, None].repeat(1, G.num_ws, 1)
    else:
        ws = G.mapping(z, torch.eye(3)[:1].to(device) if G.c_dim else None, truncation_psi=0.7)
    return [style.detach() for style in G.synthesis.styles(ws)]


def test_pictures_and_derivatives_by_torch(G):
    def run(device):
        G.to(device)
        styles = point(G, device)
        tangents = [randn(2, style.shape[1], seed=1).to(device) for style in styles]

        def picture(*styles):
            return G.synthesis.from_styles([style[None] for style in styles])[0]
        at = tuple(style[0] for style in styles)
        columns = torch.vmap(lambda *t: torch.func.jvp(picture, at, t)[1])(*tangents)
        image, pull = torch.func.vjp(picture, *at)
        return image, columns, pull(torch.ones_like(image)), torch.vmap(picture)(*tangents)

    assert_same_on_gpu(run)


@pytest.mark.parametrize('factor', [1, 4])
def test_derivatives_by_hand(G, factor):
    def run(device):
        G.to(device)
        styles = point(G, device)
        linearization = G.synthesis.linearize(styles, G.img_resolution // factor)
        tangents = [randn(5, style.shape[1], seed=1).to(device) for style in styles]
        columns = linearization.push(tangents)
        return columns, linearization.pull(columns.flip(0))

    assert_same_on_gpu(run)


@pytest.mark.parametrize('name', CONFIGS)
def test_biggan(name):
    G = biggan.Generator(CONFIGS[name]).eval().requires_grad_(False)
    G.load_state_dict({key: value.float() for key, value in fill(G.state_dict()).items()})

    def run(device):
        G.to(device)
        z, embedding = randn(1, G.dim_z).to(device), G.embed(torch.eye(5)[2:3].to(device))
        ts = randn(3, *z.shape, seed=1).to(device)
        image, pull = torch.func.vjp(G, z, embedding)
        return image, torch.vmap(lambda t: torch.func.jvp(lambda z: G(z, embedding), (z,), (t,))[1])(ts), pull(image)

    assert_same_on_gpu(run)


def test_a_tensor_without_a_device_is_caught():
    """What all these tests rest on."""
    x = randn(3, 3).to(GPU)

    def broken(x):
        return F.linear(x, x + torch.zeros(3, 3)).sum()
    for run in (broken, torch.func.grad(broken), lambda x: torch.func.jvp(broken, (x,), (x,)),
                lambda x: torch.vmap(broken)(x[None]), lambda x: x.copy_(x) @ torch.ones(3),
                lambda x: torch.ones(3)[x[0] > 0], lambda x: torch.zeros(3).add_(x[0]), lambda x: x.numpy(),
                lambda x: torch.randn(3, device=GPU, generator=torch.Generator())):
        with pytest.raises(RuntimeError, match='same device|not supported|device type'):
            run(x)
    assert torch.equal(x.cpu() + torch.zeros(3, 3), x.cpu()) and x.device == GPU
