"""Work that ranks share, in threads that stand for processes; tests/machine/test_ranks.py starts real ones."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from resefa_plugin import RegionJacobian, RegionPartition
from resefa_plugin.errors import NonFiniteError, ResefaError
from resefa_plugin.hooks.base import Sample
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_operator import RegionOperator
from resefa_plugin.jacobian.sharded import ShardedJacobian
from resefa_plugin.machine.ranks import Ranks
from tests.helpers.toys import TanhToy

FLOAT32 = 1e-5  # relative: a few float32 roundings against an oracle in float64
TOY = TanhToy(z_dim=7, shape=(3, 5, 7))
REGION = RegionPartition(np.random.RandomState(0).rand(5, 7) < 0.3, 'some')


class Threads(Ranks):
    """Ranks that exchange tensors through a list; of one shape, else a real exchange would hang or mix them up.

    They take turns, and change when they exchange something: torch's levels of forward mode belong to the process.
    """

    def __init__(self, rank, parts, barrier, turn):
        super().__init__(rank, len(parts))
        self.parts, self.barrier, self.turn = parts, barrier, turn

    def wait(self):
        self.turn.release()
        try:
            self.barrier.wait()
        finally:
            self.turn.acquire()

    def all_gather(self, tensor):
        self.parts[self.rank] = tensor.clone()
        self.wait()
        parts = list(self.parts)
        self.wait()
        assert len({part.shape for part in parts}) == 1
        return parts

    def sum(self, tensor):
        return torch.stack(self.all_gather(tensor)).sum(0)


def on_ranks(size, work):
    """What `work(ranks)` returns on each of so many ranks."""
    parts, barrier, turn = [None] * size, threading.Barrier(size, timeout=20), threading.Lock()

    def on_rank(rank):
        with turn:
            return work(Threads(rank, parts, barrier, turn))

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(on_rank, range(size)))


def viewpoint():
    hook = TOY.hook()
    return Viewpoint(hook, 'z', hook.sample(0))


def exact():
    return TOY.jacobian(viewpoint().latent)


def close(actual, expected):
    return np.abs(np.asarray(actual) - expected).max() <= FLOAT32 * np.abs(expected).max()


@pytest.mark.parametrize('chunks', [(8,), (2,), (8, 8), (2, 3), (1, 1), (3, 3, 2), (1,) * 9])
def test_ranks_hold_one_jacobian_between_them(chunks):
    """Chunks that do not divide 7 tangents, more ranks than tangents, and shares of pixels that are not equal."""
    def work(ranks):
        jacobian, counts = ShardedJacobian(viewpoint(), ranks), []
        jacobian.chunk_size = chunks[ranks.rank]
        assert jacobian.compute(counts.append) is jacobian
        grams = *jacobian.gram(REGION), jacobian.product()
        assert jacobian.compute(counts.append) is jacobian  # and is done
        assert '_linearization' not in jacobian.__dict__  # what products keep is released
        assert sum(counts) == 7 and max(counts) <= len(chunks) * min(chunks)
        return jacobian.matrix.unflatten(1, (3, -1)), *grams

    J = exact()
    inside, outside = (J[:, mask].reshape(-1, 7) for mask in (REGION.mask, ~REGION.mask))
    found = on_ranks(len(chunks), work)
    assert close(torch.cat([columns for columns, *_ in found], dim=2), np.moveaxis(J, -1, 0).reshape(7, 3, 35))
    assert max(columns[0, 0].numel() for columns, *_ in found) == -(-35 // len(chunks))
    for _, A, B, total in found:
        assert close(A, inside.T @ inside) and close(B, outside.T @ outside)
        assert close(total, inside.T @ inside + outside.T @ outside)


def test_every_rank_refuses_what_is_not_finite():
    """One of two pixels."""
    hook = FunctionHook(lambda z: torch.stack([z[:, 0], (z[:, 1] ** 2).sqrt()], dim=1)[:, None, None], 2)

    def work(ranks):
        jacobian = ShardedJacobian(Viewpoint(hook, 'z', Sample('zero', {'z': torch.zeros(1, 2)})), ranks)
        with pytest.raises(NonFiniteError, match='function: the Jacobian of zero contains NaN'):
            jacobian.compute()

    on_ranks(2, work)


def test_alone():
    assert close(ShardedJacobian(viewpoint(), Ranks()).compute().matrix, np.moveaxis(exact(), -1, 0).reshape(7, -1))


def test_a_kept_jacobian_is_whole(tmp_path):
    with pytest.raises(ResefaError, match='leave out --jacobian-dir'):
        ShardedJacobian(viewpoint(), Ranks()).compute(path=tmp_path)


@pytest.mark.parametrize('size', [1, 2, 3])
@pytest.mark.parametrize('columns', [1, 2, 5])
def test_ranks_share_the_columns_of_a_product(size, columns):
    weights = np.where(REGION.mask, 0, 1 + np.arange(35).reshape(5, 7)).astype(np.float32)
    X = np.random.RandomState(1).randn(7, columns)
    J = exact()
    inside, outside = (J[:, mask].reshape(-1, 7) for mask in (REGION.mask, ~REGION.mask))
    B = np.einsum('chwd,hw,chwe->de', J, weights, J)

    def work(ranks):
        jacobian, pushed = RegionJacobian(viewpoint()), []
        jvp = jacobian.jvp
        jacobian.jvp = lambda V: pushed.append(len(V)) or jvp(V)
        products = RegionOperator(jacobian, REGION.mask, weights, ranks).apply(X)
        assert pushed == [-(-columns // size)]  # no more than its share
        return products

    for found in on_ranks(size, work):
        for actual, expected in zip(found, (inside.T @ inside @ X, B @ X, np.square(outside @ X).sum(0)), strict=True):
            assert actual.shape == expected.shape and actual.dtype == np.float64 and close(actual, expected)
