"""Solvers as objects: what they need, what they refuse, and that they find what the functions find."""

from __future__ import annotations

import numpy as np
import pytest

from resefa_plugin import Auto, Davidson, Dense, Woodbury
from resefa_plugin.errors import ResefaError, SolverError
from resefa_plugin.rayleigh.coordinates import Coordinates
from resefa_plugin.rayleigh.davidson import solve_davidson
from resefa_plugin.rayleigh.operators import DenseGrams, FactoredGrams
from resefa_plugin.rayleigh.solve import solve_rayleigh
from resefa_plugin.rayleigh.solvers import SOLVERS


def factors(d=40, m=12, seed=0):
    random = np.random.RandomState(seed)
    return random.randn(d, m), random.randn(d, m)


def dense(d=40):
    F, G = factors(d)
    B = G @ G.T + 0.1 * np.eye(d)
    return DenseGrams(F @ F.T, B, float(np.trace(B)))


@pytest.mark.parametrize('arguments, match', [
    ({'tau': float('nan')}, 'tau is nan, expected a finite number of at least 0'), ({'tau': -1}, 'tau is -1'),
    ({'tau': float('inf')}, 'tau is inf'),
    ({'num_directions': 0}, 'num_directions is 0, expected a whole number of at least 1')])
@pytest.mark.parametrize('solver', [Auto, Dense, Woodbury, Davidson])
def test_numbers_are_checked_when_a_solver_is_made(solver, arguments, match):
    with pytest.raises(ResefaError, match=match):
        solver(**arguments)


def test_tolerance_is_checked():
    with pytest.raises(SolverError, match='tolerance is 0, expected a number above 0'):
        Davidson(tolerance=0)
    with pytest.raises(ResefaError, match='tolerance is None, expected a finite number'):
        Davidson(tolerance=None)


def test_how_many_directions():
    assert [solver.count(512) for solver in (Auto(), Auto(quick=True), Auto(7, quick=True), Davidson(), Dense(3))] == [
        5,
        4,
        7,
        5,
        3,
    ]
    assert Dense().count(2) == 2 and Auto(quick=True).count(2) == 2 and Dense(1).count(2) == 1
    factored = FactoredGrams(*factors(), background=float(np.square(factors()[1]).sum()))
    assert [len(solver.solve(factored).eigenvalues) for solver in (Auto(), Auto(quick=True), Auto(1))] == [5, 4, 1]
    # Of matrices a spectrum, beyond what is kept, as far as there are dimensions
    assert [len(Dense(count).solve(dense(d)).eigenvalues) for count, d in ((3, 40), (3, 7), (25, 40))] == [20, 7, 25]


def test_matrices_are_solved_as_the_function_does():
    grams = dense()
    expected = solve_rayleigh(grams.A, grams.B, 20, tau=1e-2)
    for solver in (Dense(3, 1e-2), Auto(3, 1e-2)):
        found = solver.solve(grams)
        assert found.solver == 'dense' and len(found.eigenvalues) == 20  # a spectrum, beyond what is kept
        np.testing.assert_array_equal(found.directions, expected.directions)
    found = Woodbury(3, 1e-2, rank=10).solve(grams)
    assert (found.solver, found.rank) == ('woodbury', 10)
    np.testing.assert_array_equal(
        found.directions, solve_rayleigh(grams.A, grams.B, 20, tau=1e-2, solver='woodbury', rank=10).directions
    )
    found = Woodbury(3).solve(grams)
    assert (found.solver, found.rank) == ('woodbury', 40)


def test_the_ridge_is_relative_to_the_background_as_it_is_not_as_it_weighs():
    grams = dense()
    weighted = DenseGrams(grams.A, grams.B, grams.background / 3)
    assert Dense().solve(grams).ridge == pytest.approx(1e-3 * np.trace(grams.B), rel=1e-12)
    assert Dense().solve(weighted).ridge == pytest.approx(1e-3 * np.trace(grams.B) / 3, rel=1e-12)


@pytest.mark.parametrize('solver', [Dense(2), Woodbury(2), Davidson(2), Auto(2)])
def test_coordinates_are_those_that_are_solved_in(solver):
    grams, E = dense(), np.random.RandomState(1).randn(2, 40)
    found = solver.solve(grams, Coordinates.of(40, None, E))
    assert np.abs(found.directions @ E.T).max() < 1e-10 * np.linalg.norm(E)


