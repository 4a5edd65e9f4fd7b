"""Our StyleGAN-XL network against a plain oracle, and its derivative by hand against AD.

Against the official network: tests/hooks/test_stylegan_xl_upstream.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from resefa_plugin.errors import CheckpointError
from resefa_plugin.networks.stylegan3 import network as stylegan3
from resefa_plugin.networks.stylegan3.layers import Band, SynthesisLayer, ToRGBLayer
from resefa_plugin.networks.stylegan3.xl import Generator, MappingNetwork, SynthesisNetwork
from tests.helpers.network_oracles import check_derivatives
from tests.helpers.stylegan_xl_files import EMBEDDINGS, SIZES, STEM, STEM_RESOLUTION, make_xl
from tests.networks.test_stylegan2_linearize import check

EXACT = 1e-11  # float64: the order of summation
# Of a stem of ten layers at 16 pixels and three stages of seven, as ImageNet's are, at 128 pixels.
PUBLISHED = (
    'input', 'L0_36_1024', 'L1_36_1024', 'L2_36_1024', 'L3_36_1024', 'L4_36_1024', 'L5_36_1024', 'L6_36_1024',
    'L7_36_1024', 'L9_36_1024', 'L10_52_1024', 'L11_52_1024', 'L12_52_1024', 'L13_52_1024', 'L14_52_1024',
    'L15_84_1024', 'L16_84_1024', 'L17_84_1024', 'L18_84_1024', 'L19_84_1024', 'L20_148_1024', 'L21_148_861',
    'L22_148_724', 'L23_148_609', 'L24_148_512', 'L25_128_512', 'L26_128_3')


def latents(G, n=2):
    generator = torch.Generator().manual_seed(2)
    ws = torch.randn(n, G.num_ws, G.w_dim, generator=generator, dtype=torch.float64)
    return torch.randn(n, G.z_dim, generator=generator, dtype=torch.float64), ws


# Mapping

def test_mapping_embeds_the_class_beside_z():
    G = make_xl([])
    M = G.mapping
    z, _ = latents(G)
    c = torch.eye(3, dtype=torch.float64)[[2, 0]]
    parameters = {name: value.numpy() for name, value in M.state_dict().items()}

    def unit(x):
        return x / np.sqrt((x ** 2).mean(axis=1, keepdims=True) + 1e-8)

    def layer(x, name, rate):
        y = x @ parameters[f'{name}.weight'].T * (rate / math.sqrt(x.shape[1])) + parameters[f'{name}.bias'] * rate
        return math.sqrt(2) * np.where(y < 0, 0.2 * y, y)

    label = unit(layer(parameters['embed.weight'][[2, 0]], 'embed_proj', 1))
    assert label.shape == (2, G.z_dim)
    w = layer(layer(np.concatenate([unit(z.numpy()), label], axis=1), 'fc0', 0.01), 'fc1', 0.01)
    np.testing.assert_allclose(M(z, c)[:, 0], w, rtol=EXACT, atol=EXACT)
    mean = parameters['w_avg'][[2, 0]]
    truncated = M(z, c, truncation_psi=0.6, truncation_cutoff=3)
    np.testing.assert_allclose(truncated[:, 2], mean + 0.6 * (w - mean), rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(truncated[:, 3], w, rtol=EXACT, atol=EXACT)


def test_without_classes_the_embedding_is_there_and_not_used():
    G = make_xl([], c_dim=0)
    z, _ = latents(G)
    ws = G.mapping(z, None)
    assert G.mapping.w_avg.shape == (G.w_dim,) and G.mapping.embed.weight.shape == EMBEDDINGS
    G.mapping.embed.weight.add_(1)
    assert torch.equal(G.mapping(z, None), ws)
    assert not hasattr(G.mapping, 'embed_proj')


# Synthesis

def test_a_stem_is_stylegan3():
    G = make_xl([])
    plain = stylegan3.SynthesisNetwork(G.w_dim, STEM_RESOLUTION, 3, **STEM).double().requires_grad_(False)
    plain.load_state_dict(G.synthesis.state_dict())
    _, ws = latents(G)
    assert torch.equal(plain(ws), G.synthesis(ws))


def rising(first_cutoff, first_stopband, resolution, count, channels_before, rate_before):
    """Bands of a stage, layer by layer: the paper's progression with the numbers of `STEM`."""
    last_stopband = resolution / 2 * 2 ** 0.3
    for i in range(count + 1):
        share = min(i / (count - 2), 1)
        cutoff = first_cutoff ** (1 - share) * (resolution / 2) ** share
        stopband = first_stopband ** (1 - share) * last_stopband ** share
        rate = rate_before if i == 0 else 2 ** math.ceil(math.log2(min(2 * stopband, resolution)) - 1e-9)
        channels = channels_before if i == 0 else 3 if i == count else round(min(64 / cutoff, 8))
        size = resolution if i >= count - 1 else rate + 2 * STEM['margin_size']
        yield Band(channels, size, rate, cutoff, max(stopband, rate / 2) - cutoff)


