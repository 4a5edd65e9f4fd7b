"""The derivative of our StyleGAN3 by hand, both ways, against AD and central differences in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from resefa_plugin.networks.stylegan3.network import SynthesisNetwork
from tests.helpers.network_oracles import randomize
from tests.networks.test_stylegan2_linearize import DIFFERENCE_TOLERANCE, check, point_and_tangents

CONFIGURATIONS = {'t': {}, 'r': dict(conv_kernel=1, use_radial_filters=True)}


def network(configuration, img_channels=3, **kwargs):
    torch.manual_seed(0)
    return randomize(SynthesisNetwork(8, 16, img_channels, channel_base=128, channel_max=6, num_layers=4, margin_size=4,
                                      **CONFIGURATIONS[configuration], **kwargs))


@pytest.mark.parametrize('configuration', CONFIGURATIONS)
@pytest.mark.parametrize('conv_clamp, img_channels, resolution, count', [
    (None, 3, None, 1), (0.2, 3, None, 1), (0.2, 1, 8, 5), (256, 3, 1, 2)])
def test_equals_ad(configuration, conv_clamp, img_channels, resolution, count):
    synthesis = network(configuration, img_channels, conv_clamp=conv_clamp)
    if conv_clamp == 0.2:
        styles, _ = point_and_tangents(synthesis, 1)
        free = network(configuration, img_channels, conv_clamp=None)
        assert not torch.allclose(synthesis.from_styles(styles), free.from_styles(styles), rtol=1e-2)
    check(synthesis, count, resolution)


@pytest.mark.parametrize('configuration', CONFIGURATIONS)
def test_equals_central_differences(configuration):
    synthesis = network(configuration, conv_clamp=0.2)
    styles, tangents = point_and_tangents(synthesis, 1)
    step = 1e-7  # at 1e-6 one of the few samples of this network crosses its clamp
    ahead, behind = (synthesis.from_styles([s + sign * t for s, t in zip(styles, tangents, strict=True)])
                     for sign in (step, -step))
    difference = F.avg_pool2d((ahead - behind) / (2 * step), 2)
    found = synthesis.linearize(styles, 8).push(tangents)
    assert (found - difference).norm() < DIFFERENCE_TOLERANCE * difference.norm()


def test_calls_leave_no_trace():
    synthesis = network('t').requires_grad_(True)
    styles, tangents = point_and_tangents(synthesis, 2)
    before = [t.clone() for t in (*styles, *tangents, *synthesis.state_dict().values())]
    linearization = synthesis.linearize(styles)
    first = linearization.push(tangents)
    assert torch.equal(linearization.push(tangents), first) and not first.requires_grad
    kept, pulled = first.clone(), linearization.pull(first)
    assert all(map(torch.equal, linearization.pull(first), pulled)) and torch.equal(first, kept)
    assert all(map(torch.equal, before, (*styles, *tangents, *synthesis.state_dict().values())))
