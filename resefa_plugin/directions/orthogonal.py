"""Directions that others shall be orthogonal to, from directions files that a command line names."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.errors import DirectionsError
from resefa_plugin.hooks.base import GeneratorHook


def load_orthogonal(specs: Sequence[str], hook: GeneratorHook, space: str,
                    layers: tuple[int, ...] | None) -> NDArray[np.float64] | None:
    """The directions `[m, d]` float64 of texts `FILE`, all of a file, or `FILE:INDEX`, one, counted from 1.

    Args:
        specs: the texts; None is returned if there are none.
        hook: the generator that is to be factorized, in this space and these layers (None for all).

    Raises:
        DirectionsError: a file that does not fit the network, directions of another space or of other layers, an index
            that the file does not have.
    """
    rows = []
    for spec in specs:
        path, colon, index = spec.rpartition(':')
        if not (colon and index.isdecimal()):
            path, index = spec, ''
        directions = DirectionSet.load(os.path.expanduser(path))
        found = directions.check_fits(hook)
        if (found.name, found.layers) != (space, hook.space(space, layers).layers):
            raise DirectionsError(f"{path} is for space '{found.name}', layers {found.layers or 'all'}, and space "
                                  f"'{space}', layers {layers or 'all'}, is to be factorized: directions of one space "
                                  'are orthogonal to each other')
        if index:
            directions.check_index(int(index))
            rows.append(directions.directions[[int(index) - 1]])
        else:
            rows.append(directions.directions)
    return np.concatenate(rows).astype(np.float64) if rows else None
