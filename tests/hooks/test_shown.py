"""What a person sees of the objects in an interpreter or a notebook: a few lines and pictures, never arrays."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from resefa_plugin import Auto, DirectionSet, Factorizer, RegionJacobian, Viewpoint, parse_region
from resefa_plugin.errors import DirectionsError, ResefaError
from resefa_plugin.hooks.base import Sample
from resefa_plugin.report.pictures import to_uint8
from tests.helpers.toys import TanhToy, TinyHook

LABEL = 'mouth <opens> +'


@pytest.fixture(scope='module')
def hook():
    return TinyHook()


@pytest.fixture(scope='module')
def result(hook):
    viewpoint = Viewpoint(hook, 'w+', hook.sample(3, 0.7))
    result, = Factorizer([viewpoint], [parse_region('eyes', (32, 32))], Auto(2)).run()
    result.directions = result.directions.labelled([LABEL, ''])
    result.notes.append('A note <for> the reader.')
    return result


def test_each_says_what_it_is(hook, result):
    viewpoint, directions = result.viewpoint, result.directions
    inside = [f'{127.5 * change ** 0.5:.1f}' for change in directions.measured_inside]
    for value, words in [
        (hook, ['TinyHook tiny', '32 x 32, 3 channels', 'z, w, w+, s', 'cpu']),
        (viewpoint.sample, ['seed0003', 'ws [1, 8, 4]', 'psi 0.7']),
        (viewpoint, ['seed0003 of tiny', 'space w+', '32 dimensions', '32 x 32']),
        (hook.space('w', (2, 3, 4)), ['space w', '4 dimensions', 'layers 2-4']),
        (result.partition, ['region eyes', '2.73 % of 32 x 32']),
        (RegionJacobian(viewpoint), ['Jacobian at <seed0003 of tiny']),
        (directions, ['2 directions of eyes, space w+ of tiny, seed 3', LABEL, *inside, 'grey levels of 255']),
    ]:
        text = repr(value)
        assert all(word in text for word in words), text
        assert len(text.splitlines()) <= 8 and 'array' not in text and 'tensor' not in text
    text = repr(result)
    assert repr(directions) in text and 'seed0003-eyes' in text and 'A note <for> the reader.' in text


def test_notebooks_show_tables(hook, result):
    assert '32 x 32, 3 channels' in hook._repr_html_() and 'CC0' in hook._repr_html_()
    for shown in (result.directions._repr_html_(), result._repr_html_()):
        assert 'mouth &lt;opens&gt; +' in shown and LABEL not in shown and '2 directions of eyes' in shown
    assert 'A note &lt;for&gt; the reader.' in result._repr_html_()
    with Image.open(io.BytesIO(result.partition._repr_png_())) as picture:
        np.testing.assert_array_equal(np.asarray(picture.convert('L')) > 0, result.partition.mask)


def test_the_picture_of_a_sample(hook):
    for sample in (hook.sample(1), Sample('x', {'s': hook.sample(1).latents['ws'].flatten(1)})):
        expected = to_uint8(hook.G(list(hook.sample(1).latents['ws'].unbind(1))))[0]
        np.testing.assert_array_equal(np.asarray(hook.picture(sample)), expected)
    function = TanhToy().hook()
    assert function.picture(function.sample(0)).size == (8, 8)
    with pytest.raises(ResefaError, match='sample is 3, expected a value of type Sample'):
        hook.picture(3)


@pytest.mark.parametrize('index', [1, 2])
def test_the_picture_of_an_edit_counts_as_the_command_line_does(hook, result, tmp_path, index):
    directions = result.directions
    row = 2.5 * directions.step[index - 1] * directions.directions[index - 1]
    for sample in (None, hook.sample(7)):
        start = (sample or result.viewpoint.sample).latents['ws']
        moved = start + torch.from_numpy(row.astype(np.float32)).reshape(1, 8, 4)
        expected = to_uint8(hook.G(list(moved.unbind(1))))[0]
        np.testing.assert_array_equal(np.asarray(result.picture(index, 2.5, sample)), expected)
    directions.save(tmp_path / 'd.npz')
    loaded = DirectionSet.load(tmp_path / 'd.npz').picture(hook, hook.sample(7), index, 2.5)
    np.testing.assert_array_equal(np.asarray(loaded), expected)


@pytest.mark.parametrize('index', [0, 3])
def test_directions_that_there_are_not(result, index):
    with pytest.raises(DirectionsError, match=f'direction {index} is out of range: they are counted from 1'):
        result.picture(index)
