"""What `resefa edit` adds up: directions of files, each from one strength to another."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
import numpy as np

from resefa_plugin import DirectionSet
from resefa_plugin.hooks.base import GeneratorHook, LatentSpace


@dataclass(frozen=True)
class Move:
    """Direction `index`, from 1, of a file, from one strength to another."""

    directions: DirectionSet
    index: int
    low: float
    high: float

    def strengths(self, steps: int) -> np.ndarray[Any, Any]:
        """`[steps]`; a single step is the last one."""
        return np.linspace(self.low, self.high, steps) if steps > 1 else np.array([self.high])

    def offsets(self, steps: int, alpha: bool) -> np.ndarray[Any, Any]:
        """`[steps, d]` float32; `alpha` takes strengths for lengths in latent space."""
        factor = 1 / self.directions.step[self.index - 1] if alpha else 1.0
        return np.stack([self.directions.offset(self.index - 1, s * factor) for s in self.strengths(steps)])


def make_moves(directions: Sequence[pathlib.Path], index: Sequence[int],
               strength: Sequence[tuple[float, float]]) -> list[Move]:
    """The moves of `--directions`, `--index` and `--strength`: each is given once, for all, or as often as the others.

    Raises click.UsageError and DirectionsError.
    """
    given: dict[str, Sequence[Any]] = {'--directions': directions, '--index': index, '--strength': strength}
    count = max(map(len, given.values()))
    for flag, values in given.items():
        if len(values) not in (1, count):
            raise click.UsageError(f'{flag} is given {len(values)} times, another option {count} times: give each of '
                                   f'{", ".join(given)} once or {count} times')
    paths, indices, strengths = (list(values) * (count // len(values)) for values in given.values())
    files = {path: DirectionSet.load(path) for path in directions}
    for path, number in zip(paths, indices, strict=True):
        if number > len(files[path]):
            raise click.BadParameter(f'{path} has directions 1 to {len(files[path])}', param_hint='--index')
    return [Move(files[path], number, *ends) for path, number, ends in zip(paths, indices, strengths, strict=True)]


def common_space(moves: Sequence[Move], hook: GeneratorHook) -> LatentSpace:
    """The latent space of all moves. Raises click.UsageError where they differ, and DirectionsError."""
    files = {id(move.directions): move.directions for move in moves}.values()
    spaces = [directions.check_fits(hook) for directions in files]
    if len({(space.name, space.layers) for space in spaces}) > 1:
        raise click.UsageError('--directions: the files are of several latent spaces or layers, which cannot be added '
                               'up')
    return spaces[0]
