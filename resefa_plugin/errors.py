"""Errors that a user can act on. Their text says what was expected, what came, and what to do."""

from __future__ import annotations

import math
import numbers


def printable(text: str, most: int | None = None) -> str:
    """Text in which what does not print is escaped, a terminal's control characters above all; cut at `most`."""
    text = text if most is None or len(text) <= most else f'{text[:most]}...'
    return ''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in text)


class ResefaError(ValueError):
    """Base of all errors raised for bad input or a generator that cannot be used as it is.

    Args:
        message: may quote what came from a file: it is made printable, line by line.
    """

    def __init__(self, message: str):
        super().__init__('\n'.join(map(printable, message.split('\n'))))


class CheckpointError(ResefaError):
    """A network or asset file that is missing, damaged, foreign, or refused because it would execute code."""


class RegionError(ResefaError):
    """A region that is empty, full, outside the picture, or not readable."""


class PhotographError(ResefaError):
    """A photograph that cannot be read, in which there is no face, or that cannot be brought to the network's frame."""


class SolverError(ResefaError):
    """A Rayleigh quotient that has no answer: non-finite or singular matrices without a ridge."""


class DamagedFileError(ResefaError):
    """A file whose contents are not what was written into it."""


class DirectionsError(ResefaError):
    """A directions file that is damaged, foreign, or does not fit the network it is used with."""


class ProbeError(ResefaError):
    """A generator whose derivatives cannot be trusted."""


class NondeterministicError(ProbeError):
    """Two calls with the same latent gave different pictures."""


class BatchDependenceError(ProbeError):
    """A picture depends on the others of its batch, or changes the network for the next one."""


class TangentError(ProbeError):
    """Forward mode disagrees with reverse mode or with a finite difference."""


class ZeroJacobianError(ProbeError):
    """No direction of the latent space changes the picture to first order."""


class NonFiniteError(ProbeError):
    """The picture or its derivative contains NaN or infinity."""


class MetricError(ResefaError):
    """Pictures or features that cannot be measured, or a metric that there is not."""


def check_type(name: str, value: object, kind: type, is_list: bool = False) -> None:
    """Raises ResefaError unless an argument is of a class, or a list or tuple of such: before the long part begins."""
    expected = f'a list of {kind.__name__}' if is_list else f'a value of type {kind.__name__}'
    if is_list != isinstance(value, (list, tuple)) or not all(
            isinstance(item, kind) for item in (value if isinstance(value, (list, tuple)) else [value])):
        raise ResefaError(f'{name} is {repr(value)[:100]}, expected {expected}')


def check_number(name: str, value: object, least: float | None = None, whole: bool = False) -> None:
    """Raises ResefaError unless an argument is a finite number of at least `least`, and whole if that is asked for.

    True is a number in Python; here it is a mistake.
    """
    kinds = numbers.Integral if whole else numbers.Real
    if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value) \
            or least is not None and value < least:
        bound = '' if least is None else f' of at least {least:g}'
        raise ResefaError(f'{name} is {repr(value)[:100]}, expected a {"whole" if whole else "finite"} number{bound}')


def check_shape(name: str, value: object, *axes: int | str) -> None:
    """Raises ResefaError unless an array or tensor has these axes: lengths, or texts such as `N` for one of any length.

    An axis of any length may not be empty.
    """
    shape, expected = getattr(value, 'shape', None), f'[{", ".join(map(str, axes))}]'
    if shape is None:
        raise ResefaError(f'{name} is {repr(value)[:100]}, expected a tensor {expected}')
    fits = len(shape) == len(axes) and all(
        length > 0 if isinstance(axis, str) else length == axis for axis, length in zip(axes, shape, strict=True))
    if not fits:
        raise ResefaError(f'{name} has shape {list(shape)}, expected {expected}')
