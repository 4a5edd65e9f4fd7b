"""Directions from elsewhere, by file, as a method like the others."""

from __future__ import annotations

import pathlib

from resefa_plugin.baselines.problem import MethodResult, Problem
from resefa_plugin.directions.foreign import is_own, load_directions


def from_file(path: pathlib.Path, problem: Problem) -> MethodResult:
    """The directions of a file: ours in their own space, another tool's in the problem's.

    Raises ResefaError for a file that cannot be read or does not fit the generator.
    """
    path = path.expanduser()
    own = is_own(path)
    loaded = load_directions(path, problem.hook, None if own else problem.space, problem.layers)
    return MethodResult.of(loaded.rows[:problem.num_directions], loaded.space, {}, note=loaded.note)
