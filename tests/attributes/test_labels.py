"""Changes of attributes along directions of a toy, and labels on changes that are given."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from resefa_plugin import DirectionSet, RegionPartition
from resefa_plugin.attributes.changes import AttributeChanges, attribute_changes
from resefa_plugin.attributes.labels import STRENGTH, direction_labels
from resefa_plugin.attributes.scales import SCALES
from resefa_plugin.attributes.scores import ATTRIBUTES
from resefa_plugin.errors import MetricError
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.scripts.main import main
from tests.helpers.faces import box, forged

NAMES = list(ATTRIBUTES)


def changes(direction: dict[str, tuple[float, ...]], steady: bool = True, belongs=None) -> AttributeChanges:
    """A direction's changes at two samples, by attribute; others are 0."""
    values = torch.zeros(1, 2, len(NAMES), dtype=torch.float64)
    for name, pair in direction.items():
        values[0, :, NAMES.index(name)] = torch.tensor(pair, dtype=torch.float64)
    inside = None if belongs is None else torch.tensor([name in belongs for name in NAMES])
    return AttributeChanges(values, 3.0, torch.full(values.shape, steady), inside)


@pytest.mark.parametrize('change, label', [
    ({'mouth_open': (2, 3)}, 'mouth opens +'), ({'mouth_open': (-2, -3)}, 'mouth closes +'),
    ({'eyes_open': (-2, -2)}, 'eyes close +'), ({'eyes_open': (0.9, 1)}, ''),
    ({'lipstick': (5, -1)}, ''), ({'lipstick': (1.4, 1.4)}, ''),
    ({}, ''), ({'brow_height': (math.nan, 9)}, ''),
    ({'nose_size': (2, 2), 'mouth_width': (-4, -3)}, 'mouth narrows +'),
    ({'lipstick': (9, -9), 'nose_size': (2, 2)}, 'nose grows +'),
    ({'lipstick': (2, 2), 'mouth_open': (1.5, 1.5)}, 'mouth opens +'), ({'gaze': (-2, -2)}, ''),
    ({'gaze': (-4, -4), 'eye_shadow': (1.8, 1.8)}, 'eyes look left +')])
def test_labels(change, label):
    assert direction_labels(changes(change)) == [label]


def test_what_is_outside_of_the_region_is_not_named():
    change = {'nose_size': (9, 9), 'mouth_open': (2, 2)}
    assert direction_labels(changes(change, belongs={'mouth_open', 'smile'})) == ['mouth opens +']
    assert direction_labels(changes(change, belongs={'eyes_open'})) == ['']


def test_what_goes_to_and_fro_is_not_named():
    assert direction_labels(changes({'mouth_open': (5, 5)}, steady=False)) == ['']


def test_a_sample_that_hides_an_attribute_does_not_count():
    values = torch.zeros(1, 5, len(NAMES), dtype=torch.float64)
    values[0, :, 0] = torch.tensor([1.0, 1.2, torch.nan, 1.1, -30.0])
    measured = AttributeChanges(values, 2.0)
    assert measured.typical('eyes_open').tolist() == [1.0]  # the median of -30, 0, 1, 1.1, 1.2
    with pytest.raises(MetricError, match="'beauty' is not an attribute; attributes: eyes_open, mouth_open, lipstick"):
        measured.typical('beauty')


def test_means_of_an_attribute():
    np.testing.assert_allclose(changes({'mouth_open': (2, 4)}).of('mouth_open'), [3])


LIPS = RegionPartition(RegionPartition.from_box(0, 8, 16, 8, (16, 16)).mask, 'lips')


@pytest.fixture
def toy():
    """z[0] reddens the lower half, which the parser takes for lips, z[1] does so both ways; z[2] moves blue."""
    def images(z):
        red, blue = torch.zeros(3, 16, 16), torch.zeros(3, 16, 16)
        red[0, 8:], blue[2] = 1, 1
        redness = z[:, 0] + (z[:, 1] + 1).square() - 1
        return 0.1 * (redness[:, None, None, None] * red + z[:, 2, None, None, None] * blue)

    parts = [box('skin', 0, 0, 230, 512), box('lower_lip', 280, 0, 232, 512)]
    hook = FunctionHook(images, 3, name='lips')
    samples = [hook.sample(seed) for seed in (0, 1)]
    for sample in samples:
        sample.latents['z'][:, 1:] = 0
    return [Viewpoint(hook, 'z', sample) for sample in samples], forged(parts)


def test_directions_are_rendered_both_ways(toy):
    viewpoints, networks = toy
    measured = attribute_changes(viewpoints, 0.5 * torch.eye(3)[[0, 2]], networks, 4)
    assert measured.values.shape == (2, 2, len(NAMES)) and measured.strength == 4
    z = viewpoints[0].latent[0, 0].item()
    expected = math.log(1 + 0.1 * (z + 2)) - math.log(1 + 0.1 * (z - 2))
    change = measured.values[:, 0, NAMES.index('lipstick')] * SCALES['lipstick']
    np.testing.assert_allclose(change, [expected, 0], atol=1e-3)


