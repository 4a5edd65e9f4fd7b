"""The picture to first order in a basis; tests/editing/test_background.py has what edits make of it."""

from __future__ import annotations

import numpy as np
import torch

from resefa_plugin import RegionJacobian, RegionPartition
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.tangent_model import TangentModel, _Builder
from tests.helpers.toys import TanhToy

TOY = TanhToy(z_dim=9)


def jacobian(seed=0):
    hook = TOY.hook()
    return RegionJacobian(Viewpoint(hook, 'z', hook.sample(seed)))


def columns(J):
    """The exact columns as pictures, `[d, C * h * w]`."""
    return np.moveaxis(TOY.jacobian(J.viewpoint.latent), -1, 0).reshape(9, -1)


def test_vectors_are_of_any_length_and_may_repeat():
    random = np.random.RandomState(0)
    vectors = random.randn(3, 9)
    rows = np.concatenate([vectors * [[1e-9], [1], [1e9]], np.zeros((1, 9)), vectors[1:2] - 2 * vectors[2:]])
    model = TangentModel.of_basis(jacobian(), rows)
    assert model.basis.shape == (3, 9) and model.products == 3
    np.testing.assert_allclose(vectors @ model.basis.T @ model.basis, vectors, atol=1e-12)
    expected = model.basis @ columns(jacobian())
    np.testing.assert_allclose(model.columns, expected, atol=1e-5 * np.abs(expected).max())  # float32


def test_a_basis_stays_orthonormal_as_it_grows():
    """The second vectors are new by 3e-4, just above the least that is kept: rounding grows by 3000 in one pass."""
    random, builder = np.random.RandomState(0), _Builder(jacobian())
    first = random.randn(3, 9)
    assert len(builder.add(first)) == 3 and len(builder.add(first[:2] + first[1:])) == 0
    near = first[:2] + 3e-4 * np.linalg.norm(first[:2], axis=1, keepdims=True) * np.linalg.svd(first)[2][[4, 6]]
    assert len(builder.add(near)) == 2
    np.testing.assert_allclose(builder.basis @ builder.basis.T, np.eye(5), atol=2e-15)
    assert builder.products == 5
    assert builder.pull(torch.ones(2, 3, 8, 8)).shape == (2, 9) and builder.model().products == 7


def test_gram_matrices_are_summed_in_float64():
    model = TangentModel.of_basis(jacobian(), np.eye(9)[[2, 5]])
    region = RegionPartition.from_box(1, 2, 3, 5, (8, 8))
    pictures = model.columns.double().numpy().reshape(2, 3, 8, 8)
    for gram, mask in zip(model.gram(region), (region.mask, ~region.mask), strict=True):
        part = pictures[:, :, mask].reshape(2, -1)
        assert gram.dtype == np.float64
        np.testing.assert_allclose(gram, part @ part.T, rtol=1e-12)
    assert model.pull(torch.ones(3, 8, 8)).dtype == np.float64
