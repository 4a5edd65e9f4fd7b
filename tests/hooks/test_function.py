"""Functions as generators: what is refused, what is warned about, and ranges other than [-1, 1]."""

from __future__ import annotations

import functools
import warnings

import pytest
import torch
from torch import nn

from resefa_plugin import FunctionHook, ResefaError, Viewpoint
from resefa_plugin.errors import BatchDependenceError, NondeterministicError
from resefa_plugin.hooks.base import Sample
from resefa_plugin.jacobian.probe import probe
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.machine.module_state import ModuleState, in_training, modules_of
from tests.helpers.toys import TanhToy

TOY = TanhToy()


def viewpoint(f, **options):
    hook = FunctionHook(f, 6, name='suspect', **options)
    return Viewpoint(hook, 'z', hook.sample(0))


class Net(nn.Module):
    """A generator with a layer that lives while it is in training mode."""

    def __init__(self, layer):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.layer = nn.Linear(6, 3 * 64), layer

    def forward(self, z):
        return torch.tanh(self.layer(self.first(z).unflatten(1, (3, 8, 8))))


def state_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize('arguments, message', [
    ((None, 6), 'f is NoneType, expected a function of latents'),
    ((TOY.images, 0), 'z_dim is 0, expected a whole number of at least 1'),
    ((TOY.images, 6.0), 'z_dim is 6.0'),
    ((TOY.images, True), 'z_dim is True'),
    ((TOY.images, 7), r'f\(latent \[1, 7\] float32 on cpu\) fails with RuntimeError: mat1 and mat2'),
    ((lambda z: z, 6), r'must return pictures \[1, C, H, W\], got \[1, 6\]'),
    ((lambda z: [z], 6), 'got list'),
    ((lambda z: TOY.images(z)[:, :, :0], 6), r'got \[1, 3, 0, 8\]'),
    ((lambda z: (255 * TOY.images(z)).to(torch.uint8), 6), 'got torch.uint8, which has no derivative'),
    ((lambda z: TOY.images(z).permute(0, 2, 3, 1), 6), r'like \[1, H, W, C\]: return images.permute\(0, 3, 1, 2\)'),
])
def test_no_generator(arguments, message):
    with pytest.raises(ResefaError, match=message):
        FunctionHook(*arguments)


@pytest.mark.parametrize('value_range', [(1, 0), (0, 0), (0, float('inf')), (0,), (0, 1, 2), 'ab', 5, (None, 1)])
def test_no_range(value_range):
    with pytest.raises(ResefaError, match='value_range is .*, expected two numbers, that of black first'):
        FunctionHook(TOY.images, 6, value_range=value_range)


def test_sixteen_channels_are_warned_about():
    with pytest.warns(UserWarning, match='its pictures have 16 channels'):
        hook = FunctionHook(TanhToy(shape=(16, 8, 8)).images, 6)
    assert hook.image_shape == (16, 8, 8)


@pytest.mark.parametrize('low, high', [(0.0, 1.0), (0.0, 255.0)])
def test_a_range_that_is_stated_gives_the_same_pictures_and_derivatives(low, high):
    def other(z):
        return low + (high - low) * (TOY.images(z) + 1) / 2

    with pytest.warns(UserWarning, match=rf'looks like \[{low:g}, {high:g}\]. State it with value_range='):
        probe(viewpoint(other))
    stated = viewpoint(other, value_range=(low, high))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        probe(stated)
    plain = viewpoint(TOY.images)
    offset = 0.1 * torch.ones(1, 6)
    torch.testing.assert_close(stated.images(offset), plain.images(offset))
    torch.testing.assert_close(RegionJacobian(stated).compute().matrix, RegionJacobian(plain).compute().matrix)


def test_a_range_that_is_right_is_believed():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        probe(viewpoint(lambda z: (TOY.images(z) + 1) / 2, value_range=(-1, 1)))
        probe(viewpoint(TOY.images))


def test_ranges_far_from_any():
    with pytest.warns(UserWarning, match='the range looks like none that is known'):
        probe(viewpoint(lambda z: 1000 * TOY.images(z)))


