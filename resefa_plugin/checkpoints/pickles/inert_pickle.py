"""A pickle machine of our own, in which nothing real can be reached.

It knows the opcodes that Python's pickler writes with protocols 2 to 5 and no others. A global becomes a `Global` that
holds only its name, a call becomes a `Call` that holds what would have been called: no import, no attribute access, no
object of the file's choosing. Any name may be mentioned: what a call means is decided by `plain_data.Decoder`, from a
table, and only for those parts of a file that are needed.

What one opcode costs in time and memory is at most proportional to its bytes in the file, plus a constant; `Budget`
bounds how often that constant is paid.
"""

from __future__ import annotations

import contextlib
import pickletools
import struct
from collections.abc import Callable, Iterator

from resefa_plugin.checkpoints.pickles.inert_values import Call, Global, OddKey, PersistentRef, inert_key, shorten
from resefa_plugin.errors import CheckpointError

# A StyleGAN2 snapshot at 1024 pixels (three networks and an augmentation pipe) has 67,000 opcodes and 1,200 values.
MAX_OPCODES = 500_000
MAX_VALUES = 200_000
FREE_WORK_BYTES = 64 << 20

MAX_LONG_BYTES = 255
MAX_GLOBAL_CHARS = 256


class Budget:
    """What one file may cost: opcodes run, values decoded, and bytes copied or hashed.

    A file and all pickles nested in it share one budget, so that a nested pickle that is read often is paid for often.
    """

    def __init__(self, file_bytes: int):
        self.opcodes = MAX_OPCODES
        self.values = MAX_VALUES
        self.work_bytes = 4 * file_bytes + FREE_WORK_BYTES

    def spend_opcode(self) -> None:
        """Counts an opcode of a pickle. Raises CheckpointError beyond MAX_OPCODES."""
        self.opcodes -= 1
        if self.opcodes < 0:
            raise CheckpointError(f'more than {MAX_OPCODES} pickle opcodes; the largest official files have 67000')

    def spend_value(self) -> None:
        """Counts a value that is decoded. Raises CheckpointError beyond MAX_VALUES."""
        self.values -= 1
        if self.values < 0:
            raise CheckpointError(f'it unfolds to more than {MAX_VALUES} values; the largest official files have 1200')

    def spend_bytes(self, count: int) -> None:
        """Counts bytes that tensors and texts take. Raises CheckpointError beyond a multiple of the file's size."""
        self.work_bytes -= count
        if self.work_bytes < 0:
            raise CheckpointError('its tensors and texts unfold to more than four times the size of the file')


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Puts the name of the file in front of the errors raised while it is read."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f'{name}: {error}') from None


def load_inert(data: memoryview, budget: Budget, *, position: int = 0,
               refs: list[PersistentRef] | None = None) -> tuple[object, int]:
    """Reads one pickle as inert values.

    Args:
        data: bytes of the file. Long byte strings of the result are views of it, not copies.
        budget: is charged for every opcode.
        position: where the pickle begins.
        refs: a list to which the persistent ids are appended; None to refuse a pickle that has any.

    Returns: the value, made of None, bool, int, float, str, memoryview, tuple, list, dict, set, `Global`, `Call` and
        `PersistentRef`, and the position behind the pickle. It may share parts, and contain itself.

    Raises:
        CheckpointError: for a damaged pickle, or an opcode that we do not run.
    """
    machine = _Machine(data, budget, position, refs)
    return machine.run(), machine.position


