"""What a file of latents holds, whoever wrote it: one entry per sample or batch of samples, read as data.

Known are a bare array or tensor, arrays under known keys, lists of them, one per picture under the picture's name
(ReStyle and stylegan3-editing: a list of steps for each, of which the last one counts), and what the projector of
stylegan2-pytorch writes, which is a dictionary with the noise for each picture.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from resefa_plugin.checkpoints import formats
from resefa_plugin.checkpoints.network_source import read_source
from resefa_plugin.checkpoints.pickles.contents import Contents, open_contents
from resefa_plugin.checkpoints.pickles.inert_pickle import Budget, load_inert, naming
from resefa_plugin.checkpoints.pickles.inert_values import Call, ForeignObjectError, checked_key, shorten
from resefa_plugin.checkpoints.pickles.plain_data import CONTAINER_HANDLERS, NUMPY_HANDLERS, Decoder
from resefa_plugin.errors import CheckpointError, DirectionsError, printable
from resefa_plugin.machine.arrays import open_npz, read_header, read_npy, reading

EXPECTED = 'latents: an array or a dictionary of arrays, as numpy (.npz, .npy), torch.save or safetensors write them'
BARE = 'array'
# The key that says which -> which.
SAID_KEYS = {'w': 'w', 'z': 'z', 's': 's',
             **dict.fromkeys(('ws', 'wp', 'w_plus', 'projected_w', 'dlatents', 'dlatent'), 'w'), 'cond': 'cond'}
# Names that tools use for a z as well as for a w: they say no more than a bare array does.
UNSAID_KEYS = ('latent', 'latents', 'latent_in', 'latent_code')
MAX_NAME = 60


@dataclass(frozen=True)
class LatentEntry:
    """Latents of one or more samples.

    Attributes:
        arrays: by what they are: `w`, `z`, `s`, `array` or one of UNSAID_KEYS, of BigGAN `class` beside a `z`, or
            `cond`; numpy arrays or tensors of any kind.
        name: of the picture that they are of, where the file has it, and what else to say of them.
        noise: that the file has for this picture, layer by layer.
    """

    arrays: dict[str, object]
    name: str = ''
    noise: tuple[Tensor, ...] = ()


def read_entries(path: str | os.PathLike[str]) -> list[LatentEntry]:
    """Reads the entries of a file of any of the formats; its ending does not matter.

    Raises:
        DirectionsError: for a file that is missing or damaged, or holds no latents.
        CheckpointError: for a pickle or torch file that is damaged.
    """
    path = Path(path).expanduser()
    with reading(path):
        if formats.format_of_file(path) is formats.NPZ:
            with open_npz(path) as file:
                return [LatentEntry({SAID_KEYS.get(key, key): file.read(key) for key in _chosen(file.names)})]
    root = read_plain(path, EXPECTED)
    with reading(path):
        return _entries(root)


def read_plain(path: Path, expected: str) -> object:
    """The content of a `.npy`, pickle, torch or safetensors file as plain data: arrays, tensors and containers of them.

    Args:
        expected: what should be in it, for errors.

    Raises:
        DirectionsError: for a file that is missing, damaged or of another kind.
        CheckpointError: for a pickle or torch file that is damaged.
    """
    with reading(path):
        kind = formats.format_of_file(path)
        if kind is formats.NPY:
            return _read_npy(path)
    if kind in (formats.PICKLE, formats.TORCH, formats.SAFETENSORS):
        source = read_source(path)
        with naming(source.name):
            return _plain(open_contents(source, expected))
    with reading(path), open(path, 'rb') as stream:
        raise DirectionsError(formats.refusal(kind, expected, stream.read(formats.HEAD_BYTES)))


def _plain(contents: Contents) -> object:
    """The content as plain data. Entries of a dictionary that are no data are left out, if others are."""
    root, decoder = contents.root, contents.decoder
    if type(root) is not dict:
        return decoder.plain(root)
    entries, foreign = {}, None
    for key, value in root.items():
        try:
            entries[checked_key(key)] = decoder.plain(value, 1)
        except ForeignObjectError as error:
            foreign = error
    if foreign is not None and not entries:
        raise foreign
    return entries


def _read_npy(path: Path) -> object:
    """The array of a file; of an array of objects, the objects, as data."""
    with open(path, 'rb') as file:
        shape, _, dtype = read_header(file, allow_objects=True)
        if not dtype.hasobject:
            return read_npy(path)
        data = memoryview(file.read())
    if dtype != np.dtype(object) or math.prod(shape) > 100_000:
        raise DirectionsError(f'it holds records of objects, {dtype}; save plain numeric arrays')
    budget = Budget(len(data))
    try:
        root, _ = load_inert(data, budget)
        # An array of objects is a call whose state is (1, shape, dtype, is_fortran, list of its elements).
        state = root.state if type(root) is Call else None
        if type(state) is not tuple or len(state) != 5 or type(state[4]) is not list:
            raise CheckpointError(f'{shorten(root)} where an array of objects is expected')
        elements = Decoder({**CONTAINER_HANDLERS, **NUMPY_HANDLERS}, budget).plain(state[4])
    except CheckpointError as error:
        raise DirectionsError(f'its objects are no data: {error}') from error
    assert isinstance(elements, list)
    return elements[0] if shape == () and len(elements) == 1 else elements


def _entries(root: object) -> list[LatentEntry]:
    if isinstance(root, Mapping):
        names = [key for key in root if isinstance(key, str)]
        if any(key in SAID_KEYS or key in UNSAID_KEYS for key in names):
            return [LatentEntry({SAID_KEYS.get(key, key): root[key] for key in _chosen(names)})]
        if root and all(_is_latent(value) for value in root.values()):
            return [entry for key, value in root.items() for entry in _named(str(key), value)]
        _chosen(names)
    if isinstance(root, (list, tuple)) and root and all(_is_latent(value) for value in root):
        return [entry for value in root for entry in _named('', value)]
    return [LatentEntry({BARE: root})]


def _is_latent(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(key in value for key in (*SAID_KEYS, *UNSAID_KEYS))
    if isinstance(value, (list, tuple)):
        return bool(value) and all(_is_array(step) for step in value)
    return _is_array(value)


def _is_array(value: object) -> bool:
    return isinstance(value, (np.ndarray, Tensor)) and value.ndim > 0


def _named(name: str, value: object) -> Iterator[LatentEntry]:
    """The entries of one picture."""
    name = f'of {shorten(name[-MAX_NAME:])}' if name else ''
    if isinstance(value, Mapping):
        noise = value.get('noise')
        # With noise it is a w of the projector of stylegan2-pytorch, which has no other.
        key = 'w' if noise is not None and 'latent' in value else None
        arrays = {'w': value['latent']} if key else {SAID_KEYS.get(key, key): value[key]
                                                     for key in _chosen([key for key in value if isinstance(key, str)])}
        tensors = tuple(each for each in noise if isinstance(each, Tensor)) if isinstance(noise, (list, tuple)) else ()
        yield LatentEntry(arrays, name, tensors)
    elif isinstance(value, (list, tuple)):
        steps = f', the last of {len(value)} steps' if len(value) > 1 else ''
        yield LatentEntry({BARE: value[-1]}, f'{name}{steps}')
    else:
        yield LatentEntry({BARE: value}, name)


def _chosen(names: Collection[str]) -> list[str]:
    """The keys to read: w, z or both, else one that says what it is, else the one that does not; class beside a z."""
    said = [key for key in ('w', 'z') if key in names] or [key for key in SAID_KEYS if key in names][:1]
    if 'z' in said and 'class' in names:
        said.append('class')
    unsaid = [key for key in UNSAID_KEYS if key in names]
    if not said and len(unsaid) != 1:
        found = ', '.join(printable(name, MAX_NAME) for name in list(names)[:20]) or 'none'
        raise DirectionsError(f"no array 'w' or 'z' among {found}: expected one of "
                              f"{', '.join((*SAID_KEYS, *UNSAID_KEYS))}, as in projected_w.npz, or latents by picture")
    return said or unsaid
