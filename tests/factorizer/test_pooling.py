"""How much each sample of a pool counts, how far its directions carry, and when there are enough samples."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from resefa_plugin import Callback, Constraints, Dense, RegionPartition
from resefa_plugin.factorizer.pooling import is_enough, pool, transfer
from resefa_plugin.rayleigh.operators import DenseGrams, FactoredGrams
from tests.helpers.runs import factorizer
from tests.helpers.toys import TanhToy

DIM = 6
LEFT = RegionPartition(RegionPartition.from_box(0, 0, 4, 8, (8, 8)).mask, 'left')


def sample(seed, along=0, size=1.0):
    """Gram matrices of which direction `along` changes the region, by `size`, and all directions a little else."""
    random = np.random.RandomState(seed)
    A, B = (np.cov(random.randn(DIM, 50)) * scale for scale in (1e-3, 1.0))
    A[along, along] += size
    return DenseGrams(A, B, float(np.trace(B)))


def solve(grams):
    return Dense(2, tau=1e-3).solve(grams)


def pooled(samples):
    return pool(samples, solve, lambda directions: directions, 2)


def first(samples):
    return pooled(samples).solution.directions[0]


def test_a_sample_that_moves_in_its_own_way_does_not_decide():
    """Direction 0 changes the region of five samples, another one that of the sixth, a hundred times more."""
    usual, odd = [sample(seed) for seed in range(5)], sample(5, along=1, size=100.0)
    plain = scipy.linalg.eigh(sum(g.A for g in [*usual, odd]), sum(g.B for g in [*usual, odd]))[1][:, -1]
    assert abs(plain[1]) > 0.9 * np.linalg.norm(plain)  # what the mean says
    found = pooled([*usual, odd])
    assert abs(found.solution.directions[0, 0]) > 0.9
    assert found.weights[5] < 0.1 and found.weights[:5].min() > 0.4
    expected = pooled(usual).solution.directions[0]
    assert abs(found.solution.directions[0] @ expected) > 0.99


def test_weights_are_those_of_the_directions_that_are_found():
    samples = [sample(seed, size=1 + seed) for seed in range(5)]
    found = pooled(samples)
    directions = found.solution.directions[:2]
    changes = np.array([np.diag(directions @ g.A @ directions.T) / g.background for g in samples])
    ratios = (changes / np.median(changes, axis=0)).mean(axis=1)
    assert found.weights == pytest.approx(1 / np.maximum(ratios, 1), abs=0.02)
    A, B = (sum(w * getattr(g, name) / g.background for w, g in zip(found.weights, samples, strict=True))
            / found.weights.sum() for name in 'AB')
    np.testing.assert_allclose([found.grams.A, found.grams.B], [A, B], rtol=1e-9)


def test_two_samples_count_alike():
    assert pooled([sample(0), sample(1, size=100.0)]).weights.tolist() == [1, 1]


def test_how_far_the_directions_of_fewer_samples_carry():
    samples = [sample(seed) for seed in range(5)]
    found = transfer(samples, first)
    assert list(found) == [1, 2, 3, 4]
    for size, value in found.items():
        logs = []
        for start in (0, 1, 2, 3):  # four windows of five samples
            chosen = [(start + i) % 5 for i in range(size)]
            n = first([samples[i] for i in chosen])
            logs += [np.log((n @ samples[i].B @ n) / (n @ samples[i].A @ n)) for i in range(5) if i not in chosen]
        assert value == pytest.approx(np.exp(np.mean(logs)))


def test_factors_say_nothing_of_other_samples():
    factors = [FactoredGrams(np.eye(DIM)[:, :2], np.eye(DIM)[:, 2:], 4.0)] * 6
    assert transfer(factors, first) == {} and not is_enough(factors, first)


@pytest.mark.parametrize('leaks, expected', [((1.0, 0.95), True), ((1.0, 0.85), False), ((1.0, 2.0), True)])
def test_there_are_enough_samples_where_two_more_hardly_help(leaks, expected):
    """The leak of a pool's direction depends on its size alone."""
    grams = DenseGrams(np.diag([1.0, 0.0]), np.diag([0.0, 1.0]), 1.0)

    def direction(chosen):
        return np.array([1.0, leaks[(len(chosen) - 3) // 2] ** 0.5])

    assert is_enough([grams] * 6, direction) == expected
    assert not is_enough([grams] * 4, direction)


class Seen(Callback):
    def __init__(self):
        self.samples = []

    def on_sample_start(self, viewpoint):
        self.samples.append(viewpoint.sample.seed)


def test_a_pool_stops_early_and_says_how_far_its_directions_carry(monkeypatch):
    hook, seen = TanhToy(z_dim=12).hook(), Seen()
    samples = [hook.sample(seed) for seed in range(9)]
    monkeypatch.setattr('resefa_plugin.factorizer.factorizer.is_enough', lambda grams, first: len(grams) == 6)
    result, = factorizer(hook, samples, [LEFT], callbacks=[seen]).run(pool=True, stop_early=True)
    assert seen.samples == [0, 1, 2, 3, 4, 5] == list(result.directions.metadata.seeds)
    assert len(result.agreement) == 6 and list(result.transfer) == [1, 2, 3, 4]
    result, = factorizer(hook, samples, [LEFT]).run(pool=True)
    assert len(result.agreement) == 9 and list(result.transfer) == [1, 2, 3, 4, 6, 8]


class Brightest:
    """The direction that a test asks for."""

    num_directions, name, label = 3, 'bright+', 'gets brighter +'

    def __call__(self, viewpoints, region, span, grams):
        self.given = [viewpoint.sample.name for viewpoint in viewpoints], region.name, span, grams
        return 2 * span[0] - span[2]


@pytest.mark.parametrize('pooled', [False, True])
def test_an_objective_makes_one_direction_of_all_that_is_known(pooled):
    toy, wanted = TanhToy(z_dim=12), Brightest()
    hook = toy.hook()
    samples = [hook.sample(seed) for seed in range(6 if pooled else 1)]
    result, = factorizer(hook, samples, [LEFT], objective=wanted).run(pooled)
    names, region, span, grams = wanted.given
    assert names == [s.name for s in samples] and region == 'left'
    assert np.array_equal(span, np.eye(12)) and (result.span is None or result.span[1] is grams)
    made = np.eye(12)[0] * 2 - np.eye(12)[2]
    np.testing.assert_allclose(result.directions.directions, made[None] / np.linalg.norm(made), atol=1e-6)
    assert result.directions.labels == ('gets brighter +',)
    assert result.directions.metadata.extra['objective'] == 'bright+'
    assert result.directions.measured_inside[0] == pytest.approx(0.01, rel=0.05)
    if not pooled:
        J = toy.jacobian(samples[0].latents['z'])
        A, B = (J[:, part].reshape(-1, 12).T @ J[:, part].reshape(-1, 12) for part in (LEFT.mask, ~LEFT.mask))
        ridged = B + 1e-3 * np.trace(B) * np.eye(12)
        for found, exact in ((grams.A, A), (grams.B, B)):
            np.testing.assert_allclose(found / grams.background, exact / np.trace(B), atol=1e-5 * exact.max())
        n = result.directions.directions[0].astype(float)
        assert result.eigenvalues == pytest.approx([n @ A @ n / (n @ ridged @ n)], rel=1e-3)
        expected = np.linalg.norm(A @ n - result.eigenvalues[0] * ridged @ n) / np.linalg.norm(A @ n)
        assert result.directions.residuals == pytest.approx([expected], rel=1e-2)


def test_under_constraints_an_objective_combines_the_directions_that_keep_to_them():
    hook, wanted, known = TanhToy(z_dim=12).hook(), Brightest(), np.eye(12)[:2]
    samples = [hook.sample(seed) for seed in range(3)]
    constraints = Constraints(orthogonal_to=known)
    plain, = factorizer(hook, samples, [LEFT], solver=Dense(3), constraints=constraints).run(True)
    result, = factorizer(hook, samples, [LEFT], objective=wanted, constraints=constraints).run(True)
    _, _, span, grams = wanted.given
    np.testing.assert_allclose(span, plain.directions.directions, atol=1e-6)
    whole, = factorizer(hook, samples, [LEFT]).run(True)
    np.testing.assert_allclose(grams.B / grams.background, span @ whole.span[1].B @ span.T, atol=1e-3)  # other weights
    np.testing.assert_allclose(known @ result.directions.directions.T, 0, atol=1e-6)
