"""Edits take from the directions file how the directions were found, unless flags say otherwise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from resefa_plugin import DirectionSet, FunctionHook
from resefa_plugin.hooks import opening
from resefa_plugin.scripts.main import main
from tests.helpers.toys import TanhToy


def invoke(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + str(result.exception)
    return result.stderr


@pytest.fixture
def found(tiny, tmp_path):
    """Directions of seed 3 with psi 0.5."""
    invoke('factorize', '--network=tiny', '--seeds=3', '--trunc=0.5', '--region=eyes', '--num-directions=1',
           '--other-seeds=1', f'--outdir={tmp_path}/out')
    return tmp_path / 'out' / 'seed0003-eyes.npz'


def picture(path):
    return np.asarray(Image.open(path)).astype(int)


def test_sample_and_truncation_are_those_of_the_file(found, tmp_path):
    text = invoke('edit', '--network=tiny', f'--directions={found}', '--strength=0,0', '--steps=1',
                  f'--outdir={tmp_path}/e')
    assert f'as {found} says: --seeds=3 --trunc=0.5' in text
    assert (picture(tmp_path / 'e' / 'seed0003-00.png') == picture(tmp_path / 'out' / 'seed0003.png')).all()


def test_flags_say_otherwise(found, tmp_path):
    text = invoke('edit', '--network=tiny', '--seeds=1', '--trunc=1', f'--directions={found}', '--strength=0,0',
                  '--steps=1', '--straight', f'--outdir={tmp_path}/e')
    assert ' says: ' not in text
    w = np.load(tmp_path / 'e' / 'seed0001-00.npz')['w']
    assert np.allclose(w[0, 0], np.random.RandomState(1).randn(4), atol=1e-6)


def test_of_a_projected_latent_it_is_that_latent(tiny, tmp_path):
    np.savez(tmp_path / 'projected_w.npz', w=np.full((1, 8, 4), 0.3, np.float32))
    for space in ('w+', 's', 'w'):
        out = tmp_path / space
        invoke('factorize', '--network=tiny', f'--projected-w={tmp_path}/projected_w.npz', '--region=eyes',
               f'--space={space}', '--num-directions=1', '--other-seeds=1', f'--outdir={out}')
        invoke('edit', '--network=tiny', f'--directions={out}/proj00-eyes.npz', '--strength=0,0', '--steps=1',
               f'--outdir={out}/e')
        assert (picture(out / 'e' / 'found-00.png') == picture(out / 'proj00.png')).all()


def test_a_range_is_taken_for_a_function(tmp_path, monkeypatch):
    toy = TanhToy(shape=(3, 32, 32))
    monkeypatch.setattr('resefa_plugin.scripts.common.options.open_function', lambda spec, device: FunctionHook(
        lambda z: (toy.images(z) + 1) / 2, 6, name='halves'))
    invoke('factorize', '--hook=toy:hook', '--range=0,1', '--seeds=2', '--region=eyes', '--num-directions=1',
           f'--outdir={tmp_path}/out')
    text = invoke('edit', '--hook=toy:hook', f'--directions={tmp_path}/out/seed0002-eyes.npz', '--steps=1',
                  f'--outdir={tmp_path}/e')
    assert '--seeds=2 --range=0.0,1.0' in text and 'state it' not in text


def test_labels_are_said(found, tmp_path):
    labelled = DirectionSet.load(found).labelled(['eyes open +'])
    dataclasses.replace(labelled).save(tmp_path / 'l.npz')
    text = invoke('edit', '--network=tiny', f'--directions={tmp_path}/l.npz', '--steps=1', f'--outdir={tmp_path}/e')
    assert 'direction 1: eyes open +' in text


def test_the_last_line_says_what_to_open(found, tmp_path):
    result = CliRunner().invoke(main, ['edit', '--network=tiny', f'--directions={found}', '--steps=1',
                                       f'--outdir={tmp_path}/e'])
    assert result.stdout.splitlines()[-1] == f'Open {tmp_path}/e/grid.png'


def test_a_network_that_the_file_names_must_be_there(found, tmp_path, monkeypatch):
    monkeypatch.delitem(opening.NAMED_NETWORKS, 'tiny')
    assert "the directions say 'tiny'" in invoke('edit', f'--directions={found}', f'--outdir={tmp_path}/e', code=2)
