"""Compare methods at the same change inside a region: the paper's Table 1 and Figure 5 for any network."""

from __future__ import annotations

import pathlib
from typing import Any

import click
import torch

from resefa_plugin.baselines.methods import METHODS
from resefa_plugin.evaluation.comparison import Comparison
from resefa_plugin.evaluation.measures import ALWAYS, ATTRIBUTE_NAMES, Measures
from resefa_plugin.evaluation.presentation.tables import markdown
from resefa_plugin.evaluation.rows import parse_row
from resefa_plugin.evaluation.settings import ATTRIBUTE_TARGET, TARGET, Settings
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.rayleigh.solvers import NUM_DIRECTIONS
from resefa_plugin.regions.partition import REGION_HELP, RegionPartition, parse_region
from resefa_plugin.scripts.common import options, sampling
from resefa_plugin.scripts.common.hints import HintedCommand
from resefa_plugin.scripts.common.types import FOLDER, FiniteNumber, NamedFile, NameList, SeedRange


@click.command(cls=HintedCommand, epilog=f'\b\n{REGION_HELP}')
@options.network_options
@sampling.samples_options()
@click.option('--eval-seeds', type=SeedRange(), default='100-131', show_default=True,
              help='Seeds to measure on, none of those that are factorized')
@click.option('--region', 'regions', metavar='REGION', multiple=True, required=True,
              shell_complete=options.complete_region,
              help='A row of the table: a region, see below, or REGION:ATTRIBUTE+ or - to choose each method\'s '
                   'direction by what it changes, e.g. close-eyes=eyes:eyes_open-. Attributes: '
                   + ', '.join(ATTRIBUTE_NAMES))
@click.option('--methods', type=NameList(), default=','.join(METHODS), show_default=True,
              help='Methods, each also with layers as in sefa:4-7')
@click.option('--directions', 'files', metavar='FILE', multiple=True,
              help='A directions file (.npz), or directions of another tool (.npy, FILE:4-7 for layers), as one more '
                   'method')
@click.option('--metrics', type=NameList(), default='',
              help=f'More metrics than {", ".join(ALWAYS)}: lpips, identity, fid, kid')
@click.option('--metric-network', 'paths', multiple=True, type=NamedFile(),
              help='Network of a metric: identity, lpips, inception or parsing')
@click.option('--fetch', is_flag=True,
              help='Fetch the networks of metrics and attributes that are not given, on first use')
@click.option('--space', metavar='SPACE',
              help="Latent space of the methods that may choose one  [default: w, or the network's first]")
@click.option('--num-directions', metavar='INT', type=click.IntRange(min=1), default=NUM_DIRECTIONS, show_default=True,
              help='Directions that each method may offer')
@click.option('--target-mse', metavar='FLOAT', type=FiniteNumber(), default=TARGET, show_default=True,
              help='Mean squared change inside the region at which all are compared, [-1, 1] scale')
@click.option('--target-attribute', 'attribute_target', metavar='FLOAT', type=FiniteNumber(),
              default=ATTRIBUTE_TARGET, show_default=True,
              help='Movement of the attribute of a row at which all are compared once more, in standard deviations')
@click.option('--kept/--no-kept', default=True, show_default=True,
              help='Measure every method also with the background of its edits kept')
@click.option('--resolution', metavar='INT', type=click.IntRange(min=1),
              help='Longer side of the pictures that are compared and differentiated  [default: 256 or the picture\'s]')
@click.option('--curve-samples', metavar='INT', type=click.IntRange(min=1), default=8, show_default=True,
              help='Samples that also get the curve over strength')
@click.option('--other-seeds', type=SeedRange(),
              help='Seeds whose Jacobians are computed too, to see how much directions depend on the sample  [default: '
                   'none]')
@click.option('--variant', 'variants', metavar='ROW=REGION', multiple=True,
              help="Another form of a row's region, to see how much directions depend on it, e.g. mouth=mask:lips.png")
@click.option('--jacobian-dir', metavar='DIR', type=FOLDER, help='Keep Jacobians there')
@options.device_option
@options.memory_option
@options.outdir_option
@options.user_errors
def evaluate(network: str | None, function: str | None, tuned: pathlib.Path | None,
             value_range: tuple[float, float] | None, noise_mode: str,
             translate: tuple[float, float] | None, rotate: float | None, repo: pathlib.Path | None,
             trust_pickle: bool,
             eval_seeds: list[int], regions: tuple[str, ...], methods: tuple[str, ...], files: tuple[str, ...],
             metrics: tuple[str, ...], paths: tuple[tuple[str, pathlib.Path], ...], fetch: bool, space: str | None,
             num_directions: int, target_mse: float, attribute_target: float, kept: bool, resolution: int | None,
             curve_samples: int, other_seeds: list[int] | None, variants: tuple[str, ...],
             jacobian_dir: pathlib.Path | None,
             device: torch.device, outdir: pathlib.Path, **which: Any) -> None:
    """Compare methods at the same change inside a region, on samples that took no part in finding the directions.

    Writes table.md, results.json, curves.png (change outside against change inside as the strength grows) and a sheet
    of pictures for each region. What is done is kept in cells/: the same command continues where it was stopped.

    Examples:

    \b
    # The mouth, by ReSeFa and two rivals, on 4 other samples; all methods and 32 samples without the last two flags
    resefa evaluate --network=mobilestylegan-ffhq --seeds=0 --trunc=0.7 --region=mouth --outdir=evaluation \\
        --methods=resefa,sefa:4-7,random --eval-seeds=100-103

    \b
    # A file of directions as one more method; .npy files of other tools will do
    resefa evaluate --network=mobilestylegan-ffhq --seeds=0 --trunc=0.7 --region=mouth --outdir=evaluation \\
        --methods=resefa --directions=out/seed0000-mouth.npz --eval-seeds=100-103
    """
    keep_large_blocks()
    hook = options.open_generator(network, function, device, repo, trust_pickle, noise_mode, value_range,
                                  translate, rotate, tuned)
    samples = sampling.make_samples(hook, **which)
    held_out, further = ([hook.sample(seed, which['truncation_psi'], which['truncation_cutoff'], samples[0].c)
                          for seed in dict.fromkeys(seeds or [])]
                         for seeds in (eval_seeds, other_seeds))
    measures = Measures(metrics, Networks(dict(paths), fetch, device))
    rows = [parse_row(spec, hook.image_shape[1:], ATTRIBUTE_NAMES) for spec in regions]
    settings = Settings(space or hook.default_space, (*methods, *files),
                        target_mse, attribute_target, kept, num_directions, resolution, curve_samples,
                        jacobian_dir=jacobian_dir)
    alternatives: dict[str, dict[str, RegionPartition]] = {}
    for variant in variants:
        row, _, region = variant.partition('=')
        alternatives.setdefault(row, {})[region] = parse_region(region, hook.image_shape[1:])
    comparison = Comparison(hook, samples, held_out, rows, settings, measures, outdir, further, alternatives)
    options.write_options(outdir, hook, click.get_current_context().params)
    click.echo(markdown(comparison.run()))
    click.echo(outdir / 'table.md')
    options.say_open(outdir / 'curves.png')


if __name__ == '__main__':
    evaluate()
