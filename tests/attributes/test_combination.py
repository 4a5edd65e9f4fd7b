"""The combination of directions for an attribute: against a search over all of them."""

from __future__ import annotations

import types

import numpy as np
import pytest
import torch

from resefa_plugin import RegionPartition
from resefa_plugin.attributes import combination
from resefa_plugin.attributes.changes import AttributeChanges
from resefa_plugin.attributes.combination import AttributeObjective, combine
from resefa_plugin.attributes.scores import ATTRIBUTES
from resefa_plugin.errors import MetricError, ResefaError
from resefa_plugin.hooks.viewpoint import Viewpoint
from tests.helpers.toys import TanhToy

REGION = RegionPartition(RegionPartition.from_box(0, 0, 4, 8, (8, 8)).mask, 'top')
TOY = TanhToy(z_dim=10)
RATES = torch.tensor([0.5, -1.0, 0.2, 0.0], dtype=torch.float64)  # of the attribute, at strength 1


@pytest.fixture
def measured(monkeypatch):
    """The attribute `nose_size` changes along four directions by RATES, at every sample but one that hides it."""
    def changes(viewpoints, offsets, networks, region, progress=lambda: None):
        values = torch.zeros(len(offsets), len(viewpoints), len(ATTRIBUTES), dtype=torch.float64)
        values[:, :, list(ATTRIBUTES).index('nose_size')] = 4 * RATES[:, None]
        if len(viewpoints) > 2:
            values[:, 1] = torch.nan
        return AttributeChanges(values, 2.0)

    monkeypatch.setattr(combination, 'attribute_changes', changes)


def viewpoints(*seeds):
    hook = TOY.hook()
    return [Viewpoint(hook, 'z', hook.sample(seed)) for seed in seeds]


def directions():
    return torch.from_numpy(np.random.RandomState(1).randn(4, 10).astype(np.float32))


@pytest.mark.parametrize('sign', [1, -1])
@pytest.mark.parametrize('seeds', [(0,), (0, 1, 2)])
def test_no_other_combination_moves_the_attribute_more_for_what_it_changes_outside(measured, monkeypatch, seeds, sign):
    monkeypatch.setattr(combination, 'RANDOM', 20_000)  # the trace to a percent
    steps = directions()
    found = combine(viewpoints(*seeds), REGION, steps, 'nose_size', sign, None, tau=0.01)
    cost = np.zeros((10, 10))
    for viewpoint in viewpoints(*seeds):
        rows = TOY.jacobian(viewpoint.latent)[:, ~REGION.mask].reshape(-1, 10)
        B = rows.T @ rows
        cost += B / np.trace(B) + 0.01 * np.eye(10)

    def value(weights):  # of combinations [N, 4]
        n = weights @ steps.double().numpy()
        return sign * weights @ RATES.numpy() / np.sqrt(np.sum(n @ cost * n, axis=1))

    weights = torch.linalg.lstsq(steps.double().T, found).solution.numpy()
    np.testing.assert_allclose(weights @ steps.double().numpy(), found.numpy(), atol=1e-6)
    best = value(weights[None])[0]
    others = value(np.random.RandomState(2).randn(200_000, 4))
    assert best > 0 and others.max() <= best * 1.001 and others.max() > 0.97 * best


def test_an_attribute_that_nothing_moves(monkeypatch):
    monkeypatch.setattr(combination, 'attribute_changes', lambda viewpoints, offsets, *args, **kwargs: AttributeChanges(
        torch.full((len(offsets), len(viewpoints), len(ATTRIBUTES)), 0.1), 2.0))
    with pytest.raises(MetricError, match="none of the 4 directions of 'top' changes 'eyes_open': take more"):
        combine(viewpoints(0), REGION, directions(), 'eyes_open', 1, None)


def test_an_objective_of_a_factorizer(measured, capsys):
    objective = AttributeObjective('nose_size-', types.SimpleNamespace(), tau=0.01)
    assert (objective.name, objective.label, objective.num_directions) == ('nose_size-', 'nose shrinks +', 12)
    assert AttributeObjective(' eyes_open+', None).label == 'eyes open +'
    found = objective(viewpoints(0), REGION, directions())
    assert torch.equal(found, combine(viewpoints(0), REGION, directions(), 'nose_size', -1, None, 0.01))


@pytest.mark.parametrize('spec', ['nose_size', 'nose+', '', '+', 'nose_size+-'])
def test_what_is_no_attribute_lists_them(spec):
    with pytest.raises(ResefaError, match='expected a name and .* as in eyes_open-; names: eyes_open, mouth_open'):
        AttributeObjective(spec, None)
