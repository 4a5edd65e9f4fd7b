"""Whole runs on a GPU that is not there: every space, every solver, pools, constraints and kept background."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resefa_plugin import Auto, Constraints, Davidson, Dense, RegionPartition, Store, Woodbury
from resefa_plugin.editing.background import BackgroundKeeper
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.factorizer.protection import Protection
from resefa_plugin.factorizer.steps import find_directions
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.hooks.stylegan import StyleGANHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.common_basis import CommonBasis
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.jacobian.tangent_model import TangentModel
from tests.factorizer.test_channel_pool import ChannelHook
from tests.helpers.network_files import make_generator
from tests.helpers.pretend_gpu import assert_same_on_gpu
from tests.helpers.runs import factorizer
from tests.helpers.toys import tiny_on

pytestmark = pytest.mark.usefixtures('gpu')
BOX, CORNER = (RegionPartition(RegionPartition.from_box(*edges, (32, 32)).mask, name)
               for edges, name in (((2, 2, 14, 14), 'box'), ((20, 20, 8, 8), 'corner')))


def numbers(results):
    """What a run found, but for the signs of its directions."""
    return [part for result in results for d in [result.directions]
            for part in (d.eigenvalues, d.step, d.measured_inside, d.measured_outside, abs(d.directions[0]), d.latent)]


@pytest.mark.parametrize('solver', [Dense(2), Woodbury(2, rank=4), Davidson(2), Auto(2)])
@pytest.mark.parametrize('space', ['z', 'w+'])
def test_solvers(space, solver):
    def run(device):
        hook = tiny_on(device)
        return numbers(factorizer(hook, [hook.sample(0)], [BOX, CORNER], space, solver=solver).run())

    assert_same_on_gpu(run, rtol=1e-3)


@pytest.mark.parametrize('family', ['stylegan2', 'stylegan3'])
def test_networks_with_constraints(family, tmp_path):
    def run(device):
        hook = StyleGANHook(make_generator(family).to(device), family)
        constraints = Constraints(protect=[Protection(CORNER, 5.0)], norm='covariance')
        store = Store(jacobians=tmp_path / str(device))
        return numbers(factorizer(hook, [hook.sample(0)], [BOX], 's', resolution=16, solver=Auto(2),
                                  constraints=constraints, store=store).run())

    assert_same_on_gpu(run, rtol=1e-2)  # the second eigenvalue by a solver in float32 products


@pytest.mark.parametrize('search', [True, False])
def test_regions_that_are_out_of_reach(search):
    def run(device):
        M = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)) / 8
        M[:5, :, torch.tensor(CORNER.mask)] = 0  # what moves the corner is three of eight dimensions
        hook = FunctionHook(lambda z: torch.tanh(torch.einsum('nd,dchw->nchw', z, M.to(z))), 8, device=device)
        constraints = Constraints(protect=[Protection(CORNER, np.inf)])
        return numbers(factorizer(hook, [hook.sample(0)], [BOX], constraints=constraints,
                                  solver=Davidson(1) if search else Dense(1)).run())

    assert_same_on_gpu(run, rtol=1e-2)


@pytest.mark.parametrize('space, solver', [('w', Dense(2)), ('w+', Davidson(2))])
def test_pools(space, solver, tmp_path):
    def run(device):
        hook = tiny_on(device)
        store = Store(grams=tmp_path / str(device))
        samples = [hook.sample(seed) for seed in range(3)]
        first = numbers(factorizer(hook, samples, [BOX, CORNER], space, solver=solver, store=store).run(pool=True))
        return [*first, *numbers(factorizer(hook, samples, [BOX], space, solver=solver, store=store).run(pool=True))]

    assert_same_on_gpu(run, rtol=1e-2)


def test_a_pool_of_channels():
    def run(device):
        hook = ChannelHook()
        hook.affine, hook.weight = hook.affine.to(device), hook.weight.to(device)
        hook.device = device
        samples = [hook.sample(seed) for seed in range(2)]
        return numbers(factorizer(hook, samples, [BOX], 's', solver=Davidson(1)).run(pool=True))

    assert_same_on_gpu(run, rtol=1e-2)


def test_a_common_basis_and_background_that_is_kept():
    def run(device):
        hook = tiny_on(device)
        jacobian = RegionJacobian(Viewpoint(hook, 'w+', hook.sample(0), 16))
        jacobian.basis = CommonBasis.compute(jacobian)
        directions, _ = find_directions(jacobian, BOX, Auto(1), Constraints())
        offset = 3 * directions.directions[:1]
        found = [np.abs(offset), render_edits(jacobian.viewpoint, torch.from_numpy(offset))]
        edits = torch.from_numpy(np.concatenate([offset, -offset, 0 * offset])).to(device)
        for model in (jacobian.basis.model(), TangentModel.of_jacobian(jacobian.compute()), None):
            path = BackgroundKeeper(jacobian.viewpoint, BOX, model=model).keep(edits)
            found += [path.offsets, path.inside, path.outside]
        return found

    assert_same_on_gpu(run, rtol=1e-2)
