"""Named edits: of each attribute of a face, the direction of an atlas that moves it most for what it changes elsewhere.

Each edit is one directions file, with the words for both ends, and on how many faces it does what they say.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from resefa_plugin.atlas.atlas import OWN_CHANNELS, Atlas
from resefa_plugin.attributes.changes import attribute_changes, seen_by_parser
from resefa_plugin.attributes.combination import best_weights
from resefa_plugin.attributes.face_parts import CLASSES, FaceParts
from resefa_plugin.attributes.gradients import attribute_gradients
from resefa_plugin.attributes.labels import STRENGTH
from resefa_plugin.attributes.scores import ATTRIBUTES, PART_OF
from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.editing.strength import STRENGTH_RMS, calibrate, render_edits
from resefa_plugin.factorizer.constraints import Constraints
from resefa_plugin.factorizer.steps import RegionSolution, direction_set, mean_slopes, spanned, with_direction
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.rayleigh.operators import DenseGrams
from resefa_plugin.rayleigh.problem import TAU
from resefa_plugin.rayleigh.solvers import Auto
from resefa_plugin.regions.partition import RegionPartition

SMALLEST = 1e-3  # share of a picture that a part covers
MOST = 0.6  # of the faces, on which an edit has to do what it is called
BESIDE = 0.5  # of that: how far another part of the face may move
# What a change of the region counts for, relative to one outside, from least to most: None takes it for a gain. The
# more it counts, the more of what changes is what is wanted, and the more leaks. The first is taken by which an edit is
# thought to move its attribute ENOUGH times as far as its name says.
COUNTED, ENOUGH = (None, 0.03, 0.1, 0.3, 1.0), 3.0
TRIED = 3  # regions for an attribute, until an edit is found


@dataclass(frozen=True, eq=False)
class Proposal:
    """A direction of a region that is thought to move an attribute.

    Attributes:
        attribute: its name.
        solved: the region's directions, among which this one is the only one.
        merit: how far the region can move the attribute, squared, for what changes in the whole picture, to first
            order. What changes outside would be too little to compare regions by: a mouth can do anything where all of
            the face is the region.
        predicted: how far it moves it from strength -3 to 3 to first order; 1 is as far as its name says.
    """

    attribute: str
    solved: RegionSolution
    merit: float
    predicted: float


@dataclass(frozen=True, eq=False)
class NamedEdit:
    """An edit that does what its name says.

    Attributes:
        attribute: what it moves.
        more, less: what one sees at positive and at negative strength.
        directions: of one direction.
        works: on how many of the faces it was tried on it does what it is called, at strengths up to 3 both ways.
        faces: how many these were.
    """

    attribute: str
    more: str
    less: str
    directions: DirectionSet
    works: int
    faces: int

    @property
    def stem(self) -> str:
        """Of the names of its files: `mouth-opens`."""
        return re.sub('[^a-z0-9]+', '-', self.more.lower())


def propose(atlas: Atlas, viewpoints: Sequence[Viewpoint], region: RegionPartition, networks: Networks,
            gradients: Sequence[Tensor], tau: float = TAU) -> list[Proposal]:
    """For each attribute of a region the best combination of its channels, see `attributes.combination`.

    Args:
        atlas: which knows what they change.
        viewpoints: of the atlas; samples at which attributes are differentiated.
        region: at the size of the generator's pictures.
        networks: of which `parsing` is used.
        gradients: `[attributes, d]` of each sample, of the whole picture; those that are cropped to a region are taken
            anew.
        tau: the ridge of the quotient relative to tr(B).
    """
    solved = atlas.solve(viewpoints[0], region, Auto(1, tau), channels=OWN_CHANNELS)
    first = seen_by_parser(viewpoints[0])
    span, grams = spanned(solved, 1, Constraints())
    parts = FaceParts(render_edits(first, first.zero()), networks, solved.region)
    belonging = [name for name, attribute in ATTRIBUTES.items() if attribute.belongs(parts)]
    cropped = [name for name in belonging if ATTRIBUTES[name].cropped]
    anew = [attribute_gradients(viewpoint, cropped, networks, solved.region) if cropped else torch.empty(0)
            for viewpoint in viewpoints]
    found = []
    for name in belonging:
        of_samples = [here[cropped.index(name)] if name in cropped else whole[list(ATTRIBUTES).index(name)]
                      for here, whole in zip(anew, gradients, strict=True)]
        rate = np.median([span @ gradient.numpy() for gradient in of_samples], axis=0)
        if not rate.any():
            continue
        made = [_proposal(name, rate, best_weights(rate, span, grams, tau, counted), span, grams, solved, atlas)
                for counted in COUNTED]
        enough = [proposal for proposal in made if proposal.predicted >= ENOUGH]
        # Regions are compared by the most that each can do.
        found.append(dataclasses.replace((enough or made[-1:])[0], merit=made[-1].merit))
    return found


def _proposal(name: str, rate: NDArray[np.float64], weights: NDArray[np.float64], span: NDArray[np.float64],
              grams: DenseGrams, solved: RegionSolution, atlas: Atlas) -> Proposal:
    """What some weights `[k]` of the rows of a span do to an attribute that these rows move by a rate `[k]`."""
    weights = weights / np.linalg.norm(weights)
    (inside,), _ = atlas.slopes(solved.region, grams, weights[None])
    moved, cost = float(rate @ weights), float(weights @ (grams.A + grams.B) @ weights)
    tiny = float(np.finfo(np.float64).tiny)  # of what changes nothing at all
    predicted = 2 * STRENGTH * STRENGTH_RMS * moved / max(float(inside), tiny) ** 0.5 / ATTRIBUTES[name].least
    return Proposal(name, with_direction(solved, weights @ span), moved ** 2 / max(cost, tiny), predicted)


def best_proposals(proposals: Sequence[Proposal]) -> list[list[Proposal]]:
    """Of each attribute the proposals of the regions that move it best, TRIED at most, in the order of ATTRIBUTES.

    Those that are thought to move it less than its name says come last.
    """
    of_attribute = ([each for each in proposals if each.attribute == name] for name in ATTRIBUTES)
    return [sorted(them, key=lambda each: (-min(each.predicted, 1.0), -each.merit))[:TRIED]
            for them in of_attribute if them]


def verify(proposal: Proposal, viewpoints: Sequence[Viewpoint], faces: Sequence[Viewpoint], networks: Networks,
           progress: Callable[[], None] = lambda: None) -> NamedEdit | None:
    """Tries a proposal on faces; None if it does not do on most of them what it would be called.

    Args:
        viewpoints: samples of the atlas, where its strength is measured.
        faces: other samples in the space of the atlas.
        progress: called after each face.
    """
    solved, words = proposal.solved, ATTRIBUTES[proposal.attribute]
    calibration = calibrate(viewpoints, solved.region, solved.solution.directions,
                            mean_slopes(viewpoints, solved.region, solved.solution.directions))
    directions = direction_set(viewpoints, solved, calibration, Constraints())
    number, offset = list(ATTRIBUTES).index(proposal.attribute), torch.from_numpy(directions.offset(1, 1.0))[None]
    values, works, belongs = np.empty((len(faces), len(ATTRIBUTES))), 0, np.zeros(len(ATTRIBUTES), bool)
    for i, face in enumerate(faces):
        changes = attribute_changes([seen_by_parser(face)], offset, networks, STRENGTH, solved.region)
        assert changes.steady is not None and changes.belongs is not None  # a region was given
        values[i] = changes.values[0, 0].numpy()
        works += int(changes.steady[0, 0, number] and values[i, number] >= words.least)
        belongs = changes.belongs.numpy() if i == 0 else belongs
        progress()
        if works + len(faces) - i - 1 < MOST * len(faces):
            return None
    least = np.array([attribute.least for attribute in ATTRIBUTES.values()])
    moved = np.where(belongs, np.nanmedian(np.abs(values), axis=0) / least, 0)
    beside = [PART_OF[name] != PART_OF[proposal.attribute] for name in ATTRIBUTES]
    if moved.argmax() != number or moved[beside].max() > BESIDE * moved[number]:
        return None
    named = directions.labelled([f'{words.more} +'])
    extra = {**named.metadata.extra, 'works': works, 'faces': len(faces), 'less': words.less,
             'part': PART_OF[proposal.attribute]}
    return NamedEdit(proposal.attribute, words.more, words.less,
                     dataclasses.replace(named, metadata=dataclasses.replace(named.metadata, extra=extra)), works,
                     len(faces))


def spoken(name: str) -> str:
    """The name of an edit as it is looked for: without case, and one blank between words."""
    return ' '.join(re.findall('[a-z0-9]+', name.lower()))


def part_regions(faces: Sequence[FaceParts], image_size: tuple[int, int]) -> list[RegionPartition]:
    """The parts of a face as regions, where most of some aligned faces have them: `parser_hair`, ...

    Args:
        faces: some, of the generator.
        image_size: `(H, W)` of its pictures.
    """
    found = []
    for name in CLASSES[1:]:  # the first is the background
        mean = torch.stack([face.map(name) for face in faces]).mean(dim=0)
        mask = functional.interpolate(mean[None, None], image_size, mode='bilinear', antialias=True)[0, 0] > 0.5
        if mask.double().mean() > SMALLEST:
            found.append(RegionPartition(mask.numpy(), f'parser_{name}'))
    return found
