"""The demo generator against OpenVINO's output, its spaces against each other, its derivative against autograd's."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import torch
from torch.nn import functional

from resefa_plugin import RegionJacobian
from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.networks.haar import haar_doubled, inverse_haar, inverse_haar_doubled
from tests.helpers.mobile_toys import small_mobile_stylegan
from tests.helpers.toys import images_at

# OpenVINO in float32: w of RandomState(0).randn(4, 512), and 4x4 box averages and a crop of pictures of 0.7 w.
ORACLE = np.load(pathlib.Path(__file__).parents[1] / 'data' / 'openvino_reference.npz')
GREY_LEVEL = 2 / 255
# Slopes of activations near zero flip between two orders of float32 operations; measured 4e-4.
FLOAT32_TANGENT = 2e-3
needs_demo = pytest.mark.network


@pytest.fixture
def small(monkeypatch):
    return small_mobile_stylegan(monkeypatch)


@needs_demo
def test_mapping_agrees_with_openvino(demo):
    z = torch.from_numpy(np.random.RandomState(0).randn(4, 512).astype(np.float32))
    error = np.abs(demo.G.mapping(z).numpy() - ORACLE['w']).max() / np.abs(ORACLE['w']).max()
    assert error < 1e-4


@needs_demo
@pytest.mark.parametrize('index, resolutions', [(0, (512, 256, 64)), (1, ())])
def test_pictures_agree_with_openvino(demo, index, resolutions):
    w = torch.from_numpy(0.7 * ORACLE['w'][index:index + 1])
    space = demo.space('w')
    sample = demo.sample_from_ws(w)
    image = images_at(space, sample, torch.zeros(1, 512))
    assert image.shape == (1, 3, 1024, 1024)
    # The oracle is stored in float16, which is off by up to a sixteenth of a grey level.
    assert np.abs(functional.avg_pool2d(image, 4).numpy()[0] - ORACLE['image_box256'][index]).max() < GREY_LEVEL
    assert np.abs(image[0, :, 600:728, 448:576].numpy() - ORACLE['crop_1024'][index]).max() < GREY_LEVEL
    for resolution in resolutions:  # skipping the last wavelet transform is exact
        low = images_at(space, sample, torch.zeros(1, 512), resolution)
        assert (low - functional.avg_pool2d(image, 1024 // resolution)).abs().max() < 1e-5


@needs_demo
def test_seed_and_truncation_are_the_hosts(demo):
    sample = demo.sample(3, truncation_psi=0.7)
    z = torch.from_numpy(np.random.RandomState(3).randn(1, 512).astype(np.float32))
    assert torch.equal(sample.latents['z'], z)
    w_avg, w = demo.G.w_avg, demo.G.mapping(z)[0]
    assert torch.allclose(sample.latents['ws'][0], (w_avg + 0.7 * (w - w_avg)).expand(23, 512), atol=1e-6)
    cut = demo.sample(3, truncation_psi=0.7, truncation_cutoff=8).latents['ws'][0]
    assert torch.allclose(cut[:8], sample.latents['ws'][0, :8]) and torch.allclose(cut[8:], w.expand(15, 512))
    assert not torch.allclose(cut[8:], sample.latents['ws'][0, 8:])


def check_linearization(hook, name, layers, resolution):
    """The derivative by hand, forwards and backwards, against autograd's."""
    space, sample = hook.space(name, layers), hook.sample(1, 0.7)
    jacobian = RegionJacobian(Viewpoint(hook, space, sample, resolution), chunk_size=2)
    V = torch.randn(2, space.dim, generator=torch.Generator().manual_seed(0))
    linearization = space.linearize(space.latent(sample), sample, resolution)
    by_hand = linearization.push(V)
    assert torch.equal(by_hand, space.linearize(space.latent(sample), sample, resolution).push(V))
    by_ad = jacobian._forward_mode(V)
    assert (by_hand - by_ad).norm() < FLOAT32_TANGENT * by_ad.norm()
    pulled, by_autograd = linearization.pull(by_ad), jacobian.vjp_by_autograd(by_ad)
    assert pulled.shape == V.shape and (pulled - by_autograd).norm() < FLOAT32_TANGENT * by_autograd.norm()


