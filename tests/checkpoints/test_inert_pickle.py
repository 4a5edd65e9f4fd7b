"""The pickle machine and the decoder: what is plain comes through, what is not is refused, at bounded cost."""

from __future__ import annotations

import pickle
import struct
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest

from resefa_plugin.checkpoints.pickles import inert_pickle
from resefa_plugin.checkpoints.pickles.inert_pickle import Budget, load_inert
from resefa_plugin.checkpoints.pickles.plain_data import CONTAINER_HANDLERS, NUMPY_HANDLERS, Decoder
from resefa_plugin.errors import CheckpointError
from tests.helpers.pickle_forge import PROTO, Name, New, Reduce, dumps, easy_dict, hostile_calls

HANDLERS = {**CONTAINER_HANDLERS, **NUMPY_HANDLERS}


def decode(data: bytes) -> object:
    budget = Budget(len(data))
    value, end = load_inert(memoryview(data), budget)
    assert end == len(data)
    return Decoder(HANDLERS, budget).plain(value)


PLAIN = {'none': None, 'flags': [True, False], 'ints': [0, 255, 256, 65536, -1, 2 ** 31, -2 ** 63, 2 ** 200],
         'floats': [0.5, -1e300, float('inf')], 'text': 'grün', 'bytes': [b'', b'\x00\xff' * 200],
         'tuples': [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], 'empty': ((), [], {}), 'set': {'a', 'b'}, 'no set': set(),
         3: {'deep': [{'er': 1}]},
         'ordered': OrderedDict(x=1), 'long': 'x' * 300, 'many': list(range(2000))}


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_plain_data_comes_through(protocol):
    assert decode(pickle.dumps(PLAIN, protocol)) == PLAIN
    assert decode(dumps(easy_dict(a=easy_dict(b=1)), protocol)) == {'a': {'b': 1}}


def test_shared_parts_become_separate():
    part = [1]
    decoded = decode(pickle.dumps([part, part]))
    decoded[0].append(2)
    assert decoded == [[1, 2], [1]]


ARRAYS = [np.arange(6, dtype='f4').reshape(2, 3), np.asfortranarray(np.arange(6.).reshape(2, 3)), np.array(2.5),
          np.arange(4, dtype='>i4'), np.array([True, False]), np.zeros((0, 3), 'u1'), np.arange(10)[::3],
          np.float16([1, 2])]


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
@pytest.mark.parametrize('array', ARRAYS, ids=str)
def test_arrays_come_through(array, protocol):
    decoded = decode(pickle.dumps(array, protocol))
    assert decoded.dtype == array.dtype.newbyteorder('=') and decoded.shape == array.shape
    np.testing.assert_array_equal(decoded, array)
    decoded[...] = 0  # owns its memory


@pytest.mark.parametrize('protocol', [2, 4])
def test_numpy_scalars_and_numpy_1_names(protocol):
    decoded = decode(pickle.dumps([np.float64(0.1), np.int64(-3), np.bool_(True)], protocol))
    assert decoded == [0.1, -3, True] and [type(value) for value in decoded] == [np.float64, np.int64, np.bool_]
    assert decode(dumps(forged_array(core='numpy.core.multiarray'), protocol)).tolist() == [1.5, 2.5]


RAW, NDARRAY = struct.pack('<2d', 1.5, 2.5), Name('numpy', 'ndarray')


def forged_array(shape=(2,), dtype='f8', raw=RAW, fortran=False, version=1, order='<',
                 core='numpy._core.multiarray', subclass=NDARRAY, state=None) -> Reduce:
    element = Reduce(Name('numpy', 'dtype'), dtype, False, True, state=(3, order, None, None, None, -1, -1, 0))
    state = state or (version, shape, element, fortran, raw)
    return Reduce(Name(core, '_reconstruct'), subclass, (0,), b'b', state=state)


@pytest.mark.parametrize('forged, message', [
    (dict(dtype='O8'), "elements of type 'O8'"),
    (dict(dtype='U4'), "elements of type 'U4'"),
    (dict(dtype=('f8',)), 'elements of type a value of type tuple'),
    (dict(order='!'), 'unknown state'),
    (dict(shape=(3,)), 'needs 24 bytes, not 16'),
    (dict(shape=(-2,)), 'expected an integer from 0'),
    (dict(shape=(True, 2)), 'expected an integer from 0'),
    (dict(shape=(2 ** 62, 2 ** 62)), 'expected an integer from 0'),
    (dict(shape=(2 ** 40, 2 ** 40)), 'needs'),
    (dict(shape=(0, 2 ** 40), raw=b''), 'needs 0 bytes'),
    (dict(shape=(1,) * 40), 'up to 16 integers'),
    (dict(shape=[2]), 'expected a tuple'),
    (dict(version=2), 'unknown state'),
    (dict(fortran=2), 'unknown state'),
    (dict(raw=[1.5, 2.5]), 'where bytes are expected'),
    (dict(subclass=Name('numpy', 'dtype')), 'unknown subclass'),
    (dict(state={'__class__': 1}), 'unknown state'),
])
def test_forged_arrays_are_refused(forged, message):
    with pytest.raises(CheckpointError, match=message):
        decode(dumps(forged_array(**forged)))


