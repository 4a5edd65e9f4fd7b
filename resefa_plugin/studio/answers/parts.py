"""Parts of answers."""

from __future__ import annotations

from typing import Any, TypeAlias

from resefa_plugin.studio import view
from resefa_plugin.studio.desk import Desk
from resefa_plugin.studio.jobs import FAILED

Answer: TypeAlias = dict[str, Any]  # plain values, as JSON has them
SAVE_TIMEOUT = 600.0  # seconds


def pictures_and_state(desk: Desk, masks: bool = False) -> Answer:
    """Everything that a page shows, after a change of the sample or the edit."""
    session = desk.session
    original = view.jpeg_url(session.render(scale=0.0))
    picture = view.jpeg_url(session.render()) if session.state.strengths else original
    return {'original': original, 'picture': picture, **state(desk, masks)}


def state(desk: Desk, masks: bool = False) -> Answer:
    """What changes without the picture, with the drawings of the regions if `masks`."""
    return {'state': view.state_view(desk.session, masks), 'status': view.status_view(desk)}


def bend(desk: Desk) -> Answer:
    """Bends the edit if its background is to be kept; a note says what of it could not be kept, or why all failed."""
    if not desk.session.state.keep:
        return {}
    job = desk.keep_background()
    job.wait(SAVE_TIMEOUT)
    note = str(job.error) if job.state == FAILED else '; '.join(desk.session.state.shortfalls)
    return {'note': note[0].upper() + note[1:]} if note else {}
