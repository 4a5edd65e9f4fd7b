"""What the commands share: their common options, errors as click errors, the record of a run."""

from __future__ import annotations

import functools
import io
import json
import pathlib
import shlex
import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click
import torch
from click.shell_completion import CompletionItem
from tqdm import tqdm

from resefa_plugin.directions.metadata import package_versions
from resefa_plugin.editing.background import CORRECTIONS
from resefa_plugin.errors import CheckpointError, ResefaError, printable
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.hooks.foreign import open_function
from resefa_plugin.hooks.opening import NAMED_NETWORKS, open_network
from resefa_plugin.machine.files import replacing
from resefa_plugin.machine.interrupts import ended_in_order
from resefa_plugin.machine.memory import DEFAULT_BUDGET, set_budget
from resefa_plugin.projection.tuned_network import Tuning
from resefa_plugin.regions.presets import PRESETS
from resefa_plugin.scripts.common.types import (
    FILE,
    FOLDER,
    Degrees,
    Device,
    FiniteRange,
    Placement,
    ValueRange,
    Vector2,
)
from resefa_plugin.third_party import mobilestylegan_ffhq

# Parameters of `network_options` that say what the pictures are.
_OF_GENERATOR = ('network', 'function', 'tuned', 'value_range', 'noise_mode', 'translate', 'rotate', 'repo',
                 'trust_pickle')

Command = TypeVar('Command', bound=Callable[..., Any])  # what an option is added to

NETWORK_HELP = ('Network: path or URL of a network file (of stylegan2, stylegan2-ada-pytorch, stylegan3, stylegan-xl, '
                'rosinality, genforce, or of encoders and tuned generators made of these), the name of an asset that '
                'is fetched on first use (mobilestylegan-ffhq), '
                'biggan:FOLDER (an experiment of BigGAN-PyTorch or a pytorch-pretrained-biggan folder), or NAME or '
                'NAME:REST of an installed plugin')


