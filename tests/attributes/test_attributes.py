"""Attribute scores on forged parsers whose areas are known, and labels on changes that are given."""

from __future__ import annotations

import math
import types

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from resefa_plugin import DirectionSet
from resefa_plugin.attributes.changes import AttributeChanges, attribute_changes
from resefa_plugin.attributes.face_parts import CLASSES, SIDE
from resefa_plugin.attributes.labels import best_direction, direction_labels
from resefa_plugin.attributes.scores import ATTRIBUTES, attribute_scores
from resefa_plugin.errors import MetricError
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.scripts.main import main
from tests.helpers.toys import images_at

NAMES = list(ATTRIBUTES)


def box(name, top, left, height, width):
    return CLASSES.index(name), slice(top, top + height), slice(left, left + width)


FACE = [box('skin', 100, 100, 350, 300), box('left_brow', 200, 150, 10, 60), box('right_brow', 200, 290, 10, 60),
        box('left_eye', 230, 160, 20, 40), box('right_eye', 230, 300, 20, 40), box('nose', 250, 230, 80, 50),
        box('upper_lip', 360, 200, 20, 100), box('mouth', 380, 200, 20, 100), box('lower_lip', 400, 200, 20, 100)]


def forged(parts):
    """Networks whose parser always sees these boxes, later ones above earlier ones."""
    labels = torch.zeros(SIDE, SIDE, dtype=torch.long)
    for index, rows, columns in parts:
        labels[rows, columns] = index
    probabilities = torch.nn.functional.one_hot(labels, len(CLASSES)).permute(2, 0, 1)[None].float()
    return types.SimpleNamespace(device=torch.device('cpu'), parsing=lambda images, output: probabilities)


def scores(parts, image=None):
    image = torch.zeros(1, 3, 32, 32) if image is None else image
    return {name: value.item() for name, value in attribute_scores(image, forged(parts)).items()}


def test_scores_are_areas_places_and_colours():
    result = scores(FACE)
    in_parts = {'eyes_open': 2 * 20 * 40 / SIDE ** 2, 'mouth_open': 20 * 100 / SIDE ** 2,
                'nose_size': 80 * 50 / SIDE ** 2, 'mouth_width': math.sqrt((100 ** 2 - 1) / 12) / SIDE,
                'brow_height': 35 / SIDE, 'lipstick': 0}
    for name, value in in_parts.items():
        assert result[name] * ATTRIBUTES[name].scale == pytest.approx(value, rel=1e-6, abs=1e-9)


def test_lipstick_is_red_lips_whatever_the_light():
    image = torch.zeros(1, 3, SIDE, SIDE) + torch.tensor([0.6, 0.3, 0.2])[:, None, None]
    for name in ('upper_lip', 'lower_lip'):
        _, rows, columns = next(part for part in FACE if part[0] == CLASSES.index(name))
        image[:, :, rows, columns] = torch.tensor([0.8, 0.1, 0.2])[:, None, None]
    expected = math.log(0.8 / 0.1) - math.log(0.6 / 0.3)
    light = torch.tensor([0.7, 0.9, 1.1])[:, None, None]
    for picture in (image, image * light):
        score = scores(FACE, 2 * picture - 1)['lipstick']
        assert score * ATTRIBUTES['lipstick'].scale == pytest.approx(expected, rel=1e-5)


def test_hidden_eyes_have_no_brow_height():
    parts = [part for part in FACE if part[0] not in (CLASSES.index('left_eye'), CLASSES.index('right_eye'))]
    result = scores(parts)
    assert math.isnan(result['brow_height']) and result['eyes_open'] == 0


def changes(*directions: dict[str, tuple[float, ...]]) -> AttributeChanges:
    """Each direction's changes at two samples, by attribute; others are 0."""
    values = torch.zeros(len(directions), 2, len(NAMES), dtype=torch.float64)
    for row, direction in zip(values, directions, strict=True):
        for name, pair in direction.items():
            row[:, NAMES.index(name)] = torch.tensor(pair)
    return AttributeChanges(values, 2.0)


@pytest.mark.parametrize('change, label', [
    ({'mouth_open': (2, 3)}, 'mouth opens +'), ({'mouth_open': (-2, -3)}, 'mouth closes +'),
    ({'eyes_open': (-1, -1)}, 'eyes close +'), ({'eyes_open': (0.7, 0.7)}, ''), ({'lipstick': (5, -1)}, ''),
    ({}, ''), ({'brow_height': (math.nan, 9)}, ''),
    ({'nose_size': (1, 1), 'mouth_width': (-2, -1)}, 'mouth narrows +'),
    ({'lipstick': (9, -9), 'nose_size': (1, 1)}, 'nose grows +')])
def test_labels(change, label):
    assert direction_labels(changes(change)) == [label]


def test_best_direction():
    several = changes({'eyes_open': (1, 1)}, {'eyes_open': (-3, -2)}, {'eyes_open': (9, -1)}, {'mouth_open': (4, 4)})
    assert best_direction(several, 'eyes_open', -1) == (1, 1)
    assert best_direction(several, 'eyes_open') == (1, -1)
    assert best_direction(several, 'mouth_open', -1) == (3, -1)
    assert best_direction(several, 'lipstick') is None
    np.testing.assert_allclose(several.of('mouth_open'), [0, 0, 0, 4])
    with pytest.raises(MetricError, match="'smile' is not an attribute; attributes: eyes_open, mouth_open, lipstick"):
        best_direction(several, 'smile')