def test_other_numpy_records_are_refused():
    element = forged_array().state[2]
    for record, message in [(Reduce(Name('numpy._core.numeric', '_frombuffer'), bytes(8), element, (1,), 'A'), 'order'),
                            (Reduce(Name('numpy._core.multiarray', 'scalar'), element, b'123'), 'needs 8 bytes'),
                            (Reduce(Name('numpy._core.multiarray', 'scalar'), 'f8', b'12345678'), 'numpy type is exp'),
                            (element, 'where data is expected'), (Name('numpy', 'ndarray'), 'where data is expected')]:
        with pytest.raises(CheckpointError, match=message):
            decode(dumps(record))


def test_a_bool_array_holds_nothing_but_bools():
    decoded = decode(dumps(forged_array(dtype='b1', order='|', raw=b'\x00\x07')))
    assert decoded.view(np.uint8).tolist() == [0, 1]


@pytest.mark.parametrize('name', hostile_calls('x'))
def test_foreign_globals_are_named_and_not_called(name, tmp_path):
    marker = tmp_path / 'executed'
    with pytest.raises(CheckpointError, match=f"refers to '{name}'"):
        decode(hostile_calls(marker)[name])
    assert not marker.exists()


@pytest.mark.parametrize('stream, message', [
    (pickle.dumps([1, 'a'], 0), 'protocol 2 to 5'),
    (pickle.dumps([1, 'a'], 1), 'protocol 2 to 5'),
    (b'', 'truncated'),
    (b'\x80\x06N.', 'protocol 2 to 5'),
    (PROTO + b'N', 'truncated'),
    (PROTO + b'NN.', 'left on its stack'),
    (PROTO + b'(N.', 'left on its stack'),
    (PROTO + b'.', 'stack is empty'),
    (PROTO + b'(ios\nsystem\n.', 'INST'),
    (PROTO + b'(cos\nsystem\no.', 'OBJ'),
    (PROTO + b'(No.', 'OBJ'),
    (PROTO + b'Pname\n.', 'PERSID'),
    (PROTO + b'NQ.', 'BINPERSID.*where none may be'),
    (PROTO + b'\x82\x01.', 'EXT1'),
    (PROTO + b'\x83\x01\x00.', 'EXT2'),
    (PROTO + b'\x84\x01\x00\x00\x00.', 'EXT4'),
    (PROTO + b'\x97.', 'NEXT_BUFFER'),
    (PROTO + b'N\x98.', 'READONLY_BUFFER'),
    (PROTO + b'ccollections\nOrderedDict\nNK\x01\x92.', 'NEWOBJ_EX.*where arguments are expected'),
    (PROTO + b'I1\n.', 'INT'),
    (PROTO + b"S'a'\n.", 'STRING'),
    (PROTO + b'U\x01a.', 'SHORT_BINSTRING'),
    (PROTO + b'N2.', 'DUP'),
    (PROTO + b'\xff.', '0xff'),
    (PROTO + b'N)R.', 'is called with'),
    (PROTO + b"ccollections\nOrderedDict\n]R.", 'is called with'),
    (PROTO + b'NN\x93.', 'not text'),
    (PROTO + b'c' + b'x' * 1000 + b'\n', 'no end of line'),
    (PROTO + b'c\xff\nx\n', 'not UTF-8'),
    (PROTO + b'X\x01\x00\x00\x00\xff.', 'not UTF-8'),
    (PROTO + b'h\x01.', 'nothing was stored'),
    (PROTO + b'Nr\xff\xff\xff\xff.', 'stored as number 4294967295'),
    (PROTO + b'u.', 'no mark'),
    (PROTO + b'}(Nu.', 'without a value'),
    (PROTO + b'](N(a.', 'stack is empty'),
    (PROTO + b'NNa.', 'appended to None'),
    (PROTO + b')Na.', 'appended to a value of type tuple'),
    (PROTO + b']NNs.', 'set on a value of type list'),
    (PROTO + b'](N\x90.', 'added to a value of type list'),
    # BUILD, on anything but a call that has no state yet
    (PROTO + b']}b.', 'state is set on a value of type list'),
    (PROTO + b'}}b.', 'state is set on a value of type dict'),
    (PROTO + b'ccollections\nOrderedDict\n}b.', 'state is set on the global'),
    (PROTO + b'ccollections\nOrderedDict\n)R}b}b.', 'state is set on a call'),
    # lengths that are not there
    (PROTO + b'B\xff\xff\xff\xff.', 'truncated: 4294967295'),
    (PROTO + b'\x8e' + b'\xff' * 8 + b'.', 'truncated: 18446744073709551615'),
    (PROTO + b'\x8d' + b'\xff' * 8 + b'.', 'truncated'),
    (PROTO + b'\x96' + b'\x00\x00\x00\x00\x00\x00\x00\x40.', 'truncated'),
    (PROTO + b'X\xff\xff\xff\x7f.', 'truncated'),
    (PROTO + b'\x8b\xff\xff\xff\x7f.', 'an integer of 2147483647 bytes'),
    (PROTO + b'\x8b\xff\xff\xff\xff.', 'an integer of 4294967295 bytes'),
    (b'\x80\x04\x95' + b'\xff' * 8 + b'N.', 'a frame of'),
    # keys
    (PROTO + b'}]Ns.', 'list as a key'),
    (PROTO + b'})Ns.', 'tuple as a key'),
    (PROTO + b'}G\x00\x00\x00\x00\x00\x00\x00\x00Ns.', 'as a key'),
    (PROTO + b'}J\x00\x00\x20\x00Ns.', 'as a key'),
    (PROTO + b'}X\x00\x10\x00\x00' + b'k' * 4096 + b'Ns.', 'as a key'),
])
def test_damaged_or_foreign_streams_are_refused(stream, message):
    with pytest.raises(CheckpointError, match=message):
        decode(stream)


