"""Directions of other tools: what their files hold, which space they are taken for, and layers left out."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from resefa_plugin import DirectionSet, RegionPartition, Viewpoint
from resefa_plugin.directions.foreign import load_directions
from resefa_plugin.editing.strength import mean_square, render_edits
from resefa_plugin.errors import DirectionsError
from resefa_plugin.scripts.common.recorded import class_flag
from resefa_plugin.scripts.main import main
from tests.helpers.direction_sets import make_metadata
from tests.helpers.runs import factorizer
from tests.helpers.toys import TanhToy, TinyHook

HOOK = TinyHook()  # z and w of 4 dimensions, 8 layers, styles of 4: w+ and s of 32
FLOAT32 = 1e-6
RANDOM = np.random.RandomState(0)


def unit(rows):
    rows = np.asarray(rows, float)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def saved(path, value):
    if path.suffix == '.npy':
        np.save(path, value, allow_pickle=True)
    elif isinstance(value, dict) and value and all(isinstance(item, np.ndarray) for item in value.values()):
        with open(path, 'wb') as file:
            np.savez(file, **value)
    else:
        torch.save(value, path)
    return path


ROWS = RANDOM.randn(3, 4)
WPLUS = RANDOM.randn(2, 8, 4)
LAYERS = np.empty(7, object)  # of each layer, as a list of arrays becomes one; the last two layers in one
LAYERS[:] = [RANDOM.randn(1, 4) for _ in range(6)] + [RANDOM.randn(1, 8)]
FILES = {
    'a row of ReSeFa': ('d.npy', ROWS[:1].astype(np.float32), ROWS[:1], 'w'),
    'a boundary of InterFaceGAN': ('d.npy', ROWS[:1], ROWS[:1], 'w'),
    'a bare vector': ('d.npy', ROWS[0], ROWS[:1], 'w'),
    'several rows': ('d.npy', ROWS.astype(np.float16), ROWS.astype(np.float16), 'w'),
    'rows of whole numbers': ('d.npy', np.arange(1, 9).reshape(2, 4), np.arange(1, 9).reshape(2, 4), 'w'),
    'an axis of length 1': ('d.npy', ROWS[:, None], ROWS, 'w'),
    'all layers apart': ('d.npy', WPLUS, WPLUS.reshape(2, 32), 'w+'),
    'all layers in a row': ('d.npy', WPLUS.reshape(2, 32), WPLUS.reshape(2, 32), 'w+'),
    'components of GANSpace': ('d.npz', {'lat_comp': ROWS[:, None], 'lat_stdev': np.ones(3)}, ROWS, 'w'),
    'a tensor of e4e': ('d.pt', torch.from_numpy(ROWS[:1]), ROWS[:1], 'w'),
    'a tensor of e4e in all layers': ('d.pt', torch.from_numpy(WPLUS[:1]), WPLUS[:1].reshape(1, 32), 'w+'),
    'components of e4e': ('d.pt', {'comp': torch.from_numpy(ROWS[:, None]), 'std': torch.ones(3)}, ROWS, 'w'),
    'a list of tensors': ('d.pt', [torch.from_numpy(row) for row in ROWS], ROWS, 'w'),
    'styles of StyleCLIP': ('d.npy', LAYERS, np.concatenate(LAYERS, axis=1), 's'),
    'named tensors': ('d.pt', {'smile': torch.from_numpy(ROWS[:1]), 'age': torch.from_numpy(ROWS[1:2])}, ROWS[:2], 'w'),
    'tensors of half precision under another ending': ('d.bin', torch.from_numpy(ROWS[:1]).half(),
                                                       ROWS[:1].astype(np.float16), 'w'),
}


@pytest.mark.parametrize('name', FILES)
def test_files(name, tmp_path):
    file, value, rows, space = FILES[name]
    loaded = load_directions(saved(tmp_path / file, value), HOOK, 's' if space == 's' else None)
    assert loaded.space.name == space and loaded.space.layers is None and loaded.own is None
    np.testing.assert_allclose(loaded.rows, unit(rows), atol=FLOAT32)
    assert loaded.rows.dtype == np.float32 and f"taken for space '{space}'" in loaded.note


def test_a_space_is_said_where_several_fit(tmp_path):
    path = saved(tmp_path / 'd.npy', ROWS)
    assert load_directions(path, HOOK, 'z').space.name == 'z'
    path = saved(tmp_path / 'd.npy', RANDOM.randn(1, 32))
    assert load_directions(path, HOOK, 's').space.name == 's'


def test_a_function_has_its_own_space(tmp_path):
    path = saved(tmp_path / 'd.npy', np.eye(6)[:2])
    assert load_directions(path, TanhToy().hook()).space.name == 'z'


def test_layers(tmp_path):
    """A row of w is the same in any layers; of w+, the others' parts are left out; or the file is of these alone."""
    path = saved(tmp_path / 'd.npy', ROWS)
    loaded = load_directions(path, HOOK, layers=(4, 5))
    assert (loaded.space.name, loaded.space.layers) == ('w', (4, 5))
    np.testing.assert_allclose(loaded.rows, unit(ROWS), atol=FLOAT32)
    path = saved(tmp_path / 'p.npy', WPLUS)
    loaded = load_directions(path, HOOK, layers=(1, 6))
    assert (loaded.space.name, loaded.space.dim) == ('w+', 8)
    np.testing.assert_allclose(loaded.rows, unit(WPLUS[:, [1, 6]].reshape(2, 8)), atol=FLOAT32)
    short = saved(tmp_path / 's.npy', RANDOM.randn(1, 8))
    assert load_directions(short, HOOK, 'w+', (1, 6)).space.dim == 8


