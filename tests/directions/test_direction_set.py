"""DirectionSet: round trips, what it refuses, and its use."""

from __future__ import annotations

import json
import os
import types
import warnings

import numpy as np
import pytest

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.directions.metadata import FORMAT, VERSION
from resefa_plugin.errors import DirectionsError, ResefaError
from resefa_plugin.machine.files import replacing
from tests.helpers.direction_sets import ARRAY_NAMES, D, H, K, W, load_error, make_metadata, make_set, write_npz


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
