"""Checkouts: finding, importing and leaving them. Fake ones are written here; RESEFA_UPSTREAM has official ones."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
import scipy.linalg
import torch
from click.testing import CliRunner
from PIL import Image

from resefa_plugin import DirectionSet
from resefa_plugin.checkpoints.families import repositories
from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.opening import open_network
from resefa_plugin.hooks.stylegan import OfficialStyleGANHook, StyleGANHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.scripts.install import script_text
from resefa_plugin.scripts.main import main
from resefa_plugin.third_party.nvlabs import GENERIC_NAMES, checkout_at, find_checkouts
from tests.helpers.network_files import SIZES, SMALL, forge, make_generator, write_network

GENERATOR = '''
import dnnlib.util
from resefa_plugin.networks import stylegan2

class Generator(stylegan2.Generator):
    origin = dnnlib.util.NAME
'''
GENERATOR3 = '''
import dnnlib.util
from resefa_plugin.networks.stylegan3 import network as stylegan3

class Generator(stylegan3.Generator):
    origin = dnnlib.util.NAME

    def __init__(self, z_dim, c_dim, w_dim, img_resolution, img_channels, mapping_kwargs={}, **synthesis_kwargs):
        super().__init__(z_dim, c_dim, w_dim, img_resolution, img_channels, mapping_kwargs, synthesis_kwargs)
        self.synthesis.layer_names = self.synthesis.style_names[1:]
'''
FLAT_GENERATOR = '''
import dnnlib.util
from resefa_plugin.networks import stylegan2

class Generator(stylegan2.Generator):
    origin = dnnlib.util.NAME

    def __init__(self, z_dim, c_dim, w_dim, img_resolution, img_channels, mapping_kwargs={}, **synthesis_kwargs):
        super().__init__(z_dim, c_dim, w_dim, img_resolution, img_channels, mapping_kwargs, synthesis_kwargs)
'''
LOADER = '''
import dnnlib.util
from tests.helpers.network_files import make_generator

def load_network_pkl(f):
    if f.read() == b'broken':
        raise EOFError('nothing there')
    G = make_generator()
    G.origin = dnnlib.util.NAME
    return {'G_ema': G}
'''


def write_checkout(folder: pathlib.Path, name: str, modules: dict[str, str] | None = None) -> pathlib.Path:
    """The files by which a checkout is known, with networks of ours in them.

    Args:
        name: of the repository.
        modules: texts of its modules in `training`, None for those of an official repository.
    """
    homes = {'stylegan2-ada-pytorch': {'networks': GENERATOR},
             'stylegan3': {'networks_stylegan2': FLAT_GENERATOR, 'networks_stylegan3': GENERATOR3}}
    files = {'dnnlib/__init__.py': '', 'dnnlib/util.py': f'NAME = {name!r}\n', 'torch_utils/__init__.py': '',
             'torch_utils/persistence.py': '', 'training/__init__.py': '', 'legacy.py': LOADER}
    files |= {f'training/{module}.py': text for module, text in (modules or homes[name]).items()}
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@pytest.fixture(autouse=True)
def nothing_left():
    """Opening a network leaves no module of a checkout importable and no path behind."""
    before = list(sys.path)
    yield
    assert sys.path == before
    assert not [name for name in sys.modules if name.partition('.')[0] in GENERIC_NAMES]


@pytest.fixture
def ada(tmp_path):
    return write_checkout(tmp_path / 'ada', 'stylegan2-ada-pytorch')


@pytest.fixture
def sg3(tmp_path):
    return write_checkout(tmp_path / 'sg3', 'stylegan3')


def test_where_checkouts_are_looked_for(tmp_path, monkeypatch, ada, sg3):
    monkeypatch.chdir(tmp_path)
    assert find_checkouts() == []
    assert [c.repository.name for c in find_checkouts(sg3)] == ['stylegan3']
    assert find_checkouts('ada') == [checkout_at(ada)]
    monkeypatch.chdir(ada)
    shutil.copytree(sg3, ada / 'third_party' / 'some-stylegan3')
    (ada / 'third_party' / 'notes').mkdir()
    assert [c.path for c in find_checkouts()] == [ada, ada / 'third_party' / 'some-stylegan3']
    (sg3 / 'legacy.py').unlink()
    with pytest.raises(CheckpointError, match='--repo: .*sg3 is no checkout of .* expected .*legacy.py'):
        find_checkouts(sg3)
    assert checkout_at(sg3) is None
    shutil.copytree(ada, tmp_path / 'xl')
    for module in ('networks_stylegan2', 'networks_stylegan3', 'networks_stylegan3_resetting'):
        (tmp_path / 'xl' / 'training' / f'{module}.py').touch()  # stylegan-xl has all of these
    assert checkout_at(tmp_path / 'xl').repository.name == 'stylegan-xl'
    assert [r.commit for r in repositories()] == ['4241ff9', 'd72cc7d', 'c233a91']


def test_the_writers_repository_is_preferred(tmp_path, monkeypatch, ada, sg3):
    shutil.move(sg3, tmp_path / 'third_party' / 'sg3')
    shutil.move(ada, tmp_path / 'third_party' / 'ada')
    monkeypatch.chdir(tmp_path)
    nested, flat = forge(tmp_path, nested=True)[0], forge(tmp_path, nested=False, seed=1)[0]
    three = forge(tmp_path, 'stylegan3')[0]
    homes = {nested: 'training.networks of the stylegan2-ada-pytorch',
             flat: 'training.networks_stylegan2 of the stylegan3',
             three: 'training.networks_stylegan3 of the stylegan3'}
    for path, home in homes.items():
        hook = open_network(path)
        assert isinstance(hook, OfficialStyleGANHook)
        assert hook.implementation.startswith(f'{home} checkout at {tmp_path}')
        assert hook.G.origin in home and 'NVIDIA Source Code License' in hook.licence


@pytest.mark.parametrize('nested', [True, False])
def test_each_takes_the_files_of_the_other(tmp_path, ada, sg3, nested):
    path, G = forge(tmp_path, nested=nested, synthesis=dict(SMALL, fused_modconv_default='inference_only'))
    for repo, origin in ((ada, 'stylegan2-ada-pytorch'), (sg3, 'stylegan3'), (ada, 'stylegan2-ada-pytorch')):
        hook = open_network(path, repo=repo)
        assert hook.G.origin == origin
        # The default of whoever wrote the file, not of whoever reads it.
        assert hook.G.synthesis.b4.conv1.conv_clamp == (None if nested else 256)
        ws = hook.sample(0).latents['ws']
        assert torch.equal(hook.synthesis(ws, None), G.synthesis(ws))


def test_a_checkout_without_the_family(tmp_path, monkeypatch, ada):
    path, _ = forge(tmp_path, 'stylegan3')
    with pytest.raises(CheckpointError, match='is a stylegan3 network, which the stylegan2-ada.* does not have'):
        open_network(path, repo=ada)
    monkeypatch.chdir(ada)
    hook = open_network(path)
    assert type(hook) is StyleGANHook
    assert hook.implementation == ('our own stylegan3 network (the stylegan2-ada-pytorch checkout at '
                                   f'{ada} has no stylegan3)')


def test_modules_of_a_host_are_hidden_and_come_back(ada, sg3, monkeypatch):
    host = types.ModuleType('training')
    monkeypatch.setitem(sys.modules, 'training', host)
    first, second = checkout_at(ada), checkout_at(sg3)
    with first.active():
        assert 'training' not in sys.modules
        with second.active():
            assert second.import_module('dnnlib.util').NAME == 'stylegan3'
        util = first.import_module('dnnlib.util')
        assert util.NAME == 'stylegan2-ada-pytorch' and sys.modules['dnnlib.util'] is util
    assert sys.modules['training'] is host and 'dnnlib' not in sys.modules
    with pytest.raises(ZeroDivisionError), first.active():
        assert sys.modules['dnnlib.util'] is util  # imported once
        raise ZeroDivisionError
    assert sys.modules['training'] is host and sys.path[0] != str(ada)
    monkeypatch.undo()


def test_checkouts_that_cannot_be_imported(tmp_path, ada, sg3):
    path, _ = forge(tmp_path)
    (ada / 'dnnlib' / 'util.py').write_text('import a_package_that_is_missing.part\n')
    with pytest.raises(CheckpointError, match='needs the package a_pack.*pip install a_package_that_is_missing'):
        open_network(path, repo=ada)
    (sg3 / 'dnnlib' / 'util.py').write_text('1 / 0\n')
    with pytest.raises(CheckpointError, match='networks_stylegan2 of the stylegan3 checkout .* ZeroDivisionError'):
        open_network(path, repo=sg3)


def test_a_class_that_refuses_or_does_not_fit(tmp_path, ada):
    path, _ = forge(tmp_path)
    home = ada / 'training' / 'networks.py'
    home.write_text('class Generator:\n    def __init__(self, z_dim): pass\n')
    with pytest.raises(CheckpointError, match='networks of .* does not take its arguments: TypeError.*--trust-pickle'):
        open_network(path, repo=ada)


def test_trust_pickle(tmp_path, monkeypatch, ada):
    path = write_network(tmp_path / 'fork.pkl', make_generator().state_dict(), 'Fork', **SIZES)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="class 'Fork'.*--trust-pickle"):
        open_network(path, repo=ada)
    with pytest.raises(CheckpointError, match='--trust-pickle needs the checkout'):
        open_network(path, trust_pickle=True)
    with pytest.warns(UserWarning, match='--trust-pickle: the code in .*fork.pkl is executed'):
        hook = open_network(path, repo=ada, trust_pickle=True)
    assert hook.G.origin == 'stylegan2-ada-pytorch' and hook.implementation.startswith('code in the file, with the ')
    assert hook.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(b'broken')
    with pytest.warns(UserWarning), pytest.raises(CheckpointError, match='loader of the .* failed: EOFError: nothing'):
        open_network(path, repo=ada, trust_pickle=True)


def test_script_in_a_checkout(tmp_path, ada):
    """Ends at the pictures: `python factorize.py` in the folder, in a process of its own."""
    path, _ = forge(ada, img_resolution=16)
    (ada / 'factorize.py').write_text(script_text('factorize'))
    environment = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(pathlib.Path(__file__).parents[2]))
    command = [sys.executable, 'factorize.py', f'--network={path.name}', '--seeds=0', '--region=mouth', '--outdir=out',
               '--num-directions=1', '--other-seeds=1']
    done = subprocess.run(command, cwd=ada, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {'seed0000-mouth.npz', 'report.html', 'seed0000.png'} <= {file.name for file in (ada / 'out').iterdir()}
    assert f'stylegan2-ada-pytorch checkout at {ada}' in (ada / 'out' / 'options.json').read_text()


# The official code. Networks are made in a process of its own, by it, with random weights and nothing left at zero.

MAKE = '''
import importlib, json, pickle, sys
sys.path.insert(0, '.')
from resefa_plugin.patches.pkg_resources_shim import shim_pkg_resources
import torch
job = json.loads(sys.argv[1])
with shim_pkg_resources():
    module = importlib.import_module(job['module'])
torch.manual_seed(0)
G = module.Generator(**job['kwargs']).eval().requires_grad_(False)
for name, parameter in G.named_parameters():
    if name.endswith(('bias', 'noise_strength')):
        parameter.add_(torch.randn_like(parameter) * 0.1)
    elif '.input.affine' in name:
        parameter.add_(torch.randn_like(parameter) * 0.3)
G.mapping.w_avg.add_(torch.randn_like(G.mapping.w_avg) * 0.1)
with open(sys.argv[2], 'wb') as file:
    pickle.dump(dict(G=G, D=G, G_ema=G, training_set_kwargs=None, augment_pipe=None), file)
'''
BIG = dict(z_dim=16, c_dim=0, w_dim=16, img_resolution=32, img_channels=3)
SG3 = dict(BIG, channel_base=256, channel_max=8, num_layers=6, margin_size=4)
OFFICIAL = {
    'ada': ('stylegan2-ada-pytorch', 'training.networks', dict(
        BIG, img_resolution=64, synthesis_kwargs=dict(channel_base=256, channel_max=8))),
    'ada-class-fp16': ('stylegan2-ada-pytorch', 'training.networks', dict(
        BIG, c_dim=3, synthesis_kwargs=dict(
            channel_base=256, channel_max=8, num_fp16_res=2, conv_clamp=256, fp16_channels_last=True))),
    'sg3-stylegan2': ('stylegan3', 'training.networks_stylegan2', dict(BIG, channel_base=256, channel_max=8)),
    'sg3-t': ('stylegan3', 'training.networks_stylegan3', SG3),
    'sg3-r': ('stylegan3', 'training.networks_stylegan3', dict(SG3, conv_kernel=1, use_radial_filters=True)),
}
SUBSPACE = 1e-3   # radians
PICTURE = 1e-4    # of the range: the bound on our own networks
JACOBIAN = 1e-4   # relative, float32

UPSTREAM = os.environ.get('RESEFA_UPSTREAM', '')


def upstream(test):
    """Marks a test of official checkouts."""
    return pytest.mark.upstream(pytest.mark.skipif(not UPSTREAM, reason='RESEFA_UPSTREAM is not set')(test))


def hashes(folder: pathlib.Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob('*')) if path.is_file() and '__pycache__' not in path.parts}


def python(folder: pathlib.Path, *arguments: object) -> None:
    environment = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(pathlib.Path(__file__).parents[2]))
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope='module', params=OFFICIAL)
def official(request, tmp_path_factory):
    """A copy of a checkout without .git, and a network file that its own code has written."""
    name, module, kwargs = OFFICIAL[request.param]
    if not pathlib.Path(UPSTREAM, name).is_dir():
        pytest.skip(f'no {name} in RESEFA_UPSTREAM')
    folder = tmp_path_factory.mktemp(request.param)
    checkout = folder / 'checkout'
    ignored = shutil.ignore_patterns('.git', '__pycache__', 'docs')
    shutil.copytree(pathlib.Path(UPSTREAM, name), checkout, ignore=ignored)
    python(checkout, '-c', MAKE, json.dumps(dict(module=module, kwargs=kwargs)), folder / 'net.pkl')
    return checkout, folder / 'net.pkl', kwargs


@upstream
def test_official_command_beside_generate(official, tmp_path, monkeypatch):
    """The issue's outcome: install, factorize in the checkout, the same result as without one, nothing changed."""
    checkout, path, kwargs = official
    before = hashes(checkout)
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ['install', str(checkout)]).exit_code == 0
    flags = [f'--network={path}', '--seeds=0', '--trunc=0.7', '--region=mouth', '--num-directions=3', '--other-seeds=1']
    flags += ['--class=1'] if kwargs['c_dim'] else []
    python(checkout, 'factorize.py', *flags, f'--outdir={tmp_path / "theirs"}')
    result = CliRunner().invoke(main, ['factorize', *flags, '--outdir=ours'])
    assert result.exit_code == 0, result.output
    assert 'our own' in (tmp_path / 'ours' / 'options.json').read_text()
    assert f'checkout at {checkout}' in (tmp_path / 'theirs' / 'options.json').read_text()
    ours, theirs = (DirectionSet.load(tmp_path / run / 'seed0000-mouth.npz') for run in ('ours', 'theirs'))
    assert ours.directions.shape == theirs.directions.shape == (3, 16)
    angles = scipy.linalg.subspace_angles(ours.directions.T.astype(float), theirs.directions.T.astype(float))
    assert angles.max() < SUBSPACE
    np.testing.assert_allclose(ours.eigenvalues, theirs.eigenvalues, rtol=1e-3)
    pictures = [np.asarray(Image.open(tmp_path / run / 'seed0000.png'), int) for run in ('ours', 'theirs')]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1  # rounding to grey levels
    assert CliRunner().invoke(main, ['install', '--uninstall', str(checkout)]).exit_code == 0
    assert hashes(checkout) == before


