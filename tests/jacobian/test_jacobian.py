"""RegionJacobian against Jacobians known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resefa_plugin import RegionJacobian, RegionPartition
from resefa_plugin.errors import NonFiniteError, RegionError, ResefaError, TangentError
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.hooks.viewpoint import Viewpoint, default_resolution
from resefa_plugin.linearization import Linearization
from tests.helpers.toys import TanhToy

FLOAT32 = 1e-5  # relative: a few float32 roundings against an oracle in float64


def close(actual, expected, tolerance=FLOAT32):
    expected = np.asarray(expected)
    return np.abs(np.asarray(actual) - expected).max() <= tolerance * np.abs(expected).max()


def make(toy, resolution=None, **kwargs):
    hook = toy.hook()
    sample = hook.sample(3)
    return RegionJacobian(Viewpoint(hook, hook.space('z'), sample, resolution), **kwargs), sample.latents['z']


@pytest.mark.parametrize('resolution, factor', [(None, 1), (4, 2), (1, 8)])
@pytest.mark.parametrize('chunk_size', [None, 1, 4])
def test_matrix_jvp_and_vjp_are_exact(resolution, factor, chunk_size):
    toy = TanhToy()
    jacobian, z = make(toy, resolution, chunk_size=chunk_size)
    expected = toy.jacobian(z, factor)
    d = toy.z_dim
    assert close(jacobian.compute().matrix, np.moveaxis(expected, -1, 0).reshape(d, -1))
    V = torch.randn(5, d, generator=torch.Generator().manual_seed(1))
    assert close(jacobian.jvp(V), np.einsum('chwd,kd->kchw', expected, V.double().numpy()))
    U = torch.randn(2, *jacobian.image_shape, generator=torch.Generator().manual_seed(2))
    assert close(jacobian.vjp(U), np.einsum('chwd,kchw->kd', expected, U.double().numpy()))


def test_non_square_picture():
    toy = TanhToy(shape=(1, 4, 12))
    jacobian, z = make(toy, 6)
    assert jacobian.image_shape == (1, 2, 6)
    assert close(jacobian.compute().matrix, toy.jacobian(z, 2).reshape(-1, toy.z_dim).T)


@pytest.mark.parametrize('width', [2, 6])  # the smaller part is the region, or the rest
def test_gram_is_the_sum_over_each_part(width):
    toy = TanhToy()
    jacobian, z = make(toy)
    partition = RegionPartition.from_box(1, 2, width, 6, (8, 8))
    A, B = jacobian.compute().gram(partition)
    J = toy.jacobian(z)
    assert A.dtype == B.dtype == torch.float64
    for gram, mask in ((A, partition.mask), (B, ~partition.mask)):
        part = J[:, mask].reshape(-1, toy.z_dim)
        assert close(gram, part.T @ part)
        assert torch.equal(gram, gram.T)


@pytest.mark.parametrize(
    'width', [3, 5]
)  # of 8: the tiny part is the larger one, which is a difference at first, or the smaller one
@pytest.mark.parametrize('size', [1, 1e6])
def test_gram_of_a_tiny_part_is_not_lost_in_a_difference(width, size):
    """The background is 1e-6 of the foreground in size: its Gram matrix is 1e-12 of the total, as small as rounding."""
    scale = torch.full((1, 8, 8), float(size))
    scale[:, :, width:] *= 1e-7
    M = torch.randn(64, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    hook = FunctionHook(lambda z: (z @ M.T.to(z)).unflatten(1, (1, 8, 8)) * scale, 3)
    partition = RegionPartition.from_box(0, 0, width, 8, (8, 8))
    _, B = RegionJacobian(Viewpoint(hook, hook.space('z'), hook.sample(0))).compute().gram(partition)
    J = (M.numpy().reshape(8, 8, 3) * scale.double().numpy()[0, :, :, None])[~partition.mask]
    assert close(B, J.T @ J)


def test_progress_counts_every_tangent():
    counts = []
    make(TanhToy(z_dim=7), chunk_size=3)[0].compute(counts.append)
    assert counts == [3, 3, 1]
    counts.clear()
    make(TanhToy(z_dim=9))[0].compute(counts.append)
    assert counts == [8, 1]  # MAX_CHUNK


def test_a_computed_jacobian_is_not_computed_again():
    jacobian, counts = make(TanhToy())[0], []
    assert jacobian.computed is False
    matrix = jacobian.compute(counts.append).matrix
    assert jacobian.computed is True and jacobian.compute(counts.append).matrix is matrix and sum(counts) == 6


@pytest.mark.parametrize('in_parts, size', [(None, 3), (False, 3), (True, 7)])
def test_chunks_are_what_memory_allows_unless_a_linearization_divides_them(monkeypatch, in_parts, size):
    hook = TanhToy(z_dim=7).hook()
    space, sample = hook.space('z'), hook.sample(3)
    push = RegionJacobian(Viewpoint(hook, space, sample))._forward_mode
    if in_parts is not None:
        space.linearize = lambda latent, sample, resolution: Linearization(push, in_parts=in_parts)
    monkeypatch.setattr('resefa_plugin.jacobian.region_jacobian.tangents_at_once', lambda shape, device, other: 3)
    counts = []
    RegionJacobian(Viewpoint(hook, space, sample)).compute(counts.append)
    assert counts[0] == size and sum(counts) == 7


def test_chunk_is_halved_when_memory_runs_out():
    toy = TanhToy(z_dim=8)
    jacobian, z = make(toy, chunk_size=8)
    push, sizes = jacobian._forward_mode, []

    def limited(V):
        sizes.append(len(V))
        if len(V) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return push(V)

    jacobian._push = limited
    assert close(jacobian.compute().matrix, toy.jacobian(z).reshape(-1, 8).T)
    assert sizes == [8, 4, 2, 2, 2, 2]

    jacobian, _ = make(toy, chunk_size=2)
    jacobian._push = lambda V: (_ for _ in ()).throw(torch.OutOfMemoryError('CUDA out of memory'))
    with pytest.raises(ResefaError, match='does not suffice for one tangent: choose a smaller --resolution'):
        jacobian.compute()


def test_other_errors_are_not_taken_for_memory():
    jacobian, _ = make(TanhToy())
    jacobian._push = lambda V: (_ for _ in ()).throw(RuntimeError('a bug'))
    with pytest.raises(RuntimeError, match='a bug'):
        jacobian.compute()


def test_non_finite_column():
    hook = FunctionHook(
        lambda z: z[:, :, None, None] + z.abs().sqrt().sum(1)[:, None, None, None] * 0 + z[:, :1, None, None].sqrt(), 2
    )
    jacobian = RegionJacobian(Viewpoint(hook, hook.space('z'), type(hook.sample(0))('zero', {'z': torch.zeros(1, 2)})))
    with pytest.raises(NonFiniteError, match='Jacobian of zero contains NaN'):
        jacobian.compute()


def test_wrong_arguments():
    jacobian, _ = make(TanhToy())
    with pytest.raises(ResefaError, match=r'V has shape \[2, 5\], expected \[k, 6\]'):
        jacobian.jvp(torch.zeros(2, 5))
    with pytest.raises(ResefaError, match=r'U has shape \[3, 8, 8\], expected \[k, 3, 8, 8\]'):
        jacobian.vjp(torch.zeros(3, 8, 8))
    with pytest.raises(ResefaError, match=r'U has shape \[1, 3, 8, 1\], expected \[k, 3, 8, 8\]'):
        jacobian.vjp_by_autograd(torch.zeros(1, 3, 8, 1))
    with pytest.raises(
        ResefaError, match='resolution 3 does not divide the picture of 8x8 into equal boxes; possible are 8, 4, 2, 1'
    ):
        make(TanhToy(), 3)
    with pytest.raises(RegionError):
        make(TanhToy(), 1)[0].compute().gram(RegionPartition.from_box(0, 0, 1, 1, (8, 8)))


@pytest.mark.parametrize(
    'shape, expected',
    [
        ((3, 1024, 1024), 256),
        ((3, 64, 64), 64),
        ((3, 768, 512), 192),
        ((3, 300, 300), 150),
        ((3, 96, 64), 96),
        ((3, 257, 257), 257),
    ],
)
def test_default_resolution(shape, expected):
    assert default_resolution(shape) == expected


def test_a_wrong_linearization_is_refused():
    hook = TanhToy().hook()
    space = hook.space('z')
    jacobian = RegionJacobian(Viewpoint(hook, space, hook.sample(0)))
    exact = jacobian._forward_mode
    space.linearize = lambda latent, sample, resolution: Linearization(exact)
    assert torch.equal(
        RegionJacobian(Viewpoint(hook, space, hook.sample(0))).compute().matrix, jacobian.compute().matrix
    )
    space.linearize = lambda latent, sample, resolution: Linearization(lambda V: 1.05 * exact(V))
    with pytest.raises(TangentError, match='linearization is off by 0.05 from forward-mode AD'):
        RegionJacobian(Viewpoint(hook, space, hook.sample(0))).compute()


def linearized(pull, **kwargs):
    """A Jacobian whose space has a derivative of its own, right forwards and with this pull; and the right pull."""
    hook = TanhToy().hook()
    space, sample = hook.space('z'), hook.sample(3)
    plain = RegionJacobian(Viewpoint(hook, space, sample))
    space.linearize = lambda latent, sample, resolution: Linearization(
        plain._forward_mode, pull and (lambda U: pull(plain, U))
    )
    return RegionJacobian(Viewpoint(hook, space, sample), **kwargs), plain.vjp_by_autograd


U = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_the_pull_of_a_linearization_is_used_in_chunks():
    sizes = []

    def pull(plain, U):
        sizes.append(len(U))
        return plain.vjp_by_autograd(U)

    jacobian, right = linearized(pull, chunk_size=2)
    assert torch.equal(jacobian.vjp(U), right(U))
    assert sizes == [1, 2, 2, 1]  # the check, then chunks
    assert jacobian._reverse is None


def test_a_wrong_pull_is_refused():
    jacobian, _ = linearized(lambda plain, U: 1.01 * plain.vjp_by_autograd(U))
    jacobian.jvp(torch.ones(1, 6))
    with pytest.raises(
        TangentError, match=r'linearization and the transpose of it disagree, <u, J v> = .* but <J\^T u, v> = '
    ):
        jacobian.vjp(U)


def test_without_a_pull_autograd_is_used_and_its_graph_kept():
    jacobian, right = linearized(None)
    assert torch.equal(jacobian.vjp(U), right(U))
    graph = jacobian._reverse
    assert graph is not None
    jacobian.vjp(U)
    assert jacobian._reverse is graph
    jacobian.release()
    assert jacobian._reverse is None
    assert torch.equal(jacobian.vjp(U), right(U))


def test_a_graph_of_forward_mode_is_released():
    jacobian, _ = make(TanhToy())
    jacobian.jvp(torch.ones(1, 6))
    jacobian.vjp(U)
    assert jacobian._reverse is not None
    jacobian.release()
    assert jacobian._reverse is None


@pytest.mark.parametrize('taken, kept', [(30, True), (31, False)])
def test_a_graph_that_takes_more_than_its_share_of_the_budget_is_not_kept(monkeypatch, taken, kept):
    jacobian, right = linearized(None)
    expected, free = right(U), iter([100, 100 - taken])
    module = 'resefa_plugin.jacobian.region_jacobian.'
    monkeypatch.setattr(module + 'available_bytes', lambda device: next(free))
    monkeypatch.setattr(module + 'room', lambda share, device: 30)
    assert torch.equal(jacobian.vjp_by_autograd(U), expected)
    assert (jacobian._reverse is not None) == kept


def test_what_products_keep_is_released_when_the_matrix_is_there():
    jacobian, _ = linearized(None)
    jacobian.vjp(U)
    assert jacobian._linearization is not None and jacobian._reverse is not None
    matrix = jacobian.compute().matrix
    assert '_linearization' not in jacobian.__dict__ and jacobian._reverse is jacobian._push is None
    assert torch.allclose(jacobian.jvp(torch.eye(6)).flatten(1), matrix)  # and made anew when it is asked for


def test_chunk_of_pictures_is_halved_when_memory_runs_out():
    sizes = []

    def pull(plain, U):
        sizes.append(len(U))
        if len(U) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
        return plain.vjp_by_autograd(U)

    jacobian, right = linearized(pull, chunk_size=4)
    assert torch.equal(jacobian.vjp(U), right(U))
    assert sizes == [1, 4, 2, 1, 1, 1, 1, 1]


def test_matrix_that_does_not_fit_is_refused_before_it_is_computed(monkeypatch):
    monkeypatch.setattr('resefa_plugin.jacobian.region_jacobian.room', lambda share, device: 4607)
    with pytest.raises(
        ResefaError, match="space 'z' needs 0.0 GB .* --layers, .* --resolution, a larger --memory, .* --jacobian-dir"
    ):
        make(TanhToy(), chunk_size=1)[0].compute()  # 6 * 3 * 8 * 8 * 4 = 4608 bytes


def test_a_linearization_is_not_blamed_for_a_dead_generator():
    hook = FunctionHook(lambda z: torch.zeros(len(z), 1, 8, 8) + 0 * z[:, :1, None, None], 3)
    space = hook.space('z')
    space.linearize = lambda latent, sample, resolution: Linearization(lambda V: torch.zeros(len(V), 1, 8, 8))
    assert not RegionJacobian(Viewpoint(hook, space, hook.sample(0))).jvp(torch.ones(1, 3)).any()


def test_nor_for_a_derivative_that_is_not_finite():
    hook = FunctionHook(lambda z: z[:, :, None, None] + 0 * (0 * z).sqrt()[:, :, None, None], 3)
    space = hook.space('z')
    space.linearize = lambda latent, sample, resolution: Linearization(lambda V: torch.ones(len(V), 3, 1, 1))
    assert RegionJacobian(Viewpoint(hook, space, hook.sample(0))).jvp(torch.ones(1, 3)).isnan().any()


def test_a_linearization_is_taken_where_some_pixels_do_not_change():
    hook, taken = FunctionHook(lambda z: torch.cat([z, 0 * z], dim=1)[:, None, None], 3), []
    space, sample = hook.space('z'), hook.sample(0)
    exact = RegionJacobian(Viewpoint(hook, space, sample))._forward_mode
    space.linearize = lambda latent, sample, resolution: Linearization(lambda V: taken.append(len(V)) or exact(V))
    RegionJacobian(Viewpoint(hook, space, sample)).jvp(torch.ones(2, 3))
    assert taken == [1, 2]  # the check, and what was asked for
