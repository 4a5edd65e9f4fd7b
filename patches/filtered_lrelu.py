"""`torch_utils.ops.filtered_lrelu`: forward-mode AD and vmap over the compiled plugin.

Known for stylegan3 8fb5177..c233a91 (stylegan2-ada-pytorch does not have this op).

The op is y = D clip(lrelu(gain * U (x + b))), with U and D resampling by FIR filters. It is piecewise linear, and the
plugin can record on which piece each pixel is, as two bits (bit 0: negative, bit 1: clamped), the signs. If it uses
recorded signs instead, it is the linear op D M U with a diagonal M, which is the derivative. The adjoint U^T M D^T is
the same kernel with the two filters exchanged.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from resefa_plugin.patches.support.attributes import replaced, require
from resefa_plugin.patches.support.folding import channelwise, fold, refuse_filter, unfold


@dataclass(frozen=True)
class _Spec:
    """The settings of one use of the op.

    Attributes:
        module: the module of upstream. Its `_plugin` is looked up when the op runs, because the first call builds it.
        up: factor of the upsampling.
        down: factor of the downsampling.
        pad: padding of the upsampled picture, (left, right, top, bottom).
        gain: factor before the leaky ReLU.
        slope: of the leaky ReLU, below zero.
        clamp: bound of the absolute value, infinite if it is unbounded.
        flip: whether filters are flipped, as upstream's `flip_filter`.
        offset: (x, y) of the first pixel in recorded signs.
    """

    module: ModuleType
    up: int
    down: int
    pad: tuple[int, int, int, int]
    gain: float
    slope: float
    clamp: float
    flip: bool
    offset: tuple[int, int] = (0, 0)

    def call(self, x: Tensor, fu: Tensor, fd: Tensor, b: Tensor | None, signs: Tensor | None) -> tuple[Tensor, Tensor]:
        """Calls the plugin on plain tensors; returns y and the signs, recorded if `signs` is None, else those."""
        plugin = self.module._plugin
        write = signs is None
        si = torch.empty([0]) if signs is None else signs.contiguous()
        if b is None:
            b = torch.zeros([x.shape[1]], dtype=x.dtype, device=x.device)
        status = -1
        if x.dtype in (torch.float16, torch.float32):
            y, so, status = plugin.filtered_lrelu(x, fu, fd, b, si, self.up, self.down, *self.pad, *self.offset,
                                                  self.gain, self.slope, self.clamp, self.flip, write)
        if status < 0:
            warnings.warn(
                f'filtered_lrelu has no CUDA kernel for up={self.up}, down={self.down}, {x.dtype} and filters of '
                f'{tuple(fu.shape)} and {tuple(fd.shape)}: using the slower composition', RuntimeWarning, stacklevel=2)
            resample = functools.partial(self.module.upfirdn2d.upfirdn2d, flip_filter=self.flip)
            y = resample(x=x + channelwise(b, 1, 4), f=fu, up=self.up, padding=list(self.pad), gain=self.up ** 2)
            so = plugin.filtered_lrelu_act_(y, si, *self.offset, self.gain, self.slope, self.clamp, write)  # In place.
            y = resample(x=y, f=fd, down=self.down)
        return y, so if write else si

    def adjoint(self, in_size: torch.Size, out_size: torch.Size, fu: Tensor, fd: Tensor) -> _Spec:
        """The settings with which the linear op maps gradients of the output `[..., oh, ow]` to those of the input."""
        pad: list[int] = []
        offset: list[int] = []
        for i, (tu, td) in enumerate(((fu.shape[-1], fd.shape[-1]), (fu.shape[0], fd.shape[0]))):  # Width, then height.
            before = tu + td - 2 - self.pad[2 * i]
            # Padding at the end that makes the adjoint's output exactly as long as the input.
            after = in_size[-1 - i] * self.up - self.up + tu + td - 1 - out_size[-1 - i] * self.down - before
            pad += [before, after]
            offset.append(self.offset[i] + self.pad[2 * i] - (tu - 1))
        # The kernel scales its upsampling by up^2, which here is the other factor.
        gain = self.gain * self.up ** 2 / self.down ** 2
        left, right, top, bottom = pad
        x, y = offset
        return _Spec(self.module, self.down, self.up, (left, right, top, bottom), gain, self.slope, float('inf'),
                     not self.flip, (x, y))


class _FilteredLReLU(torch.autograd.Function):
    """y `[N, C, oh, ow]` and its signs, of x `[N, C, h, w]`, constant filters, and b `[C]` or None without a bias."""

    @staticmethod
    def forward(x: Tensor, fu: Tensor, fd: Tensor, b: Tensor | None, spec: _Spec) -> tuple[Tensor, Tensor]:
        return spec.call(x, fu, fd, b, None)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
        x, fu, fd, _b, ctx.spec = inputs
        y, signs = output
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(signs)
        ctx.save_for_backward(fu, fd, signs)
        ctx.save_for_forward(fu, fd, signs)
        ctx.shape = x.shape

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor | None, fu_t: Tensor | None, fd_t: Tensor | None, b_t: Tensor | None,
            _spec: None) -> tuple[Tensor | None, None]:
        refuse_filter(fu_t, 'filtered_lrelu')
        refuse_filter(fd_t, 'filtered_lrelu')
        if b_t is not None:
            b_t = channelwise(b_t, 1, 4)
            x_t = b_t.expand(ctx.shape) if x_t is None else x_t + b_t
        return None if x_t is None else _Masked.apply(x_t, *ctx.saved_tensors, ctx.spec), None

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, _signs: None) -> tuple[Tensor | None, ...]:
        refuse_filter(ctx.needs_input_grad[1] or ctx.needs_input_grad[2] or None, 'filtered_lrelu')
        if dy is None:
            return None, None, None, None, None
        fu, fd, signs = ctx.saved_tensors
        dx = _Masked.apply(dy, fd, fu, signs, ctx.spec.adjoint(ctx.shape, dy.shape, fu, fd))
        return dx, None, None, dx.sum([0, 2, 3]) if ctx.needs_input_grad[3] else None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, fu: Tensor, fd: Tensor, b: Tensor | None,
             spec: _Spec) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        x_dim, fu_dim, fd_dim, b_dim, _ = in_dims
        refuse_filter(fu_dim, 'filtered_lrelu')
        refuse_filter(fd_dim, 'filtered_lrelu')
        x = fold(x, x_dim, info.batch_size)  # [K * N, C, h, w]
        if b is not None and b_dim is not None:
            b = channelwise(b.movedim(b_dim, 0), 1, 4)
            x, b = (unfold(x, info.batch_size) + b).flatten(0, 1), None
        y, signs = _FilteredLReLU.apply(x, fu, fd, b, spec)
        return (unfold(y, info.batch_size), unfold(signs, info.batch_size)), (0, 0)


class _Masked(torch.autograd.Function):
    """The linear op D M U of x, where signs determine M."""

    @staticmethod
    def forward(x: Tensor, fu: Tensor, fd: Tensor, signs: Tensor, spec: _Spec) -> Tensor:
        return spec.call(x, fu, fd, None, signs)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        x, fu, fd, signs, ctx.spec = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(fu, fd, signs)
        ctx.save_for_forward(fu, fd, signs)
        ctx.shape = x.shape

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor | None, _fu_t: None, _fd_t: None, _signs_t: None, _spec: None) -> Tensor | None:
        return None if x_t is None else _Masked.apply(x_t, *ctx.saved_tensors, ctx.spec)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> tuple[Tensor | None, ...]:
        if dy is None:
            return None, None, None, None, None
        fu, fd, signs = ctx.saved_tensors
        return _Masked.apply(dy, fd, fu, signs, ctx.spec.adjoint(ctx.shape, dy.shape, fu, fd)), None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor, fu: Tensor, fd: Tensor, signs: Tensor,
             spec: _Spec) -> tuple[Tensor, int]:
        # The plugin needs signs for each picture in x. Those of a primal without vmap axis are copied: 2 bits a pixel.
        x, signs = fold(x, in_dims[0], info.batch_size), fold(signs, in_dims[3], info.batch_size)
        return unfold(_Masked.apply(x, fu, fd, signs, spec), info.batch_size), 0


class _Op:
    """Stands for the autograd.Function that upstream's factory returns: `.apply(x, fu, fd, b, None, 0, 0)`."""

    def __init__(self, spec: _Spec):
        self.spec = spec

    def apply(self, x: Tensor, fu: Tensor | None, fd: Tensor | None, b: Tensor | None, si: None, sx: int,
              sy: int) -> Tensor:
        # Only upstream's gradient passes signs, and it is replaced, too.
        assert si is None and sx == 0 and sy == 0
        fu, fd = _full_if_trivial(fu, self.spec.up, x), _full_if_trivial(fd, self.spec.down, x)
        return _FilteredLReLU.apply(x, fu, fd, b, self.spec)[0]


