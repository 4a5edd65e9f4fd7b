"""The derivative of our StyleGAN2 by hand, both ways, against AD and central differences in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.func import jvp, vmap

from resefa_plugin.errors import ResefaError
from resefa_plugin.networks.stylegan2 import SynthesisNetwork
from tests.helpers.network_oracles import randomize

# Both sum the same products in another order.
AD_TOLERANCE = 1e-10
# A step of 1e-6 leaves about 1e-9 of third derivative and rounding, and 1e-6 where it crosses a kink of the activation.
DIFFERENCE_TOLERANCE = 1e-5


def network(img_channels=3, resolution=16, **kwargs):
    torch.manual_seed(0)
    return randomize(SynthesisNetwork(8, resolution, img_channels, channel_base=128, channel_max=12, **kwargs))


def point_and_tangents(synthesis, count):
    generator = torch.Generator().manual_seed(1)
    ws = torch.randn(1, synthesis.num_ws, synthesis.w_dim, generator=generator, dtype=torch.float64)
    tangents = [torch.randn(count, dim, generator=generator, dtype=torch.float64) for dim in synthesis.style_dims]
    return synthesis.styles(ws), tangents


def picture(synthesis, resolution, noise_mode='const'):
    """What is differentiated, averaged only when all of the picture is there: `[dim]` each -> `[C, h, w]`."""
    def render(*styles):
        img = synthesis.from_styles([s[None] for s in styles], noise_mode)
        return F.avg_pool2d(img, synthesis.img_resolution // (resolution or synthesis.img_resolution))[0]
    return render


def forward_mode(render, styles, tangents):
    point = tuple(s[0] for s in styles)
    return vmap(lambda *t: jvp(render, point, t)[1])(*tangents)


def reverse_mode(render, styles, cotangents):
    point = tuple(s[0].clone().requires_grad_() for s in styles)
    image = render(*point)
    rows = [torch.autograd.grad(image, point, u, retain_graph=True) for u in cotangents]
    return [torch.stack(style) for style in zip(*rows, strict=True)]


def check(synthesis, count=2, resolution=None, noise_mode='const'):
    styles, tangents = point_and_tangents(synthesis, count)
    render = picture(synthesis, resolution, noise_mode)
    linearization = synthesis.linearize(styles, resolution, noise_mode)
    columns = linearization.push(tangents)
    expected = forward_mode(render, styles, tangents)
    assert columns.dtype == torch.float64 and expected.norm() > 0
    assert columns.shape == expected.shape
    assert (columns - expected).norm() < AD_TOLERANCE * expected.norm()
    cotangents = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    pulled = linearization.pull(cotangents)
    assert [p.shape for p in pulled] == [t.shape for t in tangents]
    for style, by_autograd in zip(pulled, reverse_mode(render, styles, cotangents), strict=True):
        assert (style - by_autograd).norm() <= AD_TOLERANCE * by_autograd.norm()


def clamped_fraction(synthesis):
    """Fractions of the pixels that `conv1` and `torgb` of the last block put out at their bounds."""
    seen = []
    block = getattr(synthesis, f'b{synthesis.img_resolution}')
    handles = [layer.register_forward_hook(lambda m, args, y: seen.append((y.abs() >= y.abs().max()).double().mean()))
               for layer in (block.conv1, block.torgb)]
    synthesis.from_styles(point_and_tangents(synthesis, 1)[0])
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize('architecture', ['skip', 'resnet', 'orig'])
@pytest.mark.parametrize('conv_clamp, img_channels, resolution', [
    (None, 3, None), (0.6, 3, None), (0.6, 1, 16), (0.6, 3, 8), (256, 1, 1)])
def test_equals_ad(architecture, conv_clamp, img_channels, resolution):
    synthesis = network(img_channels, architecture=architecture, conv_clamp=conv_clamp)
    if conv_clamp == 0.6:
        features, colours = clamped_fraction(synthesis)
        assert 0.01 < features < 0.99 and (img_channels == 1 or 0.01 < colours < 0.99)
    check(synthesis, resolution=resolution)


@pytest.mark.parametrize('activation, kernel_size, resample_filter', [
    ('linear', 3, [1, 3, 3, 1]), ('relu', 3, [1, 3, 3, 1]), ('lrelu', 3, [1, 2, 1]), ('lrelu', 1, [1, 3, 3, 1]),
    ('relu', 1, [1, 2, 1])])
def test_equals_ad_for_other_layers(activation, kernel_size, resample_filter):
    check(network(activation=activation, kernel_size=kernel_size, resample_filter=resample_filter, conv_clamp=2))


@pytest.mark.parametrize('kwargs', [dict(noise_mode='none'), dict(count=1), dict(count=5)])
def test_equals_ad_for_other_calls(kwargs):
    check(network(), **kwargs)


@pytest.mark.parametrize('kwargs', [dict(resolution=4), dict(use_noise=False)])
def test_equals_ad_for_other_networks(kwargs):
    check(network(**kwargs))


@pytest.mark.parametrize('architecture', ['skip', 'resnet', 'orig'])
def test_equals_central_differences(architecture):
    synthesis = network(architecture=architecture, conv_clamp=0.6)
    styles, tangents = point_and_tangents(synthesis, 1)
    step = 1e-6
    ahead, behind = (synthesis.from_styles([s + sign * t for s, t in zip(styles, tangents, strict=True)])
                     for sign in (step, -step))
    difference = F.avg_pool2d((ahead - behind) / (2 * step), 2)
    column = synthesis.linearize(styles, 8).push(tangents)
    assert (column - difference).norm() < DIFFERENCE_TOLERANCE * difference.norm()


def test_a_style_of_zeros_is_a_point_like_any_other():
    """Nothing divides by a style."""
    synthesis = network()
    styles, tangents = point_and_tangents(synthesis, 2)
    styles[2][:, ::2] = 0
    expected = forward_mode(picture(synthesis, None), styles, tangents)
    assert (synthesis.linearize(styles).push(tangents) - expected).norm() < AD_TOLERANCE * expected.norm()


@pytest.mark.parametrize('architecture', ['skip', 'resnet', 'orig'])
def test_calls_leave_no_trace(architecture):
    """Tangents are overwritten inside: not those of the caller, nor what a second call needs, nor the network."""
    synthesis = network(architecture=architecture, conv_clamp=0.6).requires_grad_(True)
    styles, tangents = point_and_tangents(synthesis, 5)
    before = [t.clone() for t in (*styles, *tangents, *synthesis.state_dict().values())]
    linearization = synthesis.linearize(styles, 8)
    push, first = linearization.push, linearization.push(tangents)
    kept = first.clone()
    rest = push([t[2:4] for t in tangents])
    assert torch.equal(push(tangents), first) and torch.equal(first, kept) and not first.requires_grad
    torch.testing.assert_close(rest, first[2:4], rtol=1e-12, atol=1e-12)
    pulled = linearization.pull(first)
    again = linearization.pull(first[2:4])
    assert torch.equal(first, kept) and not any(p.requires_grad for p in pulled)
    torch.testing.assert_close(again, [p[2:4] for p in pulled], rtol=1e-12, atol=1e-12)
    assert all(map(torch.equal, before, (*styles, *tangents, *synthesis.state_dict().values())))


def test_float32_is_taken_as_it_is():
    synthesis = network()
    styles, tangents = point_and_tangents(synthesis, 2)
    exact = synthesis.linearize(styles).push(tangents)
    rounded = synthesis.float().linearize([s.float() for s in styles]).push([t.float() for t in tangents])
    assert rounded.dtype == torch.float32
    # Rounding 1e-7 in some ten layers, more where it turns the sign of an activation's argument.
    assert (rounded - exact).norm() < 1e-4 * exact.norm()


def test_what_does_not_fit_is_an_error():
    synthesis = network()
    styles, tangents = point_and_tangents(synthesis, 2)
    for resolution in (0, 3, 32):
        with pytest.raises(ResefaError, match=f'resolution: expected a divisor of 16, got {resolution}'):
            synthesis.linearize(styles, resolution)
    with pytest.raises(ResefaError, match="noise_mode 'random' is not one of const, none"):
        synthesis.linearize(styles, noise_mode='random')
    with pytest.raises(ResefaError, match='styles: expected 8 tensors'):
        synthesis.linearize(styles[:-1])
    with pytest.raises(ResefaError, match=r'styles: expected those of one picture, got \[2, 2'):
        synthesis.linearize([s.expand(2, -1) for s in styles])
    with pytest.raises(ResefaError, match='styles: expected 8 tensors'):
        synthesis.linearize(styles).push(tangents[:-1])
    with pytest.raises(ResefaError, match=r'pictures: expected \[K, 3, 8, 8\], got \[2, 3, 16, 16\]'):
        synthesis.linearize(styles, 8).pull(torch.zeros(2, 3, 16, 16))
