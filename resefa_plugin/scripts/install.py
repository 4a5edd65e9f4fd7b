"""Put the commands into an official StyleGAN checkout, beside its own scripts."""

from __future__ import annotations

import os
import pathlib

import click

from resefa_plugin.errors import ResefaError
from resefa_plugin.machine.files import replacing
from resefa_plugin.scripts.common import options
from resefa_plugin.scripts.common.hints import HintedCommand
from resefa_plugin.scripts.common.types import UserPath
from resefa_plugin.third_party.nvlabs import require_checkout

COMMANDS = ('factorize', 'edit', 'photo', 'align', 'atlas', 'export', 'info', 'evaluate', 'studio')
# The first line of each file of ours: what has it may be replaced and removed, what has not is never deleted.
MARK = '# Written by "resefa install", removed by "resefa install --uninstall"; changes here are lost.'
BACKUP_SUFFIX = '.before-resefa'


def script_text(command: str) -> str:
    """A script that calls a command of the installed package, so that it never is of another version."""
    return (f"{MARK}\n\nfrom resefa_plugin.scripts.main import run\n\n"
            f"if __name__ == '__main__':\n    run('{command}')\n")


@click.command(cls=HintedCommand)
@click.argument('path', metavar='CHECKOUT', type=UserPath(path_type=pathlib.Path))
@click.option('--uninstall', is_flag=True, help='Remove the scripts again, and put back what --force set aside')
@click.option('--force', is_flag=True,
              help=f'Set a file of the same name aside, as NAME{BACKUP_SUFFIX}, instead of stopping')
@options.user_errors
def install(path: pathlib.Path, uninstall: bool, force: bool) -> None:
    """Put the commands into an official StyleGAN checkout, beside its own scripts.

    Writes factorize.py, edit.py, photo.py, align.py, atlas.py, export.py, info.py, evaluate.py and studio.py. No file
    of the checkout is changed, and none replaced that this command has not written; with --force it is renamed, and
    --uninstall gives it its name again.

    Examples:

    \b
    resefa install stylegan2-ada-pytorch

    \b
    resefa install --uninstall stylegan2-ada-pytorch
    """
    if uninstall and force:
        raise click.UsageError('--force is for installing: --uninstall never removes what resefa has not written')
    checkout = require_checkout(path, 'install')
    scripts = {command: checkout.path / f'{command}.py' for command in COMMANDS}
    if uninstall:
        for script in scripts.values():
            _uninstall(script)
        return
    foreign = [script for script in scripts.values() if _exists(script) and not _is_ours(script)]
    if foreign and not force:
        raise ResefaError(f'{checkout.path} has {_names(foreign)}, which this command has not written; nothing was '
                          'changed. Add --force to set it aside until --uninstall, or use the resefa command in that '
                          'folder instead')
    taken = [_backup(script) for script in foreign if _exists(_backup(script))]
    if taken:
        raise ResefaError(f'{checkout.path} has {_names(taken)}, where --force would set {_names(foreign)} aside; '
                          'nothing was changed. Rename or remove one of the two')
    for script in foreign:
        _rename(script, _backup(script))
        click.echo(f'set aside {_backup(script)}')
    for command, script in scripts.items():
        with replacing(script) as part:
            part.write_text(script_text(command), encoding='utf-8')
        click.echo(f'wrote {script}')
    click.echo(f'\nNote: {checkout.repository.licence}.\n\nNext:\n  cd {checkout.path}\n'
               '  python factorize.py --network=their.pkl --seeds=0 --region=mouth --outdir=out')


def _uninstall(script: pathlib.Path) -> None:
    if _is_ours(script):
        try:
            script.unlink()
        except OSError as error:
            raise ResefaError(f'{script} cannot be removed: {error.strerror or error}') from error
        click.echo(f'removed {script}')
    backup = _backup(script)
    if not _exists(backup):
        return
    if _exists(script):
        click.echo(f'note: {backup} stays, as there is a {script.name} that this command has not written', err=True)
        return
    _rename(backup, script)
    click.echo(f'put back {script}')


def _backup(script: pathlib.Path) -> pathlib.Path:
    return script.with_name(script.name + BACKUP_SUFFIX)


def _rename(source: pathlib.Path, target: pathlib.Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        raise ResefaError(f'{source} cannot be renamed to {target.name}: {error.strerror or error}. Check that the '
                          'folder can be written') from error


def _exists(path: pathlib.Path) -> bool:
    """Also true of a link to nowhere, which is in the way as well."""
    return os.path.lexists(path)


def _names(paths: list[pathlib.Path]) -> str:
    return ', '.join(path.name for path in paths)


def _is_ours(script: pathlib.Path) -> bool:
    try:
        return script.is_file() and script.read_text(encoding='utf-8').partition('\n')[0] == MARK
    except (OSError, UnicodeDecodeError):
        return False


if __name__ == '__main__':
    install()
