"""Move samples along a direction."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import click
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from resefa_plugin.callbacks.background_comparison import keep
from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.editing.background import CORRECTIONS, BackgroundKeeper
from resefa_plugin.editing.strength import largest_outside, render_edits
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.machine.files import replacing
from resefa_plugin.regions.partition import RegionPartition, parse_region
from resefa_plugin.report import pictures
from resefa_plugin.report.kept_background import outside_summary
from resefa_plugin.report.page import grey_levels
from resefa_plugin.report.pictures import significant
from resefa_plugin.scripts.common import options, sampling
from resefa_plugin.scripts.common.atlases import amount_option, do_option, named_moves
from resefa_plugin.scripts.common.hints import HintedCommand
from resefa_plugin.scripts.common.moves import Move, Moves
from resefa_plugin.scripts.common.recorded import as_found, sample_of
from resefa_plugin.scripts.common.types import FILE, IndexNumber, LayerRange, StrengthRange

AS_FOUND = 'that of the directions'
UNSEEN = 4.0  # grey levels of 255, root mean square of a tile: less is not seen beside an edit


@click.command(cls=HintedCommand)
@options.network_options
@sampling.samples_options(seeds=AS_FOUND, psi=AS_FOUND, cutoff=AS_FOUND)
@do_option
@amount_option
@click.option('--directions', multiple=True, type=FILE,
              help='Directions file that factorize wrote, or one of another tool (ReSeFa, InterFaceGAN, SeFa, '
                   'GANSpace, e4e); repeat it, --index or --strength to move along several directions at once')
@click.option('--index', metavar='INT', multiple=True, type=IndexNumber(), default=[1], show_default=True,
              help='Which direction, 1 is the best')
@click.option('--strength', multiple=True, type=StrengthRange(), default=['-3,3'], show_default=True,
              help='From and to (one number: from its negative to it); 1 changes the region by an RMS of 0.1 on the '
                   '[-1, 1] scale')
@click.option('--region', metavar='REGION', shell_complete=options.complete_region,
              help='What strength 1 changes and --keep-background leaves alone, as of factorize  [default: the region '
                   'of the file]')
@click.option('--space', metavar='SPACE',
              help="Latent space of another tool's directions  [default: the one with so many dimensions]")
@click.option('--layers', type=LayerRange(), help='Layers that are edited, e.g. 4-7  [default: those of the file]')
@click.option('--alpha', is_flag=True, help='--strength is the length of the step in latent space instead')
@click.option('--steps', metavar='INT', type=click.IntRange(min=1, max=1000), default=7, show_default=True,
              help='Number of pictures per sample')
@options.keep_background_option
@click.option('--straight', is_flag=True,
              help='Never correct an edit. By default, those of samples other than the one that the directions were '
                   'found at are corrected as by --keep-background where the rest would change visibly')
@options.device_option
@options.memory_option
@options.outdir_option
@options.user_errors
def edit(network: str | None, function: str | None, tuned: pathlib.Path | None,
         value_range: tuple[float, float] | None, noise_mode: str,
         translate: tuple[float, float] | None, rotate: float | None, repo: pathlib.Path | None,
         trust_pickle: bool, wanted: tuple[str, ...], amount: tuple[float, ...],
         directions: tuple[pathlib.Path, ...], index: tuple[int, ...],
         strength: tuple[tuple[float, float], ...], region: str | None, space: str | None,
         layers: tuple[int, ...] | None, alpha: bool, steps: int, keep_background: int | None, straight: bool,
         device: torch.device, outdir: pathlib.Path, **which: Any) -> None:
    """Move samples along a direction: one picture and one latent file per step, and a grid of all.

    Which sample, truncation, class and network are those that the directions were found with, unless flags say another.

    The pictures are {sample}-{step}.png, the latents {sample}-{step}.npz: key w,
    as in projected_w.npz; where there is no w, what the space has (s, z, class, cond). --projected-w takes them again.

    Examples:

    \b
    # Open and close the mouth of sample 0
    resefa edit --network=mobilestylegan-ffhq --seeds=0 --trunc=0.7 --directions=out/seed0000-mouth.npz --outdir=edits

    \b
    # The third direction on four other faces, more gently
    resefa edit --network=mobilestylegan-ffhq --seeds=1-4 --trunc=0.7 --directions=out/seed0000-mouth.npz --index=3 \\
        --strength=-1.5,1.5 --steps=5 --outdir=edits

    \b
    # Edits by name, as resefa atlas --edits found them
    resefa edit --network=mobilestylegan-ffhq --seeds=1-4 --trunc=0.7 --do="mouth opens" --amount=1.5 --outdir=edits

    \b
    # Two directions at once, one picture
    resefa edit --network=mobilestylegan-ffhq --seeds=0 --trunc=0.7 --directions=out/seed0000-mouth.npz \\
        --index=1 --strength=2,2 --index=3 --strength=-1,-1 --steps=1 --outdir=edits

    \b
    # A direction of another tool, in the layers that its authors name, and made local
    resefa edit --network=mobilestylegan-ffhq --seeds=0 --trunc=0.7 --directions=smile.npy --layers=4-5 \\
        --region=mouth --keep-background --outdir=smile

    \b
    # The face outside the mouth may move, too: without about ten seconds of correction per sample
    resefa edit --network=mobilestylegan-ffhq --seeds=1 --trunc=0.7 --directions=out/seed0000-mouth.npz \\
        --straight --outdir=straight
    """
    keep_large_blocks()
    if keep_background and straight:
        raise click.UsageError('--keep-background and --straight exclude each other')
    if not (wanted or directions):
        raise click.UsageError('name an edit with --do, or a directions file with --directions')
    params = click.get_current_context().params
    recorded = Moves(directions, index, strength).recorded()
    if recorded is not None:
        as_found(*recorded, params)
        network, value_range, which = params['network'], params['value_range'], {name: params[name] for name in which}
    hook = options.open_generator(network, function, device, repo, trust_pickle, noise_mode, value_range,
                                  translate, rotate, tuned)
    named = named_moves(hook, wanted, amount)
    if recorded is None and named:
        recorded = named[0][0], DirectionSet.load(named[0][0])
        as_found(*recorded, params)
        which = {name: params[name] for name in which}
    given = Moves(directions, index, strength, named)
    latent_space = given.load(hook, space, layers)
    found = None if recorded is None or which['seeds'] or which['projected_w'] else sample_of(recorded[1], hook)
    samples = sampling.make_samples(hook, **which) if found is None else [found]
    sampling.refuse_truncation(samples)
    partition = None if region is None else parse_region(region, hook.image_shape[1:])
    moves = given.made(Viewpoint(hook, latent_space, samples[0]), partition, alpha, anew=layers is not None)
    if keep_background and any(move.region is None for move in moves):
        raise click.UsageError('--keep-background: name what the directions change with --region; the rest is kept')
    unasked = not (keep_background or straight or any(move.region is None for move in moves))
    options.write_options(outdir, hook, params)

    rows: list[list[Image.Image]] = []
    names = [f'{i:02d}' for i in range(steps)]
    resolution = min((move.resolution for move in moves if move.resolution), default=None)
    added = torch.from_numpy(np.sum([move.offsets(steps) for move in moves], axis=0))
    of_moves = [pictures.strength_captions(move.strengths(steps).tolist()) for move in moves]
    captions = [', '.join(of_step) for of_step in zip(*of_moves, strict=True)]
    with tqdm(total=len(samples) * steps, desc='edits', unit='picture', dynamic_ncols=True) as bar:
        for sample in samples:
            rows.append([])
            viewpoint, offsets = Viewpoint(hook, latent_space, sample, resolution), added
            if keep_background:
                offsets = _kept(viewpoint, moves, added, captions, keep_background, bar.write)
            elif unasked and any(move.found_elsewhere(viewpoint) for move in moves):
                offsets = _kept_if_seen(viewpoint, moves, added, captions, bar.write)
            for name, offset in zip(names, offsets, strict=True):
                image = Image.fromarray(pictures.to_uint8(render_edits(viewpoint.full(), offset[None]))[0])
                pictures.save_png(image, outdir / f'{sample.name}-{name}.png')
                _save_latents(outdir / f'{sample.name}-{name}.npz', viewpoint, offset)
                rows[-1].append(pictures.thumbnail(image, 512))
                bar.update()
    title = ' + '.join(f'{move.title} {move.index}' for move in moves)
    grid = pictures.contact_sheet(rows, [sample.name for sample in samples], captions, title)
    pictures.save_png(grid, outdir / 'grid.png')
    options.say_open(outdir / 'grid.png')


def _kept(viewpoint: Viewpoint, moves: Sequence[Move], straight: torch.Tensor, captions: Sequence[str],
          corrections: int, write: Callable[[str], None]) -> torch.Tensor:
    """The offsets with the background of all moves kept, `[N, d]`, and a word on what it gained."""
    keeper = BackgroundKeeper(viewpoint, _region_of(moves), corrections=corrections)
    path = keep(keeper, straight, f'{viewpoint.sample.name}: background')
    write(f'{viewpoint.sample.name}: {outside_summary(path, captions)}')
    return path.offsets


def _kept_if_seen(viewpoint: Viewpoint, moves: Sequence[Move], straight: torch.Tensor, captions: Sequence[str],
                  write: Callable[[str], None]) -> torch.Tensor:
    """The same where somebody could see that the background changes; else the straight offsets, as that is quicker."""
    region = _region_of(moves)
    original = render_edits(viewpoint, viewpoint.zero())
    seen = RegionPartition(region.at(*original.shape[2:]), region.name)
    most = max(float(largest_outside(render_edits(viewpoint, offset[None]) - original, seen)) for offset in straight)
    if grey_levels(most) > UNSEEN:
        return _kept(viewpoint, moves, straight, captions, CORRECTIONS, write)
    write(f'{viewpoint.sample.name}: no part outside the region changes by more than {significant(grey_levels(most))} '
          'grey levels of 255, so that nothing is corrected')
    return straight


def _region_of(moves: Sequence[Move]) -> RegionPartition:
    """What all moves together change."""
    parts = [move.region for move in moves if move.region is not None]  # all of them are known here
    names = dict.fromkeys(part.name for part in parts)
    return RegionPartition(np.any([part.mask for part in parts], axis=0), '_and_'.join(names)[:64])


def _save_latents(path: pathlib.Path, viewpoint: Viewpoint, offset: torch.Tensor) -> None:
    with torch.no_grad():
        latent = viewpoint.moved(offset).latent
        arrays = {key: value.cpu().numpy() for key, value in viewpoint.space.saved(latent, viewpoint.sample).items()}
    with replacing(path) as part, open(part, 'wb') as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stubs take names for flags


if __name__ == '__main__':
    edit()
