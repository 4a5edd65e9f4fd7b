"""Each way in which a derivative can lie is caught under its own name."""

from __future__ import annotations

import pytest
import torch

from resefa_plugin.errors import (
    BatchDependenceError,
    NondeterministicError,
    NonFiniteError,
    TangentError,
    ZeroJacobianError,
)
from resefa_plugin.hooks.base import Sample
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.probe import probe
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.linearization import Linearization
from tests.helpers.toys import TanhToy


def check(f):
    hook = FunctionHook(f, 6, name='suspect')
    probe(Viewpoint(hook, hook.space('z'), hook.sample(0)))


def toy(z):
    return TanhToy().images(z)


def test_an_honest_generator_passes():
    check(toy)


@pytest.mark.parametrize('size', [0, 1e6])
def test_steps_of_the_difference_are_relative_to_the_latent(size):
    """One of 0.1 is lost in the rounding of a latent of 1e6; one of a latent of zero is as it stands."""
    hook = FunctionHook(lambda z: toy(z / (size or 1)), 6, name='suspect')
    z = size * torch.randn(1, 6, generator=torch.Generator().manual_seed(0))
    probe(Viewpoint(hook, 'z', Sample('far', {'z': z})))


def test_noise():
    with pytest.raises(NondeterministicError, match="suspect: two calls .* differ by up to .*noise_mode='const'"):
        check(lambda z: toy(z) + 1e-3 * torch.randn(len(z), 3, 8, 8))


@pytest.mark.parametrize('pixels', [1, 64])
def test_nan_in_the_picture(pixels):
    bad = (torch.arange(64) < pixels).reshape(8, 8)
    with pytest.raises(NonFiniteError, match='suspect: the picture of seed0000 contains NaN'):
        check(lambda z: toy(z) / torch.where(bad, 0, 1))


def test_nan_in_the_derivative():
    with pytest.raises(NonFiniteError, match='the derivative of the picture of seed0000 contains NaN'):
        check(lambda z: toy(z) + (0 * z[:, 0]).sqrt()[:, None, None, None])


@pytest.mark.parametrize('cut', [lambda z: toy(z.detach()), lambda z: toy(z).round(), lambda z: toy(z * 0)])
def test_no_derivative_at_all(cut):
    with pytest.raises(ZeroJacobianError, match="does not change to first order in space 'z'"):
        check(cut)


def test_a_part_is_hidden_from_differentiation():
    with pytest.raises(TangentError, match='off by .* from a finite difference'):
        check(lambda z: toy(z) + toy(z.flip(1).detach()))


class WrongBackward(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return 2 * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, grad):
        return 3 * grad

    @staticmethod
    def jvp(ctx, tangent):
        return 2 * tangent


def test_forward_and_reverse_disagree():
    with pytest.raises(TangentError, match=r'forward mode and reverse mode disagree, <u, J v> = .* but <J\^T u, v>'):
        check(lambda z: toy(WrongBackward.apply(z)))


def test_a_linearization_that_is_wrong_both_ways_is_not_its_own_witness():
    """Off by less than the check against forward mode sees: autograd's reverse mode sees it."""
    hook = FunctionHook(toy, 6, name='suspect')
    space, sample = hook.space('z'), hook.sample(0)
    right = RegionJacobian(Viewpoint(hook, space, sample))
    space.linearize = lambda latent, sample, resolution: Linearization(lambda V: 1.005 * right._forward_mode(V),
                                                               lambda U: 1.005 * right.vjp_by_autograd(U))
    RegionJacobian(Viewpoint(hook, space, sample)).vjp(torch.ones(1, 3, 8, 8))
    with pytest.raises(TangentError, match='forward mode and reverse mode disagree'):
        probe(Viewpoint(hook, space, sample))


def test_noise_that_differs_from_place_to_place():
    """As `torch.randn(len(z), ...)` behind a fixed seed is: the first of a batch has the noise that it has alone."""
    with pytest.raises(BatchDependenceError, match='place to place'):
        check(lambda z: toy(z) * torch.linspace(1, 0.5 + 0.5 * len(z), len(z))[:, None, None, None])


def test_a_picture_that_depends_on_the_one_before():
    last = [torch.zeros(6)]

    def remembering(z):
        before, last[0] = last[0], z[0].detach()
        return toy(z) + 1e-3 * before.mean()

    with pytest.raises(NondeterministicError, match='once another latent was rendered'):
        check(remembering)


@pytest.mark.parametrize('f', [lambda z: toy(z)[:1], lambda z: toy(z)[..., :8 // len(z)]])
def test_pictures_of_another_number_or_size_in_a_batch(f):
    with pytest.raises(BatchDependenceError, match=r'for two latents it returns \[[12], 3, .*expected \[2, 3, 8, 8'):
        check(f)


@pytest.mark.parametrize('kind', [AssertionError, ValueError, TypeError, RuntimeError])
def test_one_latent_at_a_time(kind):
    def single(z):
        if len(z) > 1:
            raise kind('one')
        return toy(z)

    check(single)
