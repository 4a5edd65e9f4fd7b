"""Ways to damage and to forge a file, drawn by hypothesis: of its bytes, and of what its format is made of.

Containers are written anew with right sizes and checksums, so that a reader gets as far as the content.
"""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import pickletools
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

# Lengths, counts and offsets that are just too much, or mean something to some reader.
NUMBERS = (0, 1, -1, 2, 127, 128, 255, 256, 2 ** 15, 2 ** 16, 2 ** 20, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 53,
           2 ** 62, 2 ** 63 - 1)
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 7, 2 ** 31, 2 ** 63, 10 ** 30, 10 ** 400, 0.5, -0.0, 1e308, float('inf'), float('nan'),
    '', 'x', 'w', '\x1b[2J\x07', '\ud800', '\u202e', '9' * 5000, 'a' * 100_000, [], [[]], [None], {}, {'': 0},
    {'format': 1}, [1] * 1000)
DTYPES = ('<f2', '<f4', '<f8', '>f4', '<i4', '<i8', '|u1', '|b1', '<U4', '|S3', '<c8', '|V8', '<M8[s]', '|O')

Mutation = Callable[[bytes], bytes]


@st.composite
def changed_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes with one to four damages."""
    for _ in range(draw(st.integers(1, 4))):
        data = draw(_one_damage(data))
    return data


@st.composite
def _one_damage(draw: st.DrawFn, data: bytes) -> bytes:
    at = draw(st.integers(0, max(len(data) - 1, 0)))
    length = draw(st.sampled_from((1, 2, 4, 8, 16, 100, 1000, max(len(data) // 2, 1))))
    kind = draw(st.sampled_from(('flip', 'number', 'cut', 'zeros', 'twice', 'without', 'insert', 'text')))
    if kind == 'flip' and data:
        return data[:at] + bytes([data[at] ^ 1 << draw(st.integers(0, 7))]) + data[at + 1:]
    if kind == 'number':
        number, code = draw(st.sampled_from(NUMBERS)), draw(st.sampled_from('bhiq'))
        size = struct.calcsize(code)
        packed = (number % 256 ** size).to_bytes(size, draw(st.sampled_from(('little', 'big'))))
        return data[:at] + packed + data[at + size:]
    if kind == 'cut':
        return data[:at]
    if kind == 'zeros':
        return data[:at] + bytes(len(data[at:at + length])) + data[at + length:]
    if kind == 'twice':
        return data[:at + length] + data[at:]
    if kind == 'without':
        return data[:at] + data[at + length:]
    return data[:at] + draw(st.binary(max_size=32)) + data[at:]


@st.composite
def changed_json(draw: st.DrawFn, text: str) -> str:
    """A JSON text with one value replaced, removed or repeated, anywhere in it."""
    root = json.loads(text)
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            places.append((value, key))
            if isinstance(inner, (dict, list)):
                walk(inner)

    if isinstance(root, (dict, list)):
        walk(root)
    if not places:
        return json.dumps(draw(st.sampled_from(ODD_VALUES)))
    container, key = draw(st.sampled_from(places))
    kind = draw(st.sampled_from(('odd', 'odd', 'odd', 'gone', 'deep', 'text')))
    if kind == 'gone':
        del container[key]
    elif kind == 'text':
        container[key] = str(container[key])
    else:
        container[key] = draw(st.sampled_from(ODD_VALUES)) if kind == 'odd' else 'DEEP'
    return json.dumps(root).replace('"DEEP"', '[' * 5000 + ']' * 5000)


@st.composite
def changed_npy(draw: st.DrawFn, data: bytes) -> bytes:
    """An array of another type or shape, or with odd numbers in it; or a header that lies."""
    stream = io.BytesIO(data)
    np.lib.format.read_magic(stream)
    if np.lib.format.read_array_header_1_0(stream)[2].hasobject:
        start = stream.tell()
        return data[:start] + draw(changed_pickle(data[start:]))
    array = np.load(io.BytesIO(data), allow_pickle=False)
    kind = draw(st.sampled_from(('value', 'type', 'shape', 'header', 'objects', 'bytes')))
    if kind == 'bytes':
        return draw(changed_bytes(data))
    if kind == 'header':
        start = io.BytesIO()
        shape = tuple(draw(st.lists(st.sampled_from(NUMBERS[:8] + NUMBERS[-3:]), max_size=4)))
        np.lib.format.write_array_header_1_0(start, {'descr': draw(st.sampled_from(DTYPES)), 'shape': shape,
                                                     'fortran_order': draw(st.booleans())})
        return start.getvalue() + array.tobytes()
    if kind == 'value' and array.dtype.kind in 'fiub' and array.size:
        array = array.copy()
        value = draw(st.sampled_from((0, 1, -1, 1e30, 1e-30, float('nan'), float('inf'), -1e300, 2 ** 40)))
        with np.errstate(all='ignore'), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            array.flat[draw(st.integers(0, array.size - 1))] = np.array(value).astype(array.dtype)
    elif kind == 'value' and array.dtype.kind == 'U' and not array.ndim:
        try:
            array = np.array(draw(changed_json(array.item())))
        except ValueError:  # no JSON
            array = np.array(draw(st.sampled_from([v for v in ODD_VALUES if isinstance(v, str)])))
    elif kind == 'type':
        with np.errstate(all='ignore'), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try:
                array = array.astype(draw(st.sampled_from(DTYPES[:-1])))
            except (TypeError, ValueError):
                array = np.zeros(array.shape, draw(st.sampled_from(DTYPES[:6])))
    elif kind == 'objects':
        array = np.array([{}], object)
    elif kind == 'shape':
        array = draw(st.sampled_from((array[None], array.ravel(), array.T, array.ravel()[:1], array.ravel()[:0],
                                      np.repeat(array[None], 3, axis=0))))
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


@st.composite
def changed_zip(draw: st.DrawFn, data: bytes) -> bytes:
    """An archive with a member changed, gone, renamed or twice, written with right sizes and checksums."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    index = draw(st.integers(0, len(members) - 1))
    name, content = members[index]
    kind = draw(st.sampled_from(('content', 'content', 'content', 'content', 'gone', 'name', 'twice', 'swap')))
    if kind == 'content':
        members[index] = name, draw(changed(content))
    elif kind == 'gone':
        del members[index]
    elif kind == 'name':
        others = [other for other, _ in members]
        members[index] = draw(st.sampled_from([*others, '../x', '/etc/x', 'x' * 3000, '\x1b[2J.npy'])), content
    elif kind == 'twice':
        members.insert(index, (name, draw(changed(content))))
    else:
        other = draw(st.integers(0, len(members) - 1))
        members[index], members[other] = (name, members[other][1]), (members[other][0], content)
    stream = io.BytesIO()
    method = draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)))
    with warnings.catch_warnings(), zipfile.ZipFile(stream, 'w', method) as archive:
        warnings.simplefilter('ignore')
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


