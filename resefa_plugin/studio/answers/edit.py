"""The edit, and the way back from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resefa_plugin.errors import ResefaError
from resefa_plugin.studio import view
from resefa_plugin.studio.answers.parts import Answer, bend, pictures_and_state, state
from resefa_plugin.studio.desk import Desk
from resefa_plugin.studio.limits import MAX_COUNT
from resefa_plugin.studio.request import Request
from resefa_plugin.studio.work.state import MAX_REGIONS, MAX_STRENGTH

if TYPE_CHECKING:
    from resefa_plugin.studio.actions import Studio


def render(studio: Studio, desk: Desk, request: Request) -> Answer:
    """The picture at some strengths: a small one while a slider is dragged, the full one when it is released."""
    session, strengths = desk.session, {}
    # Directions of a file may be more than the studio finds.
    count = max([session.num_directions, *(len(found.directions) for found in session.state.findings.values())])
    for item in request.items('strengths', MAX_REGIONS * count + len(studio.named)):
        if not isinstance(item, list) or len(item) != 3:
            raise ResefaError('a strength is [region, index, value]')
        move = Request(dict(zip(('region', 'index', 'strength'), item, strict=True)))
        where = move.text('region'), move.integer('index', 0, count - 1)
        strengths[where] = move.number('strength', -MAX_STRENGTH, MAX_STRENGTH)
    full = request.flag('full', False)
    studio.queue.slider_moved()
    desk.session.set_strengths(strengths, remember=full)
    if not full:
        return {'picture': view.jpeg_url(desk.session.render(desk.session.preview_resolution))}
    note = bend(desk)
    return {'picture': view.jpeg_url(desk.session.render()), **note, **state(desk)}


def keep(studio: Studio, desk: Desk, request: Request) -> Answer:
    """Whether the background of the edit is to be kept."""
    desk.session.set_keep(request.flag('keep'))
    note = bend(desk)
    return {**pictures_and_state(desk), **note}


def heat(studio: Studio, desk: Desk, request: Request) -> Answer:
    """Where the picture changes, and how much."""
    picture, inside, outside, top = desk.session.change()
    return {'picture': view.jpeg_url(picture), 'inside': inside, 'outside': outside, 'top': top}


def go(studio: Studio, desk: Desk, request: Request) -> Answer:
    """Back or forth in the history, by a number of steps."""
    desk.session.go(request.integer('steps', -MAX_COUNT, MAX_COUNT))
    desk.prepare()
    desk.complete()
    note = bend(desk)  # a step of an earlier day is straight
    return {**pictures_and_state(desk, masks=True), **note}


def look(studio: Studio, desk: Desk, request: Request) -> Answer:
    """Everything that is on the screen, for a page that has missed something."""
    return pictures_and_state(desk, masks=True)
