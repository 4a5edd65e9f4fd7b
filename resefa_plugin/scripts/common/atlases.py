"""Which atlas a command takes directions from."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Mapping, Sequence

import click

from resefa_plugin.atlas.atlas import FACTS, Atlas, atlas_folder
from resefa_plugin.atlas.edits_folder import find_edit
from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.regions.partition import RegionPartition, parse_region
from resefa_plugin.scripts.common.types import FiniteNumber

NONE = 'none'


def named_atlas(hook: GeneratorHook, folder: pathlib.Path, refused: Mapping[str, object]) -> Atlas:
    """The atlas that the user names with `--atlas`.

    Args:
        refused: flags that an atlas leaves no choice for, by name, and what was given for them.

    Raises click.UsageError if one of them was given, and if the atlas is damaged or of another generator.
    """
    given = [flag for flag, value in refused.items() if value]
    if given:
        raise click.UsageError(f'{given[0]} goes with derivatives that are taken now, and --atlas with those of an '
                               'atlas: leave one of them out')
    try:
        found = Atlas.load(folder)
        found.check_fits(hook)
    except ResefaError as error:
        raise click.UsageError(f'--atlas={folder}: {error}') from error
    return found


def usual_atlas(hook: GeneratorHook, sample: Sample | None = None) -> Atlas | None:
    """The atlas of a generator in the cache folder, if it has one; None if its samples are of another kind than this.

    Raises click.ClickException if it is damaged.
    """
    folder = atlas_folder(hook)
    if not os.path.isfile(folder / FACTS):
        return None
    try:
        found = Atlas.load(folder)
        found.check_fits(hook)
    except ResefaError as error:
        raise click.ClickException(f'{error}. Remove it, or leave it aside with --atlas={NONE}') from error
    if sample is None:
        return found
    facts = found.facts
    c = None if sample.c is None else tuple(sample.c[0].tolist())
    alike = (facts.truncation_psi, facts.truncation_cutoff, facts.c) == (
        sample.truncation_psi, sample.truncation_cutoff, c)
    return found if alike else None


def chosen_atlas(hook: GeneratorHook, folder: pathlib.Path | None) -> Atlas | None:
    """The atlas that `--atlas` names, or else the usual one; none for `none`. Raises as both do."""
    if folder is None:
        return usual_atlas(hook)
    return None if str(folder) == NONE else named_atlas(hook, folder, {})


_OWN = re.compile(r'auto:(\d{1,4})')


def own_regions(specs: Sequence[str]) -> bool:
    """Whether a region is one of the network's own, `auto:8`."""
    return any(_OWN.fullmatch(spec.strip()) for spec in specs)


def parse_regions(specs: Sequence[str], image_size: tuple[int, int], atlas: Atlas | None) -> list[RegionPartition]:
    """The regions of `--region`; `auto:8` stands for eight that the network has itself, which its atlas knows.

    Raises click.UsageError for these without an atlas, RegionError as `parse_region` does.
    """
    found = []
    for spec in specs:
        own = _OWN.fullmatch(spec.strip())
        if own is None:
            found.append(parse_region(spec, image_size))
        elif atlas is None:
            raise click.UsageError(f'--region={spec}: the regions that a network has itself are in its atlas: make it '
                                   'once with `resefa atlas`, with the same --trunc')
        else:
            found += atlas.own_regions(int(own[1]), image_size)
    return found


do_option = click.option(
    '--do', 'wanted', metavar='NAME', multiple=True,
    help='An edit by its name, such as "mouth opens", as `resefa atlas --edits` found them; repeat it for several')
amount_option = click.option(
    '--amount', metavar='FLOAT', type=FiniteNumber(), multiple=True, default=[2.0], show_default=True,
    help='How much of --do: its strength; once for all, or once for each')


def named_moves(hook: GeneratorHook, wanted: Sequence[str],
                amount: Sequence[float]) -> list[tuple[pathlib.Path, int, tuple[float, float]]]:
    """Directions file, number and strengths, from nothing to the amount, of each edit that `--do` names.

    Raises click.UsageError where there is no such edit, or not one amount for each.
    """
    if wanted and len(amount) not in (1, len(wanted)):
        raise click.UsageError(f'--amount is given {len(amount)} times, --do {len(wanted)} times: give it once, or '
                               'once for each')
    moves = []
    for name, value in zip(wanted, list(amount) * (len(wanted) // len(amount) if wanted else 0), strict=False):
        try:
            edit, sign = find_edit(atlas_folder(hook), name)
        except ResefaError as error:
            raise click.UsageError(f'--do: {error}') from error
        moves.append((edit.path, 1, (0.0, sign * value)))
    return moves


def described(atlas: Atlas) -> str:
    """What directions come from, as a line for the user."""
    return (f"directions of the network's atlas, of {len(atlas.facts.seeds)} samples, without a pass of the network; "
            f'--atlas={NONE} finds them anew. For one picture only, give --seeds=0')
