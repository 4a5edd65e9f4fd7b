"""Move samples along a direction."""

from __future__ import annotations

import pathlib

import click
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from resefa_plugin import DirectionSet, pictures
from resefa_plugin.allocator import keep_large_blocks
from resefa_plugin.background import BackgroundKeeper
from resefa_plugin.comparison import keep, outside_summary
from resefa_plugin.editing import render_edits
from resefa_plugin.files import replacing
from resefa_plugin.scripts import options, sampling


@click.command()
@options.network_options
@sampling.samples_options
@click.option('--directions', metavar='FILE', required=True, type=click.Path(dir_okay=False, path_type=pathlib.Path),
              help='Directions file that factorize wrote')
@click.option('--index', metavar='INT', type=click.IntRange(min=1), default=1, show_default=True, help='Which direction, 1 is the best')
@click.option('--strength', metavar='LOW,HIGH', callback=options.strength_callback, default='-3,3', show_default=True,
              help='From and to (one number: from its negative to it); 1 changes the region by an RMS of 0.1 on the [-1, 1] scale')
@click.option('--alpha', is_flag=True, help='--strength is the length of the step in latent space instead')
@click.option('--steps', metavar='INT', type=click.IntRange(min=1, max=1000), default=7, show_default=True, help='Number of pictures per sample')
@options.keep_background_option
@options.device_option
@options.outdir_option
@options.user_errors
def edit(network, function, noise_mode, repo, trust_pickle, directions, index, strength, alpha, steps, keep_background,
         device, outdir, **which):
    """Move samples along a direction: one picture and one latent file per step, and a grid of all.

    The pictures are {sample}-{step}.png, the latents {sample}-{step}.npz: key w,
    as in projected_w.npz; where there is no w, what the space has (z, class, cond, s). --projected-w takes them again, except for s.

    Examples:

    \b
    # Open and close the mouth of sample 0
    resefa edit --network=mobilestylegan-ffhq --seeds=0 --trunc=0.7 --directions=out/seed0000-mouth.npz --outdir=edits

    \b
    # The third direction on four other faces, more gently
    resefa edit --network=mobilestylegan-ffhq --seeds=1-4 --trunc=0.7 --directions=out/seed0000-mouth.npz --index=3 \\
        --strength=-1.5,1.5 --steps=5 --outdir=edits

    \b
    # The face outside the mouth stays still: a minute or two more per sample
    resefa edit --network=mobilestylegan-ffhq --seeds=1 --trunc=0.7 --directions=out/seed0000-mouth.npz --keep-background \\
        --outdir=still
    """
    keep_large_blocks()
    direction_set = DirectionSet.load(directions)
    if index > len(direction_set):
        raise click.BadParameter(f'{directions} has directions 1 to {len(direction_set)}', param_hint='--index')
    hook = options.open_generator(network, function, device, repo, trust_pickle, noise_mode)
    space = direction_set.check_fits(hook)
    samples = sampling.make_samples(hook, **which)
    sampling.refuse_truncation(samples)
    options.write_options(outdir, hook, click.get_current_context().params)

    strengths = np.linspace(*strength, steps) if steps > 1 else np.array([strength[1]])
    factor = 1 / direction_set.step[index - 1] if alpha else 1.0
    rows, names = [], [f'{i:02d}' for i in range(steps)]
    straight = [torch.from_numpy(direction_set.offset(index - 1, s * factor)) for s in strengths]
    with tqdm(total=len(samples) * steps, desc='edits', unit='picture', dynamic_ncols=True) as bar:
        for sample in samples:
            rows.append([])
            offsets = straight
            if keep_background:
                keeper = BackgroundKeeper.of_directions(hook, space, sample, direction_set, keep_background)
                path = keep(keeper, direction_set.offset(index - 1, 1.0), strengths * factor, f'{sample.name}: background')
                offsets = path.offsets
                bar.write(f'{sample.name}: {outside_summary(path)}')
            for name, offset in zip(names, offsets):
                image = Image.fromarray(pictures.to_uint8(render_edits(space, sample, offset[None]))[0])
                pictures.save_png(image, outdir / f'{sample.name}-{name}.png')
                _save_latents(outdir / f'{sample.name}-{name}.npz', space, sample, offset)
                rows[-1].append(pictures.thumbnail(image, 512))
                bar.update()
    captions = pictures.strength_captions(strengths)
    grid = pictures.contact_sheet(rows, [sample.name for sample in samples], captions,
                                  f'{direction_set.metadata.region} {index}')
    pictures.save_png(grid, outdir / 'grid.png')
    click.echo(outdir / 'grid.png')


def _save_latents(path, space, sample, offset):
    with torch.no_grad():
        latent = space.move(space.latent(sample), offset[None].to(space.latent(sample)))
        arrays = {key: value.cpu().numpy() for key, value in space.saved(latent, sample).items()}
    with replacing(path) as part, open(part, 'wb') as file:
        np.savez(file, **arrays)


if __name__ == '__main__':
    edit()
