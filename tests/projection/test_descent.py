"""Steps against torch's Adam, and against what turning the problem must not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resefa_plugin.errors import DamagedFileError, ResefaError
from resefa_plugin.projection import descent
from resefa_plugin.projection.descent import Descent

BETAS = 0.9, 0.98


def matrix(rows, columns, seed=0):
    return torch.from_numpy(np.random.RandomState(seed).randn(rows, columns)).double()


def rotation(side, seed):
    return torch.linalg.qr(matrix(side, side, seed))[0]


def descend(loss_of, start, steps=40, rate=0.05):
    way = Descent(start.flatten(), tuple(start.shape), BETAS)
    for _ in range(steps):
        x = way.x.clone().requires_grad_(True)
        loss = loss_of(x.reshape(start.shape))
        gradient, = torch.autograd.grad(loss, x)
        way.seen(float(loss.detach()))
        way.step(gradient, rate)
    return way


def test_with_axes_that_stay_the_steps_are_those_of_torch(monkeypatch):
    monkeypatch.setattr(descent, 'LARGEST_SIDE', 0)
    weight = torch.logspace(-2, 1, 6).double().reshape(2, 3)
    ours = descend(lambda x: (weight * x.square()).sum(), torch.ones(2, 3).double(), 30)
    theirs = torch.ones(2, 3).double().requires_grad_(True)
    optimizer = torch.optim.Adam([theirs], lr=0.05, betas=BETAS)
    for _ in range(30):
        optimizer.zero_grad()
        (weight * theirs.square()).sum().backward()
        optimizer.step()
    torch.testing.assert_close(ours.x.reshape(2, 3), theirs.detach())


def test_a_turned_problem_is_solved_on_the_turned_way():
    """Adam's steps depend on the axes; these do not."""
    A, start, U, V = matrix(12, 12, 1), matrix(3, 4, 2), rotation(3, 3), rotation(4, 4)

    def loss(x):
        return (A @ x.flatten()).square().sum() / 2 + x.pow(4).sum()

    straight = descend(loss, start)
    turned = descend(lambda x: loss(U.T @ x @ V), U @ start @ V.T)
    torch.testing.assert_close(U.T @ turned.x.reshape(3, 4) @ V, straight.x.reshape(3, 4), rtol=1e-6, atol=1e-6)


def test_it_is_quicker_where_the_axes_are_tangled(monkeypatch):
    scales = torch.logspace(-1.5, 1, 40).double()
    V, start, truth = rotation(40, 0), torch.zeros(5, 40).double(), matrix(5, 40, 1)

    def loss(x):
        return (((x - truth) @ V) * scales).square().mean()

    quick = float(loss(descend(loss, start, 120).best.reshape(5, 40)))
    monkeypatch.setattr(descent, 'LARGEST_SIDE', 0)
    assert quick < 0.5 * float(loss(descend(loss, start, 120).best.reshape(5, 40)))


def test_the_best_is_kept():
    way = Descent(torch.zeros(3), (1, 3), BETAS)
    way.seen(1.0)
    way.step(torch.ones(3), 0.1)
    way.seen(2.0)
    assert not way.best.any() and way.x.any()
    with pytest.raises(ResefaError, match='pass 2 of the projection gave a loss of nan'):
        way.seen(float('nan'))


@pytest.mark.parametrize('largest', [0, 2048])
def test_on_disk_and_back(tmp_path, monkeypatch, largest):
    monkeypatch.setattr(descent, 'LARGEST_SIDE', largest)
    A = matrix(12, 12, 1)

    def loss(x):
        return (A @ x.flatten()).square().sum()

    half = descend(loss, matrix(3, 4), 7)
    half.save(tmp_path / 'state.npz', 'mine')
    again, other = (Descent(torch.zeros(12).double(), (3, 4), BETAS) for _ in range(2))
    again.load(tmp_path / 'state.npz', 'mine')
    other.load(tmp_path / 'state.npz', 'yours')
    assert other.passes == 0 and not other.x.any() and again.passes == 7
    for way in (half, again):
        for i in range(8):
            way.step(matrix(1, 12, i).flatten(), 0.1)
    torch.testing.assert_close(again.x, half.x, rtol=0, atol=0)
    assert again._least == half._least
    (tmp_path / 'state.npz').write_bytes((tmp_path / 'state.npz').read_bytes()[:300])
    with pytest.raises(DamagedFileError, match='state.npz cannot be read'):
        again.load(tmp_path / 'state.npz', 'mine')
