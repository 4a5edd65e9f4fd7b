"""Networks without forward-mode rules: the Jacobian comes from backward passes, is announced, and is exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from resefa_plugin import FunctionHook, RegionJacobian
from resefa_plugin.errors import ResefaError, ZeroJacobianError
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.probe import probe
from resefa_plugin.jacobian.reverse_mode import ReverseMode
from tests.helpers.toys import TanhToy

ROUNDING = 1e-5    # of float32 against a float64 matrix, through one layer
ROUNDING64 = 1e-12
DIFFERENCE64 = 1e-6  # central differences in float64 with a step of 1e-6


class OldStyle(torch.autograd.Function):
    """As official code of 2020 writes its ops: no setup_context, no jvp; can be differentiated twice."""

    @staticmethod
    def forward(ctx, x):
        y = x.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        y, = ctx.saved_tensors
        return grad * (1 - y * y)


class Once(OldStyle):
    """A backward that cannot be differentiated."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        y, = ctx.saved_tensors
        return grad * (1 - y * y)


class WrongTwice(torch.autograd.Function):
    """A backward whose own derivative is a part of what it is: the detached half is lost."""

    @staticmethod
    def forward(ctx, x):
        y = x.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        y, = ctx.saved_tensors
        return (grad / 2 + grad.detach() / 2) * (1 - y * y)


def toy_images(op, toy):
    def f(z):
        M, b = torch.from_numpy(toy.M).to(z), torch.from_numpy(toy.b).to(z)
        return op.apply(z @ M.T + b).unflatten(1, toy.shape)
    return f


def make(f, z_dim, resolution=None):
    hook = FunctionHook(f, z_dim, name='any')
    sample = hook.sample(0)
    return RegionJacobian(Viewpoint(hook, hook.space('z'), sample, resolution)), sample.latents['z']


