"""Where directions come from: the JSON text of a directions file, and its checks."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata as distributions
from itertools import pairwise
from numbers import Real
from operator import index as whole
from typing import Any, NamedTuple

import numpy as np
import torch

from resefa_plugin.errors import DirectionsError, printable

FORMAT = 'resefa-directions'
VERSION = 1
MAX_INTEGER = 2 ** 53  # of JSON, for all readers
MAX_TEXT = 100_000  # characters: a command line that names a thousand files


# Each of the following gives a value the type of its field, whether it comes from JSON or from a caller, or raises
# TypeError, ValueError or AttributeError. True is a number in Python; here it is a mistake.

def _integer(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    number = whole(value)
    if abs(number) > MAX_INTEGER:
        raise ValueError
    return number


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return printable(value, MAX_TEXT)


def _integers(value: Any) -> tuple[int, ...]:
    return tuple(_integer(item) for item in value)


def _layers(value: Any) -> tuple[int, ...]:
    layers = _integers(value)
    if not layers or layers[0] < 0 or any(low >= high for low, high in pairwise(layers)):
        raise ValueError
    return layers


def _shape(value: Any) -> tuple[int, int, int]:
    C, H, W = _integers(value)
    if min(C, H, W) < 1:
        raise ValueError
    return C, H, W


def _texts(value: Any) -> dict[str, str]:
    return {_text(key): _text(item) for key, item in value.items()}


def _optional(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else convert(value)


class _Field(NamedTuple):
    """A field of DirectionMetadata: its conversion, and in words what it accepts."""

    convert: Callable[[Any], Any]
    expected: str


_FIELDS = {
    'network': _Field(_text, 'a text'),
    'network_sha256': _Field(_text, 'a text'),
    'image_shape': _Field(_shape, 'three whole numbers [C, H, W], of at least 1'),
    'space': _Field(_text, 'a text'),
    'layers': _Field(_optional(_layers), 'layer numbers, ascending, or null for all'),
    'num_ws': _Field(_integer, 'a whole number'),
    'region': _Field(_text, 'a text'),
    'seeds': _Field(_integers, 'a list of whole numbers'),
    'truncation_psi': _Field(_number, 'a finite number'),
    'truncation_cutoff': _Field(_optional(_integer), 'a whole number or null'),
    'resolution': _Field(_integer, 'a whole number'),
    'tau': _Field(_number, 'a finite number'),
    'ridge': _Field(_number, 'a finite number'),
    'solver': _Field(_text, 'a text'),
    'command': _Field(_text, 'a text'),
    'versions': _Field(_texts, 'texts by name'),
    'created': _Field(_text, 'a text'),
}


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that the numbers depend on, by name."""
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
        for name, (convert, expected) in _FIELDS.items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, convert(value))
            except (ArithmeticError, AttributeError, TypeError, ValueError):
                raise DirectionsError(f"metadata '{name}' is {printable(repr(value))}, expected {expected}") from None
        clash = sorted({'format', 'version', *_FIELDS} & set(self.extra))
        if clash:
            raise DirectionsError(f"extra metadata may not redefine {', '.join(clash)}: choose another key")

    def to_json(self) -> str:
        """The text stored in the file. Raises DirectionsError if `extra` holds what JSON does not."""
        values = {name: getattr(self, name) for name in _FIELDS}
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
        missing = [name for name in _FIELDS if name not in values]
        if missing:
            raise DirectionsError(f"the metadata lacks {', '.join(missing)}: write the file anew")
        return cls(**{name: values.pop(name) for name in _FIELDS}, extra=values)


def _refuse_constant(name: str) -> None:
    raise DirectionsError(f'the metadata holds {name}, which is not JSON: write the file anew')
