"""What the two anchors weigh, in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resefa_plugin.editing.anchors import LOSS, SMALLEST_MU, GaussNewton, residual, size
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.jacobian.tangent_model import TangentModel
from tests.editing.test_background import LEFT, at, computed, keeper, linear, tanh_case


def test_a_step_solves_the_normal_equations():
    """Against numpy's least squares of the stacked problem, in float64."""
    J, hook = linear()
    model = TangentModel.of_jacobian(computed(hook, at(hook, *[0.0] * 6)))
    rest = torch.from_numpy(np.random.RandomState(2).randn(1, 8, 8)).float()
    mask, mu, ridge = torch.tensor(LEFT.mask), 3.0, 1e-3
    weights = np.sqrt(np.where(LEFT.mask.reshape(-1), mu, 1))[:, None]
    eps = ridge * np.square(J).sum()
    stacked = np.vstack([weights * J, np.sqrt(eps) * np.eye(6)])
    expected = np.linalg.lstsq(stacked, -np.append(weights[:, 0] * rest.numpy().ravel(), np.zeros(6)), rcond=None)[0]
    step, gain = GaussNewton(model, LEFT, ridge).step(rest, mask, mu)
    assert step == pytest.approx(expected, rel=1e-5)
    # Of |r + J s|^2 + eps |s|^2, which is least at s
    after = np.square(weights[:, 0] * (rest.numpy().ravel() + J @ expected)).sum() + eps * expected @ expected
    assert gain == pytest.approx(np.square(weights[:, 0] * rest.numpy().ravel()).sum() - after, rel=1e-4)
    assert size(rest, mask, mu) == pytest.approx(np.square(weights[:, 0] * rest.numpy().ravel()).sum(), rel=1e-6)


def test_a_residual_is_to_the_straight_edit_inside_and_to_the_original_outside():
    pictures = torch.full((1, 8, 8), 5.0), torch.full((1, 8, 8), 1.0), torch.full((1, 8, 8), 3.0)
    rest = residual(*pictures, torch.tensor(LEFT.mask))
    assert (rest[:, torch.tensor(LEFT.mask)] == 2).all() and (rest[:, torch.tensor(~LEFT.mask)] == 4).all()


def test_a_larger_mu_keeps_more_of_the_edit_and_less_of_the_rest():
    hook, sample, jacobian, direction = tanh_case()
    model = TangentModel.of_jacobian(jacobian)
    paths = [keeper(hook, sample, model=model, mu=mu).path(direction, [0.4]) for mu in (0.1, 1, 10, 100)]
    assert (np.diff([path.difference[0] for path in paths]) < 0).all()
    assert (np.diff([path.outside[0] for path in paths]) > 0).all()


@pytest.mark.parametrize('scale, at_bound', [(1.0, False), (0.02, True)])
def test_mu_is_what_costs_the_edit_so_much(scale, at_bound):
    """By bisection over the closed form; where the background hardly moves, the smallest mu costs less."""
    J, hook = linear()
    inside, n = LEFT.mask.reshape(-1), np.random.RandomState(1).randn(6)
    J[~inside] *= scale
    hook = FunctionHook(lambda z: (z @ torch.from_numpy(J).float().T + 0.3).unflatten(1, (1, 8, 8)), 6, name='linear')
    path = keeper(hook, at(hook, *[0.0] * 6)).path(n, [1.0])
    A, B = J[inside].T @ J[inside], J[~inside].T @ J[~inside]

    def loss(mu):
        kept = np.linalg.solve(B + mu * A, mu * A @ n)
        return np.linalg.norm(J[inside] @ (kept - n)) / np.linalg.norm(J[inside] @ n)

    found = np.sqrt(path.difference[0] / path.straight_inside[0])
    assert (loss(SMALLEST_MU) < LOSS) == at_bound
    assert found == pytest.approx(loss(SMALLEST_MU) if at_bound else LOSS, rel=0.05)
