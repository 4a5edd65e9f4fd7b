"""`resefa doctor`, with made-up checkouts, tools and devices."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
import types

import pytest
import torch
from click.testing import CliRunner

from resefa_plugin.scripts.common import diagnosis as doctor
from resefa_plugin.scripts.main import main
from tests.third_party.test_nvlabs_checkout import write_checkout

OP = '''
import torch_utils.ops
_plugin = None

def _init():
    {body}
'''


def run(*arguments, code=0):
    result = CliRunner().invoke(main, ['doctor', *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def findings(**arguments):
    return {finding.topic: finding for finding in doctor.examine(**arguments)}


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with no GPU, all tools, an empty cache, and an empty current folder."""
    (tmp_path / 'desk').mkdir()
    monkeypatch.chdir(tmp_path / 'desk')
    monkeypatch.setenv('RESEFA_CACHE', str(tmp_path / 'cache' / 'deeper'))
    monkeypatch.delenv('CXX', raising=False)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.utils.cpp_extension, 'CUDA_HOME', None)
    monkeypatch.setattr(torch.version, 'cuda', None)
    monkeypatch.delenv('TORCH_CUDA_ARCH_LIST', raising=False)
    have(monkeypatch, 'c++', 'nvcc', 'ninja', 'git')


def have(monkeypatch, *names):
    monkeypatch.setattr(shutil, 'which', lambda name, path=None: f'/tools/{name}' if name in names else None)


def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'get_device_properties',
                        lambda i: types.SimpleNamespace(name='Big GPU', total_memory=80 * 2 ** 30))


@pytest.fixture
def sg3(tmp_path):
    """A stylegan3 checkout with one op that builds, one that raises, one that reports a failure."""
    folder = write_checkout(tmp_path / 'sg3', 'stylegan3')
    (folder / 'torch_utils' / 'ops').mkdir()
    (folder / 'torch_utils' / 'ops' / '__init__.py').write_text('')
    for name, body in (('bias_act', 'return True'), ('upfirdn2d', "raise RuntimeError('nvcc is too old\\nmore')"),
                       ('filtered_lrelu', 'return False')):
        (folder / 'torch_utils' / 'ops' / f'{name}.py').write_text(OP.format(body=body))
    return folder


def test_a_plain_machine(tmp_path):
    out = run()
    assert 'Nothing prevents use.' in out and '->' not in out
    for text in (f'torch {torch.__version__}', 'C++            /tools/c++', 'nvcc           /tools/nvcc',
                 'mobilestylegan-ffhq is fetched', f'cache          {tmp_path}/cache/deeper\n',
                 'none in the current folder'):
        assert text in out
    assert not (tmp_path / 'cache').exists()


def test_demo_network_in_the_cache(tmp_path):
    folder = tmp_path / 'cache' / 'deeper' / doctor.ASSET.name
    folder.mkdir(parents=True)
    for member in doctor.ASSET.files:
        assert 'fetched' in findings()['demo network'].text
        (folder / member.rpartition('/')[2]).write_bytes(b'')
    assert 'is in the cache' in findings()['demo network'].text


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('RESEFA_CACHE', str(tmp_path / 'file' / 'x'))
    assert 'RESEFA_CACHE' in findings()['cache'].remedy


def test_a_gpu_that_torch_does_not_see(monkeypatch):
    have(monkeypatch, 'nvidia-smi')
    found = [f for f in doctor.examine() if f.topic == 'device']
    assert 'there is an nvidia-smi, but torch' in found[0].text and 'pytorch.org' in found[0].remedy
    assert 'not found' in findings()['C++'].text and 'not found' in findings()['ninja'].text
    run()


def test_packages(monkeypatch):
    own, versions = importlib.metadata.requires('resefa_plugin'), {'scipy': '1.2.0', 'torchvision': '0.1'}
    monkeypatch.setattr(doctor.distributions, 'requires',
                        lambda name: ['torch (==1.0)'] if name == 'torchvision' else
                        ['absent-package>=1', 'ninja', 'scipy>=1.10', 'numpy>=1.24', 'extra>=1; extra == "dev"'])
    version = importlib.metadata.version
    monkeypatch.setattr(doctor.distributions, 'version', lambda name: versions.get(name) or version(name))
    out = run(code=1)
    assert 'scipy          1.2.0, expected 1.10 or later' in out and 'python -m pip install "scipy>=1.10"' in out
    assert 'absent-package not installed, expected 1 or later' in out and 'extra' not in out and 'numpy  ' not in out
    assert 'is built for torch 1.0, so that importing it may fail' in out
    assert 'To be repaired: absent-package, scipy' in out
    assert 'scipy>=1.10' in own  # the form that is read


