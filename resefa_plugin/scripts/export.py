"""Write directions in the formats of other tools."""

from __future__ import annotations

import pathlib

import click

from resefa_plugin import DirectionSet
from resefa_plugin.directions.exports import EXPORTS
from resefa_plugin.scripts.common import options
from resefa_plugin.scripts.common.hints import HintedCommand
from resefa_plugin.scripts.common.types import FILE, FiniteNumber, IndexNumber


@click.command(cls=HintedCommand)
@click.option('--directions', required=True, type=FILE, help='Directions file that factorize wrote')
@click.option('--format', 'format_', type=click.Choice(list(EXPORTS)), required=True,
              help='The tool that shall read it')
@click.option('--index', metavar='INT', type=IndexNumber(),
              help='Which direction, 1 is the best  [default: all if the format holds several, else 1]')
@click.option('--strength', metavar='FLOAT', type=FiniteNumber(),
              help='How far projected-w moves the sample  [default: 1]')
@click.option('--out', 'path', required=True, type=FILE, help='Where to write it')
@options.user_errors
def export(directions: pathlib.Path, format_: str, index: int | None, strength: float | None,
           path: pathlib.Path) -> None:
    """Write directions in the format of another tool.

    resefa: .npy [1, 512]; interfacegan: .npy [1, 512] float64; ganspace: .npz of components; e4e: .pt tensor;
    e4e-pca: .pt of components; projected-w: .npz of the edited latent, for the host's --projected-w.

    Examples:

    \b
    resefa export --directions=out/seed0000-mouth.npz --format=interfacegan --index=1 --out=mouth_open.npy

    \b
    resefa export --directions=out/seed0000-mouth.npz --format=ganspace --out=mouth_ganspace.npz

    \b
    resefa export --directions=out/seed0000-mouth.npz --format=projected-w --strength=2 --out=projected_w.npz
    """
    direction_set = DirectionSet.load(directions)
    if index is not None and index > len(direction_set):
        raise click.BadParameter(f'{directions} has directions 1 to {len(direction_set)}', param_hint='--index')
    if strength is not None and format_ != 'projected-w':
        raise click.UsageError(f'--strength is for --format=projected-w: a {format_} file holds the direction, not an '
                               'edit')
    arguments: dict[str, float] = {} if index is None else {'index': index}
    arguments |= {} if strength is None else {'strength': strength}
    EXPORTS[format_](direction_set, path, **arguments)
    click.echo(path)


if __name__ == '__main__':
    export()
