"""Which samples a command works on: seeds or projected latents, class and truncation."""

from __future__ import annotations

import pathlib
import warnings
from collections.abc import Callable
from itertools import count, islice

import click
import torch

from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.hooks.latent_files import make_sample, plain_samples, read_latents
from resefa_plugin.hooks.style_based import StyleBasedHook
from resefa_plugin.scripts.common import options
from resefa_plugin.scripts.common.types import FILE, FiniteNumber, SeedRange

USUAL_TRUNCATION = 2.0  # beyond it there are no pictures to be seen


class_option = click.option(
    '--class', 'label', metavar='CLASS',
    help='Class of a conditional network: a number; for BigGAN also an ImageNet name, or a mix like 12:0.5,207:0.5')


def truncation_options(psi: str = '1', cutoff: str = 'all') -> Callable[[options.Command], options.Command]:
    """`--trunc` and `--trunc-cutoff`; the help says which values stand for none."""
    return lambda command: options.decorated(
        command,
        click.option('--trunc', 'truncation_psi', metavar='FLOAT', type=FiniteNumber(), default=1,
                     help=f'Truncation psi  [default: {psi}]'),
        click.option('--trunc-cutoff', 'truncation_cutoff', metavar='INT', type=click.IntRange(min=0),
                     help=f'Number of layers that are truncated  [default: {cutoff}]'))


def samples_options(seeds: str = '0', psi: str = '1',
                    cutoff: str = 'all') -> Callable[[options.Command], options.Command]:
    """`--seeds` or `--projected-w`, the class and the truncation: what `make_samples` takes."""
    return lambda command: options.decorated(
        command,
        click.option('--seeds', type=SeedRange(), help=f'Random seeds, e.g. 0,1,4-6  [default: {seeds}]'),
        click.option('--projected-w', '--projected_w', type=FILE,
                     help='Latents of a projector, an encoder, or of edit, instead of seeds: a file of numpy or torch'),
        class_option, truncation_options(psi, cutoff))


def make_samples(hook: GeneratorHook, seeds: list[int] | None, projected_w: pathlib.Path | None, label: str | None,
                 truncation_psi: float, truncation_cutoff: int | None) -> list[Sample]:
    """The samples that the user asked for. Raises click.UsageError or ResefaError."""
    c = make_label(hook, label)
    if abs(truncation_psi) > USUAL_TRUNCATION:
        tenth = truncation_psi / 10
        meant = f'; did you mean --trunc={tenth:g}?' if 0 < tenth <= 1 else ''
        warnings.warn(f'--trunc={truncation_psi:g} is far from what networks are trained for, which is 1; 0.7 is usual '
                      f'for good pictures{meant}', stacklevel=2)
    if projected_w is None:
        if hook.c_dim > 1 and c is None:
            raise click.UsageError(f'{hook.name} has classes 0 to {hook.c_dim - 1}: choose one with --class')
        return [hook.sample(seed, truncation_psi, truncation_cutoff, c) for seed in dict.fromkeys(seeds or [0])]
    if seeds is not None:
        raise click.UsageError('--seeds and --projected-w exclude each other')
    if isinstance(hook, StyleBasedHook):
        latents = read_latents(projected_w, hook)
        found = [make_sample(hook, latent, f'proj{i:02d}', c, truncation_psi, truncation_cutoff,
                             is_alone=len(latents) == 1) for i, latent in enumerate(latents)]
    else:
        found = plain_samples(projected_w, hook, truncation_psi, c)
    for sample, note in found:
        click.echo(f'{sample.name}: {note}', err=True)
    return [sample for sample, _ in found]


def other_samples(hook: GeneratorHook, samples: list[Sample], seeds: list[int] | None, truncation_psi: float,
                  truncation_cutoff: int | None) -> list[Sample]:
    """Samples that took no part, to try directions on: of the given seeds, or of three that are free."""
    if seeds is None:
        taken = {sample.seed for sample in samples}
        # A projected latent of a conditional network needs no class, other samples would.
        classless = hook.c_dim and samples[0].c is None
        seeds = [] if classless else list(islice((seed for seed in count() if seed not in taken), 3))
    return [hook.sample(seed, truncation_psi, truncation_cutoff, samples[0].c) for seed in seeds]


def make_label(hook: GeneratorHook, spec: str | None) -> torch.Tensor | None:
    """The label `[1, c_dim]` of `--class`; None without one, and, with a warning, for an unconditional network."""
    if spec is None:
        return None
    if not hook.c_dim:
        click.echo(f'warn: --class={spec} is ignored: {hook.name} is unconditional', err=True)
        return None
    try:
        return hook.class_vector(spec)
    except ResefaError as error:
        raise click.BadParameter(str(error), param_hint='--class') from error


def refuse_truncation(samples: list[Sample]) -> None:
    """Raises click.UsageError for --trunc where no sample has a z that it could truncate."""
    source = click.get_current_context().get_parameter_source('truncation_psi')
    # A z that a w is mapped from has the w beside it; what BigGAN makes of a cond depends on the truncation.
    taken = all(sample.seed is None and set(sample.latents) in ({'ws'}, {'s'}, {'z'}) for sample in samples)
    if source is not click.core.ParameterSource.DEFAULT and taken:
        raise click.UsageError('--trunc is for --seeds and for z that w is mapped from; other latents are taken '
                               'as they are')
