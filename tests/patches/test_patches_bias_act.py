"""The patched bias_act over the emulated plugin, against plain torch expressions in float64 and central differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from resefa_plugin.errors import ResefaError
from resefa_plugin.patches.bias_act import patch_bias_act
from resefa_plugin.patches.support import folding
from tests.helpers.plugin_emulation import ACTIVATIONS, Plugins, bias_act_module

# Both sides evaluate closed forms in float64; the plugin recovers f' from y, which amplifies rounding a little.
TOL64 = dict(rtol=1e-9, atol=1e-11)
# float32 arithmetic on values of order one.
TOL32 = dict(rtol=1e-5, atol=1e-5)
# The diagonal and the product are each rounded to float16 (2^-11).
TOL16 = dict(rtol=2e-3, atol=1e-3)
TOL_DIFFERENCE = dict(rtol=1e-6, atol=1e-7)  # Central differences with a step of 1e-5 in float64.

FUNCTIONS = {
    'linear': lambda x: x, 'relu': F.relu, 'lrelu': lambda x: F.leaky_relu(x, 0.2), 'tanh': torch.tanh,
    'sigmoid': torch.sigmoid, 'elu': F.elu, 'selu': F.selu, 'softplus': F.softplus, 'swish': F.silu,
}


@pytest.fixture
def ops():
    plugin = Plugins()
    module = bias_act_module(plugin)
    with patch_bias_act(module):
        module.plugin = plugin
        yield module


def op(module, act, **options):
    factory = module._bias_act_cuda(act=act, **options)
    return lambda x, b: factory.apply(x, b)


def reference(act, dim=1, gain=None, clamp=None):
    gain = ACTIVATIONS[act][2] if gain is None else gain

    def f(x, b):
        if b is not None:
            x = x + b.reshape([-1 if i == dim else 1 for i in range(x.ndim)])
        y = FUNCTIONS[act](x) * gain
        return y if clamp is None else torch.where(y.abs() < clamp, y, y.sign() * clamp)
    return f


def inputs(*shape, channels, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    return x, torch.randn(channels, generator=generator, dtype=torch.float64).to(dtype)


CASES = [(act, gain, clamp) for act in ACTIVATIONS for gain, clamp in ((None, None), (1.5, 0.6))]


@pytest.mark.parametrize('act, gain, clamp', CASES)
def test_all_transforms_against_plain_torch(ops, act, gain, clamp):
    x, b = inputs(2, 3, 4, 5, channels=3)
    x_t, b_t = inputs(2, 3, 4, 5, channels=3, seed=1)
    ours, plain = op(ops, act, gain=gain, clamp=clamp), reference(act, gain=gain, clamp=clamp)
    if clamp is not None:
        assert (plain(x, b).abs() == clamp).any()

    torch.testing.assert_close(ours(x, b), plain(x, b), **TOL64)
    primals, tangents = (x, b), (x_t, b_t)
    torch.testing.assert_close(*(torch.func.jvp(f, primals, tangents) for f in (ours, plain)), **TOL64)
    xs = torch.stack([x_t, x, x_t * 2])
    bs = torch.stack([b_t, b, b_t * 2])

    def columns(f):
        return torch.vmap(lambda u, v: torch.func.jvp(f, (x, b), (u, v))[1])(xs, bs)
    torch.testing.assert_close(columns(ours), columns(plain), **TOL64)
    torch.testing.assert_close(torch.func.vjp(ours, x, b)[1](x_t), torch.func.vjp(plain, x, b)[1](x_t), **TOL64)
    torch.testing.assert_close(*(torch.vmap(torch.func.vjp(f, x, b)[1])(xs) for f in (ours, plain)), **TOL64)

    def square(f):
        return lambda x, b: f(x, b).square().sum()

    def second(f):  # Forward over reverse, under vmap.
        gradient = torch.func.grad(square(f), (0, 1))
        return torch.vmap(lambda u, v: torch.func.jvp(gradient, (x, b), (u, v))[1])(xs, bs)
    torch.testing.assert_close(second(ours), second(plain), **TOL64)

    def reverse_twice(f):
        return torch.func.grad(lambda x, b: (torch.func.grad(square(f))(x, b) * x_t).sum(), (0, 1))(x, b)
    torch.testing.assert_close(reverse_twice(ours), reverse_twice(plain), **TOL64)

    def reverse_over_forward(f):
        return torch.func.grad(lambda x: (torch.func.jvp(f, (x, b), (x_t, b_t))[1] * x).sum())(x)
    torch.testing.assert_close(reverse_over_forward(ours), reverse_over_forward(plain), **TOL64)


@pytest.mark.parametrize('act', ACTIVATIONS)
def test_central_differences(ops, act):
    x, b = inputs(2, 3, 4, 4, channels=3, seed=2)
    x_t, b_t = inputs(2, 3, 4, 4, channels=3, seed=3)
    f, step = op(ops, act, clamp=1.0), 1e-5
    difference = (f(x + step * x_t, b + step * b_t) - f(x - step * x_t, b - step * b_t)) / (2 * step)
    torch.testing.assert_close(torch.func.jvp(f, (x, b), (x_t, b_t))[1], difference, **TOL_DIFFERENCE)


@pytest.mark.parametrize('act', ['linear', 'lrelu', 'tanh', 'swish'])
@pytest.mark.parametrize('batched', ['x', 'b', 'both'])
def test_batched_primals(ops, act, batched):
    x, b = inputs(4, 2, 3, 5, 5, channels=(4, 3))
    in_dims = (0 if batched != 'b' else None, 0 if batched != 'x' else None)
    x, b = (x if batched != 'b' else x[0]), (b if batched != 'x' else b[0])
    results = []
    for f in (op(ops, act, clamp=0.8), reference(act, clamp=0.8)):
        results.append([torch.vmap(g, in_dims)(x, b) for g in (
            f, torch.func.grad(lambda x, b: f(x, b).square().sum(), (0, 1)),
            lambda x, b: torch.func.jvp(f, (x, b), (x * 2, b * 3))[1],
            lambda x, b: torch.func.jvp(torch.func.grad(lambda x: f(x, b).square().sum()), (x,), (x * 2,))[1])])
    torch.testing.assert_close(*results, **TOL64)


@pytest.mark.parametrize('shape, dim', [((6,), 0), ((6, 4), 0), ((6, 4), 1), ((2, 3, 4), 2), ((2, 3, 4, 5, 6), 1)])
@pytest.mark.parametrize('act', ['lrelu', 'swish'])
def test_ranks_and_bias_axes(ops, shape, dim, act):
    x, b = inputs(*shape, channels=shape[dim])
    ours, plain = op(ops, act, dim=dim), reference(act, dim=dim)
    xs = torch.stack([x, x.flip(0)], -1)
    for f in (lambda g: torch.vmap(lambda t: torch.func.jvp(g, (x, b), (t, b))[1], -1)(xs),
              lambda g: torch.func.vjp(g, x, b)[1](x), lambda g: torch.vmap(g, (-1, None))(xs, b)):
        torch.testing.assert_close(f(ours), f(plain), **TOL64)


@pytest.mark.parametrize('outside, change', [
    (lambda x: x.to(memory_format=torch.channels_last), lambda x: x), (lambda x: x, lambda x: x.transpose(2, 3)),
    (lambda x: x[:, :, ::2, 1:], lambda x: x), (lambda x: x, lambda x: x[:1].expand(3, -1, -1, -1))])
@pytest.mark.parametrize('act', ['lrelu', 'swish'])
def test_layouts(ops, outside, change, act):
    x, b = inputs(2, 3, 4, 4, channels=3)
    x = outside(x)
    ours, plain = (lambda x, b, f=f: f(change(x), b) for f in (op(ops, act, clamp=0.9), reference(act, clamp=0.9)))
    generator = torch.Generator().manual_seed(1)
    ts = torch.randn(3, *x.shape, dtype=x.dtype, generator=generator)
    us = torch.randn(3, *change(x).shape, dtype=x.dtype, generator=generator)
    for dim in (0, 2):
        results = [(torch.vmap(lambda t: torch.func.jvp(f, (x, b), (t, b))[1], dim)(ts.movedim(0, dim).contiguous()),
                    torch.vmap(torch.func.vjp(f, x, b)[1], dim)(us.movedim(0, dim).contiguous()))
                   for f in (ours, plain)]
        torch.testing.assert_close(*results, **TOL64)


@pytest.mark.parametrize('act', ACTIVATIONS)
def test_float16(ops, act):
    x, b = inputs(2, 3, 4, 5, channels=3, dtype=torch.float16)
    t, _ = inputs(2, 3, 4, 5, channels=3, dtype=torch.float16, seed=1)
    f = op(ops, act, clamp=0.7)
    y, y_t = torch.func.jvp(f, (x, b), (t, b))
    expected = torch.func.jvp(reference(act, clamp=0.7), (x.double(), b.double()), (t.double(), b.double()))
    assert y.dtype == y_t.dtype == torch.float16
    torch.testing.assert_close((y.double(), y_t.double()), expected, **TOL16)


def test_float16_clamp_between_two_representable_numbers(ops):
    clamp = 256 * 0.5 ** 0.5  # Outputs are stored as 181.0, less than the bound of 181.02.
    x = torch.tensor([[[[-500.0, 3.0, 500.0]]]], dtype=torch.float16)
    y, y_t = torch.func.jvp(lambda x: op(ops, 'lrelu', clamp=clamp)(x, None), (x,), (torch.ones_like(x),))
    assert y.flatten()[2] == 181 and y_t.flatten()[2] == 0
    assert y_t.flatten()[1] == torch.tensor(2 ** 0.5, dtype=torch.float16)


def test_no_bias_and_identity(ops):
    x, _ = inputs(2, 3, 4, 4, channels=3)
    f = op(ops, 'lrelu')
    torch.testing.assert_close(torch.func.jvp(lambda x: f(x, None), (x,), (x,)),
                               torch.func.jvp(lambda x: reference('lrelu')(x, None), (x,), (x,)), **TOL64)
    ops.plugin.calls.clear()
    identity = op(ops, 'linear')
    assert identity(x, None) is x
    torch.testing.assert_close(identity(x, torch.ones(3, dtype=x.dtype)), x + 1)
    assert ops.plugin.calls == []


def test_output_of_a_linear_layer_may_be_modified_in_place(ops):
    """As residual blocks do with the output of their skip layer."""
    x, b = inputs(2, 3, 4, 4, channels=3)
    f = op(ops, 'linear', gain=0.5 ** 0.5)
    grad = torch.func.grad(lambda x: f(x, b).add_(x).sum())(x)
    torch.testing.assert_close(grad, torch.full_like(x, 1 + 0.5 ** 0.5), **TOL64)


def test_ordinary_autograd_and_dual_tensors(ops):
    x, b = inputs(2, 3, 4, 4, channels=3)
    f = op(ops, 'swish', clamp=1.0)
    x.requires_grad_(), b.requires_grad_()
    assert torch.autograd.gradcheck(f, (x, b), check_forward_ad=True, check_batched_grad=True,
                                    check_batched_forward_grad=True)
    assert torch.autograd.gradgradcheck(f, (x, b), check_fwd_over_rev=True)


def test_plugin_runs_once_for_all_tangents(ops):
    x, b = inputs(2, 3, 4, 4, channels=3)
    f = op(ops, 'lrelu')
    ts = torch.stack([x] * 7)
    torch.vmap(lambda t: torch.func.jvp(f, (x, b), (t, torch.zeros_like(b)))[1])(ts)
    assert ops.plugin.calls == [('bias_act0', (2, 3, 4, 4)), ('bias_act1', (2, 3, 4, 4))]


@pytest.mark.parametrize('dim', [0, 1])
def test_calls_stay_within_the_size_limit(ops, monkeypatch, dim):
    x, b = inputs(6, 5, 3, channels=(6, 5)[dim], dtype=torch.float32)
    expected = reference('lrelu', dim=dim)(x, b)
    monkeypatch.setattr(folding, 'MAX_NUMEL', 40)
    ops.plugin.limit = 40
    f = op(ops, 'lrelu', dim=dim)
    torch.testing.assert_close(f(x, b), expected, **TOL32)
    slope = torch.func.jvp(lambda x: f(x, b), (x,), (torch.ones_like(x),))[1]
    torch.testing.assert_close(slope, torch.where(expected > 0, 2 ** 0.5, 0.2 * 2 ** 0.5), **TOL32)
    assert len(ops.plugin.calls) > 3


def test_third_derivative_is_refused(ops):
    x, b = inputs(1, 3, 2, 2, channels=3)
    f = op(ops, 'tanh')

    def twice(x):
        return torch.func.grad(lambda x: torch.func.grad(lambda x: f(x, b).sum())(x).square().sum())(x)
    with pytest.raises(ResefaError, match='differentiated three times'):
        torch.func.jvp(twice, (x,), (x,))
