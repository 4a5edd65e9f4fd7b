"""The matrix-free solver against the dense one, which test_rayleigh.py checks against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from resefa_plugin import RegionJacobian, parse_region, solve_rayleigh
from resefa_plugin.errors import SolverError
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_operator import RegionOperator
from resefa_plugin.rayleigh.coordinates import Coordinates
from resefa_plugin.rayleigh.davidson import _Basis, _root, solve_davidson
from resefa_plugin.rayleigh.operators import DenseGrams, FactoredGrams, GramOperator
from tests.helpers.dcgan import dcgan
from tests.helpers.toys import TanhToy

# What the project promises of matrix-free answers.
EIGENVALUES, ANGLE = 1e-3, 1e-2
EXACT = 1e-12  # a few roundings of float64


class CountedGrams(GramOperator):
    """A and B of a spectrum that falls like a generator's, which keeps its trace to itself and counts its products."""

    def __init__(self, d=300, rank_a=40, seed=0):
        random = np.random.RandomState(seed)
        self.columns = 0
        self.F = random.randn(d, rank_a) * np.exp(-np.arange(rank_a) / 4)
        self.G = scipy.linalg.qr(random.randn(d, d))[0] * np.exp(-np.arange(d) / 12)
        self.A, self.B = self.F @ self.F.T, self.G @ self.G.T

    @property
    def dim(self):
        return len(self.A)

    def apply(self, X):
        assert X.shape[1]  # a network refuses empty batches
        self.columns += X.shape[1]
        B_X = self.B @ X
        return self.A @ X, B_X, np.sum(X * B_X, axis=0)

    def sketch(self, inside, outside, random):
        return self.F @ random.randn(self.F.shape[1], inside), self.G @ random.randn(self.dim, outside)


def angle(one, other):
    """The largest principal angle between the spans of rows, in radians."""
    return scipy.linalg.subspace_angles(one.T, other.T)[0]


@pytest.mark.parametrize('scale', [1e-9, 1, 1e9])
def test_a_basis_is_orthonormal_and_takes_what_is_new(scale):
    grams, random = CountedGrams(d=20), np.random.RandomState(0)
    grams.B = scale * grams.B
    basis, columns = _Basis(grams, Coordinates()), random.randn(20, 3)
    assert basis.add(columns * [1, 1e-12, 1e12]) == 3  # of any length
    assert basis.add(columns[:, :2] + columns[:, 1:]) == 0
    assert basis.add(columns[:, :1] + 1e-6 * random.randn(20, 1)) == 1
    np.testing.assert_allclose(basis.S.T @ basis.S, np.eye(4), atol=1e-14)
    values, X, A_X, B_X = basis.ritz(2, 0.5 * scale)
    assert values[0] > values[1] > 0
    np.testing.assert_allclose(np.linalg.norm(X, axis=0), 1, rtol=EXACT)
    np.testing.assert_allclose(A_X, grams.A @ X, rtol=1e-9, atol=EXACT)
    np.testing.assert_allclose(B_X, grams.B @ X + 0.5 * scale * X, rtol=1e-9, atol=EXACT * scale)
    np.testing.assert_allclose(values, np.sum(X * A_X, axis=0) / np.sum(X * B_X, axis=0), rtol=EXACT)


@pytest.mark.parametrize('scale', [1e-9, 1, 1e9])
def test_rounding_of_products_is_not_taken_for_a_matrix(scale):
    """M = e1 e1^T, of which the second and third products are float32 rounding: neither symmetric nor semi-definite."""
    rounded = scale * np.array([[1, 0, 0], [0, 1e-12, 3e-7], [0, -3e-7, -1e-12]])
    root = _root(np.eye(3), rounded)
    np.testing.assert_allclose(root @ root.T, scale * np.diag([1, 0, 0]), atol=EXACT * scale)


def test_a_basis_of_all_dimensions_is_exact_whatever_is_asked():
    search = solve_davidson(CountedGrams(d=20), 2, tolerance=1e-300).search
    assert (search.columns, search.converged) == (20, True)


def test_fewer_directions_than_wanted_are_no_success():
    """A of rank 2 and B of rank 1: their products know of three, and there is nothing to add."""
    grams, random = CountedGrams(d=20), np.random.RandomState(0)
    grams.F, grams.G = random.randn(20, 2), random.randn(20, 1) * np.eye(1, 20)
    grams.A, grams.B = grams.F @ grams.F.T, grams.G @ grams.G.T
    found = solve_davidson(grams, 5)
    assert len(found.eigenvalues) == 3 and not found.search.converged


