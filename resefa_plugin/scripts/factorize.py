"""Find the directions that change a region of a picture and leave the rest alone."""

from __future__ import annotations

import pathlib
from itertools import count, islice

import click
import torch
from PIL import Image

from resefa_plugin import Factorizer, parse_region, pictures
from resefa_plugin.allocator import keep_large_blocks
from resefa_plugin.callbacks import DirectionsWriter, PictureWriter, ProgressBar
from resefa_plugin.comparison import BackgroundComparison
from resefa_plugin.editing import render_edits
from resefa_plugin.rayleigh import SOLVERS
from resefa_plugin.regions import REGION_HELP
from resefa_plugin.scripts import options, sampling


@click.command(epilog=f'\b\n{REGION_HELP}')
@options.network_options
@sampling.samples_options
@click.option('--region', 'regions', metavar='REGION', multiple=True, required=True,
              help='What to change, see below; repeat it for several regions')
@click.option('--space', metavar='SPACE', help="Latent space to factorize: z, w, w+, s, ...  [default: w, or the network's first]")
@click.option('--layers', metavar='RANGE', callback=options.layers_callback, help='Layers that the directions act on, e.g. 4-7  [default: all]')
@click.option('--num-directions', metavar='INT', type=click.IntRange(min=1), default=5, show_default=True, help='Directions to keep per region')
@click.option('--tau', metavar='FLOAT', type=click.FloatRange(min=0), default=1e-3, show_default=True,
              help='Ridge relative to the trace of the background')
@click.option('--solver', type=click.Choice(['auto', *SOLVERS]), default='auto', show_default=True, help='How to solve the Rayleigh quotient')
@click.option('--resolution', metavar='INT', type=click.IntRange(min=1), help='Longer side of the differentiated picture  [default: 256 or the picture\'s]')
@click.option('--other-seeds', metavar='RANGE', callback=options.seeds_callback, help='Seeds to try direction 1 on  [default: three]')
@click.option('--jacobian-dir', metavar='DIR', type=click.Path(file_okay=False, path_type=pathlib.Path),
              help='Keep Jacobians there; a second region of the same sample is then a matter of seconds')
@options.keep_background_option
@click.option('--preview', is_flag=True, help='Only write the samples with the regions drawn on them')
@options.device_option
@options.outdir_option
@options.user_errors
def factorize(network, function, noise_mode, repo, trust_pickle, regions, space, layers, num_directions, tau, solver, resolution, other_seeds,
              jacobian_dir, keep_background, preview, device, outdir, **which):
    """Find the directions of a latent space that change a region of a picture and leave the rest alone.

    Writes a directions file per sample and region, pictures, and report.html, which shows them all.

    Examples:

    \b
    # Mouth and eyes of the demo generator's sample 0
    resefa factorize --network=mobilestylegan-ffhq --seeds=0 --trunc=0.7 --region=mouth --region=eyes --outdir=out

    \b
    # A network file, with the official code if run in a checkout, else with our own networks
    resefa factorize --network=ffhq.pkl --seeds=0 --region=mouth --outdir=out

    \b
    # Any other network: def my_hook(device) in my_gan.py returns FunctionHook(G, z_dim=128, device=device)
    resefa factorize --hook=my_gan:my_hook --seeds=0 --region=0.3,0.6,0.4,0.2 --outdir=out

    \b
    # Where is the region? Look before computing anything
    resefa factorize --network=mobilestylegan-ffhq --seeds=0-3 --region=0.3,0.6,0.4,0.2 --preview --outdir=out
    """
    keep_large_blocks()
    hook = options.open_generator(network, function, device, repo, trust_pickle, noise_mode)
    samples = sampling.make_samples(hook, **which)
    partitions = [parse_region(spec, hook.image_shape[1:]) for spec in regions]
    space = space or ('w' if 'w' in hook.space_names else hook.space_names[0])
    factorizer = Factorizer(hook, space, layers, num_directions=num_directions, tau=tau, solver=solver, resolution=resolution,
                            jacobian_dir=jacobian_dir, command=options.command_line())
    record = options.write_options(outdir, hook, click.get_current_context().params)
    if preview:
        return _preview(factorizer.space, samples, partitions, outdir)
    if other_seeds is None:
        # A projected latent of a conditional network needs no class, other samples would.
        taken = {sample.seed for sample in samples}
        other_seeds = [] if hook.c_dim and samples[0].c is None else islice((s for s in count() if s not in taken), 3)
    others = [hook.sample(seed, which['truncation_psi'], which['truncation_cutoff'], samples[0].c) for seed in other_seeds]
    kept = [BackgroundComparison(outdir, keep_background)] if keep_background else []
    writer = PictureWriter(outdir, record, others, *(comparison.rows for comparison in kept))
    factorizer.callbacks += [ProgressBar(), DirectionsWriter(outdir), *kept, writer]
    for result in factorizer.run(samples, partitions):
        click.echo(f'{outdir / result.name}.npz')
    click.echo(outdir / 'report.html')


def _preview(space, samples, partitions, outdir):
    for sample in samples:
        picture = pictures.to_uint8(render_edits(space, sample, torch.zeros(1, space.dim)))[0]
        for partition in partitions:
            path = outdir / f'{sample.name}-{partition.name}-preview.png'
            pictures.save_png(pictures.region_overlay(Image.fromarray(picture), partition.mask), path)
            click.echo(path)


if __name__ == '__main__':
    factorize()
