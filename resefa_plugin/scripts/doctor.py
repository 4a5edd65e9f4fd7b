"""Print what this machine has, what is missing, and what to do about it."""

from __future__ import annotations

import pathlib

import click

from resefa_plugin.scripts.common import options
from resefa_plugin.scripts.common.diagnosis import examine
from resefa_plugin.scripts.common.hints import HintedCommand
from resefa_plugin.scripts.common.types import FOLDER


@click.command(cls=HintedCommand)
@click.option('--repo', metavar='DIR', type=FOLDER,
              help='Checkout of stylegan2-ada-pytorch or stylegan3 to examine  [default: the current folder, and those '
                   'in its third_party]')
@click.option('--build', is_flag=True, help="Compile the checkout's plugins, which takes minutes the first time")
@options.user_errors
def doctor(repo: pathlib.Path | None, build: bool) -> None:
    """Print what this machine has, what is missing, and what to do about it.

    The code of a checkout that is found is imported. The exit code is 1 if something prevents use.

    Examples:

    \b
    resefa doctor

    \b
    resefa doctor --repo=stylegan2-ada-pytorch --build
    """
    findings = []
    for finding in examine(repo, build):
        findings.append(finding)
        click.echo(f'{finding.topic:<14} {finding.text}')
        if finding.remedy:
            click.echo(f'{"":<14} -> {finding.remedy}')
    prevents = [finding.topic for finding in findings if finding.prevents]
    click.echo(f'\nTo be repaired: {", ".join(prevents)}' if prevents else '\nNothing prevents use.')
    if prevents:
        raise SystemExit(1)


if __name__ == '__main__':
    doctor()
