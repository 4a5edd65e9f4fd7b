"""Tuning: the picture becomes the photograph, pictures around it stay, and the network that was given, too."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from resefa_plugin import Viewpoint
from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.stylegan import StyleGANHook
from resefa_plugin.projection.tuning import TuningSettings, tune
from tests.helpers.network_files import make_generator
from tests.helpers.photographs import stand_in_lpips
from tests.helpers.toys import TinyHook, TwoPartToy

QUICK = TuningSettings(passes=80, enough=0, rate=0.05, first=0.25, neighbours=3, nearness=0.5, locality=1.0)


def picture(hook, sample):
    view = Viewpoint(hook, 'w+', sample)
    return view.images(view.zero())


@pytest.fixture(scope='module')
def hook():
    return TinyHook()


@pytest.fixture(scope='module')
def sample(hook):
    return hook.sample(3)


@pytest.fixture(scope='module')
def photograph(hook, sample):
    """What the sample shows, and something that no latent shows."""
    noise = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return (picture(hook, sample) + 0.3 * noise).clamp(-1, 1)


def error(hook, sample, target):
    return float((picture(hook, sample) - target).square().mean())


def test_the_picture_becomes_the_photograph(hook, sample, photograph):
    before = {name: weight.clone() for name, weight in hook.G.named_parameters()}
    seen = []
    tuning, fit = tune(hook, photograph, sample, stand_in_lpips('cpu'), QUICK, progress=seen.append)
    tuned = tuning.applied(hook)
    assert error(tuned, sample, photograph) < 0.02 * error(hook, sample, photograph)
    assert fit.mse == pytest.approx(error(tuned, sample, photograph), rel=1e-3)
    assert [each.passes for each in seen] == list(range(1, 81)) and fit.passes == 80
    # The first quarter of the layers, and all that was given, stay.
    assert sorted(tuning.differences) == [f'synthesis.{layer}.weight' for layer in range(2, 8)]
    assert all(torch.equal(weight, before[name]) and not weight.requires_grad
               for name, weight in hook.G.named_parameters())
    assert not any(weight.requires_grad for weight in tuned.G.parameters())


def test_pictures_around_it_are_held(hook, sample, photograph):
    def moved(locality):
        settings = dataclasses.replace(QUICK, locality=locality)
        tuned = tune(hook, photograph, sample, None, settings)[0].applied(hook)
        assert error(tuned, sample, photograph) < 0.2 * error(hook, sample, photograph)
        near = [dataclasses.replace(sample, latents={'ws': sample.latents['ws'].lerp(hook.sample(seed).latents['ws'],
                                                                                    QUICK.nearness)})
                for seed in range(QUICK.neighbours)]
        return sum(error(tuned, other, picture(hook, other)) for other in near)

    assert moved(3.0) < 0.3 * moved(0.0)


def test_it_ends_when_it_is_enough_and_is_the_same_again(hook, sample, photograph):
    settings = dataclasses.replace(QUICK, enough=0.01)
    first, again = (tune(hook, photograph, sample, None, settings) for _ in range(2))
    assert first[1].passes < 60 and first[1].mse < 0.012
    assert first[1] == again[1] and first[0].sha256 == again[0].sha256


@pytest.mark.parametrize('family', ['stylegan2', 'stylegan3'])
def test_networks_of_the_families(family):
    hook = StyleGANHook(make_generator(family).eval().requires_grad_(False), family)
    sample, target = hook.sample(0), torch.zeros(1, 3, 32, 32)
    tuning, _ = tune(hook, target, sample, None, dataclasses.replace(QUICK, passes=30, rate=0.02, neighbours=1))
    names = list(tuning.differences)
    assert names and not any('affine' in name or 'noise' in name or 'mapping' in name for name in names)
    assert error(tuning.applied(hook), sample, target) < 0.8 * error(hook, sample, target)


def test_what_cannot_be_tuned(hook, sample, photograph):
    toy = TwoPartToy().hook()
    with pytest.raises(ResefaError, match='two-part-toy cannot be tuned: .* a network with styles'):
        tune(toy, torch.zeros(1, 1, 8, 8), toy.sample(0))
    with pytest.raises(ResefaError, match='8 layers with a style; if a share of 1 of them stays, none is left'):
        tune(hook, photograph, sample, None, dataclasses.replace(QUICK, first=1))
    with pytest.raises(ResefaError, match='passes is 0'):
        TuningSettings(passes=0)
