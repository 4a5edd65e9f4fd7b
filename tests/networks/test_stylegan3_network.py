"""Our StyleGAN3 network against definitions, finite differences, and the official networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.signal
import scipy.special
import torch

from resefa_plugin.errors import CheckpointError, ResefaError
from resefa_plugin.networks.stylegan3.layers import Band, SynthesisInput, SynthesisLayer, ToRGBLayer, lowpass_filter
from resefa_plugin.networks.stylegan3.network import Generator
from tests.helpers.network_oracles import (
    check_against_official,
    check_derivatives,
    needs_upstream,
    randomize,
    run_official,
)

SMALL = dict(channel_base=128, channel_max=8, num_layers=4, margin_size=4)
T, R = {}, dict(conv_kernel=1, use_radial_filters=True)
BAND = Band(channels=4, size=12, rate=8, cutoff=2.0, half_width=2.0)


def small(c_dim=0, img_channels=3, resolution=16, mapping_kwargs=None, **synthesis_kwargs):
    torch.manual_seed(0)
    G = Generator(6, c_dim, 8, resolution, img_channels, mapping_kwargs or {}, {**SMALL, **synthesis_kwargs})
    with torch.no_grad():
        G.synthesis.input.affine.weight.normal_(std=0.3)  # fresh networks do not rotate
    return randomize(G)


def latents(G, n=2):
    generator = torch.Generator().manual_seed(2)
    c = torch.randn(n, G.c_dim, generator=generator, dtype=torch.float64)
    return torch.randn(n, G.z_dim, generator=generator, dtype=torch.float64), c


# Filters

@pytest.mark.parametrize('radial', [False, True])
def test_filter_passes_below_its_cutoff_and_stops_above_its_transition_band(radial):
    band, rate, taps = Band(4, 12, 32, cutoff=6.0, half_width=5.0), 64, 24
    f = lowpass_filter(taps, band, rate, radial).double().numpy()
    response = np.abs(np.fft.rfft(f.sum(axis=0) if radial else f, 4096))  # of a wave along x
    frequency = np.arange(len(response)) * rate / 4096
    assert abs(response[0] - 1) < 1e-6
    assert response[frequency < 1].min() > 0.98
    assert response[frequency > 11].max() < 0.002  # 54 dB down beyond f_c + f_h
    at_cutoff = response[np.searchsorted(frequency, band.cutoff)]
    assert 0.4 < at_cutoff < 0.52  # a windowed sinc is half way down at its cutoff, a jinc somewhat further


def test_radial_filter_is_the_transform_of_a_disc_under_the_window():
    taps, rate = 7, 16  # odd, so that the centre is sampled too
    f = lowpass_filter(taps, BAND, rate, radial=True).double().numpy()
    x = (np.arange(taps) - 3) / rate

    def disc(r):
        return scipy.integrate.quad(lambda p: p * scipy.special.j0(2 * np.pi * p * r), 0, BAND.cutoff)[0]

    ideal = np.array([[disc(math.hypot(a, b)) for a in x] for b in x])
    beta = scipy.signal.kaiser_beta(scipy.signal.kaiser_atten(taps, 2 * BAND.half_width / (rate / 2)))
    expected = ideal * np.outer(*[scipy.signal.windows.kaiser(taps, beta)] * 2)
    np.testing.assert_allclose(f, expected / expected.sum(), rtol=1e-5, atol=1e-7)  # stored in float32
    assert np.array_equal(f, f.T) and np.array_equal(f, f[::-1])


# Input

def test_input_rotates_and_shifts():
    torch.manual_seed(0)
    layer = randomize(SynthesisInput(5, BAND))

    def feature_map(*style):
        return layer(torch.tensor([style], dtype=torch.float64))

    still = feature_map(1, 0, 0, 0)
    assert still.shape == (1, 4, 12, 12)
    torch.testing.assert_close(feature_map(3, 0, 0, 0), still, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(feature_map(0, 2, 0, 0), still.rot90(1, (2, 3)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(feature_map(1, 0, 3 / 8, 0)[..., 3:], still[..., :-3], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(feature_map(1, 0, 0, 2 / 8)[..., 2:, :], still[..., :-2, :], rtol=1e-12, atol=1e-12)
    turn = torch.tensor([[0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    layer.transform.copy_(turn)  # the user's transform means the same
    torch.testing.assert_close(feature_map(1, 0, 0, 0), still.rot90(1, (2, 3)), rtol=1e-12, atol=1e-12)
    layer.transform.copy_(torch.diag(torch.tensor([100., 100., 1.])))
    assert feature_map(1, 0, 0, 0).abs().max() == 0, 'frequencies beyond the grid are dampened away'


def test_input_frequencies_fill_a_disc_evenly():
    torch.manual_seed(0)
    radius = SynthesisInput(1, Band(2000, 1, 8, 2.0, 2.0)).freqs.norm(dim=1)
    assert radius.max() <= 2.0
    assert abs((radius < 1).double().mean() - 0.25) < 0.04  # four standard deviations


# Layers

@pytest.mark.parametrize('source_rate, target_rate', [(8, 8), (8, 16)])
@pytest.mark.parametrize('critical', [False, True])
@pytest.mark.parametrize('config', [T, R])
def test_synthesis_layer_equals_fused_weights_and_scipy_resampling(source_rate, target_rate, critical, config):
    torch.manual_seed(0)
    source = Band(3, source_rate + 4, source_rate, cutoff=2.0, half_width=2.0)
    target = Band(2, target_rate + 4, target_rate, cutoff=2.5, half_width=3.0)
    layer = randomize(SynthesisLayer(5, source, target, critical, conv_clamp=1.0, filter_size=3, **config))
    x, styles = torch.randn(2, 3, source.size, source.size).double(), 1 + 0.3 * torch.randn(2, 3).double()
    y = layer(x, styles)
    assert y.shape == (2, 2, target.size, target.size)

    up, down = 2 * target_rate // source_rate, 2
    assert layer.down_filter.ndim == (2 if config is R and not critical else 1)
    f_up, f_down = layer.up_filter.numpy(), layer.down_filter.numpy()
    f_down = f_down if f_down.ndim == 2 else np.outer(f_down, f_down)
    w = layer.weight / layer.weight.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    for sample in range(2):
        s = styles[sample] / styles[sample].square().mean().sqrt()
        fused = w * s[:, None, None]
        fused = fused / (fused.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        fused = (fused / layer.magnitude_ema.sqrt()).numpy()
        for o in range(2):
            out = sum(scipy.signal.correlate2d(x[sample, i].numpy(), fused[o, i], 'full') for i in range(3))
            out = out + layer.bias[o].item()
            for axis in (0, 1):
                out = scipy.signal.upfirdn(f_up * up, out, up=up, axis=axis)
            out = math.sqrt(2) * np.where(out < 0, 0.2 * out, out)
            # Samples are points at the centres of their cells and the picture's centre stays where it is: what is kept
            # is symmetric, up to the half pixel of the higher rate that even filters leave over.
            span = (target.size - 1) * down + f_down.shape[0]
            start = (out.shape[0] - span) // 2
            out = np.clip(out, -1, 1)[start:start + span, start:start + span]
            out = scipy.signal.convolve2d(out, f_down, 'valid')[::down, ::down]
            np.testing.assert_allclose(y[sample, o], out, rtol=1e-11, atol=1e-11)


def test_torgb_layer_is_linear_in_its_style_and_clamped():
    layer = randomize(ToRGBLayer(5, BAND, 2, conv_clamp=0.3))
    x, styles = torch.randn(2, 4, 3, 3).double(), torch.randn(2, 4).double()
    expected = torch.einsum('nihw,ni,oi->nohw', x, styles, layer.weight[:, :, 0, 0]) / (2 * layer.magnitude_ema.sqrt())
    expected = (expected + layer.bias[:, None, None]).clamp(-0.3, 0.3)
    torch.testing.assert_close(layer(x, styles), expected, rtol=1e-12, atol=1e-12)


# The whole network

@pytest.mark.parametrize('config', [T, R])
@pytest.mark.parametrize('c_dim, img_channels', [(0, 3), (2, 1)])
def test_picture_is_a_function_of_its_styles(config, c_dim, img_channels):
    G = small(c_dim, img_channels, **config)
    z, c = latents(G)
    ws = G.mapping(z, c)
    img = G(z, c)
    assert img.shape == (2, img_channels, 16, 16) and img.dtype == torch.float64 and img.isfinite().all()
    S = G.synthesis
    styles = S.styles(ws)
    assert torch.equal(S.from_styles(styles), img)
    assert tuple(s.shape[1] for s in styles) == S.style_dims
    assert torch.equal(G(z, c, noise_mode='none'), img)
    torch.testing.assert_close(torch.cat([G(z[:1], c[:1]), G(z[1:], c[1:])]), img, rtol=1e-12, atol=1e-12)
    generator = torch.Generator().manual_seed(3)
    for index in range(len(styles)):  # no style is without effect
        offset = torch.randn(styles[index].shape, generator=generator, dtype=torch.float64)
        moved = [s + 0.1 * offset if i == index else s for i, s in enumerate(styles)]
        assert not torch.allclose(S.from_styles(moved), img)


def test_styles_are_named_and_say_which_w_they_come_from():
    S = small().synthesis
    assert S.style_names[0] == 'input' and S.style_names[-1] == 'L4_16_3'
    assert S.style_dims[0] == 4
    assert S.style_ws == (0, 1, 2, 3, 4, 5) and S.num_ws == 6


def test_layers_of_the_published_configuration():
    """Names in the published stylegan3-r files of 1024 pixels."""
    S = Generator(512, 0, 8, 1024, 3, synthesis_kwargs=dict(channel_base=65536, channel_max=1024, **R)).synthesis
    assert S.style_names == (
        'input', 'L0_36_1024', 'L1_36_1024', 'L2_52_1024', 'L3_52_1024', 'L4_84_1024', 'L5_148_1024', 'L6_148_1024',
        'L7_276_645', 'L8_276_406', 'L9_532_256', 'L10_1044_161', 'L11_1044_102', 'L12_1044_64', 'L13_1024_64',
        'L14_1024_3')
    assert S.num_ws == 16


@pytest.mark.parametrize('config', [T, R])
def test_derivatives_in_w(config):
    G = small(conv_clamp=2.0, **config)
    check_derivatives(G.synthesis, G.mapping(*latents(G, 1)))


def test_derivatives_in_z_and_in_style_space():
    G = small()
    z, _ = latents(G, 1)
    check_derivatives(lambda z: G(z, None, truncation_psi=0.7, truncation_cutoff=2), z)
    styles = torch.cat(G.synthesis.styles(G.mapping(z, None)), dim=1)
    check_derivatives(lambda s: G.synthesis.from_styles(s.split(G.synthesis.style_dims, dim=1)), styles)


def test_state_has_the_official_names():
    state = small(num_layers=3).state_dict()
    keys = {'mapping.w_avg', *(f'mapping.fc{i}.{key}' for i in (0, 1) for key in ('weight', 'bias'))}
    keys |= {f'synthesis.input.{key}'
             for key in ('weight', 'affine.weight', 'affine.bias', 'transform', 'freqs', 'phases')}
    common = ('weight', 'bias', 'magnitude_ema', 'affine.weight', 'affine.bias')
    for name in ('L0_24_8', 'L1_24_8', 'L2_16_8'):
        keys |= {f'synthesis.{name}.{key}' for key in (*common, 'up_filter', 'down_filter')}
    keys |= {f'synthesis.L3_16_3.{key}' for key in common}
    assert set(state) == keys


def test_strict_load_names_what_does_not_fit():
    G = small()
    state = G.state_dict()
    with pytest.raises(RuntimeError, match='Missing key.*synthesis.input.freqs'):
        G.load_state_dict({key: value for key, value in state.items() if key != 'synthesis.input.freqs'})
    with pytest.raises(RuntimeError, match='size mismatch for synthesis.input.phases'):
        G.load_state_dict({**state, 'synthesis.input.phases': torch.zeros(1)})


# Bad input

@pytest.mark.parametrize('kwargs, message', [
    (dict(resolution=24), 'img_resolution: expected a power of two, got 24'),
    (dict(num_critical=4), 'num_critical: expected at least 0 and less than num_layers 4, got 4'),
    (dict(lrelu_upsampling=1), 'lrelu_upsampling: expected an integer of at least 2, got 1'),
    (dict(filter_size=0), 'filter_size: expected an integer of at least 1'),
    (dict(blur=1), 'synthesis_kwargs: blur is not one of channel_base'),
    (dict(mapping_kwargs={'depth': 1}), 'mapping_kwargs: depth is not one of activation'),
])
def test_init_arguments_out_of_range_are_named(kwargs, message):
    with pytest.raises(CheckpointError, match=message):
        small(**kwargs)


def test_settings_of_speed_and_training_are_taken_and_change_nothing():
    G = small(num_fp16_res=4, magnitude_ema_beta=0.5)
    z, _ = latents(G)
    assert torch.equal(G(z, None), small()(z, None))


def test_random_noise_is_an_error():
    G = small()
    with pytest.raises(ResefaError, match="noise_mode 'random' is not one of const, none"):
        G(latents(G)[0], None, noise_mode='random')


# The official networks

@pytest.mark.upstream
@needs_upstream
@pytest.mark.parametrize('double', [False, True])
@pytest.mark.parametrize('resolution, c_dim, img_channels, config', [
    (64, 0, 3, T),
    (128, 4, 1, dict(conv_clamp=0.8)),
    (64, 0, 3, R),
    (32, 3, 3, dict(**R, num_layers=6, margin_size=8, conv_clamp=None, output_scale=1)),
])
def test_equals_the_official_network(tmp_path, resolution, c_dim, img_channels, config, double):
    synthesis_kwargs = dict(channel_base=1024, channel_max=24, num_fp16_res=0, magnitude_ema_beta=0.99, **config)
    args = (16, c_dim, 24, resolution, img_channels)
    official = run_official(tmp_path, 'stylegan3', 'training.networks_stylegan3', args, synthesis_kwargs, double)
    check_against_official(official, Generator(*args, synthesis_kwargs=synthesis_kwargs), double)
