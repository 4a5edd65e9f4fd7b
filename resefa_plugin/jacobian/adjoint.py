"""The adjoint identity <u, J v> = <J^T u, v>, which tells whether two directions of a derivative belong together."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# In float32 the adjoint identity holds to about 2e-5 on networks of 1024 pixels; a missing derivative misses it wholly.
ADJOINT_TOLERANCE = 1e-3


def adjoint_mismatch(v: Tensor, column: Tensor, pull: Callable[[Tensor], Tensor],
                     generator: torch.Generator) -> str | None:
    """Both sides of the identity, in words, where they differ by more than `ADJOINT_TOLERANCE`; None where they agree.

    Args:
        v: `[d]`. column: J v `[C, h, w]`. pull: pictures `[1, C, h, w]` -> J^T u `[1, d]`.
        generator: where u is drawn from. It is drawn near J v, which keeps both sides away from zero, where rounding
            would decide.
    """
    u = torch.randn(column.shape, generator=generator).to(column)
    u = u / u.norm() * (column.norm() if column.any() else 1) + column
    left = (u.cpu().double() * column.cpu().double()).sum().item()
    right = (pull(u[None])[0].cpu().double() * v.cpu().double()).sum().item()
    if abs(left - right) <= ADJOINT_TOLERANCE * max(abs(left), abs(right)):
        return None
    return f'<u, J v> = {left:.6g} but <J^T u, v> = {right:.6g}'
