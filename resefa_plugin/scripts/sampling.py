"""Which samples a command works on: seeds or projected latents, class and truncation."""

from __future__ import annotations

import dataclasses
import pathlib

import click
import torch

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
        click.option('--class', 'class_idx', metavar='INT', type=click.IntRange(min=0),
                     help='Class label of a conditional network'),
        click.option('--trunc', 'truncation_psi', metavar='FLOAT', type=float, default=1, show_default=True,
                     help='Truncation psi'),
        click.option('--trunc-cutoff', 'truncation_cutoff', metavar='INT', type=click.IntRange(min=0),
                     help='Number of layers that are truncated  [default: all]'))


def make_samples(hook: GeneratorHook, seeds: list[int] | None, projected_w: pathlib.Path | None, class_idx: int | None,
                 truncation_psi: float, truncation_cutoff: int | None) -> list[Sample]:
    """The samples that the user asked for. Raises click.UsageError or ResefaError."""
    c = make_label(hook, class_idx)
    if projected_w is None:
        if hook.c_dim and c is None:
            raise click.UsageError(f'{hook.name} has classes 0 to {hook.c_dim - 1}: choose one with --class')
        return [hook.sample(seed, truncation_psi, truncation_cutoff, c) for seed in dict.fromkeys(seeds or [0])]
    if seeds is not None:
        raise click.UsageError('--seeds and --projected-w exclude each other')
    if not isinstance(hook, StyleBasedHook):
        raise click.UsageError(f'--projected-w: {hook.name} has no w')
    return [dataclasses.replace(hook.sample_from_ws(torch.from_numpy(ws[None]), f'proj{i:02d}'), c=c)
            for i, ws in enumerate(read_ws(projected_w))]


def make_label(hook: GeneratorHook, class_idx: int | None) -> torch.Tensor | None:
    """The label `[1, c_dim]` of a class; None without one, and, with a warning, for an unconditional network."""
    if class_idx is None:
        return None
    if not hook.c_dim:
        click.echo(f'warn: --class={class_idx} is ignored: {hook.name} is unconditional', err=True)
        return None
    if class_idx >= hook.c_dim:
        raise click.BadParameter(f'{class_idx} is not a class of {hook.name}, which has 0 to {hook.c_dim - 1}',
                                 param_hint='--class')
    c = torch.zeros(1, hook.c_dim, device=hook.device)
    c[0, class_idx] = 1
    return c
