"""Direction files of other tools: exact keys, shapes and dtypes, and refusal where a file cannot say the space."""

from __future__ import annotations

import os
import warnings

import numpy as np
import pytest
import torch

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.directions.exports import EXPORTS, save_projected_w
from resefa_plugin.directions.metadata import DirectionMetadata
from resefa_plugin.errors import DirectionsError, ResefaError

K, W_DIM, NUM_WS = 3, 512, 18
# One rounding of float32.
FLOAT32 = 1e-6


def make_set(space: str = 'w', layers: tuple[int, ...] | None = None, d: int | None = None, **changes) -> DirectionSet:
    random = np.random.RandomState(0)
    d = d or W_DIM * (len(layers or range(NUM_WS)) if space == 'w+' else 1)
    directions = random.randn(K, d)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    metadata = DirectionMetadata(
        network='toy.pkl', network_sha256='', image_shape=(3, 4, 4), space=space, layers=layers, num_ws=NUM_WS,
        region='mouth', seeds=(0,), truncation_psi=.7, truncation_cutoff=None, resolution=4, tau=1e-3, ridge=.1,
        solver='dense')
    ws = np.tile(random.randn(1, 1, W_DIM).astype(np.float32), (1, NUM_WS, 1))
    values = dict(
        directions=directions.astype(np.float32), eigenvalues=np.array([6., 3., 1.]), residuals=np.zeros(K),
        mask=np.eye(4, dtype=bool), latent=ws, step=np.array([.1, .2, .4]), predicted_inside=np.full(K, .01),
        predicted_outside=np.full(K, 1e-4), measured_inside=np.full(K, .01), measured_outside=np.full(K, 1e-4),
        metadata=metadata)
    return DirectionSet(**{**values, **changes})


@pytest.mark.parametrize('name, dtype', [('resefa', np.float32), ('interfacegan', np.float64)])
def test_npy(tmp_path, name, dtype):
    directions = make_set()
    EXPORTS[name](directions, tmp_path / 'a.npy', 3)
    array = np.load(tmp_path / 'a.npy', allow_pickle=False)
    assert array.shape == (1, W_DIM) and array.dtype == dtype
    assert np.array_equal(array, directions.directions[[2]])
    assert os.listdir(tmp_path) == ['a.npy']


def test_interfacegan_holds_z(tmp_path):
    directions = make_set('z', d=64)
    EXPORTS['interfacegan'](directions, tmp_path / 'a.npy', index=1)
    assert np.array_equal(np.load(tmp_path / 'a.npy'), directions.directions[[0]])


def test_e4e_w(tmp_path):
    directions = make_set()
    EXPORTS['e4e'](directions, tmp_path / 'a.pt', index=2)
    tensor = torch.load(tmp_path / 'a.pt', weights_only=True)
    assert tensor.shape == (1, W_DIM) and tensor.dtype == torch.float32
    assert np.array_equal(tensor.numpy(), directions.directions[[1]])


def test_e4e_w_in_some_layers(tmp_path):
    directions = make_set(layers=(4, 5, 9))
    EXPORTS['e4e'](directions, tmp_path / 'a.pt', index=2)
    tensor = torch.load(tmp_path / 'a.pt', weights_only=True)
    expected = np.zeros((1, NUM_WS, W_DIM), np.float32)
    for layer in (4, 5, 9):
        expected[0, layer] = directions.directions[1]
    assert tensor.dtype == torch.float32 and np.array_equal(tensor.numpy(), expected)


@pytest.mark.parametrize('layers', [None, (0, 3)])
def test_e4e_w_plus(tmp_path, layers):
    edited = range(NUM_WS) if layers is None else layers
    directions = make_set('w+', layers, d=len(edited) * W_DIM)
    EXPORTS['e4e'](directions, tmp_path / 'a.pt', index=2)
    tensor = torch.load(tmp_path / 'a.pt', weights_only=True)
    expected = np.zeros((1, NUM_WS, W_DIM), np.float32)
    for i, layer in enumerate(edited):
        expected[0, layer] = directions.directions[1, i * W_DIM:(i + 1) * W_DIM]
    assert np.array_equal(tensor.numpy(), expected)


