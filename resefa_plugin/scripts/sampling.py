"""Which samples a command works on: seeds or projected latents, class and truncation."""

from __future__ import annotations

import dataclasses
import pathlib

import click
import torch

from resefa_plugin.errors import ResefaError
from resefa_plugin.exports import read_ws
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.hooks.style_based import StyleBasedHook
from resefa_plugin.scripts import options


def samples_options(command):
    """`--seeds` or `--projected-w`, the class and the truncation: what `make_samples` takes."""
    return options.decorated(
        command,
        click.option('--seeds', metavar='RANGE', callback=options.seeds_callback,
                     help='Random seeds, e.g. 0,1,4-6  [default: 0]'),
        click.option('--projected-w', '--projected_w', metavar='FILE',
                     type=click.Path(dir_okay=False, path_type=pathlib.Path),
                     help="Latents of a projector instead of seeds: projected_w.npz, or .npy"),
        click.option('--class', 'label', metavar='CLASS',
                     help="Class of a conditional network: a number; for BigGAN also an ImageNet name, or a mix like 12:0.5,207:0.5"),
        click.option('--trunc', 'truncation_psi', metavar='FLOAT', type=float, default=1, show_default=True,
                     help='Truncation psi'),
        click.option('--trunc-cutoff', 'truncation_cutoff', metavar='INT', type=click.IntRange(min=0),
                     help='Number of layers that are truncated  [default: all]'))


def make_samples(hook: GeneratorHook, seeds: list[int] | None, projected_w: pathlib.Path | None, label: str | None,
                 truncation_psi: float, truncation_cutoff: int | None) -> list[Sample]:
    """The samples that the user asked for. Raises click.UsageError or ResefaError."""
    c = make_label(hook, label)
    if projected_w is None:
        if hook.c_dim > 1 and c is None:
            raise click.UsageError(f'{hook.name} has classes 0 to {hook.c_dim - 1}: choose one with --class')
        return [hook.sample(seed, truncation_psi, truncation_cutoff, c) for seed in dict.fromkeys(seeds or [0])]
    if seeds is not None:
        raise click.UsageError('--seeds and --projected-w exclude each other')
    if not isinstance(hook, StyleBasedHook):
        raise click.UsageError(f'--projected-w: {hook.name} has no w')
    return [dataclasses.replace(hook.sample_from_ws(torch.from_numpy(ws[None]), f'proj{i:02d}'), c=c)
            for i, ws in enumerate(read_ws(projected_w))]


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


def refuse_truncation(projected_w: pathlib.Path | None) -> None:
    """Raises click.UsageError for --trunc with --projected-w in a command that has no other samples to truncate."""
    source = click.get_current_context().get_parameter_source('truncation_psi')
    if projected_w is not None and source is not click.core.ParameterSource.DEFAULT:
        raise click.UsageError('--trunc is for --seeds; latents of --projected-w are taken as they are')
