"""Edit a photograph: its face is found, projected into the generator, factorized, edited and laid back."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from resefa_plugin import Factorizer, RegionPartition, Viewpoint, parse_region
from resefa_plugin.callbacks.directions_writer import DirectionsWriter
from resefa_plugin.callbacks.progress import ProgressBar
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.factorizer.results import RegionResult
from resefa_plugin.hooks.latent_files import write_latents
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.projection.framing import Framing
from resefa_plugin.projection.photograph import Photograph
from resefa_plugin.projection.projector import Likeness, Projection, Projector, Settings
from resefa_plugin.rayleigh.solvers import Auto
from resefa_plugin.report import pictures
from resefa_plugin.scripts.common import options, photographs, sampling
from resefa_plugin.scripts.common.types import FILE, FiniteRange, StrengthRange

TILE = 320  # pixels, of a picture in a strip


@click.command()
@options.network_options
@click.option('--target', metavar='FILE', type=FILE, required=True, help='The photograph (PNG, JPEG, WebP, TIFF)')
@click.option('--region', 'regions', metavar='REGION', multiple=True, required=True,
              help='What to change, as in resefa factorize; repeat it for several regions')
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
@click.option('--num-directions', metavar='INT', type=click.IntRange(min=1), default=3, show_default=True,
              help='Directions per region')
@click.option('--strength', type=StrengthRange(), default='-2,2', show_default=True,
              help='Strengths of the two edits along each direction')
@options.device_option
@options.memory_option
@options.outdir_option
@options.user_errors
def photo(network: str | None, function: str | None, value_range: tuple[float, float] | None, noise_mode: str,
          translate: tuple[float, float] | None, rotate: float | None, repo: pathlib.Path | None, trust_pickle: bool,
          target: pathlib.Path, regions: tuple[str, ...], drawn_on: str, how: Any, face: int, space: str | None,
          label: str | None, passes: int, naturalness: float, num_directions: int, strength: tuple[float, float],
          device: torch.device, outdir: pathlib.Path) -> None:
    """Edit a region of a face in your own photograph; the rest of the photograph stays what it is, bit for bit.

    The face is found and aligned, the latent that shows it is found (LPIPS and the face finder are fetched on first
    use), directions are found there, and edits along them are laid back into the photograph. Writes
    NAME-REGION-DIRECTION-low.png and -high.png in the photograph's size, a strip per region, the aligned picture and
    its projection, and projected_w.npz and directions for resefa edit. Stopped at any moment, the same command goes on
    with the projection where it was.

    Examples:

    \b
    resefa photo --network=mobilestylegan-ffhq --target=portrait.jpg --region=mouth --outdir=out

    \b
    # The second largest face, mouth and eyes, and a closer likeness
    resefa photo --network=mobilestylegan-ffhq --target=portrait.jpg --face=2 --region=mouth --region=eyes \\
        --passes=250 --outdir=out
    """
    keep_large_blocks()
    hook = options.open_generator(network, function, device, repo, trust_pickle, noise_mode, value_range,
                                  translate, rotate)
    if space == 's':
        raise click.UsageError('--space=s: projected_w.npz holds w or z; a projection in s is for Python (Projector)')
    height, width = hook.image_shape[1:]
    photograph, framing = photographs.framed(target, how, face, (height, width))
    drawn_size = (height, width) if drawn_on == 'aligned' else photograph.size
    drawn = [parse_region(spec, drawn_size) for spec in regions]
    name = target.stem
    options.write_options(outdir, hook, click.get_current_context().params)
    aligned = Image.fromarray(framing.alignment.picture(photograph.rgb, (height, width)))
    pictures.save_png(aligned, outdir / f'{name}-aligned.png')

    projector = Projector(hook, space, photographs.load_lpips_network(device),
                          dataclasses.replace(Settings(), passes=passes, naturalness=naturalness),
                          sampling.make_label(hook, label))
    projection = _projected(projector, aligned, name, passes, outdir)
    click.echo(f'{name}: {projection.likeness}', err=True)
    latent_space = hook.space(projector.space_name)
    write_latents(outdir / 'projected_w.npz', latent_space, projection.sample)
    viewpoint = Viewpoint(hook, latent_space, projection.sample)
    unedited = pictures.to_uint8(render_edits(viewpoint.full(), viewpoint.zero()))[0]
    pictures.save_png(Image.fromarray(unedited), outdir / f'{name}-projected.png')

    partitions = drawn if drawn_on == 'aligned' else [
        RegionPartition(framing.alignment.region(region.mask, (height, width)), region.name) for region in drawn]
    results = Factorizer([viewpoint], partitions, Auto(num_directions, quick=True),
                         callbacks=[ProgressBar(), DirectionsWriter(outdir, options.command_line())]).run()
    for result, region in zip(results, drawn, strict=True):
        def lay(edited: NDArray[np.uint8], mask: NDArray[np.bool_] = region.mask) -> Image.Image:
            return photographs.laid_in(photograph, framing, unedited, edited, mask, drawn_on == 'photograph')

        for path in _write_edits(result, viewpoint, strength, lay, photograph, framing, outdir):
            click.echo(path)


def _projected(projector: Projector, aligned: Image.Image, name: str, passes: int, outdir: pathlib.Path) -> Projection:
    """The sample of an aligned picture, with a bar that shows how alike they are."""
    with tqdm(total=passes, desc=f'{name}: likeness', unit='pass', dynamic_ncols=True) as bar:
        def show(likeness: Likeness) -> None:
            bar.set_postfix_str(f'MSE {likeness.mse:.4f}, LPIPS {likeness.lpips:.3f}', refresh=False)
            bar.update(likeness.passes - bar.n)

        return projector.project(aligned, name, progress=show, state=outdir / f'{name}-projection.npz')


def _write_edits(result: RegionResult, viewpoint: Viewpoint, strength: tuple[float, float],
                 lay: Callable[[NDArray[np.uint8]], Image.Image], photograph: Photograph, framing: Framing,
                 outdir: pathlib.Path) -> Iterator[pathlib.Path]:
    """Both edits along each direction of a region, in the photograph, and a strip of its face; the paths."""
    face = framing.alignment.extent(photograph.size)
    strip, captions = [photograph.image.crop(face)], ['0']
    for index in range(len(result.directions)):
        offsets = torch.stack([torch.from_numpy(result.directions.offset(index, value)) for value in strength])
        for word, edited, value in zip(('low', 'high'), pictures.to_uint8(render_edits(viewpoint.full(), offsets)),
                                       strength, strict=True):
            image, path = lay(edited), outdir / f'{result.name}-{index + 1}-{word}.png'
            photograph.save(image, path)
            yield path
            strip.append(image.crop(face))
            captions += [f'{index + 1}: {caption}' for caption in pictures.strength_captions([value])]
    path = outdir / f'{result.name}-strip.jpg'
    pictures.save_jpeg(pictures.strip(strip, captions, result.name, TILE), path)
    yield path


if __name__ == '__main__':
    photo()
