"""Bases that begin with an edit: Gram matrices in them are those of the Jacobian, and they end where nothing is new."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.jacobian.tangent_model import TangentModel
from tests.editing.test_background import LEFT, at, computed, halves, tanh_case
from tests.helpers.toys import TanhToy


def test_gram_of_a_basis_is_the_gram_of_the_jacobian_in_it():
    hook, sample, jacobian, _ = tanh_case()
    model = TangentModel.of_basis(jacobian, np.random.RandomState(3).randn(4, 12))
    assert model.basis @ model.basis.T == pytest.approx(np.eye(4), abs=1e-12)
    for found, full in zip(model.gram(LEFT), jacobian.gram(LEFT), strict=True):
        assert found == pytest.approx(model.basis @ full.numpy() @ model.basis.T, rel=1e-4, abs=1e-4)
    u = torch.randn(jacobian.image_shape, generator=torch.Generator().manual_seed(0))
    assert model.pull(u) == pytest.approx(model.basis @ jacobian.vjp(u[None])[0].double().numpy(), rel=1e-4, abs=1e-4)
    assert model.offset(model.coordinates(model.basis[2])) == pytest.approx(model.basis[2], abs=1e-12)


def test_krylov_basis_ends_where_nothing_is_new():
    """A and B of rank 1 each: two vectors span all that moves the picture, whatever the number of blocks."""
    hook = halves(lambda z: z[:, 0], lambda z: z[:, 1] + z[:, 0], 6)
    jacobian = RegionJacobian(Viewpoint(hook, hook.space('z'), at(hook, *[0.1] * 6)))
    change = torch.ones(1, *jacobian.image_shape)
    model = TangentModel.krylov(jacobian, torch.where(torch.tensor(LEFT.mask), 10.0, 1.0), change, blocks=50)
    assert len(model.basis) == 2 and model.products < 10


def test_krylov_basis_spans_the_powers_of_the_normal_equations():
    hook = TanhToy(z_dim=40).hook()
    jacobian = computed(hook, hook.sample(0))
    A, B = (M.numpy() for M in jacobian.gram(LEFT))
    weights = torch.where(torch.tensor(LEFT.mask), 3.0, 1.0)
    changes = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    model = TangentModel.krylov(jacobian, weights, changes, blocks=3)
    assert len(model.basis) == 6 and model.products == 12
    H = B + 3 * A
    for g in jacobian.vjp(changes).double().numpy():
        for vector in (g, H @ g, H @ H @ g):
            assert np.linalg.norm(vector - vector @ model.basis.T @ model.basis) < 1e-3 * np.linalg.norm(vector)
