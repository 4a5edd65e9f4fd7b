"""What is under way, and whether anybody looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resefa_plugin.studio import view
from resefa_plugin.studio.answers.parts import Answer
from resefa_plugin.studio.desk import Desk
from resefa_plugin.studio.limits import MAX_COUNT
from resefa_plugin.studio.request import Request

if TYPE_CHECKING:
    from resefa_plugin.studio.actions import Studio


def status(studio: Studio, desk: Desk, request: Request) -> Answer:
    """What is under way, with the state if it is another than the page's `version`."""
    answer: Answer = {'status': view.status_view(desk)}
    number, picture = desk.likeness
    searching = any(job.kind == 'photograph' for job in desk.jobs())
    if searching and picture is not None and request.get('likeness') != number:
        answer['likeness'] = {'number': number, 'picture': view.jpeg_url(picture)}
    if request.get('version') != desk.session.version:
        answer['state'] = view.state_view(desk.session)
    return answer


def cancel(studio: Studio, desk: Desk, request: Request) -> Answer:
    """Cancels a job by its number."""
    desk.cancel(request.integer('number', 0, MAX_COUNT))
    return {'status': view.status_view(desk)}


def prepare(studio: Studio, desk: Desk, request: Request) -> Answer:
    """Prepares the sample again, after that was cancelled."""
    desk.prepare()
    return {'status': view.status_view(desk)}


def leave(studio: Studio, desk: Desk, request: Request) -> Answer:
    """The page is closed, or loaded anew: what is under way goes on for a moment, in case it comes back."""
    desk.page_left()
    studio.store.leave(request.get('token'))
    return {}
