"""DirectionSet: round trips, what it refuses, and its use."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings

import numpy as np
import pytest

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.directions.metadata import FORMAT, VERSION
from resefa_plugin.errors import DirectionsError, ResefaError
from resefa_plugin.machine.files import replacing
from tests.helpers.direction_sets import (
    ARRAY_NAMES,
    D,
    H,
    K,
    W,
    fake_hook,
    load_error,
    make_metadata,
    make_set,
    write_npz,
)


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
    ('directions', .5 * np.eye(3, 8, dtype=np.float32), r'direction 0 has length 0.5, expected unit rows'),
    ('directions', np.diag(np.float32([1, 1, 2])) @ np.eye(3, 8, dtype=np.float32), r'direction 2 has length 2'),
    ('directions', np.diag(np.float32([1, 1, .5])) @ np.eye(3, 8, dtype=np.float32), r'direction 2 has length'),
    ('directions', np.full((3, 8), np.nan, np.float32), r"'directions' holds NaN"),
    ('eigenvalues', np.ones(2), r"'eigenvalues' has shape \[2\], expected \[k = 3\]"),
    ('residuals', np.array([0, np.inf, 0]), r"'residuals' holds NaN or infinite"),
    ('step', np.array([1., 2., -3.]), r"'step' holds -3, expected values of at least 0"),
    ('step', np.array([1., 0., 3.]), r"'step' is 0 for direction 1: expected the alpha of strength 1, above 0"),
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


NEVER_NEGATIVE = ['residuals', 'step', 'predicted_inside', 'predicted_outside', 'measured_inside', 'measured_outside']


@pytest.mark.parametrize('name', ['eigenvalues', *NEVER_NEGATIVE])
def test_only_eigenvalues_may_be_negative(name):
    values = np.array([.3, .2, -.1])
    if name == 'eigenvalues':
        assert make_set(eigenvalues=values).eigenvalues[2] == -.1   # rounding of a quotient that is 0
    else:
        with pytest.raises(DirectionsError, match=f"array '{name}' holds -0.1, expected values of at least 0"):
            make_set(**{name: values})


@pytest.mark.parametrize('name', ARRAY_NAMES)
def test_every_array_has_its_type_and_axes(name):
    good = getattr(make_set(), name)
    with pytest.raises(DirectionsError, match=f"array '{name}' is int8, expected"):
        make_set(**{name: np.ones(good.shape, np.int8)})
    with pytest.raises(DirectionsError, match=rf"array '{name}' has shape \[.*\], expected \["):
        make_set(**{name: np.asarray(good[0])})                 # an axis less
    with pytest.raises(DirectionsError, match=r"array '\w+' has shape \[.*\], expected \["):
        make_set(**{name: np.repeat(good, 2, axis=0)})  # an axis twice as long: this array differs, or the next one


def test_lists_are_not_arrays():
    with pytest.raises(DirectionsError, match="array 'step' is list, expected float64"):
        make_set(step=[1., 2., 3.])


def test_a_set_is_not_changed_and_equals_only_itself():
    one, other = make_set(), make_set()
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.step = other.step
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.metadata.tau = 1.0
    assert one == one and one != other


def test_offset():
    directions = make_set()
    offset = directions.offset(2, -3)
    assert offset.shape == (D,) and offset.dtype == np.float32
    np.testing.assert_allclose(offset, -.6 * directions.directions[1], rtol=1e-6)  # float32 rounding
    assert not directions.offset(np.int64(3), 0).any()


@pytest.mark.parametrize('index', [-1, 0, 4, 1.0, True, None])
def test_offset_index_out_of_range(index):
    with pytest.raises(DirectionsError, match=f'direction {index} is out of range: they are counted from 1, '
                                               'the best, to 3'):
        make_set().offset(index, 1)


def test_offset_strength_must_be_finite():
    with pytest.raises(DirectionsError, match="strength is 'a', expected a finite number"):
        make_set().offset(1, 'a')
    with pytest.raises(DirectionsError, match='strength is nan, expected a finite number'):
        make_set().offset(1, float('nan'))


def test_fits():
    directions = make_set(metadata=make_metadata(layers=(1, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        space = directions.check_fits(fake_hook())
    assert (space.name, space.layers) == ('w', (1, 2))


@pytest.mark.parametrize('ours, theirs, shown', [
    ('ab' * 32, 'cd' * 32, r'SHA-256 abababababab\).*SHA-256 cdcdcdcdcdcd\)'),
    ('', 'cd' * 32, r'SHA-256 unknown\).*SHA-256 cdcdcdcdcdcd\)'),
    ('ab' * 32, '', r'SHA-256 abababababab\).*SHA-256 unknown\)'),
])
def test_other_weights_warn(ours, theirs, shown):
    with pytest.warns(UserWarning, match=rf'come from toy.pkl .*{shown}.*not be local') as caught:
        make_set(metadata=make_metadata(network_sha256=ours)).check_fits(fake_hook(theirs))
    assert caught[0].filename == __file__   # the caller's line


@pytest.mark.parametrize('hook, match', [
    (fake_hook(image_shape=(1, H, W)), r'for pictures \[3, 6, 4\] of toy.pkl, but other.pkl makes \[1, 6, 4\]: '
                                        r'use them with their own network'),
    (fake_hook(spaces=('z',)), r"for space 'w' of toy.pkl: space 'w' is not one of z"),
    (fake_hook(dim=512), r"have 8 dimensions, but space 'w' of other.pkl has 512"),
])
def test_other_geometry_is_an_error(hook, match):
    with pytest.raises(DirectionsError, match=match):
        make_set().check_fits(hook)


def test_describe():
    extra = {'note': 'not shown', 'norm': 'covariance', 'orthogonal_to': ['a.npz:1'], 'protect': ['5*eyes', 'nose'],
             'pooled': [{'sample': 'seed0000'}, {'sample': 'seed0001'}], 'search': {'columns': 40, 'converged': True}}
    directions = make_set(metadata=make_metadata(
        layers=(1, 2), seeds=(7, 8), truncation_cutoff=4, created='2024-05-06T07:08:09+00:00', extra=extra))
    assert directions.describe() == '''\
network     toy.pkl (SHA-256 abababababab)
pictures    [3, 6, 4], differentiated at 6
region      mouth, 16.67% of the picture
space       w, layers 1,2, 8 dimensions
seeds       7,8, truncation psi 0.7, cutoff 4
solver      dense, tau 0.001, a 0.25
created     2024-05-06T07:08:09+00:00 by resefa factorize --network=toy.pkl
pooled      over 2 samples
search      columns 40, converged True
protect     5*eyes, nose
orthogonal_to a.npz:1
norm        covariance

RMS change on the [-1, 1] scale at strength 1:
direction  eigenvalue  residual     alpha    inside  (predicted)   outside  (predicted)
        1         8.7   1.0e-12       0.1    0.1049       0.1000    0.0141       0.0100
        2        1.65   1.0e-12       0.2    0.1049       0.1000    0.0141       0.0100
        3         0.4   1.0e-12       0.3    0.1049       0.1000    0.0141       0.0100'''


def test_describe_says_what_there_is_not():
    metadata = make_metadata(network_sha256='', seeds=(), command='', created='2024-05-06T07:08:09+00:00')
    lines = make_set(metadata=metadata).describe().splitlines()
    assert lines[0] == 'network     toy.pkl (SHA-256 unknown)' and lines[3] == 'space       w, layers all, 8 dimensions'
    assert lines[4] == 'seeds       none, truncation psi 0.7, cutoff none'
    assert lines[6] == 'created     2024-05-06T07:08:09+00:00' and lines[7] == ''


def test_labels_are_kept_in_the_file(tmp_path):
    bare = make_set(metadata=make_metadata(extra={'note': 1}))
    assert bare.labels == ('', '', '') and 'label' not in bare.describe()
    named = bare.labelled(['mouth opens +', '', 'beard +'])
    named.save(tmp_path / 'named.npz')
    loaded = DirectionSet.load(tmp_path / 'named.npz')
    assert loaded.labels == ('mouth opens +', '', 'beard +') and loaded.metadata.extra['note'] == 1
    heading, *lines = loaded.describe().splitlines()[-4:]
    assert heading.endswith('(predicted)  label')
    assert lines[0].endswith('0.0100  mouth opens +') and lines[1] == bare.describe().splitlines()[-2]
    with pytest.raises(DirectionsError, match='got 2 labels, expected one for each of 3 directions'):
        bare.labelled(['a', 'b'])


@pytest.mark.parametrize('labels', ['abc', ['a', 'b'], [1, 2, 3], {'a': 1}, None])
def test_what_others_call_labels_is_none_of_ours(labels):
    assert make_set(metadata=make_metadata(extra={'labels': labels})).labels == ('', '', '')


def test_labels_of_a_stranger_are_printable():
    assert make_set(metadata=make_metadata(extra={'labels': ['\x1b[2J', '', '']})).labels == ('\\x1b[2J', '', '')