@pytest.mark.parametrize('k', [1, 4, 8])
@pytest.mark.parametrize('seed', [0, 1])
def test_agrees_with_the_dense_solver(k, seed):
    grams = CountedGrams(seed=seed)
    found = solve_davidson(grams, k)
    exact = solve_rayleigh(grams.A, grams.B, k, trace=found.search.trace)
    np.testing.assert_allclose(found.eigenvalues, exact.eigenvalues, rtol=EIGENVALUES)
    assert angle(found.directions, exact.directions) < ANGLE
    assert found.residuals.max() <= 1e-3 and found.search.converged and found.solver == 'davidson'
    assert found.search.columns == grams.columns <= 120
    # The residuals it reports are those of the full problem.
    n = found.directions
    A_n, B_n = grams.A @ n.T, grams.B @ n.T + found.ridge * n.T
    np.testing.assert_allclose(
        np.linalg.norm(A_n - found.eigenvalues * B_n, axis=0) / np.linalg.norm(A_n, axis=0), found.residuals, rtol=1e-3
    )
    # Its Gram matrices are exact on what was searched.
    for quadratic, M in zip(found.search.grams.quadratics(n), (grams.A, grams.B), strict=True):
        np.testing.assert_allclose(quadratic, np.einsum('kd,de,ke->k', n, M, n), rtol=1e-6)


def test_the_trace_is_estimated_with_an_honest_error():
    """Over seeds, the error is as large as is stated: a mean of 1 would be ideal, 16 probes scatter."""
    grams = CountedGrams()
    exact = np.trace(grams.B)
    found = [solve_davidson(grams, 2, seed=seed).search for seed in range(12)]
    errors = np.array([abs(s.trace / exact - 1) for s in found])
    stated = np.array([s.trace_error for s in found])
    assert errors.max() < 0.05 and 0 < stated.max() < 0.02
    assert 0.3 < np.sqrt(np.mean(np.square(errors / stated))) < 3


def test_an_exact_trace_is_used():
    grams = CountedGrams()
    found = solve_davidson(DenseGrams(grams.A, grams.B, float(np.trace(grams.B))), 3)
    assert found.search.trace_error == 0 and found.ridge == pytest.approx(1e-3 * np.trace(grams.B), rel=1e-12)
    np.testing.assert_allclose(
        solve_rayleigh(grams.A, grams.B, 3, solver='davidson').eigenvalues,
        solve_rayleigh(grams.A, grams.B, 3).eigenvalues,
        rtol=1e-5,
    )


def test_few_dimensions_are_solved_whole():
    random = np.random.RandomState(0)
    A, B = (M @ M.T for M in random.randn(2, 5, 5))
    A[0] = A[:, 0] = 0  # a dimension that does not change the region
    for k in (1, 5):
        np.testing.assert_allclose(
            solve_rayleigh(A, B, k, solver='davidson').eigenvalues, solve_rayleigh(A, B, k).eigenvalues,
            rtol=1e-8, atol=EXACT,
        )


def test_a_budget_is_kept():
    grams = CountedGrams()
    cold = solve_davidson(grams, 4)
    short = solve_davidson(grams, 4, max_columns=30)
    assert short.search.columns == 30 and not short.search.converged and short.residuals.max() > 1e-3
    assert len(solve_davidson(grams, 4, max_columns=2).eigenvalues) == 4  # as many as are wanted, at least
    assert solve_davidson(grams, 2, tolerance=1e-300).search.columns == 40 + 25 * 2
    assert (
        short.eigenvalues <= cold.eigenvalues * (1 + 0.05)
    ).all()  # Ritz values come from below; the ridges differ a little


def wide_background(seed):
    """A of rank 20, and B whose 40 large eigenvalues, over a decade, are more than its sketch can hold."""
    random, grams = np.random.RandomState(seed), CountedGrams()
    grams.F = random.randn(300, 20) * np.exp(-np.arange(20) / 5)
    grams.G = scipy.linalg.qr(random.randn(300, 300))[0] * np.where(
        np.arange(300) < 40, 10 ** (1 - np.arange(300) / 40), 1e-3
    )
    grams.A, grams.B = grams.F @ grams.F.T, grams.G @ grams.G.T
    return grams


def test_the_preconditioner_saves_products(monkeypatch):
    """A fifth of them here, 152 instead of 191; where B falls quickly it is a block or none."""
    def columns():
        found = [solve_davidson(wide_background(seed), 2, max_columns=300).search for seed in range(3)]
        assert all(search.converged for search in found)
        return sum(search.columns for search in found)

    preconditioned = columns()
    monkeypatch.setattr(_Basis, 'precondition', lambda self, R, ridge: R)
    assert preconditioned < 0.87 * columns()


