"""Samples, spaces and what comes from files on a GPU that is not there: whatever is given is brought to the network."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from resefa_plugin import Viewpoint
from resefa_plugin.hooks.base import Sample
from resefa_plugin.hooks.latent_files import make_sample, read_latents, write_latents
from resefa_plugin.hooks.stylegan import StyleGANHook
from tests.helpers.mobile_toys import small_mobile_stylegan
from tests.helpers.network_files import SMALL3, make_generator
from tests.helpers.pretend_gpu import assert_same_on_gpu
from tests.helpers.toys import tiny_on

pytestmark = pytest.mark.usefixtures('gpu')


def pictures(hook, sample, spaces=('z', 'w', 'w+', 's')):
    """Of a sample moved in each space, and what is known of the spread of the latents there."""
    found = []
    for name in spaces:
        view = Viewpoint(hook, name, sample, 16)
        assert view.device == view.latent.device == hook.device
        offset = torch.linspace(-1, 1, view.dim)[None].to(hook.device)
        found += [view.images(offset), view.moved(offset[0]).images(view.zero()), *view.covariance()]
    return found


def test_a_network_with_classes_and_a_label_that_is_on_the_cpu(tmp_path):
    def run(device):
        hook = StyleGANHook(make_generator(c_dim=3).to(device), 'small')
        sample = hook.sample(0, truncation_psi=0.5, truncation_cutoff=2, c=torch.eye(3)[1:2])
        path = tmp_path / f'{device}.npz'
        write_latents(path, hook.space('w+'), sample)
        latent, = read_latents(path, hook)
        again, _ = make_sample(hook, latent, 'again', torch.eye(3)[1:2])
        z, _ = make_sample(hook, dataclasses.replace(latent, ws=None, z=torch.ones(1, 8)), 'z', torch.eye(3)[:1])
        named = hook.sample(0, c=hook.class_vector('1'))
        return [*pictures(hook, sample), *pictures(hook, again, ['w', 's']), *pictures(hook, z, ['w']),
                named.latents['ws']]

    assert_same_on_gpu(run)


def test_noise_that_is_another():
    def run(device):
        hook = StyleGANHook(make_generator().to(device), 'small')
        hook.use_noise([torch.ones(noise.shape) for noise in hook.noise()])
        return pictures(hook, hook.sample(0), ['w'])

    assert_same_on_gpu(run)


def test_pictures_that_are_placed():
    def run(device):
        hook = StyleGANHook(make_generator('stylegan3', synthesis=SMALL3).to(device), 'small')
        hook.place((0.1, -0.2), 30)
        return pictures(hook, hook.sample(1))

    assert_same_on_gpu(run)


def test_the_demo_architecture(monkeypatch):
    hook = small_mobile_stylegan(monkeypatch)

    def run(device):
        hook.G.to(device)
        moved = type(hook)(hook.G, 'small')
        return pictures(moved, moved.sample(0, truncation_psi=0.7))

    assert_same_on_gpu(run, rtol=2e-3)  # slopes near zero flip


def test_latents_that_somebody_made_on_the_cpu():
    def run(device):
        hook = tiny_on(device)
        sample = Sample('own', {'ws': torch.linspace(-1, 1, 32).reshape(1, 8, 4)})
        return [*pictures(hook, sample, ['w', 'w+', 's']), *pictures(hook, hook.sample_from_ws(torch.ones(4)), ['w+'])]

    assert_same_on_gpu(run)
