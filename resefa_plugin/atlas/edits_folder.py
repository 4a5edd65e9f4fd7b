"""The named edits of an atlas on disk: a directions file for each, and a page that shows them all."""

from __future__ import annotations

import difflib
import pathlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from resefa_plugin.atlas.atlas import EDITS, PAGE, Atlas
from resefa_plugin.atlas.catalogue import NamedEdit, best_proposals, part_regions, propose, spoken, verify
from resefa_plugin.attributes.changes import seen_by_parser
from resefa_plugin.attributes.face_parts import FaceParts
from resefa_plugin.attributes.gradients import attribute_gradients
from resefa_plugin.attributes.scores import ATTRIBUTES
from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.machine.pixels import to_uint8
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.regions.partition import parse_region
from resefa_plugin.regions.presets import FACE_PRESETS
from resefa_plugin.report.edits_page import EditCard, write_edits_page
from resefa_plugin.report.pictures import region_box

MEASURED, FACES = 3, 16  # samples that attributes are measured at, and other ones that edits are tried on
SHOWN, ENDS = 3, (-2.0, 0.0, 2.0)  # faces in the page, and strengths


@dataclass(frozen=True)
class KnownEdit:
    """A named edit in a folder.

    Attributes:
        path: of its directions file.
        more, less: what one sees at positive and at negative strength.
    """

    path: pathlib.Path
    more: str
    less: str


def make_edits(atlas: Atlas, hook: GeneratorHook, folder: pathlib.Path, networks: Networks,
               progress: Callable[[str], None] = lambda what: None) -> list[NamedEdit]:
    """Finds the named edits of a generator of aligned faces, and writes them into the folder of its atlas.

    Args:
        networks: with `parsing`.
        progress: called after each step with what it was.
    """
    size = hook.image_shape[1:]
    viewpoints = [atlas.viewpoint(hook, sample) for sample in atlas.samples(hook, MEASURED)]
    taken = set(atlas.facts.seeds)
    seeds = [seed for seed in range(len(taken) + FACES) if seed not in taken][:FACES]
    first = viewpoints[0].sample
    faces = [atlas.viewpoint(hook, hook.sample(seed, first.truncation_psi, first.truncation_cutoff, first.c))
             for seed in seeds]
    seen = []
    for face in faces:
        viewpoint = seen_by_parser(face)
        seen.append(FaceParts(render_edits(viewpoint, viewpoint.zero()), networks))
    regions = [*(parse_region(name, size) for name in FACE_PRESETS), *part_regions(seen, size)]
    gradients = [attribute_gradients(viewpoint, list(ATTRIBUTES), networks) for viewpoint in viewpoints]
    progress('derivatives of the attributes')
    proposals = []
    for region in regions:
        proposals += propose(atlas, viewpoints, region, networks, gradients)
        progress(f'directions of {region.name}')
    found: list[NamedEdit] = []
    for of_attribute in best_proposals(proposals):
        for proposal in of_attribute:
            edit = verify(proposal, viewpoints, faces, networks)
            progress(f'trying {proposal.attribute}')
            if edit is not None:
                found.append(edit)
                break
    shutil.rmtree(folder / EDITS, ignore_errors=True)  # those that were found before
    for edit in found:
        edit.directions.save(folder / EDITS / f'{edit.stem}.npz')
    cards = [_card(edit, faces[:SHOWN]) for edit in found]
    write_edits_page(folder / PAGE, hook.name, hook.licence or 'unknown', cards)
    return found


def known_edits(folder: pathlib.Path) -> list[KnownEdit]:
    """The named edits in the folder of an atlas. Raises DirectionsError for a damaged file."""
    found = []
    for path in sorted((folder / EDITS).glob('*.npz')):
        directions = DirectionSet.load(path)
        more, less = directions.labels[0].removesuffix(' +'), directions.metadata.extra.get('less')
        if more and isinstance(less, str):
            found.append(KnownEdit(path, more, less))
    return found


def find_edit(folder: pathlib.Path, name: str) -> tuple[KnownEdit, int]:
    """The edit that does what a name says, and whether at positive (1) or at negative (-1) strength.

    Args:
        folder: of the atlas.
        name: one of the words for its ends, in any case: `mouth opens`.

    Raises ResefaError, which lists the names, if there is none of this one.
    """
    edits = known_edits(folder)
    ends = {spoken(word): (edit, sign) for edit in edits for word, sign in ((edit.less, -1), (edit.more, 1))}
    if spoken(name) in ends:
        return ends[spoken(name)]
    if not edits:
        raise ResefaError(f'no named edits in {folder}: `resefa atlas --edits`, with the same --network and --trunc, '
                          'finds them, once for a network; it says how long that takes')
    close = difflib.get_close_matches(spoken(name), ends, 1)
    hint = f"did you mean '{close[0]}'? " if close else ''
    raise ResefaError(f"'{name}' is none of the network's edits: {hint}there are {', '.join(sorted(ends))}")


def _card(edit: NamedEdit, faces: Sequence[Viewpoint]) -> EditCard:
    """What the page shows of an edit: the part around its region at three strengths, on some faces."""
    mask, rows = edit.directions.mask, []
    box = region_box(mask)
    for face in faces:
        whole = face.full()
        offsets = torch.from_numpy(np.stack([edit.directions.offset(1, strength) for strength in ENDS]))
        rows.append([Image.fromarray(picture).crop(box) for picture in to_uint8(render_edits(whole, offsets))])
    return EditCard(edit.more, edit.less, edit.directions.metadata.region, edit.works, edit.faces, rows,
                    float(edit.directions.measured_outside[0]))
