"""What this machine has of what the commands use, what is missing, and what to do about it."""

from __future__ import annotations

import importlib.metadata as distributions
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.torch_version import TorchVersion

from resefa_plugin.checkpoints.families import GeneratorFamily, families_in
from resefa_plugin.directions.metadata import package_versions
from resefa_plugin.errors import CheckpointError
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.machine.cuda_home import cuda_home, packages
from resefa_plugin.machine.files import cache_dir
from resefa_plugin.patches.plugin_loader import patch_plugin_loader
from resefa_plugin.patches.registry import apply_patches
from resefa_plugin.third_party.mobilestylegan_ffhq import ASSET
from resefa_plugin.third_party.nvlabs import Checkout, find_checkouts

PLUGINS = ('bias_act', 'upfirdn2d', 'filtered_lrelu')
# Sizes of a small network, which shows as well as a large one of which official modules networks are made.
SMALL = {'z_dim': 8, 'c_dim': 0, 'w_dim': 8, 'img_resolution': 16, 'img_channels': 3}
SMALL_SYNTHESIS = {'channel_base': 256, 'channel_max': 8}


@dataclass(frozen=True)
class Check:
    """One line of the screen.

    Attributes:
        topic: what it is about.
        text: what was found.
        remedy: what to do; empty where nothing has to be done.
        prevents: whether the commands cannot be used until then.
    """

    topic: str
    text: str
    remedy: str = ''
    prevents: bool = False


def examine(repo: str | os.PathLike[str] | None = None, build: bool = False) -> Iterator[Check]:
    """Everything that is worth knowing, in the order in which it is shown.

    Args:
        repo: a checkout; None to look where the commands look. Its code is imported.
        build: compile its plugins, which takes minutes the first time; without a GPU, for those that the environment's
            TORCH_CUDA_ARCH_LIST names.

    Raises:
        CheckpointError: `repo` is no checkout.
    """
    checkouts = find_checkouts(repo)
    yield from _packages()
    yield from _devices()
    yield from _compilers()
    yield _allocator()
    yield from _cache()
    if not checkouts:
        yield Check('checkout', 'none in the current folder or its third_party: our own networks are used')
    for checkout in checkouts:
        yield from _checkout(checkout, build)
    yield from _host_scripts(checkouts)


def _packages() -> Iterator[Check]:
    yield Check('versions', ', '.join(f'{name} {version}' for name, version in package_versions().items()))
    for requirement in _requirements('resefa_plugin'):
        match = re.match(r'([\w.-]+)(?:>=([\w.]+))?$', requirement)
        if match is None:  # a requirement of an extra
            continue
        name, least = match.groups()
        version = _version(name)
        if version is None or least and TorchVersion(version) < TorchVersion(least):
            wanted = f'{least} or later' if least else 'any version'
            yield Check(name, f'{version or "not installed"}, expected {wanted}',
                          f'python -m pip install "{requirement}"', prevents=True)
    pins = (re.match(r'torch ?\(?==([\w.]+)', requirement) for requirement in _requirements('torchvision'))
    torch_version = next((pin[1] for pin in pins if pin), None)
    if torch_version is not None and torch_version != torch.__version__.partition('+')[0]:
        yield Check('torchvision', f'{_version("torchvision")} is built for torch {torch_version}, so that importing '
                                     'it may fail; resefa does not use it',
                      'update it together with torch if your host does')


def _requirements(name: str) -> list[str]:
    try:
        return distributions.requires(name) or []
    except distributions.PackageNotFoundError:
        return []


def _version(name: str) -> str | None:
    try:
        return distributions.version(name)
    except distributions.PackageNotFoundError:
        return None


def _devices() -> Iterator[Check]:
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(i)
            yield Check('device', f'cuda:{i} {properties.name}, {properties.total_memory / 2 ** 30:.0f} GiB'
                                    f'{", the default" * (i == 0)}')
    elif shutil.which('nvidia-smi'):
        built = f'is built for CUDA {torch.version.cuda}' if torch.version.cuda else 'is built without CUDA'
        yield Check('device', f'cpu; there is an nvidia-smi, but torch {torch.__version__} {built} and finds no GPU',
                      'see whether nvidia-smi lists a GPU, and install the torch of its CUDA version: '
                      'https://pytorch.org/get-started')
    if torch.backends.mps.is_available():
        yield Check('device', 'mps, with --device=mps')
    yield Check('device', f'cpu, {torch.get_num_threads()} threads')


def _compilers() -> Iterator[Check]:
    for topic, tool in _tools().items():
        needed = tool is None and torch.cuda.is_available()
        yield Check(topic, tool or 'not found; only the plugins of a checkout on a GPU need it',
                    _how_to_get(topic) if needed else '')


def _tools() -> dict[str, str | None]:
    """Where the tools are that build plugins."""
    home = cuda_home()
    of_home = shutil.which('nvcc', path=os.path.join(home, 'bin')) if home else None
    names = [os.environ.get('CXX', ''), 'cl' if sys.platform == 'win32' else 'c++', 'g++', 'clang++']
    return {'C++': next((found for name in names if name and (found := shutil.which(name))), None),
            'nvcc': of_home or shutil.which('nvcc'),
            'ninja': shutil.which('ninja')}


def _how_to_get(tool: str) -> str:
    if tool != 'nvcc':
        return f'install {tool} and have it in PATH'
    alone = f'install the CUDA toolkit{f" {torch.version.cuda}" if torch.version.cuda else ""} and have nvcc in PATH'
    return f'python -m pip install "{packages()}", or {alone}' if packages() else alone


