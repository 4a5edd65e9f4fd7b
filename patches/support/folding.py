"""What the patched ops share: folding a vmap axis into the batch, and calling plugins within their size limit."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from resefa_plugin.errors import ResefaError

MAX_NUMEL = 2 ** 31 - 1  # the plugins index with int32


def to_front(x: Tensor, dim: int | None, size: int) -> Tensor:
    """Moves the vmap axis `dim` to the front; a tensor without one is expanded. Returns `[K, ...]`."""
    return x.expand(size, *x.shape) if dim is None else x.movedim(dim, 0)


def fold(x: Tensor, dim: int | None, size: int) -> Tensor:
    """Folds the vmap axis `dim`, of size K, into the batch. Returns `[K * N, ...]`, N pictures of each K in turn."""
    return to_front(x, dim, size).flatten(0, 1)


def unfold(x: Tensor, size: int) -> Tensor:
    """The inverse of `fold`: `[K * N, ...]` -> `[K, N, ...]`."""
    return x.unflatten(0, (size, -1))


def channelwise(b: Tensor, dim: int, ndim: int) -> Tensor:
    """Reshapes a bias `[C]` (or `[K, C]`) to broadcast along axis `dim` of a tensor of rank `ndim`."""
    return b.reshape(*b.shape[:-1], *(-1 if i == dim else 1 for i in range(ndim)))


def call_in_chunks(call: Callable[..., Tensor], numel: int, dim: int, *tensors: Tensor | None) -> Tensor:
    """Calls an op that is independent along axis `dim` in as few pieces as its size limit allows.

    Args:
        call: takes pieces of `tensors` and returns a tensor.
        numel: elements of the largest tensor that the op touches.
        dim: the axis along which to split.
        tensors: equal in size along `dim`; None is passed through.
    """
    if numel <= MAX_NUMEL:
        return call(*tensors)
    size = next(t.shape[dim] for t in tensors if t is not None)
    step = max(MAX_NUMEL // (numel // size), 1)
    pieces = []
    for start in range(0, size, step):
        length = min(step, size - start)
        pieces.append(call(*(t if t is None else t.narrow(dim, start, length) for t in tensors)))
    return torch.cat(pieces, dim)


def within_reach(x: Tensor) -> Tensor:
    """x, or a copy of it if its elements lie further apart than the plugins index, as those of a part of a picture."""
    reach = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
    return x if reach <= MAX_NUMEL else x.contiguous()


def refuse_filter(tangent_or_dim: object, op: str) -> None:
    """Raises ResefaError unless the tangent, or the vmap axis, of a filter is None.

    Filters are constants of a network. The plugins have no derivative by a filter, and do not take a batch of filters.
    """
    if tangent_or_dim is not None:
        raise ResefaError(f'{op} is differentiated or batched with respect to its filter; expected a constant filter: '
                          'differentiate with respect to latents only')
