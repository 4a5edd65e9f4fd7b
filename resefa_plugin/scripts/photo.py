"""Edit a photograph: its face is found, projected into the generator, factorized, edited and laid back."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any

import click
import torch

from resefa_plugin import DirectionSet, parse_region
from resefa_plugin.atlas.catalogue import spoken
from resefa_plugin.errors import PhotographError, RegionError, ResefaError
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.projection.projector import Projector, Settings
from resefa_plugin.projection.tuning import TuningSettings, tunable
from resefa_plugin.scripts.common import options, photographs, sampling
from resefa_plugin.scripts.common.atlases import amount_option, chosen_atlas, do_option, named_moves
from resefa_plugin.scripts.common.edited_photograph import Means, NamedMove, Wishes, edit_photograph
from resefa_plugin.scripts.common.hints import HintedCommand
from resefa_plugin.scripts.common.types import EXISTING, FOLDER, FiniteRange, StrengthRange

NOTE = ('The files say that they are edited. Show them only with the consent of the person in them, and not as a '
        "photograph. Licence of the generator's weights: {}")

@click.command(cls=HintedCommand)
@options.network_options
@click.option('--target', 'targets', metavar='PATH', type=EXISTING, multiple=True, required=True,
              help='The photograph (PNG, JPEG, WebP, TIFF), or a folder of photographs; repeat it for several')
@click.option('--region', 'regions', metavar='REGION', multiple=True, shell_complete=options.complete_region,
              help='What to change, as in resefa factorize; repeat it for several regions')
@do_option
@amount_option
@click.option('--drawn-on', type=click.Choice(['aligned', 'photograph']), default='aligned', show_default=True,
              help='The picture that regions are meant in: the aligned face, or the whole photograph')
@options.align_option
@options.face_option
@click.option('--space', metavar='SPACE', help="Latent space: w+, w or z  [default: w+, or the network's first]")
@click.option('--class', 'label', metavar='CLASS', help='Class of a conditional network')
@click.option('--passes', metavar='INT', type=click.IntRange(min=1), default=Settings.passes, show_default=True,
              help='Passes through the generator to find the latent, at most')
@click.option('--naturalness', metavar='FLOAT', type=FiniteRange(min=0), default=Settings.naturalness,
              show_default=True, help='More of it: less likeness, and edits that look more natural')
@click.option('--tune', is_flag=True,
              help="Change the generator's weights, too, until the likeness is near exact: takes as long again as the "
                   'projection')
@click.option('--atlas', 'atlas_folder', metavar='DIR|none', type=FOLDER,
              help='Find directions in seconds, of the channels that this atlas knows  [default: the one that `resefa '
                   'atlas` made of the network, if there is one; none searches --space]')
@click.option('--num-directions', metavar='INT', type=click.IntRange(min=1), default=3, show_default=True,
              help='Directions per region')
@click.option('--strength', type=StrengthRange(), default='-2,2', show_default=True,
              help='Strengths of the two edits along each direction')
@options.device_option
@options.memory_option
@options.outdir_option
@options.user_errors
def photo(network: str | None, function: str | None, tuned: pathlib.Path | None,
          value_range: tuple[float, float] | None, noise_mode: str, translate: tuple[float, float] | None,
          rotate: float | None, repo: pathlib.Path | None, trust_pickle: bool, targets: tuple[pathlib.Path, ...],
          regions: tuple[str, ...], wanted: tuple[str, ...], amount: tuple[float, ...], drawn_on: str, how: Any,
          face: int, space: str | None, label: str | None,
          passes: int, naturalness: float, tune: bool, atlas_folder: pathlib.Path | None, num_directions: int,
          strength: tuple[float, float], device: torch.device, outdir: pathlib.Path) -> None:
    """Edit a region of a face in your own photograph; the rest of the photograph stays what it is, bit for bit.

    The face is found and aligned, the latent that shows it is found (LPIPS, the face finder and SFace are fetched on
    first use), directions are found there, and edits along them are laid back into the photograph. Writes
    NAME-REGION-DIRECTION-low.png and -high.png in the photograph's size, NAME-EDIT.png of --do, a strip of each, the
    aligned picture and its projection, and projected_w.npz and directions for resefa edit. Of several photographs, each
    has a folder of its name. Stopped at any moment, the same command goes on with the projection where it was.

    With --tune, NAME-tuned.safetensors holds what changed in the generator: --tuned=FILE of the other commands.

    The files say that they are edited. Edit people who agree to it.

    Examples:

    \b
    resefa photo --network=mobilestylegan-ffhq --target=portrait.jpg --region=mouth --outdir=out

    \b
    # An edit by name, as resefa atlas --edits found it
    resefa photo --network=mobilestylegan-ffhq --target=portrait.jpg --do="mouth opens" --amount=1.5 --outdir=out

    \b
    # The second largest face, mouth and eyes, and a closer likeness
    resefa photo --network=mobilestylegan-ffhq --target=portrait.jpg --face=2 --region=mouth --region=eyes \\
        --passes=250 --outdir=out

    \b
    # Near exact, by a generator that is tuned to the photograph
    resefa photo --network=mobilestylegan-ffhq --target=portrait.jpg --region=mouth --tune --outdir=out
    """
    keep_large_blocks()
    if not (regions or wanted):
        raise click.UsageError('say what to change with --region, or name an edit with --do')
    if tune and tuned is not None:
        raise click.UsageError('--tune starts from the network as it is: leave out --tuned')
    hook = options.open_generator(network, function, device, repo, trust_pickle, noise_mode, value_range,
                                  translate, rotate, tuned)
    if tune:
        try:
            tunable(hook)
        except ResefaError as error:
            raise click.UsageError(f'--tune: {error}') from error
    if space == 's':
        raise click.UsageError('--space=s: projected_w.npz holds w or z; a projection in s is for Python (Projector)')
    named = [NamedMove(spoken(name), DirectionSet.load(path), ends[1])
             for name, (path, _, ends) in zip(wanted, named_moves(hook, wanted, amount), strict=True)]
    paths = photographs.photographs_in(targets)
    wishes = Wishes(lambda size: [parse_region(spec, size) for spec in regions], drawn_on == 'photograph', how, face,
                    num_directions, strength, TuningSettings() if tune else None, named,
                    chosen_atlas(hook, atlas_folder))

    @functools.cache
    def means() -> Means:
        lpips, identity = photographs.load_lpips_network(device), photographs.load_identity(device)
        settings = dataclasses.replace(Settings(), passes=passes, naturalness=naturalness)
        projector = Projector(hook, space, lpips, settings, sampling.make_label(hook, label))
        return Means(projector, lpips, identity)

    options.write_options(outdir, hook, click.get_current_context().params)
    failed: list[str] = []
    shown: pathlib.Path | None = None  # the last strip
    for path in paths:
        try:
            for result in edit_photograph(path, hook, wishes, means, outdir / path.stem if len(paths) > 1 else outdir):
                click.echo(result)
                shown = result if result.suffix == '.jpg' else shown
        except (PhotographError, RegionError) as error:
            if len(paths) == 1:
                raise
            click.echo(f'{path.name}: {error}', err=True)
            failed.append(path.name)
    click.echo(NOTE.format(hook.licence or 'unknown: ask who made it'), err=True)
    options.say_open(shown)
    if failed:
        raise click.ClickException(f'{len(failed)} of {len(paths)} photographs were not edited: {", ".join(failed)}')


if __name__ == '__main__':
    photo()
