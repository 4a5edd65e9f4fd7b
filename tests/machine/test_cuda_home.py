"""A CUDA toolkit of packages, with packages that are empty files."""

from __future__ import annotations

import importlib.util
import os
import types

import pytest
import torch
import torch.utils.cpp_extension

from resefa_plugin.machine import cuda_home as module
from resefa_plugin.machine.cuda_home import cuda_home, environment, packages
from resefa_plugin.patches.plugin_loader import patch_plugin_loader

FILES = ('bin/nvcc', 'nvvm/bin/cicc', 'include/cccl/nv/target', 'lib/libcudart.so.13')


@pytest.fixture
def site(tmp_path, monkeypatch):
    """An environment with the packages of CUDA 13, and a torch for it that knows of no toolkit."""
    for name in FILES:
        file = tmp_path / 'site' / 'nvidia' / 'cu13' / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: types.SimpleNamespace(
        submodule_search_locations=[str(tmp_path / 'other'), str(tmp_path / 'site' / 'nvidia')]))
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setattr(module.sys, 'platform', 'linux')
    monkeypatch.setattr(torch.utils.cpp_extension, 'CUDA_HOME', None)
    monkeypatch.setenv('RESEFA_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'site' / 'nvidia' / 'cu13'


def test_packages_become_a_toolkit(site, tmp_path):
    home = cuda_home()
    assert home.parent == tmp_path / 'cache' / 'cuda-home'
    for name in FILES[:3]:
        assert (home / name).read_text() == name
    assert (home / 'lib64' / 'libcudart.so').read_text() == FILES[3]
    before = os.lstat(home / 'bin').st_mtime_ns
    assert cuda_home() == home and os.lstat(home / 'bin').st_mtime_ns == before
    (home / 'bin').unlink()
    (home / 'bin').symlink_to(tmp_path)  # of an environment that was moved
    assert (cuda_home() / 'bin' / 'nvcc').exists() and not list(home.glob('.*'))


@pytest.mark.parametrize('missing', FILES)
def test_packages_that_are_not_all_there(site, missing, tmp_path):
    (site / missing).unlink()
    if missing.startswith('include'):
        (site / missing).parent.rmdir()
        (site / missing).parent.parent.rmdir()
    assert cuda_home() is None and not (tmp_path / 'cache').exists()


def test_a_toolkit_of_the_machine_comes_first(site, tmp_path, monkeypatch):
    own = tmp_path / 'usr'
    monkeypatch.setattr(torch.utils.cpp_extension, 'CUDA_HOME', str(own))
    assert cuda_home().parent.name == 'cuda-home'  # an nvcc in PATH by a script, without headers around it
    (own / 'include').mkdir(parents=True)
    (own / 'include' / 'cuda_runtime_api.h').touch()
    assert cuda_home() == own
    (own / 'include' / 'cuda_runtime_api.h').unlink()
    (site / 'bin' / 'nvcc').unlink()
    assert cuda_home() == own  # torch knows best where there is no other


def test_which_packages(site, monkeypatch):
    assert packages() == 'cuda-toolkit[nvcc,cccl]==13.0.*'
    for version in ('12.8', None):
        monkeypatch.setattr(torch.version, 'cuda', version)
        assert packages() is None and cuda_home() is None
    monkeypatch.setattr(torch.version, 'cuda', '14.1')
    assert packages() == 'cuda-toolkit[nvcc,cccl]==14.1.*'
    monkeypatch.setattr(module.sys, 'platform', 'win32')
    assert packages() is None


def test_the_loader_compiles_with_it(site, monkeypatch):
    seen = {}

    def load(name, **options):
        seen.update(home=torch.utils.cpp_extension.CUDA_HOME, **{key: os.environ.get(key) for key in (
            'CPATH', 'TORCH_CUDA_ARCH_LIST')})
    monkeypatch.setattr(torch.utils.cpp_extension, 'load', load)
    monkeypatch.setenv('CPATH', '/else')
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', 'mine')
    home, name = cuda_home(), torch.cuda.get_device_name
    with patch_plugin_loader(capabilities='8.6'):
        assert torch.cuda.get_device_name() == 'capability 8.6'
        os.environ['TORCH_CUDA_ARCH_LIST'] = ''  # as stylegan3 does
        torch.utils.cpp_extension.load('plugin')
    assert seen == {'home': str(home), 'CPATH': f'{home}/include/cccl{os.pathsep}/else', 'TORCH_CUDA_ARCH_LIST': '8.6'}
    assert torch.utils.cpp_extension.CUDA_HOME is None and torch.cuda.get_device_name is name
    assert os.environ['CPATH'] == '/else' and os.environ['TORCH_CUDA_ARCH_LIST'] == 'mine'


def test_the_environment_is_borrowed(monkeypatch):
    monkeypatch.setenv('RESEFA_A', 'before')
    monkeypatch.delenv('RESEFA_B', raising=False)
    with pytest.raises(KeyError), environment(RESEFA_A='a', RESEFA_B='b'):
        assert (os.environ['RESEFA_A'], os.environ['RESEFA_B']) == ('a', 'b')
        raise KeyError
    assert os.environ['RESEFA_A'] == 'before' and 'RESEFA_B' not in os.environ
