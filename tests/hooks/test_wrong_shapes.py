"""Arguments of the wrong shape or kind are named, with what was expected, before torch stumbles over them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resefa_plugin import RegionJacobian, Viewpoint, open_network, viewpoints_of
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.base import Sample
from tests.helpers.toys import TanhToy, TinyHook

HOOK, FUNCTION = TinyHook(), TanhToy().hook()
VIEWPOINT = Viewpoint(HOOK, 'w', HOOK.sample(0))


def latent(space, hook=HOOK, **latents):
    return Viewpoint(hook, space, Sample('x', latents)).latent


def jacobian():
    found = RegionJacobian(VIEWPOINT)
    found.compute()
    return found


@pytest.mark.parametrize('call, message', [
    (lambda: VIEWPOINT.images(torch.zeros(4)), r'offsets has shape \[4\], expected \[N, 4\]'),
    (lambda: VIEWPOINT.images(torch.zeros(2, 5)), r'offsets has shape \[2, 5\], expected \[N, 4\]'),
    (lambda: VIEWPOINT.images(0.5), r'offsets is 0.5, expected a tensor \[N, 4\]'),
    (lambda: VIEWPOINT.moved(torch.zeros(1, 4)), r'offset has shape \[1, 4\], expected \[4\]'),
    (lambda: render_edits(VIEWPOINT, torch.zeros(4)), r'offsets has shape \[4\]'),
    (lambda: render_edits(VIEWPOINT, torch.zeros(0, 4)), r'offsets has shape \[0, 4\], expected \[N, 4\]'),
    (lambda: HOOK.sample_from_z(torch.zeros(1, 7)), r'z has shape \[1, 7\], expected \[1, 4\]'),
    (lambda: HOOK.sample_from_ws(torch.zeros(1, 7, 4)), r'latents of shape \[1, 7, 4\] do not fit tiny'),
    (lambda: HOOK.sample(0, '0.7'), "truncation_psi is '0.7', expected a finite number"),
    (lambda: latent('w', ws=torch.zeros(1, 7, 4)), r"x: latents\['ws'\] has shape \[1, 7, 4\], expected \[1, 8, 4\]"),
    (lambda: latent('z', z=torch.zeros(1, 9), ws=torch.zeros(1, 8, 4)), r"latents\['z'\] has shape \[1, 9\]"),
    (lambda: latent('s', s=torch.zeros(1, 9)), r"latents\['s'\] has shape \[1, 9\], expected \[1, 32\]"),
    (lambda: latent('z', FUNCTION, z=torch.zeros(1, 9)), r"latents\['z'\] has shape \[1, 9\], expected \[1, 6\]"),
    (lambda: Viewpoint(FUNCTION, 'z', Sample('x', {'ws': torch.zeros(1, 9)})).latent, 'x has no z'),
    (lambda: HOOK.space('w', 4), r'layers is 4, expected their numbers, such as \(4, 5, 6\)'),
    (lambda: HOOK.space('w', ('a',)), r"layers is \('a',\), expected their numbers"),
    (lambda: viewpoints_of(HOOK, HOOK.sample(0)), 'samples is <sample seed0000.*expected a list of Sample'),
    (lambda: viewpoints_of(HOOK, [0, 1]), r'samples is \[0, 1\], expected a list of Sample'),
    (lambda: open_network(5), 'network is 5, expected a path, a URL or a name such as mobilestylegan-ffhq'),
    (lambda: open_network('mobilestylegan-ffhq', 'tpu'), "device is 'tpu', expected cpu, cuda, cuda:1 or mps"),
    (lambda: jacobian().gram('eyes'), "partition is 'eyes', expected a value of type RegionPartition"),
])
def test_it_is_named(call, message):
    with pytest.raises(ResefaError, match=message):
        call()


def test_arrays_and_other_precisions_are_taken():
    expected = VIEWPOINT.images(torch.full((2, 4), 0.25))
    for offsets in (np.full((2, 4), 0.25, np.float32), torch.full((2, 4), 0.25, dtype=torch.float64)):
        assert torch.equal(VIEWPOINT.images(offsets), expected)
    ws = np.full((1, 8, 4), 0.5)
    assert torch.equal(HOOK.sample_from_ws(ws).latents['ws'], torch.full((1, 8, 4), 0.5))
