"""The patched upfirdn2d and filtered_lrelu over the emulated plugins, against plain torch differentiated by torch."""

from __future__ import annotations

import pytest
import torch

from resefa_plugin.errors import ResefaError
from resefa_plugin.patches.filtered_lrelu import patch_filtered_lrelu
from resefa_plugin.patches.support import folding
from resefa_plugin.patches.upfirdn2d import patch_upfirdn2d
from tests.helpers.plugin_emulation import Plugins, filtered_lrelu_module, quadruple, resample, upfirdn2d_module

TOL64 = dict(rtol=1e-10, atol=1e-12)  # The same sums in float64, in another order.
TOL32 = dict(rtol=1e-4, atol=1e-5)    # float32 against float64, sums of up to 144 products.
TOL16 = dict(rtol=1e-2, atol=1e-2)    # Inputs, signs at the kink excepted, and outputs rounded to float16 (2^-11).


def rand(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


FULL, TAPS = rand(3, 4), rand(4)
# Factors, padding (with crops) and filters such that no two axes and no two ends are alike.
RESAMPLINGS = [
    (dict(up=2, padding=[2, 1, 2, 1], gain=4), TAPS.outer(TAPS)),
    (dict(down=2, padding=[1, 1]), FULL), (dict(up=(2, 3), down=(3, 1), padding=[3, 2, 1, 4]), FULL),
    (dict(up=(1, 2), down=2, padding=[-1, 3, 2, -1], flip_filter=True), FULL),
    (dict(up=2, down=1, padding=2, gain=3.0), TAPS),
    (dict(up=(3, 2), down=(2, 3), padding=[2, 3, 1, 2], flip_filter=True), TAPS),
    (dict(gain=2.0), torch.tensor([1.25])), (dict(padding=1), None),
]


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@pytest.fixture
def ops():
    plugin = Plugins()
    upfirdn2d = upfirdn2d_module(plugin)
    filtered_lrelu = filtered_lrelu_module(plugin, upfirdn2d)
    with patch_upfirdn2d(upfirdn2d), patch_filtered_lrelu(filtered_lrelu):
        yield filtered_lrelu


def plain_upfirdn2d(f, up=1, down=1, padding=0, flip_filter=False, gain=1):
    f = torch.ones(1, 1) if f is None else f
    up, down = ((v, v) if isinstance(v, int) else v for v in (up, down))
    return lambda x: resample(x, f, up, down, quadruple(padding), flip_filter, gain)


def transforms_of(f, xs, us):
    """Everything linear and of first order that the package asks for, at the point `xs[0]`."""
    x = xs[0]
    return (torch.func.jvp(f, (x,), (xs[1],)), torch.vmap(lambda t: torch.func.jvp(f, (x,), (t,))[1])(xs),
            torch.func.vjp(f, x)[1](us[0]), torch.vmap(torch.func.vjp(f, x)[1])(us), torch.vmap(f)(xs),
            torch.vmap(lambda x, u: torch.func.vjp(f, x)[1](u))(xs, us))


def second_order(f, xs):
    def gradient(x):
        return torch.func.grad(lambda x: f(x).square().sum())(x)
    x = xs[0]
    return (torch.vmap(lambda t: torch.func.jvp(gradient, (x,), (t,))[1])(xs),
            torch.func.grad(lambda x: (gradient(x) * xs[1]).sum())(x))


@pytest.mark.parametrize('options, f', RESAMPLINGS)
def test_upfirdn2d_against_plain_torch(ops, options, f):
    xs = randn(3, 2, 3, 6, 7)
    factory = ops.upfirdn2d._upfirdn2d_cuda(**options)
    ours, plain = (lambda x: factory.apply(x, f)), plain_upfirdn2d(f, **options)
    us = randn(3, *plain(xs[0]).shape, seed=1)
    torch.testing.assert_close(transforms_of(ours, xs, us), transforms_of(plain, xs, us), **TOL64)
    torch.testing.assert_close(second_order(ours, xs), second_order(plain, xs), **TOL64)


@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, TOL32), (torch.float16, TOL16)])
def test_upfirdn2d_dtypes_and_layouts(ops, dtype, tolerance):
    options, f = RESAMPLINGS[2]
    factory, plain = ops.upfirdn2d._upfirdn2d_cuda(**options), plain_upfirdn2d(f, **options)
    plane, ts = randn(2, 3, 6, 7, dtype=dtype), randn(2, 3, 6, 7, 5, seed=1, dtype=dtype)
    for x in (plane, plane.to(memory_format=torch.channels_last), plane.transpose(2, 3).contiguous().transpose(2, 3)):
        y, y_t = torch.vmap(lambda t: torch.func.jvp(lambda x: factory.apply(x, f), (x,), (t,)), -1)(ts)
        assert y_t.dtype == dtype
        torch.testing.assert_close(y_t.double(), torch.vmap(plain, -1)(ts.double()), **tolerance)


