"""Operators, bases, channels and models on a GPU that is not there: no tensor is made or left in the wrong place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resefa_plugin import RegionJacobian, RegionPartition, Viewpoint
from resefa_plugin.hooks.biggan import BigGANHook
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.hooks.stylegan import StyleGANHook
from resefa_plugin.jacobian.channels import channel_energies
from resefa_plugin.jacobian.common_basis import CommonBasis
from resefa_plugin.jacobian.probe import probe
from resefa_plugin.jacobian.region_jacobian import tangent_seconds
from resefa_plugin.jacobian.region_operator import RegionOperator
from resefa_plugin.jacobian.sharded import ShardedJacobian
from resefa_plugin.jacobian.tangent_model import TangentModel
from resefa_plugin.machine.memory import COLUMNS
from resefa_plugin.machine.ranks import Ranks
from tests.helpers import biggan_toys
from tests.helpers.network_files import make_generator
from tests.helpers.pretend_gpu import MEMORY, assert_same_on_gpu
from tests.helpers.toys import TanhToy, tiny_on

pytestmark = pytest.mark.usefixtures('gpu')
BOX = RegionPartition(RegionPartition.from_box(2, 2, 14, 14, (32, 32)).mask, 'box')


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def style_based(device, space='w', layers=None, resolution=16, family='stylegan2'):
    hook = StyleGANHook(make_generator(family).to(device), family)
    return RegionJacobian(Viewpoint(hook, hook.space(space, layers), hook.sample(0, truncation_psi=0.7), resolution))


def tiny(device, space='w+', resolution=None):
    hook = tiny_on(device)
    return RegionJacobian(Viewpoint(hook, space, hook.sample(0), resolution))


def everything(jacobian):
    """Products, columns and Gram matrices of a Jacobian."""
    device, dim = jacobian.viewpoint.device, jacobian.viewpoint.dim
    V, U = randn(3, dim), randn(2, *jacobian.image_shape, seed=1)
    found = [jacobian.jvp(V), jacobian.vjp(U), jacobian.vjp_by_autograd(U)]
    assert {t.device for t in found} == {device}
    jacobian.compute()
    assert jacobian.matrix.device == device
    mask = torch.tensor(BOX.at(*jacobian.image_shape[1:]))
    return [*found, jacobian.matrix, jacobian.product(), jacobian.product(mask), jacobian.product(mask.numpy()),
            *jacobian.gram(BOX)]


@pytest.mark.parametrize('space, layers', [('z', None), ('w', (1, 2)), ('w+', (0, 2)), ('s', (3, 4))])
def test_spaces_of_a_network_with_a_derivative_of_its_own(space, layers):
    assert_same_on_gpu(lambda device: everything(style_based(device, space, layers)))


def test_forward_mode_and_a_matrix_that_is_kept(tmp_path):
    def run(device):
        found, progress = everything(tiny(device)), []
        for _ in range(2):
            kept = tiny(device).compute(lambda count: progress.append(count), tmp_path / str(device))
            assert kept.matrix.device.type == 'cpu'  # in a file
            pulled = TangentModel.of_jacobian(kept).pull(randn(3, 32, 32))
            found += [kept.matrix, kept.product(), *kept.gram(BOX), pulled]
        return found

    assert_same_on_gpu(run)


@pytest.mark.parametrize('second', [True, False])
@pytest.mark.filterwarnings('ignore:.*forward-mode AD does not work')
def test_reverse_mode(second):
    """Twice through the graph, or row by row where an op has no second derivative."""
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, g):
            return 2 * g if second else 2 * g.detach()

    def run(device):
        toy = TanhToy(shape=(3, 16, 16))
        hook = FunctionHook(lambda z: Doubled.apply(toy.images(z)), toy.z_dim, device=device)
        return everything(RegionJacobian(Viewpoint(hook, 'z', hook.sample(0), 8)))

    assert_same_on_gpu(run)


@pytest.mark.parametrize('space', ['z', 'class', 'z+class', 'cond'])
def test_biggan(space):
    def run(device):
        hook = BigGANHook(biggan_toys.network().float().to(device))
        sample = hook.sample(0, truncation_psi=0.5, c=hook.class_vector('1:0.5,3:0.5'))
        return everything(RegionJacobian(Viewpoint(hook, space, sample, 16)))

    assert_same_on_gpu(run)


def with_room_for(monkeypatch, matrices):
    """So many matrices go into the GPU's memory, and the next ones do not."""
    left = iter([MEMORY] * matrices + [0] * 9)
    monkeypatch.setattr('resefa_plugin.jacobian.region_jacobian.room', lambda share, device, taken=0: (
        next(left) if device.type == 'cuda' and share == COLUMNS else MEMORY))


