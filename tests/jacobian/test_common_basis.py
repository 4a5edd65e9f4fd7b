"""A basis common to all regions, on toys whose Jacobian is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resefa_plugin import Auto, Davidson, Dense, RegionPartition
from resefa_plugin.errors import NonFiniteError, ResefaError
from resefa_plugin.factorizer.constraints import Constraints
from resefa_plugin.factorizer.protection import Protection
from resefa_plugin.factorizer.steps import solve_region
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian import common_basis
from resefa_plugin.jacobian.common_basis import PROBES, CommonBasis, _orthonormal, picture_tiles
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.rayleigh.solvers import BASIS_TANGENTS
from tests.helpers.toys import TanhToy, TinyHook

REGION = RegionPartition(RegionPartition.from_box(2, 2, 6, 6, (16, 16)).mask, 'box')
CORNER = RegionPartition(RegionPartition.from_box(10, 10, 5, 5, (16, 16)).mask, 'corner')


def jacobian(dim=600, rank=40):
    """Of a picture that `rank` of `dim` dimensions move; tanh of sparse sums, so that each moves a part of it."""
    toy = TanhToy(z_dim=dim, shape=(3, 16, 16))
    random = np.random.RandomState(3)
    near = np.exp(-np.square(np.linspace(0, rank, 768)[:, None] - 0.5 - np.arange(rank)))
    toy.M = near @ random.randn(rank, dim) / dim ** 0.5
    hook = toy.hook()
    return RegionJacobian(Viewpoint(hook, 'z', hook.sample(0)))


def with_basis(J):
    J.basis = CommonBasis.compute(J)
    return J


def test_tiles_cover_a_picture_once():
    for shape in ((3, 256, 256), (1, 20, 50), (3, 8, 8)):
        covered = np.zeros(shape, int)
        for tile in picture_tiles(shape):
            covered[tile] += 1
        assert (covered == 1).all()
    assert 2 * len(list(picture_tiles((3, 256, 256)))) == PROBES and BASIS_TANGENTS == 2 * PROBES


def test_the_basis_spans_what_moves_the_picture_and_holds_its_pictures():
    J = jacobian()
    progress = []
    basis = CommonBasis.compute(J, lambda count, total: progress.append((count, total)))
    assert basis.vectors.shape == (40, 600)  # the rank of J, of 512 probes
    np.testing.assert_allclose(basis.vectors @ basis.vectors.T, np.eye(40), atol=1e-12)
    assert sum(count for count, _ in progress) == 512 + 40 and {total for _, total in progress} == {1024}
    columns = J.jvp(torch.from_numpy(basis.vectors)).flatten(1)
    assert torch.allclose(basis.inner.matrix, columns, atol=1e-5 * columns.abs().max())
    v = torch.randn(1, 600, generator=torch.Generator().manual_seed(0))
    inside = v.double().numpy() @ basis.vectors.T @ basis.vectors
    assert torch.allclose(J.jvp(v), J.jvp(torch.from_numpy(inside)), atol=1e-3 * J.jvp(v).abs().max())
    model = basis.model()
    assert model.pull(columns[0].view(J.image_shape)) == pytest.approx(
        (basis.inner.matrix @ columns[0]).numpy(), rel=1e-4)


@pytest.mark.parametrize('constraints', [
    Constraints(), Constraints((Protection(CORNER, 5.0),)), Constraints((Protection(CORNER, 3.0),), norm='covariance'),
    Constraints(orthogonal_to=np.random.RandomState(1).randn(2, 600))])
def test_regions_are_solved_as_by_the_whole_jacobian(constraints):
    J = with_basis(jacobian())
    found = solve_region(J, REGION, Auto(4), constraints)
    J.compute()
    expected = solve_region(J, REGION, Dense(4), constraints)
    assert found.basis is J.basis.vectors and expected.basis is None and found.solution.search is None
    np.testing.assert_allclose(found.solution.eigenvalues[:4], expected.solution.eigenvalues[:4], rtol=1e-3)
    cosines = np.abs(np.sum(found.solution.directions[:4] * expected.solution.directions[:4], axis=1))
    assert cosines.min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(found.solution.directions, axis=1), 1, rtol=1e-9)
    for mine, theirs in zip(found.slopes, expected.slopes, strict=True):
        np.testing.assert_allclose(mine[:4], theirs[:4], rtol=2e-2)
    for mine, theirs in zip(found.grams.quadratics(expected.solution.directions[:4] @ J.basis.vectors.T),
                            expected.grams.quadratics(expected.solution.directions[:4]), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-2)
    largest = expected.solution.directions[0][np.abs(expected.solution.directions[0]).argmax()]
    assert largest > 0 and found.solution.directions[0] @ expected.solution.directions[0] > 0


def test_the_second_half_of_the_probes_are_what_moves_most():
    """Against the singular vectors of each tile's exact rows, in the span of the first half."""
    J = jacobian(rank=300)
    basis = CommonBasis.compute(J)
    assert basis.vectors.shape == (300, 600)
    np.testing.assert_allclose(basis.vectors @ basis.vectors.T, np.eye(300), atol=1e-10)
    pictures = torch.randn(7, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.eigh(pictures.flatten(1).double().T @ pictures.flatten(1).double())
    found = common_basis._strongest(pictures).flatten()
    assert abs(found @ values.eigenvectors[:, -1]) == pytest.approx(1, abs=1e-9)


def test_what_is_new_beside_known_vectors():
    known = np.eye(20)[:3]
    rows = np.concatenate([np.eye(20)[2:5] * 1e3, np.eye(20)[:1]])
    new = _orthonormal(rows, known)
    np.testing.assert_allclose(new.T @ new, np.diag(np.eye(20)[3:5].sum(0)), atol=1e-12)
    assert len(_orthonormal(rows[:1], known)) == 0


def test_a_kept_basis_is_found_again(tmp_path, monkeypatch):
    first = CommonBasis.compute(jacobian(), path=tmp_path)
    assert len(list(tmp_path.glob('basis-*-16.npz'))) == 1 and len(list(tmp_path.glob('jacobian-*.npy'))) == 1
    monkeypatch.setattr(common_basis, '_pulled', lambda *arguments: pytest.fail('probed again'))
    progress = []
    again = CommonBasis.compute(jacobian(), lambda count, total: progress.append(count), tmp_path)
    assert np.array_equal(again.vectors, first.vectors) and torch.equal(again.inner.matrix, first.inner.matrix)
    assert sum(progress) == 512 + 40


@pytest.mark.parametrize('damage, message', [
    (lambda vectors: vectors[:, 1:], r'holds float64 \[40, 599\], expected float64 \[m, 600\]'),
    (lambda vectors: vectors.astype(np.float32), 'holds float32'),
    (lambda vectors: 2 * vectors, 'rows are not orthonormal'),
    (lambda vectors: vectors * np.nan, 'rows are not orthonormal')])
def test_a_damaged_basis_is_computed_anew(tmp_path, damage, message):
    first = CommonBasis.compute(jacobian(), path=tmp_path)
    file, = tmp_path.glob('basis-*.npz')
    np.savez(file, kind=np.array('resefa-basis'), key=np.array(file.stem), vectors=damage(first.vectors))
    with pytest.warns(UserWarning, match=message + '.*. The basis is computed anew'):
        again = CommonBasis.compute(jacobian(), path=tmp_path)
    assert np.array_equal(again.vectors, first.vectors)


def test_a_basis_under_another_name_is_computed_anew(tmp_path):
    first = CommonBasis.compute(jacobian(), path=tmp_path)
    file, = tmp_path.glob('basis-*.npz')
    for key, kind in (('basis-of-another-sample-16', 'resefa-basis'), (file.stem, 'resefa-grams')):
        np.savez(file, kind=np.array(kind), key=np.array(key), vectors=first.vectors[::-1])
        with pytest.warns(UserWarning, match='something else than its name says. The basis is computed anew'):
            again = CommonBasis.compute(jacobian(), path=tmp_path)
        assert np.array_equal(again.vectors, first.vectors)


def test_rows_count_the_same_however_long_they_are():
    rows = np.random.RandomState(0).randn(3, 20)
    assert np.linalg.norm(rows, axis=1).min() > 1
    basis = _orthonormal(np.concatenate([rows * [[1], [1e-2], [1e2]], rows[:1], np.zeros((1, 20)), 1e-9 * rows[1:2]]))
    assert basis.shape == (3, 20)
    np.testing.assert_allclose(rows @ basis.T @ basis, rows, atol=1e-12)


def test_pictures_that_do_not_move_or_are_not_finite():
    hook = FunctionHook(lambda z: 0 * z[:, :1, None, None].expand(-1, 1, 16, 16), 600, name='still')
    with pytest.raises(ResefaError, match='does not move with the latent'):
        CommonBasis.compute(RegionJacobian(Viewpoint(hook, 'z', hook.sample(0))))
    hook = FunctionHook(lambda z: (0 * z[:, :1, None, None]).sqrt().expand(-1, 1, 16, 16), 600, name='edge')
    with pytest.raises(NonFiniteError, match='edge: the Jacobian of .* contains NaN'):
        CommonBasis.compute(RegionJacobian(Viewpoint(hook, 'z', hook.sample(0))))


@pytest.mark.parametrize('space', ['w+', 's'])
def test_spaces_with_a_linearization_of_their_own(space):
    hook = TinyHook()
    J = RegionJacobian(Viewpoint(hook, space, hook.sample(0)))
    basis = CommonBasis.compute(J)
    columns = J.jvp(torch.from_numpy(basis.vectors)).flatten(1)
    assert torch.allclose(basis.inner.matrix, columns, atol=1e-4 * columns.abs().max())


def test_when_a_basis_is_computed():
    auto, quick = Auto(), Auto(quick=True)
    assert [auto.needs_basis(6752, regions) for regions in (1, 2, 9)] == [False, True, True]
    assert [quick.needs_basis(6752, regions) for regions in (1, 3, 4)] == [False, False, True]  # 275 tangents each
    assert not auto.needs_basis(2048, 9) and not Auto(tau=0).needs_basis(6752, 9)
    assert not Davidson().needs_basis(6752, 9) and not Dense().needs_basis(6752, 9)
    assert auto.matrices_key(6752, 2) == ['basis', 1024] != auto.matrices_key(6752, 1)
    assert 'in a basis for all, which takes about 1024 tangents' in auto.choice('s', 6752, 2)
