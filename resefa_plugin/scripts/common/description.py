"""What a file is that no network is in: directions, ours and others', latents, tuned weights, a folder of results."""

from __future__ import annotations

import os
import pathlib

import numpy as np

from resefa_plugin.checkpoints import formats
from resefa_plugin.checkpoints.latent_entries import SAID_KEYS
from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.directions.foreign import is_own, read_foreign
from resefa_plugin.errors import CheckpointError, DirectionsError, ResefaError, printable
from resefa_plugin.machine.arrays import open_npz, reading
from resefa_plugin.machine.nearby import nearby
from resefa_plugin.projection.tuned_network import Tuning

SMALL = 64 << 20  # bytes; larger files of torch are networks
UNIT = 1e-3  # how far the length of a direction may be from 1


def describe(path: pathlib.Path) -> str | None:
    """What a file or folder is, and what to do with it; None where it may be a network.

    Raises DirectionsError for a file that is missing or damaged.
    """
    if os.path.isdir(path):  # False also for a name that is too long
        return _folder(path)
    if not os.path.isfile(path):
        if path.suffix in ('.npz', '.npy'):
            raise DirectionsError(f'{path} does not exist{nearby(path)}')
        return None
    kind = formats.format_of_file(path)
    if kind is formats.NPZ:
        return DirectionSet.load(path).describe() if is_own(path) else _arrays(path)
    if kind in formats.NEVER_KEPT:
        with open(path, 'rb') as file:
            said = formats.refusal(kind, 'a network, directions, latents, tuned weights or a folder of results',
                                   file.read(formats.HEAD_BYTES))
        raise DirectionsError(f'{path}: {said}')
    if kind is formats.NPY:
        return _rows(path)
    if kind is formats.SAFETENSORS:
        return _tuned(path)
    if kind in (formats.TORCH, formats.PICKLE) and path.stat().st_size <= SMALL:
        try:
            return _rows(path)
        except ResefaError:
            return None
    return None


def _folder(path: pathlib.Path) -> str | None:
    """The directions files of a folder, a line each."""
    lines = []
    for file in sorted(path.glob('*.npz')):
        try:
            found = DirectionSet.load(file)
        except DirectionsError:
            continue
        labels = ', '.join(label for label in found.labels if label)
        lines.append(f'{file}: {len(found)} direction{"s" * (len(found) > 1)} of {found.metadata.region}'
                     f'{f" ({labels})" if labels else ""}, space {found.metadata.space}')
    if lines and os.path.isfile(path / 'report.html'):
        lines.append(f'to look at: {path / "report.html"}')
    return '\n'.join(lines) or None


def _arrays(path: pathlib.Path) -> str:
    """An archive of another program, or of latents, by the names of its arrays."""
    with reading(path), open_npz(path) as file:
        known = [name for name in file.names if name in SAID_KEYS]
        if 'lat_comp' not in file.names and 'act_comp' not in file.names:
            if not known:
                return f'{path}: arrays {file.listed()}; neither directions nor latents'
            shapes = ', '.join(f'{printable(name)} {list(file.read(name).shape)}' for name in known)
            return f'{path}: latents, {shapes}\nuse it with resefa edit --projected-w={path} --directions=FILE'
    return _rows(path)


def _rows(path: pathlib.Path) -> str:
    """Directions of another tool, which may as well be latents if they are no unit rows."""
    rows, what = read_foreign(path)
    lengths = np.linalg.norm(rows.reshape(len(rows), -1), axis=1)
    unit = bool(np.all(np.abs(lengths - 1) < UNIT))
    lines = [f'{path}: {what}, {list(rows.shape)}'
             + (', rows of length 1' if unit else f', rows of length {lengths.min():.4g} to {lengths.max():.4g}'),
             f'use it with resefa edit --network=NETWORK --directions={path} --region=REGION']
    if not unit:
        lines.append(f'or, if these are latents, with --projected-w={path}')
    return '\n'.join(lines)


def _tuned(path: pathlib.Path) -> str | None:
    try:
        tuning = Tuning.load(path)
    except CheckpointError:
        return None  # a network, perhaps
    return (f'{path}: what tuning to {printable(tuning.photograph)} changed in {printable(tuning.network)}, '
            f'{len(tuning.differences)} weights\nuse it with --network={printable(tuning.network)} --tuned={path}')