def test_layers_of_our_own_files(tmp_path):
    hook = TinyHook()
    region = RegionPartition.from_box(0, 0, 16, 32, (32, 32), )
    for space, layers in (('w', None), ('w+', (1, 2, 3))):
        result, = factorizer(hook, [hook.sample(0)], [region], space, layers).run()
        result.directions.save(tmp_path / 'own.npz')
        whole = result.directions.directions
        loaded = load_directions(tmp_path / 'own.npz', hook, layers=(2, 3))
        assert loaded.own is not None and loaded.space.layers == (2, 3)
        np.testing.assert_allclose(loaded.rows, whole if space == 'w' else unit(whole[:, 4:]), atol=FLOAT32)
    with pytest.raises(DirectionsError, match='has no part for layers 0,7: it is of layers 1,2,3'):
        load_directions(tmp_path / 'own.npz', hook, layers=(0, 2, 7))
    with pytest.raises(DirectionsError, match=r"holds directions of space 'w\+': leave --space=w out"):
        load_directions(tmp_path / 'own.npz', hook, 'w')


@pytest.mark.parametrize('name, value, message', [
    ('d.npy', np.ones((2, 3)),
     r'\[2, 3\], and no space of tiny has such: expected rows of 4 \(z\), 4 \(w\), 32 \(w\+\)'),
    ('d.npy', np.ones((2, 7, 4)), r'\[2, 7, 4\], and no space of tiny has such'),
    ('d.npy', np.ones((0, 4)), r'it holds float64 \[0, 4\], expected directions'),
    ('d.npy', np.ones(4, bool), r'bool \[4\]'),
    ('d.npy', np.ones(4, complex), r'complex128 \[4\]'),
    ('d.npy', np.diag([1.0, 1, 1, 0]), 'a direction that is zero, NaN or infinite'),
    ('d.npy', np.diag([1.0, 1, np.nan, 1]), 'a direction that is zero, NaN or infinite'),
    ('d.npy', np.array([len] * 4), 'its objects are no data'),
    ('d.npz', {'q': np.ones((1, 4))}, r"no 'metadata' and no 'lat_comp' among its arrays \(q\)"),
    ('d.npz', {'w': np.ones((1, 4))}, r'these are latents \(w\), which go to --projected-w; expected directions'),
    ('d.pt', {}, 'it is empty'),
    ('d.pt', {'a': torch.ones(2, 4), 'b': torch.ones(1, 8)}, r'its arrays differ in shape: \[2, 4\], \[1, 8\]'),
    ('d.pt', {'name': 'smile'}, 'it holds str, expected directions'),
])
def test_what_is_no_direction(name, value, message, tmp_path):
    path = saved(tmp_path / name, value)
    with pytest.raises(DirectionsError, match=f'{path.name}.*{message}'):
        load_directions(path, HOOK)