def test_e4e_pca(tmp_path):
    directions = make_set()
    EXPORTS['e4e-pca'](directions, tmp_path / 'a.pt')
    pca = torch.load(tmp_path / 'a.pt', weights_only=True)
    assert {name: (tuple(t.shape), t.dtype) for name, t in pca.items()} == {
        'mean': ((1, W_DIM), torch.float32), 'comp': ((K, 1, W_DIM), torch.float32), 'std': ((K,), torch.float32)}
    # e4e moves the coordinate along a component to `strength` stdevs from the mean: here, from the sample itself.
    ws = torch.from_numpy(directions.latent[0])
    for i, strength in ((0, 3.), (2, -1.)):
        coordinate = ((ws - pca['mean'])[0] * pca['comp'][i, 0]).sum() / pca['std'][i]
        delta = (strength - coordinate) * pca['comp'][i, 0] * pca['std'][i]
        np.testing.assert_allclose(delta.numpy(), directions.offset(i + 1, strength), atol=FLOAT32)


def test_ganspace(tmp_path):
    directions = make_set()
    EXPORTS['ganspace'](directions, tmp_path / 'a.npz')
    with np.load(tmp_path / 'a.npz', allow_pickle=False) as data:
        arrays = dict(data)
    assert {name: array.shape for name, array in arrays.items()} == {
        'act_comp': (K, 1, W_DIM), 'act_mean': (1, W_DIM), 'act_stdev': (K,), 'lat_comp': (K, 1, W_DIM),
        'lat_mean': (1, W_DIM), 'lat_stdev': (K,), 'var_ratio': (K,), 'random_stdevs': (K,)}
    assert all(array.dtype == np.float32 for array in arrays.values())
    assert np.array_equal(arrays['lat_comp'][:, 0], directions.directions)
    np.testing.assert_allclose(arrays['lat_mean'], directions.latent[:, 0], atol=FLOAT32)
    np.testing.assert_allclose(arrays['lat_stdev'], [.1, .2, .4], rtol=FLOAT32)
    np.testing.assert_allclose(arrays['var_ratio'], [.6, .3, .1], rtol=FLOAT32)


@pytest.mark.parametrize('name, key', [('ganspace', 'lat_comp'), ('e4e-pca', 'comp')])
def test_one_component(tmp_path, name, key):
    directions = make_set()
    EXPORTS[name](directions, tmp_path / 'file', index=2)
    data = np.load(tmp_path / 'file') if name == 'ganspace' else torch.load(tmp_path / 'file', weights_only=True)
    assert np.array_equal(np.asarray(data[key])[:, 0], directions.directions[[1]])
    if name == 'ganspace':
        np.testing.assert_allclose(data['var_ratio'], [.3], rtol=FLOAT32)
        data.close()


def test_zero_eigenvalues_have_no_share(tmp_path):
    EXPORTS['ganspace'](make_set(eigenvalues=np.array([0., 0., -1e-20])), tmp_path / 'a.npz')
    with np.load(tmp_path / 'a.npz') as data:
        assert data['var_ratio'].tolist() == [0, 0, 0]


@pytest.mark.parametrize('name, space, layers, match', [
    ('resefa', 'z', None, r"in space 'z', but 'resefa' files are applied to w in all layers: .* 'interfacegan'"),
    ('resefa', 'w', (4, 5), r"in space 'w', layers 4,5, but 'resefa' .* export them as 'e4e'"),
    ('resefa', 'w+', None, r"in space 'w\+', but 'resefa' .* export them as 'e4e'"),
    ('resefa', 's', None, r"in space 's', but .*: no export holds them; edit with `resefa edit`"),
    ('interfacegan', 'w', (4, 5), r"'interfacegan' .* 'e4e'"),
    ('interfacegan', 'w+', (4, 5), r"in space 'w\+', layers 4,5, but 'interfacegan' .* 'e4e'"),
    ('ganspace', 'z', None, r"in space 'z', but 'ganspace'"),
    ('ganspace', 'w', (4, 5), r"'ganspace' .* 'e4e'"),
    ('e4e-pca', 'w+', None, r"'e4e-pca' .* 'e4e'"),
    ('e4e', 'z', None, r"in space 'z', but 'e4e' files are added to W\+ latents: .* 'interfacegan'"),
    ('e4e', 's', None, r"in space 's', but 'e4e'"),
])
def test_spaces_that_a_file_cannot_say(tmp_path, name, space, layers, match):
    with pytest.raises(DirectionsError, match=match):
        EXPORTS[name](make_set(space, layers), tmp_path / 'a', index=1)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('space, layers, d', [('w', (NUM_WS,), W_DIM), ('w+', None, W_DIM), ('w+', (0, 1, 2), W_DIM)])
def test_inconsistent_layers(space, layers, d):
    with pytest.raises(DirectionsError, match='the file is inconsistent'):
        make_set(space, layers, d)


