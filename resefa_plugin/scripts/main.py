"""The `resefa` command: the scripts of this folder as subcommands."""

from __future__ import annotations

import difflib
import importlib

import click
from click.shell_completion import CompletionItem
from typing_extensions import override

import resefa_plugin
from resefa_plugin.machine.interrupts import ended_at_once

# What each does, for `resefa --help`: their own help takes seconds to import.
COMMANDS = {
    'factorize': 'Find the directions that change a region',
    'edit': 'Move samples along directions',
    'photo': 'Edit a region of a face in a photograph of yours',
    'align': 'Cut faces out of photographs as FFHQ has them',
    'studio': 'Draw a region and move sliders, in the browser',
    'atlas': 'Learn a network once, then have any region at once',
    'evaluate': 'Compare with other methods at equal change',
    'export': 'Write directions for another tool',
    'info': 'Say what a network or a file is',
    'install': "Put the commands beside a checkout's generate.py",
    'doctor': 'Say what this machine lacks',
}

EPILOG = """Begin with

\b
resefa factorize --network=mobilestylegan-ffhq --seeds=0 --trunc=0.7 \\
    --region=mouth --quick --outdir=out

and open out/report.html. Each command has its own --help, with examples.

\b
Completion by TAB of commands, flags, regions, networks and files takes a
line in ~/.bashrc (zsh_source in ~/.zshrc, fish_source for fish):
  eval "$(_RESEFA_COMPLETE=bash_source resefa)"
"""


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

    @override
    def resolve_command(self, ctx: click.Context,
                        args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith('-') and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0].lower(), COMMANDS, n=1)
            meant = f'did you mean {near[0]}?' if near else f'there are {", ".join(COMMANDS)}'
            raise click.UsageError(f"No such command '{args[0]}'; {meant}", ctx)
        return super().resolve_command(ctx, args)

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section('Commands'):
            formatter.write_dl(list(COMMANDS.items()))

    @override
    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        if incomplete.startswith('-'):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=what) for name, what in COMMANDS.items() if name.startswith(incomplete)]


@click.group(cls=_Commands, context_settings={'help_option_names': ['-h', '--help']}, epilog=EPILOG)
@click.version_option(resefa_plugin.__version__, prog_name='resefa')
def main() -> None:
    """Find directions of a GAN's latent space that change one region of a picture and leave the rest alone."""


if __name__ == '__main__':
    main()
