"""Our StyleGAN2 network against definitions, finite differences, and the official networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
import torch
import torch.nn.functional as F

from resefa_plugin.errors import CheckpointError, ResefaError
from resefa_plugin.networks.stylegan2 import Generator
from resefa_plugin.networks.stylegan2_layers import SynthesisBlock, SynthesisLayer, ToRGBLayer
from resefa_plugin.networks.stylegan_layers import MappingNetwork
from resefa_plugin.networks.upfirdn import setup_filter, upfirdn2d
from tests.helpers.network_oracles import (
    check_against_official,
    check_derivatives,
    needs_upstream,
    randomize,
    run_official,
)

SMALL = dict(channel_base=128, channel_max=12)


def small(c_dim=0, img_channels=3, resolution=16, mapping_kwargs=None, **synthesis_kwargs):
    torch.manual_seed(0)
    G = Generator(
        6, c_dim, 8, resolution, img_channels, mapping_kwargs or {'num_layers': 2}, {**SMALL, **synthesis_kwargs}
    )
    return randomize(G)


def latents(G, n=2):
    generator = torch.Generator().manual_seed(2)
    c = torch.randn(n, G.c_dim, generator=generator, dtype=torch.float64)
    return torch.randn(n, G.z_dim, generator=generator, dtype=torch.float64), c


# upfirdn

# Every factor with every padding, and filters that are shorter and longer than the padding.
@pytest.mark.parametrize('up, down', [(1, 1), (2, 1), (4, 1), (1, 2), (1, 3)])
@pytest.mark.parametrize('padding, taps', [
    ((0, 0, 0, 0), [1, 3, 3, 1]), ((2, 1, 4, 3), [1, 2]), ((-1, 2, 3, -2), [1, 3, 3, 1]),
    ((14, 13, 12, 15), list(range(1, 13))),
])
def test_upfirdn2d_equals_scipy_axis_by_axis(taps, up, down, padding):
    x = np.random.RandomState(0).randn(2, 3, 13, 14)
    f = np.array(taps) / sum(taps)

    def axis(u, axis_index, before, after):
        u = scipy.signal.upfirdn([1], u, up=up, axis=axis_index)
        trailing = up - 1  # scipy leaves out the zeros after the last sample
        u = np.moveaxis(u, axis_index, -1)
        u = np.pad(u, [(0, 0)] * 3 + [(max(before, 0), max(after + trailing, 0))])
        u = u[..., max(-before, 0):u.shape[-1] - max(-after - trailing, 0)]
        u = scipy.signal.upfirdn(f, u, axis=-1)[..., len(f) - 1:u.shape[-1]][..., ::down]
        return np.moveaxis(u, -1, axis_index)

    expected = 2.5 * axis(axis(x, 3, padding[0], padding[1]), 2, padding[2], padding[3])
    for stored in (torch.from_numpy(f), torch.from_numpy(np.outer(f, f))):
        y = upfirdn2d(torch.from_numpy(x), stored, up=up, down=down, padding=padding, gain=2.5)
        np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('up, down', [(1, 1), (2, 1), (1, 2)])
def test_upfirdn2d_equals_a_loop_for_a_filter_that_is_not_separable(up, down):
    rng = np.random.RandomState(1)
    x, f, (left, right, top, bottom) = rng.randn(5, 6), rng.randn(3, 3), (2, 1, 0, 3)
    u = np.zeros((5 * up, 6 * up))
    u[::up, ::up] = x
    u = np.pad(u, ((top, bottom), (left, right)))
    expected = [[sum(f[a, b] * u[i + 2 - a, j + 2 - b] for a in range(3) for b in range(3))
                 for j in range(0, u.shape[1] - 2, down)] for i in range(0, u.shape[0] - 2, down)]
    y = upfirdn2d(torch.from_numpy(x)[None, None], torch.from_numpy(f), up, down, (left, right, top, bottom))
    np.testing.assert_allclose(y[0, 0], expected, rtol=1e-12, atol=1e-12)


def test_setup_filter_has_unit_sum_and_is_stored_as_official_files_store_it():
    torch.testing.assert_close(setup_filter([1, 3, 3, 1]), torch.outer(*[torch.tensor([1., 3., 3., 1.]) / 8] * 2))
    assert setup_filter([1.0] * 8).tolist() == [0.125] * 8


@pytest.mark.parametrize('taps', [[], [1, -1], [[1, 2], [3, 4]]])
def test_setup_filter_refuses_what_has_no_unit_sum(taps):
    with pytest.raises(CheckpointError, match='resample_filter .*: expected a list of numbers'):
        setup_filter(taps)


# Layers

@pytest.mark.parametrize('up', [1, 2])
@pytest.mark.parametrize('kernel_size', [1, 3, 5])
@pytest.mark.parametrize('taps', [[1, 3, 3, 1], [1, 2, 1]])
def test_synthesis_layer_equals_fused_weights_sample_by_sample(up, kernel_size, taps):
    """The paper's own form: scale the weights by the style, demodulate them, convolve each sample with its own."""
    torch.manual_seed(0)
    layer = randomize(SynthesisLayer(3, 4, 5, 6 * up, up, kernel_size, resample_filter=taps, conv_clamp=1.5))
    x, styles = torch.randn(2, 3, 6, 6).double(), 1 + 0.5 * torch.randn(2, 3).double()
    y = layer(x, styles, 'const', gain=0.5)
    f = np.outer(taps, taps) / sum(taps) ** 2
    for sample in range(2):
        w = layer.weight * styles[sample][None, :, None, None]
        w = (w / (w.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()).numpy()
        for o in range(4):
            if up == 1:
                out = sum(scipy.signal.correlate2d(x[sample, i], w[o, i], 'same') for i in range(3))
            else:
                out = 0
                for i in range(3):
                    u = np.zeros((12, 12))
                    u[::2, ::2] = x[sample, i].numpy()
                    # convolved with kernel and filter: of the full result, what is centred on the upsampled grid
                    full = scipy.signal.convolve2d(scipy.signal.convolve2d(u, w[o, i]), 4 * f)
                    start = kernel_size // 2 + (len(taps) - 2) // 2
                    out = out + full[start:start + 12, start:start + 12]
            out = out + (layer.noise_const * layer.noise_strength).numpy() + layer.bias[o].item()
            out = np.where(out < 0, 0.2 * out, out) * math.sqrt(2) * 0.5
            np.testing.assert_allclose(y[sample, o], np.clip(out, -0.75, 0.75), rtol=1e-12, atol=1e-12)
    assert y.abs().max() == 0.75, 'the clamp is to act in this test'


def test_torgb_layer_is_linear_in_its_style_and_clamped():
    layer = randomize(ToRGBLayer(3, 2, 5, conv_clamp=0.3))
    x, styles = torch.randn(2, 3, 4, 4).double(), torch.randn(2, 3).double()
    expected = torch.einsum('nihw,ni,oi->nohw', x, styles, layer.weight[:, :, 0, 0]) / math.sqrt(3)
    expected = (expected + layer.bias[:, None, None]).clamp(-0.3, 0.3)
    torch.testing.assert_close(layer(x, styles), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('activation, slope, gain', [
    ('linear', 1, 1), ('relu', 0, math.sqrt(2)), ('lrelu', 0.2, math.sqrt(2))])
def test_activations(activation, slope, gain):
    layer = randomize(SynthesisLayer(2, 2, 3, 4, 1, use_noise=False, activation=activation))
    x, styles = torch.randn(1, 2, 4, 4).double(), torch.ones(1, 2).double()
    w = layer.weight / (layer.weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
    y = F.conv2d(x, w, layer.bias, padding=1)
    y = gain * torch.where(y < 0, slope * y, y)
    torch.testing.assert_close(layer(x, styles, 'const'), y, rtol=1e-12, atol=1e-12)


# Mapping

def test_mapping_equals_its_definition():
    G = small(c_dim=3)
    z, c = latents(G)

    def unit(a):
        return a / (a.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()

    m = G.mapping
    embedded = c @ m.embed.weight.t() / math.sqrt(3) + m.embed.bias
    x = torch.cat([unit(z), unit(embedded)], dim=1)
    for layer in (m.fc0, m.fc1):
        y = x @ layer.weight.t() * 0.01 / math.sqrt(x.shape[1]) + layer.bias * 0.01
        x = math.sqrt(2) * torch.where(y < 0, 0.2 * y, y)
    ws = m(z, c)
    assert ws.shape == (2, G.num_ws, 8)
    torch.testing.assert_close(ws, x[:, None].expand(-1, G.num_ws, -1), rtol=1e-12, atol=1e-12)


def test_truncation_moves_towards_the_average_up_to_the_cutoff():
    G = small()
    z, _ = latents(G)
    ws, average = G.mapping(z, None), G.mapping.w_avg
    torch.testing.assert_close(G.mapping(z, None, 0.3), average + 0.3 * (ws - average))
    partly = G.mapping(z, None, truncation_psi=0.3, truncation_cutoff=2)
    torch.testing.assert_close(partly[:, :2], average + 0.3 * (ws[:, :2] - average))
    assert torch.equal(partly[:, 2:], ws[:, 2:])
    assert torch.equal(G.mapping(z, None, 0.3, 0), ws)


def test_truncation_without_an_average_is_an_error():
    G = small(mapping_kwargs={'num_layers': 1, 'w_avg_beta': None})
    assert 'mapping.w_avg' not in G.state_dict()
    G.mapping(latents(G)[0], None, truncation_psi=1)
    with pytest.raises(ResefaError, match='truncation_psi 0.5: the network has no average'):
        G.mapping(latents(G)[0], None, truncation_psi=0.5)


def test_a_network_of_labels_alone_takes_an_empty_z():
    mapping = randomize(MappingNetwork(0, 3, 4, 2, num_layers=1, embed_features=5, layer_features=7))
    ws = mapping(torch.zeros(2, 0), torch.eye(3)[:2])
    assert ws.shape == (2, 2, 4) and ws.isfinite().all() and not torch.equal(ws[0], ws[1])


@pytest.mark.parametrize('c_dim, c', [
    (3, None), (3, torch.zeros(2, 4)), (3, torch.zeros(1, 3)), (0, torch.zeros(2, 1))])
def test_labels_of_another_shape_are_an_error(c_dim, c):
    G = small(c_dim=c_dim)
    with pytest.raises(ResefaError, match=rf'c: expected a label of shape \[2, {c_dim}\]'):
        G(latents(G)[0], c)


# The whole network

@pytest.mark.parametrize('architecture', ['skip', 'resnet', 'orig'])
@pytest.mark.parametrize('c_dim, img_channels', [(0, 3), (2, 1)])
def test_picture_is_a_function_of_its_styles(architecture, c_dim, img_channels):
    G = small(c_dim, img_channels, architecture=architecture)
    z, c = latents(G)
    ws = G.mapping(z, c)
    img = G(z, c)
    assert img.shape == (2, img_channels, 16, 16) and img.dtype == torch.float64 and img.isfinite().all()
    styles = G.synthesis.styles(ws)
    assert torch.equal(G.synthesis.from_styles(styles), img)
    assert tuple(s.shape[1] for s in styles) == G.synthesis.style_dims
    assert torch.equal(G.synthesis(ws, noise_mode='const'), img)
    assert not torch.allclose(G.synthesis(ws, noise_mode='none'), img)
    torch.testing.assert_close(torch.cat([G(z[:1], c[:1]), G(z[1:], c[1:])]), img, rtol=1e-12, atol=1e-12)
    for index in range(len(styles)):  # no style is without effect
        moved = [s + 0.1 * (i == index) for i, s in enumerate(styles)]
        assert not torch.allclose(G.synthesis.from_styles(moved), img)


def test_styles_are_named_and_say_which_w_they_come_from():
    S = small().synthesis
    assert S.style_names == ('b4.conv1', 'b4.torgb', 'b8.conv0', 'b8.conv1', 'b8.torgb',
                             'b16.conv0', 'b16.conv1', 'b16.torgb')
    assert S.style_dims == (12, 12, 12, 12, 12, 12, 8, 8)
    assert S.style_ws == (0, 1, 1, 2, 3, 3, 4, 5)
    assert S.num_ws == 6
    assert small(architecture='orig').synthesis.style_ws == (0, 1, 2, 3, 4, 5)
    ws = torch.randn(1, 6, 8).double()
    for index, (before, after) in enumerate(
        zip(S.styles(ws), S.styles(ws + torch.eye(6).double()[3][None, :, None]), strict=True)
    ):
        assert torch.equal(before, after) == (S.style_ws[index] != 3)


@pytest.mark.parametrize('architecture', ['skip', 'resnet', 'orig'])
def test_derivatives_in_w(architecture):
    G = small(architecture=architecture, conv_clamp=2.0)
    check_derivatives(G.synthesis, G.mapping(*latents(G, 1)))


def test_derivatives_in_z_and_in_style_space():
    G = small()
    z, _ = latents(G, 1)
    check_derivatives(lambda z: G(z, None, truncation_psi=0.7, truncation_cutoff=2), z)
    styles = torch.cat(G.synthesis.styles(G.mapping(z, None)), dim=1)
    check_derivatives(lambda s: G.synthesis.from_styles(s.split(G.synthesis.style_dims, dim=1)), styles)


def test_precision_is_that_of_the_network():
    G = small()
    z, _ = latents(G)
    exact = G(z, None)
    rounded = G.float()(z, None)
    assert exact.dtype == torch.float64 and rounded.dtype == torch.float32
    torch.testing.assert_close(rounded.double(), exact, rtol=1e-4, atol=1e-4)


def test_state_has_the_official_names_and_shapes():
    state = small(c_dim=3, architecture='resnet', resolution=8).state_dict()
    layer = {'weight': (12, 12, 3, 3), 'bias': (12,), 'noise_strength': (), 'resample_filter': (4, 4),
             'affine.weight': (12, 8), 'affine.bias': (12,)}
    expected = {'mapping.embed.weight': (8, 3), 'mapping.embed.bias': (8,), 'mapping.w_avg': (8,),
                'mapping.fc0.weight': (8, 14), 'mapping.fc0.bias': (8,), 'mapping.fc1.weight': (8, 8),
                'mapping.fc1.bias': (8,),
                'synthesis.b4.const': (12, 4, 4), 'synthesis.b4.resample_filter': (4, 4),
                'synthesis.b8.resample_filter': (4, 4), 'synthesis.b8.skip.weight': (12, 12, 1, 1),
                'synthesis.b8.skip.resample_filter': (4, 4), 'synthesis.b8.torgb.weight': (3, 12, 1, 1),
                'synthesis.b8.torgb.bias': (3,), 'synthesis.b8.torgb.affine.weight': (12, 8),
                'synthesis.b8.torgb.affine.bias': (12,)}
    for name, resolution in (('b4.conv1', 4), ('b8.conv0', 8), ('b8.conv1', 8)):
        expected[f'synthesis.{name}.noise_const'] = (resolution, resolution)
        expected.update({f'synthesis.{name}.{key}': shape for key, shape in layer.items()})
    assert {key: tuple(value.shape) for key, value in state.items()} == expected


def test_strict_load_names_what_does_not_fit():
    G = small()
    state = G.state_dict()
    missing = {key: value for key, value in state.items() if key != 'mapping.w_avg'}
    with pytest.raises(RuntimeError, match='Missing key.*mapping.w_avg'):
        G.load_state_dict(missing)
    with pytest.raises(RuntimeError, match='Unexpected key.*synthesis.b32.const'):
        G.load_state_dict({**state, 'synthesis.b32.const': torch.zeros(1)})
    with pytest.raises(RuntimeError, match='size mismatch for synthesis.b4.const'):
        G.load_state_dict({**state, 'synthesis.b4.const': torch.zeros(1)})


# Bad input

@pytest.mark.parametrize('kwargs, message', [
    (dict(resolution=24), 'img_resolution: expected a power of two of at least 4, got 24'),
    (dict(resolution=2), 'img_resolution: expected a power of two'),
    (dict(channel_base=8), 'channel_base: expected at least img_resolution 16, got 8'),
    (dict(channel_max='many'), "channel_max is 'many', expected int"),
    (dict(img_channels=0), 'img_channels: expected an integer of at least 1, got 0'),
    (dict(architecture='unet'), "architecture 'unet' is not one of orig, skip, resnet"),
    (dict(activation='swish'), "activation 'swish' is not one of linear, relu, lrelu"),
    (dict(kernel_size=2), 'kernel_size: expected an odd number, got 2'),
    (dict(blur=1, up=2), 'synthesis_kwargs: blur, up is not one of activation, .*channel_max'),
    (dict(mapping_kwargs={'depth': 1}), 'mapping_kwargs: depth is not one of activation, class_w_avg, embed_features'),
    (dict(mapping_kwargs={'num_layers': 0}), 'num_layers: expected an integer of at least 1'),
])
def test_init_arguments_out_of_range_are_named(kwargs, message):
    with pytest.raises(CheckpointError, match=message):
        small(**kwargs)


def test_settings_of_speed_are_taken_and_change_nothing():
    G = small(num_fp16_res=4, fp16_channels_last=True, fused_modconv_default='inference_only')
    z, _ = latents(G)
    assert torch.equal(G(z, None), small()(z, None))


def test_latents_of_another_shape_are_an_error():
    G = small()
    with pytest.raises(ResefaError, match=r'z: expected shape \[N, 6\], got \[1, 5\]'):
        G(torch.zeros(1, 5), None)
    with pytest.raises(ResefaError, match=r'ws: expected shape \[N, 6, 8\], got \[1, 8\]'):
        G.synthesis(torch.zeros(1, 8))
    styles = G.synthesis.styles(torch.zeros(1, 6, 8))
    with pytest.raises(ResefaError, match='styles: expected 8 tensors'):
        G.synthesis.from_styles(styles[:-1])
    with pytest.raises(ResefaError, match='styles: expected 8 tensors'):
        G.synthesis.from_styles([s[0] for s in styles])


def test_random_noise_is_an_error():
    G = small()
    with pytest.raises(ResefaError, match="noise_mode 'random' is not one of const, none"):
        G(latents(G)[0], None, noise_mode='random')


# The official networks

@pytest.mark.upstream
@needs_upstream
@pytest.mark.parametrize('double', [False, True])
@pytest.mark.parametrize('checkout, module', [
    ('stylegan2-ada-pytorch', 'training.networks'), ('stylegan3', 'training.networks_stylegan2')])
@pytest.mark.parametrize('architecture, c_dim, img_channels, resolution, conv_clamp', [
    ('skip', 0, 3, 128, None), ('resnet', 5, 3, 32, 0.7), ('orig', 5, 1, 64, 256)])
def test_equals_the_official_network(tmp_path, checkout, module, architecture, c_dim, img_channels, resolution,
                                     conv_clamp, double):
    synthesis_kwargs = dict(channel_base=512, channel_max=32, architecture=architecture, conv_clamp=conv_clamp,
                            num_fp16_res=0)
    mapping_kwargs = dict(num_layers=3)
    args = (16, c_dim, 24, resolution, img_channels)
    nested = checkout == 'stylegan2-ada-pytorch'
    kwargs = dict(synthesis_kwargs=synthesis_kwargs) if nested else synthesis_kwargs
    official = run_official(tmp_path, checkout, module, args, dict(mapping_kwargs=mapping_kwargs, **kwargs), double)
    check_against_official(official, Generator(*args, mapping_kwargs, synthesis_kwargs), double)


def test_a_filter_is_for_what_is_resampled():
    """In the official networks conv1, which resamples nothing, has the default filter in its state."""
    state = SynthesisBlock(4, 4, 8, 16, 3, is_last=True, architecture='resnet', resample_filter=[1, 2, 1]).state_dict()
    shapes = {name: list(value.shape) for name, value in state.items() if name.endswith('resample_filter')}
    assert shapes == {'resample_filter': [3, 3], 'conv0.resample_filter': [3, 3], 'conv1.resample_filter': [4, 4],
                      'skip.resample_filter': [3, 3]}
