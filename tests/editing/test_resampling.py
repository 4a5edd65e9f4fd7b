"""Pictures through affine maps, against linear functions, which splines and averages reproduce, and whole pixels."""

from __future__ import annotations

import numpy as np
import pytest

from resefa_plugin.editing.resampling import resample, resample_weights, scale_of
from tests.helpers.photographs import ramp

ROUNDING = 0.6  # of a linear function to whole grey levels, which a cubic spline may enlarge a little


def turned(degrees, scale, corner):
    """Places in the result -> in the source: turned, scaled, and the corner of the result at `corner`."""
    a = np.deg2rad(degrees)
    return np.array([[scale * np.cos(a), -scale * np.sin(a), corner[0]],
                     [scale * np.sin(a), scale * np.cos(a), corner[1]]])


def test_the_same_picture_and_quarter_turns_pixel_by_pixel():
    picture = np.random.RandomState(0).randint(0, 256, (12, 20, 3)).astype(np.uint8)
    np.testing.assert_allclose(resample(picture, turned(0, 1, (0, 0)), (12, 20)), picture, atol=1e-3)
    np.testing.assert_allclose(resample(picture, turned(90, 1, (20, 0)), (20, 12)), np.rot90(picture), atol=1e-3)
    part = resample(picture, turned(0, 1, (3, 2)), (5, 6))
    np.testing.assert_allclose(part, picture[2:7, 3:9], atol=1e-3)


@pytest.mark.parametrize('degrees, scale', [(20, 0.3), (-35, 1.0), (10, 1.4), (5, 3.0), (-8, 4.6)])
def test_linear_functions_stay_what_they_are(degrees, scale):
    picture = ramp(240, 240).round().astype(np.uint8)
    matrix = turned(degrees, scale, (70, 60))
    size = (round(100 / scale), round(90 / scale))
    places = np.einsum('ij,hwj->hwi', matrix, np.concatenate([ramp(*size)[..., :2], np.ones((*size, 1))], axis=-1))
    expected = np.concatenate([places, places.mean(axis=-1, keepdims=True)], axis=-1)
    inside = ((places > 12) & (places < 228)).all(axis=-1)
    assert inside.mean() > 0.6
    assert np.abs(resample(picture, matrix, size) - expected)[inside].max() < ROUNDING


def test_whole_factors_are_box_averages():
    picture = np.random.RandomState(0).randint(0, 256, (12, 18, 3)).astype(np.uint8)
    boxes = picture.reshape(4, 3, 6, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resample(picture, turned(0, 3, (0, 0)), (4, 6)), boxes, atol=0.6)  # whole grey levels


def test_fine_stripes_become_grey_instead_of_coarse_ones():
    picture = np.zeros((200, 200, 1), np.uint8)
    picture[:, ::2] = 255
    small = resample(picture, turned(0, 4.4, (0, 0)), (40, 40))
    assert np.abs(small - 127.5).max() < 30


def test_weights_stay_between_0_and_1_and_are_0_beyond_the_edges():
    weight = np.zeros((20, 20), np.float32)
    weight[5:15, 5:15] = 1
    seen = resample_weights(weight, turned(10, 0.7, (-6, -6)), (60, 60))
    assert seen.min() == 0 and 0.99 < seen.max() <= 1
    assert not seen[:10, :10].any()
    assert abs(seen.sum() * 0.7 ** 2 - 100) < 3  # the area
    assert abs(resample_weights(weight, turned(0, 2.5, (0, 0)), (8, 8)).sum() * 2.5 ** 2 - 100) < 5


def test_scale():
    assert scale_of(turned(33, 2.5, (1, 2))) == pytest.approx(2.5)
