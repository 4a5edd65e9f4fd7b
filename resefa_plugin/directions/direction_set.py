"""DirectionSet: the directions of one region at one sample, with everything needed to use and to reproduce them.

The file is an `.npz` without pickles: one array per attribute of DirectionSet, and `metadata`, a JSON text.
"""

from __future__ import annotations

import json
import math
import os
import pathlib
import platform
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata as distributions
from numbers import Real
from operator import index as whole
from typing import Any

import numpy as np
import torch

from resefa_plugin.errors import DirectionsError, ResefaError
from resefa_plugin.hooks.base import GeneratorHook, LatentSpace
from resefa_plugin.machine.arrays import read_member, reading
from resefa_plugin.machine.files import replacing

FORMAT = 'resefa-directions'
VERSION = 1

# float32 arithmetic leaves unit rows this close to unit.
UNIT = 1e-4


def _integer(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    return whole(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _integers(value: Any) -> tuple[int, ...]:
    return tuple(_integer(item) for item in value)


def _layers(value: Any) -> tuple[int, ...]:
    layers = _integers(value)
    if not layers or layers[0] < 0 or any(low >= high for low, high in zip(layers, layers[1:])):
        raise ValueError
    return layers


def _shape(value: Any) -> tuple[int, int, int]:
    C, H, W = _integers(value)
    return C, H, W


def _texts(value: Any) -> dict[str, str]:
    return {_text(key): _text(item) for key, item in value.items()}


def _optional(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


_METADATA: dict[str, tuple[Callable[[Any], Any], str]] = {
    'network': (_text, 'a text'),
    'network_sha256': (_text, 'a text'),
    'image_shape': (_shape, 'three whole numbers [C, H, W]'),
    'space': (_text, 'a text'),
    'layers': (_optional(_layers), 'layer numbers, ascending, or null for all'),
    'num_ws': (_integer, 'a whole number'),
    'region': (_text, 'a text'),
    'seeds': (_integers, 'a list of whole numbers'),
    'truncation_psi': (_number, 'a finite number'),
    'truncation_cutoff': (_optional(_integer), 'a whole number or null'),
    'resolution': (_integer, 'a whole number'),
    'tau': (_number, 'a finite number'),
    'ridge': (_number, 'a finite number'),
    'solver': (_text, 'a text'),
    'command': (_text, 'a text'),
    'versions': (_texts, 'texts by name'),
    'created': (_text, 'a text'),
}


def package_versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    try:
        own = distributions.version('resefa_plugin')
    except distributions.PackageNotFoundError:  # used from a source folder that is not installed
        own = 'unknown'
    return {'python': platform.python_version(), 'torch': torch.__version__, 'numpy': np.__version__,
            'resefa_plugin': own}


@dataclass(frozen=True)
class DirectionMetadata:
    """Where directions come from.

    Attributes:
        network: how the user named the network.
        network_sha256: of its weights; empty where there is no file.
        image_shape: `(C, H, W)` of its pictures.
        space: the latent space of the directions: `z`, `w`, `w+`, `s`, ...
        layers: the layers that they act on, ascending; None for all, or for a space without layers.
        num_ws: layers of the network that take a w of their own, 0 where there is no w.
        region: name of the region.
        seeds: of the samples that were factorized, empty for a projected latent.
        truncation_psi, truncation_cutoff: of those samples.
        resolution: longer side of the pictures that were differentiated.
        tau, ridge, solver: of the Rayleigh quotient; ridge is a = tau tr(B).
        command: the command line that wrote the file, empty for none.
        versions: of Python and packages.
        created: ISO 8601 time.
        extra: further JSON values; keys of other writers survive a round trip here.
    """

    network: str
    network_sha256: str
    image_shape: tuple[int, int, int]
    space: str
    layers: tuple[int, ...] | None
    num_ws: int
    region: str
    seeds: tuple[int, ...]
    truncation_psi: float
    truncation_cutoff: int | None
    resolution: int
    tau: float
    ridge: float
    solver: str
    command: str = ''
    versions: Mapping[str, str] = field(default_factory=package_versions)
    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec='seconds'))
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, (convert, expected) in _METADATA.items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, convert(value))
            except (TypeError, ValueError, AttributeError):
                raise DirectionsError(f"metadata '{name}' is {value!r}, expected {expected}") from None
        clash = sorted({'format', 'version', *_METADATA} & set(self.extra))
        if clash:
            raise DirectionsError(f"extra metadata may not redefine {', '.join(clash)}: choose another key")

    def to_json(self) -> str:
        """The text stored in the file. Raises DirectionsError if `extra` holds what JSON does not."""
        values = {name: getattr(self, name) for name in _METADATA}
        try:
            return json.dumps({'format': FORMAT, 'version': VERSION, **values, **self.extra}, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise DirectionsError(f'extra metadata is not JSON ({error}): use texts, finite numbers, lists and '
                                  'dictionaries') from error

    @classmethod
    def from_json(cls, text: str) -> DirectionMetadata:
        """Reads what `to_json` wrote. Raises DirectionsError for a foreign or newer format or missing keys."""
        values = json.loads(text, parse_constant=_refuse_constant)
        if not isinstance(values, dict) or values.pop('format', None) != FORMAT:
            raise DirectionsError(f"the metadata does not say \"format\": \"{FORMAT}\": this is another program's file")
        version = values.pop('version', None)
        if type(version) is not int or version < 1:
            raise DirectionsError(f'the format version is {version!r}, expected a whole number from 1 to {VERSION}')
        if version > VERSION:
            raise DirectionsError(f'the format version is {version}, and this resefa_plugin reads up to {VERSION}: '
                                  'upgrade resefa_plugin')
        missing = [name for name in _METADATA if name not in values]
        if missing:
            raise DirectionsError(f"the metadata lacks {', '.join(missing)}: write the file anew")
        return cls(**{name: values.pop(name) for name in _METADATA}, extra=values)


def _brief(value: Any) -> str:
    """A value of `extra` on one line."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f'over {len(value)} samples'
    if isinstance(value, list):
        return ', '.join(map(str, value))
    if isinstance(value, dict):
        return ', '.join(f'{key} {item}' for key, item in value.items())
    return str(value)


def _refuse_constant(name: str) -> None:
    raise DirectionsError(f'the metadata holds {name}, which is not JSON: write the file anew')


# name -> dtype, names of the axes (None: any, with a leading 1), whether values below 0 make no sense
_ARRAYS: dict[str, tuple[type, tuple[str, ...] | None, bool]] = {
    'directions': (np.float32, ('k', 'd'), False),
    'eigenvalues': (np.float64, ('k',), False),
    'residuals': (np.float64, ('k',), True),
    'mask': (np.bool_, ('H', 'W'), False),
    'latent': (np.float32, None, False),
    'step': (np.float64, ('k',), True),
    'predicted_inside': (np.float64, ('k',), True),
    'predicted_outside': (np.float64, ('k',), True),
    'measured_inside': (np.float64, ('k',), True),
    'measured_outside': (np.float64, ('k',), True),
}


@dataclass(frozen=True, eq=False)
class DirectionSet:
    """The directions of one region, best first. The changes are mean squares on the [-1, 1] scale, at strength 1.

    Attributes:
        directions: `[k, d]` float32, unit rows, in the coordinates of the latent space.
        eigenvalues: `[k]` float64, the Rayleigh quotients.
        residuals: `[k]` float64, see RayleighSolution.
        mask: `[H, W]` bool, the region at image resolution.
        latent: `[1, ...]` float32, the native latents at which the network was factorized.
        step: `[k]` float64, alpha of x = G(z + alpha n) at strength 1.
        predicted_inside, predicted_outside: `[k]` float64, change in and out of the region to first order.
        measured_inside, measured_outside: `[k]` float64, the same of rendered pictures.
        metadata: where they come from.

    Raises:
        DirectionsError: an array of another dtype or shape, values that are not finite, rows that are not unit.
    """

    directions: np.ndarray
    eigenvalues: np.ndarray
    residuals: np.ndarray
    mask: np.ndarray
    latent: np.ndarray
    step: np.ndarray
    predicted_inside: np.ndarray
    predicted_outside: np.ndarray
    measured_inside: np.ndarray
    measured_outside: np.ndarray
    metadata: DirectionMetadata

    def __post_init__(self) -> None:
        sizes = dict(zip('HW', self.metadata.image_shape[1:]))
        for name, (dtype, axes, non_negative) in _ARRAYS.items():
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != dtype:
                raise DirectionsError(f"array '{name}' is {getattr(array, 'dtype', type(array).__name__)}, expected "
                                      f'{np.dtype(dtype)}')
            if axes is None:
                fits, expected = array.ndim >= 2 and array.shape[0] == 1, '[1, ...]'
            else:
                fits = array.ndim == len(axes) and all(
                    sizes.setdefault(axis, size) == size for axis, size in zip(axes, array.shape))
                expected = '[' + ', '.join(f'{axis} = {sizes[axis]}' if axis in sizes else axis for axis in axes) + ']'
            if not fits or not array.size:
                raise DirectionsError(f"array '{name}' has shape {list(array.shape)}, expected {expected}")
            if not np.isfinite(array).all():
                raise DirectionsError(f"array '{name}' holds NaN or infinite values: write the file anew")
            if non_negative and array.min() < 0:
                raise DirectionsError(f"array '{name}' holds {array.min():g}, expected values of at least 0")
        if not self.step.all():
            raise DirectionsError(f"array 'step' is 0 for direction {int(self.step.argmin())}: expected the alpha of "
                                  'strength 1, above 0')
        lengths = np.linalg.norm(self.directions.astype(np.float64), axis=1)
        worst = int(np.abs(lengths - 1).argmax())
        if abs(lengths[worst] - 1) > UNIT:
            raise DirectionsError(f'direction {worst} has length {lengths[worst]:.6g}, expected unit rows')

    def __len__(self) -> int:
        return len(self.directions)

    def save(self, path: str | os.PathLike) -> None:
        """Writes the file at once or not at all. Raises DirectionsError if it cannot be written."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        text = self.metadata.to_json()
        with replacing(path) as part, open(part, 'wb') as file:
            np.savez_compressed(file, metadata=np.array(text), **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike) -> DirectionSet:
        """Reads a directions file as data. Raises DirectionsError if it is missing, damaged, foreign or newer."""
        path = pathlib.Path(path)
        with reading(path):
            with open(path, 'rb') as file:
                magic = file.read(6)
            if magic == b'\x93NUMPY':
                raise DirectionsError('this is a single .npy array, not a directions file; '
                                      'exports.load_foreign_direction reads directions of other tools')
            if magic[:2] != b'PK':
                raise DirectionsError('this is not an .npz file; `resefa factorize` writes directions files')
            with zipfile.ZipFile(path) as archive:
                names = [name.removesuffix('.npy') for name in archive.namelist()]
                if 'metadata' not in names:
                    raise DirectionsError(f"no 'metadata' among its arrays ({', '.join(names[:20]) or 'none'}): this "
                                          "is another program's .npz; `resefa factorize` writes directions files")
                text = read_member(archive, 'metadata')
                if text.dtype.kind != 'U' or text.ndim:
                    raise DirectionsError("array 'metadata' is not a text: this is another program's .npz")
                metadata = DirectionMetadata.from_json(text.item())
                missing = [name for name in _ARRAYS if name not in names]
                if missing:
                    raise DirectionsError(f"it lacks the arrays {', '.join(missing)}: write the file anew")
                return cls(**{name: read_member(archive, name) for name in _ARRAYS}, metadata=metadata)

    def check_index(self, index: int) -> None:
        """Raises DirectionsError if `index` is not the number of a direction, counted from 0."""
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)) or not 0 <= index < len(self):
            raise DirectionsError(f'direction {index!r} is out of range: expected 0 to {len(self) - 1}')

    def offset(self, index: int, strength: float) -> np.ndarray:
        """The offset `[d]` float32 of direction `index`, from 0, at a strength; strength 1 is alpha = step[index]."""
        self.check_index(index)
        if not math.isfinite(strength):
            raise DirectionsError(f'strength is {strength}, expected a finite number')
        return (strength * self.step[index] * self.directions[index]).astype(np.float32)

    def check_fits(self, hook: GeneratorHook) -> LatentSpace:
        """The latent space of a generator in which these directions are edited.

        Warns if the generator's weights are not those that were factorized.

        Raises:
            DirectionsError: its pictures have another shape, or it has no such space of d dimensions.
        """
        metadata = self.metadata
        if tuple(hook.image_shape) != metadata.image_shape:
            raise DirectionsError(f'the directions are for pictures {list(metadata.image_shape)} of '
                                  f'{metadata.network}, but {hook.name} makes {list(hook.image_shape)}: '
                                  'use them with their own network')
        try:
            space = hook.space(metadata.space, metadata.layers)
        except ResefaError as error:
            raise DirectionsError(f"the directions are for space '{metadata.space}' of {metadata.network}: "
                                  f'{error}') from error
        if space.dim != self.directions.shape[1]:
            raise DirectionsError(f"the directions have {self.directions.shape[1]} dimensions, but space "
                                  f"'{metadata.space}' of {hook.name} has {space.dim}: use them with "
                                  f'{metadata.network}')
        if hook.sha256 != metadata.network_sha256:
            warnings.warn(f'the directions come from {metadata.network} (SHA-256 '
                          f"{metadata.network_sha256[:12] or 'unknown'}), not from {hook.name} (SHA-256 "
                          f"{hook.sha256[:12] or 'unknown'}): edits may not be local", stacklevel=2)
        return space

    def describe(self) -> str:
        """What is in the file, as text for a terminal."""
        data = self.metadata
        layers = 'all' if data.layers is None else ','.join(map(str, data.layers))
        lines = [
            f"network     {data.network} (SHA-256 {data.network_sha256[:12] or 'unknown'})",
            f'pictures    {list(data.image_shape)}, differentiated at {data.resolution}',
            f"region      {data.region}, {self.mask.mean():.2%} of the picture",
            f'space       {data.space}, layers {layers}, {self.directions.shape[1]} dimensions',
            f"seeds       {','.join(map(str, data.seeds)) or 'none'}, truncation psi {data.truncation_psi:g}, cutoff "
            f"{'none' if data.truncation_cutoff is None else data.truncation_cutoff}",
            f'solver      {data.solver}, tau {data.tau:g}, a {data.ridge:.4g}',
            f"created     {data.created}{f' by {data.command}' if data.command else ''}",
            *(f'{key:<11} {_brief(data.extra[key])}' for key in ('pooled', 'search', 'protect', 'orthogonal_to', 'norm') if key in data.extra),
            '',
            'RMS change on the [-1, 1] scale at strength 1:',
            'direction  eigenvalue  residual     alpha    inside  (predicted)   outside  (predicted)',
        ]
        rms = {name: np.sqrt(getattr(self, name)) for name in _ARRAYS if name.endswith('side')}
        for i in range(len(self)):  # counted from 1, as `resefa edit --index` does
            lines.append(f"{i + 1:9d}  {self.eigenvalues[i]:10.4g}  {self.residuals[i]:8.1e}  {self.step[i]:8.4g}  "
                         f"{rms['measured_inside'][i]:8.4f}  {rms['predicted_inside'][i]:11.4f}  "
                         f"{rms['measured_outside'][i]:8.4f}  {rms['predicted_outside'][i]:11.4f}")
        return '\n'.join(lines)


def load_orthogonal(specs: Sequence[str], hook: GeneratorHook, space: str, layers: tuple[int, ...] | None) -> np.ndarray | None:
    """The directions `[m, d]` of `FILE` or `FILE:INDEX` texts, INDEX from 1; None for no texts.

    Raises DirectionsError for a file that does not fit the network, or whose space or layers are others.
    """
    rows = []
    for spec in specs:
        path, colon, index = spec.rpartition(':')
        if not (colon and index.isdigit()):
            path, index = spec, ''
        directions = DirectionSet.load(path)
        found = directions.check_fits(hook)
        if (found.name, found.layers) != (space, hook.space(space, layers).layers):
            raise DirectionsError(f"{path} is for space '{found.name}', layers {found.layers or 'all'}, and space '{space}', layers "
                                  f"{layers or 'all'}, is to be factorized: directions of one space are orthogonal to each other")
        if index:
            directions.check_index(int(index) - 1)
        rows.append(directions.directions[int(index) - 1:int(index)] if index else directions.directions)
    return np.concatenate(rows).astype(np.float64) if rows else None
