"""StyleGAN3's `SynthesisInput`: Fourier features without writing in place.

Known for stylegan3 8fb5177..c233a91. Upstream assembles its transforms by writing slices of an un-batched matrix:
`vmap` over batched latents raises, and `torch.func.linearize` is silently wrong.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor

from resefa_plugin.patches.support.attributes import replaced

ATTRIBUTES = ('transform', 'freqs', 'phases', 'affine', 'weight', 'size', 'sampling_rate', 'bandwidth', 'channels')


def fourier_features(layer: Any, w: Tensor) -> Tensor:
    """The input of StyleGAN3 (Karras et al. 2021, section 3.1 and appendix F).

    Channel c is a_c sin(2 pi (f_c . M x + phi_c)) at the position x; a trained matrix mixes the channels. M is the
    user's transform, followed by the rotation and translation that an affine layer makes of w; a_c fades out
    frequencies that M moves beyond the band limit.

    Args:
        layer: a `SynthesisInput`.
        w: `[N, w_dim]` float32.

    Returns: `[N, channels, height, width]`.
    """
    rc, rs, tx, ty = layer.affine(w).unbind(1)
    norm = (rc.square() + rs.square()).sqrt()
    rc, rs, tx, ty = (v / norm for v in (rc, rs, tx, ty))
    rotation = torch.stack([torch.stack([rc, -rs], 1), torch.stack([rs, rc], 1)], 1)  # [N, 2, 2]
    shift = rotation @ torch.stack([-tx, -ty], 1).unsqueeze(2)
    moved = torch.cat([rotation, shift], 2) @ layer.transform  # [N, 2, 3]

    freqs = layer.freqs @ moved[:, :, :2]  # [N, C, 2]
    phases = layer.phases + (layer.freqs @ moved[:, :, 2:]).squeeze(2)
    excess = (freqs.square().sum(2).sqrt() - layer.bandwidth) / (layer.sampling_rate / 2 - layer.bandwidth)
    amplitudes = (1 - excess).clamp(0, 1)

    # Pixel centres, in units of the inverse sampling rate of the unit square.
    width, height = (int(s) for s in layer.size)
    x, y = ((torch.arange(n, device=w.device, dtype=w.dtype) + 0.5 - n / 2) / float(layer.sampling_rate)
            for n in (width, height))
    turns = freqs[:, :, 1, None, None] * y[:, None] + freqs[:, :, 0, None, None] * x + phases[:, :, None, None]
    features = amplitudes[:, :, None, None] * torch.sin(turns * (2 * torch.pi))
    return torch.einsum('oc,nchw->nohw', layer.weight / layer.channels ** 0.5, features)


def is_input_layer(module: torch.nn.Module) -> bool:
    """Whether a module looks like StyleGAN3's `SynthesisInput`."""
    return all(hasattr(module, name) for name in ATTRIBUTES)


def patch_input_layer(layer_class: type) -> contextlib.AbstractContextManager[None]:
    """Replaces `forward` of the class `SynthesisInput`, on whichever of its base classes defines it.

    Raises:
        ResefaError: if the class has no `forward`.
    """
    owner = next((cls for cls in layer_class.__mro__ if 'forward' in vars(cls)), layer_class)
    return replaced(owner, 'forward', fourier_features)
