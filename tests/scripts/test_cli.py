"""The commands, through click's runner on the real generator with a handful of tangents, and as subprocesses."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import resefa_plugin.scripts
from resefa_plugin import DirectionSet
from resefa_plugin.hooks import opening
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.scripts.main import main

NETWORK = 'mobilestylegan-ffhq'


def invoke(*arguments, code=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == code, result.output + str(result.exception)
    assert 'Traceback' not in result.output
    return result.output


def factorize(outdir, *arguments, code=0):
    seeds = [] if any('--seeds' in a or '--projected' in a for a in arguments) else ['--seeds=0']
    return invoke('factorize', '--network=tiny', *seeds, '--region=box=2,2,20,20', f'--outdir={outdir}', *arguments,
                  code=code)


@pytest.mark.network
def test_end_to_end_on_the_real_generator(tmp_path):
    """The mouth, in one style vector of the last block: 32 tangents, at 64 pixels."""
    out = tmp_path / 'out'
    invoke(
        'factorize',
        f'--network={NETWORK}',
        '--seeds=0',
        '--trunc=0.7',
        '--region=mouth',
        '--space=s',
        '--layers=20',
        '--num-directions=1',
        '--resolution=64',
        '--other-seeds=1',
        '--device=cpu',
        f'--outdir={out}',
    )
    d = DirectionSet.load(out / 'seed0000-mouth.npz')
    assert d.directions.shape == (1, 32) and d.metadata.space == 's' and d.metadata.layers == (20,)
    assert d.measured_inside[0] > 4 * d.measured_outside[0]
    assert np.sqrt(d.measured_inside[0]) == pytest.approx(0.1, rel=0.1)
    assert d.mask.shape == (1024, 1024)
    html = (out / 'report.html').read_text()
    assert 'non-commercial' in html and 'seed0000-mouth.npz' in html
    for name in (
        'overview.jpg',
        'seed0000.png',
        'seed0000-mouth/sheet.png',
        'seed0000-mouth/direction1.png',
        'seed0000-mouth/region.png',
        'seed0000-mouth/heat_map.png',
        'seed0000-mouth/eigenvalues.png',
        'seed0000-mouth/other_seeds.png',
    ):
        with Image.open(out / name) as image:
            image.load()
    invoke(
        'edit',
        f'--network={NETWORK}',
        '--seeds=2',
        '--trunc=0.7',
        f'--directions={out}/seed0000-mouth.npz',
        '--strength=2',
        '--steps=2',
        '--device=cpu',
        f'--outdir={tmp_path}/edits',
    )
    low, high = (np.asarray(Image.open(tmp_path / 'edits' / f'seed0002-0{i}.png')).astype(float) for i in (0, 1))
    change = ((high - low) ** 2).mean(axis=2)
    assert change[d.mask].mean() > 2 * change[~d.mask].mean()  # local on a face that took no part


def test_factorize_writes_everything(tiny, tmp_path):
    output = factorize(
        tmp_path, '--seeds=0,3', '--no-pool', '--trunc=0.5', '--num-directions=2', '--other-seeds=7', '--region=eyes'
    )
    results = [f'seed000{seed}-{region}' for seed in (0, 3) for region in ('box', 'eyes')]
    assert {p.name for p in tmp_path.iterdir()} == {
        *('options.json', 'overview.jpg', 'report.html', 'seed0000.png', 'seed0003.png'),
        *results,
        *(f'{name}.npz' for name in results),
    }
    assert str(tmp_path / 'report.html') in output
    d = DirectionSet.load(tmp_path / 'seed0003-eyes.npz')
    assert d.directions.shape == (2, 4)
    assert d.metadata.seeds == (3,) and d.metadata.truncation_psi == 0.5 and d.metadata.region == 'eyes'
    assert d.metadata.network_sha256 == 'a' * 64
    record = json.loads((tmp_path / 'options.json').read_text())
    assert record['options']['seeds'] == [0, 3] and record['versions']['torch'] == torch.__version__


@pytest.mark.parametrize(
    'space, layers, dim', [('z', (), 4), ('w', (1, 2), 4), ('w+', (), 32), ('w+', (0, 2), 8), ('s', (1,), 4)]
)
def test_factorize_in_each_space(tiny, tmp_path, space, layers, dim):
    chosen = [f'--layers={",".join(map(str, layers))}'] if layers else []
    factorize(tmp_path, f'--space={space}', *chosen, '--num-directions=2', '--other-seeds=7')
    d = DirectionSet.load(tmp_path / 'seed0000-box.npz')
    assert d.directions.shape == (2, dim)
    assert d.metadata.space == space and d.metadata.layers == (layers or None)
    assert json.loads((tmp_path / 'options.json').read_text())['options']['space'] == space


def test_solvers_and_tau_reach_the_solver(tiny, tmp_path):
    results = {}
    for name, arguments in {'dense': ['--solver=dense'], 'woodbury': ['--solver=woodbury'], 'tau': ['--tau=1']}.items():
        factorize(tmp_path / name, *arguments, '--num-directions=1')
        results[name] = DirectionSet.load(tmp_path / name / 'seed0000-box.npz')
    assert results['woodbury'].metadata.solver == 'woodbury' and results['dense'].metadata.solver == 'dense'
    assert np.allclose(results['dense'].directions, results['woodbury'].directions, atol=1e-5)
    assert results['tau'].metadata.tau == 1 and results['tau'].eigenvalues[0] < results['dense'].eigenvalues[0]


def test_preview_computes_nothing_else(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr('resefa_plugin.jacobian.region_jacobian.RegionJacobian.compute', None)
    factorize(tmp_path, '--seeds=1', '--preview')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['options.json', 'seed0001-box-preview.png']
    assert Image.open(tmp_path / 'seed0001-box-preview.png').size == (32, 32)


def test_edit_and_its_latents(tiny, tiny_directions, tmp_path):
    path = tiny_directions
    d = DirectionSet.load(path)
    invoke(
        'edit',
        '--network=tiny',
        '--seeds=0,5',
        f'--directions={path}',
        '--index=2',
        '--strength=-2,1',
        '--steps=4',
        f'--outdir={tmp_path}/e',
    )
    names = sorted(p.name for p in (tmp_path / 'e').iterdir())
    stems = [f'seed000{s}-0{i}' for s in (0, 5) for i in range(4)]
    assert names == sorted(['grid.png', 'options.json', *(f'{s}.{e}' for s in stems for e in ('npz', 'png'))])
    ws = [np.load(tmp_path / 'e' / f'seed0000-0{i}.npz')['w'] for i in range(4)]
    assert ws[0].shape == (1, 8, 4) and ws[0].dtype == np.float32
    step = d.step[1] * d.directions[1]
    assert np.allclose(ws[3] - ws[0], 3 * step, atol=1e-5) and np.allclose(ws[2], d.latent, atol=1e-5)
    # A saved latent is a projected w: edited by nothing it gives the same picture again.
    invoke(
        'edit',
        '--network=tiny',
        f'--projected-w={tmp_path}/e/seed0000-03.npz',
        f'--directions={path}',
        '--strength=0,0',
        '--steps=1',
        f'--outdir={tmp_path}/p',
    )
    assert (
        np.asarray(Image.open(tmp_path / 'p' / 'proj00-00.png'))
        == np.asarray(Image.open(tmp_path / 'e' / 'seed0000-03.png'))
    ).all()
    assert '--trunc is for --seeds' in invoke(
        'edit',
        '--network=tiny',
        f'--directions={path}',
        '--trunc=0.5',
        f'--projected-w={tmp_path}/e/seed0000-03.npz',
        f'--outdir={tmp_path}/t',
        code=2,
    )
    # --alpha takes lengths in latent space
    invoke(
        'edit',
        '--network=tiny',
        f'--directions={path}',
        '--alpha',
        '--strength=-1,1',
        '--steps=2',
        f'--outdir={tmp_path}/a',
    )
    lengths = [np.load(tmp_path / 'a' / f'seed0000-0{i}.npz')['w'] for i in (0, 1)]
    assert np.allclose(lengths[1] - lengths[0], 2 * d.directions[0], atol=1e-5)


def test_factorize_at_a_projected_latent(tiny, tmp_path):
    np.savez(tmp_path / 'projected_w.npz', w=np.full((1, 8, 4), 0.3, np.float32))
    factorize(tmp_path / 'out', f'--projected_w={tmp_path}/projected_w.npz', '--num-directions=1')
    d = DirectionSet.load(tmp_path / 'out' / 'proj00-box.npz')
    assert d.metadata.seeds == () and np.allclose(d.latent, 0.3)


@pytest.mark.parametrize(
    'format_, name',
    [
        ('resefa', 'd.npy'),
        ('interfacegan', 'd.npy'),
        ('ganspace', 'd.npz'),
        ('e4e', 'd.pt'),
        ('e4e-pca', 'd.pt'),
        ('projected-w', 'd.npz'),
    ],
)
def test_export(tiny_directions, tmp_path, format_, name):
    invoke(
        'export',
        f'--directions={tiny_directions}',
        f'--format={format_}',
        '--index=2',
        f'--out={tmp_path}/{name}',
    )
    d = DirectionSet.load(tiny_directions)
    expected = d.directions[1]
    if name.endswith('.npy'):
        assert np.allclose(np.load(tmp_path / name), expected[None])
    elif format_ == 'projected-w':
        assert np.allclose(np.load(tmp_path / name)['w'], d.latent + d.step[1] * expected, atol=1e-6)
    elif format_ == 'ganspace':
        assert np.allclose(np.load(tmp_path / name)['lat_comp'][0], expected[None])
    else:
        content = torch.load(tmp_path / name, weights_only=True)
        assert np.allclose(content['comp'][0] if format_ == 'e4e-pca' else content, expected[None])


def test_export_strength_is_for_latents_only(tiny_directions, tmp_path):
    path = tiny_directions
    invoke('export', f'--directions={path}', '--format=projected-w', '--strength=-3', f'--out={tmp_path}/w.npz')
    d = DirectionSet.load(path)
    assert np.allclose(np.load(tmp_path / 'w.npz')['w'], d.latent - 3 * d.step[0] * d.directions[0], atol=1e-5)
    assert '--strength is for --format=projected-w' in invoke(
        'export', f'--directions={path}', '--format=e4e', '--strength=2', f'--out={tmp_path}/d.pt', code=2
    )


def test_info(tiny, tiny_directions):
    output = invoke('info', 'tiny')
    assert '32 x 32, 3 channels' in output and 'space w+    32 dimensions, layers 0-7' in output and 'CC0' in output
    output = invoke('info', tiny_directions)
    assert 'region      box' in output and output.strip().splitlines()[-1].split()[0] == '2'


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--network=nothing', '--region=mouth'], "--network=nothing: no such network"),
        (['--network=tiny'], "Missing option '--region'"),
        (['--network=tiny', '--region=moth'], "region 'moth'"),
        (['--network=tiny', '--region=0,0,40,4'], '32'),
        (
            ['--network=tiny', '--region=eyes', '--seeds=4-2'],
            "'4-2' is not a list of seeds: expected numbers and ascending ranges like 0,1,4-6",
        ),
        (['--network=tiny', '--region=eyes', '--seeds=0-9999999'], 'names more than 100,000 seeds'),
        (['--network=tiny', '--region=eyes', '--seeds=4294967296'], 'seed 4294967296 is out of range'),
        (['--network=tiny', '--seeds=0', '--region=eyes', '--layers=8'],
         "layers 8 of space 'w': tiny has layers 0 to 7"),
        (['--network=tiny', '--region=eyes', '--layers=a'], "'a' is not a list of layers"),
        (
            ['--network=tiny', '--region=eyes', '--space=w++'],
            "space 'w++' is not one of z, w, w+, s, the spaces of tiny",
        ),
        (['--network=tiny', '--region=eyes', '--resolution=5'], 'resolution 5 does not divide the picture of 32x32'),
        (['--network=tiny', '--region=eyes', '--device=tpu9'], "'tpu9' cannot be used"),
        (['--network=tiny', '--region=eyes', '--region=eyes'], "two regions are named 'eyes'"),
        (
            ['--network=tiny', '--region=eyes', '--seeds=0', '--projected-w=x.npz'],
            '--seeds and --projected-w exclude each other',
        ),
        (['--network=tiny', '--region=eyes', '--projected-w=x.npz'], 'x.npz does not exist'),
    ],
)
def test_factorize_errors_name_the_flag_or_the_value(tiny, tmp_path, arguments, message):
    result = CliRunner().invoke(main, ['factorize', *arguments, f'--outdir={tmp_path}/out'])
    assert result.exit_code != 0 and message in result.output.replace('\n', ' '), result.output
    assert not list(tmp_path.glob('out/*.npz')) and 'Traceback' not in result.output


def test_other_errors(tiny, tiny_directions, tmp_path):
    path = tiny_directions
    out = f'--outdir={tmp_path}/o'
    assert 'has directions 1 to 2' in invoke('edit', '--network=tiny', f'--directions={path}', '--index=3', out, code=2)
    for bad in ('x', '1,2,3', 'nan,1', ''):
        assert 'is not LOW,HIGH' in invoke(
            'edit', '--network=tiny', f'--directions={path}', f'--strength={bad}', out, code=2
        )
    (tmp_path / 'bad.npz').write_bytes(path.read_bytes()[:500])
    assert 'cannot be read' in invoke('edit', '--network=tiny', f'--directions={tmp_path}/bad.npz', out, code=1)
    assert 'cannot be read' in invoke('info', tmp_path / 'bad.npz', code=1)
    np.savez(tmp_path / 'latents.npz', q=np.zeros((1, 4)))
    assert "no array 'w' or 'z' among q" in invoke(
        'edit', '--network=tiny', f'--directions={path}', f'--projected-w={tmp_path}/latents.npz', out, code=1
    )
    np.save(tmp_path / 'w.npy', np.zeros((1, 18, 512), np.float32))
    assert 'expected w+ [1, 8, 4] or w [1, 4]' in invoke(
        'edit', '--network=tiny', f'--directions={path}', f'--projected-w={tmp_path}/w.npy', out, code=1
    )
    (tmp_path / 'file').write_text('x')
    assert "'--outdir'" in invoke('edit', '--network=tiny', f'--directions={path}', f'--outdir={tmp_path}/file', code=2)
    assert '--outdir=' in invoke(
        'edit', '--network=tiny', f'--directions={path}', f'--outdir={tmp_path}/file/x', code=1
    )


def test_directions_do_not_fit_another_network(tiny_directions, tmp_path, monkeypatch):
    toy = FunctionHook(lambda z: z[:, :1, None, None] * torch.ones(3, 32, 32), 4, name='toy')
    monkeypatch.setitem(opening.NAMED_NETWORKS, 'toy', lambda rest, device: toy)
    output = invoke(
        'edit', '--network=toy', f'--directions={tiny_directions}', f'--outdir={tmp_path}/o', code=1
    )
    assert "the directions are for space 'w' of tiny" in output.replace('\n', ' ')


def test_a_function_of_z_takes_what_edit_wrote(tmp_path, monkeypatch):
    from tests.helpers.toys import TanhToy
    toy = TanhToy().hook()
    monkeypatch.setitem(opening.NAMED_NETWORKS, 'toy', lambda rest, device: toy)
    invoke('factorize', '--network=toy', '--region=center:0.5', '--num-directions=2', f'--outdir={tmp_path}/o')
    edit = 'edit', '--network=toy', f'--directions={tmp_path}/o/seed0000-box_2_2_4_4.npz', '--steps=2', '--straight'
    invoke(*edit, f'--outdir={tmp_path}/e')
    moved = tmp_path / 'e' / 'seed0000-01.npz'
    said = invoke(*edit, f'--projected-w={moved}', '--strength=-1,0', f'--outdir={tmp_path}/again')
    assert f'proj00: z latents [1, {toy.z_dim}], taken as they are' in said
    with np.load(moved) as first, np.load(tmp_path / 'again' / 'proj00-01.npz') as second:
        np.testing.assert_array_equal(second['z'], first['z'])
    # Directions that were found at such a latent are tried there when nothing else is said.
    invoke('factorize', '--network=toy', f'--projected-w={moved}', '--region=center:0.5', f'--outdir={tmp_path}/p')
    invoke('edit', '--network=toy', f'--directions={tmp_path}/p/proj00-box_2_2_4_4.npz', '--steps=1', '--strength=0,0',
           '--straight', f'--outdir={tmp_path}/found')
    with np.load(moved) as first, np.load(tmp_path / 'found' / 'found-00.npz') as second:
        np.testing.assert_array_equal(second['z'], first['z'])
    assert '--trunc is for --seeds' in invoke(*edit, f'--projected-w={moved}', '--trunc=0.5', f'--outdir={tmp_path}/x',
                                              code=2)
    np.savez(tmp_path / 'w.npz', w=np.zeros((1, 8, 4), np.float32))
    np.savez(tmp_path / 'short.npz', z=np.zeros((1, 2), np.float32))
    for name, message in (('w', 'is no latent of this generator, which has no w'), ('short', 'z has shape [1, 2]')):
        said = invoke(*edit, f'--projected-w={tmp_path}/{name}.npz', f'--outdir={tmp_path}/x', code=1)
        assert message in said.replace('\n', ' ')


HOST = '''
import pathlib, runpy, sys
sys.path[0] = str(pathlib.Path.cwd())
for name in sys.argv[1:]:
    sys.argv = [f'{name}.py', '--help']
    try:
        runpy.run_path(f'{name}.py', run_name='__main__')
    except SystemExit as end:
        assert not end.code, name
'''


def test_scripts_stand_alone_beside_a_host(tmp_path):
    """Copied next to a generate.py, whose folder they then see first, they run as they are."""
    folder, names = pathlib.Path(resefa_plugin.scripts.__file__).parent, ('factorize', 'edit', 'export', 'info')
    for name in names:
        shutil.copy(folder / f'{name}.py', tmp_path)
    for name in ('metrics', 'scripts', 'third_party', 'training'):  # what a host has, and may not be taken for ours
        (tmp_path / name).mkdir()
        (tmp_path / name / '__init__.py').write_text('raise ImportError("of the host")')
    done = subprocess.run([sys.executable, '-c', HOST, *names], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f'Usage: {name}.py' in done.stdout for name in names)


def test_a_truncation_that_is_a_slip_is_warned_about(tiny, tmp_path):
    said = factorize(tmp_path, '--trunc=7', '--num-directions=1', '--other-seeds=1')
    assert 'warn: --trunc=7 is far from what networks are trained for' in said
    assert 'warn' not in factorize(tmp_path, '--trunc=0.7', '--num-directions=1', '--other-seeds=1')
