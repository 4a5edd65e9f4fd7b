"""DirectionSet: the directions of one region at one sample, with everything needed to use and to reproduce them.

The file is an `.npz` without pickles: one array per attribute of DirectionSet, and `metadata`, a JSON text.
"""

from __future__ import annotations

import html
import math
import numbers
import os
import pathlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from resefa_plugin.directions.metadata import DirectionMetadata
from resefa_plugin.errors import DirectionsError, ResefaError, printable
from resefa_plugin.hooks.base import GeneratorHook, LatentSpace, Sample
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.machine.arrays import NPY_MAGIC, ZIP_MAGIC, magic, open_npz, reading
from resefa_plugin.machine.files import replacing
from resefa_plugin.machine.pixels import to_uint8
from resefa_plugin.ranges import format_ranges

MAX_METADATA = 16 << 20  # bytes, four for each character; a pool of a thousand samples takes 2 MB
UNIT = 1e-4  # how far from 1 the length of a direction may be: float32 arithmetic leaves it closer

# Values of `extra` that `describe` shows: what the directions were found under, and from.
_SHOWN = ('pooled', 'search', 'protect', 'orthogonal_to', 'norm', 'unreached')


class _Array(NamedTuple):
    """What an array of the file must be. Axes of one name have one length; None: any axes, the first of length 1."""

    dtype: type[np.generic]
    axes: tuple[str, ...] | None
    non_negative: bool = False


_ARRAYS = {
    'directions': _Array(np.float32, ('k', 'd')),
    'eigenvalues': _Array(np.float64, ('k',)),
    'residuals': _Array(np.float64, ('k',), non_negative=True),
    'mask': _Array(np.bool_, ('H', 'W')),
    'latent': _Array(np.float32, None),
    'step': _Array(np.float64, ('k',), non_negative=True),
    'predicted_inside': _Array(np.float64, ('k',), non_negative=True),
    'predicted_outside': _Array(np.float64, ('k',), non_negative=True),
    'measured_inside': _Array(np.float64, ('k',), non_negative=True),
    'measured_outside': _Array(np.float64, ('k',), non_negative=True),
}


