"""The session of the studio, without a page: against closed forms, and against Factorizer and calibrate."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from resefa_plugin import FunctionHook, RegionPartition, ResefaError, parse_region
from resefa_plugin.attributes.changes import AttributeChanges
from resefa_plugin.attributes.scores import ATTRIBUTES
from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.editing.background import BackgroundKeeper
from resefa_plugin.factorizer.protection import DEFAULT_WEIGHT
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.rayleigh.solve import solve_rayleigh
from resefa_plugin.studio.work.cache import JacobianCache
from resefa_plugin.studio.work.session import Session
from resefa_plugin.studio.work.sources import Source
from tests.helpers.runs import factorizer
from tests.helpers.studio_pages import BOX, make_session, prepare, ready
from tests.helpers.toys import TanhToy, TinyHook, TwoPartToy

# Directions are stored in float32; eigenvectors of well separated eigenvalues keep what their matrix has.
FLOAT32 = 1e-4


def box(top, bottom, left, right, shape=(8, 8)):
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


def test_directions_solve_the_dense_problem():
    toy = TanhToy()
    session, mask = make_session(toy.hook()), box(2, 6, 1, 5)
    finding = ready(session, 'box', mask)
    J = toy.jacobian(session.state.sample.latents['z'])
    A, B = (J[:, part].reshape(-1, 6).T @ J[:, part].reshape(-1, 6) for part in (mask, ~mask))
    values, vectors = scipy.linalg.eigh(A, B + 1e-3 * np.trace(B) * np.eye(6))
    best = vectors[:, -1] / np.linalg.norm(vectors[:, -1])
    assert finding.directions.eigenvalues[0] == pytest.approx(values[-1], rel=FLOAT32)
    assert abs(finding.directions.directions[0] @ best) == pytest.approx(1, abs=FLOAT32)
    inside = best @ A @ best / (3 * mask.sum())
    assert finding.directions.step[0] == pytest.approx(0.1 / np.sqrt(inside), rel=FLOAT32)
    assert finding.directions.predicted_outside[0] == pytest.approx(
        best @ B @ best / (3 * (~mask).sum()) * 0.01 / inside, rel=1e-3
    )


def test_protected_pixels_count_more_and_are_no_part_of_the_region():
    toy = TanhToy()
    session, mask, protect = make_session(toy.hook()), box(0, 4, 0, 4), box(3, 8, 0, 8)
    session.set_region('keep', protect, protect=True)
    finding = ready(session, 'box', mask)
    used = mask & ~protect
    assert (finding.partition.mask == used).all() and (finding.directions.mask == used).all()
    J = toy.jacobian(session.state.sample.latents['z'])
    weight = np.where(protect, DEFAULT_WEIGHT, 1.0)[~used]
    A = J[:, used].reshape(-1, 6).T @ J[:, used].reshape(-1, 6)
    rest = J[:, ~used]
    B = np.einsum('cpi,p,cpj->ij', rest, weight, rest)
    ridge = 1e-3 * np.trace(rest.reshape(-1, 6).T @ rest.reshape(-1, 6))  # relative to the background as it is
    value = scipy.linalg.eigh(A, B + ridge * np.eye(6), eigvals_only=True)[-1]
    assert finding.directions.eigenvalues[0] == pytest.approx(value, rel=FLOAT32)


@pytest.mark.parametrize('meanwhile', [lambda s: s.set_region('box', ~BOX), lambda s: s.remove_region('box')])
def test_an_answer_for_a_region_that_has_changed_is_dropped(session, meanwhile):
    session.set_region('box', BOX)
    session.factorize('box', quick=True, report=lambda done, total: meanwhile(session))
    assert session.state.findings == {}


def test_quick_needs_no_jacobian_and_agrees_with_the_dense_answer(session):
    session.set_region('box', BOX)
    with pytest.raises(ResefaError, match='is not computed yet: wait for it'):
        session.factorize('box')
    seen = []
    quick = session.factorize('box', quick=True, report=lambda done, total: seen.append((done, total)))
    assert quick.quick and session.jacobian() is None and seen and all(done <= total for done, total in seen)
    prepare(session)
    exact = session.factorize('box')
    assert not exact.quick and len(quick.directions) == len(exact.directions) == 4
    # Residuals of the quick search are at most 1e-2, and eigenvalues as good as their squares.
    assert np.allclose(quick.directions.eigenvalues[0], exact.directions.eigenvalues[0], rtol=1e-3)
    assert abs(quick.directions.directions[0] @ exact.directions.directions[0]) > 1 - 1e-3


def test_measured_is_what_factorizer_measures(session):
    ready(session)
    before = session.finding('box')
    assert before.measured == 0 and (before.directions.measured_inside == before.directions.predicted_inside).all()
    session.measure('box')
    finding = session.finding('box')
    result, = factorizer(session.hook, [session.state.sample], [RegionPartition(BOX, 'box')], 'w').run()
    assert finding.measured == len(finding.directions) == len(result.directions)
    for name in (
        'directions',
        'eigenvalues',
        'step',
        'predicted_inside',
        'predicted_outside',
        'measured_inside',
        'measured_outside',
        'mask',
        'latent',
    ):
        assert np.allclose(getattr(finding.directions, name), getattr(result.directions, name), rtol=1e-6, atol=0), name


def test_pictures_of_both_ends_show_the_surroundings_of_the_region(session):
    ready(session)
    session.picture_ends('box')
    ends = session.finding('box').ends
    assert len(ends) == 4 and all(low != high and low[:2] == high[:2] == b'\xff\xd8' for low, high in ends)
    first = session.finding('box')
    session.picture_ends('box')
    assert session.finding('box') is first  # nothing is rendered twice


def test_a_strength_keeps_its_picture_when_its_step_is_measured():
    toy = TanhToy()  # cubed, so that steps are off by far when they are predicted
    session = make_session(
        FunctionHook(lambda z: torch.tanh(20 * (z @ torch.from_numpy(toy.M).to(z).T) ** 3).unflatten(1, (3, 8, 8)), 6)
    )
    ready(session, 'box', box(2, 6, 1, 5))
    session.set_strengths({('box', index): 3.0 for index in range(5)})
    offset, predicted = session.offset(), session.finding('box').directions.step
    session.measure('box')
    changed = session.finding('box').directions.step != predicted
    assert changed.any() and all((session.state.strengths['box', index] != 3.0) == changed[index] for index in range(5))
    assert torch.allclose(session.offset(), offset, rtol=1e-5)


def test_several_directions_add_up_in_closed_form():
    """x is linear in z: the picture of a sum is the sum of the changes."""
    session = make_session(TwoPartToy().hook(), num_directions=3)
    ready(session, 'left', box(0, 8, 0, 4))
    session.set_region('right', box(0, 8, 4, 8))
    session.factorize('right')
    session.set_strengths({('left', 0): 2.0, ('right', 0): -1.0})
    left, right = session.finding('left').directions, session.finding('right').directions
    z = (
        session.state.sample.latents['z'].numpy()[0]
        + 2 * left.step[0] * left.directions[0]
        - right.step[0] * right.directions[0]
    )
    expected = np.zeros((8, 8))
    expected[:, :4], expected[:, 4:] = 0.2 * (z[0] + z[2]), 0.2 * (z[1] + z[2])
    grey = np.asarray(session.render())[..., 0]
    assert np.abs(grey - np.clip(expected * 127.5 + 128, 0, 255)).max() <= 1  # a grey level, by truncation
    plain = np.asarray(session.render(scale=0.0))[..., 0].astype(int)
    assert grey[0, 0] - plain[0, 0] == pytest.approx(2 * 12.75, abs=3) or grey[0, 0] - plain[0, 0] == pytest.approx(
        -2 * 12.75, abs=3
    )


def test_preview_is_the_box_average(session):
    assert session.render(16).size == (16, 16) and session.render().size == (32, 32)


def test_change_measures_in_and_out_in_grey_levels():
    session = make_session(TwoPartToy().hook())
    ready(session, 'left', box(0, 8, 0, 4))
    session.measure('left')
    with pytest.raises(ResefaError, match='nothing is changed yet: move a slider'):
        session.change()
    session.set_strengths({('left', 0): 2.0})
    picture, inside, outside, top = session.change()
    assert inside == pytest.approx(25.5, rel=0.03)  # 2 x 0.1 x 127.5, to which the step is measured within 2 %
    assert outside < 1 and picture.size == (8, 8) and top >= inside


def test_directions_stay_for_another_sample_and_go_with_the_space_or_the_drawing(session):
    found = ready(session)
    session.set_strengths({('box', 0): 1.0})
    session.load_seed(Source(seed=5, truncation_psi=0.5))
    assert session.finding('box') is found and session.jacobian() is None and session.state.strengths
    with pytest.raises(ResefaError, match='is not computed yet: wait for it'):
        session.factorize('box')
    session.set_region('box', BOX)  # the same again changes nothing
    assert session.finding('box') is found
    session.set_region('box', ~BOX)
    assert not session.state.findings and not session.state.strengths
    session.go(-1)
    assert session.finding('box') is found
    session.set_space('w', (1, 2))
    assert not session.state.findings and session.state.layers == (1, 2)


def test_regions_of_one_session_are_not_those_of_another():
    cache = JacobianCache(1 << 30)
    one, other = Session(TinyHook(), cache), Session(TinyHook(), cache)
    ready(one)
    assert not other.state.regions and not other.state.findings
    assert other.jacobian() is one.jacobian() is not None  # what is the same is computed once


def test_a_measurement_that_is_cancelled_keeps_what_was_measured(session):
    ready(session)
    calls = []

    def breathe():
        calls.append(1)
        if session.finding('box').measured == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.measure('box', breathe)
    assert session.finding('box').measured == 2 and calls
    session.measure('box')
    assert session.finding('box').measured == 4


def opening(viewpoints, offsets, networks, strength, region, breathe):
    """In place of a parser: what has a positive first coordinate opens the mouth."""
    breathe()
    values = torch.zeros(len(offsets), len(viewpoints), len(ATTRIBUTES), dtype=torch.float64)
    values[:, :, list(ATTRIBUTES).index('mouth_open')] = 5 * offsets[:, :1].sign()
    return AttributeChanges(values, strength)


def test_directions_are_named_where_there_are_networks(monkeypatch):
    monkeypatch.setattr('resefa_plugin.studio.work.findings.attribute_changes', opening)
    session = make_session(TinyHook(), networks=Networks())
    ready(session)
    calls = []
    session.label('box', lambda: calls.append(session.finding('box').labelled))
    directions = session.finding('box').directions
    assert calls == [0, 1, 2, 3] and session.finding('box').labelled == 4
    assert directions.labels == tuple('mouth opens +' if n[0] > 0 else 'mouth closes +' for n in directions.directions)
    session.measure('box')
    assert session.finding('box').directions.labels == directions.labels


def test_nobody_is_asked_for_names_without_networks(session):
    ready(session)
    session.label('box')
    assert session.finding('box').labelled == 0 and session.finding('box').directions.labels == ('',) * 4


def test_a_jacobian_that_is_cancelled_leaves_nothing(session):
    def report(done, total):
        assert total == 4
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(session, report)
    assert session.jacobian() is None and session.cache.bytes == 0


def test_progress_reaches_the_total(session):
    seen = []
    prepare(session, lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 4) and seen[-1] == (4, 4)


def test_uploaded_latents(session, tmp_path):
    ws = np.random.RandomState(1).randn(2, 8, 4).astype(np.float32)
    np.savez(tmp_path / 'projected_w.npz', w=ws)
    session.load_file(tmp_path / 'projected_w.npz', Source(), 1)
    assert torch.equal(session.state.sample.latents['ws'], torch.from_numpy(ws[1:]))
    assert session.state.source.seed is None and session.state.source.note == 'number 2 of 2, w+ latents [1, 8, 4]'
    with pytest.raises(ResefaError, match='the file has 2 latents: choose a number from 1 to 2'):
        session.load_file(tmp_path / 'projected_w.npz', Source(), 2)
    ready(session)
    session.load_seed(Source(seed=0))
    session.set_space('z')
    with pytest.raises(ResefaError, match="cannot be edited in space 'z': choose another space first"):
        session.load_file(tmp_path / 'projected_w.npz', Source())
    np.savez(tmp_path / 'z.npz', z=np.ones((1, 4), np.float32))
    session.load_file(tmp_path / 'z.npz', Source(truncation_psi=0.5))
    assert torch.equal(session.state.sample.latents['ws'], torch.full((1, 8, 4), 0.5))
    assert session.state.source.note == 'z latents [1, 4], mapped to w with truncation 0.5'


def test_saved_directions_are_read_again(session, tmp_path):
    ready(session, 'mouth', parse_region('mouth', (32, 32)).mask)
    session.measure('mouth')
    session.finding('mouth').directions.save(tmp_path / 'd.npz')
    loaded = DirectionSet.load(tmp_path / 'd.npz')
    assert (
        loaded.check_fits(session.hook).name == 'w'
        and loaded.metadata.region == 'mouth'
        and loaded.metadata.seeds == (0,)
    )


def test_a_kept_background_changes_less(session):
    ready(session)
    session.set_strengths({('box', 0): 3.0, ('box', 1): 1.0})
    straight = session.offset()
    _, _, outside, _ = session.change()
    session.set_keep(True)
    session.keep_background()
    _, _, kept_outside, _ = session.change()
    assert kept_outside < outside
    bend = session.offset() - straight
    assert bend.any() and torch.allclose(session.offset(0.5), straight / 2 + bend / 4, atol=1e-6)
    session.set_strengths({('box', 0): 2.0})
    assert session.state.bend is None and session.state.keep
    session.go(-1)
    assert torch.equal(session.offset(), straight + bend)
    session.set_keep(False)
    assert torch.equal(session.offset(), straight)


def test_what_a_keeper_found_is_kept_with_the_jacobian(session, monkeypatch):
    ready(session)
    session.set_keep(True)
    made, keep, products = [], BackgroundKeeper.keep, []
    monkeypatch.setattr(BackgroundKeeper, 'keep', lambda self, *arguments, **options: made.append(self)
                        or products.append(found := keep(self, *arguments, **options)) or found)
    for strength in (3.0, 2.9, -1.0):
        session.set_strengths({('box', 0): strength})
        session.keep_background()
    assert made[0] is made[1] is made[2] and not any(path.products for path in products)
    assert products[1].pictures <= products[0].pictures + 1  # a guess more, and no step more
    session.load_seed(Source(seed=5))
    prepare(session)
    session.set_strengths({('box', 0): 3.0})
    session.keep_background()
    assert made[3] is not made[0]


def test_what_could_not_be_kept_is_known_of_the_edit(session):
    """Four dimensions cannot move one part of random pixels and no other."""
    ready(session)
    session.set_keep(True)
    session.set_strengths({('box', 0): 3.0})
    session.keep_background()
    assert session.state.shortfalls and all(clause.startswith('the ') for clause in session.state.shortfalls)
    session.set_strengths({('box', 0): 1.0})
    assert not session.state.shortfalls


def test_a_space_of_too_many_dimensions_has_a_basis_for_all_regions(monkeypatch):
    monkeypatch.setattr('resefa_plugin.rayleigh.solvers.DENSE_LIMIT', 8)
    session = Session(TinyHook(), JacobianCache(1 << 30), num_directions=2)
    session.set_space('s')
    reports = []
    assert not session.direct
    prepare(session, lambda done, total: reports.append((done, total)))
    jacobian = session.jacobian()
    assert not jacobian.computed and jacobian.basis.vectors.shape[1] == session.space.dim
    assert reports[0] == (0, 1024) and {total for _, total in reports} == {1024}
    session.set_region('box', RegionPartition.from_box(4, 4, 20, 20, (32, 32)).mask)
    finding = session.factorize('box')
    assert not finding.quick and finding.directions.metadata.space == 's'
    exact = RegionJacobian(jacobian.viewpoint).compute()
    A, B = (M.numpy() for M in exact.gram(session.partition('box')))
    assert finding.directions.eigenvalues[0] == pytest.approx(solve_rayleigh(A, B).eigenvalues[0], rel=1e-3)
    session.set_strengths({('box', 0): 2.0})
    session.set_keep(True)
    session.keep_background()
    assert session.state.bend.any()


def test_a_background_is_kept_only_where_the_sample_is_prepared(session):
    ready(session)
    session.set_strengths({('box', 0): 1.0})
    session.set_keep(True)
    session.load_seed(Source(seed=5))
    with pytest.raises(ResefaError, match='the background is kept once the sample is prepared'):
        session.keep_background()
