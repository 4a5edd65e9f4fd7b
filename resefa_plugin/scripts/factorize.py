"""Find the directions that change a region of a picture and leave the rest alone."""

from __future__ import annotations

import pathlib
from typing import Any

import click
import torch
from PIL import Image

from resefa_plugin import Callback, Factorizer, RegionJacobian, RegionPartition, Viewpoint
from resefa_plugin.attributes.combination import AttributeObjective
from resefa_plugin.attributes.scores import ATTRIBUTES
from resefa_plugin.callbacks.background_comparison import BackgroundComparison
from resefa_plugin.callbacks.directions_writer import DirectionsWriter
from resefa_plugin.callbacks.face_labels import FaceLabels
from resefa_plugin.callbacks.picture_writer import PictureWriter
from resefa_plugin.callbacks.progress import ProgressBar
from resefa_plugin.directions.orthogonal import load_orthogonal
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.factorizer.constraints import NORMS, Constraints
from resefa_plugin.factorizer.protection import PROTECT_HELP, parse_protection
from resefa_plugin.factorizer.results import CALIBRATED
from resefa_plugin.factorizer.store import Store
from resefa_plugin.hooks.viewpoint import viewpoints_of
from resefa_plugin.jacobian.region_jacobian import tangent_seconds
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.machine.ranks import joined, local_device
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.rayleigh.problem import TAU
from resefa_plugin.rayleigh.solvers import DENSE_LIMIT, NUM_DIRECTIONS, QUICK_NUM_DIRECTIONS, SOLVERS, Auto, Solver
from resefa_plugin.regions.partition import REGION_HELP
from resefa_plugin.report import pictures
from resefa_plugin.scripts.common import options, sampling
from resefa_plugin.scripts.common.atlases import NONE, described, named_atlas, own_regions, parse_regions, usual_atlas
from resefa_plugin.scripts.common.hints import HintedCommand
from resefa_plugin.scripts.common.types import FOLDER, FiniteRange, LayerRange, SeedRange, Shard

MOST_POOLED = 16  # samples of a pool that nobody named


@click.command(cls=HintedCommand, epilog=f'\b\n{REGION_HELP}')
@options.network_options
@sampling.samples_options(seeds='of a network with styles as many as help, pooled; else 0')
@click.option('--region', 'regions', metavar='REGION', multiple=True, required=True,
              shell_complete=options.complete_region,
              help='What to change, see below; repeat it for several regions. auto:8 stands for eight that the network '
                   'has itself, as its atlas knows them')
@click.option('--space', metavar='SPACE', default='auto', show_default=True,
              help="Latent space to factorize: z, w, w+, s, ...; auto takes s, whose directions carry over best, for "
                   "a pool, and else w, or the network's first")
@click.option('--attribute', metavar='ATTRIBUTE+|-',
              help='What is wanted of the region, by name, as in eyes_open-: the one direction that moves it most for '
                   'what it changes elsewhere. For aligned faces, by a parser that is fetched on first use. '
                   f'Attributes: {", ".join(ATTRIBUTES)}')
@click.option('--layers', type=LayerRange(), help='Layers that the directions act on, e.g. 4-7  [default: all]')
@click.option('--num-directions', metavar='INT', type=click.IntRange(min=1),
              help=f'Directions to keep per region  [default: {NUM_DIRECTIONS}, with --quick {QUICK_NUM_DIRECTIONS}]')
@click.option('--quick', is_flag=True,
              help='Do without the whole Jacobian wherever that is faster, to a residual of 1e-2')
@click.option('--protect', 'protect', metavar='REGION', multiple=True, help=PROTECT_HELP)
@click.option('--orthogonal-to', metavar='FILE[:INDEX]', multiple=True,
              help='Directions file whose directions, or whose direction INDEX, the results shall be orthogonal to')
@click.option('--pool/--no-pool', default=None,
              help='One set of directions for all samples, or one for each  [default: pool if there are several]')
@click.option('--shard', type=Shard(),
              help='Only prepare the I-th of N parts of a pool, in the same --outdir; a run without --shard then joins '
                   'them')
@click.option('--atlas', 'atlas_folder', metavar='DIR|none', type=FOLDER,
              help='Take directions of any region from what `resefa atlas` made, at once  [default: the one of the '
                   'network, if there is one and samples would be pooled; none pools them]')
@click.option('--tau', metavar='FLOAT', type=FiniteRange(min=0), default=TAU, show_default=True,
              help='Ridge relative to the trace of the background')
@click.option('--norm', type=click.Choice(NORMS), default='identity', show_default=True,
              help="Length that the ridge measures: the paper's, or relative to the spread of the latents, to stay "
                   'where the generator was trained')
@click.option('--solver', type=click.Choice(list(SOLVERS)), default='auto', show_default=True,
              help=f'davidson, also called lobpcg, does without the whole Jacobian; auto takes it beyond {DENSE_LIMIT} '
                   'dimensions')
@click.option('--resolution', metavar='INT', type=click.IntRange(min=1),
              help="Longer side of the differentiated picture  [default: 256 or the picture's]")
