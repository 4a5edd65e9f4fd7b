"""What a pickle becomes here: plain values, and inert ones that hold a name and its arguments and can do nothing."""

from __future__ import annotations

from dataclasses import dataclass

from resefa_plugin.errors import CheckpointError

# Keys are short: with two bytes a file can repeat a key, and each time it may be compared, character by character, with
# an equal one.
MAX_KEY_CHARS = 1024
# Integer keys are small: Python hashes text with a secret, but an integer is its own hash, so that a file could choose
# large ones that all collide, which makes a dictionary slow.
MAX_KEY_INT = 1 << 20


class ForeignObjectError(CheckpointError):
    """A part of a file that is wanted as data is an object of a class that is not known here."""


@dataclass(frozen=True)
class Global:
    """The name of a class or function, `module.name`, and nothing else."""

    name: str


class Call:
    """A call that the pickle asks for and that is not made.

    Attributes:
        func: what would have been called.
        args: its arguments, inert values.
        state: what the opcode BUILD would have set on the result, None if there was no BUILD.
        pairs: the items that would have been set on the result; those that would have been appended or added have an
            `OddKey` as their key.
    """

    __slots__ = ('func', 'args', 'state', 'pairs')

    def __init__(self, func: Global, args: tuple):
        self.func = func
        self.args = args
        self.state: object = None
        self.pairs: dict = {}


@dataclass(frozen=True)
class PersistentRef:
    """A persistent id, as it stands in the file."""

    pid: object


@dataclass(frozen=True, eq=False)
class OddKey:
    """A key that is no short text and no moderate integer; equal to itself alone, so that nothing is compared."""

    value: object


def inert_key(value: object) -> object:
    """A value as key of a dictionary or element of a set: itself if it is of a kind that keys of data are, else odd."""
    if type(value) is str and len(value) <= MAX_KEY_CHARS or type(value) is bool or value is None:
        return value
    if type(value) is int and abs(value) < MAX_KEY_INT:
        return value
    return OddKey(value)


def checked_key(value: object) -> object:
    """A key or element as it is. Raises CheckpointError for an odd one."""
    key = inert_key(value.value if type(value) is OddKey else value)
    if type(key) is OddKey:
        raise CheckpointError(f'{shorten(key.value)} as a key; expected text of up to {MAX_KEY_CHARS} characters or an '
                              'integer')
    return key


def shorten(value: object) -> str:
    """A short printable form of a foreign number or text; of anything else, its type."""
    if isinstance(value, str):
        return repr(value if len(value) <= 120 else f'{value[:120]}...')
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, Global):
        return f'the global {shorten(value.name)}'
    if isinstance(value, Call):
        return f'a call of {shorten(value.func.name)}'
    return f'a value of type {type(value).__name__}'