def error(actual, expected):
    return np.abs(actual - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize('op, z_dim, shape, way', [
    (OldStyle, 6, (3, 8, 8), '6 passes, each through the graph of a backward pass'),
    (OldStyle, 20, (3, 2, 2), '12 backward passes, one for each pixel and colour'),  # fewer rows than columns
    (Once, 6, (3, 4, 4), '48 backward passes'),
    (WrongTwice, 6, (3, 4, 4), '48 backward passes')])
def test_exact_and_announced(op, z_dim, shape, way):
    toy = TanhToy(z_dim, shape)
    jacobian, z = make(toy_images(op, toy), z_dim)
    with pytest.warns(
        UserWarning, match=f'any: forward-mode AD does not work .*setup_context.* Reverse mode is used instead: {way}'
    ):
        matrix = jacobian.compute().matrix
    dense = toy.jacobian(z).reshape(-1, z_dim)
    assert error(matrix.numpy().T, dense) < ROUNDING
    V = torch.randn(3, z_dim)
    assert error(jacobian.jvp(V).flatten(1).numpy(), V.numpy() @ dense.T) < ROUNDING
    U = torch.randn(2, *shape)
    assert error(jacobian.vjp(U).numpy(), U.flatten(1).numpy() @ dense) < ROUNDING


def test_of_the_pooled_picture():
    toy = TanhToy()
    jacobian, z = make(toy_images(OldStyle, toy), 6, resolution=4)
    with pytest.warns(UserWarning, match='Reverse mode'):
        matrix = jacobian.compute().matrix
    assert error(matrix.numpy().T, toy.jacobian(z, 2).reshape(-1, 6)) < ROUNDING


def warp(z):
    """A picture that z turns and moves, as EG3D's planes are looked up: torch has no forward mode of grid_sample."""
    y, x = torch.meshgrid(torch.linspace(0, 3, 16), torch.linspace(0, 3, 16), indexing='ij')
    picture = torch.stack([x.sin() * y.cos(), (x * y).sin()])[None].to(z).expand(len(z), -1, -1, -1)
    theta = torch.eye(2, 3).to(z) + 0.1 * z.unflatten(1, (2, 3))
    return F.grid_sample(picture, F.affine_grid(theta, [len(z), 2, 8, 8], align_corners=False), align_corners=False)


def test_grid_sample():
    """Two-sided: columns against rows against finite differences in float64, then through the probe in float32."""
    z = torch.from_numpy(np.random.RandomState(0).randn(6))

    def f(x):
        return warp(x[None])[0]

    reverse = ReverseMode(f, z)
    eye = torch.eye(6, dtype=torch.float64)
    columns, rows = reverse.columns()(eye), reverse.rows()(eye)
    differences = torch.stack([(f(z + 1e-6 * e) - f(z - 1e-6 * e)) / 2e-6 for e in eye])
    assert error(columns.numpy(), rows.numpy()) < ROUNDING64
    assert error(columns.numpy(), differences.numpy()) < DIFFERENCE64
    hook = FunctionHook(warp, 6, name='warp')
    with pytest.warns(
        UserWarning, match='warp: forward-mode AD does not work .*grid_sampler_2d.* Reverse mode is used'
    ):
        probe(Viewpoint(hook, hook.space('z'), hook.sample(0)))


def test_a_wrong_second_derivative_is_refused():
    toy = TanhToy()
    with pytest.raises(RuntimeError, match='the second derivative of an op is wrong: <u, J v> = '):
        ReverseMode(lambda x: toy_images(WrongTwice, toy)(x[None])[0], torch.zeros(6)).columns()


def test_a_picture_that_does_not_depend_on_the_latent():
    reverse = ReverseMode(lambda x: torch.ones(1, 4, 4), torch.zeros(3))
    for push in (reverse.columns(), reverse.rows()):
        assert push(torch.eye(3)).shape == (3, 1, 4, 4) and not push(torch.eye(3)).any()
    hook = FunctionHook(lambda z: OldStyle.apply(z.detach())[:, :, None, None].expand(-1, -1, 4, 4), 3)
    with pytest.warns(UserWarning, match='Reverse mode'), pytest.raises(ZeroJacobianError):
        probe(Viewpoint(hook, hook.space('z'), hook.sample(0)))


def test_a_picture_that_depends_on_weights_alone():
    weight = torch.ones(1, 4, 4, requires_grad=True)
    reverse = ReverseMode(lambda x: 2 * weight, torch.zeros(3))
    assert reverse.y.requires_grad and torch.equal(reverse.pull(torch.ones(2, 1, 4, 4)), torch.zeros(2, 3))


def test_a_graph_that_columns_come_from_is_not_released():
    jacobian, _ = make(toy_images(OldStyle, TanhToy()), 6)
    with pytest.warns(UserWarning, match='Reverse mode'):
        before = jacobian.jvp(torch.eye(6))
    graph = jacobian._reverse
    jacobian.release()
    assert graph is not None and jacobian._reverse is graph
    assert torch.equal(jacobian.jvp(torch.eye(6)), before)


def test_memory_that_runs_out_is_not_taken_for_a_missing_rule(monkeypatch):
    toy = TanhToy()
    jacobian, _ = make(toy.images, 6)

    def exhausted(V):
        raise torch.OutOfMemoryError('CUDA out of memory')

    monkeypatch.setattr(jacobian, '_forward_mode', exhausted)
    with pytest.raises(ResefaError, match='does not suffice for one tangent'):
        jacobian.jvp(torch.zeros(1, 6))
    reverse = ReverseMode(lambda x: toy.images(x[None])[0], torch.zeros(6))
    monkeypatch.setattr(reverse, 'columns', lambda: exhausted(None))
    with pytest.raises(torch.OutOfMemoryError):
        reverse.push()


def test_forward_mode_is_not_left_without_need(recwarn):
    toy = TanhToy()
    make(toy.images, 6)[0].compute()
    assert not recwarn.list