def test_a_space_that_has_other_dimensions(tmp_path):
    path = saved(tmp_path / 'd.npy', ROWS)
    with pytest.raises(DirectionsError, match=r"\[3, 4\], expected 32 numbers each for space 's'"):
        load_directions(path, HOOK, 's')
    with pytest.raises(DirectionsError, match='does not exist'):
        load_directions(tmp_path / 'none.npy', HOOK)


def edit(*arguments, code=0):
    result = CliRunner().invoke(main, ['edit', '--network=tiny', *map(str, arguments)])
    assert result.exit_code == code, result.output
    return ' '.join(result.output.split())


def test_edit_makes_strength_1_mean_the_same(tiny, tmp_path):
    """The region changes by a root mean square of 0.1, as for directions of ours; the mean of both ways."""
    path = saved(tmp_path / 'smile.npy', ROWS)
    said = edit(f'--directions={path}', '--index=2', '--region=left=0,0,0.5,1', '--strength=1', '--steps=2',
                f'--outdir={tmp_path}/out')
    assert "taken for space 'w'; say another with --space" in said and 'strength 1 is a step of' in said
    latents = [np.load(tmp_path / 'out' / f'seed0000-{i:02d}.npz')['w'] for i in range(2)]
    moved = (latents[1] - latents[0])[0] / 2
    np.testing.assert_allclose(moved / np.linalg.norm(moved, axis=1, keepdims=True),
                               np.tile(unit(ROWS)[1], (8, 1)), atol=1e-5)
    hook = TinyHook()
    viewpoint = Viewpoint(hook, 'w', hook.sample(0), 32)
    offsets = torch.from_numpy(moved[0])[None] * torch.tensor([[1.0], [-1.0]])
    changes = render_edits(viewpoint, offsets) - render_edits(viewpoint, viewpoint.zero())
    inside, _ = mean_square(changes, RegionPartition.from_box(0, 0, 16, 32, (32, 32)))
    assert inside.mean().sqrt().item() == pytest.approx(0.1, rel=0.05)  # as calibrate leaves it: 2 %, and rounding


def test_edit_in_some_layers_and_by_lengths(tiny, tmp_path):
    path = saved(tmp_path / 'smile.npy', ROWS)
    edit(f'--directions={path}', '--layers=2-3', '--alpha', '--strength=0,2', '--steps=2', f'--outdir={tmp_path}/out')
    before, after = (np.load(tmp_path / 'out' / f'seed0000-{i:02d}.npz')['w'][0] for i in range(2))
    np.testing.assert_allclose(after - before, [2 * unit(ROWS)[0] if i in (2, 3) else np.zeros(4) for i in range(8)],
                               atol=1e-5)


def test_a_foreign_direction_is_made_local(tiny, tmp_path):
    path = saved(tmp_path / 'smile.npy', WPLUS)
    said = edit(f'--directions={path}', '--region=left=0,0,0.5,1', '--keep-background', '--strength=1,1', '--steps=1',
                f'--outdir={tmp_path}/out')
    assert 'outside' in said and (tmp_path / 'out' / 'grid.png').exists()


