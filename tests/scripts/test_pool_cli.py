"""Pools, quick solvers and constraints on the command line."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from resefa_plugin import DirectionSet
from resefa_plugin.scripts.main import main


def resefa(*arguments, exit_code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == exit_code, result.output
    return result.output


def test_pool_from_the_command_line(tiny, tmp_path):
    shared = ['factorize', '--network=tiny', '--seeds=0-2', '--region=eyes', '--num-directions=2']
    for part in (1, 2):
        resefa(*shared, f'--shard={part}/2', f'--outdir={tmp_path}/shards')
    assert sorted(re.sub('-[0-9a-f]{16}.npz', '', p.name) for p in (tmp_path / 'shards').rglob('*')) == [
        'grams', 'seed0000-eyes', 'seed0001-eyes', 'seed0002-eyes']
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / 'shards' / 'grams').iterdir()}
    output = resefa(*shared, f'--outdir={tmp_path}/shards')
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / 'shards' / 'grams').iterdir()} == before
    assert 'The first pooled direction attains' in output and str(tmp_path / 'shards' / 'pooled-eyes.npz') in output
    html = (tmp_path / 'shards' / 'report.html').read_text()
    assert 'Agreement over the samples' in html and 'seed0002' in html
    resefa(*shared, f'--outdir={tmp_path}/whole')
    one, other = (DirectionSet.load(tmp_path / name / 'pooled-eyes.npz') for name in ('shards', 'whole'))
    np.testing.assert_array_equal(one.directions, other.directions)
    assert one.metadata.seeds == (0, 1, 2)


def test_quick_and_its_friends_from_the_command_line(tiny, tmp_path):
    output = resefa(
        'factorize',
        '--network=tiny',
        '--space=w+',
        '--region=mouth',
        '--quick',
        '--solver=auto',
        '--norm=covariance',
        '--protect=5*eyes',
        f'--outdir={tmp_path}/a',
    )
    assert "space 'w+' has 32 dimensions" in output and 'the Jacobian is computed' in output
    first = DirectionSet.load(tmp_path / 'a' / 'seed0000-mouth.npz')
    assert (
        len(first) == 4
        and first.metadata.extra['norm'] == 'covariance'
        and first.metadata.extra['protect'] == ['5*eyes']
    )
    output = resefa(
        'factorize',
        '--network=tiny',
        '--space=w+',
        '--region=mouth',
        '--solver=lobpcg',
        f'--orthogonal-to={tmp_path}/a/seed0000-mouth.npz:2',
        f'--outdir={tmp_path}/b',
    )
    second = DirectionSet.load(tmp_path / 'b' / 'seed0000-mouth.npz')
    assert 'Solved without the Jacobian, from' in output and second.metadata.solver == 'davidson' and len(second) == 5
    assert (
        np.abs(second.directions @ first.directions[1]).max()
        < 1e-5
        < np.abs(second.directions @ first.directions[0]).max()
    )
    assert json.loads((tmp_path / 'b' / 'options.json').read_text())['options']['orthogonal_to'] == [
        f'{tmp_path}/a/seed0000-mouth.npz:2'
    ]
    assert 'Solved without the Jacobian' in (tmp_path / 'b' / 'report.html').read_text()


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--shard=3/2'], "'3/2' is not I/N: expected a part from 1 to N"),
        (['--shard=1/2', '--seeds=0'], 'there are 1 samples to share out'),
        (['--protect=0*eyes'], 'expected a number above 0'),
        (['--protect=mouth'], "region 'mouth' lies wholly within the protected mouth"),
        (['--orthogonal-to=none.npz'], 'none.npz does not exist'),
        (['--quick', '--solver=dense'], 'quick chooses the solver'),
        (['--seeds=0,1', '--protect=inf*eyes'], 'or do not pool'),
        (['--solver=lobpcg', '--tau=0'], "solver 'davidson' needs a number above 0"),
    ],
)
def test_command_line_errors(tiny, tmp_path, arguments, message):
    output = resefa(
        'factorize',
        '--network=tiny',
        '--region=mouth',
        *arguments,
        f'--outdir={tmp_path}',
        exit_code=2 if arguments[0][:7] in ('--shard', '--quick') else 1,
    )
    assert message in output.replace('\n', ' ') and 'Traceback' not in output


def test_orthogonal_to_another_space(tiny, tmp_path):
    resefa('factorize', '--network=tiny', '--seeds=0', '--region=mouth', '--space=z', f'--outdir={tmp_path}')
    output = resefa(
        'factorize',
        '--network=tiny',
        '--seeds=0',
        '--region=mouth',
        f'--orthogonal-to={tmp_path}/seed0000-mouth.npz',
        f'--outdir={tmp_path}/b',
        exit_code=1,
    )
    assert "is for space 'z', layers all, and space 'w'" in output