def test_columns_that_do_not_fit_the_gpu_are_in_main_memory(monkeypatch):
    def run(device):
        jacobian = tiny(device)
        jacobian.chunk_size = 8
        with_room_for(monkeypatch, 0)
        jacobian.compute()
        assert jacobian.matrix.device.type == 'cpu'
        return [jacobian.matrix, *jacobian.gram(BOX), TangentModel.of_jacobian(jacobian).pull(randn(3, 32, 32))]

    assert_same_on_gpu(run)


def test_a_basis_of_which_the_second_half_does_not_fit_the_gpu(monkeypatch):
    def run(device):
        toy = TanhToy(z_dim=300, shape=(3, 16, 16))  # more dimensions than tiles, so that there is a second half
        hook = FunctionHook(toy.images, toy.z_dim, device=device)
        jacobian = RegionJacobian(Viewpoint(hook, 'z', hook.sample(0)), chunk_size=8)
        with_room_for(monkeypatch, 1)
        basis = CommonBasis.compute(jacobian)
        assert len(basis.vectors) == 300 and basis.inner.matrix.device.type == 'cpu'
        return [basis.vectors.T @ basis.vectors, *map(np.trace, basis.model().gram(BOX))]

    assert_same_on_gpu(run)


def test_a_common_basis(tmp_path):
    def run(device):
        jacobian, progress = tiny(device, resolution=16), []
        basis = CommonBasis.compute(jacobian, lambda *numbers: progress.append(numbers), tmp_path / str(device))
        again = CommonBasis.compute(jacobian, path=tmp_path / str(device))
        model, other = basis.model(), again.model()
        shared = CommonBasis.shared([jacobian, tiny(device, resolution=16)])
        assert basis.inner.viewpoint.device == device
        return [*model.gram(BOX), *other.gram(BOX), np.linalg.norm(model.pull(randn(*jacobian.image_shape))),
                shared.T @ shared]

    assert_same_on_gpu(run)


def test_products_of_a_region_and_models_of_a_few_directions():
    def run(device):
        jacobian = style_based(device, 'w+')
        shape = jacobian.image_shape
        inside = BOX.at(*shape[1:])
        operator = RegionOperator(jacobian, inside, np.where(inside, 0, 1).astype(np.float32))
        X = np.linalg.qr(randn(jacobian.viewpoint.dim, 3).double().numpy())[0]
        krylov = TangentModel.krylov(jacobian, torch.ones(shape[1:]), randn(1, *shape), 4)
        basis = TangentModel.of_basis(jacobian, X.T)
        return [*operator.apply(X), *operator.sketch(2, 3, np.random.RandomState(0)), *krylov.gram(BOX),
                *basis.gram(BOX), np.abs(basis.pull(randn(*shape))), *channel_energies(jacobian, inside, 4)]

    assert_same_on_gpu(run)


@pytest.mark.parametrize('family', ['stylegan2', 'stylegan3'])
def test_the_probe(family):
    for device in ('cpu', 'cuda'):
        jacobian = style_based(device, family=family)
        probe(jacobian.viewpoint)
        assert tangent_seconds(jacobian) > 0


def test_one_of_several_processes():
    def run(device):
        hook = tiny_on(device)
        jacobian = ShardedJacobian(Viewpoint(hook, 'w', hook.sample(0), 16), Ranks()).compute()
        return [jacobian.matrix, *jacobian.gram(BOX)]

    assert_same_on_gpu(run)
