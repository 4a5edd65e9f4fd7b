"""Official StyleGAN checkouts: where they are, which of them fits a file, and importing its generator.

Their packages have generic names (`dnnlib`, `torch_utils`, `training`), the same in all repositories. They are in
`sys.modules` only while their checkout is active, so that two checkouts, or a checkout and another module of such a
name, can be used in one process. No code of theirs is part of this package.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import os
import pathlib
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch

from resefa_plugin.checkpoints.families import GeneratorFamily, Home, Repository, families_in, repositories
from resefa_plugin.checkpoints.formats import TORCH, format_of
from resefa_plugin.checkpoints.generator_arguments import GeneratorArguments, build_generator
from resefa_plugin.checkpoints.generator_file import GeneratorFile
from resefa_plugin.checkpoints.network_source import NetworkSource
from resefa_plugin.errors import CheckpointError
from resefa_plugin.patches.pkg_resources_shim import shim_pkg_resources
from resefa_plugin.patches.plugin_loader import patch_plugin_loader

GENERIC_NAMES = ('dnnlib', 'legacy', 'torch_utils', 'training')
_COMMON_FILES = ('dnnlib/util.py', 'torch_utils/persistence.py', 'legacy.py')
# Any other folder with these files: its loader can be used, with --trust-pickle, and nothing is known of its networks.
FORK = Repository('fork', '', 'the code of the checkout may be under a licence of its own: look for it in its folder')
_PACKAGES = {'distutils': 'setuptools'}  # module: the package that has it, if that has another name

_lock = threading.RLock()  # held while a checkout is active: all threads of a process share `sys.modules`


@dataclass(frozen=True)
class Checkout:
    """A checkout on this machine.

    Attributes:
        path: its folder.
        repository: of what it is a checkout.
    """

    path: pathlib.Path
    repository: Repository
    _modules: dict[str, ModuleType] = field(default_factory=dict, compare=False, repr=False)

    def __str__(self) -> str:
        return f'{self.repository.name} checkout at {self.path}'

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Makes its packages importable under their names until exit. Other threads wait."""
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
        """Imports one of its modules. Raises CheckpointError if that fails, e.g. because a package is missing."""
        with self.active(), shim_pkg_resources(), patch_plugin_loader():
            try:
                return importlib.import_module(name)
            except ModuleNotFoundError as error:
                missing = str(error.name).partition('.')[0]
                raise CheckpointError(f'the {self} needs the package {missing}, which is not installed: run "python -m '
                                      f'pip install {_PACKAGES.get(missing, missing)}", or work in another folder to '
                                      'use our own network') from error
            except Exception as error:  # foreign code may raise anything
                raise CheckpointError(f'{name} of the {self} cannot be imported: {type(error).__name__}: '
                                      f'{error}') from error

    def home(self, family: GeneratorFamily) -> Home:
        """Where it has its generator of a family, one of those in `families_in(repository)`."""
        home = family.home_in(self.repository)
        assert home is not None, f'{self} has no {family.name}'
        return home

    def source_sha256(self, family: GeneratorFamily) -> str:
        """SHA-256 of the source of its networks of a family, counted as files that it writes carry it."""
        path = self.path / f'{self.home(family).module.replace(".", "/")}.py'
        return hashlib.sha256(path.read_text(encoding='utf-8-sig', errors='replace').encode('utf-8')).hexdigest()

    def build(self, file: GeneratorFile, arguments: GeneratorArguments) -> torch.nn.Module:
        """Its generator with the state of a file.

        Generators of one family compute the same in each repository: each takes the others' files, with the arguments
        spelled its own way and the writer's defaults made explicit.

        Raises:
            CheckpointError: its class does not fit the file, or cannot be imported.
        """
        home = self.home(file.family)
        module = self.import_module(home.module)
        synthesis = {name: value for name, value in arguments.synthesis_kwargs.items() if name not in home.not_taken}
        with self.active():
            return build_generator(file, lambda: module.Generator(
                **arguments.sizes, mapping_kwargs=arguments.mapping_kwargs, **self.repository.spelled(synthesis)),
                f'{home.module} of the {self}')

    def load_trusted(self, source: NetworkSource) -> torch.nn.Module:
        """Lets the checkout's own loader read a file, which EXECUTES the code in the file.

        Raises CheckpointError if it cannot.
        """
        warnings.warn(f'--trust-pickle: the code in {source.name} is executed', stacklevel=2)
        legacy = self.import_module('legacy')
        with self.active(), shim_pkg_resources(), patch_plugin_loader():
            try:
                found = _load(legacy, source.data)
                G = found.get('G_ema', found.get('g_ema')) if isinstance(found, dict) else found
                if not isinstance(G, torch.nn.Module):
                    raise TypeError(f'{type(G).__name__} where a network is expected')
            except Exception as error:  # foreign code may raise anything
                raise CheckpointError(f'{source.name}: the loader of the {self} failed: {type(error).__name__}: '
                                      f'{error}') from error
        return G.eval().requires_grad_(False).float()


