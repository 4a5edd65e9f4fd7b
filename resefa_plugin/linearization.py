"""A derivative at a point, written by hand in both directions: what transposed passes share, and how it is checked."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# In float32 the adjoint identity holds to about 2e-5 on networks of 1024 pixels; a missing derivative misses it wholly.
ADJOINT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Linearization:
    """The derivative J of a function at a point. Both directions may be called any number of times.

    Attributes:
        push: tangents of what goes in -> tangents `J v` of what comes out, `[K, ...]` each.
        pull: cotangents of what comes out -> cotangents `J^T u` of what goes in; None where only autograd has it.
        in_parts: whether both take many rows a few at a time by themselves, so that memory does not grow with K but
            for what goes in and comes out.
        value: what comes out at the point itself, `[1, ...]`, as a by-product; None where only the function has it.
    """

    push: Callable[..., Any]
    pull: Callable[..., Any] | None = None
    in_parts: bool = False
    value: Callable[[], Tensor] | None = None


@dataclass(frozen=True)
class LayerDerivative:
    """The derivative of one layer at a point, in both directions: tangents in `push`, cotangents in `pull`."""

    push: Callable[..., Any]
    pull: Callable[..., Any]


# What goes from one stage to the next: tensors `[K, ...]`, and None for what is not there.
State = tuple[Any, ...]


@dataclass(frozen=True)
class Stage:
    """The derivative of one part of a network, between those before and after it.

    Attributes:
        push: a State of tangents, and a tangent of each style that the stage takes -> State. May overwrite the first.
        pull: a State of cotangents, which it may overwrite -> State, and a list of the styles' cotangents.
        styles: how many styles it takes.
        row_bytes: of the largest tensor that one row takes in it.
        picture: what comes out at the point, `[1, ...]`, of the last stage; None where it is not computed.
    """

    push: Callable[..., State]
    pull: Callable[[State], tuple[State, list[Tensor]]]
    styles: int
    row_bytes: int
    picture: Tensor | None = None


class Chain:
    """The derivative of stages that follow each other, by tangents and cotangents of all their styles.

    Each stage takes as many rows at a time as keep its largest tensor within a limit, one at least. The first stages of
    a generator are fast with many rows and small, the last ones are large and as fast with one: so a chunk of tangents
    takes little more memory than one of them, in the same time.

    Args:
        stages: makes them: when they are needed first, since what they keep of the point takes memory.
        limit: bytes.
        width: how many tensors a State has. The last one becomes the picture.
    """

    def __init__(self, stages: Callable[[], Sequence[Stage]], limit: int, width: int = 1):
        self._make, self.limit = stages, limit
        self.nothing: State = (None,) * (width - 1)

    @functools.cached_property
    def stages(self) -> Sequence[Stage]:
        """The stages in their order."""
        return self._make()

    @functools.cached_property
    def rows(self) -> list[int]:
        """How many rows each stage takes at a time."""
        return [max(1, self.limit // stage.row_bytes) for stage in self.stages]

    def linearization(self) -> Linearization:
        """Between lists of tangents `[K, style_dims[i]]` and pictures `[K, C, h, w]`."""
        return Linearization(self._push, self._pull, in_parts=True)

    def _push(self, styles_t: Sequence[Tensor]) -> Tensor:
        return self._push_from(0, (*self.nothing, None), styles_t)[-1]

    def _pull(self, picture_g: Tensor) -> list[Tensor]:
        return list(self._pull_to(0, (*self.nothing, picture_g))[1])

    def _push_from(self, first: int, state: State, styles_t: Sequence[Tensor]) -> State:
        """What comes out in the end of what goes into a stage."""
        for index in range(first, len(self.stages)):
            stage, most, count = self.stages[index], self.rows[index], len(styles_t[0])
            if count > most:
                parts = zip(_split(state, most, count), _split(styles_t, most, count), strict=True)
                return _joined([self._push_from(index, *part) for part in parts])
            state, styles_t = stage.push(state, *styles_t[:stage.styles]), styles_t[stage.styles:]
        return state

    def _pull_to(self, first: int, state: State) -> tuple[State, State]:
        """Cotangents of what goes into a stage and of the styles from there on, of what comes out in the end."""
        if first == len(self.stages):
            return state, ()
        most, count = self.rows[first], len(state[-1])
        if count > most:
            states, styles = zip(*(self._pull_to(first, part) for part in _split(state, most, count)), strict=True)
            return _joined(states), _joined(styles)
        state, after = self._pull_to(first + 1, state)
        state, styles_g = self.stages[first].pull(state)
        return state, (*styles_g, *after)


def _split(tensors: Sequence[Tensor | None], rows: int, count: int) -> list[State]:
    """Of `count` rows, the first `rows`, the next ones, and so on."""
    nothing = [None] * -(-count // rows)
    return list(zip(*(nothing if tensor is None else tensor.split(rows) for tensor in tensors), strict=True))


def _joined(parts: Sequence[State]) -> State:
    return tuple(None if tensors[0] is None else torch.cat(tensors) for tensors in zip(*parts, strict=True))


def sum_over_pixels(g: Tensor, x: Tensor) -> Tensor:
    """What reaches a scale of channels: `[K, C]`, the sums over pixels of `g [K, C, h, w]` times `x [1, C, h, w]`."""
    return torch.stack([(one * x[0]).sum(dim=(1, 2)) for one in g])  # one at a time: products of all would be another g


def spread(g: Tensor, factor: int) -> Tensor:
    """The transpose of averaging over boxes of `factor` x `factor` pixels: each mean's cotangent in equal parts."""
    return g if factor == 1 else F.interpolate(g, scale_factor=factor, mode='nearest').mul_(1 / factor ** 2)


def adjoint_mismatch(v: Tensor, column: Tensor, pull: Callable[[Tensor], Tensor],
                     generator: torch.Generator) -> str | None:
    """Both sides of <u, J v> = <J^T u, v> in words, if they differ by more than ADJOINT_TOLERANCE; None if they agree.

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
