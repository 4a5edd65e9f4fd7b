"""Directions of many samples, protected regions, other norms: against their definitions on toys."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from resefa_plugin import Auto, Callback, Constraints, Davidson, Dense, RegionPartition, Store
from resefa_plugin.errors import RegionError, ResefaError
from resefa_plugin.factorizer.protection import Protection, parse_protection
from resefa_plugin.hooks.base import LatentSpace
from resefa_plugin.rayleigh import solvers
from tests.helpers.runs import factorizer
from tests.helpers.toys import TanhToy, TinyHook, images_at


def box(top, left, height, width, name, side=8):
    mask = np.zeros((side, side), bool)
    mask[top:top + height, left:left + width] = True
    return RegionPartition(mask, name)


LEFT, TOP, CORNER = box(0, 0, 8, 4, 'left'), box(0, 0, 3, 8, 'top'), box(0, 6, 2, 2, 'corner')


def grams(toy, sample, mask, weights=None):
    J = toy.jacobian(sample.latents['z'])
    outside = (~mask).astype(float) if weights is None else weights
    return tuple(np.einsum('chwd,hw,chwe->de', J, w, J) for w in (mask.astype(float), outside))


class Counter(Callback):
    """Names of the samples whose Jacobian was computed."""

    def __init__(self, fail_at=None):
        self.computed, self.fail_at = [], fail_at

    def on_tangents(self, viewpoint, count):
        if viewpoint.sample.name not in self.computed:
            if len(self.computed) == self.fail_at:
                raise KeyboardInterrupt
            self.computed.append(viewpoint.sample.name)

    def on_products(self, viewpoint, region, products, residual):
        self.on_tangents(viewpoint, products)


@pytest.mark.parametrize('solver', [Dense, Davidson])
def test_pooled_grams_are_weighted_means_over_the_trace(solver):
    toy = TanhToy(z_dim=12)
    hook = toy.hook()
    samples = [hook.sample(seed) for seed in range(3)]
    result, = factorizer(hook, samples, [LEFT], solver=solver(2)).run(pool=True)
    A, B, changes = 0, 0, []
    weights = [row.weight for row in result.agreement]
    for sample, weight in zip(samples, weights, strict=True):
        one, other = grams(toy, sample, LEFT.mask)
        A, B = A + weight * one / np.trace(other) / sum(weights), B + weight * other / np.trace(other) / sum(weights)
        n = result.directions.directions.astype(float)
        changes.append(np.diag(n @ one @ n.T) / np.trace(other))
    ratios = (np.array(changes) / np.median(changes, axis=0)).mean(axis=1)
    assert weights == pytest.approx(1 / np.maximum(ratios, 1), abs=0.03) and min(weights) < 0.97
    values = scipy.linalg.eigh(A, B + 1e-3 * np.eye(12), eigvals_only=True)[::-1]
    np.testing.assert_allclose(
        result.eigenvalues[:2], values[:2], rtol=1e-3
    )  # float32 Jacobians, and the tolerance of Davidson
    assert result.name == 'pooled-left' and result.directions.metadata.seeds == (0, 1, 2)
    for row, sample in zip(result.agreement, samples, strict=True):
        A, B = grams(toy, sample, LEFT.mask)
        ridge = 1e-3 * np.trace(B) * np.eye(12)
        n = result.directions.directions[0].astype(float)
        assert row.sample == sample.name
        assert row.own == pytest.approx(scipy.linalg.eigh(A, B + ridge, eigvals_only=True)[-1], rel=1e-3)
        assert row.pooled == pytest.approx(n @ A @ n / (n @ (B + ridge) @ n), rel=1e-3)
        assert 0 < row.share <= 1.001 and 2 / 12 - 0.2 < row.overlap <= 1
    assert 'The first pooled direction attains' in result.notes[0]
    assert result.directions.metadata.extra['pooled'][2]['sample'] == 'seed0002'
    # Strength 1 is the mean over the samples.
    space, measured = hook.space('z'), []
    for sample in samples:
        for sign in (1, -1):
            offset = sign * torch.from_numpy(result.directions.offset(1, 1.0))[None]
            change = images_at(space, sample, offset) - images_at(space, sample, 0 * offset)
            measured.append(change.square().mean(1)[0][torch.tensor(LEFT.mask)].mean().item())
    assert np.mean(measured) == pytest.approx(result.directions.measured_inside[0], rel=1e-4)


def test_a_pool_of_one_is_the_sample():
    hook = TanhToy(z_dim=12).hook()
    (one,), (other,) = (factorizer(hook, [hook.sample(0)], [LEFT], solver=Auto(2)).run(pool) for pool in (True, False))
    assert one.name == other.name and one.agreement == () and one.notes == []
    np.testing.assert_allclose(one.directions.directions, other.directions.directions, atol=1e-6)


def test_one_bright_sample_does_not_dominate():
    """A generator whose second sample moves its pixels a thousand times as much."""
    class Loud(TanhToy):
        def images(self, z):
            loud = 1 + 999 * (z[:, :1] > 0).to(z)
            return super().images(z) * loud[:, :, None, None]

    hook = Loud(z_dim=8).hook()
    quiet, loud = (
        next(s for s in map(hook.sample, range(20)) if (s.latents['z'][0, 0] > 0) == positive)
        for positive in (False, True)
    )
    pooled, = factorizer(hook, [quiet, loud], [LEFT]).run(pool=True)
    assert min(row.share for row in pooled.agreement) > 0.2


@pytest.mark.parametrize('solver', [Dense, Davidson])
def test_a_pool_that_was_stopped_goes_on(tmp_path, solver):
    hook = TanhToy(z_dim=12).hook()
    samples, options = [hook.sample(seed) for seed in range(4)], dict(solver=solver(2), store=Store(grams=tmp_path))
    with pytest.raises(KeyboardInterrupt):
        factorizer(hook, samples, [LEFT, TOP], callbacks=[Counter(fail_at=2)], **options).run(pool=True)
    assert len(list(tmp_path.iterdir())) == 4
    counter = Counter()
    resumed = factorizer(hook, samples, [LEFT, TOP], callbacks=[counter], **options).run(pool=True)
    assert counter.computed == ['seed0002', 'seed0003']
    whole = factorizer(hook, samples, [LEFT, TOP], solver=solver(2)).run(pool=True)
    for one, other in zip(resumed, whole, strict=True):
        np.testing.assert_allclose(one.directions.directions, other.directions.directions, atol=1e-6)
    protecting = Constraints((Protection(CORNER),))
    for change in ({'solver': solver(2, tau=0.1)}, {'constraints': Constraints(norm='covariance')},
                   {'constraints': Constraints(orthogonal_to=np.eye(12)[:1])}, {'constraints': protecting}):
        counter = Counter()
        factorizer(hook, samples[:1], [LEFT, TOP], callbacks=[counter], **{**options, **change}).run(pool=True)
        # Whole Gram matrices serve any way to solve them; what a search leaves behind depends on what it looked for.
        assert counter.computed == (
            [] if solver is Dense and change.get('constraints') is not protecting else ['seed0000']
        ), change
    for file in tmp_path.glob('seed0000-left-*.npz'):
        file.write_bytes(file.read_bytes()[:200])
    counter = Counter()
    with pytest.warns(UserWarning, match='damaged or cut off.*Its matrices are computed anew'):
        factorizer(hook, samples[:1], [LEFT, TOP], callbacks=[counter], **options).run(pool=True)
    assert counter.computed == ['seed0000']
    counter = Counter()
    factorizer(hook, samples[:1], [LEFT, TOP], callbacks=[counter], **options).run(pool=True)
    assert not counter.computed


@pytest.mark.parametrize('solver', [Dense, Davidson])
def test_protected_pixels_weigh_more(solver):
    toy = TanhToy(z_dim=40)
    hook, (sample,) = toy.hook(), [toy.hook().sample(0)]
    runs = {}
    for weight in (None, 100.0, float('inf')):
        constraints = Constraints(() if weight is None else (Protection(CORNER, weight),))
        result, = factorizer(hook, [sample], [LEFT], solver=solver(1), constraints=constraints).run()
        J = toy.jacobian(sample.latents['z'])
        n = result.directions.directions[0].astype(float)
        change = np.square(J @ n).sum(0)
        runs[weight] = change[CORNER.mask].sum() / change[LEFT.mask].sum()
        if weight == 100:
            weights = np.where(LEFT.mask, 0.0, 1.0)
            weights[CORNER.mask] = 100
            A, B = grams(toy, sample, LEFT.mask, weights)
            ridge = 1e-3 * np.trace(grams(toy, sample, LEFT.mask)[1])  # of the background as it is, not as it weighs
            assert result.eigenvalues[0] == pytest.approx(
                scipy.linalg.eigh(A, B + ridge * np.eye(40), eigvals_only=True)[-1], rel=1e-3
            )
            assert result.directions.metadata.extra['protect'] == ['100*corner']
    assert runs[100.0] < 0.2 * runs[None] and runs[float('inf')] < 0.02 * runs[None]


def test_protected_pixels_leave_the_region():
    overlap = Constraints((Protection(TOP),)).unprotected(LEFT)
    assert overlap.name == 'left' and (overlap.mask == LEFT.mask & ~TOP.mask).all()
    weights = Constraints((Protection(TOP, 3), Protection(CORNER, float('inf')))).background_weights(overlap, 8, 8)
    assert (
        weights.dtype == np.float32
        and (weights[:3] == 3).all()
        and (weights[3:, :4] == 0).all()
        and (weights[3:, 4:] == 1).all()
    )
    with pytest.raises(RegionError, match="region 'corner' lies wholly within the protected top"):
        Constraints((Protection(TOP),)).unprotected(CORNER)


@pytest.mark.parametrize(
    'spec, weight, name', [('mouth', 10, 'mouth'), ('2.5*eyes+nose', 2.5, 'eyes_or_nose'), ('inf*a=mouth', np.inf, 'a')]
)
def test_parse_protection(spec, weight, name):
    protection = parse_protection(spec, (256, 256))
    assert protection.weight == weight and protection.region.name == name and str(protection) == f'{weight:g}*{name}'


@pytest.mark.parametrize(
    'spec, message',
    [('0*mouth', "'mouth' has weight 0.0, expected a number above 0"), ('3*moth', "did you mean 'mouth'")],
)
def test_parse_protection_errors(spec, message):
    with pytest.raises(RegionError, match=message):
        parse_protection(spec, (256, 256))


@pytest.mark.parametrize('solver', [Dense, Davidson])
def test_protected_pixels_may_weigh_less(solver):
    toy = TanhToy(z_dim=40)
    sample = toy.hook().sample(0)
    (result,) = factorizer(
        toy.hook(), [sample], [LEFT], solver=solver(1), constraints=Constraints((Protection(CORNER, 0.5),))
    ).run()
    weights = np.where(LEFT.mask, 0.0, np.where(CORNER.mask, 0.5, 1.0))
    A, B = grams(toy, sample, LEFT.mask, weights)
    ridge = 1e-3 * np.trace(grams(toy, sample, LEFT.mask)[1]) * np.eye(40)
    assert result.eigenvalues[0] == pytest.approx(scipy.linalg.eigh(A, B + ridge, eigvals_only=True)[-1], rel=1e-3)


def test_quick_takes_a_jacobian_that_is_kept(tmp_path, monkeypatch):
    hook = TanhToy(z_dim=12).hook()
    monkeypatch.setattr(solvers, 'QUICK_TANGENTS', 4)  # so that 12 dimensions are many
    for kept, solver in ((False, 'davidson'), (True, 'dense')):
        result, = factorizer(hook, [hook.sample(0)], [LEFT], solver=Auto(2, quick=True), store=Store(tmp_path)).run()
        assert result.directions.metadata.solver == solver
        if not kept:
            factorizer(hook, [hook.sample(0)], [LEFT], store=Store(tmp_path)).run()


def test_orthogonal_to_earlier_directions():
    hook = TanhToy(z_dim=8).hook()
    first, = factorizer(hook, [hook.sample(0)], [LEFT], solver=Auto(2)).run()
    (second,) = factorizer(
        hook,
        [hook.sample(0)],
        [LEFT],
        solver=Auto(2),
        constraints=Constraints(orthogonal_to=first.directions.directions),
    ).run()
    assert np.abs(first.directions.directions @ second.directions.directions.T).max() < 1e-6
    assert second.eigenvalues[0] < first.eigenvalues[0]


def test_covariances_are_those_of_the_latents():
    """TinyHook: w = z, so that the covariance of each block is the identity up to 4,096 samples."""
    hook = TinyHook()
    for name, layers, sizes in (('z', None, [4]), ('w', None, [4]), ('w+', (1, 3), [4, 4]), ('s', (2,), [4])):
        blocks = hook.space(name, layers).covariance(None)
        assert [len(block) for block in blocks] == sizes
        for block in blocks:
            np.testing.assert_allclose(block, np.eye(4), atol=5 / np.sqrt(4096))


def test_covariance_norm_keeps_to_where_latents_are(monkeypatch):
    """A latent that hardly varies costs more: the direction leaves it for one that varies."""
    hook = TanhToy(z_dim=8).hook()
    spread = np.diag([1e-4] * 4 + [1.0] * 4)
    monkeypatch.setattr(LatentSpace, 'covariance', lambda self, c: [spread])
    lengths = {}
    for norm in ('identity', 'covariance'):
        (result,) = factorizer(
            hook, [hook.sample(0)], [LEFT], solver=Auto(1, tau=0.1), constraints=Constraints(norm=norm)
        ).run()
        n = result.directions.directions[0]
        lengths[norm] = n @ np.linalg.inv(spread) @ n / (n @ n)
    assert lengths['covariance'] < 0.05 * lengths['identity']
    assert result.directions.metadata.extra['norm'] == 'covariance'


def test_spaces_of_unknown_spread():
    class Other(LatentSpace):
        name, layers, dim = 'class', None, 3
        latent = move = render = saved = None

    with pytest.raises(ResefaError, match="spread of latents in space 'class' is not known"):
        Other().covariance(None)


@pytest.mark.parametrize('quick, regions, dim, solver', [
    (False, 1, 512, 'dense'), (False, 1, 11776, 'davidson'), (True, 1, 512, 'davidson'), (True, 2, 512, 'dense'),
    (True, 20, 11776, 'davidson'), (True, 1, 100, 'dense')])
def test_what_auto_chooses(quick, regions, dim, solver):
    auto = Auto(quick=quick)
    assert auto.needs_jacobian(dim, regions) == (solver == 'dense')
    text = auto.choice('w', dim, regions)
    assert f'{dim} dimensions' in text
    if auto.needs_basis(dim, regions):
        assert 'in a basis for all' in text
    elif quick:
        assert ('the Jacobian is computed' in text) == (solver == 'dense') and ('it is not computed' in text) == (
            solver == 'davidson'
        )


def test_constraints_are_checked():
    with pytest.raises(ResefaError, match="norm 'l1' is not one of identity, covariance"):
        Constraints(norm='l1')
    hook = TanhToy().hook()
    out_of_reach = Constraints((Protection(CORNER, float('inf')),))
    with pytest.raises(ResefaError, match='cannot be pooled'):
        factorizer(hook, [hook.sample(0)], [LEFT], constraints=out_of_reach).run(pool=True)


def test_a_covariance_is_taken_once(monkeypatch):
    """It takes thousands of samples, and is the same for all regions and samples of a class."""
    hook, calls = TinyHook(), []
    monkeypatch.setattr(
        TinyHook,
        'latents',
        lambda self, c, count, original=TinyHook.latents: calls.append(c) or original(self, c, count),
    )
    constraints = Constraints(norm='covariance')
    factorizer(
        hook,
        [hook.sample(0), hook.sample(1)],
        [box(0, 0, 32, 16, 'left', 32), box(0, 0, 9, 32, 'top', 32)],
        'w',
        solver=Auto(1),
        constraints=constraints,
    ).run()
    assert len(calls) == 1


def test_collect_needs_a_folder():
    hook = TanhToy().hook()
    with pytest.raises(ResefaError, match=r'give store=Store\(grams=FOLDER\)'):
        factorizer(hook, [hook.sample(0)], [LEFT]).collect()
