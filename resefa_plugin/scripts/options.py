"""What the commands share: parsing of the host's flags, errors as click errors, the record of a run."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import platform
import re
import shlex
import sys

import click
import numpy
import torch

import resefa_plugin
from resefa_plugin.errors import ResefaError


def parse_ranges(text: str, what: str) -> list[int]:
    """`'0,1,4-6'` -> `[0, 1, 4, 5, 6]`, the host's notation. Raises click.BadParameter."""
    numbers: list[int] = []
    for part in text.split(','):
        match = re.fullmatch(r'\s*(\d+)(?:-(\d+))?\s*', part)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise click.BadParameter(f"'{text}' is not a list of {what}: expected numbers and ascending ranges like 0,1,4-6")
        numbers.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
        if len(numbers) > 100_000:
            raise click.BadParameter(f"'{text}' names more than 100,000 {what}")
    return numbers


def seeds_callback(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int] | None:
    """click callback of `--seeds`."""
    return None if value is None else parse_ranges(value, 'seeds')


def layers_callback(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """click callback of `--layers`."""
    return None if value is None else tuple(sorted(set(parse_ranges(value, 'layers'))))


def device_callback(ctx: click.Context, param: click.Parameter, value: str | None) -> torch.device:
    """click callback of `--device`: the first GPU if there is one, else the CPU. Raises click.BadParameter."""
    if value is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(value)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise click.BadParameter(f"'{value}' cannot be used: {str(error).splitlines()[0]}. Try cpu, cuda, cuda:1 or mps") from error
    return device


network_option = click.option('--network', metavar='NAME', required=True,
                              help='Network: the name of an asset that is fetched on first use (mobilestylegan-ffhq)')
trunc_option = click.option('--trunc', 'truncation_psi', metavar='FLOAT', type=float, default=1, show_default=True,
                            help='Truncation psi')
cutoff_option = click.option('--trunc-cutoff', 'truncation_cutoff', metavar='INT', type=click.IntRange(min=0), default=None,
                             help='Number of layers that are truncated  [default: all]')
device_option = click.option('--device', metavar='DEVICE', callback=device_callback,
                             help='cpu, cuda, cuda:1, ...  [default: the GPU if there is one]')
outdir_option = click.option('--outdir', metavar='DIR', required=True, type=click.Path(file_okay=False, path_type=pathlib.Path),
                             help='Where to save the results')


def user_errors(command):
    """Turns a ResefaError into a click error, so that the user sees one sentence and not a traceback."""
    @functools.wraps(command)
    def wrapped(*args, **kwargs):
        try:
            return command(*args, **kwargs)
        except ResefaError as error:
            raise click.ClickException(str(error)) from error
    return wrapped


def command_line() -> str:
    """The command as it could be typed again."""
    return shlex.join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]])


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {'resefa_plugin': resefa_plugin.__version__, 'python': platform.python_version(), 'torch': torch.__version__,
            'numpy': numpy.__version__}


def write_options(outdir: pathlib.Path, options: dict) -> None:
    """Makes the folder and records the run in `options.json`. Raises ResefaError if it cannot."""
    record = {'command': command_line(), 'versions': versions(), 'options': {k: _plain(v) for k, v in options.items()}}
    try:
        outdir.mkdir(parents=True, exist_ok=True)
        partial = outdir / '.options.json'
        partial.write_text(json.dumps(record, indent=2) + '\n', encoding='utf-8')
        os.replace(partial, outdir / 'options.json')
    except OSError as error:
        raise ResefaError(f'--outdir={outdir}: cannot be written ({error.strerror})') from error


def _plain(value):
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, (pathlib.Path, torch.device)) else value
