"""Which part of a photograph is taken, with a finder that finds what the test says."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from resefa_plugin.errors import PhotographError, ResefaError
from resefa_plugin.projection.alignment import Alignment
from resefa_plugin.projection.framing import frame, numbered_faces
from resefa_plugin.projection.photograph import as_photograph
from tests.helpers.photographs import face_at

POINTS = np.array([[440, 350], [560, 350], [450, 500], [550, 500]], float)  # in 1000 x 800
# The mean face of FFHQ in a picture of 1000 x 1000.
ALIGNED = np.array([[377, 470], [623, 470], [395, 737], [605, 737]], float)


def photograph(width=1000, height=800):
    return as_photograph(Image.new('RGB', (width, height), 'grey'), 'portrait')


def finder(*faces):
    return lambda picture: [face_at(points) for points in faces]


def test_the_face_that_is_found():
    framing = frame(photograph(), 'auto', (64, 64), finder(POINTS))
    assert framing.alignment == Alignment.from_points(POINTS) and framing.notes == () and len(framing.faces) == 1
    np.testing.assert_array_equal(framing.points[[0, 1, 3, 4]], POINTS)


def test_one_of_several():
    others = POINTS - [200, 0]
    framing = frame(photograph(), 'auto', (64, 64), finder(POINTS, others))
    assert framing.alignment == Alignment.from_points(POINTS)
    assert '2 faces were found, and face 1 was taken' in framing.notes[0] and '--face' in framing.notes[0]
    assert frame(photograph(), 'auto', (64, 64), finder(POINTS, others), 2).alignment == Alignment.from_points(others)
    with pytest.raises(PhotographError, match="no face 3 in 'portrait': 2 found"):
        frame(photograph(), 'auto', (64, 64), finder(POINTS, others), 3)
    with pytest.raises(ResefaError, match='number is 0'):
        frame(photograph(), 'auto', (64, 64), finder(POINTS), 0)


def test_numbers_are_drawn_beside_the_faces():
    shot = photograph()
    picture = np.asarray(numbered_faces(shot, (face_at(POINTS, 200), face_at(POINTS - [300, 0], 100)), 500))
    assert picture.shape == (400, 500, 3)
    left, top = ((POINTS.mean(axis=0) - 100) / 2).round().astype(int)
    assert (picture[top, left:left + 90] == 255).all() and (picture[0] == 128).all()


@pytest.mark.parametrize('shift, aligned', [(0, True), (60, True), (200, False)])
def test_a_picture_that_is_aligned_already(shift, aligned):
    framing = frame(photograph(1000, 1000), 'auto', (64, 64), finder(ALIGNED + [shift, 0]))
    assert (framing.alignment == Alignment.whole((1000, 1000))) == aligned
    assert any('aligned already' in note for note in framing.notes) == aligned
    assert (framing.points is None) == aligned


def test_a_wide_photograph_is_not_aligned_whatever_is_in_it():
    assert frame(photograph(1000, 950), 'auto', (64, 64), finder(ALIGNED)).points is not None


def test_no_face_says_what_to_do():
    with pytest.raises(PhotographError, match=r"no face was found in 'portrait'.*--align=x,y.*--align=none"):
        frame(photograph(), 'auto', (64, 64), finder())


def test_as_it_is():
    def find(picture):
        raise AssertionError('no face is looked for')

    assert frame(photograph(), 'none', (64, 80), find).alignment == Alignment.whole((800, 1000))
    assert frame(photograph(1000, 801), 'none', (64, 80), find).alignment == Alignment.whole((801, 1000))
    with pytest.raises(PhotographError, match='is 1000 x 800 .* of the network are 64 x 64: crop it'):
        frame(photograph(), 'none', (64, 64), find)
    assert frame(photograph(), POINTS, (64, 64), find).alignment == Alignment.from_points(POINTS)
    with pytest.raises(PhotographError, match="alignment 'nose' is not auto, none"):
        frame(photograph(), 'nose', (64, 64), find)


def test_faces_that_are_small_or_at_the_edge():
    small = (POINTS - POINTS[0]) / 10 + 300
    assert 'the aligned picture is blurred' in frame(photograph(), small, (64, 64), finder()).notes[0]
    with pytest.raises(PhotographError, match='too small: .* pixels, expected at least 16'):
        frame(photograph(), (POINTS - POINTS[0]) / 50 + 300, (64, 64), finder())
    edge = POINTS - [400, 0]
    assert 'filled by mirroring' in frame(photograph(), edge, (64, 64), finder()).notes[0]
    with pytest.raises(PhotographError, match="outside of 'portrait', which is 1000 x 800"):
        frame(photograph(), POINTS + 2000, (64, 64), finder())
