"""What keeping a background gained, and what could not be kept, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resefa_plugin.editing.background import KeptPath
from resefa_plugin.report.page import grey_levels
from resefa_plugin.report.pictures import significant


def outside_summary(path: KeptPath, strengths: Sequence[str]) -> str:
    """What was gained, as a sentence, and what could not be kept.

    Args:
        strengths: what each of the edits is called.
    """
    kept, straight = (_levels(changes.max()) for changes in (path.outside, path.straight_outside))
    summary = (f'outside the region the change is at most {kept} grey levels of 255, {straight} without '
               '--keep-background')
    return '; '.join([summary, *shortfalls(path, strengths)])


def shortfalls(path: KeptPath, strengths: Sequence[str] | None = None) -> list[str]:
    """What could not be kept and at which strengths, a clause for each kind; nothing where everything was.

    Args:
        strengths: what each of the edits is called; None for the one that everybody knows of.
    """
    def where(which: np.ndarray) -> str:
        if strengths is None:
            return ''
        return 'at strength ' + ' and '.join(dict.fromkeys(strengths[i] for i in np.flatnonzero(which))) + ' '

    clauses = []
    if path.leaking.any():
        kept, straight = (_levels(changes[path.leaking].max()) for changes in (path.outside, path.straight_outside))
        clauses.append(f'{where(path.leaking)}the background could not be kept: it changes by {kept} grey levels, by '
                       f'{straight} without correction')
    if path.lost.any():
        different, straight = (_levels(changes[path.lost].max()) for changes in (path.difference, path.straight_inside))
        clauses.append(f'{where(path.lost)}the region looks otherwise than without correction: by {different} grey '
                       f'levels, where the edit changes it by {straight}')
    return clauses


def _levels(mse: float) -> str:
    return significant(grey_levels(mse))
