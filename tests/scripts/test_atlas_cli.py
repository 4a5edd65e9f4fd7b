"""The atlas on the command line: made once, then taken wherever samples would be pooled."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from resefa_plugin import Constraints, DirectionSet, Viewpoint, parse_region
from resefa_plugin.atlas.atlas import Atlas, atlas_folder
from resefa_plugin.scripts.main import main
from tests.helpers.toys import TinyHook


def resefa(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return ' '.join(result.output.split())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('RESEFA_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


def factorize(outdir, *arguments, code=0):
    return resefa('factorize', '--network=tiny', '--region=mouth', '--num-directions=2', '--other-seeds=40',
                  *arguments, f'--outdir={outdir}', code=code)


def test_an_atlas_gives_directions_at_once(tiny, cache, tmp_path):
    said = resefa('atlas', '--network=tiny', '--trunc=0.7', '--seeds=0-2')
    folder = atlas_folder(TinyHook())
    assert folder.parent == cache / 'atlas' and str(folder) in said
    assert "space 's' has 32 dimensions; an atlas of 3 samples: 96 products" in said and '3 samples, space s' in said
    said = factorize(tmp_path / 'out', '--trunc=0.7')
    assert 'directions of the network\'s atlas, of 3 samples, without a pass' in said and 'a pool of' not in said
    found = DirectionSet.load(tmp_path / 'out' / 'pooled-mouth.npz')
    hook = TinyHook()
    atlas = Atlas.load(folder)
    solved = atlas.solve(Viewpoint(hook, 's', hook.sample(0, 0.7)), parse_region('mouth', (32, 32)),
                         constraints=Constraints())
    np.testing.assert_allclose(found.directions, solved.solution.directions[:2], atol=1e-6)
    assert found.metadata.space == 's' and found.metadata.seeds == (0, 1, 2)
    assert (tmp_path / 'out' / 'report.html').exists()


def test_directions_of_an_atlas_on_a_sample_of_ones_own(tiny, cache, tmp_path):
    resefa('atlas', '--network=tiny', '--seeds=0-2', f'--outdir={tmp_path}/mine')
    assert not (cache / 'atlas').exists()
    factorize(tmp_path / 'out', '--seeds=7', f'--atlas={tmp_path}/mine')
    assert DirectionSet.load(tmp_path / 'out' / 'seed0007-mouth.npz').metadata.seeds == (7,)


@pytest.mark.parametrize('arguments', [['--trunc=0.5'], ['--trunc=0.7', '--atlas=none'],
                                       ['--trunc=0.7', '--solver=dense']])
def test_what_is_asked_for_otherwise_is_pooled(tiny, cache, tmp_path, arguments):
    resefa('atlas', '--network=tiny', '--trunc=0.7', '--seeds=0-1')
    assert 'a pool of up to 16 samples' in factorize(tmp_path / 'out', *arguments)


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--quick'], '--quick goes with derivatives that are taken now'), (['--space=w'], '--space goes with'),
    (['--no-pool'], '--no-pool goes with'), (['--protect=inf*nose'], 'cannot be pooled')])
def test_what_an_atlas_cannot_do_is_said(tiny, cache, tmp_path, arguments, message):
    resefa('atlas', '--network=tiny', '--seeds=0', f'--outdir={tmp_path}/mine')
    assert message in factorize(tmp_path / 'out', f'--atlas={tmp_path}/mine', *arguments,
                                code=1 if 'protect' in arguments[0] else 2)


def test_an_atlas_of_something_else_is_said(tiny, cache, tmp_path, monkeypatch):
    resefa('atlas', '--network=tiny', '--seeds=0', f'--outdir={tmp_path}/mine')
    monkeypatch.setattr(TinyHook, 'sha256', 'b' * 64)
    assert 'the atlas is of tiny (SHA-256 aaaaaaaaaaaa), not of tiny (SHA-256 bbbbbbbbbbbb)' in factorize(
        tmp_path / 'out', f'--atlas={tmp_path}/mine', code=2)
    assert '--atlas=' in factorize(tmp_path / 'out', f'--atlas={tmp_path}/nothing', code=2)


def test_a_damaged_atlas_is_said(tiny, cache, tmp_path):
    resefa('atlas', '--network=tiny', '--trunc=0.7', '--seeds=0-1')
    (atlas_folder(TinyHook()) / 'grams.npy').write_bytes(b'')
    said = factorize(tmp_path / 'out', '--trunc=0.7', code=1)
    assert 'grams.npy' in said and '--atlas=none' in said


def test_parts_of_an_atlas_join(tiny, cache, tmp_path):
    shared = ['atlas', '--network=tiny', '--seeds=0-2']
    for part in (1, 2):
        resefa(*shared, f'--shard={part}/2', f'--outdir={tmp_path}/shards')
    assert len(list((tmp_path / 'shards' / 'samples').glob('seed*.npz'))) == 3
    resefa(*shared, f'--outdir={tmp_path}/shards')
    resefa(*shared, f'--outdir={tmp_path}/whole')
    for name in ('grams.npy', 'arrays.npz'):
        assert (tmp_path / 'shards' / name).read_bytes() == (tmp_path / 'whole' / name).read_bytes()


def test_regions_of_the_network_itself(tiny, cache, tmp_path):
    shared = ['factorize', '--network=tiny', '--trunc=0.7', '--region=auto:3', '--num-directions=1', '--seeds=5']
    assert 'are in its atlas: make it once' in resefa(*shared, f'--outdir={tmp_path}/a', code=2)
    resefa('atlas', '--network=tiny', '--trunc=0.7', '--seeds=0-1')
    said = resefa(*shared, '--preview', f'--outdir={tmp_path}/a')
    found = Atlas.load(atlas_folder(TinyHook())).own_regions(3, (32, 32))
    assert 'seed0005-regions-preview.png' in said and (tmp_path / 'a' / 'seed0005-auto1-preview.png').exists()
    resefa(*shared, '--other-seeds=40', f'--outdir={tmp_path}/b')
    for region in found:
        directions = DirectionSet.load(tmp_path / 'b' / f'seed0005-{region.name}.npz')
        np.testing.assert_array_equal(directions.mask, region.mask)
        assert directions.metadata.space == 'w'  # those of one sample are found at it
    assert 'expected a number of regions from 2' in resefa(*shared[:3], '--region=auto:1', f'--outdir={tmp_path}/c',
                                                          code=1)