def test_a_stage_replaces_the_last_layers_of_the_stem():
    """The stem's layers up to its critically sampled ones, run as they are, then layers made from their definition."""
    G = make_xl([[32, 5]])
    S = G.synthesis
    assert S.style_names == ('input', 'L0_24_8', 'L1_24_8', 'L2_24_8', 'L3_24_8',  # the stem's L4 to L6 are gone
                             'L5_24_8', 'L6_40_8', 'L7_40_6', 'L8_40_4', 'L9_32_4', 'L10_32_3')
    assert S.style_ws == tuple(range(11)) and S.num_ws == G.num_ws == 11 and G.img_resolution == 32
    stem = stylegan3.SynthesisNetwork(G.w_dim, STEM_RESOLUTION, 3, **STEM).double()
    stem.load_state_dict(S.state_dict(), strict=False)
    _, ws = latents(G, 1)
    styles = S.styles(ws)
    x = stem.input(styles[0])
    for name, s in zip(S.style_names[1:5], styles[1:5], strict=True):
        x = getattr(stem, name)(x, s)
    last = stem.targets[3]
    bands = list(rising(last.cutoff, last.cutoff + last.half_width, 32, 5, last.channels, last.rate))
    for i, (name, s) in enumerate(zip(S.style_names[5:], styles[5:], strict=True)):
        source = bands[max(i - 1, 0)]
        layer = (ToRGBLayer(G.w_dim, source, 3) if i == 5 else
                 SynthesisLayer(G.w_dim, source, bands[i], is_critically_sampled=i >= 3)).double()
        own = getattr(S, name).state_dict()
        filters = {key: value for key, value in layer.state_dict().items() if 'filter' in key}
        for key, value in filters.items():
            torch.testing.assert_close(value, own[key], rtol=1e-6, atol=1e-6)  # stored in float32
        layer.load_state_dict(own)
        x = layer(x, s)
    torch.testing.assert_close(x * 0.25, S(ws), rtol=EXACT, atol=EXACT)


def test_a_stage_has_the_kernel_of_the_stem_and_else_the_defaults():
    S = make_xl([[32, 5]], conv_kernel=1, use_radial_filters=True, conv_clamp=None).synthesis
    assert S.L0_24_8.conv_clamp is None and S.L5_24_8.conv_clamp == 256
    for name in ('L0_24_8', 'L5_24_8'):
        layer = getattr(S, name)
        assert layer.weight.shape[2:] == (1, 1) and layer.down_filter.ndim == 2
    assert S.L8_40_4.down_filter.ndim == 1  # critically sampled


def test_layers_of_the_published_configuration():
    """Names that the official code gives the layers of that configuration."""
    with torch.device('meta'):
        G = Generator(64, 1000, 512, 128, 3, dict(rand_embedding=False, num_layers=2), dict(
            channel_base=65536, channel_max=1024, num_layers=10, conv_kernel=3, use_radial_filters=False,
            stem_resolution=16, heads=[(32, 7), (64, 7), (128, 7)], num_fp16_res=4, magnitude_ema_beta=0.99))
    assert G.synthesis.style_names == PUBLISHED and G.num_ws == 27
    assert G.mapping.embed.weight.shape == (1000, 320) and G.mapping.w_avg.shape == (1000, 512)


@pytest.mark.parametrize('stages', [[[32, 5]], [[32, 5], [64, 4]]])
def test_derivative_by_hand_equals_ad(stages):
    check(make_xl(stages).synthesis, 2, 16)


def test_derivatives_in_z():
    G = make_xl([[32, 4]])
    z, _ = latents(G, 1)
    c = torch.eye(3, dtype=torch.float64)[1:2]
    check_derivatives(lambda z: G(z, c, truncation_psi=0.7), z)


# Bad input

@pytest.mark.parametrize('kwargs, message', [
    (dict(heads=[(32, 5)], stem_resolution=64), r'heads: expected resolutions that ascend from the 64 .* got \[32\]'),
    (dict(heads=[(16, 5)], stem_resolution=16), r'ascend from the 16 of the stem to 32, got \[16\]'),
    (dict(heads=[(32, 2)], stem_resolution=16), 'heads: expected a power of two and more than 2 layers, got 32 and 2'),
    (dict(heads=[(24, 5), (32, 5)], stem_resolution=16), 'expected a power of two .* got 24 and 5'),
    (dict(blur=1), 'synthesis_kwargs: blur is not one of channel_base'),
])
def test_init_arguments_out_of_range_are_named(kwargs, message):
    with pytest.raises(CheckpointError, match=message):
        Generator(**SIZES, c_dim=0, img_resolution=32, synthesis_kwargs={**STEM, **kwargs})


def test_more_classes_than_embeddings_are_an_error():
    with pytest.raises(CheckpointError, match='embeddings: expected those of 4 classes, got 3'):
        MappingNetwork(4, 4, 4, 2, embeddings=(3, 2))
    with pytest.raises(CheckpointError, match='features: expected an integer of at least 1, got 0'):
        MappingNetwork(4, 0, 4, 2, embeddings=(3, 0))


def test_a_stage_of_a_stem_that_was_critical_throughout_is_an_error():
    with pytest.raises(CheckpointError, match='num_critical'):
        SynthesisNetwork(4, 32, 3, [(32, 5)], 16, num_layers=3, num_critical=3)