@pytest.mark.parametrize('latent', [np.zeros((1, W_DIM), np.float32), np.zeros((1, NUM_WS, 4), np.float32)])
def test_layers_that_the_latent_does_not_have(latent):
    with pytest.raises(DirectionsError, match='the file is inconsistent'):
        make_set(latent=latent)


@pytest.mark.parametrize('name', ['resefa', 'interfacegan', 'e4e', 'projected-w'])
def test_the_first_direction_at_strength_1_unless_said_otherwise(tmp_path, name):
    EXPORTS[name](make_set(), tmp_path / 'default')
    strength = {'strength': 1.0} if name == 'projected-w' else {}
    EXPORTS[name](make_set(), tmp_path / 'stated', 1, **strength)
    assert (tmp_path / 'default').read_bytes() == (tmp_path / 'stated').read_bytes()


@pytest.mark.parametrize('name', sorted(EXPORTS))
def test_index_out_of_range(tmp_path, name):
    for index in (K + 1, 0, 1.5):
        with pytest.raises(DirectionsError, match=f'direction {index} is out of range: they are counted from 1'):
            EXPORTS[name](make_set(), tmp_path / 'a', index=index)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('name', sorted(EXPORTS))
def test_unwritable(tmp_path, name):
    with pytest.raises(ResefaError, match='cannot write .*Check that the folder can be written'):
        (tmp_path / 'file').write_text('x')
        EXPORTS[name](make_set(), tmp_path / 'file' / 'a', index=1)


def test_failed_export_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(value, file):
        file.write(b'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, 'save', interrupted)
    with pytest.raises(KeyboardInterrupt):
        EXPORTS['e4e'](make_set(), tmp_path / 'a.pt')
    assert os.listdir(tmp_path) == []


# --- projected_w ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('kind', [torch.float32, torch.float64, np.float64])
def test_projected_w(tmp_path, kind):
    ws = np.random.RandomState(1).randn(1, NUM_WS, W_DIM)
    given = torch.tensor(ws, dtype=kind, requires_grad=True) if isinstance(kind, torch.dtype) else ws.astype(kind)
    save_projected_w(tmp_path / 'a.npz', given)
    with np.load(tmp_path / 'a.npz', allow_pickle=False) as data:
        assert data.files == ['w'] and data['w'].dtype == np.float32
        assert np.array_equal(data['w'], ws.astype(np.float32))


@pytest.mark.parametrize('ws, match', [
    (np.zeros((NUM_WS, 4)), r'ws is float64 \[18, 4\], expected floating point \[1, num_ws, w_dim\]'),
    (np.zeros((2, NUM_WS, 4)), r'\[2, 18, 4\], .*one sample per file'),
    (torch.zeros(1, NUM_WS, 4, dtype=torch.int64), r'ws is int64'),
    (torch.full((1, NUM_WS, 4), float('nan')), r'NaN, infinite'),
    (np.full((1, NUM_WS, 4), 1e300), r'too large for float32'),
    (np.zeros((1, 0, 4)), r'\[1, 0, 4\]'),
])
def test_projected_w_errors(tmp_path, ws, match):
    with pytest.raises(DirectionsError, match=match):
        save_projected_w(tmp_path / 'a.npz', ws)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('space, layers, rows', [
    ('w', None, range(NUM_WS)), ('w', (4, 7), (4, 7)), ('w+', (2, 3), (2, 3))])
def test_export_projected_w(tmp_path, space, layers, rows):
    directions = make_set(space, layers, W_DIM * (len(rows) if space == 'w+' else 1))
    EXPORTS['projected-w'](directions, tmp_path / 'a.npz', 2, strength=-2)
    moved = np.load(tmp_path / 'a.npz')['w'] - directions.latent
    expected = np.zeros((1, NUM_WS, W_DIM))
    expected[0, list(rows)] = -2 * directions.step[1] * directions.directions[1].reshape(-1, W_DIM)
    assert np.allclose(moved, expected, atol=FLOAT32)


def test_export_projected_w_needs_ws(tmp_path):
    with pytest.raises(DirectionsError, match="are in space 'z', but 'projected-w' files hold W. latents: export them "
                                              "as 'interfacegan', whose editor takes Z"):
        EXPORTS['projected-w'](make_set('z', d=64), tmp_path / 'a.npz')


def test_too_large_for_float32_is_an_error_and_no_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        with pytest.raises(DirectionsError, match='too large for float32: edit with a smaller strength'):
            save_projected_w(tmp_path / 'a.npz', np.full((1, NUM_WS, 4), 1e300))
