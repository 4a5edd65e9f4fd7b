"""The combination of directions for an attribute: against a search over all of them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from resefa_plugin import RegionPartition
from resefa_plugin.attributes import combination
from resefa_plugin.attributes.combination import EASED, SHARE, AttributeObjective, best_weights, combine
from resefa_plugin.errors import MetricError, ResefaError, SolverError
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.rayleigh.operators import DenseGrams
from tests.helpers.toys import TanhToy

REGION = RegionPartition(RegionPartition.from_box(0, 0, 4, 8, (8, 8)).mask, 'top')
TOY = TanhToy(z_dim=10)
GRADIENT = torch.from_numpy(np.random.RandomState(3).randn(10))
DIRECTIONS = np.random.RandomState(1).randn(4, 10)


@pytest.fixture
def measured(monkeypatch):
    """The attribute `nose_size` has GRADIENT at every sample but the second, which hides it; others have none."""
    def gradients(viewpoint, names, networks, region):
        return torch.stack([GRADIENT * (name == 'nose_size' and viewpoint.sample.name != 'seed0001') for name in names])

    monkeypatch.setattr(combination, 'attribute_gradients', gradients)


def viewpoints(*seeds):
    hook = TOY.hook()
    return [Viewpoint(hook, 'z', hook.sample(seed)) for seed in seeds]


def exact(seeds):
    """A and B of the samples in the whole space, each over its tr(B), by the toy's own Jacobian in float64."""
    A, B = np.zeros((2, 10, 10))
    for viewpoint in viewpoints(*seeds):
        rows = TOY.jacobian(viewpoint.latent)
        inside, outside = (rows[:, mask].reshape(-1, 10) for mask in (REGION.mask, ~REGION.mask))
        trace = np.square(outside).sum() * len(seeds)
        A, B = A + inside.T @ inside / trace, B + outside.T @ outside / trace
    return A, B


@pytest.mark.parametrize('sign', [1, -1])
@pytest.mark.parametrize('seeds', [(0,), (0, 1, 2)])
def test_no_other_combination_moves_the_attribute_more_for_what_it_changes_outside(measured, monkeypatch, seeds, sign):
    monkeypatch.setattr(combination, 'RANDOM', 20_000)  # the trace to a percent
    found = combine(viewpoints(*seeds), REGION, DIRECTIONS, 'nose_size', sign, None, tau=0.1)
    A, B = exact(seeds)
    B = B + EASED * 0.1 * np.eye(10)
    of_span = [DIRECTIONS @ matrix @ DIRECTIONS.T for matrix in (A, B)]
    cost = B - SHARE / scipy.linalg.eigh(*of_span, eigvals_only=True)[-1] * A

    def value(weights):  # of combinations [N, 4]
        n = weights @ DIRECTIONS
        return sign * n @ GRADIENT.numpy() / np.sqrt(np.sum(n @ cost * n, axis=1))

    weights = np.linalg.lstsq(DIRECTIONS.T, found, rcond=None)[0]
    np.testing.assert_allclose(weights @ DIRECTIONS, found, atol=1e-6 * np.abs(found).max())
    best = value(weights[None])[0]
    others = value(np.random.RandomState(2).randn(200_000, 4))
    assert best > 0 and others.max() <= best * 1.001 and others.max() > 0.97 * best


def test_matrices_that_are_known_take_no_tangents(measured, monkeypatch):
    A, B = exact((0, 2))
    known = combine(viewpoints(0, 2), REGION, np.eye(10), 'nose_size', 1, None, 0.1, DenseGrams(3 * A, 3 * B, 3.0))
    monkeypatch.setattr(combination, 'RANDOM', 20_000)
    by_tangents = combine(viewpoints(0, 2), REGION, np.eye(10), 'nose_size', 1, None, 0.1)
    cosine = known @ by_tangents / np.linalg.norm(known) / np.linalg.norm(by_tangents)
    assert cosine > 0.9999  # the trace of the one is off by a percent


def test_rows_that_repeat_each_other_are_one(measured):
    twice = combine(viewpoints(0), REGION, np.concatenate([DIRECTIONS, DIRECTIONS]), 'nose_size', 1, None)
    once = combine(viewpoints(0), REGION, DIRECTIONS, 'nose_size', 1, None)
    np.testing.assert_allclose(twice, once, rtol=1e-4, atol=1e-4 * np.abs(once).max())  # tangents are float32


def test_without_a_ridge_what_changes_nothing_is_an_error(measured):
    A, B = exact((0,))
    B[:, 4:] = B[4:] = 0
    with pytest.raises(SolverError, match='a ridge of tau = 0 does not tell them apart: take a larger tau'):
        combine(viewpoints(0), REGION, np.eye(10), 'nose_size', 1, None, 0.0, DenseGrams(A, B, 1.0))


def test_rows_that_leave_the_region_alone_move_an_attribute_elsewhere():
    rate, (_, B) = np.arange(1.0, 11.0), exact((0,))
    weights = best_weights(rate, np.eye(10), DenseGrams(np.zeros((10, 10)), B, 1.0), 0.1)
    expected = np.linalg.solve(B + EASED * 0.1 * np.eye(10), rate)
    np.testing.assert_allclose(weights, expected, rtol=1e-8)


def test_an_attribute_that_nothing_moves(measured):
    with pytest.raises(MetricError, match="no direction of 'top' changes 'eyes_open': take another region"):
        combine(viewpoints(0), REGION, DIRECTIONS, 'eyes_open', 1, None)


def test_an_objective_of_a_factorizer(measured, capsys):
    objective, grams = AttributeObjective('nose_size-', None, tau=0.01), DenseGrams(*exact((0,)), 1.0)
    assert (objective.name, objective.label, objective.num_directions) == ('nose_size-', 'nose shrinks +', 12)
    assert AttributeObjective(' eyes_open+', None).label == 'eyes open +'
    found = objective(viewpoints(0), REGION, np.eye(10), grams)
    assert 'top: nose_size-' in capsys.readouterr().err
    expected = combine(viewpoints(0), REGION, np.eye(10), 'nose_size', -1, None, 0.01, grams)
    assert np.array_equal(found, expected) and found @ GRADIENT.numpy() < 0


@pytest.mark.parametrize('spec', ['nose_size', 'nose', '', '+', 'nose_size+-'])
def test_what_is_no_attribute_lists_them(spec):
    with pytest.raises(ResefaError, match='expected a name and .* as in eyes_open-; names: eyes_open, mouth_open'):
        AttributeObjective(spec, None)