@pytest.mark.parametrize(
    'name, layers',
    [
        ('z', None),
        ('z', (4, 5)),
        ('w', None),
        ('w', (4, 5, 6, 7)),
        ('w+', None),
        ('w+', (0, 13)),
        ('s', None),
        ('s', (1, 13)),
    ],
)
def test_linearization_is_forward_mode_ad_in_each_space(small, name, layers):
    check_linearization(small, name, layers, 32)


@needs_demo
def test_linearization_is_forward_mode_ad(demo):
    """From z, through every part of the network."""
    check_linearization(demo, 'z', None, 64)


@needs_demo
def test_offsets_of_the_spaces_are_the_same_edit(demo):
    """A W offset is the W+ offset that repeats it, in all layers or some; affine layers map it to the style offset."""
    sample, layers = demo.sample(2, 0.7), (4, 5, 6, 7)
    offset = 0.3 * torch.randn(1, 512, generator=torch.Generator().manual_seed(0))
    w, wplus, s = demo.space('w', layers), demo.space('w+', layers), demo.space('s', layers)
    latent = sample.latents['ws']
    assert torch.allclose(w.move(latent, offset), wplus.move(latent, offset.repeat(1, 4)))
    moved = w.move(latent, offset)
    assert torch.equal(moved[:, :4], latent[:, :4]) and torch.equal(moved[:, 8:], latent[:, 8:])
    style_offset = torch.cat([offset @ demo.G.synthesis.modulated[i].affine.weight.T for i in layers], dim=1)
    assert s.dim == style_offset.shape[1]
    pictures = images_at(w, sample, offset, 64), images_at(s, sample, style_offset, 64)
    assert (pictures[0] - pictures[1]).abs().max() < 1e-4


def test_w_tangent_is_the_sum_of_the_layers_of_wplus(small):
    sample, v = small.sample(0, 0.7), torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    parts = [range(3), range(3, 9), range(9, 14)]
    by_layer = sum(
        small.space('w+', tuple(part)).linearize(sample.latents['ws'], sample, 32).push(v.repeat(1, len(part)))
        for part in parts
    )
    whole = small.space('w').linearize(sample.latents['ws'], sample, 32).push(v)
    assert (by_layer - whole).norm() < FLOAT32_TANGENT * whole.norm()


def test_adjoint_identity(small):
    """Of the products that the solvers take, which check the derivative by hand before they use it."""
    jacobian = RegionJacobian(Viewpoint(small, small.space('w'), small.sample(0, 0.7), 64))
    generator = torch.Generator().manual_seed(0)
    t, u = torch.randn(1, 32, generator=generator), torch.randn(1, 3, 64, 64, generator=generator)
    pushed = jacobian.jvp(t)
    u += pushed / pushed.norm() * u.norm()  # away from zero, where only rounding would be compared
    forward, reverse = (u.double() * pushed.double()).sum(), (jacobian.vjp(u).double() * t.double()).sum()
    assert abs(forward - reverse) < 1e-5 * abs(forward)


def test_pull_leaves_no_trace_and_averages_rows(small):
    """Cotangents of the caller are not overwritten; one spread over boxes is the same at every resolution."""
    space, sample = small.space('w'), small.sample(0, 0.7)
    U = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before, low = U.clone(), space.linearize(space.latent(sample), sample, 32)
    pulled = low.pull(U)
    assert torch.equal(U, before) and torch.equal(low.pull(U), pulled)
    for resolution in (64, None):
        factor = (resolution or 128) // 32
        spread = U.repeat_interleave(factor, 2).repeat_interleave(factor, 3) / factor ** 2
        assert (
            space.linearize(space.latent(sample), sample, resolution).pull(spread) - pulled
        ).norm() < 1e-5 * pulled.norm()


def test_haar_transforms_are_each_others_transpose():
    eye = torch.eye(32, dtype=torch.float64)
    up = inverse_haar_doubled(eye.unflatten(1, (8, 2, 2))).flatten(1)
    down = haar_doubled(eye.unflatten(1, (2, 4, 4))).flatten(1)
    assert torch.equal(up, down.T)
    assert torch.equal(up, 2 * inverse_haar(eye.unflatten(1, (8, 2, 2))).flatten(1))


