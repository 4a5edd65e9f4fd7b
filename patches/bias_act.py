r"""`torch_utils.ops.bias_act`: forward-mode AD and vmap over the compiled plugin.

Known for stylegan2-ada-pytorch 375a436..d72cc7d and stylegan3 8fb5177..c233a91.

The op is y = clip(gain * f(x + b), clamp), elementwise, so its derivatives multiply by factors, which the plugin
computes: s = gain * f'(x + b) * [|y| < clamp] (its mode `grad=1`) and the same with f'' (`grad=2`). Both depend on x
and b alone, not on tangents: under `vmap(jvp)` they are computed once, however many tangents there are.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from resefa_plugin.errors import ResefaError
from resefa_plugin.patches.support.attributes import replaced, require
from resefa_plugin.patches.support.folding import call_in_chunks, channelwise, to_front


@dataclass(frozen=True)
class _Spec:
    """The settings of one use of the op.

    Attributes:
        module: the module of upstream. Its `_plugin` is looked up when the op runs, because the first call builds it.
        dim: the axis of x that the bias belongs to.
        act: index of the activation function in the plugin.
        alpha: parameter of the activation function.
        gain: factor of its result.
        clamp: bound of |y|, negative if it is unbounded.
        needs_x: whether the plugin computes the first derivative from x.
        needs_y: whether it computes it from y. If neither, the first derivative is the gain.
        curved: whether the activation function has a second derivative.
    """

    module: ModuleType
    dim: int
    act: int
    alpha: float
    gain: float
    clamp: float
    needs_x: bool
    needs_y: bool
    curved: bool

    def call(self, grad: int, x: Tensor, b: Tensor | None, xref: Tensor | None = None,
             yref: Tensor | None = None) -> Tensor:
        """The plugin on raw tensors, all brought into one dense layout, at most 2^31 - 1 elements at a time."""
        like = next(t for t in (yref, xref, x) if t is not None)
        layout = torch.contiguous_format
        if like.ndim == 4 and not like.is_contiguous() and like.is_contiguous(memory_format=torch.channels_last):
            layout = torch.channels_last
        null = torch.empty([0])
        b = null if b is None else b.contiguous()
        # A clamped output is the bound, rounded to the output's type. To recognize it, the bound is rounded likewise:
        # 256 * sqrt(0.5) is 181.02, but 181.0 in float16. (Upstream's own gradient lacks this and misses the clamp.)
        clamp = float(torch.tensor(self.clamp, dtype=x.dtype)) if grad else self.clamp

        def call(*piece: Tensor | None) -> Tensor:
            x, xref, yref = (null if t is None else t.contiguous(memory_format=layout) for t in piece)
            dy = torch.ones_like(x) if grad == 2 else null
            return self.module._plugin.bias_act(
                x, b, xref, yref, dy, grad, self.dim, self.act, self.alpha, self.gain, clamp)

        split = 1 if self.dim == 0 and b.numel() and x.ndim > 1 else 0
        return call_in_chunks(call, x.numel(), split, x, xref, yref)


class _BiasAct(torch.autograd.Function):
    """y of x and b; b is None if there is no bias."""

    @staticmethod
    def forward(x: Tensor, b: Tensor | None, spec: _Spec) -> Tensor:
        return spec.call(0, x, b)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, b, ctx.spec = inputs
        ctx.set_materialize_grads(False)
        linked = ctx.spec.needs_x or ctx.spec.curved
        saved = (x if linked else None, b if linked else None, output if ctx.spec.needs_y else None)
        ctx.save_for_backward(*saved)
        ctx.save_for_forward(*saved)
        ctx.ndim = x.ndim

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor | None, b_t: Tensor | None, _spec: None) -> Tensor | None:
        t = _add(x_t, None if b_t is None else channelwise(b_t, ctx.spec.dim, ctx.ndim))
        return None if t is None else t * _slope(ctx)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:
        if dy is None:
            return None, None, None
        dx = dy * _slope(ctx)
        return dx, _sum_to_bias(dx, ctx.spec.dim) if ctx.needs_input_grad[1] else None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, b: Tensor | None,
             spec: _Spec) -> tuple[Tensor, int]:
        x, b, spec = _batched(info, in_dims, x, b, spec)
        return _BiasAct.apply(x, b, spec), 0


class _Slope(torch.autograd.Function):
    """The factors of the first or second derivative (`order` 1 or 2), shaped like x, from what `_BiasAct` saved."""

    @staticmethod
    def forward(x: Tensor | None, b: Tensor | None, y: Tensor | None, order: int, spec: _Spec) -> Tensor:
        like = x if y is None else y
        assert like is not None  # one of them is what the derivative is computed from
        return spec.call(order, torch.ones_like(like), b, x if spec.needs_x else None, y)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, b, y, ctx.order, ctx.spec = inputs
        ctx.set_materialize_grads(False)
        if not ctx.spec.curved:
            ctx.mark_non_differentiable(output)
        ctx.save_for_backward(x, b, y)
        ctx.save_for_forward(x, b, y)
        ctx.ndim = output.ndim

    # y is a function of x and b, whose derivatives are counted already: its own must be left out.
    @staticmethod
    def jvp(ctx: Any, x_t: Tensor | None, b_t: Tensor | None, _y_t: Tensor | None, _order: None,
            _spec: None) -> Tensor | None:
        if not ctx.spec.curved:
            return None
        t = _add(x_t, None if b_t is None else channelwise(b_t, ctx.spec.dim, ctx.ndim))
        assert t is not None  # jvp is called only if something has a tangent
        return t * _next_slope(ctx)

    @staticmethod
    def backward(ctx: Any, g: Tensor | None) -> tuple[Tensor | None, ...]:
        if g is None or not ctx.spec.curved:
            return None, None, None, None, None
        dx = g * _next_slope(ctx)
        return dx, _sum_to_bias(dx, ctx.spec.dim) if ctx.needs_input_grad[1] else None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor | None, b: Tensor | None, y: Tensor | None,
             order: int, spec: _Spec) -> tuple[Tensor, int]:
        if y is not None:
            y = to_front(y, in_dims[2], info.batch_size)
        if x is None:
            return _Slope.apply(None, None, y, order, replace(spec, dim=spec.dim + 1)), 0
        x, b, spec = _batched(info, in_dims, x, b, spec)
        return _Slope.apply(x, b, y, order, spec), 0


def _slope(ctx: Any) -> Tensor | float:
    if ctx.spec.needs_x or ctx.spec.needs_y:
        return _Slope.apply(*ctx.saved_tensors, 1, ctx.spec)
    return ctx.spec.gain


def _next_slope(ctx: Any) -> Tensor:
    if ctx.order == 2:
        raise ResefaError('bias_act is differentiated three times, but its CUDA plugin has two derivatives: '
                          "use impl='ref', or the network on the CPU, for third derivatives")
    return _Slope.apply(*ctx.saved_tensors, 2, ctx.spec)


def _add(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b


def _sum_to_bias(dx: Tensor, dim: int) -> Tensor:
    others = [i for i in range(dx.ndim) if i != dim]
    return dx.sum(others) if others else dx.clone()


def _batched(info: Any, in_dims: tuple[int | None, ...], x: Tensor, b: Tensor | None,
             spec: _Spec) -> tuple[Tensor, Tensor | None, _Spec]:
    """Puts the vmap axis first, since the plugin takes any rank, and adds several biases to x: it takes only one."""
    x = to_front(x, in_dims[0], info.batch_size)  # [K, ...]
    spec = replace(spec, dim=spec.dim + 1)
    if b is not None and in_dims[1] is not None:
        x, b = x + channelwise(b.movedim(in_dims[1], 0), spec.dim - 1, x.ndim - 1), None
    return x, b, spec


class _Op:
    """Stands for the autograd.Function that upstream's factory returns: it is called as `.apply(x, b)`."""

    def __init__(self, spec: _Spec):
        self.spec = spec

    def apply(self, x: Tensor, b: Tensor | None) -> Tensor:
        if self.spec.act == 1 and self.spec.gain == 1 and self.spec.clamp < 0:
            # Only a bias is added: the tangent of a plain sum is cheaper than the plugin's, which multiplies by one.
            return x if b is None else x + channelwise(b, self.spec.dim, x.ndim)
        return _BiasAct.apply(x, b, self.spec)


