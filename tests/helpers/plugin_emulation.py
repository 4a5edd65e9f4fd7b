"""The contracts of the official CUDA plugins, in Python on the CPU, and stand-ins for the modules that call them.

Every check that the plugins make on their arguments is made here too, and so is one that they cannot make: that what
arrives is a plain tensor, not a wrapper of a torch.func transform whose data pointer would be meaningless.
"""

from __future__ import annotations

import types

import torch
import torch.nn.functional as F
from torch import Tensor

INT_MAX = 2 ** 31 - 1
SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717

# name: (index, default alpha, default gain, what the derivative is computed from, has a second derivative)
ACTIVATIONS = {
    'linear': (1, 0, 1, '', False),
    'relu': (2, 0, 2 ** 0.5, 'y', False),
    'lrelu': (3, 0.2, 2 ** 0.5, 'y', False),
    'tanh': (4, 0, 1, 'y', True),
    'sigmoid': (5, 0, 1, 'y', True),
    'elu': (6, 0, 1, 'y', True),
    'selu': (7, 0, 1, 'y', True),
    'softplus': (8, 0, 1, 'y', True),
    'swish': (9, 0, 2 ** 0.5, 'x', True),
}


def check(condition: bool, message: str) -> None:
    if not condition:
        raise RuntimeError(message)


def check_plain(*tensors: Tensor) -> None:
    for tensor in tensors:
        check(not torch._C._functorch.is_functorch_wrapped_tensor(tensor), 'the plugin got a wrapped tensor')
        check(torch.autograd.forward_ad.unpack_dual(tensor).tangent is None, 'the plugin got a dual tensor')


def same_layout(x: Tensor, y: Tensor) -> bool:
    return x.shape == y.shape and all(n < 2 or s == t for n, s, t in zip(x.shape, x.stride(), y.stride(), strict=True))


def is_dense(x: Tensor) -> bool:
    expected = 1
    for stride, size in sorted((s, n) for s, n in zip(x.stride(), x.shape, strict=True) if n > 1):
        if stride != expected:
            return False
        expected *= size
    return True


