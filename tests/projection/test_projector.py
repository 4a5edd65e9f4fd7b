"""Projection on a small generator, whose own pictures are the targets: the latent is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from resefa_plugin import Viewpoint
from resefa_plugin.errors import PhotographError, ResefaError
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.hooks.latent_files import make_sample, read_latents, write_latents
from resefa_plugin.linearization import Linearization
from resefa_plugin.projection.projector import Projector, Settings
from tests.helpers.photographs import stand_in_lpips
from tests.helpers.toys import TinyHook, TwoPartToy

QUICK = Settings(passes=120, naturalness=0, enough=0, rate=0.2)
FOUND = 1e-3  # mean squared error; the mean of the generator has 0.1 and more


def picture_of(hook, sample, space='w'):
    return Viewpoint(hook, space, sample).full().images(Viewpoint(hook, space, sample).zero())


@pytest.fixture(scope='module')
def hook():
    return TinyHook()


@pytest.fixture(scope='module')
def lpips():
    return stand_in_lpips('cpu')


@pytest.fixture(scope='module')
def target(hook):
    return picture_of(hook, hook.sample(30))


@pytest.mark.parametrize('space', ['z', 'w', 'w+', 's'])
def test_a_picture_of_the_generator_is_found(hook, target, space):
    seen = []
    projection = Projector(hook, space, settings=QUICK).project(target, progress=seen.append)
    assert projection.likeness.mse < FOUND < 0.05 < seen[0].mse
    assert [likeness.passes for likeness in seen] == list(range(1, 121)) and projection.likeness.passes == 120
    again = picture_of(hook, projection.sample, space)
    assert float((again - target).square().mean()) == pytest.approx(projection.likeness.mse, rel=1e-3, abs=1e-7)
    assert projection.sample.name == 'proj00'


def test_w_plus_is_the_default_and_z_where_there_is_no_other(hook):
    assert set(Projector(hook, settings=QUICK).project(Image.new('RGB', (32, 32))).sample.latents) == {'ws'}
    toy = TwoPartToy().hook()
    sample = toy.sample(5)
    found = Projector(toy, settings=QUICK).project(picture_of(toy, sample, 'z')).sample
    torch.testing.assert_close(found.latents['z'], sample.latents['z'], rtol=0, atol=0.05)


def test_lpips_is_a_part_of_the_loss_and_measured(hook, target, lpips):
    projection = Projector(hook, 'w+', lpips, QUICK).project(target)
    expected = sum(float(m.mean()) for m in lpips.layer_maps(
        picture_of(hook, projection.sample, 'w+'), target))
    assert projection.likeness.lpips == pytest.approx(expected, rel=1e-3) and expected > 0
    other = Projector(hook, 'w+', None, QUICK).project(target)
    assert other.likeness.lpips == 0
    assert not torch.equal(other.sample.latents['ws'], projection.sample.latents['ws'])


def test_the_same_again_bit_by_bit_and_after_an_interruption(hook, target, lpips, tmp_path):
    def stop(likeness):
        if likeness.passes == 37:
            raise KeyboardInterrupt

    projector, seen = Projector(hook, 'w+', lpips, QUICK), []
    whole = projector.project(target)
    with pytest.raises(KeyboardInterrupt):
        projector.project(target, progress=stop, state=tmp_path / 'state.npz')
    resumed = Projector(hook, 'w+', lpips, QUICK).project(target, progress=seen.append, state=tmp_path / 'state.npz')
    assert seen[0].passes == 31
    torch.testing.assert_close(resumed.sample.latents['ws'], whole.sample.latents['ws'], rtol=0, atol=0)
    assert resumed.likeness == whole.likeness


@pytest.mark.parametrize('change', ['picture', 'settings', 'start'])
def test_the_state_of_another_projection_is_left_aside(hook, target, tmp_path, change):
    Projector(hook, 'w', settings=QUICK).project(target, state=tmp_path / 'state.npz')
    settings = dataclasses.replace(QUICK, rate=0.1) if change == 'settings' else QUICK
    seen = []
    Projector(hook, 'w', settings=settings).project(
        -target if change == 'picture' else target, progress=seen.append, state=tmp_path / 'state.npz',
        start=hook.sample(8) if change == 'start' else None)
    assert seen[0].passes == 1


def swapped(**changes):
    """Writes a state anew with other arrays, and right checksums."""
    def damage(path):
        with np.load(path) as file:
            arrays = {**file, **changes}
        np.savez(path, **arrays)

    return damage


@pytest.mark.parametrize('damage', [
    lambda path: path.write_bytes(b'PK nothing'), lambda path: path.write_bytes(path.read_bytes()[:-200]),
    swapped(x=np.zeros(3, np.float32)), swapped(mean=np.full((1, 4), np.nan, np.float32)),
    swapped(numbers=np.array([np.nan, 1])), swapped(numbers=np.array([-1.0, 1])), swapped(best=np.zeros(4, int)),
], ids=['no archive', 'cut off', 'another shape', 'NaN', 'passes', 'negative passes', 'type'])
def test_a_damaged_state_is_left_aside_with_a_word(hook, target, tmp_path, damage):
    path = tmp_path / 'state.npz'
    fresh = Projector(hook, 'w', settings=QUICK).project(target, state=path)
    damage(path)
    with pytest.warns(UserWarning, match='state.npz.* The projection begins anew'):
        again = Projector(hook, 'w', settings=QUICK).project(target, state=path)
    assert torch.equal(again.sample.latents['ws'], fresh.sample.latents['ws'])


def test_a_start_that_is_the_answer_ends_at_once(hook, target):
    settings = dataclasses.replace(QUICK, enough=1e-4)
    projection = Projector(hook, 'w+', settings=settings).project(target, start=hook.sample(30))
    assert projection.likeness.passes == 1 and projection.likeness.mse < 1e-8
    torch.testing.assert_close(projection.sample.latents['ws'], hook.sample(30).latents['ws'], rtol=0, atol=1e-5)
    assert Projector(hook, 'w+', settings=settings).project(target).likeness.passes > 5


def test_a_derivative_by_hand_goes_the_same_way(hook, target, lpips):
    """A space that has the picture and its derivative by hand is not differentiated again."""
    class ByHand(TinyHook):
        taken = 0

        def linearize_synthesis(self, styles, resolution):
            zero = [torch.zeros_like(style) for style in styles]
            image, pull = torch.func.vjp(lambda *moves: self.from_styles(
                [style + move for style, move in zip(styles, moves, strict=True)], resolution), *zero)

            def pulled(U):
                ByHand.taken += 1
                return [torch.cat(parts) for parts in zip(*(pull(u[None]) for u in U), strict=True)]

            return Linearization(lambda styles_t: None, pulled, value=lambda: image.detach())

    for space in ('w+', 's', 'z'):
        found = [Projector(each, space, lpips, QUICK).project(target) for each in (ByHand(), hook)]
        assert found[0].likeness.mse == pytest.approx(found[1].likeness.mse, rel=0.02)
    assert ByHand.taken == 3 * QUICK.passes


def test_naturalness_trades_likeness_for_nearness(hook):
    noise = torch.from_numpy(np.random.RandomState(0).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32))
    found = [Projector(hook, 'w+', settings=dataclasses.replace(QUICK, naturalness=weight)).project(noise).likeness
             for weight in (0, 0.05, 0.5)]
    assert found[0].mse < found[1].mse < found[2].mse
    assert found[0].deviation > found[1].deviation > found[2].deviation


def test_files_as_the_host_writes_them(hook, target, tmp_path):
    settings = dataclasses.replace(QUICK, enough=FOUND)
    projection = Projector(hook, 'w+', settings=settings).project(target)
    path = tmp_path / 'projected_w.npz'
    write_latents(path, hook.space('w+'), projection.sample)
    assert np.load(path)['w'].shape == (1, 8, 4) and np.load(path).files == ['w']
    latent, = read_latents(path, hook)
    sample, _ = make_sample(hook, latent, 'proj00')
    torch.testing.assert_close(sample.latents['ws'], projection.sample.latents['ws'])
    assert Projector(hook, 'w+', settings=settings).project(target, start=sample).likeness.passes == 1


def test_styles_that_no_w_has_are_used_in_their_space_only(hook, target):
    sample = Projector(hook, 's', settings=QUICK).project(target).sample
    with pytest.raises(ResefaError, match="known by its styles only, so it cannot be edited in space 'w'; use 's'"):
        Viewpoint(hook, 'w', sample).latent


def test_pictures_of_pillow_and_of_other_sizes(hook, target):
    pixels = ((target[0].permute(1, 2, 0) + 1) * 127.5).round().clamp(0, 255).byte().numpy()
    projector = Projector(hook, 'w+', settings=QUICK)
    image = Image.fromarray(pixels)
    for picture in (image, image.resize((64, 64), Image.Resampling.NEAREST)):
        assert projector.project(picture).likeness.mse < 2 * FOUND
    assert projector.project(image.convert('L')).likeness.mse > FOUND
    with pytest.raises(PhotographError, match='is 64 x 32 .* of the network are 32 x 32: align it'):
        projector.project(Image.new('RGB', (64, 32)))
    with pytest.raises(PhotographError, match='is 20 x 40'):
        projector.project(torch.zeros(1, 3, 40, 20))


def test_grey_generators_and_those_of_four_channels():
    M = torch.randn(3, 256, generator=torch.Generator().manual_seed(0)) / 3
    grey = FunctionHook(lambda z: torch.tanh(z @ M).unflatten(1, (1, 16, 16)), 3)
    target = picture_of(grey, grey.sample(1), 'z')
    assert Projector(grey, settings=QUICK).project(target.expand(-1, 3, -1, -1)).likeness.mse < FOUND
    four = FunctionHook(lambda z: torch.tanh(z @ M).unflatten(1, (4, 8, 8)), 3)
    with pytest.raises(ResefaError, match='makes pictures of 4 channels, expected 1 or 3'):
        Projector(four)


def test_settings_that_cannot_be():
    with pytest.raises(ResefaError, match='passes is 0'):
        Settings(passes=0)
    with pytest.raises(ResefaError, match='naturalness is -1'):
        Settings(naturalness=-1)
    rates = [Settings(passes=100, rate=1.0, ramp=10, fall=0.5).rate_at(i) for i in range(100)]
    np.testing.assert_allclose([rates[0], rates[4], rates[9], rates[50], rates[75]], [0.1, 0.5, 1, 1, 0.5])
    assert rates[99] < 0.01


def test_a_picture_that_is_not_finite_is_an_error(hook, target):
    broken = FunctionHook(lambda z: (z[:, :1] * torch.ones(1, 192)).sqrt().unflatten(1, (3, 8, 8)), 2)
    with pytest.raises(ResefaError, match='the projection gave a loss of nan'):
        Projector(broken, settings=QUICK).project(torch.full((1, 3, 8, 8), -1.0), start=broken.sample(1))
