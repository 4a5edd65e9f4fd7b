"""BigGAN through the commands: the class held fixed or varied, and a direction of one class applied to another."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from resefa_plugin import DirectionSet
from resefa_plugin.scripts.main import main
from tests.helpers.biggan_toys import experiment, official_state


@pytest.fixture
def folder(tmp_path):
    """An experiment folder of a small hierarchical BigGAN."""
    (tmp_path / 'weights').mkdir()
    torch.save(
        {key: value.float() for key, value in official_state('hier').items()}, tmp_path / 'weights' / 'G_ema.pth'
    )
    return tmp_path / 'weights'


def invoke(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output + str(result.exception)
    return result.output


@pytest.mark.parametrize('space, dim', [('z', 12), ('class', 6), ('z+class', 18), ('z[1:3]', 6)])
def test_factorize_one_class_and_edit_another(folder, tmp_path, space, dim):
    network = f'--network=biggan:{folder}'
    invoke(
        'factorize',
        network,
        '--class=2',
        '--trunc=0.5',
        '--region=0.2,0.2,0.6,0.6',
        f'--space={space}',
        '--num-directions=2',
        '--other-seeds=1',
        f'--outdir={tmp_path}/out',
    )
    path, = (tmp_path / 'out').glob('*.npz')
    d = DirectionSet.load(path)
    assert (
        d.directions.shape == (2, dim)
        and d.metadata.network == f'biggan:{folder}'
        and len(d.metadata.network_sha256) == 64
    )
    assert d.metadata.extra == {'implementation': 'our own BigGAN network', 'class': {'2': 1.0}}
    assert d.measured_inside[0] > d.measured_outside[0]
    pictures = {}
    for label in ('2', '4', '2:0.5,4:0.5'):
        invoke(
            'edit',
            network,
            f'--class={label}',
            '--trunc=0.5',
            f'--directions={path}',
            '--strength=-1,1',
            '--steps=2',
            f'--outdir={tmp_path}/{label}',
        )
        pictures[label] = [
            np.asarray(Image.open(tmp_path / label / f'seed0000-0{i}.png')).astype(float) for i in (0, 1)
        ]
        assert np.abs(pictures[label][1] - pictures[label][0]).mean() > 1
    assert np.abs(pictures['2'][0] - pictures['4'][0]).mean() > 1  # another class is another picture


def test_default_space_presets_and_record(folder, tmp_path):
    output = invoke(
        'factorize',
        f'--network=biggan:{folder}',
        '--class=0',
        '--region=center0',
        '--num-directions=1',
        '--other-seeds=1',
        f'--outdir={tmp_path}/out',
    )
    assert DirectionSet.load(tmp_path / 'out' / 'seed0000-center0.npz').metadata.space == 'z'
    assert 'note: ' in output  # the epsilons are not in the weights, and are stated
    record = json.loads((tmp_path / 'out' / 'options.json').read_text())
    assert record['implementation'] == 'our own BigGAN network' and record['options']['label'] == '0'
    assert 'space cond' in invoke('info', f'biggan:{folder}')


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([], 'choose one with --class'),
        (['--class=5'], 'Invalid value for --class: class 5 is out of range'),
        (['--class=tabby'], '--class'),
        (['--class=1:0.5'], '--class'),
        (['--class=1', '--space=w'], "space 'w' is not one of z, class"),
        (['--class=1', '--noise-mode=none'], 'takes no --noise-mode'),
        (['--class=1', '--trunc-cutoff=2'], 'leave the truncation cutoff out'),
        (['--class=1', '--projected-w=x.npz'], 'x.npz does not exist'),
    ],
)
def test_errors(folder, tmp_path, arguments, message):
    result = CliRunner().invoke(
        main, ['factorize', f'--network=biggan:{folder}', '--region=center:0.5', f'--outdir={tmp_path}/o', *arguments]
    )
    assert result.exit_code != 0 and message in result.output.replace('\n', ' '), result.output


def test_latents_that_edit_wrote_are_taken_again(folder, tmp_path):
    network = f'--network=biggan:{folder}'
    for space in ('z', 'cond'):
        invoke('factorize', network, '--class=1', f'--space={space}', '--region=center:0.5', '--num-directions=1',
               f'--outdir={tmp_path}/{space}')
        edit = 'edit', network, f'--directions={next((tmp_path / space).glob("seed*.npz"))}', '--steps=1', '--straight'
        invoke(*edit, '--strength=2,2', f'--outdir={tmp_path}/{space}/moved')
        moved = tmp_path / space / 'moved' / 'seed0000-00.npz'
        invoke(*edit, f'--projected-w={moved}', '--strength=0,0', f'--outdir={tmp_path}/{space}/again')
        picture, again = (np.asarray(Image.open(tmp_path / space / name).convert('RGB'), int)
                          for name in ('moved/seed0000-00.png', 'again/proj00-00.png'))
        assert np.abs(picture - again).max() <= 1  # of 255


def test_double_precision_weights(tmp_path):
    folder = experiment(tmp_path / 'double', 'hier')
    invoke(
        'factorize',
        f'--network=biggan:{folder}',
        '--class=2',
        '--region=center0',
        '--num-directions=1',
        '--other-seeds=1',
        f'--outdir={tmp_path}/out',
    )
    assert len(DirectionSet.load(tmp_path / 'out' / 'seed0000-center0.npz')) == 1


def test_tables_of_absurdly_many_classes_are_refused(tmp_path):
    """A few bytes that say 15 million classes would become an identity matrix of 900 TB."""
    state = {
        key: value
        for key, value in official_state('flat').items()
        if not key.endswith(('.u0', '.sv0')) and key != 'shared.weight'
    }
    state['blocks.0.0.bn1.gain.weight'] = torch.zeros(1).expand(15_000_000, 1)
    torch.save(state, tmp_path / 'G_ema.pth')
    assert '15000000 classes in tables of their own' in invoke('info', f'biggan:{tmp_path}', code=1)


def test_missing_folder(tmp_path):
    assert 'name the experiment folder' in invoke('info', 'biggan:', code=1)
    assert 'nowhere' in invoke('info', f'biggan:{tmp_path}/nowhere', code=1)