@pytest.mark.parametrize('scale', [1e-9, 1, 1e9])
def test_the_preconditioner_is_the_inverse_of_what_is_known_of_b(scale):
    """Of a B of rank 10, products with 20 columns tell everything."""
    random = np.random.RandomState(0)
    grams = CountedGrams(d=60)
    grams.G = np.sqrt(scale) * random.randn(60, 10)
    grams.B = grams.G @ grams.G.T
    basis, R = _Basis(grams, Coordinates()), random.randn(60, 3)
    basis.add(random.randn(60, 20))
    ridge = 0.7 * scale
    expected = np.linalg.solve(grams.B + ridge * np.eye(60), R)
    np.testing.assert_allclose(basis.precondition(R, ridge), expected, rtol=1e-8)


def test_progress_tells_columns_and_residuals():
    steps = []
    found = solve_davidson(CountedGrams(), 4, progress=lambda columns, residual: steps.append((columns, residual)))
    columns, residuals = zip(*steps, strict=True)
    assert list(columns) == sorted(columns) and residuals[-1] <= 1e-3 < min(residuals[:-1])
    assert columns[-1] == found.search.columns and residuals[-1] == found.residuals.max()


def test_products_of_a_network():
    """jvp and vjp of a float32 network, against its Jacobian in closed form."""
    toy = TanhToy(z_dim=40, shape=(3, 16, 16))
    hook = toy.hook()
    mask = np.zeros((16, 16), bool)
    mask[3:8, 4:11] = True
    sample = hook.sample(0)
    J = toy.jacobian(sample.latents['z'])
    A, B = (np.einsum('cpd,cpe->de', J[:, m], J[:, m]) for m in (mask, ~mask))
    weights = np.where(mask, 0, 1).astype(np.float32)
    weights[12:] = 5
    B_weighted = B + 4 * np.einsum('chwd,chwe->de', J[:, 12:], J[:, 12:])
    operator = RegionOperator(RegionJacobian(Viewpoint(hook, hook.space('z'), sample)), mask, weights)
    X = np.random.RandomState(0).randn(40, 3)
    A_X, B_X, background = operator.apply(X)
    for came, expected in ((A_X, A @ X), (B_X, B_weighted @ X), (background, np.einsum('dk,de,ek->k', X, B, X))):
        np.testing.assert_allclose(came, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    inside, outside = operator.sketch(4000, 4000, np.random.RandomState(0))
    for S, M in ((inside, A), (outside, B)):  # covariances converge like 1 / sqrt(4000) = 0.016, of the largest entry
        assert np.abs(S @ S.T / 4000 - M).max() < 0.1 * np.abs(M).max()
    for one, other in zip(*(operator.sketch(2, 3, np.random.RandomState(1)) for _ in range(2)), strict=True):
        np.testing.assert_array_equal(one, other)  # a run can be repeated
    found = solve_davidson(operator, 4)
    exact = solve_rayleigh(A, B_weighted, 4, trace=np.trace(B))
    np.testing.assert_allclose(found.eigenvalues, exact.eigenvalues, rtol=EIGENVALUES)
    assert found.search.trace == pytest.approx(np.trace(B), rel=1e-4)  # 40 columns span all 40 dimensions


@pytest.mark.parametrize('covariance, excluded', [(True, 0), (False, 2), (True, 2)])
def test_coordinates(covariance, excluded):
    """Dense and matrix-free, by definition: a n^T Sigma^-1 n as ridge, and n orthogonal to what is excluded."""
    grams, random = CountedGrams(d=60), np.random.RandomState(1)
    blocks = [M @ M.T + 0.1 * np.eye(30) for M in random.randn(2, 30, 30)] if covariance else None
    E = random.randn(excluded, 60) if excluded else None
    coordinates = Coordinates.of(60, blocks, E)
    found = solve_rayleigh(grams.A, grams.B, 4, coordinates=coordinates)
    if excluded:
        assert np.abs(found.directions @ E.T).max() < 1e-10 * np.linalg.norm(E)
    np.testing.assert_allclose(np.linalg.norm(found.directions, axis=1), 1, rtol=EXACT)
    # By an orthonormal basis of what is left, and the shrunk covariance written out.
    Q = scipy.linalg.null_space(E) if excluded else np.eye(60)
    precision = np.eye(60)
    if covariance:
        whole = scipy.linalg.block_diag(*blocks)
        whole = (whole / (np.trace(whole) / 60) + 0.01 * np.eye(60)) / 1.01
        precision = np.linalg.inv(whole)
    values = scipy.linalg.eigh(Q.T @ grams.A @ Q, Q.T @ (grams.B + found.ridge * precision) @ Q, eigvals_only=True)[
        ::-1
    ]
    np.testing.assert_allclose(found.eigenvalues, values[:4], rtol=1e-8)
    everything = solve_rayleigh(grams.A, grams.B, coordinates=coordinates).directions
    assert len(everything) == 60 - excluded
    if excluded:  # also those that A ignores
        assert np.abs(everything @ E.T).max() < 1e-10 * np.linalg.norm(E)
    searched = solve_davidson(grams, 4, coordinates=coordinates)
    same = solve_rayleigh(grams.A, grams.B, 4, trace=searched.search.trace, coordinates=coordinates)
    np.testing.assert_allclose(searched.eigenvalues, same.eigenvalues, rtol=EIGENVALUES)
    assert searched.search.trace == pytest.approx(found.ridge / 1e-3, rel=0.05)


def test_pooled_factors_are_pooled_matrices():
    many = [CountedGrams(d=50, seed=seed) for seed in range(3)]
    dense = DenseGrams.pooled([DenseGrams(g.A, g.B, float(np.trace(g.B))) for g in many])
    factored = FactoredGrams.pooled([FactoredGrams(g.F, g.G, float(np.trace(g.B))) for g in many])
    np.testing.assert_allclose(dense.A, sum(g.A / np.trace(g.B) for g in many) / 3, rtol=1e-12)
    np.testing.assert_allclose(dense.B, factored.outside @ factored.outside.T, rtol=1e-9, atol=EXACT)
    assert dense.background == factored.background == 1 and np.trace(dense.B) == pytest.approx(1)
    np.testing.assert_allclose(
        solve_davidson(factored, 3).eigenvalues, solve_rayleigh(dense.A, dense.B, 3).eigenvalues, rtol=1e-5
    )


@pytest.mark.parametrize(
    'change, message',
    [
        ({'num_directions': 0}, 'num_directions is 0, expected 1 to 300'),
        ({'tau': 0.0}, "tau is 0.0, and solver 'davidson' needs"),
        ({'tau': np.inf}, 'tau is inf'),
        ({'tolerance': 0}, 'tolerance is 0, expected'),
    ],
)
def test_arguments_out_of_range(change, message):
    with pytest.raises(SolverError, match=message):
        solve_davidson(CountedGrams(), **{'num_directions': 2, **change})


@pytest.mark.parametrize('part, message', [('A', 'A is zero'), ('B', 'B is zero')])
def test_nothing_to_solve(part, message):
    grams = CountedGrams(d=20)
    setattr(grams, part, np.zeros((20, 20)))
    setattr(grams, {'A': 'F', 'B': 'G'}[part], np.zeros((20, 20)))
    with pytest.raises(SolverError, match=message):
        solve_davidson(grams, 2)


@pytest.mark.parametrize('part', ['A', 'B'])
def test_non_finite_products(part):
    grams = CountedGrams(d=20)
    getattr(grams, part)[3, 3] = np.nan
    with pytest.raises(SolverError, match='hold NaN or infinity'):
        solve_davidson(grams, 2)


def test_products_that_are_not_those_of_a_gram_matrix():
    grams = CountedGrams(d=20)
    grams.B -= 0.1 * np.eye(20)  # more than its smallest eigenvalue, 0.04, and the ridge
    with pytest.raises(SolverError, match=r'B \+ a I is singular to the precision of its products with a = '):
        solve_davidson(grams, 2)


@pytest.mark.network
def test_agrees_with_the_dense_solver_on_a_real_generator():
    """The mouth of a DCGAN, whose products come from forward and reverse mode in float32."""
    hook = dcgan()
    viewpoint, mouth = Viewpoint(hook, 'z', hook.sample(0)), parse_region('mouth=0.3,0.6,0.4,0.2', (64, 64))
    found = solve_davidson(RegionOperator(RegionJacobian(viewpoint), mouth.mask, (~mouth.mask).astype(np.float32)), 2)
    assert found.search.columns < 75 < viewpoint.dim
    A, B = RegionJacobian(viewpoint).compute().gram(mouth)
    exact = solve_rayleigh(A, B, 2, trace=found.search.trace)
    np.testing.assert_allclose(found.eigenvalues, exact.eigenvalues, rtol=EIGENVALUES)
    assert angle(found.directions, exact.directions) < ANGLE
    assert found.search.trace == pytest.approx(float(B.trace()), rel=4 * found.search.trace_error + 1e-3)
