"""Directions in the files of other tools, read as data, and the latent space that they can be of.

None of these files says which space it is for: it follows from the number of dimensions, or the user says it.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resefa_plugin.checkpoints import formats
from resefa_plugin.checkpoints.latent_entries import SAID_KEYS, read_plain
from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.errors import DirectionsError
from resefa_plugin.hooks.base import GeneratorHook, LatentSpace
from resefa_plugin.hooks.style_based import StyleBasedHook
from resefa_plugin.machine.arrays import ArrayFile, open_npz, reading

# In the order in which a space is guessed that has so many dimensions: W before Z, as its directions are used in W.
_GUESSES = ('w', 'w+', 's')
EXPECTED = 'directions: an array, as numpy or torch.save write them, or a file of resefa factorize'


@dataclass(frozen=True)
class LoadedDirections:
    """Directions of a file, ours or another tool's, in a latent space of a generator.

    Attributes:
        rows: `[k, d]` float32, unit rows, in the coordinates of `space`.
        space: where they are edited.
        note: what the file was taken for; empty for a file of ours.
        own: the whole file, if it is ours.
    """

    rows: NDArray[np.float32]
    space: LatentSpace
    note: str = ''
    own: DirectionSet | None = None


def load_directions(path: str | os.PathLike[str], hook: GeneratorHook, space: str | None = None,
                    layers: tuple[int, ...] | None = None) -> LoadedDirections:
    """The directions of a file for a generator.

    Args:
        path: a directions file of ours; a `.npy` of ReSeFa, InterFaceGAN, SeFa or anybody, `[k, d]`, `[d]` or
            `[k, num_ws, w_dim]`; GANSpace's `.npz`; a tensor, a list of tensors or PCA components of e4e, as torch
            saves them; the styles of each layer as StyleCLIP has them, a list of `[k, style_dims[i]]`.
        space: which space they are of; None to go by the file, or by the number of dimensions.
        layers: on which layers they act; None for those of the file, or all.

    Raises:
        DirectionsError: a file that cannot be read, directions that no space or another one has, rows that are zero or
            not finite.
    """
    path = pathlib.Path(path)
    if is_own(path):
        own = DirectionSet.load(path)
        found = own.check_fits(hook)
        if space not in (None, found.name):
            raise DirectionsError(f"{path} holds directions of space '{found.name}': leave --space={space} out")
        chosen = found if layers is None else hook.space(found.name, layers)
        return LoadedDirections(_in_layers(path, own.directions, found, chosen, hook), chosen, own=own)
    array, what = read_foreign(path)
    whole = _space_of(path, array, hook, space, layers)
    chosen = hook.space(whole.name, layers)
    rows: NDArray[np.floating[Any]] = array.reshape(len(array), -1)
    if rows.shape[1] != chosen.dim:  # else they are of these layers alone, or the same for any
        rows = _in_layers(path, rows, whole, chosen, hook)
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise DirectionsError(f'{path} holds a direction that is zero, NaN or infinite'
                              + ('' if layers is None else ' in these layers'))
    guessed = '' if space is not None else '; say another with --space'
    return LoadedDirections(np.asarray(rows / lengths, np.float32), chosen,
                            f"{what}, {len(rows)} of them, taken for space '{chosen.name}'{guessed}")


def is_own(path: pathlib.Path) -> bool:
    """Whether a file is one of ours. Raises DirectionsError if it is not there."""
    with reading(path):
        if formats.format_of_file(path) is not formats.NPZ:
            return False
        with open_npz(path) as file:
            return 'metadata' in file.names


def read_foreign(path: pathlib.Path) -> tuple[NDArray[np.float64], str]:
    """Directions `[k, d]` or `[k, num_ws, w_dim]` of another tool, and what they are.

    Raises DirectionsError or CheckpointError for a file of something else.
    """
    with reading(path):
        if formats.format_of_file(path) is formats.NPZ:
            with open_npz(path) as file:
                return _components(file), "GANSpace's components"
    root = read_plain(path, EXPECTED)
    with reading(path):
        if isinstance(root, Mapping) and 'comp' in root:
            return _rows(root['comp']), "e4e's components"
        values = [root]
        if isinstance(root, (Mapping, list, tuple)):
            values = list(root.values() if isinstance(root, Mapping) else root)
        if not values:
            raise DirectionsError('it is empty, expected directions')
        parts = [_rows(value) for value in values]
        if len({part.shape[1:] for part in parts}) == 1:
            return np.concatenate(parts), 'directions'
        if all(part.ndim == 2 and len(part) == len(parts[0]) for part in parts):
            return np.concatenate(parts, axis=1), 'styles of each layer'
        raise DirectionsError(f'its arrays differ in shape: {", ".join(str(list(part.shape)) for part in parts[:5])}')


def _components(file: ArrayFile) -> NDArray[np.float64]:
    for key in ('lat_comp', 'act_comp'):
        if key in file.names:
            return _rows(file.read(key))
    if set(file.names) & set(SAID_KEYS):
        raise DirectionsError(f'these are latents ({file.listed()}), which go to --projected-w; expected directions')
    raise DirectionsError(f"no 'metadata' and no 'lat_comp' among its arrays ({file.listed()}): expected a directions "
                          "file of resefa factorize, or GANSpace's components")


def _rows(value: object) -> NDArray[np.float64]:
    """`[k, d]` or `[k, num_ws, w_dim]` of an array or a tensor; axes of length 1 in between do not matter."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().double().numpy() if value.is_floating_point() else value.cpu().numpy()
    if not isinstance(value, np.ndarray) or value.dtype.kind not in 'fiu' or not value.size or value.ndim > 4:
        came = f'{value.dtype} {list(value.shape)}' if isinstance(value, np.ndarray) else type(value).__name__
        raise DirectionsError(f'it holds {came}, expected directions [k, d]: numbers, a row each')
    array = value.astype(np.float64)
    array = array[None] if array.ndim < 2 else array
    inner = [size for size in array.shape[1:-1] if size != 1]
    if len(inner) > 1:
        raise DirectionsError(f'it holds {list(array.shape)}, expected [k, d] or [k, num_ws, w_dim]')
    return array.reshape(len(array), *inner, array.shape[-1])


