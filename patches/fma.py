"""`torch_utils.ops.fma`: a * b + c that every transform understands.

Known for stylegan2-ada-pytorch 375a436..d72cc7d and stylegan3 8fb5177..c233a91. Upstream's autograd.Function has no
`setup_context` and no `jvp`, so each torch.func transform of a network that is not in fused mode raises.
"""

from __future__ import annotations

import contextlib
from types import ModuleType

import torch
from torch import Tensor

from resefa_plugin.patches.support.attributes import replaced


def fma(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """a * b + c, broadcast."""
    return torch.addcmul(c, a, b)


def patch_fma(module: ModuleType) -> contextlib.AbstractContextManager[None]:
    """Replaces `fma` of the module `torch_utils.ops.fma`.

    Raises:
        ResefaError: if the module has no `fma`.
    """
    return replaced(module, 'fma', fma)