def test_a_search_stops_at_its_tolerance_unless_products_cost_nothing():
    grams, steps = dense(), []
    found = Davidson(2, tolerance=1e-1).solve(grams, progress=lambda products, residual: steps.append(products))
    assert found.search is not None and 1e-3 < found.residuals.max() <= 1e-1 and steps[-1] == found.search.columns
    factored = FactoredGrams(*factors(), background=float(np.square(factors()[1]).sum()))
    for solver in (Davidson(2, tolerance=1e-1), Auto(2, quick=True)):
        found = solver.solve(factored)
        assert found.residuals.max() <= 1e-3
        np.testing.assert_array_equal(found.directions, solve_davidson(factored, 2).directions)
    # Of more directions than one step knows
    F, G = (M * fall ** np.arange(200) for M, fall in zip(factors(d=300, m=200), (0.8, 0.9), strict=True))
    many = FactoredGrams(F, G, background=float(np.square(G).sum()))
    assert solve_davidson(many, 2, tolerance=1e-1).residuals.max() > 1e-3
    for tolerance, reached in ((1e-1, 1e-3), (1e-6, 1e-6)):
        found = Davidson(2, tolerance=tolerance).solve(many)
        assert found.search.converged and found.residuals.max() <= reached


@pytest.mark.parametrize('solver', [Dense(), Woodbury()])
def test_direct_solvers_need_matrices(solver):
    assert solver.needs_jacobian(10 ** 6) and not solver.takes_kept_jacobian
    with pytest.raises(
        SolverError, match=f"solver '{solver.name}' needs A and B as matrices, from a Jacobian that is computed"
    ):
        solver.solve(FactoredGrams(*factors(), background=1.0))


def test_without_a_ridge_there_is_no_search():
    assert Auto(tau=0).needs_jacobian(10 ** 6) and Auto(tau=0, quick=True).needs_jacobian(10 ** 6)
    assert not Auto().needs_jacobian(2049) and Auto().needs_jacobian(2048)
    assert not Davidson().needs_jacobian(1) and not Davidson().takes_kept_jacobian
    with pytest.raises(SolverError, match="solver 'davidson' needs a number above 0"):
        Davidson(tau=0).solve(FactoredGrams(*factors(), background=1.0))


def test_names_of_kept_matrices():
    """As kept files have them: those of a whole Jacobian depend on nothing, those of a search on what it sought."""
    assert Dense(3).matrices_key(512, 1) == Auto(3).matrices_key(512, 1) == []
    assert Davidson(3).matrices_key(512, 1) == Auto(3).matrices_key(4096, 1) == ['searched', False, 1e-3, 3]
    assert Auto(quick=True).matrices_key(4096, 1) == ['searched', True, 1e-3, 4]
    assert Davidson(tolerance=5e-2).matrices_key(512, 1) == ['searched', 5e-2, 1e-3, 5]


def test_quick_does_without_the_jacobian_wherever_that_is_faster():
    quick = Auto(quick=True)
    assert [quick.needs_jacobian(dim) for dim in (275, 276)] == [True, False]
    assert [quick.needs_jacobian(dim, 2) for dim in (550, 551)] == [True, False]
    assert quick.takes_kept_jacobian is True and Auto().takes_kept_jacobian is False


@pytest.mark.parametrize('solver, arguments, line', [
    (Dense(), (512, 3), "space 'w' has 512 dimensions; solver dense"),
    (Woodbury(), (512, 3), "space 'w' has 512 dimensions; solver woodbury"),
    (Davidson(), (512, 3), "space 'w' has 512 dimensions; solver davidson"),
    (Auto(), (512, 3), "space 'w' has 512 dimensions; solver dense"),
    (Auto(), (4096, 1), "space 'w' has 4096 dimensions, so that its Jacobian takes 4096 tangents; 1 region without the "
                        'Jacobian takes about 275 tangents: it is not computed'),
    (Auto(quick=True), (512, 1), "space 'w' has 512 dimensions, so that its Jacobian takes 512 tangents; 1 region "
                                 'without the Jacobian takes about 275 tangents: it is not computed'),
    (Auto(quick=True), (512, 2), "space 'w' has 512 dimensions, so that its Jacobian takes 512 tangents; 2 regions "
                                 'without the Jacobian take about 550 tangents: the Jacobian is computed')])
def test_which_way_a_run_goes_is_said(solver, arguments, line):
    assert solver.choice('w', *arguments) == line


def test_names_on_the_command_line():
    """'lobpcg' is the former name of 'davidson'."""
    assert {'auto': Auto, 'dense': Dense, 'woodbury': Woodbury, 'davidson': Davidson, 'lobpcg': Davidson} == SOLVERS
