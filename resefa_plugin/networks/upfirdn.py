"""Resampling of pictures by FIR filters, in plain torch ops that have forward-mode and vmap rules."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from resefa_plugin.errors import CheckpointError

SEPARABLE_TAPS = 8  # from this length on, the official files store a one-dimensional filter


def setup_filter(taps: Sequence[float]) -> Tensor:
    """A filter of unit sum, stored as the official networks store theirs.

    Args:
        taps: the one-dimensional filter, e.g. `[1, 3, 3, 1]`.

    Returns: `[n, n]` float32, the outer product, or `[n]` for separable application if there are 8 taps or more.
    """
    f = torch.as_tensor(taps, dtype=torch.float32)
    if f.ndim != 1 or f.numel() == 0 or sum(taps) == 0:  # f.sum() has no value on the meta device
        raise CheckpointError(f'resample_filter {taps!r}: expected a list of numbers whose sum is not zero')
    f = f / f.sum()
    return f if f.numel() >= SEPARABLE_TAPS else torch.outer(f, f)


def upfirdn2d(x: Tensor, f: Tensor, up: int = 1, down: int = 1, padding: Sequence[int] = (0, 0, 0, 0),
              gain: float = 1.0) -> Tensor:
    """Inserts zeros, pads, convolves with a filter, and keeps every `down`-th pixel.

    Per axis `y[i] = gain * sum_k f[k] u[down * i + n - 1 - k]`, where `u` is `x` with `up - 1` zeros after each pixel
    and then padded. The zeros are not computed with: upsampling is a transposed convolution.

    Args:
        x: `[N, C, h, w]`.
        f: `[n, n]`, or `[n]` for the outer product with itself.
        up: pixels per input pixel and axis; 1 if `down` is more than 1.
        down: stride of the pixels that are kept; 1 if `up` is more than 1.
        padding: `(left, right, top, bottom)` in upsampled pixels; where it is negative, pixels are cropped.
        gain: factor of the result.

    Returns: `[N, C, (h * up + top + bottom - n) // down + 1, ...]`.
    """
    assert up == 1 or down == 1, 'resampling by a fraction is not needed by any network'
    f = f.to(x.dtype)
    if up == 1:
        kernel = (f if f.ndim == 2 else torch.outer(f, f)) * gain
        return _convolve(x, kernel, down, padding)
    if f.ndim == 2:
        return _upsample(x, f * gain, (up, up), padding)
    left, right, top, bottom = padding
    x = _upsample(x, f[None, :] * gain, (1, up), (left, right, 0, 0))
    return _upsample(x, f[:, None], (up, 1), (0, 0, top, bottom))


def upfirdn2d_transposed(g: Tensor, f: Tensor, size: Sequence[int], up: int = 1, down: int = 1,
                         padding: Sequence[int] = (0, 0, 0, 0), gain: float = 1.0) -> Tensor:
    """The transpose of `upfirdn2d`, which swaps `up` and `down` and mirrors the filter.

    Args:
        g: `[N, C, h', w']`, as `upfirdn2d` returns it.
        size: `(h, w)` of what `upfirdn2d` took.
        f, up, down, padding, gain: as `upfirdn2d` took them.

    Returns: `[N, C, h, w]`.
    """
    n = f.shape[-1]
    left, right, top, bottom = (
        edge for before, inner, outer in ((padding[0], size[1], g.shape[3]), (padding[2], size[0], g.shape[2]))
        for edge in (n - 1 - before, inner * up - outer * down + before - up + 1))
    return upfirdn2d(g, f.flip(*range(f.ndim)), down, up, (left, right, top, bottom), gain)


def _convolve(x: Tensor, kernel: Tensor, down: int, padding: Sequence[int]) -> Tensor:
    """A strided depthwise convolution with all n * n taps: on the CPU faster than two passes with n taps each."""
    left, right, top, bottom = padding
    inner = (max(min(top, bottom), 0), max(min(left, right), 0))
    x = _pad(x, (left - inner[1], right - inner[1], top - inner[0], bottom - inner[0]))
    return F.conv2d(x, _depthwise(kernel.flip(0, 1), x), stride=down, padding=inner, groups=x.shape[1])


def _upsample(x: Tensor, kernel: Tensor, up: tuple[int, int], padding: Sequence[int]) -> Tensor:
    """A transposed depthwise convolution, cropped to where the definition with inserted zeros starts and ends."""
    left, right, top, bottom = padding
    taps = kernel.shape
    before = (taps[0] - 1 - top, taps[1] - 1 - left)
    after = (taps[0] - up[0] - bottom, taps[1] - up[1] - right)
    inner = tuple(max(min(pair), 0) for pair in zip(before, after, strict=True))
    x = F.conv_transpose2d(x, _depthwise(kernel, x), stride=up, padding=inner, groups=x.shape[1])
    return _pad(x, (inner[1] - before[1], inner[1] - after[1], inner[0] - before[0], inner[0] - after[0]))


def _depthwise(kernel: Tensor, x: Tensor) -> Tensor:
    return kernel.expand(x.shape[1], 1, *kernel.shape)


def _pad(x: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
    """Pads with zeros, or crops where negative; a copy only if there is something to pad."""
    if any(p < 0 for p in padding):
        left, right, top, bottom = (max(-p, 0) for p in padding)
        x = x[..., top:x.shape[-2] - bottom, left:x.shape[-1] - right]
    if any(p > 0 for p in padding):
        x = F.pad(x, [max(p, 0) for p in padding])
    return x
