"""What tells one viewpoint from another."""

from __future__ import annotations

import torch

from resefa_plugin.hooks.base import Sample
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from tests.helpers.toys import TinyHook


def tiny(space='w', layers=None, sample=(0,), resolution=None, **facts):
    hook = TinyHook()
    vars(hook).update(facts)
    return Viewpoint(hook, hook.space(space, layers), hook.sample(*sample), resolution)


def test_a_fingerprint_is_of_everything_that_the_derivative_depends_on():
    """One fact differs at a time. Layers do not change the latent, the picture or its shape."""
    viewpoints = [
        tiny(),
        tiny('w', (1, 2)),
        tiny('w', (3, 4)),
        tiny('w+', (1, 2)),
        tiny('w+', (3, 4)),
        tiny('s', (1, 2)),
        tiny('z'),
        tiny('w+'),
        tiny(sample=(1,)),
        tiny(sample=(0, 0.5)),
        tiny(sample=(0, 0.5, 4)),
        tiny('z', sample=(0, 0.5)),
        tiny(resolution=16),
        tiny().moved(torch.ones(4)),
        tiny(sha256='b' * 64),
        tiny(sha256=''),
        tiny(sha256='', name='another'),
    ]
    fingerprints = [viewpoint.fingerprint() for viewpoint in viewpoints]
    assert len(set(fingerprints)) == len(fingerprints)
    assert tiny('w', (1, 2)).fingerprint() == fingerprints[1]


def test_two_latents_of_one_picture_are_told_apart():
    hook = FunctionHook(lambda z: z.square()[:, :, None, None].expand(-1, 1, 4, 4), 1)
    up, down = (Viewpoint(hook, 'z', Sample('z', {'z': torch.full((1, 1), z)})) for z in (1.0, -1.0))
    assert torch.equal(up.images(up.zero()), down.images(down.zero())) and up.fingerprint() != down.fingerprint()


def test_rounding_is_no_difference_and_a_little_noise_is():
    """Another number of threads adds up in another order."""
    def viewpoint(noise, seed=0):
        change = noise * torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        base = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(7))
        hook = FunctionHook(lambda z: base + change + 0 * z.sum(), 2)
        return Viewpoint(hook, 'z', hook.sample(0))

    plain = viewpoint(0.0).fingerprint()
    assert all(viewpoint(1e-6, seed).fingerprint() == plain for seed in range(20))
    assert all(viewpoint(0.1, seed).fingerprint() != plain for seed in range(20))
