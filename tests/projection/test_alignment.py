"""FFHQ's square around a face: closed forms, and how it follows the face."""

from __future__ import annotations

import numpy as np
import pytest

from resefa_plugin.errors import PhotographError
from resefa_plugin.projection.alignment import Alignment, parse_points

# Eyes 20 apart and the mouth 25 below them: half the side is the larger of 2.0 * 20 and 1.8 * 25, the centre is
# 0.1 * 25 below the eyes; and half a pixel to the centre of a pixel.
UPRIGHT = np.array([[40, 50], [60, 50], [42, 75], [58, 75]], float)
CORNER, SIDE = (50 - 45 + 0.5, 52.5 - 45 + 0.5), 90


def moved(points, degrees, scale, shift):
    a = np.deg2rad(degrees)
    turn = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    return points @ turn.T + shift, turn


def test_an_upright_face():
    alignment = Alignment.from_points(UPRIGHT)
    np.testing.assert_allclose(alignment.corner, CORNER)
    np.testing.assert_allclose([alignment.across, alignment.down], [[SIDE, 0], [0, SIDE]], atol=1e-12)
    assert alignment.side == pytest.approx(SIDE)
    wide = Alignment.from_points([[30, 50], [70, 50], [42, 60], [58, 60]])  # eyes 40 apart, the mouth 10 below
    assert wide.side == pytest.approx(2 * 2.0 * 40)


@pytest.mark.parametrize('degrees, scale', [(0, 2), (30, 1), (-100, 0.7), (180, 1.5)])
def test_the_square_follows_the_face(degrees, scale):
    shift = np.array([17.0, -4.0])
    points, turn = moved(UPRIGHT, degrees, scale, shift)
    alignment = Alignment.from_points(points)
    np.testing.assert_allclose(alignment.corner, turn @ (np.array(CORNER) - 0.5) + shift + 0.5)
    np.testing.assert_allclose(alignment.across, turn @ [SIDE, 0], atol=1e-9)
    np.testing.assert_allclose(alignment.down, turn @ [0, SIDE], atol=1e-9)


def test_the_mean_face_of_ffhq_fills_the_picture():
    """Eyes and corners of the mouth of FFHQ on the average, in parts of the picture, as in metrics/identity.py."""
    ffhq = np.array([[.377, .470], [.623, .470], [.395, .737], [.605, .737]]) * 1000 - 0.5
    assert Alignment.from_points(ffhq).distance(Alignment.whole((1000, 1000))) < 0.02


def test_the_nose_is_not_used_and_the_matrix_is_the_square():
    five = np.insert(UPRIGHT, 2, [1000, -1000], axis=0)
    assert Alignment.from_points(five) == Alignment.from_points(UPRIGHT)
    alignment = Alignment.from_points(moved(UPRIGHT, 20, 1.3, (5, 6))[0])
    corners = np.array([[0, 0, 1], [32, 0, 1], [0, 64, 1]]) @ alignment.matrix((64, 32)).T
    corner = np.array(alignment.corner)
    np.testing.assert_allclose(corners, [corner, corner + alignment.across, corner + alignment.down])


def test_pictures_and_regions_of_whole_pixels():
    rgb = np.random.RandomState(0).randint(0, 256, (100, 120, 3)).astype(np.uint8)
    alignment = Alignment((10.0, 20.0), (64.0, 0.0), (0.0, 64.0))
    np.testing.assert_array_equal(alignment.picture(rgb, (64, 64)), rgb[20:84, 10:74])
    upside_down = Alignment((74.0, 84.0), (-64.0, 0.0), (0.0, -64.0))
    np.testing.assert_array_equal(upside_down.picture(rgb, (64, 64)), rgb[20:84, 10:74][::-1, ::-1])
    mask = np.zeros((100, 120), bool)
    mask[30:50, 40:60] = True
    np.testing.assert_array_equal(alignment.region(mask, (64, 64)), mask[20:84, 10:74])
    np.testing.assert_array_equal(Alignment.whole((100, 120)).picture(rgb, (100, 120)), rgb)


def test_beyond_the_photograph_it_is_mirrored():
    rgb = np.random.RandomState(0).randint(0, 256, (40, 40, 3)).astype(np.uint8)
    alignment = Alignment((-10.0, 0.0), (40.0, 0.0), (0.0, 40.0))
    np.testing.assert_array_equal(alignment.picture(rgb, (40, 40))[:, :10], rgb[:, 10:0:-1])
    assert alignment.outside((40, 40)) == pytest.approx(0.25)
    assert Alignment.whole((40, 40)).outside((40, 40)) == 0


@pytest.mark.parametrize('points, match', [
    (UPRIGHT[:3], 'expected four or five finite pairs'), (UPRIGHT * np.nan, 'expected four or five finite pairs'),
    (UPRIGHT[[1, 0, 3, 2]], 'the points are no face'), (UPRIGHT[[2, 3, 0, 1]], 'the points are no face'),
    (np.zeros((4, 2)), 'the points are no face')])
def test_points_that_are_no_face(points, match):
    with pytest.raises(PhotographError, match=match):
        Alignment.from_points(points)


def test_points_of_a_command_line():
    np.testing.assert_array_equal(parse_points(range(8)), np.arange(8).reshape(4, 2))
    assert parse_points(range(10)).shape == (5, 2)
    with pytest.raises(PhotographError, match='7 numbers are no points of a face'):
        parse_points(range(7))
