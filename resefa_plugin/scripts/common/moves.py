"""What `resefa edit` adds up: directions of files, each from one strength to another."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.directions.foreign import LoadedDirections, is_own, load_directions
from resefa_plugin.editing.strength import calibrate, slopes
from resefa_plugin.errors import DirectionsError
from resefa_plugin.hooks.base import GeneratorHook, LatentSpace
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.regions.partition import RegionPartition


@dataclass(frozen=True)
class Move:
    """A direction from one strength to another.

    Attributes:
        title: of its region, or of its file where no region is known.
        index: its number in the file, from 1.
        direction: `[d]` float32, of length 1.
        step: how long strength 1 is; None where that is not known, and strengths are lengths.
        low, high: strengths.
        region: what it changes; None where that is not known.
        resolution: longer side of the pictures that were differentiated; None where that is not known.
        own: whether it is of a file of ours, which says where it was found.
        origin: latents of the one sample that it was found at; None for a pool, and where that is not known.
    """

    title: str
    index: int
    direction: NDArray[np.float32]
    step: float | None
    low: float
    high: float
    region: RegionPartition | None
    resolution: int | None
    own: bool = False
    origin: NDArray[np.float32] | None = None

    def found_elsewhere(self, viewpoint: Viewpoint) -> bool:
        """Whether the direction is known to have been found at another sample than this, or at several."""
        latent = viewpoint.latent.float().cpu().numpy()
        return self.own and (self.origin is None or not np.array_equal(self.origin, latent))

    def strengths(self, steps: int) -> NDArray[np.float64]:
        """`[steps]`; a single step is the last one."""
        return np.asarray(np.linspace(self.low, self.high, steps) if steps > 1 else [self.high], np.float64)

    def offsets(self, steps: int) -> NDArray[np.float32]:
        """`[steps, d]` float32."""
        lengths = self.strengths(steps) * (1.0 if self.step is None else self.step)
        return np.asarray(np.outer(lengths, self.direction.astype(np.float64)), np.float32)


class Moves:
    """The moves of `--directions`, `--index` and `--strength`: each is given once, for all, or as often as the others.

    Args:
        directions, index, strength: the flags.
        known: more of them, as files, numbers and strengths: of edits that were named.

    Raises click.UsageError if they are not.
    """

    def __init__(self, directions: Sequence[pathlib.Path], index: Sequence[int],
                 strength: Sequence[tuple[float, float]],
                 known: Sequence[tuple[pathlib.Path, int, tuple[float, float]]] = ()):
        self._rows = list(known)
        if not directions:
            return
        given: dict[str, Sequence[Any]] = {'--directions': directions, '--index': index, '--strength': strength}
        count = max(map(len, given.values()))
        for flag, values in given.items():
            if len(values) not in (1, count):
                raise click.UsageError(f'{flag} is given {len(values)} times, another option {count} times: give each '
                                       f'of {", ".join(given)} once or {count} times')
        self._rows += zip(*(list(values) * (count // len(values)) for values in given.values()), strict=True)

    def recorded(self) -> tuple[pathlib.Path, DirectionSet] | None:
        """The first file of ours and what is in it; None if there is no file of ours."""
        for path, _, _ in self._rows:
            if is_own(path):
                return path, DirectionSet.load(path)
        return None

    def load(self, hook: GeneratorHook, space: str | None, layers: tuple[int, ...] | None) -> LatentSpace:
        """Reads the files for a generator; returns the latent space of all of them.

        Raises click.UsageError where they differ in it or lack a direction, and DirectionsError.
        """
        self._files = {path: load_directions(path, hook, space, layers) for path in {row[0] for row in self._rows}}
        for path, loaded in self._files.items():
            if loaded.note:
                click.echo(f'{path}: {loaded.note}', err=True)
        for path, number, _ in self._rows:
            loaded = self._files[path]
            if number > len(loaded.rows):
                raise click.BadParameter(f'{path} has directions 1 to {len(loaded.rows)}', param_hint='--index')
            if loaded.own is not None and loaded.own.labels[number - 1]:
                click.echo(f'{path}: direction {number}: {loaded.own.labels[number - 1]}', err=True)
        spaces = [loaded.space for loaded in self._files.values()]
        if len({(one.name, one.layers) for one in spaces}) > 1:
            raise click.UsageError('--directions: the files are of several latent spaces or layers, which cannot be '
                                   'added up')
        return spaces[0]

    def made(self, viewpoint: Viewpoint, region: RegionPartition | None, alpha: bool, anew: bool) -> list[Move]:
        """The moves, with strengths that mean what they say.

        Args:
            viewpoint: a sample on which strengths are measured where a file does not say them.
            region: what strength 1 is to change, and what is around it to be kept; None for the regions of the files.
            alpha: strengths are lengths in latent space.
            anew: whether strengths are measured again, as layers were left out.

        Raises click.UsageError where a strength can mean nothing, DirectionsError where a direction does not change
        the region.
        """
        return [self._move(path, number, ends, viewpoint, region, alpha, anew) for path, number, ends in self._rows]

    def _move(self, path: pathlib.Path, number: int, ends: tuple[float, float], viewpoint: Viewpoint,
              region: RegionPartition | None, alpha: bool, anew: bool) -> Move:
        loaded = self._files[path]
        title, of_file, step, resolution, origin = path.stem, None, None, None, None
        if loaded.own is not None:
            title, resolution = loaded.own.metadata.region, loaded.own.metadata.resolution
            of_file = RegionPartition(loaded.own.mask, title)
            step = float(loaded.own.step[number - 1])
            origin = loaded.own.latent if len(loaded.own.metadata.seeds) < 2 else None
        chosen = region or of_file
        if alpha:
            step = None
        elif step is None or region is not None or anew:
            if chosen is None:
                raise click.UsageError(f'{path} does not say what strength 1 is: name what the direction changes with '
                                       '--region, or give --alpha, by which strengths are lengths in latent space')
            step = _measured_step(path, number, loaded, viewpoint, chosen)
        return Move(title if region is None else region.name, number, loaded.rows[number - 1], step, *ends, chosen,
                    resolution, loaded.own is not None, origin)


def _measured_step(path: pathlib.Path, number: int, loaded: LoadedDirections, viewpoint: Viewpoint,
                   region: RegionPartition) -> float:
    """The step that changes the region of a sample as strength 1 does, see `calibrate`."""
    direction = loaded.rows[[number - 1]]
    inside, outside = slopes(RegionJacobian(viewpoint).jvp(torch.from_numpy(direction)), region)
    if not inside[0] > 0:
        raise DirectionsError(f"{path}: direction {number} does not change region '{region.name}' of "
                              f'{viewpoint.sample.name}')
    step = float(calibrate([viewpoint], region, direction, (inside, outside)).step[0])
    click.echo(f"{path}: direction {number}: strength 1 is a step of {step:.3g}, as measured on "
               f"{viewpoint.sample.name}, region '{region.name}'", err=True)
    return step
