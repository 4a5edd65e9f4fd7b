"""Every rival against a case whose answer is known without it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.linalg
import torch

from resefa_plugin import Auto
from resefa_plugin.baselines.lowrankgan import project_principal_vectors
from resefa_plugin.baselines.methods import METHODS, parse_method
from resefa_plugin.baselines.problem import JacobianStore, MethodError, Problem
from resefa_plugin.baselines.published import grey_jacobian, published_rows, solve_published
from resefa_plugin.baselines.robust_pca import robust_pca
from resefa_plugin.baselines.stylespace import local_channels
from resefa_plugin.errors import ResefaError, SolverError
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.channels import channel_energies
from resefa_plugin.jacobian.common_basis import CommonBasis
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.rayleigh.solve import solve_rayleigh
from resefa_plugin.regions.partition import RegionPartition
from tests.helpers.rival_toys import PatchHook
from tests.helpers.runs import factorizer
from tests.helpers.toys import TanhToy, TinyHook, TwoPartToy

FLOAT32 = 1e-5       # rounding of unit vectors in float32
RECOVERED = 1e-5     # robust PCA stops at a relative gap of 1e-7
SAMPLED = 0.05       # 10,000 random w: axes of a covariance are off by 1 / sqrt(10,000) times a factor of the gaps


def problem(hook, mask, space='w', k=3, layers=None, attribute='', seed=0, folder=None, name='part'):
    return Problem(hook, space, hook.sample(seed), RegionPartition(mask, name), k,
                   JacobianStore(hook, space, folder=folder), layers, attribute)


def same_lines(rows, expected, tolerance):
    """Rows agree up to their signs."""
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    return rows.shape == expected.shape and np.abs(np.abs(np.sum(rows * expected, axis=1)) - 1).max() < tolerance


@pytest.mark.parametrize('name', METHODS)
def test_every_method_gives_unit_directions_of_its_space_and_its_seconds(name):
    hook = PatchHook()
    found = METHODS[name](problem(hook, hook.patch_mask(0, 1)))
    assert found.directions.dtype == np.float32 and 1 <= len(found.directions) <= 3
    assert found.directions.shape[1] == found.space.dim
    assert np.allclose(np.linalg.norm(found.directions, axis=1), 1, atol=FLOAT32)
    assert all(seconds >= 0 for seconds in found.seconds.values()) and set(found.extrapolated) <= set(found.seconds)


@pytest.mark.parametrize('layers', [None, (1,), (0, 2)])
def test_sefa_gives_the_right_singular_vectors_of_the_chosen_affine_weights(layers):
    hook = PatchHook()
    found = METHODS['sefa'](problem(hook, hook.patch_mask(0), layers=layers))
    stacked = hook.A[list(layers or (0, 1, 2))].reshape(-1, 6)
    assert same_lines(found.directions, np.linalg.svd(stacked)[2][:3], FLOAT32)
    assert found.space.name == 'w' and found.space.layers == layers


def test_ganspace_finds_the_axes_of_largest_variance():
    hook = PatchHook()
    found = METHODS['ganspace'](problem(hook, hook.patch_mask(0), layers=(1, 2)))
    order = np.argsort(-hook.spread)[:3]
    assert same_lines(found.directions, np.eye(6)[order], SAMPLED)
    assert found.space.layers == (1, 2)


@pytest.mark.parametrize('name, why', [('sefa', 'affine maps from w to styles'),
                                       ('ganspace', 'those of its z are noise'),
                                       ('stylespace', 'no styles'), ('resefa-s', 'no styles')])
def test_a_generator_without_styles_is_refused_with_the_reason(name, why):
    hook = TanhToy().hook()
    mask = np.zeros((8, 8), bool)
    mask[:4] = True
    with pytest.raises(MethodError, match=why) as caught:
        METHODS[name](problem(hook, mask, 'z'))
    assert 'tanh-toy' in str(caught.value)


def test_robust_pca_recovers_a_low_rank_and_a_sparse_part():
    random = np.random.RandomState(0)
    U = random.randn(80, 4)
    L = U @ U.T
    S = np.zeros((80, 80))
    rows, columns = random.randint(80, size=(2, 120))
    S[rows, columns] = S[columns, rows] = 10 * random.randn(120)
    low_rank, sparse = robust_pca(L + S)
    assert np.linalg.norm(low_rank - L) < RECOVERED * np.linalg.norm(L)
    assert np.linalg.norm(sparse - S) < RECOVERED * np.linalg.norm(S)


def test_robust_pca_refuses_a_zero_matrix_and_says_when_it_does_not_converge(monkeypatch):
    with pytest.raises(SolverError, match='robust PCA of a zero matrix'):
        robust_pca(np.zeros((4, 4)))
    monkeypatch.setattr('resefa_plugin.baselines.robust_pca.MAX_ITERATIONS', 1)
    with pytest.raises(SolverError, match='did not converge in 1 iterations'):
        robust_pca(np.diag([1.0, 2.0, 3.0]) + 0.3)


def low_rank_gram(vectors, weights):
    return (vectors.T * np.asarray(weights)) @ vectors


def test_lowrankgan_projects_the_principal_vectors_on_the_null_space_of_the_rest():
    Q = np.linalg.qr(np.random.RandomState(1).randn(60, 60))[0]
    rest, region = Q[:2], np.stack([0.6 * Q[0] + 0.8 * Q[2], Q[3]])
    noise = np.diag(1e-3 * np.random.RandomState(2).rand(60))  # sparse: robust PCA takes it away, plain PCA would not
    directions = project_principal_vectors(low_rank_gram(region, [5, 3]) + noise, low_rank_gram(rest, [4, 2]) + noise)
    assert same_lines(directions, Q[2:4], RECOVERED)


def test_lowrankgan_says_when_nothing_is_left(monkeypatch):
    Q = np.linalg.qr(np.random.RandomState(1).randn(60, 60))[0]
    with pytest.raises(MethodError, match='nothing is left of them in its null space'):
        project_principal_vectors(low_rank_gram(Q[:1], [5]), low_rank_gram(Q[:2], [4, 2]))
    monkeypatch.setattr('resefa_plugin.baselines.lowrankgan.robust_pca', lambda gram: (gram, 0 * gram))
    with pytest.raises(MethodError, match='all 3 dimensions, and there is no null space'):
        project_principal_vectors(np.eye(3), np.eye(3))


def test_stylespace_finds_the_channels_that_paint_the_region(monkeypatch):
    hook = PatchHook()
    monkeypatch.setattr('resefa_plugin.baselines.stylespace.ACTIVE_SHARE', 1.0)
    half = hook.patch_mask(4)
    half[8:12] = False  # of channel 4 half is inside, of 7 all
    found = METHODS['stylespace'](problem(hook, half | hook.patch_mask(7), k=2))
    assert found.space.name == 's' and found.directions.argmax(axis=1).tolist() == [7, 4]
    assert np.array_equal(np.sort(found.directions, axis=1)[:, -2:], [[0, 1], [0, 1]])


def test_stylespace_energies_are_those_of_the_jacobian():
    toy = TanhToy(z_dim=5, shape=(3, 16, 16))
    hook = toy.hook()
    sample = hook.sample(0)
    mask = np.zeros((16, 16), bool)
    mask[2:9, 3:12] = True
    J = toy.jacobian(sample.latents['z'])
    exact = [np.square(J[:, part]).sum(axis=(0, 1)) for part in (mask, ~mask)]
    estimated = channel_energies(RegionJacobian(Viewpoint(hook, hook.space('z'), sample)), mask, probes=2000)
    # Standard error of a mean of 2000 squares that are about chi-squared: sqrt(2 / 2000) = 3 %; four of them.
    assert np.allclose(estimated, exact, rtol=0.13)


def test_stylespace_leaves_out_channels_that_hardly_matter():
    inside, outside = np.full(100, 1e-9), np.zeros(100)
    inside[:5], outside[:5] = [5, 4, 3, 2, 1], [5, 0.4, 9, 2, 3]
    assert local_channels(inside, outside).tolist() == [1, 0, 3, 2, 4][:5]


def test_the_published_solver_solves_the_unregularised_quotient():
    random = np.random.RandomState(0)
    J_f, J_b = random.randn(5, 40).astype(np.float32), random.randn(5, 200).astype(np.float32)
    A, B = (J.astype(float) @ J.T.astype(float) for J in (J_f, J_b))
    expected = scipy.linalg.eigh(A, B)[1].T[::-1]
    assert same_lines(solve_published(J_f, J_b), expected, 1e-3)  # non-symmetric float32 arithmetic


def test_the_published_solver_says_when_the_rest_is_singular():
    with pytest.raises(MethodError, match='inverts the Gram matrix of the rest without a ridge'):
        solve_published(np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32))


def test_the_published_procedure_sums_channels_and_takes_nearest_neighbours():
    """A latent that moves red up and blue down is invisible to it, and so is one that moves pixels that the resize
    skips.
    """
    def images(z):
        base = torch.zeros(len(z), 3, 512, 512)
        red_blue = torch.tensor([1.0, 0.0, -1.0])[:, None, None]
        skipped = torch.zeros(512, 512)
        skipped[1::2, 1::2] = 1
        left = torch.zeros(512, 512)
        left[:, :256] = 1
        parts = [red_blue * left, skipped.expand(3, -1, -1), left.expand(3, -1, -1)]
        return base + sum(z[:, i, None, None, None] * part for i, part in enumerate(parts))
    hook = FunctionHook(images, 3)
    row = next(published_rows(Viewpoint(hook, 'z', hook.sample(0)).full()))
    assert row[0, :2].tolist() == [0, 0]
    mask = np.zeros((512, 512), bool)
    mask[:, :256] = True
    asked = problem(hook, mask, 'z')
    with pytest.raises(MethodError):  # nothing that it sees changes the rest
        METHODS['published'](asked)
    grey = grey_jacobian(asked, hook.space('z')).reshape(3, 256, 256)
    assert not grey[:2].any() and np.array_equal(grey[2], np.tile(np.arange(256) < 128, (256, 1)) * 3.0)


def test_published_layers_are_those_of_the_same_depth():
    hook = PatchHook()
    hook.num_ws = 18
    hook.A = np.random.RandomState(0).randn(18, 4, 6)
    hook.b, hook.style_dims = np.zeros((18, 4)), (4,) * 18
    hook.from_styles = lambda styles, resolution: PatchHook.from_styles(hook, [sum(styles[i::3]) for i in range(3)],
                                                                        resolution)
    mask = hook.patch_mask(0, 1, 2, 3)
    for asked, layers in ((problem(hook, mask), (4, 5, 6, 7)), (problem(hook, mask, name='eyebrows'), (8, 9, 10, 11)),
                          (problem(hook, mask, attribute='lipstick'), (8, 9, 10, 11)),
                          (problem(hook, mask, layers=(2,)), (2,))):
        assert METHODS['published'](asked).space.layers == layers


def test_resefa_gives_what_the_factorizer_gives():
    hook = TinyHook()
    mask = np.zeros((32, 32), bool)
    mask[8:20, 8:20] = True
    found = METHODS['resefa'](problem(hook, mask, layers=(1, 2)))
    result, = factorizer(hook, [hook.sample(0)], [RegionPartition(mask, 'part')], 'w', (1, 2), solver=Auto(3)).run()
    assert np.allclose(found.directions, result.directions.directions, atol=FLOAT32)


@pytest.mark.parametrize('name, space, dim', [('resefa-quick', 'w', 6), ('resefa-s', 's', 12)])
def test_resefa_without_the_jacobian_gives_the_dense_answer(name, space, dim):
    hook = PatchHook()
    hook.gain = np.linspace(1, 2, 12)
    half = hook.patch_mask(4)
    half[8:12] = False
    asked = problem(hook, half | hook.patch_mask(7), k=1)
    found = METHODS[name](asked)
    jacobian = RegionJacobian(Viewpoint(hook, hook.space(space), asked.sample)).compute()
    dense = solve_rayleigh(*jacobian.gram(asked.region), 1)
    assert found.space.name == space and found.directions.shape == (1, dim)
    assert same_lines(found.directions, dense.directions, 1e-3)  # residuals of 1e-2: cosines are off by their squares


@pytest.mark.parametrize('name', ['resefa-s', 'stylespace'])
def test_what_takes_long_is_found_once_for_rows_that_share_a_region(name):
    hook = PatchHook()
    asked = problem(hook, hook.patch_mask(4))
    found = METHODS[name](asked)
    other_attribute = dataclasses.replace(asked, attribute='lipstick')
    other_region = dataclasses.replace(asked, region=RegionPartition(hook.patch_mask(5), 'part'))
    assert METHODS[name](other_attribute) is found
    assert not np.array_equal(METHODS[name](other_region).directions, found.directions)


def test_regions_of_a_large_space_share_a_basis(monkeypatch):
    for limit in ('DENSE_LIMIT', 'BASIS_TANGENTS'):
        monkeypatch.setattr(f'resefa_plugin.rayleigh.solvers.{limit}', 2)
    hook, computed, compute = PatchHook(), [], CommonBasis.compute
    monkeypatch.setattr(CommonBasis, 'compute', lambda jacobian: computed.append(jacobian) or compute(jacobian))
    asked = problem(hook, hook.patch_mask(4) | hook.patch_mask(7), k=1)
    for one in (asked, dataclasses.replace(asked, region=RegionPartition(hook.patch_mask(5), 'part'))):
        found = METHODS['resefa-s'](one)
        jacobian = RegionJacobian(Viewpoint(hook, hook.space('s'), one.sample)).compute()
        assert same_lines(found.directions, solve_rayleigh(*jacobian.gram(one.region), 1).directions, 1e-3)
        assert set(found.seconds) == {'jacobian', 'solve'}
    assert len(computed) == 1


def test_a_kept_jacobian_is_timed_by_extrapolation(tmp_path):
    hook = TanhToy(z_dim=20).hook()
    mask = np.eye(8, dtype=bool)
    first = METHODS['resefa'](problem(hook, mask, 'z', folder=tmp_path))
    again = METHODS['resefa'](problem(hook, mask, 'z', folder=tmp_path))
    assert first.extrapolated == () and again.extrapolated == ('jacobian',)
    assert np.array_equal(first.directions, again.directions)


def test_methods_by_name_with_layers_and_by_file(tmp_path):
    assert parse_method('sefa') == (METHODS['sefa'], None)
    assert parse_method('sefa:4-7') == (METHODS['sefa'], (4, 5, 6, 7))
    with pytest.raises(ResefaError,
                       match="method 'stylegan' is not one of resefa, .*published, .*sefa:4-7, or a directions file"):
        parse_method('stylegan')
    with pytest.raises(ResefaError, match="expected ascending layers as in sefa:4-7"):
        parse_method('sefa:7-4')
    np.save(tmp_path / 'smile.npy', np.arange(6.0)[None])
    method, layers = parse_method(f'{tmp_path}/smile.npy:1-2')
    hook = PatchHook()
    found = method(problem(hook, hook.patch_mask(0), layers=layers))
    assert found.space.layers == (1, 2) and same_lines(found.directions, np.arange(6.0)[None], FLOAT32)


def test_our_own_directions_file_keeps_its_own_space(tmp_path):
    hook = TwoPartToy().hook()
    mask = np.zeros((8, 8), bool)
    mask[:, :4] = True
    result, = factorizer(hook, [hook.sample(0)], [RegionPartition(mask, 'left')]).run()
    result.directions.save(tmp_path / 'left.npz')
    found = parse_method(str(tmp_path / 'left.npz'))[0](problem(hook, mask, 'z', k=1))
    assert np.allclose(found.directions, result.directions.directions[:1], atol=FLOAT32)