class Plugins:
    """All three plugins. `limit` stands for INT_MAX; `calls` records (name, shape of x)."""

    def __init__(self, limit: int = INT_MAX, kernels: bool = True):
        self.limit, self.kernels = limit, kernels
        self.calls: list[tuple[str, tuple[int, ...]]] = []

    def bias_act(self, x, b, xref, yref, dy, grad, dim, act, alpha, gain, clamp):
        self.calls.append((f'bias_act{grad}', tuple(x.shape)))
        check_plain(x, b, xref, yref, dy)
        check(b.numel() == 0 or b.dtype == x.dtype, 'b must have the same dtype and device as x')
        check(b.ndim == 1 and b.is_contiguous(), 'b must be a contiguous vector')
        check(b.numel() == 0 or 0 <= dim < x.ndim, 'dim is out of bounds')
        check(b.numel() == 0 or b.numel() == x.shape[dim], 'b has wrong number of elements')
        check(x.numel() <= self.limit, 'x is too large')
        check(is_dense(x), 'x must be non-overlapping and dense')
        for name, ref in (('xref', xref), ('yref', yref), ('dy', dy)):
            check(ref.numel() == 0 or ref.dtype == x.dtype, f'{name} must have the same dtype as x')
            check(ref.numel() == 0 or same_layout(ref, x), f'{name} must have the same layout as x')
        check(isinstance(grad, int) and isinstance(act, int), 'grad and act are integers')

        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        t, bias, xr, yr = (v.to(wide) for v in (x, b, xref, yref))
        zero = torch.zeros([], dtype=wide)
        bias = bias.reshape([-1 if i == dim else 1 for i in range(x.ndim)]) if b.numel() else zero
        xr = (xr if xref.numel() else zero) + bias
        yr = yr if yref.numel() else zero
        if grad == 0:
            y = self._act(t + bias, act, alpha) * gain
            y = y.clamp(-clamp, clamp) if clamp >= 0 else y
        else:
            yy = yr / gain if gain != 0 else torch.zeros_like(yr)
            y = t * self._slope(xr, yy, act, alpha, grad) * gain * (dy.to(wide) if dy.numel() else 1)
            if act == 9:
                yr = xr * torch.sigmoid(xr) * gain
            y = torch.where((yr > -clamp) & (yr < clamp), y, 0.0) if clamp >= 0 else y
        out = torch.empty_like(x)
        out.copy_(y)
        return out

    @staticmethod
    def _act(x, act, alpha):
        return {
            1: lambda: x, 2: lambda: x.clamp(min=0), 3: lambda: torch.where(x > 0, x, x * alpha),
            4: lambda: torch.tanh(x),
            5: lambda: torch.sigmoid(x), 6: lambda: torch.where(x >= 0, x, torch.expm1(x)),
            7: lambda: SELU_SCALE * torch.where(x >= 0, x, SELU_ALPHA * torch.expm1(x)),
            8: lambda: F.softplus(x, threshold=80), 9: lambda: x * torch.sigmoid(x),
        }[act]()

    @staticmethod
    def _slope(x, y, act, alpha, grad):
        one, zero = torch.ones_like(y), torch.zeros_like(y)
        sigmoid = torch.sigmoid(x)
        first = {
            1: lambda: one, 2: lambda: torch.where(y > 0, one, zero), 3: lambda: torch.where(y > 0, one, one * alpha),
            4: lambda: 1 - y * y, 5: lambda: y * (1 - y), 6: lambda: torch.where(y >= 0, one, y + 1),
            7: lambda: torch.where(y >= 0, one * SELU_SCALE, y + SELU_SCALE * SELU_ALPHA), 8: lambda: 1 - torch.exp(-y),
            9: lambda: sigmoid * (1 + x * (1 - sigmoid)),
        }
        second = {
            4: lambda: -2 * y * (1 - y * y), 5: lambda: y * (1 - y) * (1 - 2 * y),
            6: lambda: torch.where(y >= 0, zero, y + 1),
            7: lambda: torch.where(y >= 0, zero, y + SELU_SCALE * SELU_ALPHA),
            8: lambda: torch.exp(-y) * (1 - torch.exp(-y)),
            9: lambda: sigmoid * (1 - sigmoid) * (2 + x * (1 - 2 * sigmoid)),
        }
        return (first if grad == 1 else second).get(act, lambda: zero)()

    def upfirdn2d(self, x, f, upx, upy, downx, downy, padx0, padx1, pady0, pady1, flip, gain):
        self.calls.append(('upfirdn2d', tuple(x.shape)))
        check_plain(x, f)
        check(f.dtype == torch.float32 and f.ndim == 2, 'f must be float32 of rank 2')
        check(x.ndim == 4, 'x must be rank 4')
        check(x.numel() <= self.limit, 'x is too large')
        reach = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
        check(reach <= self.limit, 'x memory footprint is too large')
        y = resample(x, f, (upx, upy), (downx, downy), (padx0, padx1, pady0, pady1), flip, gain)
        check(y.numel() <= self.limit, 'output is too large')
        return y

    def filtered_lrelu(self, x, fu, fd, b, si, up, down, px0, px1, py0, py1, sx, sy, gain, slope, clamp, flip,
                       write_signs):
        self.calls.append(('filtered_lrelu', tuple(x.shape)))
        check_plain(x, fu, fd, b, si)
        check(fu.dtype == fd.dtype == torch.float32, 'fu and fd must be float32')
        check(x.dtype in (torch.float16, torch.float32), 'x must be float16 or float32')
        check(b.dtype == x.dtype, 'x and b must have the same dtype')
        check(x.ndim == 4 and x.numel() > 0 and b.shape == (x.shape[1],), 'b must have one element per channel of x')
        check(all(isinstance(v, int) for v in (up, down, px0, px1, py0, py1, sx, sy)), 'integers expected')
        if not self.kernels:
            return None, None, -1
        u = resample((x + b[:, None, None]).float(), fu, (up, up), (1, 1), (px0, px1, py0, py1), flip, up ** 2)
        size = [(u.shape[i] - taps) // down * down + taps for i, taps in ((2, fd.shape[0]), (3, fd.shape[-1]))]
        so = self._activate(u, si, sx, sy, gain, slope, clamp, write_signs, size)
        return resample(u, fd, (1, 1), (down, down), (0, 0, 0, 0), flip, 1).to(x.dtype), so, 0

    def filtered_lrelu_act_(self, x, si, sx, sy, gain, slope, clamp, write_signs):
        self.calls.append(('filtered_lrelu_act_', tuple(x.shape)))
        check_plain(x, si)
        check(x.ndim == 4 and x.numel() > 0, 'x must be rank 4')
        return self._activate(x, si, sx, sy, gain, slope, clamp, write_signs, x.shape[2:])

    @staticmethod
    def _activate(x, si, sx, sy, gain, slope, clamp, write_signs, size):
        """Modifies x in place. Signs cover `size` = (height, width), four to a byte, rows padded to 16."""
        check(not (write_signs and si.numel()), 'signs are read or written, not both')
        x *= gain
        h, w = size
        if si.numel():
            check(si.dtype == torch.uint8 and si.ndim == 4, 'signs must be uint8 of rank 4')
            check(si.is_contiguous(), 'signs must be contiguous')
            check(si.shape[:2] == x.shape[:2], 'signs must have same batch & channels as x')
            bits = torch.stack([si >> s & 3 for s in (0, 2, 4, 6)], -1).flatten(-2)
            rows, columns = (torch.arange(n, device=x.device) + s for n, s in zip(x.shape[2:], (sy, sx), strict=True))
            inside = ((rows >= 0) & (rows < bits.shape[2]))[:, None] & ((columns >= 0) & (columns < bits.shape[3]))
            bits = bits[:, :, rows.clamp(0, bits.shape[2] - 1)][..., columns.clamp(0, bits.shape[3] - 1)] * inside
            x.copy_(torch.where(bits & 1 > 0, x * slope, x))
            x.masked_fill_(bits & 2 > 0, 0)
            return None
        negative = x < 0
        x.copy_(torch.where(negative, x * slope, x))
        clamped = x.abs() > clamp
        x.clamp_(-clamp, clamp)
        if not write_signs:
            return None
        bits = torch.where(clamped, 2, negative.to(torch.uint8)).to(torch.uint8)[:, :, :h, :w]
        bits = F.pad(bits, [0, -w % 16]).unflatten(-1, (-1, 4))
        return bits[..., 0] | bits[..., 1] << 2 | bits[..., 2] << 4 | bits[..., 3] << 6


def resample(x, f, up, down, pad, flip, gain):
    """Zero insertion, padding, FIR filter of rank 1 (separable) or 2, decimation: plain torch, differentiable in x."""
    n, c, h, w = x.shape
    check(up[0] >= 1 and up[1] >= 1 and down[0] >= 1 and down[1] >= 1, 'factors must be at least 1')
    u = x.new_zeros([n, c, h, up[1], w, up[0]])
    u = torch.cat([x[:, :, :, None, :, None], u[:, :, :, :1, :, 1:]], 5) if up[0] > 1 else x[:, :, :, None, :, None]
    u = torch.cat([u, u.new_zeros([n, c, h, up[1] - 1, w, up[0]])], 3) if up[1] > 1 else u
    u = F.pad(u.reshape(n, c, h * up[1], w * up[0]), pad)
    f = f.to(x.dtype)
    kernel = (f.outer(f) if f.ndim == 1 else f) * gain
    kernel = kernel if flip else kernel.flip([0, 1])
    check(u.shape[2] >= kernel.shape[0] and u.shape[3] >= kernel.shape[1], 'output must be at least 1x1')
    y = F.conv2d(u.flatten(0, 1)[:, None], kernel[None, None]).reshape(n, c, u.shape[2] - kernel.shape[0] + 1, -1)
    return y[:, :, ::down[1], ::down[0]]


def quadruple(padding):
    padding = [padding] * 2 if isinstance(padding, int) else list(padding)
    return tuple(padding if len(padding) == 4 else [padding[0], padding[0], padding[1], padding[1]])


def stand_in(name: str, plugin: Plugins, **attributes) -> types.ModuleType:
    """A module with the attribute layout of an official op module."""
    module = types.ModuleType(f'torch_utils.ops.{name}')
    module._plugin = plugin
    for key, value in attributes.items():
        setattr(module, key, value)
    return module


def bias_act_module(plugin: Plugins) -> types.ModuleType:
    table = {name: types.SimpleNamespace(cuda_idx=index, def_alpha=alpha, def_gain=gain, ref=ref, has_2nd_grad=curved)
             for name, (index, alpha, gain, ref, curved) in ACTIVATIONS.items()}
    return stand_in('bias_act', plugin, activation_funcs=table, _bias_act_cuda=lambda: None)


def upfirdn2d_module(plugin: Plugins) -> types.ModuleType:
    module = stand_in('upfirdn2d', plugin, _parse_scaling=lambda s: (s, s) if isinstance(s, int) else tuple(s),
                      _parse_padding=quadruple, _upfirdn2d_cuda=lambda: None)

    def upfirdn2d(x, f, up=1, down=1, padding=0, flip_filter=False, gain=1):
        return module._upfirdn2d_cuda(up=up, down=down, padding=padding, flip_filter=flip_filter, gain=gain).apply(x, f)
    module.upfirdn2d = upfirdn2d
    return module


def filtered_lrelu_module(plugin: Plugins, upfirdn2d: types.ModuleType) -> types.ModuleType:
    return stand_in('filtered_lrelu', plugin, _parse_padding=quadruple, upfirdn2d=upfirdn2d,
                    _filtered_lrelu_cuda=lambda: None)
