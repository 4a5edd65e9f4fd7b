"""Regions, and their directions."""

from __future__ import annotations

import pathlib
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from resefa_plugin.errors import ResefaError
from resefa_plugin.regions.files import fit_mask, read_mask
from resefa_plugin.studio import view
from resefa_plugin.studio.answers.parts import SAVE_TIMEOUT, Answer, bend, pictures_and_state, state
from resefa_plugin.studio.desk import Desk
from resefa_plugin.studio.jobs import Job
from resefa_plugin.studio.request import Request
from resefa_plugin.studio.work.parts import SeenParts

PROMPT = 0.25  # seconds: directions that are found by then are in the answer, later ones come with a later status

if TYPE_CHECKING:
    from resefa_plugin.studio.actions import Studio


def decoded_mask(studio: Studio, request: Request) -> np.ndarray[Any, Any]:
    """A mask that came, at the picture's size."""
    _, height, width = studio.hook.image_shape
    with tempfile.TemporaryDirectory(dir=studio.temporary_folder) as folder:
        path = pathlib.Path(folder) / 'mask.png'
        path.write_bytes(request.content('mask'))
        try:
            return fit_mask(read_mask(path), (height, width))
        except ResefaError as error:  # which tells our name of the file
            raise ResefaError(str(error).replace(str(path), 'mask')) from error


def region(studio: Studio, desk: Desk, request: Request) -> Answer:
    """A region, new or drawn anew. The picture comes only where it has changed: with the directions of the region."""
    before = desk.session.state
    name, protect = request.text('name'), request.flag('protect', False)
    desk.session.set_region(name, decoded_mask(studio, request), protect)
    after = desk.session.state
    if after.strengths == before.strengths and after.bend is before.bend:
        return state(desk)
    return {**pictures_and_state(desk), **(bend(desk) if after.strengths else {})}


def mask_file(studio: Studio, desk: Desk, request: Request) -> Answer:
    """A mask of any size as one of the picture's, for the page to draw."""
    return {'mask': view.mask_url(decoded_mask(studio, request))}


def remove(studio: Studio, desk: Desk, request: Request) -> Answer:
    """Removes a region, and its directions."""
    desk.session.remove_region(request.text('name'))
    return pictures_and_state(desk)


def factorize(studio: Studio, desk: Desk, request: Request) -> Answer:
    """Finds the directions of a region."""
    job = desk.factorize(request.text('name'))
    if job is not None and job.urgent:
        job.wait(PROMPT)
    return state(desk)


def parts(studio: Studio, desk: Desk, request: Request) -> Answer:
    """Which parts are where in the picture: of a face, or those of the network itself if `own`.

    Those of the network also where no face is seen. Once parts of a face are known, directions are named, too.
    """
    own = request.flag('own', False)
    job = _looked_for(studio, desk, own)
    if not own and studio.own_parts is not None and isinstance(job.error, ResefaError):
        own, job = True, _looked_for(studio, desk, True)
    if job.error is not None:
        raise job.error
    if job.result is None:
        raise ResefaError('looking for parts was cancelled')
    if not own and desk.session.networks is None:
        desk.session.networks = studio.networks
        desk.complete()
    return {'map': view.labels_url(job.result.labels), 'parts': list(job.result.titles), 'own': own}


def part(studio: Studio, desk: Desk, request: Request) -> Answer:
    """A part as a mask: of the face, with room to move, or of the network itself if `own`."""
    _, height, width = studio.hook.image_shape
    seen = _seen(studio, desk, request.flag('own', False))
    return {'mask': view.mask_url(seen.mask(request.text('part'), (height, width)))}


def _looked_for(studio: Studio, desk: Desk, own: bool) -> Job:
    title = 'Looking for parts of this network' if own else 'Looking for parts of a face'
    job = desk.save(title, lambda breathe: _seen(studio, desk, own))
    job.wait(SAVE_TIMEOUT)
    return job


def _seen(studio: Studio, desk: Desk, own: bool) -> SeenParts:
    if not own:
        return desk.session.parts(studio.networks)
    if studio.own_parts is None:
        raise ResefaError('the parts that a network has itself are in its atlas: make it once with `resefa atlas`')
    return studio.own_parts.parts
