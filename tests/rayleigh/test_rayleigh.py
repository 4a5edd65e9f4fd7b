"""Solvers of the Rayleigh quotient against scipy, exact toys, and each other."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import threadpoolctl
import torch

from resefa_plugin.errors import SolverError
from resefa_plugin.rayleigh import problem as problem_module
from resefa_plugin.rayleigh import solve
from resefa_plugin.rayleigh.problem import RayleighProblem
from resefa_plugin.rayleigh.solution import SIGN_TIE, finish, fix_signs
from resefa_plugin.rayleigh.solve import METHODS, solve_rayleigh
from resefa_plugin.rayleigh.woodbury import apply_inverse_root

# The agreement that float64 solvers owe each other on well-posed input; observed 1e-12.
AGREE = 1e-8
# A few roundings of float64.
EXACT = 1e-12

EXACT_METHODS = sorted(METHODS)


def gram(rows: int, d: int, seed: int, decay: float = 1.0) -> np.ndarray:
    """J^T J of a random Jacobian `[rows, d]` whose columns fade by `decay`, so that eigenvalues are well apart."""
    J = np.random.RandomState(seed).randn(rows, d) * decay ** np.arange(d)
    return J.T @ J


def oracle(A: np.ndarray, B: np.ndarray, tau: float) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, descending, and unit eigenvectors in rows, from LAPACK's generalized driver."""
    values, vectors = scipy.linalg.eigh(A, B + tau * np.trace(B) * np.eye(len(B)))
    return values[::-1], (vectors / np.linalg.norm(vectors, axis=0)).T[::-1]