def test_checkouts_that_are_found(tmp_path, monkeypatch, sg3):
    write_checkout(tmp_path / 'desk' / 'third_party' / 'ada', 'stylegan2-ada-pytorch')
    out = run()
    assert f'stylegan2-ada-pytorch checkout at {tmp_path}/desk/third_party/ada, unknown commit' in out
    assert 'none: its networks are not made of the official modules' in out
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name, find=importlib.util.find_spec:
                        None if name == 'pkg_resources' else find(name))
    out = run('--repo', sg3)
    assert 'bias_act       not on the CPU' in out and '"setuptools<82" if you run them' in out
    assert 'is no checkout of' in run('--repo', tmp_path, code=1)


def test_the_commit(sg3, tmp_path):
    git = ['git', '-C', str(sg3), '-c', 'user.name=a', '-c', 'user.email=a@b.c']
    for command in (['init', '-q'], ['add', '-A'], ['commit', '-qm', 'one']):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, 'rev-parse', 'HEAD'], check=True, capture_output=True, text=True).stdout
    assert f'commit {head[:12]}; tested is c233a91' in findings(repo=sg3)['checkout'].text
    write_checkout(sg3 / 'inner', 'stylegan3')  # the commit around it is none of its own
    assert 'unknown commit' in findings(repo=sg3 / 'inner')['checkout'].text


def test_a_checkout_that_cannot_be_imported(sg3):
    (sg3 / 'training' / 'networks_stylegan3.py').write_text('import a_package_that_is_absent\n')
    out = run('--repo', sg3, code=1)
    assert 'needs the package a_package_that_is_absent' in out and 'To be repaired: stylegan3' in out
    assert 'patches' not in out


def test_a_checkout_whose_generator_is_another(sg3):
    (sg3 / 'training' / 'networks_stylegan2.py').write_text('Generator = dict\n')
    finding = findings(repo=sg3)['stylegan2']
    assert finding.prevents and 'does not make a generator: ' in finding.text
    assert 'repair the checkout' in finding.remedy


def test_plugins(monkeypatch, sg3):
    gpu(monkeypatch)
    found = findings(repo=sg3)
    assert 'Big GPU, 80 GiB' in [f for f in doctor.examine() if f.topic == 'device'][0].text
    assert {found[name].text for name in doctor.PLUGINS} == {'is built on first use; --build tries it now'}
    found = findings(repo=sg3, build=True)
    assert found['bias_act'].text == 'builds (0 s)'
    assert 'does not build: RuntimeError: nvcc is too old; its networks stop on the GPU' in found['upfirdn2d'].text
    assert 'does not build, see the warning' in found['filtered_lrelu'].text and found['filtered_lrelu'].remedy
    have(monkeypatch, 'c++')
    found = findings(repo=sg3, build=True)
    assert 'cannot be built: no nvcc, ninja; its networks stop' in found['bias_act'].text
    assert found['bias_act'].remedy == ('install the CUDA toolkit and have nvcc in PATH; install ninja and have it in '
                                        'PATH')


def test_plugins_without_a_gpu(monkeypatch, sg3):
    (sg3 / 'torch_utils' / 'ops' / 'bias_act.py').write_text(OP.format(
        body="import os, torch\n    return (os.environ['TORCH_CUDA_ARCH_LIST'], torch.cuda.get_device_name()) == "
             "('8.6;9.0', 'capability 8.6;9.0')"))
    found = findings(repo=sg3, build=True)['bias_act']
    assert 'not on the CPU' in found.text and 'install a torch that is built with CUDA' in found.remedy
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    assert 'such as 8.6' in findings(repo=sg3, build=True)['bias_act'].remedy
    assert not findings(repo=sg3)['bias_act'].remedy
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '8.6;9.0')
    assert findings(repo=sg3, build=True)['bias_act'].text == (
        'builds for capability 8.6;9.0, which no GPU here has tried (0 s)')
    assert 'not on the CPU' in findings(repo=sg3)['bias_act'].text


def test_how_to_get_a_compiler(monkeypatch, sg3):
    gpu(monkeypatch)
    have(monkeypatch, 'c++', 'ninja')
    monkeypatch.setattr(torch.version, 'cuda', '12.8')
    assert findings()['nvcc'].remedy == 'install the CUDA toolkit 12.8 and have nvcc in PATH'
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    for found in (findings()['nvcc'], findings(repo=sg3, build=True)['bias_act']):
        assert 'python -m pip install "cuda-toolkit[nvcc,cccl]==13.0.*", or install the CUDA toolkit' in found.remedy


def test_ada_falls_back(tmp_path, monkeypatch):
    ada = write_checkout(tmp_path / 'ada', 'stylegan2-ada-pytorch')
    (ada / 'torch_utils' / 'ops').mkdir()
    (ada / 'torch_utils' / 'ops' / 'bias_act.py').write_text(OP.format(body='return False'))
    gpu(monkeypatch)
    have(monkeypatch)
    assert 'it falls back to its slow reference' in findings(repo=ada)['bias_act'].text
    assert 'upfirdn2d' not in findings(repo=ada)