@click.option('--other-seeds', type=SeedRange(), help='Seeds to try direction 1 on  [default: three]')
@click.option('--jacobian-dir', metavar='DIR', type=FOLDER,
              help='Keep Jacobians there; a second region of the same sample is then a matter of seconds')
@options.keep_background_option
@click.option('--suggest-labels', 'suggest', is_flag=True,
              help='Name what each direction does to an aligned face where that is clear, by a face parser that is '
                   'fetched on first use')
@click.option('--preview', is_flag=True, help='Only write the samples with the regions drawn on them')
@options.device_option
@options.memory_option
@options.outdir_option
@options.user_errors
def factorize(network: str | None, function: str | None, tuned: pathlib.Path | None,
              value_range: tuple[float, float] | None, noise_mode: str,
              translate: tuple[float, float] | None, rotate: float | None, repo: pathlib.Path | None,
              trust_pickle: bool, regions: tuple[str, ...], space: str, attribute: str | None,
              layers: tuple[int, ...] | None,
              num_directions: int | None, quick: bool, protect: tuple[str, ...], orthogonal_to: tuple[str, ...],
              pool: bool | None, shard: tuple[int, int] | None, atlas_folder: pathlib.Path | None, tau: float,
              norm: str, solver: str, resolution: int | None, other_seeds: list[int] | None,
              jacobian_dir: pathlib.Path | None,
              keep_background: int | None, suggest: bool, preview: bool, device: torch.device, outdir: pathlib.Path,
              **which: Any) -> None:
    """Find the directions of a latent space that change a region of a picture and leave the rest alone.

    Writes a directions file per region (of each sample, or of the pool of them), pictures, and report.html, which shows
    them all. Without --seeds, samples of a network with styles are pooled until more of them do not help: the way whose
    directions hold best on other pictures, in minutes; with one seed, those of that very picture, in a minute. A pool
    that was stopped goes on where it was when the same command is given again. Started by torchrun --nproc-per-node=N,
    the processes share the samples, or the tangents of one.

    Examples:

    \b
    # Directions that hold on many faces
    resefa factorize --network=mobilestylegan-ffhq --trunc=0.7 --region=mouth --region=eyes --outdir=out

    \b
    # The one that closes eyes
    resefa factorize --network=mobilestylegan-ffhq --trunc=0.7 --region=eyes --attribute=eyes_open- --outdir=closed

    \b
    # Mouth and eyes of the demo generator's sample 0
    resefa factorize --network=mobilestylegan-ffhq --seeds=0 --trunc=0.7 --region=mouth --region=eyes --outdir=out

    \b
    # W+ and StyleSpace, without their Jacobians of thousands of columns
    resefa factorize --network=mobilestylegan-ffhq --seeds=0 --trunc=0.7 --region=mouth --space=w+ --quick \\
        --outdir=wplus

    \b
    # Of four faces; hair without touching the face
    resefa factorize --network=mobilestylegan-ffhq --seeds=0-3 --trunc=0.7 --region=hair --protect=10*face \\
        --outdir=pooled

    \b
    # A network file, with the official code if run in a checkout, else with our own networks
    resefa factorize --network=ffhq.pkl --seeds=0 --region=mouth --outdir=out

    \b
    # Eight regions that the network has itself, after resefa atlas: look at them
    resefa factorize --network=mobilestylegan-ffhq --seeds=1 --trunc=0.7 --region=auto:8 --preview --outdir=regions

    \b
    # Any other network: def my_hook(device) in my_gan.py returns FunctionHook(G, z_dim=128, device=device)
    resefa factorize --hook=my_gan:my_hook --seeds=0 --region=0.3,0.6,0.4,0.2 --outdir=out

    \b
    # Where is the region? Look before computing anything
    resefa factorize --network=mobilestylegan-ffhq --seeds=0-3 --region=0.3,0.6,0.4,0.2 --preview --outdir=out
    """
    keep_large_blocks()
    device = local_device(device)
    hook = options.open_generator(network, function, device, repo, trust_pickle, noise_mode, value_range,
                                  translate, rotate, tuned)
    as_needed = space == 'auto' and pool is not False and not (quick or preview) and 's' in hook.space_names \
        and which['seeds'] is None and which['projected_w'] is None
    unknown = {'--quick': quick, '--solver': solver != 'auto', '--shard': shard, '--no-pool': pool is False,
               '--space': space != 'auto', '--layers': layers, '--resolution': resolution,
               '--jacobian-dir': jacobian_dir}
    samples = sampling.make_samples(hook, **which)
    atlas = None
    if atlas_folder is not None and str(atlas_folder) != NONE:
        atlas = named_atlas(hook, atlas_folder, unknown)
    elif atlas_folder is None and as_needed and not any(unknown.values()):
        atlas = usual_atlas(hook, samples[0])
    if atlas is not None and which['seeds'] is None and which['projected_w'] is None:
        samples, as_needed = atlas.samples(hook, CALIBRATED), False
    elif as_needed:
        samples = sampling.make_samples(hook, **which | {'seeds': list(range(MOST_POOLED))})
    image_size = hook.image_shape[1:]
    knows_regions = atlas or (usual_atlas(hook, samples[0]) if own_regions(regions) else None)
    partitions = parse_regions(regions, image_size, knows_regions)
    pool = len(samples) > 1 if pool is None else pool
    if shard and not (pool and len(samples) >= shard[1]):
        raise click.UsageError(f'--shard: there are {len(samples)} samples to share out; give a pool of as many '
                               '--seeds as parts')
    viewpoints = viewpoints_of(hook, samples, space, layers, resolution, pool) if atlas is None else \
        [atlas.viewpoint(hook, sample) for sample in samples]
    latent_space = viewpoints[0].space
    objective = None if attribute is None else AttributeObjective(attribute, Networks(fetch=True, device=device), tau)
    if objective is not None and len(partitions) > 1:
        raise click.UsageError('--attribute is for one --region: give a command for each')
    constraints = Constraints(tuple(parse_protection(spec, image_size) for spec in protect),
                              load_orthogonal(orthogonal_to, hook, latent_space.name, latent_space.layers), norm)
    if pool or atlas:
        constraints.check_poolable()
    if preview:
        options.write_options(outdir, hook, click.get_current_context().params)
        return _preview(viewpoints, partitions, outdir)
    chosen = make_solver(solver, quick, num_directions, tau)
    store = Store(jacobian_dir, outdir / 'grams')
    with joined(device) as ranks:
        if shard:
            return Factorizer(viewpoints, partitions, chosen, constraints, [ProgressBar()], store).collect(shard, ranks)
        callbacks: list[Callback] = []
        if ranks.first:
            record = options.write_options(outdir, hook, click.get_current_context().params)
            click.echo(chosen.choice(latent_space.name, latent_space.dim, len(partitions),
                                     len(samples) if pool else 1, latent_space.has_channels)
                       if atlas is None else described(atlas), err=True)
            if pool and atlas is None:
                click.echo(_announced(viewpoints, chosen, len(partitions), as_needed), err=True)
            others = [Viewpoint(hook, latent_space, sample, resolution) for sample in sampling.other_samples(
                hook, samples, other_seeds, which['truncation_psi'], which['truncation_cutoff'])]
            writer = DirectionsWriter(outdir, options.command_line())
            callbacks += [ProgressBar(), writer]  # files as soon as they can be; labels come into them later
            callbacks += [FaceLabels(Networks(fetch=True, device=device)), writer] if suggest else []
            callbacks += [BackgroundComparison(outdir, keep_background)] if keep_background else []
            callbacks.append(PictureWriter(outdir, record, others))
        factorizer = Factorizer(viewpoints, partitions, chosen, constraints, callbacks, store, objective, atlas)
        for result in factorizer.run(pool or atlas is not None, ranks, as_needed):
            for note in result.notes:
                click.echo(f'{result.name}: {note}', err=True)
            for number, label in enumerate(result.directions.labels, 1):
                if label:
                    click.echo(f'{result.name}: direction {number}: {label}', err=True)
            click.echo(f'{outdir / result.name}.npz')
        if ranks.first:
            options.say_open(outdir / 'report.html')