def _space_of(path: pathlib.Path, array: NDArray[np.float64], hook: GeneratorHook, name: str | None,
              layers: tuple[int, ...] | None) -> LatentSpace:
    """The space, with all its layers, that rows `[k, ...]` are of, as a whole or in these layers alone."""
    dim = array[0].size
    names = [*(guess for guess in _GUESSES if guess in hook.space_names),
             *(other for other in hook.space_names if other not in _GUESSES)] if name is None else [name]
    spaces = [hook.space(one) for one in names]
    if array.ndim == 3:
        spaces = [space for space in spaces if space.name == 'w+']
    fitting = [space for space in spaces if dim in (space.dim, hook.space(space.name, layers).dim)]
    if not fitting:
        shape = list(array.shape)
        expected = ', '.join(f'{space.dim} ({space.name})' for space in map(hook.space, hook.space_names))
        raise DirectionsError(f'{path} holds directions {shape}'
                              + (f", expected {spaces[0].dim} numbers each for space '{name}'" if name and spaces else
                                 f', and no space of {hook.name} has such: expected rows of {expected}'))
    return fitting[0]


def _in_layers(path: pathlib.Path, rows: NDArray[np.floating[Any]], found: LatentSpace, chosen: LatentSpace,
               hook: GeneratorHook) -> NDArray[np.float32]:
    """Rows of a space in some of its layers. A row of w or z is the same in any; of w+ and s, parts are left out."""
    if found.dim == chosen.dim and found.name not in ('w+', 's'):
        return np.asarray(rows, np.float32)
    if found.layers == chosen.layers:
        return np.asarray(rows, np.float32)
    if not isinstance(hook, StyleBasedHook) or found.name not in ('w+', 's'):
        raise DirectionsError(f"{path}: directions of space '{found.name}' have no layers to choose from")
    count = hook.layer_count(found.name)
    have, want = (list(range(count)) if space.layers is None else list(space.layers) for space in (found, chosen))
    lacking = sorted(set(want) - set(have))
    if lacking:
        raise DirectionsError(f'{path} has no part for layers {",".join(map(str, lacking))}: it is of layers '
                              f'{",".join(map(str, have))}')
    widths = hook.style_dims if found.name == 's' else (hook.w_dim,) * count
    ends = np.cumsum([widths[layer] for layer in have])
    parts = dict(zip(have, np.split(rows, ends[:-1], axis=1), strict=True))
    kept = np.concatenate([parts[layer] for layer in want], axis=1)
    lengths = np.linalg.norm(kept.astype(np.float64), axis=1, keepdims=True)
    if not lengths.all():
        raise DirectionsError(f'{path}: a direction is zero in layers {",".join(map(str, want))}')
    return np.asarray(kept / lengths, np.float32)
