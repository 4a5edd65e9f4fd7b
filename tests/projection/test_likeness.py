"""Pictures against a target, by an LPIPS of its own, and the words for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from resefa_plugin import Viewpoint
from resefa_plugin.errors import PhotographError
from resefa_plugin.projection.likeness import Comparison, Likeness, as_target
from tests.helpers.photographs import stand_in_lpips
from tests.helpers.toys import TinyHook


def test_pixels_and_lpips():
    lpips = stand_in_lpips('cpu')
    target, image = torch.rand(2, 1, 3, 40, 40).unbind(0)
    mse, distance = Comparison(target, lpips)(image)
    assert float(mse) == pytest.approx(float(((target - image) ** 2).mean()))
    assert float(distance) == pytest.approx(sum(float(m.mean()) for m in lpips.layer_maps(image, target)), rel=1e-5)
    assert [float(each) for each in Comparison(target, lpips)(target)] == [0, 0]
    small = Comparison(target[..., :16, :16], lpips)
    assert float(small(image[..., :16, :16])[1]) == 0 == float(Comparison(target, None)(image)[1])


def test_targets_have_the_size_and_the_channels_of_the_network():
    hook = TinyHook()
    view = Viewpoint(hook, 'w', hook.sample(0), 16)
    pixels = np.random.RandomState(0).randint(0, 256, (16, 16, 3)).astype(np.uint8)
    expected = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1
    torch.testing.assert_close(as_target(Image.fromarray(pixels), view), expected)
    torch.testing.assert_close(as_target(expected.repeat_interleave(2, 2).repeat_interleave(2, 3), view), expected)
    with pytest.raises(PhotographError, match='is 64 x 32 .* of the network are 32 x 32'):
        as_target(Image.new('RGB', (64, 32)), view)


def test_likeness_in_words():
    assert str(Likeness(80, 0.0123, 0.026, 1.2)) == (
        'a close likeness (MSE 0.0123, LPIPS 0.026, 1.20 standard deviations from the mean, 80 passes)')
    assert 'a fair likeness' in str(Likeness(80, 0.04, 0.08, 1.2)) and 'less natural' in str(Likeness(1, 0, 0, 2.6))
    assert 'a poor likeness' in str(Likeness(80, 0.2, 0.3, 1.2))
    small = str(Likeness(80, 0.2, 0, 1.2))  # too small for LPIPS
    assert small.startswith('a poor likeness') and 'LPIPS' not in small
