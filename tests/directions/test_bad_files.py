"""Every way in which a directions file can be bad."""

from __future__ import annotations

import io
import os
import pickle
import struct
import warnings
import zipfile

import numpy as np
import pytest

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.errors import DirectionsError
from tests.helpers.direction_sets import load_error, write_npz


def npy_header(shape, descr='<f4') -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {'descr': descr, 'fortran_order': False, 'shape': shape})
    return stream.getvalue()


def replace_member(source, target, name: str, content: bytes) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w', zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))


class Bomb:
    """Makes a folder when unpickled."""

    def __init__(self, folder) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_missing(tmp_path):
    load_error(tmp_path / 'none.npz', 'does not exist')


def test_folder(tmp_path):
    load_error(tmp_path, 'it is a folder or a device, expected a file')


@pytest.mark.parametrize('keep', [.1, .5, .99])
def test_truncated(good_path, keep):
    content = good_path.read_bytes()
    good_path.write_bytes(content[:int(len(content) * keep)])
    load_error(good_path, 'cannot be read .*damaged or cut off; copy it again')


def test_flipped_bits_never_raise_anything_else(good_path):
    content = good_path.read_bytes()
    random = np.random.RandomState(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for position in random.randint(len(content), size=random.randint(1, 20)):
            damaged[position] = random.randint(256)
        good_path.write_bytes(damaged)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # zipfile warns about duplicate names
                DirectionSet.load(good_path)
        except DirectionsError:
            refused += 1
    assert refused > 75  # the rest hit bytes that no reader looks at


@pytest.mark.parametrize('content', [b'', b'hello', b'\x80\x04\x95'])
def test_not_an_npz(tmp_path, content):
    (tmp_path / 'a.npz').write_bytes(content)
    load_error(tmp_path / 'a.npz', 'not an .npz file')


def test_npy(tmp_path):
    np.save(tmp_path / 'a.npy', np.zeros((1, 512), np.float32))
    load_error(tmp_path / 'a.npy', 'single .npy array.*`resefa edit` takes directions of other tools')


def test_foreign_npz_names_its_keys(tmp_path):
    np.savez(tmp_path / 'a.npz', w=np.zeros((1, 2, 3)), other=np.zeros(1))
    load_error(tmp_path / 'a.npz', r"no 'metadata' among its arrays \(w, other\): this is another program's .npz; "
                                  '`resefa factorize` writes directions files')
    np.savez(tmp_path / 'many.npz', **{f'x{i}': np.zeros(1) for i in range(30)})
    load_error(tmp_path / 'many.npz', r'\(x0, .*, x19\)')
    np.savez(tmp_path / 'empty.npz')
    load_error(tmp_path / 'empty.npz', r"no 'metadata' among its arrays \(none\)")


@pytest.mark.parametrize('metadata', [np.zeros(3), np.array(1.5), np.array(['text'])])
def test_metadata_that_is_not_a_text(tmp_path, metadata):
    write_npz(tmp_path / 'a.npz', metadata=metadata)
    load_error(tmp_path / 'a.npz', 'is not a text')


def test_missing_array(good_path, tmp_path):
    path = tmp_path / 'a.npz'
    with zipfile.ZipFile(good_path) as old, zipfile.ZipFile(path, 'w') as new:
        for member in old.namelist():
            if member not in ('step.npy', 'mask.npy'):
                new.writestr(member, old.read(member))
    load_error(path, 'lacks the arrays mask, step')


@pytest.mark.parametrize('name', ['directions', 'metadata'])
def test_object_arrays_are_refused_and_not_executed(tmp_path, name):
    exploded = tmp_path / 'exploded'
    write_npz(tmp_path / 'a.npz', **{name: np.array([Bomb(exploded)], dtype=object)})
    load_error(tmp_path / 'a.npz', f"array '{name}': it holds Python objects, whose loading would execute code")
    assert not exploded.exists()
    with np.load(tmp_path / 'a.npz', allow_pickle=True) as data:  # the bomb is real
        data[name]
    assert exploded.exists()


def test_pickle_in_place_of_an_array(good_path, tmp_path):
    exploded = tmp_path / 'exploded'
    replace_member(good_path, tmp_path / 'a.npz', 'step.npy', pickle.dumps(Bomb(exploded)))
    load_error(tmp_path / 'a.npz', 'cannot be read')
    assert not exploded.exists()


@pytest.mark.parametrize('header, match', [
    (npy_header((2 ** 40, 512)), r'promises an array \[1099511627776, 512\].* but 16 follow'),
    (npy_header((2 ** 62, 2 ** 62)), r'promises an array'),
    (npy_header((-1, -4)), r'promises an array \[-1, -4\]'),
    (npy_header((3, 8)), r'96 bytes, but 16 follow'),
    (npy_header((1, 1)), r'4 bytes, but 16 follow'),
    (npy_header((3, 8)).replace(b'NUMPY\x01', b'NUMPY\x03'), r'.npy version is \(3, 0\)'),
    (npy_header((3, 8)).replace(b'shape', b'shade'), r'cannot be read \(ValueError'),
    (npy_header((3, 8), 'x' * 99), r'cannot be read \(ValueError'),
    (b'\x93NUMPY\x01\x00' + struct.pack('<H', 9000) + b'(' * 9000, r'cannot be read'),
    (b'\x93NUMPY\x02\x00' + struct.pack('<I', 2 ** 31), r'cannot be read'),
])
def test_lying_headers(good_path, tmp_path, header, match):
    replace_member(good_path, tmp_path / 'a.npz', 'directions.npy', header + bytes(16))
    load_error(tmp_path / 'a.npz', match)


def test_lying_archive_index(good_path):
    """The header and the archive's index agree on a size that the compressed bytes cannot hold."""
    huge = 2 ** 30
    header = npy_header((huge // 4, 1))
    with zipfile.ZipFile(good_path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(good_path, 'w', zipfile.ZIP_DEFLATED) as new:
        for name, content in members.items():
            new.writestr(name, header if name == 'directions.npy' else content)
        new.getinfo('directions.npy').file_size = len(header) + huge
    load_error(good_path, r"'directions' claims 1073741\d+ bytes, and a file of \d+ may hold \d+ there: damaged")