def _announced(viewpoints: list[Viewpoint], solver: Solver, regions: int, as_needed: bool) -> str:
    """How long a pool will take, by a few tangents that are timed."""
    space = viewpoints[0].space
    products = solver.tangents(space.dim, regions, len(viewpoints), space.has_channels)
    seconds = tangent_seconds(RegionJacobian(viewpoints[0])) * products
    most = f'up to {len(viewpoints)}' if as_needed else str(len(viewpoints))
    duration = f'{seconds:.0f} s' if seconds < 100 else f'{seconds / 60:.0f} minutes'
    return (f'a pool of {most} samples: about {products} tangents{" at most" if as_needed else ""}, {duration} here'
            + ('; it ends when more samples do not help. For one picture only, give --seeds=0' if as_needed else ''))


def make_solver(name: str, quick: bool, num_directions: int | None, tau: float) -> Solver:
    """The solver of `--solver` and `--quick`. Raises click.UsageError if both are given."""
    if quick and name != 'auto':
        raise click.UsageError(f'--quick chooses the solver, so that --solver={name} cannot be given too: leave one of '
                               'them out')
    return Auto(num_directions, tau, quick) if quick else SOLVERS[name](num_directions, tau)


def _preview(viewpoints: list[Viewpoint], partitions: list[RegionPartition], outdir: pathlib.Path) -> None:
    for viewpoint in viewpoints:
        picture = pictures.to_uint8(render_edits(viewpoint.full(), viewpoint.zero()))[0]
        if len(partitions) > 1:
            path = outdir / f'{viewpoint.sample.name}-regions-preview.png'
            pictures.save_png(pictures.regions_overlay(Image.fromarray(picture), partitions), path)
            click.echo(path)
        for partition in partitions:
            path = outdir / f'{viewpoint.sample.name}-{partition.name}-preview.png'
            pictures.save_png(pictures.region_overlay(Image.fromarray(picture), partition.mask), path)
            click.echo(path)
    options.say_open(path)


if __name__ == '__main__':
    factorize()
