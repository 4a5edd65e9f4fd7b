"""A derivative at a point, written by hand in both directions, and what the transposed passes share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Linearization:
    """The derivative J of a function at a point. Both directions may be called any number of times.

    Attributes:
        push: tangents of what goes in -> tangents `J v` of what comes out, `[K, ...]` each.
        pull: cotangents of what comes out -> cotangents `J^T u` of what goes in; None where only autograd has it.
    """

    push: Callable[..., Any]
    pull: Callable[..., Any] | None = None


def sum_over_pixels(g: Tensor, x: Tensor) -> Tensor:
    """What reaches a scale of channels: `[K, C]`, the sums over pixels of `g [K, C, h, w]` times `x [1, C, h, w]`."""
    return torch.stack([(one * x[0]).sum(dim=(1, 2)) for one in g])  # one at a time: products of all would be another g


def spread(g: Tensor, factor: int) -> Tensor:
    """The transpose of averaging over boxes of `factor` x `factor` pixels: each mean's cotangent in equal parts."""
    return g if factor == 1 else F.interpolate(g, scale_factor=factor, mode='nearest').mul_(1 / factor ** 2)