def test_a_region_tells_what_is_steady_and_what_belongs_to_it(toy):
    viewpoints, networks = toy
    # The last one reddens both ways, by (z + 1) ** 2: to 3 at one end, to 8 at the other.
    measured = attribute_changes(viewpoints, torch.eye(3)[[0, 1]] * torch.tensor([[0.5], [0.8]]), networks, 3, LIPS)
    back = attribute_changes(viewpoints, -0.5 * torch.eye(3)[:1], networks, 3, LIPS)
    index = NAMES.index('lipstick')
    assert (measured.values[:, :, index].abs() > 1).all() and measured.strength == 3
    assert measured.steady[:, :, index].tolist() == [[True, True], [False, False]]
    assert measured.belongs[index] and not measured.belongs[NAMES.index('nose_size')]
    assert direction_labels(measured) == ['lipstick +', ''] and direction_labels(back) == ['paler lips +']


def test_one_half_of_the_way_may_go_back_a_little(toy, monkeypatch):
    viewpoints, networks = toy
    for unedited, steady in ((2.0, True), (-0.4, True), (-0.6, False), (5.4, True), (5.6, False)):
        answers = iter(torch.tensor([unedited, 5.0, 0.0], dtype=torch.float64))
        for module in ('scores', 'changes'):
            monkeypatch.setattr(f'resefa_plugin.attributes.{module}.scores_of',
                                lambda parts, answers=answers: next(answers).expand(len(NAMES)))
        measured = attribute_changes(viewpoints[:1], torch.eye(3)[:1], networks, 3, LIPS)
        assert measured.steady.all() == steady and measured.steady.any() == steady


def test_nothing_to_measure(toy):
    viewpoints, networks = toy
    with pytest.raises(MetricError, match=r'one sample or more and offsets \[k, d\], got 0 samples and \[1, 2\]'):
        attribute_changes([], torch.zeros(1, 2), networks)
    with pytest.raises(MetricError, match=r'got 2 samples and \[1, 2\]'):
        attribute_changes(viewpoints, torch.zeros(1, 2), networks)


@pytest.fixture
def seen(monkeypatch):
    """What the measuring of labels was asked for; direction 2 opens the mouth."""
    asked = {}

    def measured(viewpoints, offsets, networks, strength, region, progress):
        asked.update(samples=[viewpoint.sample.name for viewpoint in viewpoints], offsets=offsets, networks=networks,
                     resolution=viewpoints[0].resolution, strength=strength, region=region.name)
        values = torch.zeros(len(offsets), len(viewpoints), len(NAMES), dtype=torch.float64)
        values[1, :, NAMES.index('mouth_open')] = 3
        return AttributeChanges(values, 3.0)

    monkeypatch.setattr('resefa_plugin.callbacks.face_labels.attribute_changes', measured)
    return asked


def labelled(tmp_path, *flags):
    result = CliRunner().invoke(main, ['factorize', '--network=tiny', '--region=center:0.5', '--num-directions=2',
                                       '--suggest-labels', f'--outdir={tmp_path}', *flags])
    assert result.exit_code == 0, result.output
    return result


def test_labels_come_into_file_console_and_report(tiny, tmp_path, seen):
    result = labelled(tmp_path, '--seeds=0')
    assert seen['samples'] == ['seed0000'] and seen['resolution'] == 32 and seen['networks'].fetch
    assert seen['strength'] == STRENGTH and seen['region'] == 'box_8_8_16_16'
    path = next(tmp_path.glob('seed0000-*.npz'))
    directions = DirectionSet.load(path)
    np.testing.assert_array_equal(seen['offsets'].numpy(), [directions.offset(i, 1.0) for i in (1, 2)])
    assert directions.labels == ('', 'mouth opens +')
    assert 'seed0000-box_8_8_16_16: direction 2: mouth opens +' in result.output and 'direction 1:' not in result.output
    html = (tmp_path / 'report.html').read_text()
    assert html.count('class="label"') == 2  # in the table and above the strip
    assert 'Direction 2 <span class="label">mouth opens +</span>' in html
    told = CliRunner().invoke(main, ['info', str(path)]).output.splitlines()
    assert [line.endswith('  mouth opens +') for line in told[-2:]] == [False, True]


def test_labels_of_a_pool_hold_on_three_of_its_samples(tiny, tmp_path, seen):
    labelled(tmp_path, '--seeds=4-7', '--space=z')
    assert seen['samples'] == ['seed0004', 'seed0005', 'seed0006']
