"""Official StyleGAN checkouts: where they are, which generator of theirs fits a file, and importing it.

Their packages have generic names (`dnnlib`, `torch_utils`, `training`), the same in both repositories. They are in
`sys.modules` while a checkout is active and out of it otherwise, so that two checkouts, and whatever else has such a
name, do not meet. No code of theirs is part of this package.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import pathlib
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType

import torch

from resefa_plugin.checkpoints.generator_arguments import GeneratorArguments, build_generator
from resefa_plugin.checkpoints.generator_file import GeneratorFile
from resefa_plugin.checkpoints.network_source import NetworkSource
from resefa_plugin.errors import CheckpointError
from resefa_plugin.patches.pkg_resources_shim import shim_pkg_resources
from resefa_plugin.patches.plugin_loader import patch_plugin_loader

LICENCE = ('the code of the checkout is under the NVIDIA Source Code License: non-commercial use only (research or '
           'evaluation). The network file has a licence of its own')
GENERIC_NAMES = ('dnnlib', 'legacy', 'torch_utils', 'training')
_COMMON_FILES = ('dnnlib/util.py', 'torch_utils/persistence.py', 'legacy.py')
_PACKAGES = {'distutils': 'setuptools'}  # where a module is in a package of another name


@dataclass(frozen=True)
class Repository:
    """What is known about an official repository.

    Attributes:
        name: of the repository.
        commit: the last one, which this package is tested with.
        homes: the module that has the generator of a family.
    """

    name: str
    commit: str
    homes: dict[str, str]

    @property
    def files(self) -> tuple[str, ...]:
        """Files that tell a checkout of it."""
        return (*_COMMON_FILES, *(home.replace('.', '/') + '.py' for home in self.homes.values()))


REPOSITORIES = (
    Repository('stylegan2-ada-pytorch', 'd72cc7d', {'stylegan2': 'training.networks'}),
    Repository('stylegan3', 'c233a91', {'stylegan2': 'training.networks_stylegan2',
                                        'stylegan3': 'training.networks_stylegan3'}),
)

_lock = threading.RLock()  # module names belong to the whole process


@dataclass(frozen=True)
class Checkout:
    """A checkout on this machine."""

    path: pathlib.Path
    repository: Repository
    _modules: dict[str, ModuleType] = field(default_factory=dict, compare=False, repr=False)

    def __str__(self) -> str:
        return f'{self.repository.name} checkout at {self.path}'

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Its packages are what their names mean, until exit. Other threads wait."""
        with _lock:
            if _active and _active[-1] is self:
                yield
                return
            hidden = _take_modules()
            _active.append(self)
            sys.modules.update(self._modules)
            sys.path.insert(0, str(self.path))
            importlib.invalidate_caches()
            try:
                yield
            finally:
                _active.pop()
                self._modules.update(_take_modules())
                sys.modules.update(hidden)
                with contextlib.suppress(ValueError):
                    sys.path.remove(str(self.path))

    def import_module(self, name: str) -> ModuleType:
        """Imports one of its modules. Raises CheckpointError where that fails, e.g. for want of a package."""
        with self.active(), shim_pkg_resources(), patch_plugin_loader():
            try:
                return importlib.import_module(name)
            except ModuleNotFoundError as error:
                missing = str(error.name).partition('.')[0]
                raise CheckpointError(f'the {self} needs the package {missing}, which is not installed: run "python -m '
                                      f'pip install {_PACKAGES.get(missing, missing)}", or work in another folder to '
                                      'use our own network') from error
            except Exception as error:  # code of others: whatever it raises, the checkout cannot be used
                raise CheckpointError(f'{name} of the {self} cannot be imported: {type(error).__name__}: '
                                      f'{error}') from error

    def build(self, file: GeneratorFile, arguments: GeneratorArguments) -> torch.nn.Module:
        """Its generator with the state of a file.

        The StyleGAN2 generators of the two repositories compute the same: each takes the other's files, with the
        arguments spelled its own way and the writer's defaults made explicit.

        Raises:
            CheckpointError: its class does not fit the file, or cannot be imported.
        """
        home = self.repository.homes[file.family]
        module = self.import_module(home)
        synthesis = dict(arguments.synthesis_kwargs)
        if self.repository.name == 'stylegan2-ada-pytorch':
            synthesis.pop('fused_modconv_default', None)  # it decides on fusing by itself: same picture
            synthesis = {'synthesis_kwargs': synthesis}
        with self.active():
            return build_generator(file, lambda: module.Generator(
                **arguments.sizes, mapping_kwargs=arguments.mapping_kwargs, **synthesis), f'{home} of the {self}')

    def load_trusted(self, source: NetworkSource) -> torch.nn.Module:
        """Lets the checkout's own loader read a file, which EXECUTES the code in the file.

        Raises CheckpointError if it cannot.
        """
        warnings.warn(f'--trust-pickle: the code in {source.name} is executed', stacklevel=2)
        legacy = self.import_module('legacy')
        with self.active(), shim_pkg_resources(), patch_plugin_loader():
            try:
                G = legacy.load_network_pkl(io.BytesIO(source.data))['G_ema']
            except Exception as error:  # code of others, and a file of others
                raise CheckpointError(f'{source.name}: the loader of the {self} failed: {type(error).__name__}: '
                                      f'{error}') from error
        return G.eval().requires_grad_(False).float()


def _take_modules() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition('.')[0] in GENERIC_NAMES]
    return {name: sys.modules.pop(name) for name in names}


_active: list[Checkout] = []
_known: dict[pathlib.Path, Checkout] = {}


def checkout_at(path: pathlib.Path) -> Checkout | None:
    """The checkout in a folder, None if the folder is none. The same one each time: its modules are imported once."""
    path = path.resolve()
    for repository in REPOSITORIES:
        if all((path / file).is_file() for file in repository.files):
            with _lock:
                known = _known.get(path)
                if known is None or known.repository != repository:
                    known = _known[path] = Checkout(path, repository)
                return known
    return None


def require_checkout(path: pathlib.Path, option: str) -> Checkout:
    """The checkout in a folder. Raises CheckpointError, which says what was looked for, if it is none."""
    checkout = checkout_at(path)
    if checkout is None:
        kinds = ' or '.join(f'{", ".join(repository.files)} ({repository.name})' for repository in REPOSITORIES)
        raise CheckpointError(f'{option}: {path} is no checkout of stylegan2-ada-pytorch or stylegan3; '
                              f'expected {kinds}')
    return checkout


def find_checkouts(repo: str | pathlib.Path | None = None) -> list[Checkout]:
    """The checkouts that may be used, in order of preference.

    Args:
        repo: the folder of one; None to look at the current folder and the folders in its `third_party`.

    Raises:
        CheckpointError: `repo` is no checkout.
    """
    if repo is not None:
        return [require_checkout(pathlib.Path(repo), '--repo')]
    here = pathlib.Path.cwd()
    third_party = here / 'third_party'
    folders = [here, *(sorted(third_party.iterdir()) if third_party.is_dir() else [])]
    return [checkout for checkout in map(checkout_at, folders) if checkout is not None]


def choose_checkout(checkouts: list[Checkout], family: str, writer: str) -> Checkout | None:
    """The one whose generator fits a file: of the repository that wrote it, else of the other, if it has the family."""
    fitting = [checkout for checkout in checkouts if family in checkout.repository.homes]
    return next((c for c in fitting if c.repository.name == writer), fitting[0] if fitting else None)