def test_upfirdn2d_stays_within_the_size_limit(ops, monkeypatch):
    x, f = randn(5, 2, 4, 4), TAPS
    options = dict(up=2, padding=[2, 1, 2, 1])
    monkeypatch.setattr(folding, 'MAX_NUMEL', 300)
    ops._plugin.limit = 300
    factory = ops.upfirdn2d._upfirdn2d_cuda(**options)
    torch.testing.assert_close(factory.apply(x, f), plain_upfirdn2d(f, **options)(x), **TOL64)
    assert len(ops._plugin.calls) == 6  # Three pieces of two samples or less, two axes each.


def test_upfirdn2d_of_a_part_of_a_tensor_that_is_beyond_the_size_limit(ops, monkeypatch):
    """stylegan3's plugin measures how far apart the first and the last element lie."""
    x = randn(2, 40, 4, 4)[:, 3:5]
    monkeypatch.setattr(folding, 'MAX_NUMEL', 300)
    ops._plugin.limit = 300
    for f in (TAPS.outer(TAPS), TAPS):
        got = ops.upfirdn2d._upfirdn2d_cuda(padding=[2, 1, 2, 1]).apply(x, f)
        torch.testing.assert_close(got, plain_upfirdn2d(f, padding=[2, 1, 2, 1])(x), **TOL64)


def test_filters_are_constants(ops):
    x, f = randn(1, 1, 6, 6), TAPS.outer(TAPS)
    upfirdn2d = ops.upfirdn2d._upfirdn2d_cuda()
    message = 'with respect to its filter'
    with pytest.raises(ResefaError, match=message):
        torch.func.jvp(lambda f: upfirdn2d.apply(x, f), (f,), (f,))
    with pytest.raises(ResefaError, match=message):
        torch.func.grad(lambda f: upfirdn2d.apply(x, f).sum())(f)
    with pytest.raises(ResefaError, match=message):
        torch.vmap(lambda f: upfirdn2d.apply(x, f))(f[None])
    lrelu = ops._filtered_lrelu_cuda(padding=3)
    for run in (lambda g: torch.func.jvp(g, (f,), (f,)), lambda g: torch.func.grad(lambda f: g(f).sum())(f),
                lambda g: torch.vmap(g)(f[None])):
        with pytest.raises(ResefaError, match=message):
            run(lambda f: lrelu.apply(x.float(), f, f.detach(), None, None, 0, 0))


# Those of StyleGAN3: plain, critically sampled, radial downsampling, ToRGB without filters; with crops.
LRELUS = [
    (dict(up=2, down=2, padding=[4, 3, 3, 4], clamp=0.9), rand(6), rand(6)),
    (dict(up=4, down=2, padding=[-2, 5, 7, -1], flip_filter=True, gain=1.3), rand(8), rand(6, 6)),
    (dict(up=1, down=2, padding=[2, 3, 1, 2], slope=0.1, clamp=1.2), rand(1), rand(4)),
    (dict(up=1, down=1, padding=0, gain=1, slope=1, clamp=0.8), None, None),
    (dict(up=2, down=1, padding=[5, 1, 3, 3], clamp=0.7), rand(3, 4), rand(2, 5)),
]
LRELUS = [(options, *(None if f is None else f / f.sum() * 1.5 for f in filters)) for options, *filters in LRELUS]


def plain_filtered_lrelu(fu, fd, up=1, down=1, padding=0, gain=2 ** 0.5, slope=0.2, clamp=None, flip_filter=False):
    fu, fd = (torch.ones(1, 1) if f is None else f for f in (fu, fd))

    def f(x, b):
        u = resample(x + b[:, None, None], fu, (up, up), (1, 1), quadruple(padding), flip_filter, up ** 2) * gain
        u = torch.where(u < 0, u * slope, u)
        if clamp is not None:
            u = torch.where(u.abs() <= clamp, u, u.detach().sign() * clamp)
        return resample(u, fd, (1, 1), (down, down), (0, 0, 0, 0), flip_filter, 1)
    return f


def both(ops, options, fu, fd):
    factory = ops._filtered_lrelu_cuda(**options)
    return (lambda x, b: factory.apply(x, fu, fd, b, None, 0, 0)), plain_filtered_lrelu(fu, fd, **options)


