"""The directions of one region as the studio knows them: solved at once, looked at and measured later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image

from resefa_plugin.atlas.atlas import Atlas
from resefa_plugin.attributes.changes import attribute_changes, seen_by_parser
from resefa_plugin.attributes.labels import STRENGTH, direction_labels
from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.editing.strength import calibrate, render_edits, uncalibrated
from resefa_plugin.factorizer.constraints import Constraints
from resefa_plugin.factorizer.protection import Protection
from resefa_plugin.factorizer.steps import direction_set, find_directions, worthwhile
from resefa_plugin.hooks.base import Sample
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.rayleigh.solvers import Solver
from resefa_plugin.regions.partition import RegionPartition
from resefa_plugin.report import pictures
from resefa_plugin.studio.work.sources import Source

END_STRENGTH = 3.0
END_SIDE = 128  # pixels


@dataclass(frozen=True)
class EditName:
    """What a direction is known for, if an atlas has tried it on faces.

    Attributes:
        more, less: what one sees at positive and at negative strength.
        group: the part of the picture that it changes, for a person: `Mouth`.
        works, faces: on how many of so many faces it does what it is called.
        usual: whether it lies where the command line looks for it by its name.
    """

    more: str
    less: str
    group: str
    works: int = 0
    faces: int = 0
    usual: bool = False


@dataclass(frozen=True, eq=False)
class Finding:
    """Directions of a region.

    Attributes:
        partition: the region that was changed.
        protect: the regions that were protected.
        directions: `measured_*` hold what is predicted until they are measured.
        source, sample: where they were found.
        inside, outside: `[k]`, predicted mean squared change per squared length.
        measured: so many directions, from the first, have been measured.
        ends: JPEGs at strength -3 and +3 of so many directions, from the first, of the sample `pictured`.
        quick: found without the Jacobian, to a coarser tolerance.
        labelled: so many directions, from the first, have been looked at to be named.
        given: they come from a file of the user's, and not from this studio.
        name: of an edit of an atlas, whose only direction this is; it belongs to no region that is drawn.
    """

    partition: RegionPartition
    protect: tuple[Protection, ...]
    directions: DirectionSet
    source: Source
    sample: Sample
    inside: np.ndarray
    outside: np.ndarray
    measured: int = 0
    ends: tuple[tuple[bytes, bytes], ...] = ()
    quick: bool = False
    labelled: int = 0
    given: bool = False
    pictured: Sample | None = None
    name: EditName | None = None

    def is_pictured(self, sample: Sample) -> bool:
        """Whether there are pictures of all ends, and of this sample."""
        return self.pictured is sample and len(self.ends) == len(self.directions)


def solve(jacobian: RegionJacobian, region: RegionPartition, solver: Solver, constraints: Constraints, source: Source,
          progress: Callable[[int, float], None]) -> Finding:
    """Solves the quotient of a region (Eq. 7 to 12), without the Jacobian where it is not computed.

    Args:
        progress: called along a search with the products so far and the largest residual.

    Raises RegionError and SolverError.
    """
    directions, (inside, outside) = find_directions(jacobian, region, solver, constraints, progress)
    partition = RegionPartition(directions.mask, region.name)
    return Finding(partition, constraints.protect, directions, source, jacobian.viewpoint.sample, inside, outside,
                   quick=not jacobian.serves_regions)


def finding_of(directions: DirectionSet, name: str, source: Source, sample: Sample,
               protect: tuple[Protection, ...] = (), *, measured: int, labelled: int, quick: bool = False,
               given: bool = False) -> Finding:
    """Directions of a file as those of a region of that name; pictures of their ends are yet to be made."""
    squared = directions.step ** 2
    return Finding(RegionPartition(directions.mask, name), protect, directions, source, sample,
                   directions.predicted_inside / squared, directions.predicted_outside / squared, measured=measured,
                   labelled=labelled, quick=quick, given=given)


def look_up(atlas: Atlas, viewpoint: Viewpoint, region: RegionPartition, solver: Solver, constraints: Constraints,
            source: Source) -> Finding:
    """The directions that an atlas knows of a region, to be replaced by the sample's own. Raises as `solve` does."""
    solved = atlas.solve(viewpoint, region, solver, constraints)
    count = worthwhile(solved.solution, solver.count(viewpoint.dim))
    assert solved.slopes is not None  # an atlas has them
    inside, outside = solved.slopes[0][:count], solved.slopes[1][:count]
    directions = direction_set([viewpoint], solved, uncalibrated((inside, outside)), constraints)
    return Finding(RegionPartition(directions.mask, region.name), constraints.protect, directions, source,
                   viewpoint.sample, inside, outside, quick=True)


def with_ends(finding: Finding, viewpoint: Viewpoint, breathe: Callable[[], None]) -> Finding:
    """The finding with pictures of both ends of the next direction, at the viewpoint's sample and resolution."""
    if finding.pictured is not viewpoint.sample:
        finding = replace(finding, ends=(), pictured=viewpoint.sample)
    index = len(finding.ends)
    offsets = [torch.from_numpy(finding.directions.offset(index + 1, s)) for s in (-END_STRENGTH, END_STRENGTH)]
    images = pictures.to_uint8(render_edits(viewpoint, torch.stack(offsets), breathe))
    window = _window(finding.partition.mask, images.shape[1:3])
    low, high = (pictures.jpeg_bytes(pictures.thumbnail(Image.fromarray(image).crop(window), END_SIDE))
                 for image in images)
    return replace(finding, ends=(*finding.ends, (low, high)))


def _window(mask: np.ndarray, size: tuple[int, ...]) -> tuple[int, int, int, int]:
    """A square around a region with room on its sides, `(left, top, right, bottom)` in a picture of `size` (h, w)."""
    rows, columns = np.nonzero(mask)
    scale = size[0] / mask.shape[0]
    extent = max(np.ptp(rows) + 1, np.ptp(columns) + 1) * scale
    side = min(int(np.ceil(max(extent * 1.5, max(size) / 5))), *size)
    top, left = (min(max(0, round((indices.min() + indices.max() + 1) / 2 * scale - side / 2)), length - side)
                 for indices, length in ((rows, size[0]), (columns, size[1])))
    return left, top, left + side, top + side


def with_measured(finding: Finding, viewpoint: Viewpoint, breathe: Callable[[], None]) -> Finding:
    """The finding with the step of the next direction, and what it changes, as measured."""
    one = slice(finding.measured, finding.measured + 1)
    calibration = calibrate([viewpoint], finding.partition, finding.directions.directions[one],
                            (finding.inside[one], finding.outside[one]), breathe=breathe)
    arrays = {}
    for name in ('step', 'predicted_inside', 'predicted_outside', 'measured_inside', 'measured_outside'):
        arrays[name] = getattr(finding.directions, name).copy()
        arrays[name][one] = getattr(calibration, name)
    return replace(finding, directions=replace(finding.directions, **arrays), measured=finding.measured + 1)


def with_label(finding: Finding, viewpoint: Viewpoint, networks: Networks, breathe: Callable[[], None]) -> Finding:
    """The finding with the next direction named, where it is clear what it does to a face."""
    index, labels = finding.labelled, list(finding.directions.labels)
    offset = torch.from_numpy(finding.directions.offset(index + 1, 1.0))
    changes = attribute_changes([seen_by_parser(viewpoint)], offset[None], networks, STRENGTH, finding.partition,
                                breathe=breathe)
    labels[index], = direction_labels(changes)
    return replace(finding, directions=finding.directions.labelled(labels), labelled=index + 1)