def _factory(module: ModuleType, dim: int = 1, act: str = 'linear', alpha: float | None = None,
             gain: float | None = None, clamp: float | None = None) -> _Op:
    """Has the signature of upstream's `_bias_act_cuda`."""
    func = module.activation_funcs[act]
    clamp = -1.0 if clamp is None else float(clamp)
    # Upstream does not save y if the activation is linear, so that its gradient ignores the clamp, e.g. that of ToRGB.
    # It is saved only where it is needed, because residual blocks change it in place.
    needs_y = 'y' in func.ref or (func.ref == '' and clamp >= 0)
    return _Op(_Spec(
        module=module, dim=dim, act=func.cuda_idx, alpha=float(func.def_alpha if alpha is None else alpha),
        gain=float(func.def_gain if gain is None else gain), clamp=clamp, needs_x='x' in func.ref, needs_y=needs_y,
        curved=func.has_2nd_grad))


def patch_bias_act(module: ModuleType) -> contextlib.AbstractContextManager[None]:
    """Replaces the factory `_bias_act_cuda` of the module `torch_utils.ops.bias_act`; reference ops stay as they are.

    Raises:
        ResefaError: if the module lacks the factory, its plugin or its table of activation functions.
    """
    require(module, '_plugin', 'activation_funcs')
    return replaced(module, '_bias_act_cuda', functools.partial(_factory, module))
