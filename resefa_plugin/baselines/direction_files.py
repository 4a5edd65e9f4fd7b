"""Directions from elsewhere, by file, as a method like the others."""

from __future__ import annotations

import pathlib

from resefa_plugin.baselines.problem import MethodResult, Problem
from resefa_plugin.checkpoints import formats
from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.directions.exports import load_foreign_direction
from resefa_plugin.machine.arrays import reading


def from_file(path: pathlib.Path, problem: Problem) -> MethodResult:
    """The directions of a file: ours (`.npz`) in their own space, another tool's (`.npy`) in the problem's.

    Raises ResefaError for a file that cannot be read or does not fit the generator.
    """
    path = path.expanduser()
    with reading(path):
        kind = formats.format_of_file(path)
    if kind is not formats.NPY:
        directions = DirectionSet.load(path)
        return MethodResult.of(directions.directions[:problem.num_directions], directions.check_fits(problem.hook), {})
    space = problem.hook.space(problem.space, problem.layers)
    return MethodResult.of(load_foreign_direction(path, space.dim), space, {}, note=f"taken for space '{space.name}'")