def complete_network(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of networks, and files."""
    names = [CompletionItem(name) for name in NAMED_NETWORKS if incomplete and name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type='file')]


def complete_region(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of regions."""
    return [CompletionItem(name) for name in PRESETS if name.startswith(incomplete)]


def decorated(command: Command, *options: Callable[[Command], Command]) -> Command:
    """Adds click options, in the order of the help text."""
    for option in reversed(options):
        command = option(command)
    return command


def implementation_options(command: Command) -> Command:
    """`--repo` and `--trust-pickle`: whose code makes the pictures."""
    return decorated(
        command,
        click.option('--repo', metavar='DIR', type=FOLDER,
                     help='Checkout of stylegan2-ada-pytorch or stylegan3 to use  [default: the current folder, or one '
                          'in its third_party, if it is a checkout; else our own networks]'),
        click.option('--trust-pickle', is_flag=True,
                     help="EXECUTE the code in the network file, through the checkout's own loader: for forks that you "
                          'trust'))


function_option = click.option(
    '--hook', 'function', metavar='MODULE:FUNCTION',
    help='Instead of --network: EXECUTE your function of (device) that returns a GeneratorHook, such as '
         'FunctionHook(G, z_dim=128, device=device)')


def network_options(command: Command) -> Command:
    """`--network` or `--hook` and how it is opened: what `open_generator` takes."""
    return decorated(
        command,
        click.option('--network', metavar='NETWORK', shell_complete=complete_network, help=NETWORK_HELP),
        function_option,
        click.option('--tuned', metavar='FILE', type=FILE,
                     help='What resefa photo --tune changed in --network, NAME-tuned.safetensors'),
        click.option('--range', 'value_range', type=ValueRange(),
                     help='Black and white in the pictures of --hook, such as 0,1 or 0,255  [default: -1,1]'),
        click.option('--noise-mode', type=click.Choice(['const', 'random', 'none']), default='const', show_default=True,
                     help="Noise of StyleGAN2; 'random' is refused, since its pictures have no derivative"),
        click.option('--translate', type=Vector2(),
                     help='Move the pictures of StyleGAN3 and StyleGAN-XL, in widths and heights, as gen_images.py does'
                          "  [default: as the file has it; 0,0 with --rotate]"),
        click.option('--rotate', type=Degrees(),
                     help='Turn the pictures of StyleGAN3 and StyleGAN-XL counterclockwise, before they are moved'
                          '  [default: as the file has it; 0 with --translate]'),
        implementation_options)


def open_generator(network: str | None, function: str | None, device: torch.device | str = 'cpu',
                   repo: pathlib.Path | None = None, trust_pickle: bool = False,
                   noise_mode: str = 'const', value_range: tuple[float, float] | None = None,
                   translate: tuple[float, float] | None = None, rotate: float | None = None,
                   tuned: pathlib.Path | None = None) -> GeneratorHook:
    """The hook of `--network` or of `--hook`.

    Raises click.UsageError unless there is exactly one, which takes the flags that are given, and ResefaError.
    """
    hook = _open(network, function, device, repo, trust_pickle, noise_mode)
    if tuned is not None:
        try:
            hook = Tuning.load(tuned).applied(hook)
        except CheckpointError as error:
            raise click.UsageError(f'--tuned={tuned}: {error}') from error
        click.echo(f'note: {hook.notes[-1]}', err=True)
    if translate is not None or rotate is not None:
        try:
            hook.place(translate or (0.0, 0.0), rotate or 0.0)
        except ResefaError as error:
            raise click.UsageError(f'--{"rotate" if translate is None else "translate"}: {error}') from error
    if value_range is not None:
        try:
            hook.state_range(value_range)
        except ResefaError as error:
            raise click.UsageError(f'--range={value_range[0]:g},{value_range[1]:g}: {error}') from error
    return hook


def _open(network: str | None, function: str | None, device: torch.device | str, repo: pathlib.Path | None,
          trust_pickle: bool, noise_mode: str) -> GeneratorHook:
    if network is not None and function is None:
        hook = open_network(network, device, repo, trust_pickle, noise_mode)
        for note in hook.notes:
            click.echo(f'note: {note}', err=True)
        return hook
    if function is None or network is not None:
        raise click.UsageError('name the generator with --network=NETWORK or with --hook=MODULE:FUNCTION, with one of '
                               f'them; a first try is --network={mobilestylegan_ffhq.NAME}')
    if repo is not None or trust_pickle or noise_mode != 'const':
        raise click.UsageError('--repo, --trust-pickle and --noise-mode are for --network: leave them out with --hook')
    return open_function(function, device)


keep_background_option = click.option(
    '--keep-background', metavar='[N]', is_flag=False, flag_value=CORRECTIONS, type=click.IntRange(min=1),
    help='Correct each edit, N times, so that everything outside the region stays still  '
         f'[{CORRECTIONS} times without a number]')
device_option = click.option('--device', type=Device(), default=Device.default,
                             help='cpu, cuda, cuda:1, ...  [default: the GPU if there is one]')
memory_option = click.option(
    '--memory', metavar='GB', type=FiniteRange(min=0.01), default=DEFAULT_BUDGET / 1e9, show_default=True,
    expose_value=False, callback=lambda ctx, param, gigabytes: set_budget(int(gigabytes * 1e9)),
    help='Main memory to work within: Jacobians, and how much is computed at a time')
align_option = click.option(
    '--align', 'how', type=Placement(), default='auto', show_default=True,
    help='Find the face (the finder is fetched on first use); take the picture as it is; or left eye, right eye, left '
         'and right corner of the mouth in pixels, left and right being sides of the picture')
face_option = click.option('--face', metavar='INT', type=click.IntRange(min=1), default=1, show_default=True,
                           help='Which of several faces, as counted from the largest')
outdir_option = click.option('--outdir', metavar='DIR', required=True, type=FOLDER, help='Where to save the results')


def user_errors(command: Command) -> Command:
    """Turns a ResefaError into a click error and warnings into lines: one sentence, no traceback, no line of code.

    Terminations end the command as Ctrl-C does.
    """
    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with warnings.catch_warnings(), ended_in_order():
            if isinstance(sys.stdout, io.TextIOWrapper):  # a path may have bytes that are no text
                sys.stdout.reconfigure(errors='backslashreplace')  # as of `sys.stderr`
            warnings.showwarning = _print_warning
            try:
                return command(*args, **kwargs)
            except ResefaError as error:
                raise click.ClickException(str(error)) from error
    return cast(Command, wrapped)


def _print_warning(message: Warning | str, *where: Any, **more: Any) -> None:
    """A warning without the line of code that it comes from; takes the place of `warnings.showwarning`."""
    with tqdm.external_write_mode(file=sys.stderr):  # else it would be between pieces of a bar
        click.echo(f'warn: {printable(str(message))}', err=True)


def say_open(path: pathlib.Path | None) -> None:
    """The last line of a command: which of its files to look at; none where there is none."""
    if path is not None:
        click.echo(f'Open {path}')


def generator_flags() -> list[str]:
    """What the running command was told of its generator, as flags that another command takes."""
    context = click.get_current_context()
    flags = []
    for param in context.command.params:
        value = context.params.get(param.name or '')
        if param.name in _OF_GENERATOR and value is not None and \
                context.get_parameter_source(param.name) is not click.core.ParameterSource.DEFAULT:
            text = ','.join(f'{number:g}' for number in value) if isinstance(value, tuple) else value
            flags.append(param.opts[0] if value is True else f'{param.opts[0]}={text}')
    return flags


def command_line() -> str:
    """The command as it could be typed again."""
    return shlex.join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]])


def write_options(outdir: pathlib.Path, hook: GeneratorHook, options: dict[str, Any]) -> dict[str, Any]:
    """Makes the folder and records the run in `options.json`; returns the record. Raises ResefaError if it cannot."""
    record = {'command': command_line(), 'edit': ['resefa', 'edit', *generator_flags()],
              'versions': package_versions(), 'implementation': hook.implementation,
              'options': {name: _plain(value) for name, value in options.items()}}
    try:
        with replacing(outdir / 'options.json') as part:
            part.write_text(json.dumps(record, indent=2) + '\n', encoding='utf-8')
    except ResefaError as error:
        raise ResefaError(f'--outdir={outdir}: {error}') from error
    return record


def _plain(value: Any) -> Any:
    """The value of an option as JSON has it."""
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, (pathlib.Path, torch.device)) else value
