"""Pools of spaces that are too large for their Jacobians: against the same pools in the whole space."""

from __future__ import annotations

import numpy as np
import pytest

from resefa_plugin import Auto, Constraints, Dense, RegionPartition, Store
from resefa_plugin.factorizer import factorizer as module
from resefa_plugin.factorizer.protection import Protection
from resefa_plugin.jacobian.common_basis import CommonBasis
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from tests.helpers.runs import Products, factorizer
from tests.helpers.toys import TanhToy

REGION, CORNER = (RegionPartition(RegionPartition.from_box(*edges, (16, 16)).mask, name)
                  for edges, name in (((2, 2, 6, 6), 'box'), ((10, 10, 5, 5), 'corner')))
DIM, RANK = 600, 40


@pytest.fixture(autouse=True)
def large(monkeypatch):
    """600 dimensions are too many for a Jacobian."""
    for limit in ('DENSE_LIMIT', 'BASIS_TANGENTS'):
        monkeypatch.setattr(f'resefa_plugin.rayleigh.solvers.{limit}', 500)


def local_toy():
    """A picture that 40 of 600 dimensions move, each a part of it; every sample's derivative is another."""
    toy = TanhToy(z_dim=DIM, shape=(3, 16, 16))
    near = np.exp(-np.square(np.linspace(0, RANK, 768)[:, None] - 0.5 - np.arange(RANK)))
    toy.M = near @ np.random.RandomState(3).randn(RANK, DIM) / DIM ** 0.5
    return toy.hook()


def samples(hook, count=3):
    return [hook.sample(seed) for seed in range(count)]


@pytest.mark.parametrize('constraints', [
    Constraints(), Constraints((Protection(CORNER, 5.0),)), Constraints(norm='covariance'),
    Constraints(orthogonal_to=np.random.RandomState(1).randn(2, DIM))])
def test_a_pool_in_a_basis_is_the_pool_in_the_whole_space(constraints):
    hook, products = local_toy(), Products()
    found, expected = (factorizer(hook, samples(hook), [REGION], solver=solver, constraints=constraints,
                                  callbacks=[products]).run(pool=True)[0] for solver in (Auto(3), Dense(3)))
    assert found.directions.directions.shape == (3, DIM)
    np.testing.assert_allclose(found.eigenvalues[:3], expected.eigenvalues[:3], rtol=1e-3)
    cosines = np.abs(np.sum(found.directions.directions * expected.directions.directions, axis=1))
    assert cosines.min() > 0.999
    for mine, theirs in zip(found.agreement, expected.agreement, strict=True):
        assert (mine.own, mine.pooled) == pytest.approx((theirs.own, theirs.pooled), rel=1e-3)
    # 512 products with the transpose for the basis, and its 40 pictures at each sample.
    assert sum(products.counts) == 512 + 3 * RANK and products.totals == {500 // 2 * 4}  # of half as many tangents each


def test_each_tile_is_probed_at_two_samples(monkeypatch):
    hook, probed = local_toy(), []
    jacobians = [RegionJacobian(viewpoint) for viewpoint in factorizer(hook, samples(hook), [REGION]).viewpoints]
    for index, jacobian in enumerate(jacobians):
        def vjp(pictures, index=index, original=jacobian.vjp):
            probed.extend((index, *picture.abs().sum(0).nonzero()[0].tolist()) for picture in pictures)
            return original(pictures)

        monkeypatch.setattr(jacobian, 'vjp', vjp)
    vectors = CommonBasis.shared(jacobians)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(RANK), atol=1e-12)
    assert len(probed) == len(set(probed)) == 512  # 16 x 16 tiles of one pixel
    assert len({place for _, *place in map(list, probed) for place in [tuple(place)]}) == 256
    single = [RegionJacobian(viewpoint) for viewpoint in factorizer(hook, samples(hook, 1), [REGION]).viewpoints]
    assert CommonBasis.shared(single).shape == (RANK, DIM)


def test_parts_of_a_pool_share_the_basis_of_the_whole(tmp_path):
    hook, store = local_toy(), Store(grams=tmp_path)
    for part in ((1, 2), (2, 2)):
        factorizer(hook, samples(hook), [REGION], store=store).collect(part)
    assert sorted(file.name[:8] for file in tmp_path.iterdir()) == ['basis-' + next(tmp_path.glob('basis-*')).name[6:8],
                                                                   'seed0000', 'seed0001', 'seed0002']
    products = Products()
    joined, = factorizer(hook, samples(hook), [REGION], store=store, callbacks=[products]).run(pool=True)
    assert products.counts == [512]  # of the basis, which was found
    whole, = factorizer(hook, samples(hook), [REGION]).run(pool=True)
    np.testing.assert_allclose(joined.directions.directions, whole.directions.directions, atol=1e-6)


def test_of_many_samples_the_first_are_probed(monkeypatch):
    monkeypatch.setattr(module, 'PROBED', 2)
    hook, given = local_toy(), []
    shared = CommonBasis.shared
    monkeypatch.setattr(CommonBasis, 'shared', staticmethod(lambda jacobians, *rest: given.extend(
        jacobian.viewpoint.sample.name for jacobian in jacobians) or shared(jacobians, *rest)))
    factorizer(hook, samples(hook), [REGION]).run(pool=True)
    assert given == ['seed0000', 'seed0001']
