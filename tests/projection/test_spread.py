"""Lengths in standard deviations, against samples of the generator."""

from __future__ import annotations

import pytest
import torch

from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.biggan import BigGANHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.projection.spread import Spread, mean_sample
from tests.helpers.biggan_toys import network
from tests.helpers.toys import TinyHook, TwoPartToy

SAMPLING = 0.05  # of a variance estimated from 4,096 samples, which are not the same ones


class Stretched(TinyHook):
    """Its w are z, stretched by ten in a slanted direction and moved: axes of very different lengths."""

    stretch = torch.tensor([[3.0, 3, 0, 0], [-0.3, 0.3, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0.1]])
    shift = torch.tensor([1.0, -2, 0, 0.5])

    def mapping(self, z, c, truncation_psi, truncation_cutoff):
        return super().mapping(z @ self.stretch + self.shift, c, truncation_psi, truncation_cutoff)


def spread_of(hook, name):
    space = hook.space(name)
    viewpoint = Viewpoint(hook, space, mean_sample(hook, space, None, 'mean'))
    return Spread(viewpoint), viewpoint


def test_the_generators_own_latents_are_one_deviation_from_their_mean():
    hook = Stretched()
    spread, viewpoint = spread_of(hook, 'w')
    torch.testing.assert_close(viewpoint.latent[0, 0], hook.shift, rtol=0, atol=0.3)
    ws = torch.cat([hook.sample(seed).latents['ws'][:, 0] for seed in range(500, 2500)])
    deviations = torch.stack([spread.deviations(w - viewpoint.latent[0, 0]) for w in ws])
    torch.testing.assert_close(torch.cov(deviations.T), torch.eye(4), rtol=0, atol=2 * SAMPLING)


@pytest.mark.parametrize('name', ['z', 'w', 'w+', 's'])
def test_the_coordinates_of_a_descent(name):
    spread, viewpoint = spread_of(Stretched(), name)
    offset = torch.randn(viewpoint.dim, generator=torch.Generator().manual_seed(0), requires_grad=True)
    even = spread.even(offset.detach()).requires_grad_(True)
    torch.testing.assert_close(spread.offset(even), offset, rtol=1e-4, atol=1e-4)
    weights = torch.randn(viewpoint.dim, generator=torch.Generator().manual_seed(1))
    by_even, = torch.autograd.grad((weights * spread.offset(even).square()).sum(), even)
    by_offset, = torch.autograd.grad((weights * offset.square()).sum(), offset)
    torch.testing.assert_close(spread.pull(by_offset), by_even, rtol=1e-3, atol=1e-3)


def test_coordinates_of_a_descent_lie_between_deviations_and_the_numbers_of_a_latent():
    # If one axis has k times the standard deviation of another, its unit is k ** .75 times as large.
    spread, _ = spread_of(Stretched(), 'w')
    units = torch.stack([spread.offset(row).norm() for row in torch.eye(4)])
    deviations = torch.stack([1 / spread.deviations(spread.offset(row)).norm() for row in torch.eye(4)]) * units
    torch.testing.assert_close(units / units[-1], (deviations / deviations[-1]) ** 0.75, rtol=1e-4, atol=0)


@pytest.mark.parametrize('name, shape', [('z', (1, 4)), ('w', (1, 4)), ('w+', (8, 4)), ('s', (8, 4))])
def test_the_shape_of_an_offset(name, shape):
    spread, viewpoint = spread_of(Stretched(), name)
    assert spread.shape == shape and spread.deviations(viewpoint.zero()[0]).shape == (viewpoint.dim,)


def test_in_w_plus_each_layer_is_judged_by_the_spread_of_w():
    (spread, _), (one, _) = spread_of(Stretched(), 'w+'), spread_of(Stretched(), 'w')
    offset = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    each = torch.cat([one.deviations(row) for row in offset])
    torch.testing.assert_close(spread.deviations(offset.flatten()), each)


def test_a_space_whose_spread_is_not_known():
    hook = BigGANHook(network('hier'))
    with pytest.raises(ResefaError, match="into space 'class', as the spread of its latents is not known"):
        mean_sample(hook, hook.space('class'), hook.class_vector('1'), 'mean')


def test_the_mean_of_z_is_zero():
    hook = TwoPartToy().hook()
    sample = mean_sample(hook, hook.space('z'), None, 'mean')
    assert sample.name == 'mean' and not sample.latents['z'].any() and sample.seed is None
