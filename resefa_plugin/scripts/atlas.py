"""Find out once what a network does to each part of its pictures, so that any region has its directions at once."""

from __future__ import annotations

import pathlib

import click
import torch
from tqdm import tqdm

from resefa_plugin.atlas.atlas import Atlas, atlas_folder
from resefa_plugin.atlas.builder import AtlasBuilder
from resefa_plugin.atlas.edits_folder import PAGE, make_edits
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.hooks.viewpoint import viewpoints_of
from resefa_plugin.jacobian.region_jacobian import RegionJacobian, tangent_seconds
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.machine.ranks import joined, local_device
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.scripts.common import options, sampling
from resefa_plugin.scripts.common.hints import HintedCommand
from resefa_plugin.scripts.common.types import FOLDER, LayerRange, SeedRange, Shard

SEEDS = range(7)


@click.command(cls=HintedCommand)
@options.network_options
@click.option('--seeds', type=SeedRange(), help='Samples that are pooled  [default: 0-6]')
@sampling.class_option
@sampling.truncation_options()
@click.option('--space', metavar='SPACE', default='auto', show_default=True,
              help="Latent space of the directions; auto takes s, whose directions carry over best, or the network's "
                   'first')
@click.option('--layers', type=LayerRange(), help='Layers that the directions act on, e.g. 4-7  [default: all]')
@click.option('--resolution', metavar='INT', type=click.IntRange(min=1),
              help="Longer side of the differentiated picture  [default: 256 or the picture's]")
@click.option('--shard', type=Shard(),
              help='Only prepare the I-th of N parts of the samples, in the same --outdir; a run without --shard then '
                   'joins them')
@click.option('--edits', is_flag=True,
              help='Also find the edits of a generator of aligned faces by name, such as "mouth opens", and try each '
                   'on 16 faces, by a parser that is fetched on first use; takes twice as long again')
@options.device_option
@options.memory_option
@click.option('--outdir', metavar='DIR', type=FOLDER,
              help="Where to save the atlas  [default: the cache folder, where other commands find it]")
@options.user_errors
def atlas(network: str | None, function: str | None, tuned: pathlib.Path | None,
          value_range: tuple[float, float] | None, noise_mode: str, translate: tuple[float, float] | None,
          rotate: float | None, repo: pathlib.Path | None, trust_pickle: bool, seeds: list[int] | None,
          label: str | None, truncation_psi: float, truncation_cutoff: int | None, space: str,
          layers: tuple[int, ...] | None, resolution: int | None, shard: tuple[int, int] | None, edits: bool,
          device: torch.device, outdir: pathlib.Path | None) -> None:
    """Find out once what a network does to each part of its pictures, so that any region has its directions at once.

    It takes minutes, and the time is said beforehand; one that was stopped goes on where it was when the same command
    is given again. Started by torchrun --nproc-per-node=N, the processes share the samples. Afterwards factorize takes
    the directions of any region from it, without a pass of the network, wherever it would have pooled samples.

    Examples:

    \b
    resefa atlas --network=mobilestylegan-ffhq --trunc=0.7

    \b
    # Its edits by name, and then one of them
    resefa atlas --network=mobilestylegan-ffhq --trunc=0.7 --edits
    resefa edit --network=mobilestylegan-ffhq --trunc=0.7 --seeds=1-4 --do="mouth opens" --outdir=edits

    \b
    # Directions of any region, at once
    resefa factorize --network=mobilestylegan-ffhq --trunc=0.7 --region=hair --outdir=hair
    """
    keep_large_blocks()
    device = local_device(device)
    hook = options.open_generator(network, function, device, repo, trust_pickle, noise_mode, value_range, translate,
                                  rotate, tuned)
    samples = sampling.make_samples(hook, list(SEEDS) if seeds is None else seeds, None, label, truncation_psi,
                                    truncation_cutoff)
    folder = outdir or atlas_folder(hook)
    if shard and edits:
        raise click.UsageError('--edits is for the whole atlas: give it to the run without --shard')
    builder = AtlasBuilder(viewpoints_of(hook, samples, space, layers, resolution, True), folder)
    with joined(device) as ranks:
        if ranks.first:
            click.echo(_announced(builder), err=True)
        with tqdm(total=builder.products, desc='atlas', unit='product', dynamic_ncols=True,
                  disable=not ranks.first) as bar:
            if shard:
                builder.collect(shard, ranks, bar.update)
                return
            made = builder.build(ranks, bar.update)
        if made is not None:
            size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
            click.echo(f'{len(made.facts.seeds)} samples, space {made.facts.space}, {size / 1e6:.0f} MB', err=True)
            click.echo(folder)
            if edits:
                _find_edits(made, hook, folder)


def _find_edits(atlas: Atlas, hook: GeneratorHook, folder: pathlib.Path) -> None:
    with tqdm(desc='edits', unit='step', dynamic_ncols=True) as bar:
        def show(what: str) -> None:
            bar.set_postfix_str(what, refresh=False)
            bar.update()

        found = make_edits(atlas, hook, folder, Networks(fetch=True, device=hook.device), show)
    for edit in found:
        click.echo(f'{edit.more} / {edit.less}: {edit.works} of {edit.faces} faces', err=True)
    options.say_open(folder / PAGE)


def _announced(builder: AtlasBuilder) -> str:
    """How long it will take, by a few tangents that are timed."""
    first = builder.viewpoints[0]
    seconds = tangent_seconds(RegionJacobian(first)) * builder.products
    duration = f'{seconds:.0f} s' if seconds < 100 else f'{seconds / 60:.0f} minutes'
    return (f"space '{first.space.name}' has {first.dim} dimensions; an atlas of {len(builder.viewpoints)} samples: "
            f'{builder.products} products, about {duration} here')


if __name__ == '__main__':
    atlas()
