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
from resefa_plugin.studio.request import Request
from resefa_plugin.studio.work.parts import PARTS

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
    """Which parts of a face are where in the picture; from then on, directions are named, too."""
    job = desk.save('Looking for parts of a face', lambda breathe: desk.session.parts(studio.networks))
    job.wait(SAVE_TIMEOUT)
    if job.error is not None:
        raise job.error
    if job.result is None:
        raise ResefaError('looking for parts was cancelled')
    if desk.session.networks is None:
        desk.session.networks = studio.networks
        desk.complete()
    return {'map': view.labels_url(job.result.labels), 'parts': list(PARTS)}


def part(studio: Studio, desk: Desk, request: Request) -> Answer:
    """A part of the face as a mask, with room to move."""
    _, height, width = studio.hook.image_shape
    mask = desk.session.parts(studio.networks).mask(request.text('part'), (height, width))
    return {'mask': view.mask_url(mask)}
