"""`modulated_conv2d` of the network modules: scale activations, not weights.

Known for `training.networks` of stylegan2-ada-pytorch 375a436..d72cc7d, and for `training.networks_stylegan2` and
`training.networks_stylegan3` of stylegan3 8fb5177..c233a91.

Upstream modulates the weights of each sample. K tangents of a style are then K tangents of the whole weight tensor,
`K * O * I * k^2` numbers per layer, and a convolution for each. Scaling the activations before and after the
convolution is the same function (StyleGAN2, section 2.2, and its appendix B),

    y_o = d_o sum_i W_oi * (s_i x_i),     d_o = (sum_i s_i^2 sum_k W_oik^2 + eps)^(-1/2)     (equations 1-3),

and keeps the weights out of the tangent: the K tangents share one convolution, and d costs a matrix product.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable
from types import ModuleType

import torch
from torch import Tensor

from resefa_plugin.errors import ResefaError
from resefa_plugin.patches.support.attributes import KNOWN_COMMITS, replaced, require

EPS = 1e-8


def demodulation(weight: Tensor, styles: Tensor) -> Tensor:
    """d `[N, O]` of weights `[O, I, k, k]` and styles `[N, I]`: StyleGAN2, equation 3."""
    return (styles.square() @ weight.square().sum([2, 3]).t() + EPS).rsqrt()


def _scale(x: Tensor, factors: Tensor) -> Tensor:
    """x `[N, C, h, w]` times factors `[N, C]`."""
    return x * factors.to(x.dtype)[:, :, None, None]


def modulated_conv2d_sg2(module: ModuleType, x: Tensor, weight: Tensor, styles: Tensor, noise: Tensor | None = None,
                         up: int = 1, down: int = 1, padding: int | list[int] = 0,
                         resample_filter: Tensor | None = None, demodulate: bool = True, flip_weight: bool = True,
                         fused_modconv: bool = True) -> Tensor:
    """Has the signature of StyleGAN2's `modulated_conv2d`. It has no fused mode: `fused_modconv` changes nothing.

    Args:
        module: the network module, for its `conv2d_resample`.
        x: `[N, I, h, w]`.
        weight: `[O, I, k, k]`.
        styles: `[N, I]`.
        noise: broadcasts to the output.

    Returns: `[N, O, h', w']`.
    """
    del fused_modconv
    if x.dtype == torch.float16 and demodulate:
        # Demodulation undoes any scale of weights and styles. These scales keep float16 in range.
        weight = weight / (weight.detach().abs().amax([1, 2, 3], keepdim=True) * weight[0].numel() ** 0.5)
        styles = styles / styles.detach().abs().amax(1, keepdim=True)
    y = module.conv2d_resample.conv2d_resample(
        x=_scale(x, styles), w=weight.to(x.dtype), f=resample_filter, up=up, down=down, padding=padding,
        flip_weight=flip_weight)
    if demodulate:
        y = _scale(y, demodulation(weight, styles))
    return y if noise is None else y + noise.to(x.dtype)


def modulated_conv2d_sg3(module: ModuleType, x: Tensor, w: Tensor, s: Tensor, demodulate: bool = True,
                         padding: int | list[int] = 0, input_gain: Tensor | None = None) -> Tensor:
    """Has the signature of StyleGAN3's `modulated_conv2d`.

    Args:
        module: the network module, for its `conv2d_gradfix`.
        x: `[N, I, h, w]`.
        w: `[O, I, k, k]`.
        s: `[N, I]`.
        input_gain: further scale of the input, broadcasts to `[N, I]`; the demodulation does not undo it.

    Returns: `[N, O, h', w']`.
    """
    if demodulate:
        w = w * w.square().mean([1, 2, 3], keepdim=True).rsqrt()
        s = s * s.square().mean().rsqrt()
    y = module.conv2d_gradfix.conv2d(
        input=_scale(x, s if input_gain is None else s * input_gain), weight=w.to(x.dtype), padding=padding)
    return _scale(y, demodulation(w, s)) if demodulate else y


REPLACEMENTS = (modulated_conv2d_sg2, modulated_conv2d_sg3)


def _parameters(function: Callable[..., Tensor]) -> list[str]:
    if inspect.isfunction(function):
        # Upstream's profiling decorator takes any arguments; the function that it wraps is in its closure.
        function = inspect.getclosurevars(function).nonlocals.get('fn', function)
    return list(inspect.signature(function).parameters)


def patch_modulated_conv2d(module: ModuleType) -> contextlib.AbstractContextManager[None]:
    """Replaces `modulated_conv2d` of a network module.

    Raises:
        ResefaError: if the module lacks `modulated_conv2d`, or its parameters are neither StyleGAN2's nor StyleGAN3's.
    """
    require(module, 'modulated_conv2d')
    found = _parameters(module.modulated_conv2d)
    for replacement in REPLACEMENTS:
        if found == _parameters(replacement)[1:]:
            return replaced(module, 'modulated_conv2d', functools.partial(replacement, module))
    raise ResefaError(f'modulated_conv2d of {module.__name__} has the parameters {", ".join(found)}, which are neither '
                      f"StyleGAN2's nor StyleGAN3's, so it cannot be patched: patches are known for {KNOWN_COMMITS}")