def assert_same_lines(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Rows agree up to sign."""
    cosines = np.sum(actual * expected, axis=1)
    np.testing.assert_allclose(actual * np.sign(cosines)[:, None], expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize('solver', EXACT_METHODS)
@pytest.mark.parametrize('tau', [1e-3, 1e-1])
@pytest.mark.parametrize('num_directions', [None, 5])
def test_agrees_with_scipy(solver, tau, num_directions):
    A, B = gram(60, 24, seed=0, decay=.8), gram(80, 24, seed=1, decay=.9)
    values, vectors = oracle(A, B, tau)
    solution = solve_rayleigh(A, B, num_directions, tau=tau, solver=solver)
    k = num_directions or 24
    assert solution.directions.shape == (k, 24) and solution.directions.dtype == np.float64
    np.testing.assert_allclose(solution.eigenvalues, values[:k], rtol=AGREE, atol=AGREE * values[0])
    # Vectors are determined to (rounding) / (gap); the gaps among the first five are above 1e-3 of the eigenvalue.
    assert_same_lines(solution.directions[:5], vectors[:5], AGREE)
    np.testing.assert_allclose(np.linalg.norm(solution.directions, axis=1), 1, rtol=EXACT)
    assert np.all(np.diff(solution.eigenvalues) <= 0)
    assert np.all(solution.residuals < AGREE)
    assert solution.ridge == pytest.approx(tau * np.trace(B), rel=EXACT)
    assert (solution.tau, solution.solver) == (tau, solver)


def test_solvers_agree_on_rank_deficient_background():
    A, B = gram(60, 30, seed=2, decay=.8), gram(7, 30, seed=3)
    dense = solve_rayleigh(A, B, 8, solver='dense')
    woodbury = solve_rayleigh(A, B, 8, solver='woodbury')
    assert (dense.rank, woodbury.rank) == (None, 7)
    np.testing.assert_allclose(woodbury.eigenvalues, dense.eigenvalues, rtol=AGREE)
    np.testing.assert_allclose(woodbury.directions, dense.directions, atol=AGREE)


def test_rank_deficient_foreground_has_zero_eigenvalues():
    A, B = gram(3, 12, seed=4), gram(40, 12, seed=5)
    solution = solve_rayleigh(A, B)
    assert np.all(solution.eigenvalues[:3] > 1e-3)
    assert np.all(np.abs(solution.eigenvalues[3:]) < EXACT * solution.eigenvalues[0])
    assert np.all(solution.residuals < 1e-6)  # rounding above the sqrt(eps) floor


@pytest.mark.parametrize('solver', EXACT_METHODS)
def test_exact_diagonal(solver):
    """A = diag(4, 9, 1), B = diag(1, 3, 0), tau = 1/4 so that a = 1: the quotients are 4/2, 9/4, 1/1."""
    solution = solve_rayleigh(np.diag([4., 9., 1.]), np.diag([1., 3., 0.]), tau=.25, solver=solver)
    np.testing.assert_allclose(solution.eigenvalues, [9 / 4, 2, 1], rtol=EXACT)
    np.testing.assert_allclose(solution.directions, np.eye(3)[[1, 0, 2]], atol=EXACT)
    assert solution.ridge == 1


def test_exact_without_ridge():
    """A = e e^T with e = (1, 1), B = diag(1, 4): n ~ B^-1 e = (1, 1/4), lambda = e^T B^-1 e = 5/4."""
    solution = solve_rayleigh(np.ones((2, 2)), np.diag([1., 4.]), 1, tau=0)
    np.testing.assert_allclose(solution.eigenvalues, [5 / 4], rtol=EXACT)
    np.testing.assert_allclose(solution.directions, [np.array([4., 1.]) / np.sqrt(17)], rtol=EXACT)


def test_one_dimension():
    solution = solve_rayleigh(np.array([[2.]]), np.array([[4.]]), tau=.5)
    assert solution.directions.tolist() == [[1.]]
    np.testing.assert_allclose(solution.eigenvalues, [1 / 3], rtol=EXACT)


@pytest.mark.parametrize('solver', EXACT_METHODS)
@pytest.mark.parametrize('a_scale, b_scale', [(1e-9, 1e9), (1e6, 1e6), (1e12, 1e-12)])
def test_scale_invariance(solver, a_scale, b_scale):
    A, B = gram(60, 16, seed=6, decay=.8), gram(60, 16, seed=7, decay=.9)
    plain = solve_rayleigh(A, B, 4, solver=solver)
    scaled = solve_rayleigh(a_scale * A, b_scale * B, 4, solver=solver)
    np.testing.assert_allclose(scaled.eigenvalues, plain.eigenvalues * (a_scale / b_scale), rtol=AGREE)
    np.testing.assert_allclose(scaled.directions, plain.directions, atol=AGREE)


def test_first_direction_beats_random_ones():
    A, B = gram(60, 16, seed=8), gram(60, 16, seed=9)
    solution = solve_rayleigh(A, B, 1)
    n = np.random.RandomState(10).randn(200, 16)
    regularised = B + solution.ridge * np.eye(16)
    quotients = np.einsum('ki,ij,kj->k', n, A, n) / np.einsum('ki,ij,kj->k', n, regularised, n)
    assert quotients.max() < solution.eigenvalues[0]


def test_accepts_float32_tensors_that_need_grad():
    A, B = gram(60, 8, seed=11), gram(60, 8, seed=12)
    tensors = [torch.tensor(M, dtype=torch.float32, requires_grad=True) for M in (A, B)]
    solution = solve_rayleigh(*tensors, 2)
    np.testing.assert_allclose(solution.eigenvalues, solve_rayleigh(A, B, 2).eigenvalues, rtol=1e-5)  # float32 input
    assert np.all(solution.residuals < AGREE)
    # numpy has no such type; entries are rounded to 8 bits.
    coarse = [torch.tensor(M, dtype=torch.bfloat16) for M in (A, B)]
    np.testing.assert_allclose(solve_rayleigh(*coarse, 2).eigenvalues, solution.eigenvalues, rtol=0.1)


def test_does_not_change_its_input():
    A, B = gram(60, 8, seed=11), gram(60, 8, seed=12)
    copies = A.copy(), B.copy()
    solve_rayleigh(A, B)
    assert np.array_equal(A, copies[0]) and np.array_equal(B, copies[1])


@pytest.mark.parametrize('scale', [1e-20, 1, 1e20])
def test_a_small_ridge_makes_a_singular_background_regular(scale):
    """Below the permitted rounding of B, 1e-5, and far above that of float64."""
    A, B = np.diag([1., 2., 3., 4.]), scale * np.diag([1., 1., 1., 0.])
    solution = solve_rayleigh(A, B, tau=1e-6)
    np.testing.assert_allclose(solution.eigenvalues * scale, [4 / 3e-6, 3, 2, 1], rtol=1e-5)  # or 3 / (1 + 3e-6)
    with pytest.raises(SolverError, match='singular with tau = 1e-17'):
        solve_rayleigh(A, B, tau=1e-17)


@pytest.mark.parametrize('scale', [1e-9, 1, 1e9])
def test_what_counts_as_rounding_is_relative_to_the_matrix(scale):
    """Of ones(40), whose diagonal is 1 and whose largest eigenvalue is 40: 1e-5 of that is 4e-4."""
    across = np.eye(40)[0] - np.eye(40)[1]
    for part, A, B in (('A', 0, np.eye(40)), ('B', np.eye(40), 0)):
        for below, refused in ((1e-4, False), (1e-3, True)):
            M = scale * (np.ones((40, 40)) - below / 2 * np.outer(across, across))
            arguments = [M if isinstance(other, int) else other for other in (A, B)]
            if refused:
                with pytest.raises(SolverError, match=f'^{part} is indefinite'):
                    solve_rayleigh(*arguments, 1)
            else:
                assert solve_rayleigh(*arguments, 1).residuals[0] < AGREE
    with pytest.raises(SolverError, match='^A is not symmetric'):
        solve_rayleigh(scale * np.triu(np.ones((4, 4))), np.eye(4))


def test_ordinary_matrices_need_no_eigenvalues_to_be_checked(monkeypatch):
    """A Cholesky factor takes a fifth of the time. Of float32, and with a dimension that changes nothing."""
    monkeypatch.setattr(problem_module, '_extremes', None)
    A, B = (gram(5, 16, seed=seed).astype(np.float32).astype(np.float64) for seed in (20, 21))
    A[0] = A[:, 0] = B[0] = B[:, 0] = 0
    assert np.all(solve_rayleigh(A, B, 3).residuals < AGREE)


@pytest.mark.parametrize('scale', [1e-9, 1, 1e9])
@pytest.mark.parametrize('length', [1e-6, 1, 1e6])
def test_the_residual_of_a_direction_that_the_region_ignores(scale, length):
    """A n = (1e-9, 0) and B n = n, so that lambda is 1e-18: |A n| is below the floor, sqrt(eps) |A|."""
    problem = RayleighProblem(scale * np.diag([1., 0.]), np.eye(2), 0, 0)
    solution = finish(problem, length * np.array([[1e-9], [1.]]), 'dense', None)
    assert solution.residuals[0] == pytest.approx(1e-9 / np.sqrt(np.finfo(np.float64).eps), rel=1e-6)


def test_small_problems_are_solved_by_one_thread(monkeypatch):
    counts = []

    def spy(*arguments):
        counts.append({pool['num_threads'] for pool in threadpoolctl.threadpool_info() if pool['user_api'] == 'blas'})
        return METHODS['woodbury'](*arguments)

    monkeypatch.setattr(solve, 'SMALL', 4)
    monkeypatch.setitem(METHODS, 'dense', spy)
    with threadpoolctl.threadpool_limits(2, user_api='blas'):
        for d in (4, 5):
            solve_rayleigh(gram(20, d, seed=22), gram(20, d, seed=23))
            assert solve_rayleigh(torch.eye(d), np.eye(d)).solver == 'dense'
    assert counts == [{1}, {1}, {2}, {2}]


# --- Woodbury ---------------------------------------------------------------------------------------------------------

def eigenbasis(B: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    D_squared, V = np.linalg.eigh(B)
    return V[:, -rank:], D_squared[-rank:]


def test_printed_equation_12_is_not_the_inverse():
    B = gram(6, 10, seed=13) / 10  # far from the one scale, a = 1, at which the two forms are the same
    V, D_squared = eigenbasis(B, 6)
    a = 1e-3 * np.trace(B)
    D_tilde = np.diag(D_squared / (a + D_squared))
    inverse = np.linalg.inv(B + a * np.eye(10))
    corrected = np.eye(10) / a - V @ D_tilde @ V.T / a
    printed = a * np.eye(10) - V @ D_tilde @ V.T / a
    scale = np.abs(inverse).max()
    np.testing.assert_allclose(corrected, inverse, atol=EXACT * scale)
    assert np.abs(printed - inverse).max() > .5 * scale
    assert np.linalg.eigvalsh(printed)[0] < 0  # not even positive

    root = apply_inverse_root(V, D_squared, a, np.eye(10))
    np.testing.assert_allclose(root, root.T, atol=EXACT * np.sqrt(scale))
    np.testing.assert_allclose(root @ root, inverse, atol=EXACT * scale)
    assert np.linalg.eigvalsh(root)[0] > 0  # there are others, of which some eigenvalues are negative


def test_truncated_rank_solves_the_truncated_problem():
    A, B = gram(60, 20, seed=14, decay=.8), gram(60, 20, seed=15, decay=.6)
    V, D_squared = eigenbasis(B, 4)
    a = 1e-3 * np.trace(B)  # of the whole B, not of what is kept
    _, vectors = scipy.linalg.eigh(A, (V * D_squared) @ V.T + a * np.eye(20))
    expected = (vectors / np.linalg.norm(vectors, axis=0)).T[::-1][:1]
    solution = solve_rayleigh(A, B, 1, rank=4)
    assert (solution.solver, solution.rank) == ('woodbury', 4)
    assert_same_lines(solution.directions, expected, AGREE)
    n = solution.directions[0]
    assert solution.eigenvalues[0] == pytest.approx(n @ A @ n / (n @ B @ n + a), rel=EXACT)


def test_truncation_costs_quotient_and_shows_in_the_residual():
    A, B = gram(60, 20, seed=14, decay=.8), gram(60, 20, seed=15, decay=.6)
    best = solve_rayleigh(A, B, 1).eigenvalues[0]
    solutions = {rank: solve_rayleigh(A, B, 1, rank=rank) for rank in (1, 4, 8, 20)}
    assert all(solution.eigenvalues[0] <= best * (1 + EXACT) for solution in solutions.values())
    assert solutions[1].eigenvalues[0] < .9 * best
    assert solutions[20].eigenvalues[0] == pytest.approx(best, rel=AGREE)
    assert solutions[1].residuals[0] > .1 and solutions[20].residuals[0] < AGREE


def test_truncated_directions_stay_sorted_by_what_they_attain():
    A, B = gram(60, 20, seed=14), gram(60, 20, seed=15)
    assert np.all(np.diff(solve_rayleigh(A, B, rank=1).eigenvalues) <= 0)


# --- Signs ------------------------------------------------------------------------------------------------------------

def test_sign_rule():
    rows = np.array([
        [.1, -.9, .2],                   # largest is negative: flipped
        [-.5, .8, .1],                   # largest is positive: kept
        [-.7, .7 * (1 + 1e-9), 0.],      # tied within rounding: the first decides
        [-.7, .7 * (1 + 1e-3), 0.],      # not tied
    ])
    expected = rows * [[-1], [1], [-1], [1]]
    np.testing.assert_array_equal(fix_signs(rows), expected)
    np.testing.assert_array_equal(fix_signs(-rows), expected)
    assert 1e-9 < SIGN_TIE < 1e-3


@pytest.mark.parametrize('solver', EXACT_METHODS)
def test_signs_do_not_depend_on_the_solver(solver):
    """Components that tie exactly, by symmetry, are where rounding would decide."""
    J_f = np.array([[1., -1.]])
    solution = solve_rayleigh(J_f.T @ J_f, np.eye(2), 1, solver=solver)
    np.testing.assert_allclose(solution.directions, [[np.sqrt(.5), -np.sqrt(.5)]], rtol=EXACT)


# --- Errors -----------------------------------------------------------------------------------------------------------

GOOD = gram(20, 4, seed=16)


@pytest.mark.parametrize('A, B, options, message', [
    (GOOD * np.nan, GOOD, {}, r'^A holds 16 NaN or infinite entries of 16'),
    (GOOD, np.where(np.eye(4) > 0, np.inf, GOOD), {}, r'^B holds 4 NaN or infinite'),
    (np.ones((4, 3)), GOOD, {}, r'A has shape \[4, 3\], expected a square matrix'),
    (np.ones((0, 0)), GOOD, {}, r'A has shape \[0, 0\]'),
    (np.ones(4), GOOD, {}, r'A has shape \[4\]'),
    (np.array(1.), GOOD, {}, r'A has shape \[\]'),
    (GOOD, np.eye(5), {}, r'A has shape \[4, 4\] and B has shape \[5, 5\]'),
    (GOOD.astype(complex), GOOD, {}, r'A is complex128, expected .* real numbers'),
    (torch.ones(4, 4, dtype=torch.complex64), GOOD, {}, r'A is torch.complex64'),
    (GOOD.tolist(), GOOD, {}, r'A is list, expected a torch tensor or a numpy array'),
    (np.triu(GOOD), GOOD, {}, r'A is not symmetric'),
    (GOOD, np.triu(GOOD), {}, r'B is not symmetric'),
    (np.diag([1., 2., 3., -.01]), GOOD, {}, r'^A is indefinite \(eigenvalues from -0.01 to 3\)'),
    (GOOD, np.diag([1., 1., 1., -.01]), {}, r'^B is indefinite'),
    (GOOD, -GOOD, {}, r'B is indefinite'),
    (np.zeros((4, 4)), GOOD, {}, r'A is zero: no direction changes the region'),
    (GOOD, np.zeros((4, 4)), {}, r'B is zero: .* Choose a smaller region'),
    (GOOD, np.diag([1., 1., 1., 0.]), {'tau': 0}, r'B \+ a I is singular with tau = 0 .* give a larger tau'),
    (GOOD, gram(2, 4, seed=17), {'tau': 0}, r'singular with tau = 0'),
    (GOOD, np.diag([1., 1., 1., 0.]), {'tau': 1e-17}, r'singular with tau = 1e-17'),
    (GOOD, GOOD, {'tau': -1e-3}, r'tau is -0.001, expected a number of at least 0'),
    (GOOD, GOOD, {'tau': float('nan')}, r'tau is nan'),
    (GOOD, GOOD, {'tau': '1'}, r"tau is '1'"),
    (GOOD, GOOD, {'num_directions': 0}, r'num_directions is 0, expected 1 to 4'),
    (GOOD, GOOD, {'num_directions': 5}, r'num_directions is 5, expected 1 to 4'),
    (GOOD, GOOD, {'num_directions': 2.5}, r'num_directions is 2.5, expected a whole number'),
    (GOOD, GOOD, {'rank': 2.5}, r'rank is 2.5, expected a whole number'),
    (GOOD, GOOD, {'rank': 0}, r'rank is 0, expected 1 to 4'),
    (GOOD, GOOD, {'rank': 5}, r'rank is 5, expected 1 to 4'),
    (GOOD, GOOD, {'rank': 2, 'solver': 'dense'}, r"rank is 2, but solver 'dense' does not truncate"),
    (GOOD, GOOD, {'rank': 2, 'solver': 'davidson'}, r"rank is 2, but solver 'davidson' does not truncate"),
    (GOOD, GOOD, {'tau': 0, 'solver': 'woodbury'}, r"'woodbury' divides by a"),
    (GOOD, GOOD, {'tau': 0, 'solver': 'davidson'}, r"'davidson' needs a ridge a = tau tr\(B\): give a tau above 0"),
    (GOOD, GOOD, {'solver': 'svd'}, r"solver 'svd' is not one of auto, dense, woodbury"),
])
def test_errors(A, B, options, message):
    with pytest.raises(SolverError, match=message):
        solve_rayleigh(A, B, **options)


def test_float32_rounding_is_not_an_error():
    """A float32 Gram matrix of rank 3 is neither exactly symmetric nor exactly semi-definite."""
    J = np.random.RandomState(18).randn(3, 40).astype(np.float32)
    B = J.T @ J
    B[0, 1] *= np.float32(1 + 1e-6)
    assert np.linalg.eigvalsh(B.astype(np.float64))[0] < 0
    solution = solve_rayleigh(gram(60, 40, seed=19), B, 3)
    assert np.all(solution.residuals < AGREE)
