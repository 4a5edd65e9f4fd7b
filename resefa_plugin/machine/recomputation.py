"""Backward passes that compute parts of a network again, in place of keeping all that they need of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

_recomputing = False


@contextlib.contextmanager
def recomputing() -> Iterator[None]:
    """What is computed inside is forgotten but for what goes from one `recomputable` part to the next.

    A backward pass through it, inside or later, takes one more forward pass, and the memory of the largest part in
    place of the whole network's.
    """
    global _recomputing
    before, _recomputing = _recomputing, True
    try:
        yield
    finally:
        _recomputing = before


def recomputable(part: Callable[..., Tensor], *args: object) -> Tensor:
    """`part(*args)`, for a part of a network that may run a second time: deterministic and without side effects."""
    if _recomputing and torch.is_grad_enabled():
        return checkpoint(part, *args, use_reentrant=False, preserve_rng_state=False)
    return part(*args)
