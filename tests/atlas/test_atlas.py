"""An atlas against the quotient of its samples, whose Jacobians are known in closed form."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import scipy.linalg

from resefa_plugin import Auto, Callback, Constraints, Factorizer, RegionPartition, Viewpoint
from resefa_plugin.atlas import atlas as atlas_module
from resefa_plugin.atlas import builder as builder_module
from resefa_plugin.atlas.atlas import CHANNELS, Atlas
from resefa_plugin.atlas.builder import AtlasBuilder, tile_weights
from resefa_plugin.errors import DamagedFileError, ResefaError
from resefa_plugin.factorizer.protection import NULL, Protection
from tests.factorizer.test_channel_pool import BOX, CORNER, ChannelHook
from tests.helpers.toys import TanhToy, TinyHook

FLOAT32 = 1e-4  # of products of a network in float32, relative


def builder(folder, hook=None, space='s', count=3, coordinates=180):
    hook = hook or ChannelHook()
    return AtlasBuilder([Viewpoint(hook, space, hook.sample(seed)) for seed in range(count)], folder, coordinates)


def pooled(hook, rows, mask, count=3):
    """A and B of the samples, weighted tile by tile of 2 x 2 pixels: each over its tr(J^T J)."""
    jacobians = [hook.jacobian(hook.sample(seed))[..., rows] for seed in range(count)]
    pixels = np.stack([np.square(J).sum(axis=(0, 3)) for J in jacobians])  # [n, 32, 32]
    totals = pixels.sum(axis=(1, 2))
    tiles = pixels.reshape(count, 16, 2, 16, 2).sum(axis=(2, 4)).reshape(count, -1) / totals[:, None]
    weights = (tile_weights(tiles) / totals[:, None]).reshape(count, 16, 16).repeat(2, axis=1).repeat(2, axis=2)
    return tuple(sum(np.einsum('chwd,hw,chwe->de', J, weight * part, J)
                     for J, weight in zip(jacobians, weights, strict=True)) for part in (mask, 1 - mask))


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp('atlas')
    return folder, builder(folder).build()


def test_a_region_has_the_directions_of_its_pooled_quotient(made):
    _, atlas = made
    hook = ChannelHook()
    viewpoint = Viewpoint(hook, 's', hook.sample(7))
    solved = atlas.solve(viewpoint, BOX, Auto(3))
    rows = np.flatnonzero(solved.basis.any(axis=0))
    known = np.flatnonzero(atlas.vectors.any(axis=0))
    assert len(known) == 180 and len(rows) == CHANNELS and set(rows) <= set(known)
    A, B = pooled(hook, known, BOX.mask.astype(float))
    inner = np.searchsorted(known, rows)
    A, B = A[np.ix_(inner, inner)], B[np.ix_(inner, inner)]
    ridge = solved.solution.tau * np.trace(B)
    values, vectors = scipy.linalg.eigh(A, B + ridge * np.eye(CHANNELS))
    # Float16 rounds each element; what that does to an eigenvalue is seen against the ridge.
    assert solved.solution.eigenvalues[:3] == pytest.approx(values[::-1][:3], rel=2e-2)
    for found, expected in zip(solved.solution.directions[:3], vectors.T[::-1], strict=False):
        assert abs(found[rows] @ expected / np.linalg.norm(expected)) > 0.999
    assert not solved.solution.directions[:, np.setdiff1d(np.arange(240), rows)].any()


@pytest.mark.parametrize('protect', [(), (Protection(CORNER, 100.0),)])
def test_slopes_are_those_of_the_mean_sample(made, protect):
    _, atlas = made
    hook = ChannelHook()
    solved = atlas.solve(Viewpoint(hook, 's', hook.sample(7)), BOX, Auto(2), Constraints(protect))
    for number, n in enumerate(solved.solution.directions[:2]):
        changes = [np.square(hook.jacobian(hook.sample(seed)) @ n) for seed in range(3)]
        inside = np.mean([change[:, BOX.mask].mean() for change in changes])
        outside = np.mean([change[:, ~BOX.mask].mean() for change in changes])
        # Means of samples whose weights differ a little.
        assert solved.slopes[0][number] == pytest.approx(inside, rel=0.1)
        assert solved.slopes[1][number] == pytest.approx(outside, rel=0.1)


def test_constraints_hold(made):
    _, atlas = made
    hook = ChannelHook()
    viewpoint = Viewpoint(hook, 's', hook.sample(7))
    plain = atlas.solve(viewpoint, BOX, Auto(2))
    first = plain.solution.directions[:1]
    apart = atlas.solve(viewpoint, BOX, Auto(2), Constraints(orthogonal_to=first))
    assert np.abs(apart.solution.directions[:2] @ first[0]).max() < 1e-6
    kept = atlas.solve(viewpoint, BOX, Auto(2), Constraints((Protection(CORNER, 100.0),)))

    def share(solution):
        change = np.square(hook.jacobian(hook.sample(0)) @ solution.solution.directions[0])
        return change[:, CORNER.mask].sum() / change[:, BOX.mask].sum()

    assert share(kept) < 0.8 * share(plain)
    with pytest.raises(ResefaError, match='cannot be pooled'):
        atlas.solve(viewpoint, BOX, None, Constraints((Protection(CORNER, np.inf),)))


def test_a_region_within_a_tile_counts_by_its_share(tmp_path, monkeypatch):
    monkeypatch.setattr(atlas_module, 'FINE', 16)  # tiles of 2 x 2 pixels
    atlas = builder(tmp_path).build()
    mask = np.zeros((32, 32), bool)
    mask[6, 6] = True
    grams, rows = atlas.grams(RegionPartition(mask, 'dot'), Constraints())
    whole = np.zeros((32, 32), bool)
    whole[6:8, 6:8] = True
    larger, others = atlas.grams(RegionPartition(whole, 'tile'), Constraints())
    assert np.array_equal(rows, others)
    assert np.abs(larger.A - 4 * grams.A).max() < 1e-4 * np.trace(larger.A)
    assert np.abs(grams.B - larger.B - 0.75 ** 2 * larger.A).max() < 1e-4 * np.trace(larger.B)


def test_what_was_collected_is_not_computed_again(tmp_path):
    counts = []
    first = builder(tmp_path)
    first.collect((1, 2), progress=counts.append)
    assert sum(counts) == 512 + 2 * 180  # samples 0 and 2
    assert len(list((tmp_path / 'samples').glob('seed*.npz'))) == 2
    jacobians = []

    class Counted(builder_module.RegionJacobian):
        def within(self, vectors):
            jacobians.append(self.viewpoint.sample.name)
            return super().within(vectors)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder_module, 'RegionJacobian', Counted)
        atlas = builder(tmp_path).build()
    assert jacobians == ['seed0001'] and atlas.facts.seeds == (0, 1, 2)
    assert not (tmp_path / 'samples').exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['arrays.npz', 'atlas.json', 'grams.npy']


def test_an_atlas_that_is_there_is_not_made_again(tmp_path, monkeypatch):
    first = builder(tmp_path).build()
    counts = []
    monkeypatch.setattr(AtlasBuilder, 'collect', None)
    again = builder(tmp_path).build(progress=counts.append)
    assert again.facts == first.facts and sum(counts) == builder(tmp_path).products
    monkeypatch.undo()
    assert builder(tmp_path, count=2).build().facts.seeds == (0, 1)


def test_the_products_are_said_beforehand(tmp_path):
    counts, one = [], builder(tmp_path)
    one.build(progress=counts.append)
    assert sum(counts) == one.products == 512 + 3 * 180


def test_a_small_space_is_taken_whole(tmp_path):
    toy = TanhToy(shape=(3, 16, 16))
    hook = toy.hook()
    one = AtlasBuilder([Viewpoint(hook, 'z', hook.sample(seed)) for seed in range(2)], tmp_path)
    atlas = one.build()
    assert one.products == 2 * 6 and np.array_equal(atlas.vectors, np.eye(6)) and not atlas.facts.channels
    region = RegionPartition.from_box(2, 2, 6, 6, (16, 16))
    solved = atlas.solve(Viewpoint(hook, 'z', hook.sample(5)), region, Auto(2))
    A, B = (np.zeros((6, 6)) for _ in range(2))
    for seed in range(2):
        J = toy.jacobian(hook.sample(seed).latents['z'])
        total = np.square(J).sum()
        A += np.einsum('chwd,hw,chwe->de', J, region.mask.astype(float), J) / total
        B += np.einsum('chwd,hw,chwe->de', J, (~region.mask).astype(float), J) / total
    values = scipy.linalg.eigh(A, B + solved.solution.tau * np.trace(B) * np.eye(6), eigvals_only=True)[::-1]
    # With two samples, the one that moves a tile more counts for less than half: not quite the mean.
    assert solved.solution.eigenvalues[:2] == pytest.approx(values[:2], rel=0.15)


def test_a_space_without_channels_is_solved_in_a_span(tmp_path):
    hook = TinyHook()
    one = AtlasBuilder([Viewpoint(hook, 'w+', hook.sample(seed)) for seed in range(2)], tmp_path, coordinates=20)
    atlas = one.build()
    assert atlas.vectors.shape == (20, 32) and not atlas.facts.channels
    assert np.abs(atlas.vectors @ atlas.vectors.T - np.eye(20)).max() < 1e-9
    solved = atlas.solve(Viewpoint(hook, 'w+', hook.sample(5)), BOX, Auto(2))
    assert solved.solution.directions.shape[1] == 32 and solved.solution.eigenvalues[0] > 0
    own, = Factorizer([Viewpoint(hook, 'w+', hook.sample(5))], [BOX], Auto(2), known=atlas).run()
    n = own.directions.directions.astype(float)
    assert np.abs(n @ atlas.vectors.T @ atlas.vectors - n).max() < 1e-6
    assert own.notes == ['Solved in the span of 20 directions that move the tiles of the picture.']


def test_an_atlas_is_of_one_network(made):
    _, atlas = made
    atlas.check_fits(ChannelHook())
    with pytest.raises(ResefaError, match='the atlas is of channels .*, not of tiny'):
        other = TinyHook()
        other.sha256 = 'b' * 64
        atlas.check_fits(other)


def test_functions_of_one_name_are_told_apart(tmp_path):
    hooks = [TanhToy(shape=(3, 16, 16), seed=seed).hook() for seed in (0, 1)]
    assert hooks[0].name == hooks[1].name and not hooks[0].sha256
    atlas = AtlasBuilder([Viewpoint(hooks[0], 'z', hooks[0].sample(0))], tmp_path).build()
    Atlas.load(tmp_path).check_fits(TanhToy(shape=(3, 16, 16)).hook())
    with pytest.raises(ResefaError, match='the atlas is of tanh-toy'):
        atlas.check_fits(hooks[1])
    with pytest.raises(ResefaError, match='the atlas is of tanh-toy'):
        atlas.check_fits(TanhToy(z_dim=7, shape=(3, 16, 16)).hook())


def edited(folder, name, change):
    record = json.loads((folder / 'atlas.json').read_text())
    change(record)
    (folder / 'atlas.json').write_text(json.dumps(record))
    return name


@pytest.mark.parametrize(('damage', 'message'), [
    (lambda folder: (folder / 'grams.npy').write_bytes(b'x'), 'grams.npy: it is not the one'),
    (lambda folder: (folder / 'grams.npy').unlink(), 'grams.npy does not exist'),
    (lambda folder: (folder / 'atlas.json').unlink(), 'does not exist'),
    (lambda folder: (folder / 'atlas.json').write_text('[]'), 'not an atlas'),
    (lambda folder: (folder / 'atlas.json').write_text('{'), 'cannot be read'),
    (lambda folder: edited(folder, '', lambda record: record.update(version=1)), 'has version 1'),
    (lambda folder: edited(folder, '', lambda record: record.update(dim=100)), 'numbers from 0 to 99'),
    (lambda folder: edited(folder, '', lambda record: record.update(image_shape=[3, 48, 32])), r'int16 \[384, 180\]'),
    (lambda folder: edited(folder, '', lambda record: record.pop('space')), 'space'),
])
def test_what_is_damaged_is_said(made, tmp_path, damage, message):
    shutil.copytree(made[0], tmp_path / 'atlas')
    damage(tmp_path / 'atlas')
    with pytest.raises(DamagedFileError, match=message):
        Atlas.load(tmp_path / 'atlas')


def test_a_damaged_sample_is_computed_again(tmp_path):
    builder(tmp_path).collect()
    file = next((tmp_path / 'samples').glob('seed0001*.npz'))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.warns(UserWarning, match='computed anew'):
        atlas = builder(tmp_path).build()
    assert len(atlas.facts.seeds) == 3


@pytest.mark.parametrize('part', [(0, 2), (3, 2), (1, 4)])
def test_a_part_that_is_not_there_is_said(tmp_path, part):
    with pytest.raises(ResefaError, match='expected .i, n.'):
        builder(tmp_path).collect(part)


def test_a_sample_that_moves_a_tile_too_much_counts_for_less():
    traces = np.array([[1.0, 1.0, 0.0], [1.0, 2.0, 0.0], [100.0, 3.0, 0.0]])
    weights = tile_weights(traces)
    assert weights[:, 0] == pytest.approx(np.array([1, 1, 0.01]) / 2.01)
    assert weights[:, 1] == pytest.approx(np.array([1, 1, 2 / 3]) / (8 / 3))
    assert weights[:, 2] == pytest.approx(1 / 3)


def test_regions_of_its_own_cover_the_picture(made):
    _, atlas = made
    found = atlas.own_regions(3, (32, 32))
    assert [region.name for region in found] == ['auto1', 'auto2', 'auto3']
    assert np.array_equal(sum(region.mask.astype(int) for region in found), np.ones((32, 32)))


def test_a_sample_has_directions_of_its_own_within_the_channels_of_the_atlas(made):
    _, atlas = made
    hook, events = ChannelHook(), []
    viewpoint = Viewpoint(hook, 's', hook.sample(7))

    class Counted(Callback):
        def on_basis(self, viewpoint, count, total):
            events.append((count, total))

    one, two = Factorizer([viewpoint], [BOX, CORNER], Auto(3), callbacks=[Counted()], known=atlas).run()
    rows = np.flatnonzero(atlas.solve(viewpoint, BOX, Auto(3)).basis.any(axis=0))
    union = np.union1d(rows, np.flatnonzero(atlas.solve(viewpoint, CORNER, Auto(3)).basis.any(axis=0)))
    assert len(rows) == CHANNELS < len(union)
    assert sum(count for count, _ in events) == len(union) and {total for _, total in events} == {len(union)}
    J = hook.jacobian(hook.sample(7))[..., rows]
    A, B = (np.einsum('cpd,cpe->de', J[:, part], J[:, part]) for part in (BOX.mask, ~BOX.mask))
    values, vectors = scipy.linalg.eigh(A, B + one.directions.metadata.tau * np.trace(B) * np.eye(CHANNELS))
    assert one.directions.eigenvalues == pytest.approx(values[::-1][:3], rel=FLOAT32)
    assert one.notes == [f'Made of {CHANNELS} of 240 channels.']
    for found, expected in zip(one.directions.directions, vectors.T[::-1], strict=False):
        assert abs(found[rows] @ expected / np.linalg.norm(expected)) == pytest.approx(1, abs=FLOAT32)
        assert np.linalg.norm(found[rows]) == pytest.approx(1, abs=FLOAT32)
    assert two.directions.metadata.region == CORNER.name


def test_directions_of_its_own_keep_to_constraints(made):
    _, atlas = made
    hook = ChannelHook()
    viewpoint = Viewpoint(hook, 's', hook.sample(7))

    def found(**constraints):
        result, = Factorizer([viewpoint], [BOX], Auto(2), Constraints(**constraints), known=atlas).run()
        return result.directions.directions

    plain = found()
    assert np.abs(found(orthogonal_to=plain[:1]) @ plain[0]).max() < 1e-6
    mask = np.zeros((32, 32), bool)
    mask[tuple(np.argwhere(CORNER.mask)[:6].T)] = True  # few enough pixels for 60 channels to leave alone
    kept = Protection(RegionPartition(mask, 'kept'), np.inf)
    change, before = (np.square(hook.jacobian(hook.sample(7)) @ n[0]) for n in (found(protect=(kept,)), plain))
    # What moves it less than NULL of the most is not excluded.
    assert mask.any() and change[:, mask].sum() < 10 * NULL * before[:, mask].sum()