def test_what_edit_has_to_be_told(tiny, tmp_path):
    path = saved(tmp_path / 'smile.npy', ROWS)
    out = f'--outdir={tmp_path}/out'
    assert 'does not say what strength 1 is: name what the direction changes with --region, or give --alpha' in edit(
        f'--directions={path}', out, code=2)
    assert '--keep-background: name what the directions change with --region' in edit(
        f'--directions={path}', '--alpha', '--keep-background', out, code=2)
    assert 'has directions 1 to 3' in edit(f'--directions={path}', '--index=4', '--region=mouth', out, code=2)
    assert not os.path.exists(tmp_path / 'out')


def test_our_own_files_with_fewer_layers_are_measured_anew(tiny, tiny_directions, tmp_path):
    said = edit(f'--directions={tiny_directions}', '--layers=0-3', '--steps=2', f'--outdir={tmp_path}/out')
    assert 'strength 1 is a step of' in said
    own = DirectionSet.load(tiny_directions)
    assert 'strength 1' not in edit(f'--directions={tiny_directions}', '--steps=2', f'--outdir={tmp_path}/whole')
    after = np.load(tmp_path / 'whole' / 'seed0000-01.npz')['w'][0]
    np.testing.assert_allclose(after, own.latent[0] + own.offset(1, 3.0), atol=1e-4)


def test_what_no_flag_says_is_as_it_was_found(tiny, tmp_path, tiny_directions, monkeypatch):
    own = DirectionSet.load(tiny_directions)
    metadata = dataclasses.replace(own.metadata, network='tiny', truncation_psi=0.5, truncation_cutoff=3)
    path = tmp_path / 'own.npz'
    dataclasses.replace(own, metadata=metadata).save(path)

    def latent(*flags):
        result = CliRunner().invoke(main, ['edit', f'--directions={path}', '--strength=0,0', '--steps=1', *flags,
                                           f'--outdir={tmp_path}/out'])
        assert result.exit_code == 0, result.output
        return np.load(tmp_path / 'out' / 'seed0001-00.npz')['w'], result.output

    hook = TinyHook()
    # In the demo generator's place.
    monkeypatch.setattr('resefa_plugin.scripts.common.recorded.mobilestylegan_ffhq.NAME', 'tiny')
    w, said = latent('--seeds=1')
    np.testing.assert_allclose(w, hook.sample(1, 0.5, 3).latents['ws'].numpy(), atol=FLOAT32)
    assert f'as {path} says: --network=tiny --trunc=0.5 --trunc-cutoff=3' in said
    w, said = latent('--seeds=1', '--trunc=1', '--network=tiny')
    np.testing.assert_allclose(w, hook.sample(1, 1.0, 3).latents['ws'].numpy(), atol=FLOAT32)
    assert 'says: --trunc-cutoff=3' in said


@pytest.mark.parametrize('named', ['http://127.0.0.1:9/net.pkl', 'plugin:anything', 'gone.pkl'])
def test_a_file_names_no_network_to_fetch_or_to_run(tiny_directions, tmp_path, named):
    """Whoever sends directions would choose what this machine opens."""
    own = DirectionSet.load(tiny_directions)
    dataclasses.replace(own, metadata=dataclasses.replace(own.metadata, network=named)).save(tmp_path / 'own.npz')
    result = CliRunner().invoke(main, ['edit', f'--directions={tmp_path}/own.npz', f'--outdir={tmp_path}/out'])
    assert result.exit_code == 2
    assert f"name the generator with --network or --hook: the directions say '{named}'" in ' '.join(
        result.output.split()) and not os.path.exists(tmp_path / 'out')


@pytest.mark.parametrize('weights, flag', [
    (None, None), ({}, None), ({'7': 1.0}, '7'), ({'12': 0.5, '207': 0.5}, '12:0.5,207:0.5'), ('odd', None)])
def test_the_class_as_a_flag(weights, flag):
    assert class_flag(make_metadata(extra={} if weights is None else {'class': weights})) == flag
