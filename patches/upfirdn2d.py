"""`torch_utils.ops.upfirdn2d`: forward-mode AD and vmap over the compiled plugin.

Known for stylegan2-ada-pytorch 375a436..d72cc7d and stylegan3 8fb5177..c233a91.

Zero-insertion, padding, filtering and decimation are linear in x: the tangent is the same call on the tangent, and the
gradient is the call with up and down exchanged, the filter flipped and the padding of the adjoint.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from resefa_plugin.patches.support.attributes import replaced, require
from resefa_plugin.patches.support.folding import call_in_chunks, fold, refuse_filter, unfold, within_reach


@dataclass(frozen=True)
class _Spec:
    """The settings of one use of the op.

    Attributes:
        module: the module of upstream. Its `_plugin` is looked up when the op runs, because the first call builds it.
        up: factors of the upsampling, (x, y).
        down: factors of the downsampling, (x, y).
        pad: padding of the upsampled picture, (left, right, top, bottom).
        flip: whether the filter is flipped, as upstream's `flip_filter`.
        gain: factor of the result.
    """

    module: ModuleType
    up: tuple[int, int]
    down: tuple[int, int]
    pad: tuple[int, int, int, int]
    flip: bool
    gain: float

    def out_size(self, size: torch.Size, taps: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of the output for an input `[..., h, w]` and a filter of `taps` (width, height)."""
        width, height = ((size[-1 - i] * self.up[i] + sum(self.pad[2 * i:2 * i + 2]) - taps[i]) // self.down[i] + 1
                         for i in range(2))
        return width, height

    def call(self, x: Tensor, f: Tensor) -> Tensor:
        """Calls the plugin on plain tensors: once if the filter has two axes, once for each axis if it is separable."""
        w, h = self.out_size(x.shape, (f.shape[-1], f.shape[0]))
        planes = x.shape[0] * x.shape[1]
        numel = max(x.numel(), planes * w * h, planes * w * x.shape[2] if f.ndim == 1 else 0)
        return call_in_chunks(functools.partial(self._call, f=f), numel, 0, x)

    def _call(self, x: Tensor, f: Tensor) -> Tensor:
        op = self.module._plugin.upfirdn2d
        (ux, uy), (dx, dy), (x0, x1, y0, y1) = self.up, self.down, self.pad
        x = within_reach(x)
        if f.ndim == 2:
            return op(x, f, ux, uy, dx, dy, x0, x1, y0, y1, self.flip, self.gain)
        x = op(x, f[None, :], ux, 1, dx, 1, x0, x1, 0, 0, self.flip, 1.0)
        return op(x, f[:, None], 1, uy, 1, dy, 0, 0, y0, y1, self.flip, self.gain)

    def adjoint(self, in_size: torch.Size, out_size: torch.Size, taps: tuple[int, int]) -> _Spec:
        """The settings that map gradients of the output `[..., oh, ow]` to gradients of the input `[..., ih, iw]`."""
        pad: list[int] = []
        for i in range(2):
            before = taps[i] - 1 - self.pad[2 * i]
            # Padding at the end that makes the adjoint's output exactly as long as the input.
            after = in_size[-1 - i] * self.up[i] - self.up[i] + taps[i] - out_size[-1 - i] * self.down[i] - before
            pad += [before, after]
        left, right, top, bottom = pad
        return _Spec(self.module, self.down, self.up, (left, right, top, bottom), not self.flip, self.gain)


class _Upfirdn2d(torch.autograd.Function):
    """y `[N, C, oh, ow]` of x `[N, C, h, w]` and a constant filter f `[fh, fw]` or `[taps]` (separable)."""

    @staticmethod
    def forward(x: Tensor, f: Tensor, spec: _Spec) -> Tensor:
        return spec.call(x, f)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, f, ctx.spec = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(f)
        ctx.save_for_forward(f)
        ctx.in_size, ctx.out_size = x.shape, output.shape

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor | None, f_t: Tensor | None, _spec: None) -> Tensor | None:
        refuse_filter(f_t, 'upfirdn2d')
        return None if x_t is None else _Upfirdn2d.apply(x_t, *ctx.saved_tensors, ctx.spec)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:
        refuse_filter(ctx.needs_input_grad[1] or None, 'upfirdn2d')
        if dy is None:
            return None, None, None
        f, = ctx.saved_tensors
        adjoint = ctx.spec.adjoint(ctx.in_size, ctx.out_size, (f.shape[-1], f.shape[0]))
        return _Upfirdn2d.apply(dy, f, adjoint), None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, f: Tensor, spec: _Spec) -> tuple[Tensor, int]:
        refuse_filter(in_dims[1], 'upfirdn2d')
        return unfold(_Upfirdn2d.apply(fold(x, in_dims[0], info.batch_size), f, spec), info.batch_size), 0


class _Op:
    """Stands for the autograd.Function that upstream's factory returns: it is called as `.apply(x, f)`."""

    def __init__(self, spec: _Spec):
        self.spec = spec

    def apply(self, x: Tensor, f: Tensor | None) -> Tensor:
        if f is None:
            f = torch.ones([1, 1], dtype=torch.float32, device=x.device)
        elif f.shape == (1,):
            f = f.square()[None, :]  # so that the plugin is called once, not once for each axis
        return _Upfirdn2d.apply(x, f, self.spec)


def _factory(module: ModuleType, up: int | Sequence[int] = 1, down: int | Sequence[int] = 1,
             padding: int | Sequence[int] = 0, flip_filter: bool = False, gain: float = 1) -> _Op:
    """Has the signature of upstream's `_upfirdn2d_cuda`: `up`, `down` int or pair, `padding` int, pair or quadruple."""
    return _Op(_Spec(module, tuple(module._parse_scaling(up)), tuple(module._parse_scaling(down)),
                     tuple(module._parse_padding(padding)), bool(flip_filter), float(gain)))


def patch_upfirdn2d(module: ModuleType) -> contextlib.AbstractContextManager[None]:
    """Replaces the factory `_upfirdn2d_cuda` of the module `torch_utils.ops.upfirdn2d`; reference ops stay as they are.

    Raises:
        ResefaError: if the module lacks the factory, its plugin or its argument parsers.
    """
    require(module, '_plugin', '_parse_scaling', '_parse_padding')
    return replaced(module, '_upfirdn2d_cuda', functools.partial(_factory, module))
