"""The `resefa` command: the scripts of this folder as subcommands."""

from __future__ import annotations

import importlib

import click
from typing_extensions import override

import resefa_plugin
from resefa_plugin.machine.interrupts import ended_at_once

COMMANDS = ('factorize', 'edit', 'photo', 'align', 'studio', 'evaluate', 'export', 'info', 'install', 'doctor')


def load_command(name: str) -> click.Command:
    """A command of this folder. Its modules are imported now, which takes seconds; Ctrl-C ends them with one line."""
    with ended_at_once():
        command: click.Command = getattr(importlib.import_module(f'resefa_plugin.scripts.{name}'), name)
    return command


def run(name: str) -> None:
    """Runs a command with the arguments of this process; for scripts in other folders."""
    load_command(name)()


class _Commands(click.Group):
    """Subcommands that are imported when they are asked for."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return load_command(cmd_name) if cmd_name in COMMANDS else None


@click.group(cls=_Commands, context_settings={'help_option_names': ['-h', '--help']})
@click.version_option(resefa_plugin.__version__, prog_name='resefa')
def main() -> None:
    """Find directions of a GAN's latent space that change one region of a picture and leave the rest alone."""


if __name__ == '__main__':
    main()