def test_batch_statistics_are_refused_and_the_network_is_as_before():
    net = Net(nn.BatchNorm2d(3))
    net(torch.randn(8, 6))
    before = state_of(net)
    with pytest.warns(UserWarning, match=r'suspect: layer \(BatchNorm2d\) are in training mode: .* Call .eval\(\)'):
        suspect = viewpoint(net)
    assert same(state_of(net), before)
    with pytest.raises(BatchDependenceError, match=r'each picture changes the network \(layer.running_mean, .* was '
                                                   r'put back.*In training mode: layer \(BatchNorm2d\)'):
        probe(suspect)
    assert same(state_of(net), before)
    net.eval()
    probe(viewpoint(net))


def test_a_picture_that_depends_on_its_batch():
    """Without running statistics nothing changes; two calls are equal, and yet the picture is not the latent's own."""
    with pytest.raises(BatchDependenceError, match='is another one, by .* of its contrast, if a second latent'):
        probe(viewpoint(Net(nn.BatchNorm2d(3, track_running_stats=False)).eval()))


def test_one_latent_at_a_time_is_enough():
    def single(z):
        if len(z) > 1:
            raise RuntimeError('one at a time')
        return TOY.images(z)

    probe(viewpoint(single))


def test_dropout_is_named():
    with pytest.warns(UserWarning, match=r'layer \(Dropout\)'), \
            pytest.raises(NondeterministicError, match=r'In training mode: layer \(Dropout\)'):
        probe(viewpoint(Net(nn.Dropout(0.5))))


NET = Net(nn.BatchNorm2d(3))


class Holder:
    def __init__(self, net):
        self.net = net

    def images(self, z):
        return self.net(z)


def through_a_global(z):
    return NET(z)


@pytest.mark.parametrize('wrap', [
    lambda net: net, lambda net: net.forward, lambda net: lambda z: net(z), lambda net: functools.partial(net),
    lambda net: Holder(net).images, lambda net: lambda z, net=net: net(z),
    lambda net: through_a_global, lambda net: FunctionHook(net, 6),
    lambda net: (lambda nets: lambda z: nets[0](z))([net]),
], ids=['itself', 'method', 'closure', 'partial', 'object', 'default', 'global', 'hook', 'list'])
@pytest.mark.filterwarnings('ignore:.*training mode')
def test_modules_are_found_behind_functions(wrap):
    assert modules_of(wrap(NET)) == [NET] and in_training(wrap(NET)) == ['layer (BatchNorm2d)']


def test_an_instance_norm_without_statistics_is_harmless():
    assert not in_training(Net(nn.InstanceNorm2d(3)))
    assert in_training(Net(nn.InstanceNorm2d(3, track_running_stats=True)))


def test_buffers_that_were_replaced_are_put_back():
    net = Net(nn.BatchNorm2d(3))
    kept, before = net.layer.running_mean, state_of(net)
    state = ModuleState(net)
    net.layer.running_mean = torch.ones(3)
    net.layer.running_var += 1
    assert state.put_back() == ['layer.running_mean', 'layer.running_var']
    assert same(state_of(net), before) and net.layer.running_mean is kept and state.put_back() == []


@pytest.mark.parametrize('latent, message', [
    (None, 'is NoneType'), (torch.zeros(6), r'is torch.float32 \[6\]'), (torch.zeros(2, 6), r'\[2, 6\]'),
    (torch.zeros(1, 6, dtype=torch.int64), 'is torch.int64'), (torch.full((1, 6), torch.nan), 'holds NaN or infinity'),
])
def test_samples_that_are_none(latent, message):
    with pytest.raises(ResefaError, match=rf"sample mine: latents\['z'\] .*{message}|{message}"):
        Sample('mine', {'z': latent})


def test_a_latent_with_a_history_is_taken_without_it():
    """As an optimizer leaves it: a projector's result."""
    z = torch.zeros(1, 6, requires_grad=True)
    sample = Sample('mine', {'z': z * 2})
    assert not sample.latents['z'].requires_grad
    hook = FunctionHook(TOY.images, 6)
    assert not RegionJacobian(Viewpoint(hook, 'z', sample)).compute().matrix.requires_grad