def _full_if_trivial(f: Tensor | None, factor: int, x: Tensor) -> Tensor:
    """Turns None, and one tap without resampling, into a 1x1 filter, for which there is a faster kernel."""
    if f is None:
        return torch.ones([1, 1], dtype=torch.float32, device=x.device)
    return f.square()[None, :] if factor == 1 and f.shape == (1,) else f


def _factory(module: ModuleType, up: int = 1, down: int = 1, padding: int | Sequence[int] = 0,
             gain: float = 2 ** 0.5, slope: float = 0.2, clamp: float | None = None, flip_filter: bool = False) -> _Op:
    """Has the signature of upstream's `_filtered_lrelu_cuda`."""
    return _Op(_Spec(module, up, down, tuple(module._parse_padding(padding)), float(gain), float(slope),
                     float('inf' if clamp is None else clamp), bool(flip_filter)))


def patch_filtered_lrelu(module: ModuleType) -> contextlib.AbstractContextManager[None]:
    """Replaces the factory `_filtered_lrelu_cuda` of the module `torch_utils.ops.filtered_lrelu`.

    Signs are always recorded: inside a transform one cannot know whether a derivative will be needed.

    Raises:
        ResefaError: if the module lacks the factory, its plugin, its padding parser or its resampling op.
    """
    require(module, '_plugin', '_parse_padding', 'upfirdn2d')
    return replaced(module, '_filtered_lrelu_cuda', functools.partial(_factory, module))
