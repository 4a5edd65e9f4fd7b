"""From inert values to plain data: containers, numbers, text, numpy arrays.

The meaning of a call is looked up in a table of handlers by the name of what would have been called. A handler checks
every argument and computes the result itself. This file has the handlers for Python's containers and for numpy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, cast

import numpy as np

from resefa_plugin.checkpoints.pickles.inert_pickle import Budget
from resefa_plugin.checkpoints.pickles.inert_values import Call, ForeignObjectError, Global, checked_key, shorten
from resefa_plugin.errors import CheckpointError

# Levels of containers, calls and submodules. Official files have 7.
MAX_DEPTH = 40
MAX_NDIM = 16
MAX_NATURAL = 1 << 48
# What an array or tensor costs beside its elements, in bytes.
OBJECT_BYTES = 512
NUMPY_ELEMENTS = ('f2', 'f4', 'f8', 'i1', 'i2', 'i4', 'i8', 'u1', 'u2', 'u4', 'u8', 'b1')


class Decoder:
    """Unfolds inert values into plain data of bounded size and depth.

    A part that occurs several times is unfolded each time, so that the result is a tree. A few bytes could unfold to a
    huge tree in that way ('billion laughs'): that exceeds the budget.

    Args:
        handlers: what computes the result of a call, by the full name of the function or class that is called.
        budget: is charged for every value and every byte copied.
    """

    def __init__(self, handlers: Mapping[str, Handler], budget: Budget):
        self.handlers = handlers
        self.budget = budget

    def plain(self, value: object, depth: int = 0) -> object:
        """The plain form of an inert value. Raises CheckpointError if it is too deep, too large or has none."""
        self.enter(depth)
        if value is None or type(value) in (bool, int, float, str):
            return value
        if type(value) is memoryview:
            self.budget.spend_bytes(len(value))
            return bytes(value)
        if type(value) is dict:
            return {checked_key(key): self.plain(item, depth + 1) for key, item in value.items()}
        if type(value) is list or type(value) is tuple:
            return type(value)(self.plain(item, depth + 1) for item in value)
        if type(value) is set:
            for _ in value:
                self.budget.spend_value()
            return set(map(checked_key, value))
        if type(value) is Call and value.func.name in self.handlers:
            return self.handlers[value.func.name](self, value, depth)
        name = value.func.name if type(value) is Call else value.name if type(value) is Global else ''
        if name and name not in (*self.handlers, *NUMPY_NAMES):
            raise ForeignObjectError(f'it refers to {shorten(name)} where data is expected; that was not imported, and '
                                     'what needs it can only be loaded by its own code, if you trust it')
        raise CheckpointError(f'{shorten(value)} where data is expected')

    def enter(self, depth: int) -> None:
        """Accounts for one value at a depth, before its parts are looked at."""
        self.budget.spend_value()
        if depth > MAX_DEPTH:
            raise CheckpointError(f'values nested more than {MAX_DEPTH} deep')

    def payload(self, value: object) -> memoryview:
        """The bytes of a byte string, which older pickle protocols write as a call."""
        if type(value) is memoryview:
            return value
        if type(value) is Call and value.func.name in BYTES_HANDLERS:
            return memoryview(BYTES_HANDLERS[value.func.name](self, value, 0))
        raise CheckpointError(f'{shorten(value)} where bytes are expected')


Handler = Callable[[Decoder, Call, int], object]


def arguments(call: Call, *counts: int) -> tuple:
    """The arguments of a call that carries nothing else. Raises CheckpointError for another number of them."""
    if len(call.args) not in counts or call.state is not None or call.pairs:
        raise CheckpointError(f'{shorten(call)} with {len(call.args)} arguments'
                              f'{", a state" * (call.state is not None)}{", items" * bool(call.pairs)};'
                              f' expected {" or ".join(map(str, counts))} arguments alone')
    return call.args


def items_of(value: object) -> dict:
    """The items of a dict, an OrderedDict or an EasyDict, still inert. Raises CheckpointError for anything else."""
    if type(value) is dict:
        return value
    # `state_dict()` sets the version numbers of its modules as an attribute of the dictionary; they are not needed.
    if type(value) is Call and value.func.name in MAPPINGS and not value.args and (
            value.state is None or type(value.state) is dict and value.state.keys() == {'_metadata'}):
        return value.pairs
    raise CheckpointError(f'{shorten(value)} where a dictionary is expected')


def natural(value: object, what: str) -> int:
    """Returns an integer from 0 to 2^48 as it is. Raises CheckpointError for anything else."""
    if type(value) is not int or not 0 <= value <= MAX_NATURAL:
        raise CheckpointError(f'{what} is {shorten(value)}; expected an integer from 0 to 2^48')
    return value


def text(value: object, what: str) -> str:
    """Returns a text as it is. Raises CheckpointError for anything else."""
    if type(value) is not str:
        raise CheckpointError(f'{what} is {shorten(value)}; expected text')
    return value


def shape(value: object, what: str) -> tuple[int, ...]:
    """Returns a tuple of at most 16 integers >= 0 as it is. Raises CheckpointError for anything else."""
    if type(value) is not tuple or len(value) > MAX_NDIM:
        raise CheckpointError(f'{what} is {shorten(value)}; expected a tuple of up to {MAX_NDIM} integers')
    return tuple(natural(size, what) for size in value)


def _mapping(decoder: Decoder, call: Call, depth: int) -> dict:
    return {checked_key(key): decoder.plain(item, depth + 1) for key, item in items_of(call).items()}


def _set(decoder: Decoder, call: Call, depth: int) -> set:
    (values,) = arguments(call, 1)
    if type(values) is not list:
        raise CheckpointError(f'a set made from {shorten(values)}; expected a list')
    elements = set()
    for value in values:
        decoder.enter(depth + 1)
        elements.add(checked_key(value))
    return elements


def _encoded_bytes(decoder: Decoder, call: Call, depth: int) -> bytes:
    """Protocol 2 writes bytes as `_codecs.encode(text, 'latin1')`."""
    content, encoding = arguments(call, 2)
    if type(content) is not str or encoding != 'latin1':
        raise CheckpointError(f'{shorten(content)} encoded as {shorten(encoding)}; expected text encoded as latin1')
    decoder.budget.spend_bytes(len(content))
    try:
        return content.encode('latin1')
    except UnicodeEncodeError:
        raise CheckpointError('text encoded as latin1 has characters above 255') from None


def _empty_bytes(decoder: Decoder, call: Call, depth: int) -> bytes:
    arguments(call, 0)
    return b''


def _dtype(value: object) -> np.dtype:
    """The numpy type of a call `numpy.dtype(name, align, copy)` with its state `(3, byte order, ...)`."""
    if type(value) is not Call or value.func.name != 'numpy.dtype':
        raise CheckpointError(f'{shorten(value)} where a numpy type is expected')
    name = value.args[0] if value.args else None
    if name not in NUMPY_ELEMENTS:
        raise CheckpointError(f'numpy elements of type {shorten(name)}; expected one of {", ".join(NUMPY_ELEMENTS)}')
    state = value.state
    if type(state) is not tuple or len(state) != 8 or state[1] not in ('<', '>', '|') or state[2:5] != (None,) * 3:
        raise CheckpointError(f'the numpy type {name} has an unknown state')
    return np.dtype(name).newbyteorder(state[1])


def _array(decoder: Decoder, dtype: np.dtype, dims: tuple[int, ...], order: Literal['C', 'F'],
           raw: memoryview) -> np.ndarray:
    # Python's integers cannot overflow, so this product is the true one.
    expected = math.prod(dims) * dtype.itemsize
    if len(raw) != expected or math.prod(size for size in dims if size) > np.iinfo(np.int32).max:
        raise CheckpointError(f'a numpy array of shape {dims} and type {dtype} needs {expected} bytes, not {len(raw)}')
    decoder.budget.spend_bytes(len(raw) + OBJECT_BYTES)
    if not raw:
        return np.empty(dims, dtype.newbyteorder('='))
    if dtype.kind == 'b':
        # A byte other than 0 and 1 would be a bool that is neither.
        return (np.frombuffer(raw, np.uint8) != 0).reshape(dims, order=order)
    return np.frombuffer(raw, dtype).reshape(dims, order=order).astype(dtype.newbyteorder('='))


def _ndarray(decoder: Decoder, call: Call, depth: int) -> np.ndarray:
    """Arrays are `_reconstruct(ndarray, (0,), b'b')` with state `(1, shape, dtype, is_fortran, bytes)`."""
    if len(call.args) != 3 or call.args[0] != Global('numpy.ndarray') or call.pairs:
        raise CheckpointError('a numpy array of an unknown subclass')
    state = call.state
    if type(state) is not tuple or len(state) != 5 or state[0] != 1 or type(state[3]) is not bool:
        raise CheckpointError('a numpy array with an unknown state')
    return _array(decoder, _dtype(state[2]), shape(state[1], 'shape of an array'), 'F' if state[3] else 'C',
                  decoder.payload(state[4]))


def _buffer_array(decoder: Decoder, call: Call, depth: int) -> np.ndarray:
    """Protocol 5 writes arrays as `_frombuffer(bytes, dtype, shape, order)`."""
    raw, dtype, dims, order = arguments(call, 4)
    if order not in ('C', 'F'):
        raise CheckpointError(f'a numpy array in order {shorten(order)}; expected C or F')
    return _array(decoder, _dtype(dtype), shape(dims, 'shape of an array'), 'F' if order == 'F' else 'C',
                  decoder.payload(raw))


def _scalar(decoder: Decoder, call: Call, depth: int) -> np.generic:
    dtype, raw = arguments(call, 2)
    return cast(np.generic, _array(decoder, _dtype(dtype), (), 'C', decoder.payload(raw))[()])


def _namespace(decoder: Decoder, call: Call, depth: int) -> dict:
    """A parsed command line, which training scripts save beside their networks, as a dictionary."""
    if call.args or call.pairs:
        raise CheckpointError(f'{shorten(call)} with arguments or items; expected a state alone')
    state = {} if call.state is None else items_of(call.state)
    return {checked_key(key): decoder.plain(item, depth + 1) for key, item in state.items()}


# Protocol 2 writes the Python 2 names of builtins.
BYTES_HANDLERS: dict[str, Callable[[Decoder, Call, int], bytes]] = {
    '_codecs.encode': _encoded_bytes,
    '__builtin__.bytes': _empty_bytes,
    'builtins.bytes': _empty_bytes,
}

MAPPINGS = ('collections.OrderedDict', 'dnnlib.util.EasyDict')

CONTAINER_HANDLERS: dict[str, Handler] = {
    **BYTES_HANDLERS,
    **{name: _mapping for name in MAPPINGS},
    'argparse.Namespace': _namespace,
    '__builtin__.set': _set,
    'builtins.set': _set,
}

# numpy 1.x calls its inner package `core`, numpy 2.x `_core`.
NUMPY_HANDLERS: dict[str, Handler] = {
    f'numpy.{core}.{function}': handler
    for core in ('core', '_core')
    for function, handler in (('multiarray._reconstruct', _ndarray), ('numeric._frombuffer', _buffer_array),
                              ('multiarray.scalar', _scalar))
}

# These are arguments of the calls above.
NUMPY_NAMES = ('numpy.ndarray', 'numpy.dtype')
