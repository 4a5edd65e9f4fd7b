"""Print what a network or a directions file is."""

from __future__ import annotations

import pathlib

import click

from resefa_plugin import DirectionSet
from resefa_plugin.checkpoints.formats import NPZ, format_of_file
from resefa_plugin.scripts.common import options


@click.command()
@click.argument('name', metavar='[NETWORK_OR_FILE]', required=False)
@options.function_option
@options.implementation_options
@options.user_errors
def info(name: str | None, function: str | None, repo: pathlib.Path | None, trust_pickle: bool) -> None:
    """Print what a network or a directions file is.

    Examples:

    \b
    resefa info mobilestylegan-ffhq

    \b
    resefa info ffhq.pkl

    \b
    resefa info --hook=my_gan:my_hook

    \b
    resefa info out/seed0000-mouth.npz
    """
    if function is None and name is not None:
        path = pathlib.Path(name).expanduser()
        if path.suffix == '.npz' or path.is_file() and format_of_file(path) is NPZ:
            click.echo(DirectionSet.load(path).describe())
            return
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