class _Machine:
    """Stack, marks and memo of one pickle."""

    def __init__(self, data: memoryview, budget: Budget, position: int, refs: list[PersistentRef] | None):
        self.data = data
        self.budget = budget
        self.position = position
        self.refs = refs
        self.stack: list = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def run(self) -> object:
        if self.unsigned(1) != 0x80 or self.unsigned(1) not in (2, 3, 4, 5):
            raise CheckpointError(f'not a pickle of protocol 2 to 5 at byte {self.position}')
        while True:
            start = self.position
            code = self.unsigned(1)
            self.budget.spend_opcode()
            if code == ord('.'):
                return self.finish()
            operation = _OPERATIONS.get(code)
            if operation is None:
                raise CheckpointError(f'pickle opcode {_opcode_name(code)} at byte {start}: no network file uses it')
            try:
                operation(self)
            except CheckpointError as error:
                raise CheckpointError(f'pickle opcode {_opcode_name(code)} at byte {start}: {error}') from None

    def finish(self) -> object:
        value = self.pop()
        if self.stack or self.marks:
            raise CheckpointError('the pickle ends with values left on its stack')
        return value

    # Reading the bytes. Every length is compared with how many bytes there are before anything is taken.

    def take(self, count: int) -> memoryview:
        end = self.position + count
        if end > len(self.data):
            raise CheckpointError(f'truncated: {count} bytes wanted at byte {self.position} of {len(self.data)}')
        view = self.data[self.position:end]
        self.position = end
        return view

    def unsigned(self, width: int) -> int:
        return int.from_bytes(self.take(width), 'little')

    def text(self, count: int) -> str:
        return utf8(self.take(count))

    def line(self) -> str:
        window = bytes(self.data[self.position:self.position + MAX_GLOBAL_CHARS + 1])
        length = window.find(b'\n')
        if length < 0:
            raise CheckpointError(f'no end of line within {MAX_GLOBAL_CHARS} bytes')
        text = self.text(length)
        self.position += 1
        return text

    # The stack.

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise CheckpointError('the stack is empty')
        return self.stack.pop()

    def pop_tuple(self) -> tuple:
        value = self.pop()
        if type(value) is not tuple:
            raise CheckpointError(f'{shorten(value)} where arguments are expected')
        return value

    def top(self) -> object:
        value = self.pop()
        self.stack.append(value)
        return value

    def pop_marked(self) -> list:
        if not self.marks:
            raise CheckpointError('there is no mark on the stack')
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    # Operations.

    def frame(self) -> None:
        size = self.unsigned(8)
        if size > len(self.data) - self.position:
            raise CheckpointError(f'truncated: a frame of {size} bytes at byte {self.position} of {len(self.data)}')

    def push_signed(self, width: int) -> None:
        if width > MAX_LONG_BYTES:
            raise CheckpointError(f'an integer of {width} bytes')
        self.push(int.from_bytes(self.take(width), 'little', signed=True))

    def push_tuple(self, length: int) -> None:
        values = [self.pop() for _ in range(length)]
        self.push(tuple(reversed(values)))

    def append(self, values: list) -> None:
        target = self.top()
        if type(target) is Call:
            target.pairs.update((OddKey(None), value) for value in values)
        elif type(target) is list:
            target.extend(values)
        else:
            raise CheckpointError(f'items are appended to {shorten(target)}')

    def append_one(self) -> None:
        value = self.pop()
        self.append([value])

    def set_items(self, values: list) -> None:
        target = self.top()
        if type(target) is Call:
            pairs = target.pairs
        elif type(target) is dict:
            pairs = target
        else:
            raise CheckpointError(f'items are set on {shorten(target)}')
        if len(values) % 2:
            raise CheckpointError('a key without a value')
        for key, value in zip(values[0::2], values[1::2], strict=True):
            pairs[inert_key(key)] = value

    def set_one(self) -> None:
        value = self.pop()
        key = self.pop()
        self.set_items([key, value])

    def add_items(self) -> None:
        values = self.pop_marked()
        target = self.top()
        if type(target) is not set:
            raise CheckpointError(f'elements are added to {shorten(target)}')
        target.update(map(inert_key, values))

    def push_global(self, module: object, name: object) -> None:
        if type(module) is not str or type(name) is not str:
            raise CheckpointError(f'the name of a global is {shorten(module)}, {shorten(name)}, not text')
        full = f'{module[:MAX_GLOBAL_CHARS]}.{name[:MAX_GLOBAL_CHARS]}'
        self.push(Global(full))

    def stack_global(self) -> None:
        name = self.pop()
        self.push_global(self.pop(), name)

    def call(self) -> None:
        args = self.pop()
        func = self.pop()
        if type(func) is Call:  # a method, for example: nothing that data has to say is made in this way
            func = Global(f'{func.func.name}(...)'[:MAX_GLOBAL_CHARS])
        if type(func) is not Global or type(args) is not tuple:
            raise CheckpointError(f'{shorten(func)} is called with {shorten(args)}; expected a global and a tuple')
        self.push(Call(func, args))

    def call_with_names(self) -> None:
        kwargs = self.pop()
        if kwargs:
            self.push((*self.pop_tuple(), kwargs))
        self.call()

    def build(self) -> None:
        state = self.pop()
        target = self.top()
        if type(target) is not Call or target.state is not None:
            raise CheckpointError(f'state is set on {shorten(target)}; expected an object that has none yet')
        target.state = state

    def memoize(self, index: int) -> None:
        if index > MAX_OPCODES:
            raise CheckpointError(f'a value is stored as number {index}; picklers count from 0')
        self.memo[index] = self.top()

    def push_memo(self, index: int) -> None:
        if index not in self.memo:
            raise CheckpointError(f'nothing was stored as number {index}')
        self.push(self.memo[index])

    def push_persistent(self) -> None:
        if self.refs is None:
            raise CheckpointError('a persistent id, where none may be')
        pid = self.pop()
        # Old versions of torch save a module's class in this way, with its source.
        if type(pid) is tuple and len(pid) == 4 and pid[0] == 'module' and type(pid[1]) is Global:
            self.push(pid[1])
            return
        self.refs.append(PersistentRef(pid))
        self.push(self.refs[-1])


