"""Gram matrices as operators, by matrices and by factors, against the matrices themselves."""

from __future__ import annotations

import numpy as np
import pytest

from resefa_plugin.rayleigh.coordinates import Coordinates
from resefa_plugin.rayleigh.operators import DenseGrams, FactoredGrams

EXACT = 1e-12  # a few roundings of float64
RANDOM = np.random.RandomState(0)
F, G, X = RANDOM.randn(7, 3), RANDOM.randn(7, 5), RANDOM.randn(7, 4)
A, B = F @ F.T, G @ G.T
BACKGROUND = 1.25 * np.trace(B)  # factors that left a fifth out, or pixels that weigh less than others
OPERATORS = [DenseGrams(A, B, BACKGROUND), FactoredGrams(F, G, BACKGROUND)]


@pytest.mark.parametrize('operator', OPERATORS)
def test_products_and_quadratic_forms(operator):
    assert operator.dim == 7
    A_X, B_X, background = operator.apply(X)
    np.testing.assert_allclose(A_X, A @ X, rtol=1e-9, atol=EXACT)
    np.testing.assert_allclose(B_X, B @ X, rtol=1e-9, atol=EXACT)
    np.testing.assert_allclose(background, np.diag(X.T @ B @ X), rtol=EXACT)
    inside, outside = operator.quadratics(X.T)
    np.testing.assert_allclose(inside, np.diag(X.T @ A @ X), rtol=EXACT)
    np.testing.assert_allclose(outside, np.diag(X.T @ B @ X), rtol=EXACT)


@pytest.mark.parametrize('operator', OPERATORS)
def test_the_trace_is_that_of_the_background_in_the_solvers_coordinates(operator):
    """What the factors left out is taken to be spread like what they hold."""
    assert operator.trace(None) == BACKGROUND
    M = RANDOM.randn(7, 7)
    coordinates = Coordinates.of(7, [M @ M.T], X.T[:2])
    C = coordinates.latent(np.eye(7))
    assert operator.trace(coordinates) == pytest.approx(1.25 * np.trace(C.T @ B @ C), rel=EXACT)


@pytest.mark.parametrize('excess, whole', [(0, True), (1e-15, True), (1e-9, False), (-0.5, False)])
def test_a_background_is_whole_if_no_pixel_weighs_more(excess, whole):
    for scale in (1e-15, 1, 1e15):
        assert DenseGrams(scale * A, scale * B, scale * (1 + excess) * np.trace(B)).whole is whole