@pytest.mark.parametrize('value, message', [
    (Reduce(Name('collections', 'OrderedDict'), state=(None, {'__class__': 1})), 'where data is expected|dictionary'),
    (New(Name('dnnlib.util', 'EasyDict'), state=(None, {'update': 1})), 'dictionary'),
    (New(Name('dnnlib.util', 'EasyDict'), state={'__dict__': 1}), 'dictionary'),
    (Reduce(Name('collections', 'OrderedDict'), [['a', 1]]), 'dictionary'),
    (Name('collections', 'OrderedDict'), 'where data is expected'),
    (Reduce(Name('builtins', 'set'), 'ab'), 'a set made from'),
    (Reduce(Name('builtins', 'set'), [[1]]), 'as a key'),
    (Reduce(Name('builtins', 'set'), ['a'], state={}), 'a state'),
    (Reduce(Name('builtins', 'bytes'), 10 ** 12), 'expected 0 arguments'),
    (Reduce(Name('_codecs', 'encode'), 'a', 'zip'), 'expected text encoded as latin1'),
    (Reduce(Name('_codecs', 'encode'), 'ḁ', 'latin1'), 'characters above 255'),
    (Reduce(Name('_codecs', 'encode'), 'a'), 'expected 2 arguments'),
])
def test_calls_that_mean_nothing_are_refused(value, message):
    with pytest.raises(CheckpointError, match=message):
        decode(dumps(value))


def test_every_truncation_is_an_error():
    stream = pickle.dumps(PLAIN)
    for end in range(len(stream)):
        with pytest.raises(CheckpointError):
            decode(stream[:end])


def bomb(levels: int, fan: int, opening: bytes, closing: bytes) -> bytes:
    """A value that holds the previous one `fan` times, `levels` times over."""
    parts = [PROTO, b'(X\x03\x00\x00\x00lol', b'q\x00']
    for level in range(levels):
        parts.append(opening + (b'h' + bytes([level])) * fan + closing + b'q' + bytes([level + 1]))
    return b''.join(parts) + b't.'


@pytest.mark.parametrize('opening, closing', [(b'(', b't'), (b'](', b'e')])
def test_billion_laughs_are_stopped(opening, closing):
    stream = bomb(12, 10, opening, closing)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match='unfolds to more than'):
        decode(stream)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20


def test_laughing_dictionaries_are_stopped():
    value: object = easy_dict(a=1)
    for _ in range(12):
        value = easy_dict(**{str(index): value for index in range(10)})
    with pytest.raises(CheckpointError, match='unfolds to more than'):
        decode(dumps(value))


def test_repeated_encoding_is_stopped():
    text = dumps('x' * 1_000_000, 2)[2:-1]
    call = b'c_codecs\nencode\n' + text + b'X\x06\x00\x00\x00latin1\x86R'
    stream = PROTO + b'](' + call + b'q\x09' + b'h\x09' * 1000 + b'e.'
    with pytest.raises(CheckpointError, match='more than four times the size'):
        decode(stream)


# The first name on the stack is stored as number 0, to be called at every level.
ORDERED = b'ccollections\nOrderedDict\nq\x00)RK\x01'


@pytest.mark.parametrize('first, opening, closing', [
    (b'', b']', b'a'), (b'', b'', b'\x85'), (b'', b'}K\x01', b's'), (ORDERED, b'h\x00)RK\x01', b's')])
def test_deep_nesting_is_stopped(first, opening, closing):
    depth = 50_000
    stream = PROTO + first + opening * depth + b'N' + closing * depth + (b's' if first else b'') + b'.'
    with pytest.raises(CheckpointError, match='nested more than'):
        decode(stream)


def test_a_value_that_contains_itself_is_stopped():
    value: list = []
    value.append(value)
    with pytest.raises(CheckpointError, match='nested more than'):
        decode(pickle.dumps(value))


def test_opcodes_are_counted(monkeypatch):
    monkeypatch.setattr(inert_pickle, 'MAX_OPCODES', 100)
    assert decode(PROTO + b'](' + b'N' * 90 + b'e.') == [None] * 90
    with pytest.raises(CheckpointError, match='more than 100 pickle opcodes'):
        decode(PROTO + b'](' + b'N' * 100 + b'e.')
