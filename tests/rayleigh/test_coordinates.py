"""Coordinates by their definition: n = K P y, with K K^T a covariance and P a projection."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from resefa_plugin.errors import SolverError
from resefa_plugin.rayleigh.coordinates import SHRINKAGE, Coordinates

EXACT = 1e-12  # a few roundings of float64, of matrices whose condition is at most 1 / SHRINKAGE


def three_blocks() -> list[np.ndarray]:
    random = np.random.RandomState(0)
    return [M @ M.T + np.eye(len(M)) for M in (random.randn(size, size) for size in (2, 3, 4))]


def test_roots_are_of_the_shrunk_covariance_and_its_scale_does_not_count():
    blocks = three_blocks()
    whole = scipy.linalg.block_diag(*blocks)
    expected = (whole / (np.trace(whole) / 9) + SHRINKAGE * np.eye(9)) / (1 + SHRINKAGE)
    for scale in (1e-9, 1, 1e9):
        K = Coordinates.of(9, [scale * block for block in blocks]).latent(np.eye(9))
        np.testing.assert_allclose(K @ K.T, expected, atol=EXACT * expected.max())


@pytest.mark.parametrize('covariance', [None, three_blocks()])
def test_latent_pull_and_solve_belong_together(covariance):
    random = np.random.RandomState(1)
    E, N, X, Y = (random.randn(count, 9) for count in (2, 5, 5, 5))
    coordinates = Coordinates.of(9, covariance, E)
    moved = coordinates.latent(Y.T)
    assert np.abs(E @ moved).max() < EXACT * np.abs(E).max() * np.abs(moved).max()
    np.testing.assert_allclose(X @ moved, (Y @ coordinates.pull(X.T)).T, atol=1e2 * EXACT)  # <x, C y> = <C^T x, y>
    # What is allowed comes back, what is not is left out.
    allowed = N - N @ np.linalg.pinv(E) @ E
    np.testing.assert_allclose(coordinates.latent(coordinates.solve(allowed.T)), allowed.T, atol=1e2 * EXACT)
    solved = coordinates.solve(N.T)
    np.testing.assert_allclose(coordinates.solve(coordinates.latent(solved)), solved, atol=1e2 * EXACT)


def test_excluded_directions_are_of_any_length_and_may_repeat():
    E = np.array([[1e9, 0, 0, 0], [0, 1e-9, 0, 0], [3, 0, 0, 0], [0, 0, 0, 0]])
    excluded = Coordinates.of(4, None, E).excluded
    np.testing.assert_allclose(excluded.T @ excluded, np.diag([1, 1, 0, 0]), atol=EXACT)


@pytest.mark.parametrize('arguments, message', [
    (dict(covariance=[np.eye(3)]), r'blocks \[\[3, 3\]\], expected square ones of 4 rows in all'),
    (dict(covariance=[np.ones(4)]), r'blocks \[\[4\]\], expected square ones'),
    (dict(covariance=[np.eye(2), np.ones((2, 3))]), r'blocks \[\[2, 2\], \[2, 3\]\], expected square ones'),
    (dict(covariance=[np.ones((2, 2, 2)), np.eye(2)]), r'blocks \[\[2, 2, 2\], \[2, 2\]\], expected square ones'),
    (dict(covariance=[np.zeros((4, 4))]), 'mean variance of the latents is 0'),
    (dict(covariance=[np.diag([1, 1, 1, np.nan])]), 'the covariance of the latents holds NaN or infinity'),
    (dict(covariance=[np.where(np.ones((4, 4)) - np.eye(4), np.inf, 1)]), 'holds NaN or infinity'),
    (dict(orthogonal_to=np.ones((1, 3))), r'orthogonal_to has shape \[1, 3\], expected \[m, 4\]'),
    (dict(orthogonal_to=np.ones(4)), r'orthogonal_to has shape \[4\]'),
    (dict(orthogonal_to=np.ones((2, 4, 4))), r'orthogonal_to has shape \[2, 4, 4\]'),
    (dict(orthogonal_to=np.array([[1, 0, 0, np.nan]])), 'of finite numbers'),
    (dict(orthogonal_to=np.eye(4)), 'span all 4 dimensions and leave nothing')])
def test_coordinates_that_do_not_fit(arguments, message):
    with pytest.raises(SolverError, match=message):
        Coordinates.of(4, **arguments)


def test_no_coordinates():
    assert Coordinates.of(4) is None and Coordinates.of(4, None, np.zeros((0, 4))) is None
