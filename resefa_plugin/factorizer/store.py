"""Where a run keeps what took long, to find it again."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Store:
    """Folders of kept files; None keeps nothing.

    Attributes:
        jacobians: whole Jacobians, which serve any further region of the same sample.
        grams: Gram matrices of the samples of a pool, with which a pool that was stopped goes on.
    """

    jacobians: pathlib.Path | None = None
    grams: pathlib.Path | None = None

    def __post_init__(self) -> None:
        for name in ('jacobians', 'grams'):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, pathlib.Path(getattr(self, name)))
