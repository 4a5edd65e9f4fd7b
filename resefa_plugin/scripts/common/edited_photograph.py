"""One photograph through all steps: framed, projected, perhaps tuned, factorized, edited, laid back."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from resefa_plugin import Factorizer, RegionPartition, Viewpoint
from resefa_plugin.atlas.atlas import Atlas
from resefa_plugin.callbacks.directions_writer import DirectionsWriter
from resefa_plugin.callbacks.progress import ProgressBar
from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.factorizer.results import RegionResult
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.hooks.latent_files import write_latents
from resefa_plugin.metrics.identity import Identity
from resefa_plugin.metrics.networks.lpips import LPIPS
from resefa_plugin.projection.framing import Framing, laid_in
from resefa_plugin.projection.likeness import Likeness
from resefa_plugin.projection.photograph import EDITED, Photograph
from resefa_plugin.projection.projector import Projection, Projector
from resefa_plugin.projection.tuning import Fit, TuningSettings, tune
from resefa_plugin.rayleigh.solvers import Auto
from resefa_plugin.report import pictures
from resefa_plugin.scripts.common import options, photographs

TILE = 320  # pixels, of a picture in a strip


@dataclass(frozen=True, eq=False)
class NamedMove:
    """An edit by name.

    Attributes:
        name: as it was looked for: `mouth opens`.
        directions: of which it is the first.
        strength: of it.
    """

    name: str
    directions: DirectionSet
    strength: float


@dataclass(frozen=True)
class Wishes:
    """What a user asked for.

    Attributes:
        regions: at the size of the picture that they are drawn on.
        in_photograph: whether that is the photograph, and not the aligned picture.
        how: see `frame`; face: which one.
        num_directions: for each region.
        strength: of the two edits along each.
        tuning: None for none.
        named: edits by name, which are made all at once.
        atlas: of the generator, whose channels directions are made of; None to search for them.
    """

    regions: Callable[[tuple[int, int]], list[RegionPartition]]
    in_photograph: bool
    how: Any
    face: int
    num_directions: int
    strength: tuple[float, float]
    tuning: TuningSettings | None
    named: Sequence[NamedMove] = ()
    atlas: Atlas | None = None


@dataclass(frozen=True)
class Means:
    """What it is done with; `lpips` and `identity` as `Projector` and `same_person` take them."""

    projector: Projector
    lpips: LPIPS
    identity: Identity | None


def edit_photograph(path: pathlib.Path, hook: GeneratorHook, wishes: Wishes, prepare: Callable[[], Means],
                    outdir: pathlib.Path) -> Iterator[pathlib.Path]:
    """Edits one photograph; gives the paths of what it wrote.

    Args:
        prepare: what takes a while, and is done only if there is a face.

    Raises ResefaError where there is no such face or region.
    """
    height, width = hook.image_shape[1:]
    photograph, framing = photographs.framed(path, wishes.how, wishes.face, (height, width))
    name, drawn = path.stem, wishes.regions(photograph.size if wishes.in_photograph else (height, width))
    face = framing.alignment.picture(photograph.rgb, (height, width))
    aligned = Image.fromarray(face)
    pictures.save_png(aligned, outdir / f'{name}-aligned.png')
    means = prepare()
    projection = _projected(means.projector, aligned, name, outdir)
    click.echo(f'{name}: {projection.likeness}', err=True)
    if wishes.tuning is not None:
        hook = _tuned(hook, aligned, projection, wishes.tuning, means.lpips, outdir)
    space = hook.space(means.projector.space_name)
    write_latents(outdir / 'projected_w.npz', space, projection.sample)
    viewpoint = Viewpoint(hook, space, projection.sample)
    unedited = pictures.to_uint8(render_edits(viewpoint.full(), viewpoint.zero()))[0]
    pictures.save_png(Image.fromarray(unedited), outdir / f'{name}-projected.png', EDITED)
    if means.identity is not None and (framing.faces or framing.points is not None):
        click.echo(f'{name}: {photographs.same_person(means.identity, face, unedited)}', err=True)

    if wishes.named:
        yield from _write_named(hook, wishes.named, projection.sample, unedited, photograph, framing, outdir)
    if not drawn:
        return
    partitions = [RegionPartition(framing.alignment.region(region.mask, (height, width)), region.name)
                  for region in drawn] if wishes.in_photograph else drawn
    if wishes.atlas is not None:
        viewpoint = wishes.atlas.viewpoint(hook, projection.sample)
    results = Factorizer([viewpoint], partitions, Auto(wishes.num_directions, quick=True),
                         callbacks=[ProgressBar(), DirectionsWriter(outdir, options.command_line())],
                         known=wishes.atlas).run()
    for result, region in zip(results, drawn, strict=True):
        for note in result.notes:
            click.echo(f'{result.name}: {note}', err=True)

        def lay(edited: NDArray[np.uint8], mask: NDArray[np.bool_] = region.mask) -> Image.Image:
            return laid_in(photograph, framing.alignment, unedited, edited, mask, wishes.in_photograph)

        yield from _write_edits(result, viewpoint, wishes.strength, lay, photograph, framing, outdir)


def _write_named(hook: GeneratorHook, named: Sequence[NamedMove], sample: Sample, unedited: NDArray[np.uint8],
                 photograph: Photograph, framing: Framing, outdir: pathlib.Path) -> Iterator[pathlib.Path]:
    """The edits by name in the photograph, and a strip of its face; the paths."""
    spaces = [move.directions.check_fits(hook) for move in named]
    viewpoint = Viewpoint(hook, spaces[0], sample).full()
    offset = np.sum([move.directions.offset(1, move.strength) for move in named], axis=0)
    edited = pictures.to_uint8(render_edits(viewpoint, torch.from_numpy(offset)[None]))[0]
    mask = np.any([move.directions.mask for move in named], axis=0)
    image, title = laid_in(photograph, framing.alignment, unedited, edited, mask), ', '.join(
        f'{move.name} {move.strength:+g}' for move in named)
    stem = '-'.join([sample.name, *(move.name.replace(' ', '-') for move in named)])
    path, face = outdir / f'{stem}.png', framing.alignment.extent(photograph.size)
    photograph.save(image, path)
    yield path
    strip = pictures.strip([photograph.image.crop(face), image.crop(face)], ['0', title], sample.name, TILE)
    pictures.save_jpeg(strip, outdir / f'{stem}-strip.jpg', note=EDITED)
    yield outdir / f'{stem}-strip.jpg'


def _projected(projector: Projector, aligned: Image.Image, name: str, outdir: pathlib.Path) -> Projection:
    """The sample of an aligned picture, with a bar that shows how alike they are."""
    with tqdm(total=projector.settings.passes, desc=f'{name}: likeness', unit='pass', dynamic_ncols=True) as bar:
        def show(likeness: Likeness) -> None:
            bar.set_postfix_str(f'MSE {likeness.mse:.4f}, LPIPS {likeness.lpips:.3f}', refresh=False)
            bar.update(likeness.passes - bar.n)

        return projector.project(aligned, name, progress=show, state=outdir / f'{name}-projection.npz')


def _tuned(hook: GeneratorHook, aligned: Image.Image, projection: Projection, settings: TuningSettings, lpips: LPIPS,
           outdir: pathlib.Path) -> GeneratorHook:
    """The generator tuned to an aligned picture; what was tuned is written."""
    name = projection.sample.name
    with tqdm(total=settings.passes, desc=f'{name}: tuning', unit='pass', dynamic_ncols=True) as bar:
        def show(fit: Fit) -> None:
            bar.set_postfix_str(f'MSE {fit.mse:.4f}, LPIPS {fit.lpips:.3f}', refresh=False)
            bar.update(fit.passes - bar.n)

        tuning, fit = tune(hook, aligned, projection.sample, lpips, settings, progress=show)
    tuning.save(outdir / f'{name}-tuned.safetensors')
    click.echo(f'{name}: {fit}', err=True)
    return tuning.applied(hook)


def _write_edits(result: RegionResult, viewpoint: Viewpoint, strength: tuple[float, float],
                 lay: Callable[[NDArray[np.uint8]], Image.Image], photograph: Photograph, framing: Framing,
                 outdir: pathlib.Path) -> Iterator[pathlib.Path]:
    """Both edits along each direction of a region, in the photograph, and a strip of its face; the paths."""
    face = framing.alignment.extent(photograph.size)
    strip, captions = [photograph.image.crop(face)], ['0']
    for index in range(1, len(result.directions) + 1):
        offsets = torch.stack([torch.from_numpy(result.directions.offset(index, value)) for value in strength])
        for word, edited, value in zip(('low', 'high'), pictures.to_uint8(render_edits(viewpoint.full(), offsets)),
                                       strength, strict=True):
            image, path = lay(edited), outdir / f'{result.name}-{index}-{word}.png'
            photograph.save(image, path)
            yield path
            strip.append(image.crop(face))
            captions += [f'{index}: {caption}' for caption in pictures.strength_captions([value])]
    path = outdir / f'{result.name}-strip.jpg'
    pictures.save_jpeg(pictures.strip(strip, captions, result.name, TILE), path, note=EDITED)
    yield path