@st.composite
def changed_pickle(draw: st.DrawFn, data: bytes) -> bytes:
    """A pickle with an opcode or its argument replaced, left out or repeated; frames are left out."""
    pieces: list[bytes] = []
    last = 0
    opcodes = []
    for opcode, argument, position in pickletools.genops(data):
        if opcodes:
            pieces.append(data[last:position])
        opcodes.append((opcode.name, argument))
        last = position
    pieces.append(data[last:last + 1])
    rest = data[last + 1:]
    kept = [(piece, name, argument) for piece, (name, argument) in zip(pieces, opcodes, strict=True) if name != 'FRAME']
    index = draw(st.integers(0, len(kept) - 1))
    piece, name, argument = kept[index]
    kind = draw(st.sampled_from(('argument', 'argument', 'argument', 'gone', 'twice', 'swap', 'bytes')))
    pieces = [piece for piece, _, _ in kept]
    if kind == 'argument':
        wanted = [i for i, (_, _, value) in enumerate(kept) if isinstance(value, (int, float, str))]
        index = draw(st.sampled_from(wanted)) if wanted else index
        # What a pickler writes for another value, without the frame of a pickle of its own.
        value = draw(st.sampled_from(ODD_VALUES))
        try:
            pieces[index] = pickle.dumps(value, 2)[2:-1].replace(b'q\x00', b'').replace(b'q\x01', b'')
        except UnicodeEncodeError:
            pieces[index] = b'N'
    elif kind == 'gone':
        del pieces[index]
    elif kind == 'twice':
        pieces.insert(index, pieces[index])
    elif kind == 'swap':
        other = draw(st.integers(0, len(kept) - 1))
        pieces[index], pieces[other] = pieces[other], pieces[index]
    else:
        pieces[index] = draw(changed_bytes(pieces[index]))
    return b''.join(pieces) + rest


@st.composite
def changed_png(draw: st.DrawFn, data: bytes) -> bytes:
    """A PNG with a chunk changed, gone, twice or of another kind, with right checksums."""
    chunks, position = [], 8
    while position + 12 <= len(data):
        length, = struct.unpack('>I', data[position:position + 4])
        chunks.append((data[position + 4:position + 8], data[position + 8:position + 8 + length]))
        position += 12 + length
    index = draw(st.integers(0, len(chunks) - 1))
    name, content = chunks[index]
    kind = draw(st.sampled_from(('content', 'content', 'pixels', 'gone', 'twice', 'name')))
    if kind == 'content':
        chunks[index] = name, draw(changed_bytes(content))
    elif kind == 'pixels':
        chunks = [(n, zlib.compress(draw(changed_bytes(zlib.decompress(c))))) if n == b'IDAT' else (n, c)
                  for n, c in chunks]
    elif kind == 'gone':
        del chunks[index]
    elif kind == 'twice':
        chunks.insert(index, chunks[index])
    else:
        chunks[index] = draw(st.sampled_from((b'tRNS', b'PLTE', b'gAMA', b'iCCP', b'zTXt', b'acTL', b'eXIf'))), content
    return data[:8] + b''.join(struct.pack('>I', len(content)) + name + content
                               + struct.pack('>I', zlib.crc32(name + content)) for name, content in chunks)


def changed(data: bytes) -> st.SearchStrategy[bytes]:
    """Whatever fits what the bytes are, or any damage of them."""
    return st.one_of(changed_bytes(data), _by_format(data))


def _by_format(data: bytes) -> st.SearchStrategy[bytes]:
    if data.startswith(b'PK\x03\x04'):
        return changed_zip(data)
    if data.startswith(b'\x93NUMPY'):
        return changed_npy(data)
    if data.startswith(b'\x89PNG'):
        return changed_png(data)
    with contextlib.suppress(ValueError):  # a tensor may begin as a pickle or a JSON text does
        if data[:1] == b'\x80' and data[1:2] in b'\x02\x03\x04\x05' and list(pickletools.genops(data)):
            return changed_pickle(data)
        if data[:1] in b'{[' and json.loads(text := data.decode()):
            return changed_json(text).map(lambda new: new.encode('utf-8', 'surrogatepass'))
    return changed_bytes(data)
