"""The CUDA toolkit that plugins are compiled with: the one that torch knows, or one put together from packages."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pathlib
import secrets
import sys
from collections.abc import Iterator

import torch
import torch.utils.cpp_extension

from resefa_plugin.machine.files import cache_dir

FIRST_CUDA = 13  # the packages of older versions have no nvcc


def packages() -> str | None:
    """What pip is to install for this torch: a compiler of its CUDA version. None where there are no such packages."""
    cuda = torch.version.cuda
    if cuda is None or sys.platform != 'linux' or int(cuda.partition('.')[0]) < FIRST_CUDA:
        return None
    return f'cuda-toolkit[nvcc,cccl]=={cuda}.*'


def cuda_home() -> pathlib.Path | None:
    """The folder of the toolkit; None if there is none.

    What torch takes for one, what CUDA_HOME says or the folder around an nvcc in PATH, comes first if headers are
    there. They are not around an nvcc that is in PATH by a script.

    Raises OSError if one of packages cannot be put together.
    """
    known = torch.utils.cpp_extension.CUDA_HOME
    if known and os.path.isfile(os.path.join(known, 'include', 'cuda_runtime_api.h')):
        return pathlib.Path(known)
    return _of_packages() or (pathlib.Path(known) if known else None)


def _of_packages() -> pathlib.Path | None:
    """A folder like that of a toolkit, of links to the packages in this environment; None if they are not there.

    The packages share a folder, `nvidia/cu13`, to which but one thing is missing: a name for the linker to find the
    runtime by. The folder of links is kept in the cache, since ninja builds anew what was built from another path.
    """
    installed = _installed()
    if installed is None:
        return None
    home = cache_dir() / 'cuda-home' / hashlib.sha256(os.fsencode(installed)).hexdigest()[:16]
    for name in ('bin', 'include', 'nvvm'):
        _link(home / name, installed / name)
    _link(home / 'lib64' / 'libcudart.so', installed / 'lib' / f'libcudart.so.{_major()}')
    return home


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Sets variables of the environment, which compilers inherit, for the duration of the context."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _major() -> str:
    return str(torch.version.cuda).partition('.')[0]


def _installed() -> pathlib.Path | None:
    """The folder of the packages, if all are there."""
    found = importlib.util.find_spec('nvidia') if packages() else None
    for parent in (found and found.submodule_search_locations) or []:
        folder = pathlib.Path(parent, f'cu{_major()}')
        parts = 'bin/nvcc', 'nvvm/bin/cicc', 'include/cccl', f'lib/libcudart.so.{_major()}'
        if all(os.path.exists(folder / part) for part in parts):
            return folder
    return None


def _link(place: pathlib.Path, target: pathlib.Path) -> None:
    if os.path.realpath(place) == os.path.realpath(target):
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f'.{place.name}.{secrets.token_hex(4)}')
    part.symlink_to(target)
    os.replace(part, place)  # another process may have made it by now
