"""What the commands share: parsing of the host's flags, errors as click errors, the record of a run."""

from __future__ import annotations

import functools
import json
import math
import pathlib
import re
import shlex
import sys
import warnings

import click
import torch

from resefa_plugin.directions.metadata import package_versions
from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.hooks.foreign import open_function
from resefa_plugin.hooks.opening import open_network
from resefa_plugin.machine.files import replacing


def parse_ranges(text: str, what: str) -> list[int]:
    """`'0,1,4-6'` -> `[0, 1, 4, 5, 6]`, the host's notation. Raises click.BadParameter."""
    numbers: list[int] = []
    for part in text.split(','):
        match = re.fullmatch(r'\s*(\d+)(?:-(\d+))?\s*', part)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise click.BadParameter(f"'{text}' is not a list of {what}: expected numbers and ascending ranges like 0,1,4-6")
        span = range(int(match[1]), int(match[2] or match[1]) + 1)
        if len(numbers) + (span.stop - span.start) > 100_000:
            raise click.BadParameter(f"'{text}' names more than 100,000 {what}")
        numbers.extend(span)
    return numbers


def seeds_callback(ctx: click.Context, param: click.Parameter, value: str | None) -> list[int] | None:
    """click callback of `--seeds`."""
    return None if value is None else parse_ranges(value, 'seeds')


def layers_callback(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """click callback of `--layers`."""
    return None if value is None else tuple(sorted(set(parse_ranges(value, 'layers'))))


def strengths_callback(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[float, float], ...]:
    """click callback of `--strength`: `'-3,3'` -> `(-3.0, 3.0)`; one number means from its negative to it."""
    return tuple(map(_strength, values))


def _strength(value: str) -> tuple[float, float]:
    try:
        numbers = [float(part) for part in value.split(',')]
        if len(numbers) > 2 or not all(math.isfinite(number) for number in numbers):
            raise ValueError
    except ValueError:
        raise click.BadParameter(f"'{value}' is not LOW,HIGH: expected two numbers such as -3,3") from None
    return (-numbers[0], numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


def shard_callback(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """click callback of `--shard`: `'2/4'` -> `(2, 4)`."""
    if value is None:
        return None
    match = re.fullmatch(r'\s*(\d{1,6})/(\d{1,6})\s*', value)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise click.BadParameter(f"'{value}' is not I/N: expected a part from 1 to N, such as 1/4 to 4/4")
    return int(match[1]), int(match[2])


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


NETWORK_HELP = ('Network: path or URL of a network file (.pkl of stylegan2, stylegan2-ada-pytorch or stylegan3, .pt of '
                'stylegan2-pytorch), the name of an asset that is fetched on first use (mobilestylegan-ffhq), biggan:FOLDER '
                '(an experiment of BigGAN-PyTorch or a pytorch-pretrained-biggan folder), or NAME or NAME:REST of an installed plugin')


def decorated(command, *options):
    """Adds click options, in the order of the help text."""
    for option in reversed(options):
        command = option(command)
    return command


def implementation_options(command):
    """`--repo` and `--trust-pickle`: whose code makes the pictures."""
    return decorated(
        command,
        click.option('--repo', metavar='DIR', type=click.Path(file_okay=False, path_type=pathlib.Path),
                     help='Checkout of stylegan2-ada-pytorch or stylegan3 to use  [default: the current folder, or one in '
                          'its third_party, if it is a checkout; else our own networks]'),
        click.option('--trust-pickle', is_flag=True,
                     help="EXECUTE the code in the network file, through the checkout's own loader: for forks that you "
                          'trust'))


function_option = click.option(
    '--hook', 'function', metavar='MODULE:FUNCTION',
    help='Instead of --network: EXECUTE your function of (device) that returns a GeneratorHook, such as '
         'FunctionHook(G, z_dim=128, device=device)')


def network_options(command):
    """`--network` or `--hook` and how it is opened: what `open_generator` takes."""
    return decorated(
        command,
        click.option('--network', metavar='NETWORK', help=NETWORK_HELP),
        function_option,
        click.option('--noise-mode', type=click.Choice(['const', 'random', 'none']), default='const', show_default=True,
                     help="Noise of StyleGAN2; 'random' is refused, since its pictures have no derivative"),
        implementation_options)


def open_generator(network: str | None, function: str | None, device: torch.device | str = 'cpu',
                   repo: pathlib.Path | None = None, trust_pickle: bool = False, noise_mode: str = 'const') -> GeneratorHook:
    """The hook of `--network` or of `--hook`. Raises click.UsageError unless there is exactly one, and ResefaError."""
    if (network is None) == (function is None):
        raise click.UsageError('name the generator with --network=NETWORK or with --hook=MODULE:FUNCTION, with one of them')
    if network is not None:
        hook = open_network(network, device, repo, trust_pickle, noise_mode)
        for note in hook.notes:
            click.echo(f'note: {note}', err=True)
        return hook
    if repo is not None or trust_pickle or noise_mode != 'const':
        raise click.UsageError('--repo, --trust-pickle and --noise-mode are for --network: leave them out with --hook')
    return open_function(function, device)


keep_background_option = click.option(
    '--keep-background', metavar='[N]', is_flag=False, flag_value=3, type=click.IntRange(min=1),
    help='Correct each edit, N times, so that everything outside the region stays still  [default: off; 3 without a number]')
device_option = click.option('--device', metavar='DEVICE', callback=device_callback,
                             help='cpu, cuda, cuda:1, ...  [default: the GPU if there is one]')
outdir_option = click.option('--outdir', metavar='DIR', required=True, type=click.Path(file_okay=False, path_type=pathlib.Path),
                             help='Where to save the results')


def user_errors(command):
    """Turns a ResefaError into a click error and warnings into lines: one sentence, no traceback, no line of code."""
    @functools.wraps(command)
    def wrapped(*args, **kwargs):
        with warnings.catch_warnings():
            warnings.showwarning = _say
            try:
                return command(*args, **kwargs)
            except ResefaError as error:
                raise click.ClickException(str(error)) from error
    return wrapped


def _say(message: Warning | str, *where) -> None:
    click.echo(f'warn: {message}', err=True)


def command_line() -> str:
    """The command as it could be typed again."""
    return shlex.join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]])


def write_options(outdir: pathlib.Path, hook: GeneratorHook, options: dict) -> dict:
    """Makes the folder and records the run in `options.json`; returns the record. Raises ResefaError if it cannot."""
    record = {'command': command_line(), 'versions': package_versions(), 'implementation': hook.implementation,
              'options': {k: _plain(v) for k, v in options.items()}}
    try:
        with replacing(outdir / 'options.json') as part:
            part.write_text(json.dumps(record, indent=2) + '\n', encoding='utf-8')
    except ResefaError as error:
        raise ResefaError(f'--outdir={outdir}: {error}') from error
    return record


def _plain(value):
    return [_plain(item) for item in value] if isinstance(value, tuple) else str(value) if isinstance(value, (pathlib.Path, torch.device)) else value
