"""Files that people have, told apart by their content: work of the studio, directions, a photograph, a latent."""

from __future__ import annotations

import pathlib
import re
from dataclasses import replace

import numpy as np
import torch

from resefa_plugin.checkpoints.formats import NPZ, PICTURE, ZIP, format_of_file
from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.errors import RegionError, ResefaError
from resefa_plugin.hooks.base import GeneratorHook, LatentSpace, Sample
from resefa_plugin.hooks.style_based import StyleBasedHook
from resefa_plugin.regions.partition import NAME
from resefa_plugin.studio.files.archive import holds, holds_work
from resefa_plugin.studio.work.findings import finding_of
from resefa_plugin.studio.work.sources import Source, seed_sample
from resefa_plugin.studio.work.state import MAX_REGIONS, Region, State

WORK, DIRECTIONS, PHOTOGRAPH, LATENT = 'work', 'directions', 'photograph', 'latent'
SAME = 1e-4  # relative: a latent that is mapped anew on another machine


def kind_of(path: pathlib.Path) -> str:
    """What a file is for the studio; whatever is none of the others is taken for a latent, whose reader says more.

    Raises ResefaError for a zip that no version of the studio opens.
    """
    with open(path, 'rb') as file:
        head = file.read(12)
    kind = format_of_file(path)
    if kind == PICTURE or head[4:8] == b'ftyp':  # as phones write them
        return PHOTOGRAPH
    if kind == ZIP and not holds_work(path):
        raise ResefaError('this zip holds no work of the studio: open one that "Everything" has saved, or the files '
                          'that are in it, one by one')
    if holds_work(path):
        return WORK
    return DIRECTIONS if kind == NPZ and holds(path, 'metadata.npy') else LATENT


def opened_directions(path: pathlib.Path, hook: GeneratorHook, state: State) -> tuple[str, State]:
    """Directions of a file with their region: its name, and the state with them.

    They are shown on the sample that they were found at if nothing was found yet, else on the one on the screen.
    Directions of another space are dropped. Raises ResefaError for a file that does not fit the generator.
    """
    directions = DirectionSet.load(path)
    space = directions.check_fits(hook)
    own, same = _origin(directions, space, hook), (space.name, space.layers) == (state.space, state.layers)
    name = _region_name(directions, {name: region.mask for name, region in state.regions.items()})
    if name not in state.regions and len(state.regions) >= MAX_REGIONS:
        raise RegionError(f'there are {MAX_REGIONS} regions already: remove one first')
    source, sample = own or (state.source, state.sample)
    finding = finding_of(directions, name, source, sample, measured=len(directions), labelled=len(directions),
                         given=True)
    strengths = {key: value for key, value in state.strengths.items() if same and key[0] != name}
    opened = replace(state, space=space.name, layers=space.layers, strengths=strengths, bend=None, shortfalls=(),
                     regions={**state.regions, name: Region(finding.partition.mask)},
                     findings={**(state.findings if same else {}), name: finding})
    if own and not state.findings:
        opened = replace(opened, source=source, sample=sample, photograph=None)
    return name, opened


def _region_name(directions: DirectionSet, taken: dict[str, np.ndarray]) -> str:
    """What the region of a file is called: as in the file, with a number if another mask of `taken` has that name."""
    stem = directions.metadata.region if re.fullmatch(NAME, directions.metadata.region) else 'opened'
    name, number = stem, 1
    while name in taken and not np.array_equal(taken[name], directions.mask):
        number += 1
        name = f'{stem[:60]}{number}'
    return name


def _origin(directions: DirectionSet, space: LatentSpace, hook: GeneratorHook) -> tuple[Source, Sample] | None:
    """The sample that directions were found at; None for those of a pool, and where it cannot be made again."""
    metadata = directions.metadata
    if len(metadata.seeds) > 1:
        return None
    for seed in metadata.seeds:
        source = Source(seed, metadata.truncation_psi, metadata.truncation_cutoff)
        try:
            sample = seed_sample(hook, source)
        except ResefaError:  # of a class, which the file does not name
            continue
        native = space.latent(sample).cpu().numpy()
        if native.shape == directions.latent.shape and np.allclose(native, directions.latent, rtol=SAME, atol=SAME):
            return source, sample
    if isinstance(hook, StyleBasedHook) and space.name in ('w', 'w+'):
        sample = hook.sample_from_ws(torch.from_numpy(directions.latent), 'proj00')
        return Source(note='the latent of the directions file'), sample
    return None
