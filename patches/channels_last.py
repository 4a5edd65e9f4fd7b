"""Channels-last weights: contiguous ones while vmap is at work.

Known for stylegan2-ada-pytorch 375a436..d72cc7d and both StyleGAN2 and StyleGAN3 networks of stylegan3
8fb5177..c233a91. Blocks built with `fp16_channels_last` convert activations to a memory format that vmap refuses, and
1x1 convolutions with channels-last weights take a path that does the same, even under `force_fp32`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from resefa_plugin.patches.support.attributes import replaced


@contextlib.contextmanager
def patch_channels_last(G: torch.nn.Module) -> Iterator[None]:
    """Makes parameters and buffers of G with four axes contiguous and clears `channels_last` of its blocks.

    On exit they have their own storages and flags again.
    """
    with contextlib.ExitStack() as stack:
        for module in G.modules():
            if getattr(module, 'channels_last', False) is True:
                stack.enter_context(replaced(module, 'channels_last', False))
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                if tensor.ndim == 4 and not tensor.is_contiguous():
                    stack.enter_context(replaced(tensor, 'data', tensor.detach().contiguous()))
        yield
