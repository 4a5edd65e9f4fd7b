"""What a user gets who names neither samples nor space nor a way to edit: the recommended way."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from resefa_plugin import DirectionSet
from resefa_plugin.attributes import combination
from resefa_plugin.errors import MetricError
from resefa_plugin.hooks.viewpoint import viewpoints_of
from resefa_plugin.scripts.main import main
from tests.helpers.toys import TanhToy, TinyHook


def factorize(outdir, *arguments, code=0):
    result = CliRunner().invoke(main, ['factorize', '--network=tiny', '--region=mouth', '--other-seeds=40', *arguments,
                                       f'--outdir={outdir}'])
    assert result.exit_code == code, result.output
    return ' '.join(result.output.split())


def test_without_seeds_samples_are_pooled_in_stylespace_until_more_do_not_help(tiny, tmp_path):
    said = factorize(tmp_path, '--num-directions=2')
    assert "space 's' has 32 dimensions" in said and 'a pool of up to 16 samples: about 512 tangents at most' in said
    assert 'it ends when more samples do not help. For one picture only, give --seeds=0' in said
    directions = DirectionSet.load(tmp_path / 'pooled-mouth.npz')
    seeds = directions.metadata.seeds
    assert directions.metadata.space == 's' and seeds == tuple(range(len(seeds))) and 5 <= len(seeds) <= 16
    html = (tmp_path / 'report.html').read_text()
    assert 'Weight in the pool' in html and (tmp_path / 'pooled-mouth' / 'transfer.png').exists()
    assert 'leaks at samples outside the pool' in html


@pytest.mark.parametrize('arguments, name, space', [
    (['--seeds=3'], 'seed0003-mouth', 'w'), (['--quick'], 'seed0000-mouth', 'w'), (['--space=w+'], 'seed0000-mouth',
                                                                                  'w+'),
    (['--no-pool'], 'seed0000-mouth', 'w'), (['--seeds=0,1'], 'pooled-mouth', 's'),
    (['--seeds=0,1', '--space=w'], 'pooled-mouth', 'w'), (['--seeds=0,1', '--no-pool'], 'seed0001-mouth', 'w')])
def test_what_is_asked_for_is_done(tiny, tmp_path, arguments, name, space):
    said = factorize(tmp_path, *arguments, '--num-directions=1')
    assert DirectionSet.load(tmp_path / f'{name}.npz').metadata.space == space
    assert ('a pool of 2 samples: about' in said) == (name == 'pooled-mouth') and 'up to 16' not in said


def test_generators_without_styles_are_taken_at_one_sample(tmp_path, monkeypatch):
    hook = TanhToy(shape=(3, 32, 32)).hook()
    monkeypatch.setattr('resefa_plugin.scripts.common.options.open_network', lambda *arguments: hook)
    factorize(tmp_path, '--num-directions=1')
    assert (tmp_path / 'seed0000-mouth.npz').exists()


def test_which_space_auto_is():
    tiny, toy = TinyHook(), TanhToy().hook()
    for hook, count, pool, space in ((tiny, 1, None, 'w'), (tiny, 2, None, 's'), (tiny, 2, False, 'w'),
                                     (tiny, 1, True, 's'), (toy, 2, None, 'z')):
        found = viewpoints_of(hook, [hook.sample(seed) for seed in range(count)], pool=pool)
        assert {viewpoint.space.name for viewpoint in found} == {space} and len(found) == count
    found, = viewpoints_of(tiny, [tiny.sample(0)], 'w+', (1, 2), 16)
    assert (found.space.name, found.space.layers, found.resolution) == ('w+', (1, 2), 16)


@pytest.fixture
def combined(monkeypatch):
    """What the combination of directions for an attribute is asked for; it is the second row."""
    asked = []

    def combine(viewpoints, region, span, attribute, sign, networks, tau, grams, progress):
        asked.append(([viewpoint.sample.seed for viewpoint in viewpoints], region.name, len(span), attribute, sign,
                      networks.fetch, tau))
        return span[1]

    monkeypatch.setattr(combination, 'combine', combine)
    return asked


def test_an_attribute_that_is_asked_for(tiny, tmp_path, combined):
    factorize(tmp_path, '--seeds=0-3', '--attribute=mouth_open-', '--tau=0.01')
    assert combined == [([0, 1, 2, 3], 'mouth', 32, 'mouth_open', -1, True, 0.01)]  # all channels
    directions = DirectionSet.load(tmp_path / 'pooled-mouth.npz')
    assert len(directions) == 1 and directions.metadata.extra['objective'] == 'mouth_open-'
    assert np.array_equal(directions.directions[0], np.eye(32)[1])
    assert 'mouth closes +' in (tmp_path / 'report.html').read_text()
    assert json.loads((tmp_path / 'options.json').read_text())['options']['attribute'] == 'mouth_open-'


def test_attributes_that_cannot_be_had(tiny, tmp_path, monkeypatch):
    assert "attribute 'smirk': expected a name and + for more" in factorize(tmp_path, '--attribute=smirk', code=1)
    said = factorize(tmp_path, '--attribute=smiling+', code=1)
    assert "attribute 'smiling+': there is no smiling; did you mean smile+? names: " in ' '.join(said.split())
    assert '--attribute is for one --region' in factorize(tmp_path, '--attribute=mouth_open-', '--region=eyes', code=2)

    def nothing(*arguments):
        raise MetricError("none of the 12 directions of 'mouth' changes 'eyes_open'")

    monkeypatch.setattr(combination, 'combine', nothing)
    assert 'none of the 12 directions' in factorize(tmp_path, '--seeds=0', '--attribute=eyes_open-', code=1)
    assert not list(tmp_path.glob('*.npz'))
