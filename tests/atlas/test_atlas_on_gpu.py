"""An atlas, its directions and the derivatives of attributes on a GPU that is not there."""

from __future__ import annotations

import types

import numpy as np
import pytest
import torch

from resefa_plugin import Auto, FunctionHook, Viewpoint
from resefa_plugin.atlas.builder import AtlasBuilder
from resefa_plugin.attributes.face_parts import CLASSES
from resefa_plugin.attributes.gradients import attribute_gradients
from tests.factorizer.test_channel_pool import BOX
from tests.helpers.pretend_gpu import assert_same_on_gpu
from tests.helpers.runs import factorizer
from tests.helpers.toys import tiny_on

pytestmark = pytest.mark.usefixtures('gpu')


def test_an_atlas_and_its_directions(tmp_path):
    def run(device):
        hook = tiny_on(device)
        samples = [hook.sample(seed) for seed in range(2)]
        atlas = AtlasBuilder([Viewpoint(hook, 's', sample) for sample in samples], tmp_path / str(device)).build()
        known = atlas.solve(atlas.viewpoint(hook, samples[0]), BOX, Auto(2))
        result, = factorizer(hook, samples, [BOX], 's', solver=Auto(2), known=atlas).run(pool=True)
        return [known.solution.eigenvalues, known.grams.A, known.grams.B, abs(known.solution.directions[0]),
                result.directions.step, result.directions.measured_outside]

    assert_same_on_gpu(run, rtol=1e-2)  # Gram matrices in float16


def test_derivatives_of_attributes():
    def run(device):
        weight = torch.randn(4, 3 * 64, generator=torch.Generator().manual_seed(0))

        def parsing(images, output):
            bright = torch.sigmoid(4 * images.mean(dim=1, keepdim=True))
            return torch.cat([bright if name == 'left_eye' else (1 - bright) / 18 for name in CLASSES], dim=1)

        def images(z):
            coarse = torch.tanh(0.3 * z @ weight.to(z)).unflatten(1, (3, 8, 8))
            return torch.nn.functional.interpolate(coarse, scale_factor=8)

        hook = FunctionHook(images, 4, device=device)
        networks = types.SimpleNamespace(device=torch.device(device), parsing=parsing)
        return [np.asarray(attribute_gradients(Viewpoint(hook, 'z', hook.sample(0)), ['eyes_open'], networks))]

    assert_same_on_gpu(run, rtol=1e-3)
