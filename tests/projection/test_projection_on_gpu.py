"""Projection and tuning on a GPU that is not there."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from resefa_plugin import Viewpoint
from resefa_plugin.hooks.stylegan import StyleGANHook
from resefa_plugin.projection.projector import Projector, Settings
from resefa_plugin.projection.tuned_network import Tuning
from resefa_plugin.projection.tuning import TuningSettings, tune
from tests.helpers.network_files import make_generator
from tests.helpers.photographs import stand_in_lpips
from tests.helpers.pretend_gpu import assert_same_on_gpu
from tests.helpers.toys import tiny_on

pytestmark = pytest.mark.usefixtures('gpu')
FEW = Settings(passes=6, naturalness=0.01, enough=0, rate=0.1)


def lpips_on(device):
    return stand_in_lpips('cpu').to(device)


def figures(likeness):
    return torch.tensor([likeness.mse, likeness.lpips, likeness.deviation])


@pytest.mark.parametrize('space', ['z', 'w', 'w+', 's'])
def test_a_photograph_is_found(space, tmp_path):
    target = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1  # on the CPU, as it is read

    def run(device):
        projector, state = Projector(tiny_on(device), space, lpips_on(device), FEW), tmp_path / f'{device}.npz'
        found = projector.project(target, state=state)
        projector.settings = dataclasses.replace(FEW, passes=8)
        again = Projector(tiny_on(device), space, lpips_on(device), FEW).project(target, start=found.sample)
        return [figures(found.likeness), figures(again.likeness), *found.sample.latents.values()]

    assert_same_on_gpu(run, rtol=1e-2)  # six steps of a descent, which round differently


def test_with_the_network_s_own_derivative():
    def run(device):
        hook = StyleGANHook(make_generator().to(device), 'small')
        found = Projector(hook, 'w+', settings=FEW, resolution=16).project(torch.zeros(1, 3, 32, 32))
        return [figures(found.likeness)[:1], found.sample.latents['ws']]

    assert_same_on_gpu(run, rtol=1e-2)


def test_tuning(tmp_path):
    def run(device):
        hook = tiny_on(device)
        sample = hook.sample(0)
        tuning, fit = tune(hook, torch.zeros(1, 3, 32, 32), sample, lpips_on(device),
                           TuningSettings(passes=6, enough=0, rate=0.05, neighbours=1))
        tuning.save(tmp_path / 'tuned.safetensors')
        view = Viewpoint(Tuning.load(tmp_path / 'tuned.safetensors').applied(hook), 'w', sample)
        return [torch.tensor([fit.mse, fit.lpips, fit.moved]), view.images(view.zero())]

    assert_same_on_gpu(run, rtol=1e-2)