def test_inverse_haar_is_orthogonal_and_averages():
    bands = torch.randn(1, 8, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    picture = inverse_haar(bands)
    assert picture.shape == (1, 2, 8, 8)
    assert torch.isclose(picture.norm(), bands.norm())
    assert torch.allclose(functional.avg_pool2d(picture, 2), bands[:, :2] / 2)
    vertical = inverse_haar(torch.eye(8, dtype=torch.float64)[2][None, :, None, None])  # channel 0's vertical detail
    assert torch.equal(vertical[0, 0], torch.tensor([[.5, .5], [-.5, -.5]], dtype=torch.float64))


@pytest.mark.parametrize('resolution', [None, 64, 16])  # all bands, the low-pass band, an average of it
def test_linearization_in_float64(small, resolution):
    """Where float64 leaves rounding no excuse."""
    G, generator = small.G.synthesis.double(), torch.Generator().manual_seed(0)
    styles = [0.5 + torch.rand(1, n, dtype=torch.float64, generator=generator) for n in G.style_dims]
    tangents = [torch.randn(1, n, dtype=torch.float64, generator=generator) for n in G.style_dims]

    def render(*styles):
        return G.from_styles(list(styles), resolution)

    with torch.no_grad():
        linearization = G.linearize(styles, resolution)
        by_hand = linearization.push(tangents)
        pulled = linearization.pull(by_hand)
        picture = linearization.value()
    at_point, by_ad = torch.func.jvp(render, tuple(styles), tuple(tangents))
    assert (by_hand - by_ad).norm() < 1e-12 * by_ad.norm()
    assert (picture - at_point).norm() < 1e-12 * at_point.norm()
    point = [style.requires_grad_() for style in styles]
    for style, by_autograd in zip(pulled, torch.autograd.grad(render(*point), point, by_hand), strict=True):
        assert (style - by_autograd).norm() < 1e-12 * by_autograd.norm()


def test_linearization_at_every_resolution(small):
    sample, v = small.sample(0, 0.7), torch.randn(1, 32, generator=torch.Generator().manual_seed(0))
    full = small.space('w').linearize(sample.latents['ws'], sample, None).push(v)
    assert full.shape == (1, 3, 128, 128)
    for resolution in (64, 16):
        low = small.space('w').linearize(sample.latents['ws'], sample, resolution).push(v)
        assert (low - functional.avg_pool2d(full, 128 // resolution)).norm() < 1e-5 * low.norm()


@needs_demo
def test_errors(demo):
    with pytest.raises(ResefaError, match="space 'q' is not one of z, w, w\\+, s, the spaces of mobilestylegan-ffhq"):
        demo.space('q')
    for layers in ((23,), (-1, 2), ()):
        with pytest.raises(ResefaError, match=r"layers .* of space 'w': mobilestylegan-ffhq has layers 0 to 22"):
            demo.space('w', layers)
    with pytest.raises(ResefaError, match='unconditional: it takes no class label'):
        demo.sample(0, c=torch.zeros(1, 10))
    with pytest.raises(ResefaError, match='resolution 300 does not divide the picture'):
        images_at(demo.space('w'), demo.sample(0), torch.zeros(1, 512), 300)
    for shape in ([1, 18, 512], [2, 23, 512], [23, 256], [1, 1, 1, 512]):
        with pytest.raises(ResefaError, match=r'latents of shape .* do not fit .*: expected \[1, 23, 512\]'):
            demo.sample_from_ws(torch.zeros(shape))
    with pytest.raises(ResefaError, match='contain NaN or infinity'):
        demo.sample_from_ws(torch.full([1, 23, 512], float('nan')))
    with pytest.raises(ResefaError, match="proj00 is known by its w only, so it cannot be edited in space 'z'"):
        demo.space('z').latent(demo.sample_from_ws(torch.zeros(512)))
    for seed in (-1, 2 ** 32):
        with pytest.raises(ResefaError, match=f'seed {seed} is out of range|seed is {seed}, expected a whole'):
            demo.sample(seed)
