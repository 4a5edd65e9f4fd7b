"""`--keep-background` of factorize and edit."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from resefa_plugin import DirectionSet, RegionPartition
from resefa_plugin.editing.background import BackgroundKeeper
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.scripts.main import main
from tests.helpers.toys import TinyHook


def invoke(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output + str(result.exception)
    return result.output


def factorize(outdir, *arguments, code=0):
    return invoke('factorize', '--network=tiny', '--region=box=2,2,20,20', '--other-seeds=7', *arguments,
                  f'--outdir={outdir}', code=code)


@pytest.mark.parametrize('flag, corrections', [('--keep-background', 3), ('--keep-background=1', 1)])
def test_commands(tiny, tmp_path, flag, corrections):
    out = tmp_path / 'out'
    factorize(out, '--space=w+', '--num-directions=2', flag)
    html = (out / 'report.html').read_text()
    assert 'With the background kept' in html and (out / 'seed0000-box' / 'direction2-kept.png').exists()
    path = out / 'seed0000-box.npz'
    for name, arguments in (('off', ['--straight']), ('on', [flag])):
        said = invoke('edit', '--network=tiny', '--seeds=5', f'--directions={path}', '--strength=-2,2', '--steps=3',
               *arguments, f'--outdir={tmp_path / name}')
        assert ('outside the region the change is at most' in said) == (name == 'on')
    directions, hook = DirectionSet.load(path), TinyHook()
    space, sample = directions.check_fits(hook), hook.sample(5)
    keeper = BackgroundKeeper(
        Viewpoint(hook, space, sample), RegionPartition(directions.mask, 'box'), corrections=corrections
    )
    expected = keeper.path(directions.offset(1, 1.0), [-2, 0, 2])
    for i in range(3):
        off, on = (np.load(tmp_path / name / f'seed0005-0{i}.npz')['w'] for name in ('off', 'on'))
        assert np.allclose(on, space.move(space.latent(sample), expected.offsets[i:i + 1]).numpy(), atol=1e-5)
        assert np.allclose(on, off, atol=1e-5) == (i == 1)
    assert (expected.outside[[0, 2]] < expected.straight_outside[[0, 2]]).all()


def test_without_the_flag_nothing_is_compared(tiny, tmp_path):
    factorize(tmp_path, '--num-directions=1')
    assert 'With the background kept' not in (tmp_path / 'report.html').read_text()
    assert not list(tmp_path.glob('*/*kept*'))


def edited(tmp_path, name, *arguments, code=0):
    said = invoke('edit', '--network=tiny', '--steps=2', *arguments, f'--outdir={tmp_path / name}', code=code)
    return said, [np.load(path)['w'] for path in sorted((tmp_path / name).glob('*.npz'))]


def test_what_nobody_sees_is_not_corrected(tiny, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    factorize(out, '--num-directions=1', '--seeds=0')
    given = f'--directions={out}/seed0000-box.npz', '--seeds=5'
    monkeypatch.setattr('resefa_plugin.scripts.edit.UNSEEN', 1e3)
    said, by_default = edited(tmp_path, 'default', *given)
    assert 'seed0005: no part outside the region changes by more than' in said and 'nothing is corrected' in said
    np.testing.assert_array_equal(by_default, edited(tmp_path, 'straight', *given, '--straight')[1])


def test_edits_of_other_samples_are_kept_and_those_of_their_own_are_not(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr('resefa_plugin.scripts.edit.UNSEEN', 0.0)
    out = tmp_path / 'out'
    factorize(out, '--space=w+', '--num-directions=1', '--seeds=0')
    factorize(out, '--space=w+', '--num-directions=1', '--seeds=0,1')
    for file, seed, kept in (('seed0000-box', 0, False), ('seed0000-box', 5, True), ('pooled-box', 0, True)):
        given = f'--directions={out / file}.npz', f'--seeds={seed}'
        said, by_default = edited(tmp_path, f'{file}-{seed}', *given)
        assert ('outside the region the change is at most' in said) == kept
        _, straight = edited(tmp_path, f'{file}-{seed}-straight', *given, '--straight')
        _, asked = edited(tmp_path, f'{file}-{seed}-kept', *given, '--keep-background')
        np.testing.assert_array_equal(by_default, asked if kept else straight)
        assert not np.allclose(asked, straight, atol=1e-6)
    said, _ = edited(tmp_path, 'both', *given, '--straight', '--keep-background', code=2)
    assert '--keep-background and --straight exclude each other' in said


@pytest.mark.parametrize('value', ['0', 'x'])
def test_flag_out_of_range(tiny, tmp_path, value):
    assert '--keep-background' in factorize(tmp_path, f'--keep-background={value}', code=2)