@dataclass(frozen=True, eq=False)
class DirectionSet:
    """The directions of one region, best first. The changes are mean squares on the [-1, 1] scale, at strength 1.

    Attributes:
        directions: `[k, d]` float32, unit rows, in the coordinates of the latent space.
        eigenvalues: `[k]` float64, the Rayleigh quotients: squared change inside the region over that outside.
        residuals: `[k]` float64, how far each is from solving the eigenproblem, see RayleighSolution.
        mask: `[H, W]` bool, true in the region, as large as the pictures.
        latent: `[1, ...]` float32, the sample that was factorized, as the generator itself takes it (`z` or `ws`).
        step: `[k]` float64, the alpha of x = G(z + alpha n) that is strength 1.
        predicted_inside: `[k]` float64, change in the region by the Jacobian.
        predicted_outside: `[k]` float64, change out of it by the Jacobian.
        measured_inside: `[k]` float64, change in the region of rendered pictures.
        measured_outside: `[k]` float64, change out of it of rendered pictures.
        metadata: where they come from.

    Raises:
        DirectionsError: an array of another dtype or shape, values that are not finite, directions whose length is
            not 1, a step of 0.
    """

    directions: NDArray[np.float32]
    eigenvalues: NDArray[np.float64]
    residuals: NDArray[np.float64]
    mask: NDArray[np.bool_]
    latent: NDArray[np.float32]
    step: NDArray[np.float64]
    predicted_inside: NDArray[np.float64]
    predicted_outside: NDArray[np.float64]
    measured_inside: NDArray[np.float64]
    measured_outside: NDArray[np.float64]
    metadata: DirectionMetadata

    def __post_init__(self) -> None:
        sizes = dict(zip('HW', self.metadata.image_shape[1:], strict=True))
        for name, (dtype, axes, non_negative) in _ARRAYS.items():
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != dtype:
                raise DirectionsError(f"array '{name}' is {getattr(array, 'dtype', type(array).__name__)}, expected "
                                      f'{np.dtype(dtype)}')
            if axes is None:
                fits, expected = array.ndim >= 2 and array.shape[0] == 1, '[1, ...]'
            else:
                fits = array.ndim == len(axes) and all(
                    sizes.setdefault(axis, size) == size for axis, size in zip(axes, array.shape, strict=True))
                expected = '[' + ', '.join(f'{axis} = {sizes[axis]}' if axis in sizes else axis for axis in axes) + ']'
            if not fits or not array.size:
                raise DirectionsError(f"array '{name}' has shape {list(array.shape)}, expected {expected}")
            if not np.isfinite(array).all():
                raise DirectionsError(f"array '{name}' holds NaN or infinite values: write the file anew")
            if non_negative and array.min() < 0:
                raise DirectionsError(f"array '{name}' holds {array.min():g}, expected values of at least 0")
        self._check_layers()
        if not self.step.all():
            raise DirectionsError(f"array 'step' is 0 for direction {int(self.step.argmin())}: expected the alpha of "
                                  'strength 1, above 0')
        lengths = np.linalg.norm(self.directions.astype(np.float64), axis=1)
        worst = int(np.abs(lengths - 1).argmax())
        if abs(lengths[worst] - 1) > UNIT:
            raise DirectionsError(f'direction {worst} has length {lengths[worst]:.6g}, expected unit rows')

    def _check_layers(self) -> None:
        """Compares what the metadata says of layers with the arrays: files are spread over so many layers."""
        metadata, latent = self.metadata, list(self.latent.shape)
        if metadata.space not in ('w', 'w+'):
            return
        layers = metadata.num_ws if metadata.layers is None else len(metadata.layers)
        parts = layers if metadata.space == 'w+' else 1
        if latent[1:-1] != [metadata.num_ws] or latent[-1] * parts != self.directions.shape[1]:
            raise DirectionsError(f"array 'latent' has shape {latent}, which does not go with {metadata.num_ws} layers "
                                  f"of the network, {layers} of them edited, and {self.directions.shape[1]} dimensions "
                                  f"of space '{metadata.space}': the file is inconsistent")
        if metadata.layers and metadata.layers[-1] >= metadata.num_ws:
            raise DirectionsError(f"metadata 'layers' goes up to {metadata.layers[-1]}, and the network's end at "
                                  f'{metadata.num_ws - 1}: the file is inconsistent')

    def __repr__(self) -> str:
        rows = ['  ' + '  '.join(cell for cell in cells if cell) for cells in self._rows()]
        return '\n'.join([f'{self._title()}; change in grey levels of 255 at strength 1:', *rows])

    def _repr_html_(self) -> str:
        rows = [('direction', 'label', 'region', 'rest'), *self._rows()]
        body = ''.join('<tr>' + ''.join(f'<td style="text-align:left">{html.escape(cell)}</td>' for cell in cells)
                       + '</tr>' for cells in rows)
        return f'<b>{html.escape(self._title())}</b><table>{body}</table>at strength 1, in grey levels of 255'

    def _title(self) -> str:
        data = self.metadata
        seeds = f'seed{"s" * (len(data.seeds) > 1)} {format_ranges(data.seeds)}' if data.seeds else 'a latent'
        return (f'{len(self)} direction{"s" * (len(self) > 1)} of {data.region}, space {data.space} of {data.network}, '
                f'{seeds}')

    def _rows(self) -> list[tuple[str, ...]]:
        """Of each direction: its number, its label, and how much it changes the region and the rest."""
        inside, outside = (127.5 * np.sqrt(change) for change in (self.measured_inside, self.measured_outside))
        return [(str(i + 1), label, f'region {inside[i]:.1f}', f'rest {outside[i]:.2g}')
                for i, label in enumerate(self.labels)]

    def __len__(self) -> int:
        return len(self.directions)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the file, all of it or nothing. Raises ResefaError if that fails or `metadata.extra` is not JSON."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        text = self.metadata.to_json()
        with replacing(path) as part, open(part, 'wb') as file:
            np.savez_compressed(file, metadata=np.array(text), **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DirectionSet:
        """Reads a directions file as data. Raises DirectionsError if it is missing, damaged, foreign or newer."""
        path = pathlib.Path(path)
        with reading(path):
            start = magic(path)
            if start == NPY_MAGIC:
                raise DirectionsError('this is a single .npy array, not a directions file; '
                                      '`resefa edit` takes directions of other tools')
            if not start.startswith(ZIP_MAGIC):
                raise DirectionsError('this is not an .npz file; `resefa factorize` writes directions files')
            with open_npz(path) as file:
                if 'metadata' not in file.names:
                    raise DirectionsError(f"no 'metadata' among its arrays ({file.listed()}): this is another "
                                          "program's .npz; `resefa factorize` writes directions files")
                text = file.read('metadata', MAX_METADATA)
                if text.dtype.kind != 'U' or text.ndim:
                    raise DirectionsError("array 'metadata' is not a text: this is another program's .npz")
                metadata = DirectionMetadata.from_json(text.item())
                missing = [name for name in _ARRAYS if name not in file.names]
                if missing:
                    raise DirectionsError(f"it lacks the arrays {', '.join(missing)}: write the file anew")
                return cls(**{name: file.read(name) for name in _ARRAYS}, metadata=metadata)

    def check_index(self, index: int) -> None:
        """Raises DirectionsError if `index` is not the number of a direction, counted from 1."""
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)) or not 1 <= index <= len(self):
            raise DirectionsError(f'direction {index!r} is out of range: they are counted from 1, the best, to '
                                  f'{len(self)}')

    def offset(self, index: int, strength: float) -> NDArray[np.float32]:
        """The offset `[d]` float32 of direction `index`, from 1 as on the command line, at a strength.

        Strength 1 is `step[index - 1]` long, and changes the region by a root mean square of 0.1.
        """
        self.check_index(index)
        if not isinstance(strength, numbers.Real) or not math.isfinite(strength):
            raise DirectionsError(f'strength is {repr(strength)[:100]}, expected a finite number')
        return np.asarray(strength * self.step[index - 1] * self.directions[index - 1], np.float32)

    def picture(self, hook: GeneratorHook, sample: Sample, index: int, strength: float = 1.0) -> Image.Image:
        """A sample moved along direction `index`, from 1, at a strength: RGB, in the size of the generator.

        Raises DirectionsError as `offset` and `check_fits` do.
        """
        offset = torch.from_numpy(self.offset(index, strength))[None]
        viewpoint = Viewpoint(hook, self.check_fits(hook), sample).full()
        with torch.no_grad():
            return Image.fromarray(to_uint8(viewpoint.images(offset.to(viewpoint.device)))[0])

    def check_fits(self, hook: GeneratorHook) -> LatentSpace:
        """The latent space of this generator to which the directions belong.

        Warns if the generator's weights are not those that were factorized, nor these tuned to a photograph: edits may
        then not be local.

        Raises:
            DirectionsError: its pictures have another shape, it has no such space, or one of other dimensions.
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
        stated = metadata.extra.get('value_range')
        if stated is not None and list(hook.value_range or (-1, 1)) != stated:
            warnings.warn(f'the directions were found with pictures in the range {printable(_brief(stated))}: state it '
                          'here too, with value_range= or --range', stacklevel=2)
        if metadata.network_sha256 not in (hook.sha256, hook.tuned_from or hook.sha256):
            warnings.warn(f'the directions come from {metadata.network} (SHA-256 '
                          f"{metadata.network_sha256[:12] or 'unknown'}), not from {hook.name} (SHA-256 "
                          f"{hook.sha256[:12] or 'unknown'}): edits may not be local", stacklevel=2)
        return space

    @property
    def labels(self) -> tuple[str, ...]:
        """What each direction does at positive strength, in a person's words, as `mouth opens +`; empty for no word.

        They are in `metadata.extra`. All are empty where a file has none, or something else by that name.
        """
        labels = self.metadata.extra.get('labels')
        if isinstance(labels, list) and len(labels) == len(self) and all(isinstance(label, str) for label in labels):
            return tuple(printable(label) for label in labels)
        return ('',) * len(self)

    def labelled(self, labels: Sequence[str]) -> DirectionSet:
        """The same with a label for each direction. Raises DirectionsError for another number of labels."""
        if len(labels) != len(self):
            raise DirectionsError(f'got {len(labels)} labels, expected one for each of {len(self)} directions')
        extra = {**self.metadata.extra, 'labels': list(labels)}
        return replace(self, metadata=replace(self.metadata, extra=extra))

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
            *(f'{key:<11} {printable(_brief(data.extra[key]))}' for key in _SHOWN if key in data.extra),
            '',
            'RMS change on the [-1, 1] scale at strength 1:',
            'direction  eigenvalue  residual     alpha    inside  (predicted)   outside  (predicted)'
            + ('  label' if any(self.labels) else ''),
        ]
        rms = {name: np.sqrt(getattr(self, name)) for name in _ARRAYS if name.endswith('side')}
        for i in range(len(self)):  # counted from 1, as `resefa edit --index` does
            lines.append(f"{i + 1:9d}  {self.eigenvalues[i]:10.4g}  {self.residuals[i]:8.1e}  {self.step[i]:8.4g}  "
                         f"{rms['measured_inside'][i]:8.4f}  {rms['predicted_inside'][i]:11.4f}  "
                         f"{rms['measured_outside'][i]:8.4f}  {rms['predicted_outside'][i]:11.4f}"
                         + (f'  {self.labels[i]}' if self.labels[i] else ''))
        return '\n'.join(lines)


def _brief(value: Any) -> str:
    """A value of `extra` on one line."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f'over {len(value)} samples'
    if isinstance(value, list):
        return ', '.join(map(str, value))
    if isinstance(value, dict):
        return ', '.join(f'{key} {item}' for key, item in value.items())
    return str(value)
