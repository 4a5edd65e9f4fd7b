"""Faces and their points: windows and overlaps by hand, and the real detector on a real photograph."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
import torch
from PIL import Image

from resefa_plugin.errors import CheckpointError
from resefa_plugin.projection import mtcnn
from resefa_plugin.projection.landmarks import SEARCH_SIDES, Face, _distinct, _squares, _windows, find_faces
from resefa_plugin.projection.mtcnn import Detector, OutputNet, ProposalNet, RefinementNet, load_detector, normalized
from resefa_plugin.third_party.example_photographs import astronaut
from tests.helpers.photographs import ASTRONAUT_POINTS

# Of the distance between the eyes: the networks see 48 x 48 pixels, and a person sets points to a pixel or two.
POINT = 0.15


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def test_of_boxes_that_overlap_the_better_one_stays():
    pair = boxes([0, 0, 10, 10], [0, 2, 10, 12], [50, 50, 60, 60])  # the first two share 80 of 120
    score = torch.tensor([0.7, 0.9, 0.8])
    assert _distinct(pair, score, 0.5)[1].tolist() == [1, 2]
    assert _distinct(pair, score, 0.7)[1].tolist() == [1, 2, 0]
    inner = boxes([0, 0, 10, 10], [2, 2, 6, 6])  # 16 of 100, and all of the smaller
    assert _distinct(inner, score[:2], 0.5)[1].tolist() == [1, 0]
    assert _distinct(inner, score[:2], 0.5, within=True)[1].tolist() == [1]
    assert _distinct(torch.zeros(0, 4), torch.zeros(0), 0.5)[0].shape == (0, 4)


def test_squares_keep_the_centre_and_the_longer_side():
    assert _squares(boxes([10, 20, 30, 80])).tolist() == [[-10, 20, 50, 80]]


def test_windows_are_cut_out_and_black_beyond_the_edge():
    pixels = torch.arange(3 * 40 * 50).reshape(1, 3, 40, 50) % 256 * 1.0
    inside, across = torch.cat(_windows(pixels, boxes([5, 10, 29, 34], [-12, -12, 12, 12]), 24))
    torch.testing.assert_close(inside, normalized(pixels[0, :, 10:34, 5:29]))
    torch.testing.assert_close(across[:, 12:, 12:], normalized(pixels[0, :, :12, :12]))
    assert (across[:, :12] == normalized(torch.zeros(1))).all()


def bright_middle(side):
    """A kernel `[1, 3, side, side]`: 1 on the average where the middle two thirds are white and the rim is black."""
    kernel = torch.full((1, 3, side, side), -1.0)
    kernel[:, :, side // 6:-(side // 6), side // 6:-(side // 6)] = 1
    return torch.where(kernel > 0, kernel / (kernel > 0).sum(), kernel / (kernel < 0).sum()) / 2


class BrightSquare:
    """A stand-in for a network: its faces are white squares on black that fill two thirds of the window."""

    stride = 2

    def __init__(self, side, inset=0.0):
        self.side, self.shift = side, inset * torch.tensor([1.0, 1, -1, -1])

    def score(self, pixels):
        fit = torch.nn.functional.conv2d(pixels, bright_middle(self.side), stride=self.stride)[:, 0]
        return 1.4 * fit  # no window fits exactly

    def __call__(self, windows):
        assert windows.shape[2:] == (self.side, self.side)
        points = torch.tensor([[0.3, 0.4], [0.7, 0.4], [0.5, 0.5], [0.3, 0.7], [0.7, 0.7]])
        return mtcnn.Windows(self.score(windows)[:, 0, 0], self.shift.expand(len(windows), 4),
                             points.expand(len(windows), 5, 2))


class Proposer(BrightSquare):
    def __call__(self, picture):
        score = self.score(picture)[0]
        return score, torch.zeros(*score.shape, 4)


@pytest.fixture
def bright():
    return Detector(Proposer(12), BrightSquare(24), BrightSquare(48, inset=1 / 6))


@pytest.mark.parametrize('shape, box', [
    ((300, 400), (100, 80, 200, 180)), ((2400, 3200), (900, 800, 1300, 1200)), ((70, 60), (14, 16, 38, 40))])
def test_boxes_and_points_are_in_pixels_of_the_picture(bright, shape, box):
    picture = np.zeros((*shape, 3), np.uint8)
    left, top, right, bottom = box
    picture[top:bottom, left:right] = 255
    face = find_faces(picture, bright)[0]
    side = right - left
    np.testing.assert_allclose(face.box, box, atol=0.2 * side)
    corner, window = np.array([left, top]) - side / 4, 1.5 * side
    expected = corner + window * np.array([[0.3, 0.4], [0.7, 0.7]])
    np.testing.assert_allclose(face.points[[0, 4]], expected, atol=0.2 * side)


def test_small_faces_are_found_at_the_second_size(bright):
    picture = np.zeros((3000, 4000, 3), np.uint8)
    picture[1000:1070, 2000:2070] = 255  # 11 pixels at the first size, 28 at the second
    assert SEARCH_SIDES[0] * 70 / 4000 < 12
    face, *_ = find_faces(picture, bright)
    np.testing.assert_allclose(face.points[2], [2035, 1035], atol=20)
    assert find_faces(np.zeros((3000, 4000, 3), np.uint8), bright) == []
    assert find_faces(np.zeros((5, 9, 3), np.uint8), bright) == []


def test_the_side_of_a_face():
    assert Face(np.array([1.0, 2, 11, 32]), np.zeros((5, 2)), 1.0).side == 30


def test_sizes_of_the_networks():
    score, shift = ProposalNet()(torch.zeros(1, 3, 20, 30))
    assert score.shape == (5, 10) and shift.shape == (5, 10, 4)
    assert RefinementNet()(torch.zeros(2, 3, 24, 24)).shift.shape == (2, 4)
    assert OutputNet()(torch.zeros(2, 3, 48, 48)).points.shape == (2, 5, 2)


@pytest.mark.parametrize('state', [{'conv1.weight': torch.zeros(10, 3, 3, 3)}, [1]])
def test_other_weights_are_refused(tmp_path, monkeypatch, state):
    torch.save(state, tmp_path / 'net.pt')
    monkeypatch.setattr(type(mtcnn.FACE_DETECTOR), 'fetch', lambda self: dict.fromkeys('pro', tmp_path / 'net.pt'))
    with pytest.raises(CheckpointError, match='net.pt: is not the ProposalNet of MTCNN'):
        load_detector()


@pytest.fixture(scope='module')
def detector():
    return load_detector()


@pytest.fixture(scope='module')
def portrait():
    return np.asarray(Image.open(pathlib.Path(astronaut())).convert('RGB'))


def off(face, expected):
    """The largest distance of the eyes and corners of the mouth from others, in distances between the eyes."""
    points = face.points[[0, 1, 3, 4]]
    return np.abs(points - expected).max() / np.hypot(*(expected[1] - expected[0]))


@pytest.mark.network
def test_the_points_of_a_real_face(detector, portrait):
    face, = find_faces(portrait, detector)
    assert off(face, ASTRONAUT_POINTS) < POINT and face.score > 0.99
    left, top, right, bottom = face.box
    assert ((face.points > [left, top]) & (face.points < [right, bottom])).all()


@pytest.mark.network
def test_mirrored_smaller_and_several(detector, portrait):
    mirrored = np.array([511, 0]) + ASTRONAUT_POINTS[[1, 0, 3, 2]] * [-1, 1]
    face, = find_faces(np.ascontiguousarray(portrait[:, ::-1]), detector)
    assert off(face, mirrored) < POINT
    small = np.asarray(Image.fromarray(portrait).resize((256, 256), Image.Resampling.BOX))
    both = np.zeros((512, 800, 3), np.uint8)
    both[:, :512], both[100:356, 530:786] = portrait, small
    large, little = find_faces(both, detector)
    assert off(large, ASTRONAUT_POINTS) < POINT
    assert off(little, (ASTRONAUT_POINTS + 0.5) / 2 - 0.5 + [530, 100]) < 1.5 * POINT
    assert find_faces(np.ascontiguousarray(portrait[300:, :]), detector) == []
