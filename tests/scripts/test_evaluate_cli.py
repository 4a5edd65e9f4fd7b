"""`resefa evaluate` from the command line, on a generator that takes seconds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from resefa_plugin.scripts.main import main

SMALL = ['evaluate', '--network=tiny', '--seeds=0', '--eval-seeds=10-11', '--curve-samples=1', '--num-directions=2']


def run(*options):
    return CliRunner().invoke(main, [*SMALL, *options])


def test_a_small_comparison_writes_its_files(tiny, tmp_path):
    np.save(tmp_path / 'smile.npy', np.ones((1, 4)))
    result = run('--region=part=8,8,16,16', '--methods=resefa,sefa:1-3,random',
                 f'--directions={tmp_path}/smile.npy:4-7', '--other-seeds=1',
                 '--variant=part=9,9,16,16', f'--outdir={tmp_path}/out')
    assert result.exit_code == 0, result.output
    table = (tmp_path / 'out' / 'table.md').read_text()
    assert table in result.output and '| part | sefa:1-3 | w:1-3 ' in table and 'smile.npy:4-7 | w:4-7 1 |' in table
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {'cells', 'curves.png', 'options.json', 'part.png',
                                                                    'results.json', 'table.md'}
    results = json.loads((tmp_path / 'out' / 'results.json').read_text())
    assert results['held_out'] == ['seed0010', 'seed0011'] and len(results['cells']) == 8
    assert {entry['variant'] for entry in results['robustness']} >= {'9,9,16,16', 'sample seed0001', 'grown 10%'}
    assert next(cell for cell in results['cells'] if cell['method'] == 'sefa:1-3')['layers'] == [1, 2, 3]


def test_the_file_of_a_metrics_network_is_recorded(tiny, tmp_path):
    result = run('--region=part=8,8,16,16', '--methods=random', '--metric-network=lpips=alexnet.ckpt',
                 '--metric-network=identity=sface.onnx', f'--outdir={tmp_path}')
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / 'options.json').read_text())['options']
    assert record['paths'] == [['lpips', 'alexnet.ckpt'], ['identity', 'sface.onnx']]
    assert record['methods'] == ['random'] and record['eval_seeds'] == [10, 11] and record['metrics'] == []


@pytest.mark.parametrize('options, message', [
    (['--region=0,0,8,8', '--eval-seeds=0,1'], '--eval-seeds: seed0000 took part in the factorization'),
    (['--region=0,0,8,8', '--methods=eigenfaces'], "method 'eigenfaces' is not one of resefa, resefa-quick"),
    (['--region=0,0,8,8', '--metrics=beauty'], "metric 'beauty' is not one of"),
    (['--region=0,0,8,8:moustache+'], "attribute 'moustache' is not one of eyes_open"),
    (['--region=0,0,8,8', '--metric-network=sface.onnx'], "'sface.onnx' is not NAME=FILE, as in identity=sface.onnx"),
    (['--region=a=0,0,8,8', '--variant=b=0,0,9,9'], '--variant=b: no row has that name; rows are a'),
    (['--region=0,0,8,8', '--directions=none.npy', '--methods=resefa'], 'none.npy does not exist'),
])
def test_errors_are_one_sentence(tiny, tmp_path, options, message):
    result = run(*options, f'--outdir={tmp_path}/out')
    assert result.exit_code != 0 and message in result.output and 'Traceback' not in result.output
