"""The directions file: round trips, and every way in which a file can be bad."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import struct
import types
import warnings
import zipfile

import numpy as np
import pytest

import resefa_plugin.machine.arrays
from resefa_plugin.directions.direction_set import FORMAT, VERSION, DirectionMetadata, DirectionSet
from resefa_plugin.errors import DirectionsError, ResefaError
from resefa_plugin.machine.files import replacing

K, D, H, W = 3, 8, 6, 4


def make_metadata(**changes) -> DirectionMetadata:
    values = dict(
        network='toy.pkl', network_sha256='ab' * 32, image_shape=(3, H, W), space='w', layers=None, num_ws=5,
        region='mouth', seeds=(7,), truncation_psi=.7, truncation_cutoff=None, resolution=6, tau=1e-3, ridge=.25,
        solver='dense', command='resefa factorize --network=toy.pkl')
    return DirectionMetadata(**{**values, **changes})


def make_set(**changes) -> DirectionSet:
    random = np.random.RandomState(0)
    directions = random.randn(K, D)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    mask = np.zeros((H, W), bool)
    mask[2:4, 1:3] = True
    values = dict(
        directions=directions.astype(np.float32), eigenvalues=np.array([8.7, 1.65, .4]), residuals=np.full(K, 1e-12),
        mask=mask, latent=random.randn(1, 5, D).astype(np.float32), step=np.array([.1, .2, .3]),
        predicted_inside=np.full(K, .01), predicted_outside=np.full(K, 1e-4), measured_inside=np.full(K, .011),
        measured_outside=np.full(K, 2e-4), metadata=make_metadata())
    return DirectionSet(**{**values, **changes})


ARRAY_NAMES = [field.name for field in dataclasses.fields(DirectionSet) if field.name != 'metadata']


def write_npz(path, metadata=None, **arrays) -> None:
    """A directions file with some parts replaced, written without the checks of DirectionSet."""
    good = make_set()
    text = good.metadata.to_json() if metadata is None else metadata
    np.savez(path, **{'metadata': np.array(text), **{name: getattr(good, name) for name in ARRAY_NAMES}, **arrays})


def edited_json(**changes) -> str:
    values = json.loads(make_metadata().to_json())
    return json.dumps({**values, **changes})


def npy_header(shape, descr='<f4') -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {'descr': descr, 'fortran_order': False, 'shape': shape})
    return stream.getvalue()


def replace_member(source, target, name: str, content: bytes) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, 'w', zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))


@pytest.fixture
def good_path(tmp_path):
    path = tmp_path / 'good.npz'
    make_set().save(path)
    return path


# --- Round trip -------------------------------------------------------------------------------------------------------

def test_round_trip_is_exact(tmp_path):
    original = make_set(metadata=make_metadata(
        layers=(1, 2), truncation_cutoff=8, seeds=(), region='left eye \u00e9\u4e2d', extra={'note': {'by': [1, 'x']}}))
    path = tmp_path / 'set.npz'
    original.save(path)
    loaded = DirectionSet.load(str(path))
    assert loaded.metadata == original.metadata
    for name in ARRAY_NAMES:
        actual, expected = getattr(loaded, name), getattr(original, name)
        assert actual.dtype == expected.dtype and np.array_equal(actual, expected), name
    assert len(loaded) == K
    assert os.listdir(tmp_path) == ['set.npz']


def test_file_is_readable_with_numpy_alone(good_path):
    with np.load(good_path, allow_pickle=False) as data:
        metadata = json.loads(str(data['metadata']))
        assert sorted(data.files) == sorted([*ARRAY_NAMES, 'metadata'])
        assert (data['directions'].dtype, data['directions'].shape) == (np.float32, (K, D))
    assert (metadata['format'], metadata['version']) == (FORMAT, VERSION) == ('resefa-directions', 1)
    assert metadata['image_shape'] == [3, H, W] and metadata['network_sha256'] == 'ab' * 32
    assert set(metadata['versions']) == {'python', 'torch', 'numpy', 'resefa_plugin'}


def test_unknown_metadata_survives(tmp_path):
    write_npz(tmp_path / 'a.npz', edited_json(label='smile', nested={'a': [1, None]}))
    loaded = DirectionSet.load(tmp_path / 'a.npz')
    assert loaded.metadata.extra == {'label': 'smile', 'nested': {'a': [1, None]}}
    loaded.save(tmp_path / 'b.npz')
    assert DirectionSet.load(tmp_path / 'b.npz').metadata == loaded.metadata


def test_numpy_numbers_in_metadata_are_stored_as_plain_ones(tmp_path):
    make_set(metadata=make_metadata(seeds=[np.int64(3)], ridge=np.float32(.5), layers=np.arange(2))).save(
        tmp_path / 'a.npz')
    metadata = DirectionSet.load(tmp_path / 'a.npz').metadata
    assert (metadata.seeds, metadata.ridge, metadata.layers) == ((3,), .5, (0, 1))


def test_failed_save_keeps_the_old_file_and_leaves_nothing(good_path, monkeypatch):
    before = good_path.read_bytes()

    def full_disk(file, **arrays):
        file.write(b'half')
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(np, 'savez_compressed', full_disk)
    with pytest.raises(ResefaError, match=r'cannot write .*good.npz: No space left on device'):
        make_set().save(good_path)
    assert good_path.read_bytes() == before and os.listdir(good_path.parent) == ['good.npz']


def test_interrupted_save_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / 'a.npz') as part:
        part.write_bytes(b'half')
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_save_makes_folders_and_says_where_it_cannot(tmp_path):
    make_set().save(tmp_path / 'missing' / 'a.npz')
    assert len(DirectionSet.load(tmp_path / 'missing' / 'a.npz')) == len(make_set())
    (tmp_path / 'file').write_text('x')
    with pytest.raises(ResefaError, match='cannot write .*file.*Check that the folder can be written'):
        make_set().save(tmp_path / 'file' / 'a.npz')


def test_extra_metadata_must_be_json(tmp_path):
    for bad in (float('nan'), {1, 2}):
        with pytest.raises(DirectionsError, match='extra metadata is not JSON'):
            make_set(metadata=make_metadata(extra={'x': bad})).save(tmp_path / 'a.npz')
    assert os.listdir(tmp_path) == []
    with pytest.raises(DirectionsError, match='may not redefine tau, version'):
        make_metadata(extra={'version': 2, 'tau': 1})


# --- Bad files --------------------------------------------------------------------------------------------------------

def load_error(path, match):
    with pytest.raises(DirectionsError, match=match) as caught:
        DirectionSet.load(path)
    assert str(path) in str(caught.value)


def test_missing(tmp_path):
    load_error(tmp_path / 'none.npz', 'does not exist')


def test_folder(tmp_path):
    load_error(tmp_path, 'cannot be read: Is a directory')


@pytest.mark.parametrize('keep', [.1, .5, .99])
def test_truncated(good_path, keep):
    content = good_path.read_bytes()
    good_path.write_bytes(content[:int(len(content) * keep)])
    load_error(good_path, 'cannot be read .*damaged or cut off: copy it again')


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
    load_error(tmp_path / 'a.npy', 'single .npy array.*load_foreign_direction')


def test_foreign_npz_names_its_keys(tmp_path):
    np.savez(tmp_path / 'a.npz', w=np.zeros((1, 2, 3)), other=np.zeros(1))
    load_error(tmp_path / 'a.npz', r"no 'metadata' among its arrays \(w, other\)")


@pytest.mark.parametrize('text, match', [
    (edited_json(version=VERSION + 1), r'format version is 2, and .* reads up to 1: upgrade resefa_plugin'),
    (edited_json(version='1'), r"format version is '1', expected a whole number"),
    (edited_json(version=True), r'format version is True'),
    (edited_json(format='other'), r'this is another program'),
    ('[]', r'this is another program'),
    ('{', r'cannot be read \(JSONDecodeError'),
    ('[' * 100_000, r'cannot be read \(RecursionError'),
    (json.dumps({'format': FORMAT, 'version': 1, 'tau': 1}), r'metadata lacks network, network_sha256'),
    (edited_json(tau=float('nan')), r'metadata holds NaN'),
])
def test_bad_metadata_text(tmp_path, text, match):
    write_npz(tmp_path / 'a.npz', text)
    load_error(tmp_path / 'a.npz', match)


def test_metadata_that_is_not_a_text(tmp_path):
    write_npz(tmp_path / 'a.npz', metadata=np.zeros(3))
    load_error(tmp_path / 'a.npz', 'is not a text')


@pytest.mark.parametrize('changes, match', [
    ({'image_shape': [3, 4]}, r"'image_shape' is \[3, 4\], expected three whole numbers"),
    ({'space': 3}, r"'space' is 3, expected a text"),
    ({'layers': 'all'}, r"'layers' is 'all', expected layer numbers"),
    ({'layers': []}, r"'layers' is \[\]"),
    ({'layers': [2, 1]}, r"'layers' is \[2, 1\]"),
    ({'layers': [-1]}, r"'layers' is \[-1\]"),
    ({'seeds': [1.5]}, r"'seeds' is \[1.5\]"),
    ({'num_ws': True}, r"'num_ws' is True, expected a whole number"),
    ({'truncation_psi': '0.7'}, r"'truncation_psi' is '0.7', expected a finite number"),
    ({'versions': 'x'}, r"'versions' is 'x', expected texts by name"),
    ({'versions': {'torch': 2}}, r"'versions' is"),
    ({'network': None}, r"'network' is None"),
])
def test_bad_metadata_values(tmp_path, changes, match):
    write_npz(tmp_path / 'a.npz', edited_json(**changes))
    load_error(tmp_path / 'a.npz', match)


def test_metadata_infinity():
    with pytest.raises(DirectionsError, match="'tau' is inf, expected a finite number"):
        make_metadata(tau=float('inf'))


@pytest.mark.parametrize('name, array, match', [
    ('directions', np.eye(3, 8), r'is float64, expected float32'),
    ('directions', np.eye(3, 8, dtype='>f4'), r'is >f4, expected float32'),
    ('directions', np.ones(8, np.float32), r'has shape \[8\], expected \[k, d\]'),
    ('directions', np.zeros((0, 8), np.float32), r'has shape \[0, 8\]'),
    ('directions', 2 * np.eye(3, 8, dtype=np.float32), r'direction 0 has length 2, expected unit rows'),
    ('directions', np.full((3, 8), np.nan, np.float32), r"'directions' holds NaN"),
    ('eigenvalues', np.ones(2), r"'eigenvalues' has shape \[2\], expected \[k = 3\]"),
    ('residuals', np.array([0, np.inf, 0]), r"'residuals' holds NaN or infinite"),
    ('step', np.array([1., 2., -3.]), r"'step' holds -3, expected values of at least 0"),
    ('step', np.array([1., 0., 3.]), r"'step' is 0 for direction 1"),
    ('measured_outside', np.full(3, -1.), r"'measured_outside' holds -1"),
    ('predicted_inside', np.ones((3, 1)), r"'predicted_inside' has shape \[3, 1\]"),
    ('mask', np.ones((H, W), np.uint8), r"'mask' is uint8, expected bool"),
    ('mask', np.ones((W, H), bool), r"'mask' has shape \[4, 6\], expected \[H = 6, W = 4\]"),
    ('latent', np.ones(8, np.float32), r"'latent' has shape \[8\], expected \[1, ...\]"),
    ('latent', np.ones((2, 8), np.float32), r"'latent' has shape \[2, 8\]"),
])
def test_bad_arrays(tmp_path, name, array, match):
    with pytest.raises(DirectionsError, match=match):
        make_set(**{name: array})
    write_npz(tmp_path / 'a.npz', **{name: array})
    load_error(tmp_path / 'a.npz', match)


def test_lists_are_not_arrays():
    with pytest.raises(DirectionsError, match="array 'step' is list, expected float64"):
        make_set(step=[1., 2., 3.])


def test_missing_array(good_path, tmp_path):
    path = tmp_path / 'a.npz'
    with zipfile.ZipFile(good_path) as old, zipfile.ZipFile(path, 'w') as new:
        for member in old.namelist():
            if member not in ('step.npy', 'mask.npy'):
                new.writestr(member, old.read(member))
    load_error(path, 'lacks the arrays mask, step')


class Bomb:
    """Makes a folder when unpickled."""

    def __init__(self, folder) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


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
    load_error(good_path, r"'directions' claims 1073741\d+ bytes from \d+: damaged or forged")


def test_arrays_above_the_limit(good_path, monkeypatch):
    monkeypatch.setattr(resefa_plugin.machine.arrays, 'MAX_ARRAY_BYTES', 10)
    load_error(good_path, r"array 'metadata': .* \(at most 10 are read\)")


# --- Use --------------------------------------------------------------------------------------------------------------

def test_offset():
    directions = make_set()
    offset = directions.offset(1, -3)
    assert offset.shape == (D,) and offset.dtype == np.float32
    np.testing.assert_allclose(offset, -.6 * directions.directions[1], rtol=1e-6)  # float32 rounding
    assert not directions.offset(np.int64(2), 0).any()


@pytest.mark.parametrize('index', [-1, 3, 1.0, True, None])
def test_offset_index_out_of_range(index):
    with pytest.raises(DirectionsError, match=rf'direction {index} is out of range: expected 0 to 2'):
        make_set().offset(index, 1)


def test_offset_strength_must_be_finite():
    with pytest.raises(DirectionsError, match='strength is nan, expected a finite number'):
        make_set().offset(0, float('nan'))


def fake_hook(sha256='ab' * 32, image_shape=(3, H, W), dim=D, spaces=('z', 'w')):
    def space(name, layers=None):
        if name not in spaces:
            raise ResefaError(f"space '{name}' is not one of {', '.join(spaces)}")
        return types.SimpleNamespace(name=name, layers=layers, dim=dim)

    return types.SimpleNamespace(name='other.pkl', sha256=sha256, image_shape=image_shape, space=space)


def test_fits():
    directions = make_set(metadata=make_metadata(layers=(1, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        space = directions.check_fits(fake_hook())
    assert (space.name, space.layers) == ('w', (1, 2))


@pytest.mark.parametrize('ours, theirs, shown', [
    ('ab' * 32, 'cd' * 32, 'abababababab.*cdcdcdcdcdcd'),
    ('', 'cd' * 32, 'unknown.*cdcdcdcdcdcd'),
    ('ab' * 32, '', 'abababababab.*unknown'),
])
def test_other_weights_warn(ours, theirs, shown):
    with pytest.warns(UserWarning, match=rf'come from toy.pkl .*{shown}'):
        make_set(metadata=make_metadata(network_sha256=ours)).check_fits(fake_hook(theirs))


@pytest.mark.parametrize('hook, match', [
    (fake_hook(image_shape=(1, H, W)), r'for pictures \[3, 6, 4\] of toy.pkl, but other.pkl makes \[1, 6, 4\]'),
    (fake_hook(spaces=('z',)), r"for space 'w' of toy.pkl: space 'w' is not one of z"),
    (fake_hook(dim=512), r"have 8 dimensions, but space 'w' of other.pkl has 512"),
])
def test_other_geometry_is_an_error(hook, match):
    with pytest.raises(DirectionsError, match=match):
        make_set().check_fits(hook)


def test_describe():
    text = make_set(metadata=make_metadata(layers=(1, 2))).describe()
    for expected in ('toy.pkl', 'abababababab', 'mouth, 16.67% of the picture', 'layers 1,2', 'tau 0.001', '8.7',
                     f'{np.sqrt(.011):.4f}', 'resefa factorize --network=toy.pkl'):
        assert expected in text
    assert len(text.splitlines()) == 10 + K