def _allocator() -> Check:
    kept = keep_large_blocks()
    return Check('allocator', 'glibc keeps large blocks while a command runs' if kept else
                   'not glibc: it stays as it is, and large pictures on the CPU may be slower')


def _cache() -> Iterator[Check]:
    folder = cache_dir()
    existing = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    usable = os.path.isdir(existing) and os.access(existing, os.W_OK)
    yield Check('cache', f'{folder}{"" if usable else ", which cannot be written"}',
                  '' if usable else 'set the environment variable RESEFA_CACHE to a folder that can')
    present = all(os.path.isfile(folder / ASSET.name / pathlib.PurePosixPath(member).name) for member in ASSET.files)
    yield Check('demo network', f'{ASSET.name} is {"in the cache" if present else "fetched with pip on first use"}')


def _checkout(checkout: Checkout, build: bool) -> Iterator[Check]:
    commit, known = _commit(checkout.path), checkout.repository.commit
    compared = 'unknown commit' if commit is None else f'commit {commit}'
    if commit is not None:
        compared += ', tested' if commit.startswith(known) else f'; tested is {known}'
    yield Check('checkout', f'{checkout}, {compared}')
    patches: set[str] = set()
    for family in families_in(checkout.repository):
        try:
            patches |= set(_patches(checkout, family))
        except CheckpointError as error:  # its message names the remedy
            yield Check(family.name, str(error), prevents=True)
            return
        except Exception as error:  # foreign code may raise anything
            yield Check(family.name, f'the {checkout} does not make a generator: {type(error).__name__}: {error}',
                          'repair the checkout, or work in another folder to use our own networks', prevents=True)
            return
    yield Check('patches', ', '.join(sorted(patches)) or 'none: its networks are not made of the official modules')
    for name in PLUGINS:
        if os.path.isfile(checkout.path / 'torch_utils' / 'ops' / f'{name}.py'):
            yield _plugin(checkout, name, build)


def _commit(path: pathlib.Path) -> str | None:
    """The commit that is checked out in a folder. None without git, or if the folder is only a part of a repository."""
    try:
        done = subprocess.run(['git', '-C', str(path), 'rev-parse', '--show-prefix', 'HEAD'], capture_output=True,
                              text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    prefix, _, commit = done.stdout.rstrip('\n').partition('\n')
    return commit[:12] if done.returncode == 0 and not prefix and commit else None


def _patches(checkout: Checkout, family: GeneratorFamily) -> tuple[str, ...]:
    """Makes a small network of the checkout and returns the names of the patches that fit it."""
    module = checkout.import_module(checkout.home(family).module)
    with checkout.active():
        G = module.Generator(**SMALL, **checkout.repository.spelled(SMALL_SYNTHESIS))
        with apply_patches(G) as names:
            return names


def _plugin(checkout: Checkout, name: str, build: bool) -> Check:
    capabilities = None if torch.cuda.is_available() else os.environ.get('TORCH_CUDA_ARCH_LIST')
    if not torch.cuda.is_available() and not (build and capabilities and torch.version.cuda):
        how = 'to see whether it compiles, ' + (
            'set TORCH_CUDA_ARCH_LIST to the compute capability of a GPU, such as 8.6' if torch.version.cuda else
            'install a torch that is built with CUDA')
        return Check(name, 'not on the CPU: its reference implementation is used', how if build else '')
    missing = [tool for tool, path in _tools().items() if path is None]
    if missing:
        return Check(name, f'cannot be built: no {", ".join(missing)}; {_without_plugin(checkout)}',
                     '; '.join(map(_how_to_get, missing)))
    if not build:
        return Check(name, 'is built on first use; --build tries it now')
    module, start = checkout.import_module(f'torch_utils.ops.{name}'), time.perf_counter()
    with checkout.active(), patch_plugin_loader([module] if hasattr(module, '_plugin') else [], capabilities):
        try:
            built = module._init()
        except Exception as error:  # foreign code and a compiler may raise anything
            reason = (str(error).strip().splitlines() or [''])[0]
            return Check(name, f'does not build: {type(error).__name__}: {reason[:200]}; {_without_plugin(checkout)}',
                           'check that nvcc and the C++ compiler fit the CUDA version of torch')
    if not built:
        return Check(name, f'does not build, see the warning; {_without_plugin(checkout)}',
                     'check that nvcc and the C++ compiler fit the CUDA version of torch')
    where = f' for capability {capabilities}, which no GPU here has tried' if capabilities else ''
    return Check(name, f'builds{where} ({time.perf_counter() - start:.0f} s)')


def _without_plugin(checkout: Checkout) -> str:
    if checkout.repository.runs_without_plugins:
        return 'it falls back to its slow reference'
    return 'its networks stop on the GPU; use --device=cpu'


def _host_scripts(checkouts: list[Checkout]) -> Iterator[Check]:
    """Problems that the checkout's own scripts have and our commands do not."""
    needing = dict.fromkeys(c.repository.name for c in checkouts if c.repository.needs_pkg_resources)
    if needing and importlib.util.find_spec('pkg_resources') is None:
        yield Check('setuptools', f'{_version("setuptools") or "absent"}, without pkg_resources; resefa has a '
                                    f"stand-in, but {', '.join(needing)}'s own scripts stop",
                      'python -m pip install "setuptools<82" if you run them')