@pytest.mark.filterwarnings('ignore:filtered_lrelu has no CUDA kernel')
@pytest.mark.parametrize('options, fu, fd', LRELUS)
def test_filtered_lrelu_against_plain_torch(ops, options, fu, fd):
    # float64 has no kernel: this is the composition of other ops with the sign kernel, exact enough for tight bounds.
    xs, b = randn(3, 2, 3, 6, 7), randn(3, seed=2)
    ours, plain = both(ops, options, fu, fd)
    us = randn(3, *plain(xs[0], b).shape, seed=1)
    results = []
    for f in (ours, plain):
        results.append((transforms_of(lambda x: f(x, b), xs, us), second_order(lambda x: f(x, b), xs),
                        torch.func.jvp(f, (xs[0], b), (xs[1], b * 2)),
                        torch.func.jvp(lambda b: f(xs[0], b), (b,), (b,)),
                        torch.func.vjp(f, xs[0], b)[1](us[0]), torch.vmap(f, (None, 0))(xs[0], randn(4, 3, seed=3)),
                        torch.vmap(torch.func.grad(lambda b: f(xs[0], b).square().sum()))(randn(4, 3, seed=3))))
    torch.testing.assert_close(*results, **TOL64)


@pytest.mark.parametrize('options, fu, fd', LRELUS)
def test_filtered_lrelu_kernel(ops, options, fu, fd):
    xs, b = randn(3, 2, 3, 6, 7), randn(3, seed=2)
    ours, plain = both(ops, options, fu, fd)
    us = randn(3, *plain(xs[0], b).shape, seed=1)
    single = transforms_of(lambda x: ours(x, b.float()), xs.float(), us.float())
    for got, expected in zip(single, transforms_of(lambda x: plain(x, b), xs, us), strict=True):
        got = [v.double() for v in got] if isinstance(got, tuple) else got.double()
        torch.testing.assert_close(list(got), list(expected), **TOL32)
    assert {name for name, _ in ops._plugin.calls} == {'filtered_lrelu'}


def test_filtered_lrelu_float16(ops):
    options, fu, fd = LRELUS[3]  # Without filters, so that no sample sits within rounding of a kink.
    x, b, t = randn(2, 3, 6, 7).half(), randn(3, seed=2).half(), randn(2, 3, 6, 7, seed=1).half()
    ours, plain = both(ops, options, fu, fd)
    y, y_t = torch.func.jvp(ours, (x, b), (t, b))
    assert y.dtype == y_t.dtype == torch.float16
    expected = torch.func.jvp(plain, (x.double(), b.double()), (t.double(), b.double()))
    torch.testing.assert_close((y.double(), y_t.double()), expected, **TOL16)


def test_filtered_lrelu_without_a_kernel_warns_and_agrees(ops):
    options, fu, fd = LRELUS[0]
    x, b = randn(2, 3, 6, 7), randn(3, seed=2)
    ours, plain = both(ops, options, fu, fd)
    ops._plugin.kernels = False
    with pytest.warns(RuntimeWarning, match='no CUDA kernel for up=2, down=2, torch.float32'):
        y, y_t = torch.func.jvp(lambda x: ours(x, b.float()), (x.float(),), (x.float(),))
    expected = torch.func.jvp(lambda x: plain(x, b), (x,), (x,))
    torch.testing.assert_close((y.double(), y_t.double()), expected, **TOL32)


def test_filtered_lrelu_adjoint_of_the_adjoint(ops):
    """<u, J t> = <J^T u, t>, and the tangent of the gradient: the linear op transposed twice is itself."""
    options, fu, fd = LRELUS[1]
    x, b = randn(2, 3, 6, 7).float(), randn(3).float()
    f = both(ops, options, fu, fd)[0]
    t = randn(2, 3, 6, 7, seed=1).float()
    y_t = torch.func.jvp(lambda x: f(x, b), (x,), (t,))[1]
    pullback = torch.func.vjp(lambda x: f(x, b), x)[1]
    twice = torch.func.vjp(lambda u: pullback(u)[0], torch.zeros_like(y_t))[1](t)[0]
    torch.testing.assert_close(twice, y_t, **TOL32)


def test_ordinary_autograd(ops):
    options, fu, fd = LRELUS[0]
    x, b = randn(1, 2, 5, 6).requires_grad_(), randn(2, seed=1).requires_grad_()
    f = both(ops, options, fu, fd)[0]
    with pytest.warns(RuntimeWarning, match='no CUDA kernel'):
        assert torch.autograd.gradcheck(f, (x, b), check_forward_ad=True)
        assert torch.autograd.gradgradcheck(f, (x, b))
