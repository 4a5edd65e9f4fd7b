"""The loop, the strengths and the callbacks, on toys whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from resefa_plugin import Auto, Callback, DirectionSet, Factorizer, RegionPartition, Store, Viewpoint
from resefa_plugin.editing.strength import STRENGTH_RMS, calibrate, mean_square, render_edits
from resefa_plugin.errors import NondeterministicError, RegionError, ResefaError, SolverError
from resefa_plugin.hooks.function import FunctionHook
from tests.helpers.runs import factorizer
from tests.helpers.toys import TanhToy, TwoPartToy


class Recorder(Callback):
    def __init__(self):
        self.events = []

    def __getattribute__(self, name):
        if name.startswith('on_'):
            return lambda *args: self.events.append((name, *args))
        return super().__getattribute__(name)

    def names(self):
        return [event[0] for event in self.events]


def box(x, y, width, height, name):
    return RegionPartition(RegionPartition.from_box(x, y, width, height, (8, 8)).mask, name)


LEFT = box(0, 0, 4, 8, 'left')


def test_two_part_toy_has_the_expected_direction():
    """max n^T A n / n^T (B + a I) n by hand: A = .04 * 32 (n0 + n2)^2, B = .04 * 32 (n1 + n2)^2."""
    hook = TwoPartToy().hook()
    result, = factorizer(hook, [hook.sample(0)], [LEFT], solver=Auto(3, tau=1e-3)).run()
    scale = 0.04 * 32
    A = scale * np.outer([1, 0, 1], [1, 0, 1])
    B = scale * np.outer([0, 1, 1], [0, 1, 1])
    values, vectors = scipy.linalg.eigh(A, B + 1e-3 * np.trace(B) * np.eye(3))
    n = vectors[:, -1] / np.linalg.norm(vectors[:, -1])
    first = result.directions.directions[0]
    assert abs(abs(first @ n) - 1) < 1e-6
    assert first[np.abs(first).argmax()] > 0
    assert result.directions.eigenvalues[0] == pytest.approx(values[-1], rel=1e-6)
    assert len(result.directions) == 1  # A has rank one: no other direction changes the region


def test_strength_is_exact_on_a_linear_generator():
    """Every pixel of the left half moves by .2 (n0 + n2) alpha: strength 1 is a change of .1."""
    hook = TwoPartToy().hook()
    result, = factorizer(hook, [hook.sample(0)], [LEFT]).run()
    d = result.directions
    n = d.directions[0].astype(np.float64)
    assert d.step[0] == pytest.approx(STRENGTH_RMS / (0.2 * abs(n[0] + n[2])), rel=1e-5)
    assert d.measured_inside[0] == pytest.approx(0.01, rel=1e-4) and d.predicted_inside[0] == pytest.approx(
        0.01, rel=1e-4
    )
    assert d.measured_outside[0] == pytest.approx((d.step[0] * 0.2 * (n[1] + n[2])) ** 2, rel=1e-3)


def test_strength_is_measured_on_a_curved_generator():
    """Where the first order is wrong by a lot, the measured step still gives what was promised."""
    hook = FunctionHook(lambda z: 0.02 * (z + 2 * z ** 3)[:, :1, None, None] * torch.ones(1, 1, 8, 8)
                        + 1e-3 * z[:, 1:, None, None] * (torch.arange(8) > 3), 2)
    sample = type(hook.sample(0))('zero', {'z': torch.zeros(1, 2)})
    predicted = np.array([0.0004]), np.array([0.0004])  # 0.02 for a step of 1, squared, on both sides
    calibration = calibrate([Viewpoint(hook, 'z', sample)], LEFT, np.array([[1.0, 0.0]]), predicted)
    assert np.sqrt(calibration.measured_inside[0]) == pytest.approx(STRENGTH_RMS, rel=0.1)
    assert np.sqrt(calibration.predicted_inside[0]) == pytest.approx(0.02 * calibration.step[0], rel=1e-6)
    assert calibration.step[0] < 1.5  # the first order alone would say 5


def test_mean_square_and_render_edits():
    hook, change = TanhToy().hook(), torch.zeros(2, 3, 8, 8)
    change[0, :, :, :4], change[1, 0, :, 4:] = 0.5, 3.0
    inside, outside = mean_square(change, LEFT)
    assert inside.tolist() == [0.25, 0] and outside.tolist() == [0, 3]
    sample = hook.sample(0)
    offsets = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    breaths = []
    pictures = render_edits(Viewpoint(hook, 'z', sample), offsets, lambda: breaths.append(None))
    assert len(breaths) == 3
    assert torch.equal(pictures[1:2], TanhToy().images(sample.latents['z'] + offsets[1:2]))
    assert not pictures.requires_grad


def test_the_measured_change_follows_the_prediction_and_the_region():
    toy = TanhToy(z_dim=12)
    hook = toy.hook()
    regions = [LEFT, box(2, 2, 3, 3, 'middle')]
    results = factorizer(hook, [hook.sample(5)], regions, solver=Auto(4)).run()
    for result, region in zip(results, regions, strict=True):
        J = toy.jacobian(hook.sample(5).latents['z'])
        n = result.directions.directions[0].astype(np.float64) * result.directions.step[0]
        change = J @ n
        assert result.directions.predicted_inside[0] == pytest.approx((change[:, region.mask] ** 2).mean(), rel=1e-4)
        assert result.directions.predicted_outside[0] == pytest.approx((change[:, ~region.mask] ** 2).mean(), rel=1e-4)
        assert (np.diff(result.directions.eigenvalues) <= 0).all()
        assert len(result.eigenvalues) == 12  # all there are, fewer than the 20 that are wanted
        again = DirectionSet(**{f: getattr(result.directions, f) for f in result.directions.__dataclass_fields__})
        assert again.metadata.region == region.name and again.metadata.seeds == (5,)


def test_callbacks_are_called_in_order():
    hook, recorder = TanhToy().hook(), Recorder()
    samples = [hook.sample(0), hook.sample(1)]
    results = factorizer(hook, samples, [LEFT, ~LEFT], callbacks=[recorder]).run()
    per_region = ['on_region_start', *['on_direction'] * 5, 'on_region_end']
    per_sample = ['on_sample_start', 'on_tangents', 'on_jacobian_end', *per_region, *per_region]
    assert recorder.names() == ['on_run_start', *per_sample, *per_sample, 'on_run_end']
    assert [event[1] for event in recorder.events if event[0] == 'on_region_end'] == results
    assert sum(event[2] for event in recorder.events if event[0] == 'on_tangents') == 12
    assert [result.name for result in results] == [
        'seed0000-left',
        'seed0000-not_left',
        'seed0001-left',
        'seed0001-not_left',
    ]


def test_callbacks_learn_of_the_end_by_an_exception():
    hook, recorder = TanhToy().hook(), Recorder()

    class Stop(Callback):
        def on_region_end(self, result):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        factorizer(hook, [hook.sample(0)], [LEFT], callbacks=[recorder, Stop()]).run()
    assert recorder.names()[-1] == 'on_exception' and isinstance(recorder.events[-1][1], KeyboardInterrupt)


def test_kept_jacobian_is_used(tmp_path):
    hook = TanhToy().hook()
    first, = factorizer(hook, [hook.sample(0)], [LEFT], store=Store(tmp_path)).run()
    second, = factorizer(hook, [hook.sample(0)], [LEFT], store=Store(tmp_path)).run()
    assert np.array_equal(first.directions.directions, second.directions.directions)
    assert len(list(tmp_path.iterdir())) == 1


def test_regions_are_checked_before_anything_is_computed():
    hook, samples = TanhToy().hook(), [TanhToy().hook().sample(0)]
    with pytest.raises(RegionError, match="two regions are named 'left': name one of them, as in NAME=SPEC"):
        factorizer(hook, samples, [LEFT, LEFT])
    with pytest.raises(RegionError, match=r"region 'big' is for pictures of \[16, 16\], but tanh-toy makes \[8, 8\]"):
        factorizer(hook, samples, [RegionPartition(RegionPartition.from_box(0, 0, 4, 4, (16, 16)).mask, 'big')])
    with pytest.raises(RegionError, match='--resolution'):
        factorizer(hook, samples, [box(0, 0, 1, 1, 'dot')], resolution=2)


def test_untrustworthy_generator_and_dead_region():
    noisy = FunctionHook(
        lambda z: z[:, :1, None, None] * torch.ones(1, 1, 8, 8) + 0.1 * torch.randn(len(z), 1, 8, 8), 3
    )
    with pytest.raises(NondeterministicError):
        factorizer(noisy, [noisy.sample(0)], [LEFT]).run()
    half = FunctionHook(lambda z: z[:, :1, None, None] * (torch.arange(8) > 3).float().expand(1, 8, 8), 3)
    with pytest.raises(SolverError, match='A is zero: no direction changes the region'):
        factorizer(half, [half.sample(0)], [LEFT]).run()
    with pytest.raises(SolverError, match='B is zero'):
        factorizer(half, [half.sample(0)], [~LEFT]).run()


def test_function_hook_refuses_what_is_no_generator():
    for f, came in (
        (lambda z: z, r'\[1, 4\]'),
        (lambda z: None, 'NoneType'),
        (lambda z: torch.zeros(2, 3, 8, 8), r'\[2, 3, 8, 8\]'),
    ):
        with pytest.raises(
            ResefaError, match=rf'toy: f\(latent \[1, 4\]\) must return pictures \[1, C, H, W\], got {came}'
        ):
            FunctionHook(f, 4, name='toy')
    hook = TanhToy().hook()
    with pytest.raises(ResefaError, match="space 'w' is not one of z, the spaces of tanh-toy"):
        hook.space('w')
    with pytest.raises(ResefaError, match='has no layers to choose from'):
        hook.space('z', (1,))
    with pytest.raises(ResefaError, match='takes no truncation cutoff and no class label'):
        hook.sample(0, truncation_cutoff=3)


def test_viewpoints_are_of_one_kind():
    hook, other = TanhToy().hook(), TanhToy().hook()
    with pytest.raises(ResefaError, match='viewpoints is empty, expected one sample or more'):
        Factorizer([], [LEFT])
    for odd in (Viewpoint(hook, 'z', hook.sample(1), 4), Viewpoint(other, 'z', other.sample(1))):
        with pytest.raises(ResefaError, match='the viewpoints differ in generator, space, layers or resolution'):
            Factorizer([Viewpoint(hook, 'z', hook.sample(0)), odd], [LEFT])


@pytest.fixture
def large(monkeypatch):
    """Spaces of more than two dimensions are too large for a Jacobian."""
    for limit in ('DENSE_LIMIT', 'BASIS_TANGENTS'):
        monkeypatch.setattr(f'resefa_plugin.rayleigh.solvers.{limit}', 2)


def test_several_regions_of_a_large_space_are_solved_in_a_basis(large, tmp_path):
    hook, regions, recorder = TanhToy(z_dim=9).hook(), [LEFT, box(5, 0, 3, 3, 'corner')], Recorder()
    viewpoint, = factorizer(hook, [hook.sample(0)], regions).viewpoints
    jacobian = TanhToy(z_dim=9).jacobian(viewpoint.latent)
    runs = [factorizer(hook, [hook.sample(0)], some, solver=Auto(2), callbacks=[recorder], store=Store(tmp_path)).run()
            for some in (regions, regions[:1])]
    for result in runs[0]:
        inside, outside = (jacobian[:, mask].reshape(-1, 9) for mask in (result.partition.mask, ~result.partition.mask))
        B = outside.T @ outside
        values = scipy.linalg.eigh(inside.T @ inside, B + 1e-3 * np.trace(B) * np.eye(9))[0]
        assert result.directions.eigenvalues[:2] == pytest.approx(values[:-3:-1], rel=1e-3)
        assert any('in the span of 9 directions' in note for note in result.notes)
    counts = [event[2] for event in recorder.events if event[0] == 'on_basis']
    assert sum(counts) == 2 * 64 + 9 and len(list(tmp_path.glob('basis-*.npz'))) == 1
    assert 'on_products' in recorder.names()  # the run of one region: a search
    assert any('without the Jacobian' in note for note in runs[1][0].notes)


def test_a_pool_of_several_regions_in_a_large_space(large, tmp_path):
    hook, regions = TanhToy(z_dim=9).hook(), [LEFT, box(5, 0, 3, 3, 'corner')]
    samples = [hook.sample(seed) for seed in (0, 1)]
    pooled = [factorizer(hook, samples, regions, solver=Auto(2), store=Store(grams=tmp_path)).run(pool=True)
              for _ in range(2)]
    assert len(list(tmp_path.glob('seed*.npz'))) == 4
    jacobians = [TanhToy(z_dim=9).jacobian(sample.latents['z']) for sample in samples]
    for first, again in zip(*pooled, strict=True):
        A, B = np.zeros((2, 9, 9))
        for jacobian in jacobians:
            inside, outside = (jacobian[:, mask].reshape(-1, 9) for mask in
                               (first.partition.mask, ~first.partition.mask))
            scale = np.trace(outside.T @ outside)
            A, B = A + inside.T @ inside / scale / 2, B + outside.T @ outside / scale / 2
        values = scipy.linalg.eigh(A, B + 1e-3 * np.eye(9))[0]
        assert first.directions.eigenvalues[:2] == pytest.approx(values[:-3:-1], rel=1e-3)
        assert again.directions.eigenvalues == pytest.approx(first.directions.eigenvalues, rel=1e-6)