@upstream
def test_official_hook_against_our_own(official, tmp_path, monkeypatch):
    checkout, path, kwargs = official
    monkeypatch.chdir(tmp_path)
    ours, theirs = open_network(path), open_network(path, repo=checkout)
    assert type(ours) is StyleGANHook and type(theirs) is OfficialStyleGANHook
    assert ours.style_dims == theirs.style_dims and ours.num_ws == theirs.num_ws
    c = torch.eye(3)[:1] if kwargs['c_dim'] else None
    samples = [hook.sample(3, 0.7, 4, c) for hook in (ours, theirs)]
    torch.testing.assert_close(samples[0].latents['ws'], samples[1].latents['ws'], rtol=1e-5, atol=1e-5)
    first, second = (hook.synthesis(sample.latents['ws'], None)
                     for hook, sample in zip((ours, theirs), samples, strict=True))
    assert (first - second).abs().max() < PICTURE * (first.max() - first.min())
    for name, layers in (('z', None), ('z', (0, 2)), ('w', (1, 4)), ('w+', (1, 4)), ('s', (0, 1, 3, 5))):
        a, b = (RegionJacobian(Viewpoint(hook, hook.space(name, layers), sample, 16)).compute().matrix
                for hook, sample in zip((ours, theirs), samples, strict=True))
        assert (a - b).norm() < JACOBIAN * a.norm(), (name, layers)


@upstream
def test_official_trusted_pickle(official, tmp_path, monkeypatch):
    checkout, path, kwargs = official
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match='is executed'):
        trusted = open_network(path, repo=checkout, trust_pickle=True)
    built = open_network(path, repo=checkout)
    c = torch.eye(3)[:1] if kwargs['c_dim'] else None
    sample = built.sample(0, c=c)
    first, second = (hook.synthesis(sample.latents['ws'], None) for hook in (trusted, built))
    # Not bit-equal: weights that were saved as channels_last are summed in another order.
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)
    columns = [
        RegionJacobian(Viewpoint(hook, hook.space('w'), sample, 16)).compute().matrix for hook in (trusted, built)
    ]
    assert (columns[0] - columns[1]).norm() < JACOBIAN * columns[1].norm()
