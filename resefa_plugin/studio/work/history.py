"""The steps of a session: back and forth between them, each with a name that a person knows it by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from resefa_plugin.studio.work.state import State

STEPS = 40  # that are kept; they share what they have in common, and a mask of 1024 x 1024 is a megabyte


@dataclass(frozen=True, eq=False)
class Step:
    """A state, and what was done to come to it."""

    title: str
    state: State


class History:
    """Steps from the first that is kept to the last that was undone, and where among them the session is.

    Args:
        first: the state to begin with.
        title: of it.

    Attributes:
        steps: the oldest first.
        at: the index of the step that is on the screen.
        now: what is on the screen: the state of that step, or beyond it while a slider is dragged.
    """

    def __init__(self, first: State, title: str):
        self.steps, self.at, self.now = [Step(title, first)], 0, first

    @classmethod
    def of(cls, steps: Sequence[Step], at: int) -> History:
        """That of a session that is left, at one of its steps."""
        made = cls(steps[0].state, steps[0].title)
        made.steps = list(steps)
        made.go(at)
        return made

    def snapshot(self) -> History:
        """What stays as it is now, whatever other threads do."""
        steps, at, now = self.steps, self.at, self.now
        taken = History.of(steps, min(at, len(steps) - 1))
        taken.now = now
        return taken

    @property
    def before(self) -> State:
        """The state of the step: what a slider that is dragged began from."""
        return self.steps[self.at].state

    def add(self, title: str, state: State) -> None:
        """A new step in place of all that were undone."""
        self.steps = [*self.steps[:self.at + 1], Step(title, state)][-STEPS - 1:]
        self.at, self.now = len(self.steps) - 1, state

    def drag(self, state: State) -> None:
        """Shows a state that is no step: `add` will make one of where it ends."""
        self.now = state

    def go(self, index: int) -> bool:
        """Shows a step. False if there is none of that index."""
        if not 0 <= index < len(self.steps):
            return False
        self.at, self.now = index, self.steps[index].state
        return True

    def renew(self, renewed: Callable[[State], State]) -> None:
        """Puts what `renewed` makes of each state in its place: what was found out about it later is no step."""
        dragged = self.now is not self.before
        self.steps = [replace(step, state=renewed(step.state)) for step in self.steps]
        self.now = renewed(self.now) if dragged else self.before
