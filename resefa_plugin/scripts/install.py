"""Put the commands into an official StyleGAN checkout, beside its own scripts."""

from __future__ import annotations

import pathlib

import click

from resefa_plugin.errors import ResefaError
from resefa_plugin.files import replacing
from resefa_plugin.scripts import options
from resefa_plugin.third_party.nvlabs import LICENCE, require_checkout

COMMANDS = ('factorize', 'edit', 'export', 'info')
# The first line of each file of ours: what has it may be replaced and removed, what has not is never touched.
MARK = '# Written by "resefa install", removed by "resefa install --uninstall"; changes here are lost.'


def script_text(command: str) -> str:
    """A script that calls a command of the installed package, so that it never is of another version."""
    return (f'{MARK}\n\nfrom resefa_plugin.scripts.{command} import {command}\n\n'
            f"if __name__ == '__main__':\n    {command}()\n")


@click.command()
@click.argument('path', metavar='CHECKOUT', type=click.Path(path_type=pathlib.Path))
@click.option('--uninstall', is_flag=True, help='Remove the scripts again')
@options.user_errors
def install(path, uninstall):
    """Put the commands into an official StyleGAN checkout, beside its own scripts.

    Writes factorize.py, edit.py, export.py and info.py. No file of the checkout is changed, and no file is replaced
    that this command has not written.

    Examples:

    \b
    resefa install stylegan2-ada-pytorch

    \b
    resefa install --uninstall stylegan2-ada-pytorch
    """
    checkout = require_checkout(path, 'install')
    scripts = {command: checkout.path / f'{command}.py' for command in COMMANDS}
    foreign = [script.name for script in scripts.values() if script.exists() and not _is_ours(script)]
    if uninstall:
        for script in scripts.values():
            if script.exists() and script.name not in foreign:
                script.unlink()
                click.echo(f'removed {script}')
        return
    if foreign:
        raise ResefaError(f'{checkout.path} has {", ".join(foreign)}, which this command has not written; nothing was '
                          'changed. Move it away, or use the resefa command in that folder instead')
    for command, script in scripts.items():
        with replacing(script) as part:
            part.write_text(script_text(command), encoding='utf-8')
        click.echo(f'wrote {script}')
    click.echo(f'\nNote: {LICENCE}.\n\nNext:\n  cd {checkout.path}\n'
               '  python factorize.py --network=their.pkl --seeds=0 --region=mouth --outdir=out')


def _is_ours(script: pathlib.Path) -> bool:
    try:
        return script.is_file() and script.read_text(encoding='utf-8').partition('\n')[0] == MARK
    except (OSError, UnicodeDecodeError):
        return False


if __name__ == '__main__':
    install()
