"""What the commands share: parsing of the host's flags, errors as click errors, the record of a run."""

from __future__ import annotations

import functools
import json
import math
import pathlib
import re
import shlex
import sys

import click
import torch

from resefa_plugin.directions import package_versions
from resefa_plugin.errors import ResefaError
from resefa_plugin.exports import read_ws
from resefa_plugin.files import replacing
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.hooks.style_based import StyleBasedHook


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


def strength_callback(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, float]:
    """click callback of `--strength`: `'-3,3'` -> `(-3.0, 3.0)`; one number means from its negative to it."""
    try:
        numbers = [float(part) for part in value.split(',')]
        if len(numbers) > 2 or not all(math.isfinite(number) for number in numbers):
            raise ValueError
    except ValueError:
        raise click.BadParameter(f"'{value}' is not LOW,HIGH: expected two numbers such as -3,3") from None
    return (-numbers[0], numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


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


def samples_options(command):
    """`--seeds` or `--projected-w`, and the truncation: what `make_samples` takes."""
    for option in reversed((
        click.option('--seeds', metavar='RANGE', callback=seeds_callback, help='Random seeds, e.g. 0,1,4-6  [default: 0]'),
        click.option('--projected-w', '--projected_w', metavar='FILE', type=click.Path(dir_okay=False, path_type=pathlib.Path),
                     help="Latents of a projector instead of seeds: projected_w.npz, or .npy"),
        click.option('--trunc', 'truncation_psi', metavar='FLOAT', type=float, default=1, show_default=True, help='Truncation psi'),
        click.option('--trunc-cutoff', 'truncation_cutoff', metavar='INT', type=click.IntRange(min=0),
                     help='Number of layers that are truncated  [default: all]'),
    )):
        command = option(command)
    return command


def make_samples(hook: GeneratorHook, seeds: list[int] | None, projected_w: pathlib.Path | None, truncation_psi: float,
                 truncation_cutoff: int | None) -> list[Sample]:
    """The samples that the user asked for. Raises click.UsageError or ResefaError."""
    if projected_w is None:
        return [hook.sample(seed, truncation_psi, truncation_cutoff) for seed in dict.fromkeys(seeds or [0])]
    if seeds is not None:
        raise click.UsageError('--seeds and --projected-w exclude each other')
    if not isinstance(hook, StyleBasedHook):
        raise click.UsageError(f'--projected-w: {hook.name} has no w')
    return [hook.sample_from_ws(torch.from_numpy(ws[None]), f'proj{i:02d}') for i, ws in enumerate(read_ws(projected_w))]


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


def write_options(outdir: pathlib.Path, options: dict) -> None:
    """Makes the folder and records the run in `options.json`. Raises ResefaError if it cannot."""
    record = {'command': command_line(), 'versions': package_versions(), 'options': {k: _plain(v) for k, v in options.items()}}
    try:
        with replacing(outdir / 'options.json') as part:
            part.write_text(json.dumps(record, indent=2) + '\n', encoding='utf-8')
    except ResefaError as error:
        raise ResefaError(f'--outdir={outdir}: {error}') from error


def _plain(value):
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, (pathlib.Path, torch.device)) else value