def _load(legacy: Any, data: bytes) -> object:
    """What is in a file, with the classes of the active checkout."""
    if format_of(data) is TORCH:  # PTI and others save the whole network in this way
        return torch.load(io.BytesIO(data), map_location='cpu', weights_only=False)
    try:
        return legacy.load_network_pkl(io.BytesIO(data))
    except (AssertionError, KeyError):  # it insists on whole snapshots, and some people save G_ema alone
        if not hasattr(legacy, '_LegacyUnpickler'):
            raise
        return legacy._LegacyUnpickler(io.BytesIO(data)).load()


def _take_modules() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition('.')[0] in GENERIC_NAMES]
    return {name: sys.modules.pop(name) for name in names}


_active: list[Checkout] = []
_known: dict[pathlib.Path, Checkout] = {}


def _files(repository: Repository) -> list[str]:
    """The files by which a checkout of a repository is known."""
    homes = (family.home_in(repository) for family in families_in(repository))
    return [*_COMMON_FILES, *(home.module.replace('.', '/') + '.py' for home in homes if home is not None)]


def checkout_at(path: pathlib.Path) -> Checkout | None:
    """The checkout in a folder, None if it is not a checkout.

    Returns the same object each time, so that its modules are imported once.
    """
    path = path.resolve()
    for repository in repositories():
        if all((path / file).is_file() for file in _files(repository)):
            with _lock:
                known = _known.get(path)
                if known is None or known.repository != repository:
                    known = _known[path] = Checkout(path, repository)
                return known
    return None


def require_checkout(path: pathlib.Path, option: str) -> Checkout:
    """The checkout in a folder. Raises CheckpointError if it is not a checkout, with the name of the option."""
    checkout = checkout_at(path)
    if checkout is None:
        known = repositories()
        names = ' or '.join(repository.name for repository in known)
        kinds = ' or '.join(f'{", ".join(_files(repository))} ({repository.name})' for repository in known)
        fork = ('. It is a fork whose loader can read its own files: add --trust-pickle if you trust the file'
                if option == '--repo' and all((path / file).is_file() for file in _COMMON_FILES) else '')
        raise CheckpointError(f'{option}: {path} is no checkout of {names}; expected {kinds}{fork}')
    return checkout


def find_checkouts(repo: str | os.PathLike[str] | None = None) -> list[Checkout]:
    """The checkouts that may be used, in order of preference.

    Args:
        repo: the folder of one; None to look at the current folder and the folders in its `third_party`.

    Raises:
        CheckpointError: `repo` is no checkout.
    """
    if repo is not None:
        return [require_checkout(pathlib.Path(repo).expanduser(), '--repo')]
    here = pathlib.Path.cwd()
    third_party = here / 'third_party'
    folders = [here, *(sorted(third_party.iterdir()) if third_party.is_dir() else [])]
    return [checkout for checkout in map(checkout_at, folders) if checkout is not None]


def find_loader(repo: str | os.PathLike[str] | None = None) -> Checkout:
    """The checkout, official or a fork, whose loader shall read a file: `--trust-pickle`.

    Args:
        repo: its folder, any that has the common files; None for the first that may be used, or the current folder.

    Raises CheckpointError if there is none.
    """
    folder = (pathlib.Path.cwd() if repo is None else pathlib.Path(repo).expanduser()).resolve()
    checkout = checkout_at(folder)
    if checkout is not None:
        return checkout
    if repo is None and (checkouts := find_checkouts()):
        return checkouts[0]
    if all((folder / file).is_file() for file in _COMMON_FILES):
        with _lock:
            return _known.setdefault(folder, Checkout(folder, FORK))
    if repo is None:
        raise CheckpointError('--trust-pickle needs the checkout whose loader shall read the file: work in it, or name '
                              'it with --repo')
    raise CheckpointError(f'--repo: {folder} has no loader of network files; expected a checkout with '
                          f'{", ".join(_COMMON_FILES)}')


def choose_checkout(checkouts: list[Checkout], family: GeneratorFamily, writer: Repository) -> Checkout | None:
    """The checkout for a file: one of the repository that wrote it, else one that has its family, None if none has.

    Generators that read other files as well are left out: see `Home.reads`.
    """
    homes = [(checkout, family.home_in(checkout.repository)) for checkout in checkouts]
    fitting = [checkout for checkout, home in homes if home is not None and not home.reads]
    return next((c for c in fitting if c.repository == writer), fitting[0] if fitting else None)