_OPERATIONS: dict[int, Callable[[_Machine], object]] = {
    0x95: _Machine.frame,
    ord('('): lambda m: m.marks.append(len(m.stack)),
    # constants and numbers
    ord('N'): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord('J'): lambda m: m.push_signed(4),
    ord('K'): lambda m: m.push(m.unsigned(1)),
    ord('M'): lambda m: m.push(m.unsigned(2)),
    0x8a: lambda m: m.push_signed(m.unsigned(1)),
    0x8b: lambda m: m.push_signed(m.unsigned(4)),
    ord('G'): lambda m: m.push(struct.unpack('>d', m.take(8))[0]),
    # text and bytes
    0x8c: lambda m: m.push(m.text(m.unsigned(1))),
    ord('X'): lambda m: m.push(m.text(m.unsigned(4))),
    0x8d: lambda m: m.push(m.text(m.unsigned(8))),
    ord('C'): lambda m: m.push(m.take(m.unsigned(1))),
    ord('B'): lambda m: m.push(m.take(m.unsigned(4))),
    0x8e: lambda m: m.push(m.take(m.unsigned(8))),
    0x96: lambda m: m.push(m.take(m.unsigned(8))),
    # containers
    ord(']'): lambda m: m.push([]),
    ord('a'): _Machine.append_one,
    ord('e'): lambda m: m.append(m.pop_marked()),
    ord(')'): lambda m: m.push(()),
    ord('t'): lambda m: m.push(tuple(m.pop_marked())),
    0x85: lambda m: m.push_tuple(1),
    0x86: lambda m: m.push_tuple(2),
    0x87: lambda m: m.push_tuple(3),
    ord('}'): lambda m: m.push({}),
    ord('s'): _Machine.set_one,
    ord('u'): lambda m: m.set_items(m.pop_marked()),
    0x8f: lambda m: m.push(set()),
    0x90: _Machine.add_items,
    0x91: lambda m: m.push(set(map(inert_key, m.pop_marked()))),
    # what picklers write for a tuple that contains itself
    ord('0'): _Machine.pop,
    ord('1'): _Machine.pop_marked,
    # objects
    ord('c'): lambda m: m.push_global(m.line(), m.line()),
    0x93: _Machine.stack_global,
    ord('R'): _Machine.call,
    0x81: _Machine.call,
    0x92: _Machine.call_with_names,
    ord('b'): _Machine.build,
    ord('Q'): _Machine.push_persistent,
    # memo
    ord('q'): lambda m: m.memoize(m.unsigned(1)),
    ord('r'): lambda m: m.memoize(m.unsigned(4)),
    0x94: lambda m: m.memoize(len(m.memo)),
    ord('h'): lambda m: m.push_memo(m.unsigned(1)),
    ord('j'): lambda m: m.push_memo(m.unsigned(4)),
}


_OPCODE_NAMES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}


def _opcode_name(code: int) -> str:
    return _OPCODE_NAMES.get(code, f'0x{code:02x}')


def utf8(view: memoryview) -> str:
    """Text from UTF-8 bytes. Raises CheckpointError for bytes that are not UTF-8."""
    try:
        return str(view, 'utf-8')
    except UnicodeDecodeError:
        raise CheckpointError('text that is not UTF-8') from None
