"""Chains of stages: few rows at a time give what all rows give, forwards and backwards."""

from __future__ import annotations

import pytest
import torch

from resefa_plugin.linearization import Chain, Stage
from resefa_plugin.machine.recomputation import recomputable, recomputing

SIZES, STYLES = (6, 12, 24), (3, 2, 4)  # numbers between the stages, and styles that each takes
generator = torch.Generator().manual_seed(0)
MAPS = [torch.randn(a, b, generator=generator, dtype=torch.float64) for a, b in zip((0, *SIZES), SIZES, strict=False)]
FEEDS = [torch.randn(n, size, generator=generator, dtype=torch.float64) for n, size in zip(STYLES, SIZES, strict=True)]


def linear_stage(matrix, feed, seen):
    """y = x M + s F, which overwrites what it is given, as stages may."""
    def push(state, style_t):
        seen.append(len(style_t))
        y = style_t @ feed
        return (y if state[0] is None else state[0] @ matrix + y,)

    def pull(state):
        g = state[0].clone()
        state[0].zero_()
        return (g @ matrix.T if len(matrix) else None,), [g @ feed.T]

    return Stage(push, pull, 1, 8 * feed.shape[1])


def chain(limit, seen):
    return Chain(lambda: [linear_stage(M, F, seen) for M, F in zip(MAPS, FEEDS, strict=True)], limit).linearization()


@pytest.mark.parametrize('limit, rows', [(10 ** 6, [5, 5, 5]), (8 * 48, [5, 4, 2, 2, 1, 1]), (1, [1, 1, 1] * 5)])
def test_rows_at_a_time(limit, rows):
    """Each stage takes what its limit allows of what comes from the one before, to the end, before the rest."""
    styles_t = [torch.randn(5, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64) for n in STYLES]
    seen = []
    pushed = chain(limit, seen).push(styles_t)
    assert seen == rows
    expected = styles_t[0] @ FEEDS[0]
    for matrix, feed, style_t in zip(MAPS[1:], FEEDS[1:], styles_t[1:], strict=True):
        expected = expected @ matrix + style_t @ feed
    torch.testing.assert_close(pushed, expected)
    U = torch.randn(5, SIZES[-1], generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    pulled = chain(limit, []).pull(U.clone())
    assert [tuple(part.shape) for part in pulled] == [(5, n) for n in STYLES]
    left = (pushed * U).sum(1)
    right = sum((a * b).sum(1) for a, b in zip(pulled, styles_t, strict=True))
    torch.testing.assert_close(left, right)  # <u, J v> = <J^T u, v>, row by row


def test_stages_are_made_when_they_are_needed_and_once():
    made = []

    def stages():
        made.append(None)
        return [linear_stage(M, F, []) for M, F in zip(MAPS, FEEDS, strict=True)]

    linearization = Chain(stages, 10 ** 6).linearization()
    assert not made and linearization.in_parts
    for _ in range(2):
        linearization.push([torch.zeros(1, n, dtype=torch.float64) for n in STYLES])
    assert len(made) == 1


def test_parts_are_computed_again_in_place_of_being_kept():
    """The same derivative; what is between the parts is all that the graph keeps."""
    calls = []

    def part(x):
        calls.append(None)
        return (x.sin() * x.cos()).exp()

    x = torch.linspace(0, 1, 50, dtype=torch.float64, requires_grad=True)
    expected, = torch.autograd.grad(recomputable(part, recomputable(part, x)).sum(), x)
    assert len(calls) == 2
    with recomputing():
        y = recomputable(part, recomputable(part, x)).sum()
    got, = torch.autograd.grad(y, x)
    assert torch.equal(got, expected) and len(calls) == 6
    with recomputing(), torch.no_grad():
        recomputable(part, x)
    assert len(calls) == 7
