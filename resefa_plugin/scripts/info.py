"""Print what a network is, or a file of directions, latents or tuned weights, or a folder of results."""

from __future__ import annotations

import pathlib

import click

from resefa_plugin.scripts.common import options
from resefa_plugin.scripts.common.description import describe
from resefa_plugin.scripts.common.hints import HintedCommand


@click.command(cls=HintedCommand)
@click.argument('name', metavar='[NETWORK_OR_FILE]', required=False)
@options.function_option
@options.implementation_options
@options.user_errors
def info(name: str | None, function: str | None, repo: pathlib.Path | None, trust_pickle: bool) -> None:
    """Print what a network is, or a file of directions, latents or tuned weights, or a folder of results.

    Examples:

    \b
    resefa info mobilestylegan-ffhq

    \b
    resefa info ffhq.pkl

    \b
    resefa info --hook=my_gan:my_hook

    \b
    resefa info out/seed0000-mouth.npz

    \b
    resefa info out
    """
    if function is None and name is not None:
        text = describe(pathlib.Path(name).expanduser())
        if text is not None:
            click.echo(text)
            return
    if function is None and name is None:
        raise click.UsageError('name a network or a file, as in resefa info out/seed0000-mouth.npz, or a network of '
                               'your own with --hook=MODULE:FUNCTION')
    hook = options.open_generator(name, function, repo=repo, trust_pickle=trust_pickle)
    channels, height, width = hook.image_shape
    click.echo(f'network     {hook.name}')
    click.echo(f'SHA-256     {hook.sha256 or "unknown"}')
    click.echo(f'computed by {hook.implementation}')
    click.echo(f'licence     {hook.licence or "unknown"}')
    click.echo(f'pictures    {height} x {width}, {channels} channels')
    click.echo(f'label       {f"{hook.c_dim} classes" if hook.c_dim else "none (unconditional)"}')
    for space in hook.space_names:
        layers = f', layers 0-{hook.layer_count(space) - 1}' if hook.layer_count(space) else ''
        click.echo(f'space {space:<5} {hook.space(space).dim} dimensions{layers}')


if __name__ == '__main__':
    info()