@pytest.fixture
def toy():
    """z[0] reddens the lower half, which the parser takes for lips; z[1] moves blue, which is no attribute."""
    def images(z):
        red, blue = torch.zeros(3, 16, 16), torch.zeros(3, 16, 16)
        red[0, 8:], blue[2] = 1, 1
        return 0.1 * (z[:, 0, None, None, None] * red + z[:, 1, None, None, None] * blue)

    parts = [box('skin', 0, 0, 230, 512), box('lower_lip', 280, 0, 232, 512)]
    hook = FunctionHook(images, 2, name='lips')
    return [Viewpoint(hook, 'z', hook.sample(seed)) for seed in (0, 1)], forged(parts)


def test_directions_are_rendered_both_ways(toy):
    viewpoints, networks = toy
    measured = attribute_changes(viewpoints, torch.tensor([[0.5, 0], [-0.5, 0], [0, 0.5]]), networks, strength=4)
    assert measured.values.shape == (3, 2, len(NAMES)) and measured.strength == 4
    z = viewpoints[0].latent[0, 0].item()
    expected = math.log(1 + 0.1 * (z + 2)) - math.log(1 + 0.1 * (z - 2))
    change = measured.values[:, 0, NAMES.index('lipstick')] * ATTRIBUTES['lipstick'].scale
    np.testing.assert_allclose(change, [expected, -expected, 0], atol=1e-3)
    assert direction_labels(measured) == ['lipstick +', 'paler lips +', '']


def test_nothing_to_measure(toy):
    viewpoints, networks = toy
    with pytest.raises(MetricError, match=r'one sample or more and offsets \[k, d\], got 0 samples and \[1, 2\]'):
        attribute_changes([], torch.zeros(1, 2), networks)
    with pytest.raises(MetricError, match=r'got 2 samples and \[1, 3\]'):
        attribute_changes(viewpoints, torch.zeros(1, 3), networks)


@pytest.mark.network
def test_real_faces(demo):
    """Seed 3 laughs, seed 8 presses his lips, seed 9 wears lipstick, seed 2 wears glasses."""
    space = demo.space('w')
    with torch.no_grad():
        faces = torch.cat([images_at(space, demo.sample(seed, 0.7), torch.zeros(1, space.dim), 512)
                           for seed in (3, 8, 9, 2)])
    result = attribute_scores(faces, Networks(fetch=True))
    laughing, pressed, lipstick, glasses = range(4)
    assert result['mouth_open'][laughing] > result['mouth_open'][pressed] + 2
    assert result['mouth_width'][laughing] > result['mouth_width'][pressed] + 1
    assert result['lipstick'][lipstick] > result['lipstick'][pressed] + 1
    assert result['eyes_open'][pressed] > result['eyes_open'][glasses] + 1


def test_labels_come_into_the_report(tiny, tmp_path, monkeypatch):
    """`--suggest-labels`: measured on the sample and two others, at the parser's resolution or all there is."""
    seen = {}

    def measured(viewpoints, offsets, networks, *, progress):
        seen.update(samples=[viewpoint.sample.name for viewpoint in viewpoints], offsets=offsets, networks=networks,
                    resolution=viewpoints[0].resolution)
        values = torch.zeros(len(offsets), len(viewpoints), len(NAMES), dtype=torch.float64)
        values[1, :, NAMES.index('mouth_open')] = 3
        return AttributeChanges(values, 2.0)

    monkeypatch.setattr('resefa_plugin.callbacks.face_labels.attribute_changes', measured)
    result = CliRunner().invoke(
        main,
        [
            'factorize',
            '--network=tiny',
            '--region=center:0.5',
            '--num-directions=2',
            '--suggest-labels',
            f'--outdir={tmp_path}',
        ],
    )
    assert result.exit_code == 0, result.output
    assert (
        seen['samples'] == ['seed0000', 'seed0001', 'seed0002'] and seen['resolution'] == 32 and seen['networks'].fetch
    )
    directions = DirectionSet.load(next(tmp_path.glob('seed0000-*.npz')))
    np.testing.assert_array_equal(seen['offsets'].numpy(), [directions.offset(i, 1.0) for i in range(2)])
    html = (tmp_path / 'report.html').read_text()
    assert (
        html.count('class="label"') == 2 and 'Direction 2 <span class="label">mouth opens +</span>' in html
    )  # in the table and above the strip


def test_a_sample_that_hides_an_attribute_does_not_count():
    values = torch.zeros(1, 5, len(NAMES), dtype=torch.float64)
    values[0, :, 0] = torch.tensor([1.0, 1.2, torch.nan, 1.1, -30.0])
    changes = AttributeChanges(values, 2.0)
    assert changes.typical('eyes_open').tolist() == [1.0]  # the median of -30, 0, 1, 1.1, 1.2
    with pytest.raises(MetricError, match="'beauty' is not an attribute"):
        changes.typical('beauty')
