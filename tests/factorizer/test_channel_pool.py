"""Pools of a space whose coordinates are channels: against the quotient of those channels, from exact Jacobians."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from resefa_plugin import Auto, Constraints, Dense, RegionPartition, Store
from resefa_plugin.factorizer.protection import Protection
from tests.helpers.runs import Products, factorizer
from tests.helpers.toys import TinyHook

BOX, CORNER = (RegionPartition(RegionPartition.from_box(*edges, (32, 32)).mask, name)
               for edges, name in (((2, 2, 14, 14), 'box'), ((20, 20, 8, 8), 'corner')))
LOCAL = 60  # channels whose effect is mainly in the box


class ChannelHook(TinyHook):
    """240 channels, of which the first 60 change mainly the box."""

    name, style_dims = 'channels', (30,) * 8
    affine = torch.randn(4, 240, generator=torch.Generator().manual_seed(1))
    weight = torch.randn(240, 3, 32, 32, generator=torch.Generator().manual_seed(0)) / 16
    weight[:LOCAL] *= torch.where(torch.tensor(BOX.mask), 1.0, 0.1)
    weight[LOCAL:] *= torch.where(torch.tensor(BOX.mask), 0.5, 1.0)

    def styles(self, ws):
        return list((ws[:, 0] @ self.affine).split(30, dim=1))

    def from_styles(self, styles, resolution):
        return torch.tanh(torch.cat(styles, dim=1) @ self.weight.flatten(1)).unflatten(1, (3, 32, 32))

    def jacobian(self, sample):
        """`[3, 32, 32, 240]` float64."""
        s = torch.cat(self.styles(sample.latents['ws']), dim=1).double()
        x = torch.tanh(s @ self.weight.flatten(1).double())[0]
        return ((1 - x.square()) * self.weight.flatten(1).double()).T.unflatten(0, (3, 32, 32)).numpy()


def samples(hook, count=3):
    return [hook.sample(seed) for seed in range(count)]


def channels(directions):
    return np.flatnonzero(np.abs(directions).max(axis=0))


def weighted(hook, region, chosen, weights, pixel_weights=None):
    """A and B of some channels, pooled with the weights that a result states."""
    A, B = np.zeros((2, len(chosen), len(chosen)))
    outside = (~region.mask).astype(float) if pixel_weights is None else pixel_weights
    for sample, weight in zip(samples(hook, len(weights)), weights, strict=True):
        J = hook.jacobian(sample)[..., chosen]
        inside, beyond = (np.einsum('chwd,hw,chwe->de', J, mask, J) for mask in (region.mask.astype(float), outside))
        plain = np.einsum('chwd,hw,chwd->', J, (~region.mask).astype(float), J)
        A, B = A + weight * inside / plain / sum(weights), B + weight * beyond / plain / sum(weights)
    return A, B


def test_directions_are_made_of_the_channels_that_change_the_region():
    hook, products = ChannelHook(), Products()
    result, = factorizer(hook, samples(hook), [BOX], 's', solver=Auto(3), callbacks=[products]).run(pool=True)
    chosen = channels(result.directions.directions)
    assert len(chosen) == 160 and (chosen < LOCAL).sum() >= LOCAL - 2
    assert result.directions.directions.shape == (3, 240) and 'Made of 160 of 240 channels.' in result.notes
    weights = [row.weight for row in result.agreement]
    A, B = weighted(hook, BOX, chosen, weights)
    values, vectors = scipy.linalg.eigh(A, B + 1e-3 * np.eye(160))
    assert result.eigenvalues[:3] == pytest.approx(values[:-4:-1], rel=1e-3)
    expected = vectors[:, :-4:-1] / np.linalg.norm(vectors[:, :-4:-1], axis=0)
    cosines = np.abs(np.sum(result.directions.directions[:, chosen] * expected.T, axis=1))
    assert cosines.min() > 0.999
    each = 22  # backward passes for each side of each of three samples: 128 in all, rounded up
    assert sum(products.counts) == 3 * 2 * each + 3 * 160 and products.totals == {4 * 160}


@pytest.mark.parametrize('constraints', [
    Constraints((Protection(CORNER, 4.0),)), Constraints(norm='covariance'),
    Constraints(orthogonal_to=np.random.RandomState(1).randn(2, 240))])
def test_constraints_hold_within_the_channels(constraints):
    hook = ChannelHook()
    result, = factorizer(hook, samples(hook), [BOX], 's', solver=Auto(2), constraints=constraints).run(pool=True)
    n = result.directions.directions.astype(float)
    chosen = channels(n)
    assert len(chosen) == 160
    weights = [row.weight for row in result.agreement]
    pixel_weights = (~BOX.mask).astype(float)
    for protection in constraints.protect:
        pixel_weights[CORNER.mask] = protection.weight
    A, B = weighted(hook, BOX, chosen, weights, pixel_weights)
    ridge, allowed = np.eye(160), np.eye(160)
    if constraints.norm == 'covariance':
        blocks = hook.space('s').covariance(None)
        mean = sum(np.trace(block) for block in blocks) / 240
        sigma = scipy.linalg.block_diag(*((block / mean + 0.01 * np.eye(30)) / 1.01 for block in blocks))
        ridge = np.linalg.inv(sigma)[np.ix_(chosen, chosen)]
        root = np.linalg.cholesky(np.linalg.inv(ridge))
        ridge = ridge * np.trace(root.T @ B @ root) / np.trace(B)
    if constraints.orthogonal_to is not None:
        known = constraints.orthogonal_to[:, chosen]
        assert np.abs(n[:, chosen] @ known.T).max() < 1e-5
        allowed = scipy.linalg.null_space(known)
        ridge = ridge * np.trace(allowed.T @ B @ allowed) / np.trace(B)
    values = scipy.linalg.eigh(allowed.T @ A @ allowed, allowed.T @ (B + 1e-3 * ridge) @ allowed, eigvals_only=True)
    assert result.eigenvalues[:2] == pytest.approx(values[:-3:-1], rel=1e-3)


def test_a_region_is_the_same_whatever_else_is_asked_for(tmp_path):
    hook, store = ChannelHook(), Store(grams=tmp_path)
    alone, = factorizer(hook, samples(hook), [BOX], 's', solver=Auto(2)).run(pool=True)
    both = factorizer(hook, samples(hook), [CORNER, BOX], 's', solver=Auto(2), store=store).run(pool=True)
    np.testing.assert_allclose(both[1].directions.directions, alone.directions.directions, atol=1e-5)
    assert set(channels(both[0].directions.directions)) != set(channels(alone.directions.directions))
    products = Products()
    again = factorizer(hook, samples(hook), [CORNER, BOX], 's', solver=Auto(2), store=store,
                       callbacks=[products]).run(pool=True)
    assert sum(products.counts) == 3 * 2 * 2 * 22  # the channels are looked for again, their pictures are not
    products.counts.clear()
    factorizer(hook, samples(hook), [BOX], 's', solver=Auto(2), store=store, callbacks=[products]).run(pool=True)
    assert sum(products.counts) == 3 * 2 * 22
    for one, other in zip(both, again, strict=True):
        np.testing.assert_allclose(one.directions.directions, other.directions.directions, atol=1e-6)


def test_whoever_names_a_solver_or_has_few_channels_gets_all_of_them():
    hook = ChannelHook()
    whole, = factorizer(hook, samples(hook), [BOX], 's', solver=Dense(2)).run(pool=True)
    assert len(channels(whole.directions.directions)) == 240
    few, = factorizer(hook, samples(hook), [BOX], 's', (0, 1, 2), solver=Auto(2)).run(pool=True)
    assert len(channels(few.directions.directions)) == 90
    single, = factorizer(hook, samples(hook, 1), [BOX], 's', solver=Auto(2)).run()
    assert len(channels(single.directions.directions)) == 240
