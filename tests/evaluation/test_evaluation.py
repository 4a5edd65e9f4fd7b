"""The comparison: matching, choice, intervals, summary, robustness, files; against cases whose answers are known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from resefa_plugin.errors import MetricError, NonFiniteError, RegionError, ResefaError
from resefa_plugin.evaluation.cells import Cells
from resefa_plugin.evaluation.comparison import Comparison
from resefa_plugin.evaluation.matching import Edit, match_change
from resefa_plugin.evaluation.measures import Measures
from resefa_plugin.evaluation.robustness import compare_subspaces, leakage, robustness, variants
from resefa_plugin.evaluation.rows import Row, parse_row
from resefa_plugin.evaluation.selection import renderer
from resefa_plugin.evaluation.settings import Settings
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.metrics.registry import SetMetric
from resefa_plugin.regions.partition import RegionPartition
from tests.helpers.rival_toys import PatchHook
from tests.helpers.toys import images_at

MATCHED = 0.05  # as stated: targets are met within 5 %
FLOAT32 = 1e-5
PICTURE = torch.zeros(1, 2, 2)


def curve(function):
    """A render function whose change inside is known, and the alphas that were asked for."""
    asked = []

    def render(alpha):
        asked.append(alpha)
        return Edit(alpha, function(alpha), 0.0, PICTURE)
    return render, asked


@pytest.mark.parametrize('power', [1, 2, 3])
def test_a_power_of_the_step_is_matched_at_once(power):
    render, asked = curve(lambda alpha: 0.3 * alpha ** power)
    matched = match_change(render, 0.01, start=1.0)
    assert matched.reached and abs(matched.edit.alpha / (0.01 / 0.3) ** (1 / power) - 1) < MATCHED
    assert matched.evaluations == len(asked) <= 5


@pytest.mark.parametrize('start', [1e-3, 0.2, 50.0])
def test_a_saturating_change_is_matched_below_its_ceiling(start):
    render, _ = curve(lambda alpha: 0.02 * math.tanh(alpha) ** 2)
    matched = match_change(render, 0.019, start)
    assert matched.reached and abs(matched.edit.inside / 0.019 - 1) <= MATCHED


def test_a_ceiling_below_the_target_is_reported_and_found_soon():
    render, asked = curve(lambda alpha: 0.005 * math.tanh(alpha) ** 2)
    matched = match_change(render, 0.01, 1.0)
    assert not matched.reached and matched.edit.inside == pytest.approx(0.005, rel=0.01) and len(asked) < 6


def test_a_direction_that_changes_nothing_is_not_reached():
    matched = match_change(curve(lambda alpha: 0.0)[0], 0.01, 1.0)
    assert not matched.reached and matched.edit.inside == 0


def test_a_step_across_the_target_is_found_by_bisection_or_reported():
    matched = match_change(curve(lambda alpha: 1.0 if alpha > 0.7 else 1e-6)[0], 0.01, 1.0)
    assert not matched.reached and matched.evaluations == 12 and matched.edit.alpha == pytest.approx(0.7, rel=0.3)


def test_pictures_that_are_not_finite_are_too_strong():
    render, _ = curve(lambda alpha: math.nan if alpha > 1 else alpha ** 2)
    assert match_change(render, 0.01, 30.0).reached
    with pytest.raises(NonFiniteError, match='NaN or infinity, at steps down to'):
        match_change(curve(lambda alpha: math.nan)[0], 0.01, 1.0)


def test_rows_are_parsed_and_an_unknown_attribute_lists_the_known():
    row = parse_row('shut=0,0,4,4:eyes_open-', (8, 8), ('eyes_open', 'lipstick'))
    assert (row.name, row.attribute, row.sign, row.region.mask.sum()) == ('shut', 'eyes_open', -1, 16)
    assert parse_row('0,0,4,4', (8, 8)).sign == 0
    with pytest.raises(ResefaError,
                       match="--region=0,0,4,4:beard.: attribute 'beard' is not one of eyes_open, lipstick"):
        parse_row('0,0,4,4:beard+', (8, 8), ('eyes_open', 'lipstick'))


def settings(**changes):
    return Settings(**{'space': 'w', 'methods': ('resefa', 'sefa', 'random'), 'keep': False} | changes)


@pytest.fixture
def brightness(monkeypatch):
    """The attribute `eyes_open` is the mean of the picture."""
    monkeypatch.setattr('resefa_plugin.evaluation.measures.attribute_scores',
                        lambda images, networks: {'eyes_open': images.mean(dim=(1, 2, 3)).double()})


def compared(hook, outdir, rows=None, samples=(0,), held_out=(10, 11, 12), **changes):
    rows = rows or [Row(RegionPartition(hook.patch_mask(0, 1), 'top'))]
    return Comparison(hook, [hook.sample(s) for s in samples], [hook.sample(s) for s in held_out], rows,
                      settings(**changes), Measures(), outdir)


def test_every_method_is_measured_at_the_same_change(tmp_path):
    results = compared(PatchHook(), tmp_path, target=0.003).run()
    assert [line['method'] for line in results['table']] == ['resefa', 'sefa', 'random']
    for cell in results['cells']:
        assert len(cell['edits']) == 6 and all(edit['reached'] for edit in cell['edits'])  # both signs of three samples
        assert all(abs(edit['inside'] / 0.003 - 1) <= MATCHED for edit in cell['edits'])
        assert all(edit['mse_in'] == pytest.approx(edit['inside'], rel=1e-4) for edit in cell['edits'])
    by_method = {line['method']: line['figures']['outside']['mean'] for line in results['table']}
    assert by_method['resefa'] < by_method['random'] and by_method['resefa'] < by_method['sefa']


def test_the_change_outside_is_that_of_the_jacobian_where_the_generator_is_linear(tmp_path):
    hook = PatchHook()
    results = compared(hook, tmp_path, target=0.003).run()
    cell = results['cells'][0]
    J = 0.05 * hook.A.reshape(12, 6)  # a row for each patch
    energy = np.square(J @ np.array(cell['direction']))
    expected = energy[2:].mean() / energy[:2].mean()
    for edit in cell['edits']:
        assert edit['outside'] / edit['inside'] == pytest.approx(expected, rel=1e-3)
    assert [point['inside'] / 0.003 for point in cell['curve'][:5]] == pytest.approx([0.0625, 0.25, 1, 2.25, 4],
                                                                                     rel=0.1)


def test_an_edit_goes_the_way_of_its_sign():
    hook = PatchHook()
    space, sample = hook.space('w'), hook.sample(0)
    original = images_at(space, sample, torch.zeros(1, 6))
    direction = np.eye(6, dtype=np.float32)[2]
    region = RegionPartition(hook.patch_mask(0), 'top')
    for sign in (1, -1):
        edit = renderer(Viewpoint(hook, space, sample).full(), direction, sign, original, region)(2.0)
        expected = images_at(space, sample, torch.tensor(sign * 2.0 * direction)[None])
        assert torch.equal(edit.picture, expected[0]) and edit.alpha == 2.0
        assert edit.inside == pytest.approx((expected - original)[0, :, :8, :8].square().mean().item(), rel=FLOAT32)


def test_the_direction_that_leaks_least_is_taken_by_the_same_rule(tmp_path):
    cell = compared(PatchHook(), tmp_path, methods=('random',)).run()['cells'][0]
    outside = [candidate['outside'] for candidate in cell['candidates']]
    assert cell['index'] == 1 + int(np.argmin(outside)) and cell['signs'] == [1, -1]


def nothing_combined(monkeypatch):
    def combine(*args):
        raise MetricError('none of them')

    monkeypatch.setattr(Measures, 'combine', combine)


def test_an_attribute_chooses_the_direction_and_its_sign(tmp_path, monkeypatch, brightness):
    seen = []

    def changes(self, viewpoint, offsets, attribute):
        seen.append((viewpoint.sample.name, tuple(offsets.shape), attribute))
        return torch.tensor([0.7, 0.0, 1.0, -0.5, -0.79])  # below 0.8, nobody sees it

    nothing_combined(monkeypatch)
    monkeypatch.setattr(Measures, 'changes', changes)
    hook = PatchHook()
    rows = [Row(RegionPartition(hook.patch_mask(0, 1), 'shut'), 'eyes_open', -1)]
    cell = compared(hook, tmp_path, rows, methods=('random',)).run()['cells'][0]
    assert cell['index'] == 3 and cell['signs'] == [-1] and len(cell['edits']) == 3
    assert seen == [('seed0000', (5, 6), 'eyes_open')]
    change = -0.05 * hook.A.reshape(12, 6) @ np.array(cell['direction'])  # the direction's way back, and less is wanted
    assert [edit['attribute'] for edit in cell['edits']] == pytest.approx(
        [-edit['alpha'] * change.mean() for edit in cell['edits']], rel=1e-3)
    monkeypatch.setattr(Measures, 'changes', lambda *args: torch.zeros(5))
    line = compared(hook, tmp_path / 'none', rows, methods=('sefa',)).run()['table'][0]
    assert line['omitted'] == "none of its 5 directions changes 'eyes_open' visibly at the factorized sample"
    assert not (tmp_path / 'none' / 'curves.png').exists()


def test_of_directions_that_change_an_attribute_the_one_that_leaks_least_for_it_is_taken(tmp_path, monkeypatch,
                                                                                        brightness):
    nothing_combined(monkeypatch)
    moved = torch.tensor([1.0, -4.0, 2.0, 8.0, -1.0])
    monkeypatch.setattr(Measures, 'changes', lambda *args: moved)
    hook = PatchHook()
    rows = [Row(RegionPartition(hook.patch_mask(0, 1), 'lit'), 'eyes_open', 1)]
    cell = compared(hook, tmp_path, rows, methods=('random',)).run()['cells'][0]
    leaks = np.array([candidate['outside'] for candidate in cell['candidates']]) / moved.numpy() ** 2
    assert cell['index'] == 1 + int(np.argmin(leaks)) and cell['signs'] == [int(moved[cell['index'] - 1].sign())]


def test_a_combination_of_its_directions_is_offered_to_every_method(tmp_path, monkeypatch, brightness):
    asked, wanted = [], np.zeros(6)
    wanted[3] = -2.0

    def combine(self, attribute, sign, viewpoints, region, span):
        asked.append((attribute, sign, [viewpoint.sample.name for viewpoint in viewpoints], region.name, len(span)))
        return wanted

    monkeypatch.setattr(Measures, 'combine', combine)
    monkeypatch.setattr(Measures, 'changes', lambda self, viewpoint, offsets, attribute: torch.tensor(
        [1.0] * (len(offsets) - 1) + [100.0]))
    hook = PatchHook()
    rows = [Row(RegionPartition(hook.patch_mask(0, 1), 'lit'), 'eyes_open', 1)]
    for cell in compared(hook, tmp_path, rows, methods=('random', 'sefa')).run()['cells']:
        assert cell['index'] == 6 and len(cell['candidates']) == 6
        assert cell['direction'] == pytest.approx(wanted / 2)
    assert asked == [('eyes_open', 1, ['seed0000'], 'lit', 5)] * 2


def test_methods_are_compared_at_equal_movement_of_the_attribute_too(tmp_path, monkeypatch, brightness):
    nothing_combined(monkeypatch)
    monkeypatch.setattr(Measures, 'changes', lambda *args: torch.full((5,), 2.0))
    hook = PatchHook()
    rows = [Row(RegionPartition(hook.patch_mask(0, 1), 'lit'), 'eyes_open', 1)]
    cell = compared(hook, tmp_path, rows, methods=('resefa',), attribute_target=0.003).run()['cells'][0]
    J = 0.05 * hook.A.reshape(12, 6) @ np.array(cell['direction'])  # of each patch: the generator is linear
    sign, = cell['signs']
    for edit in cell['edits']:
        assert edit['attribute'] == pytest.approx(sign * edit['alpha'] * J.mean(), rel=1e-3)
        reachable = sign * J.mean() > 0
        assert edit['attribute_reached'] == reachable
        if reachable:
            alpha = 0.003 / abs(J.mean())
            assert edit['outside_at_attribute'] == pytest.approx(alpha ** 2 * np.square(J[2:]).mean(), rel=0.35)
    assert 'MSE outside at equal attribute' in (tmp_path / 'table.md').read_text()


def test_a_method_that_has_nothing_to_offer_is_a_row_with_its_reason(tmp_path):
    hook = FunctionHook(lambda z: torch.tanh(z @ torch.linspace(-1, 1, 6 * 768).reshape(6, 768)).unflatten(1,
                                                                                                           (3, 16,
                                                                                                            16)), 6)
    mask = np.zeros((16, 16), bool)
    mask[:8] = True
    results = Comparison(hook, [hook.sample(0)], [hook.sample(1)], [Row(RegionPartition(mask, 'top'))],
                         settings(space='z', methods=('random', 'sefa')), Measures(), tmp_path).run()
    assert 'affine maps' in results['table'][1]['omitted']
    text = (tmp_path / 'table.md').read_text()
    assert '| top | sefa | - | - |' in text and '- top, sefa: left out, SeFa factorizes the affine maps' in text


def test_a_solver_that_fails_is_a_row_too(tmp_path, monkeypatch):
    monkeypatch.setattr('resefa_plugin.baselines.robust_pca.MAX_ITERATIONS', 1)
    results = compared(PatchHook(), tmp_path, methods=('lowrankgan', 'random')).run()
    assert results['table'][0]['omitted'].startswith('robust PCA did not converge')
    assert results['table'][1]['reached'] == 6


def test_no_jacobian_is_computed_where_no_method_needs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(RegionJacobian, 'compute', lambda *args: pytest.fail('computed'))
    results = compared(PatchHook(), tmp_path, methods=('sefa', 'random', 'resefa-quick')).run()
    assert results['robustness'] == [] and 'another form of the region' not in (tmp_path / 'table.md').read_text()


def test_saturation_is_counted_and_not_dropped(tmp_path):
    hook = FunctionHook(lambda z: 0.05 * torch.tanh(z[:, :1, None, None] * torch.ones(1, 1, 16, 16)), 2)
    mask = np.zeros((16, 16), bool)
    mask[:8] = True
    comparison = Comparison(hook, [hook.sample(0)], [hook.sample(1), hook.sample(2)],
                            [Row(RegionPartition(mask, 'top'))],
                            settings(space='z', methods=('random',), target=0.006), Measures(), tmp_path)
    results = comparison.run()
    reached = [edit['reached'] for edit in results['cells'][0]['edits']]
    assert reached == [abs(edit['inside'] / 0.006 - 1) <= MATCHED for edit in results['cells'][0]['edits']]
    line, = results['table']
    assert (line['reached'], line['edits']) == (sum(reached), 4) and 0 < sum(reached) < 4
    assert f'| {sum(reached)}/4 |' in (tmp_path / 'table.md').read_text()


def test_what_is_done_is_kept_and_a_changed_setting_computes_anew(tmp_path, monkeypatch):
    first = compared(PatchHook(), tmp_path).run()
    (tmp_path / 'cells' / 'seed0000-top-sefa.json').unlink()
    calls, original = [], Cells.compute
    monkeypatch.setattr(Cells, 'compute', lambda self, sample, row, method, kept: (
        calls.append(method), original(self, sample, row, method, kept))[1])
    second = compared(PatchHook(), tmp_path).run()
    assert calls == ['sefa'] and [c['edits'] for c in first['cells']] == [c['edits'] for c in second['cells']]
    compared(PatchHook(), tmp_path, target=0.004).run()
    assert calls == ['sefa', 'resefa', 'sefa', 'random']
    calls.clear()
    rounded = PatchHook()
    rounded.b *= 1 + 1e-7 * np.random.RandomState(0).randn(3, 4)
    compared(rounded, tmp_path, target=0.004).run()  # as by another number of threads
    assert not calls
    compared(PatchHook(seed=1), tmp_path, target=0.004).run()  # other weights under the same name
    assert len(calls) == 3


def test_set_metrics_compare_the_edited_pictures_with_the_unedited_ones(tmp_path, monkeypatch, brightness):
    def features(images):
        return images.mean(dim=(1, 2, 3))[:, None]
    metric = SetMetric(features, lambda reference, edited: (edited.mean() - reference.mean()).item())
    monkeypatch.setattr('resefa_plugin.evaluation.measures.set_metric', lambda name, networks: metric)
    hook = PatchHook()
    rows = [Row(RegionPartition(hook.patch_mask(0, 1), 'top'), 'eyes_open', 1)]
    nothing_combined(monkeypatch)
    monkeypatch.setattr(Measures, 'changes', lambda *args: torch.tensor([2.0, 0, 0, 0, 0]))
    comparison = Comparison(hook, [hook.sample(0)], [hook.sample(10), hook.sample(11)], rows,
                            settings(methods=('resefa',)), Measures(('fid', 'kid')), tmp_path)
    results = comparison.run()
    cell = results['cells'][0]
    # The generator is linear: the mean picture moves by alpha times the mean of J n, and both samples share alpha.
    expected = cell['edits'][0]['alpha'] * (0.05 * hook.A.reshape(12, 6) @ np.array(cell['direction'])).mean()
    assert cell['sets']['fid'] == cell['sets']['kid'] == pytest.approx(expected, rel=1e-3)
    assert [edit['attribute'] for edit in cell['edits']] == pytest.approx([expected] * 2, rel=1e-3)
    assert '| attribute moved |' in (tmp_path / 'table.md').read_text()
    assert '| FID | KID |' in (tmp_path / 'table.md').read_text()


def test_all_files_are_there_and_can_be_read(tmp_path):
    compared(PatchHook(), tmp_path).run()
    for name in ('curves.png', 'top.png'):
        with Image.open(tmp_path / name) as image:
            image.load()
    assert json.loads((tmp_path / 'results.json').read_text())['settings']['target'] == 0.01
    assert not list(tmp_path.rglob('*.part'))


@pytest.mark.parametrize('changes, message', [
    ({'held_out': (0, 1)}, '--eval-seeds: seed0000 took part in the factorization'),
    ({'held_out': ()}, '--eval-seeds: no samples'),
    ({'target': 0.0}, '--target-mse=0: expected'),
    ({'methods': ('sefa', 'sefa')}, '--methods=sefa,sefa: expected'),
    ({'methods': ('sefaa',)}, "method 'sefaa' is not one of"),
])
def test_errors_name_the_flag(tmp_path, changes, message):
    with pytest.raises(ResefaError, match=message):
        compared(PatchHook(), tmp_path, **changes)


def test_two_rows_of_one_name_and_unknown_metrics_are_refused(tmp_path):
    hook = PatchHook()
    row = Row(RegionPartition(hook.patch_mask(0), 'top'))
    with pytest.raises(RegionError, match='two rows of one name among top, top'):
        compared(hook, tmp_path, [row, row])
    with pytest.raises(MetricError, match="metric 'beauty' is not one of mse, "):
        Measures(('beauty',))


def test_variants_of_a_box_are_the_boxes_that_they_say():
    mask = np.zeros((64, 64), bool)
    mask[20:40, 10:30] = True
    varied = variants(RegionPartition(mask, 'box'), shares=(0.1,))
    assert set(varied) == {'down 10%', 'up 10%', 'left 10%', 'right 10%', 'grown 10%', 'shrunk 10%'}

    def box(name):
        rows, columns = np.nonzero(varied[name].mask)
        assert varied[name].mask.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    assert box('down 10%') == (22, 42, 10, 30) and box('left 10%') == (20, 40, 8, 28)
    assert box('up 10%') == (18, 38, 10, 30) and box('right 10%') == (20, 40, 12, 32)
    assert box('grown 10%') == (18, 42, 8, 32) and box('shrunk 10%') == (22, 38, 12, 28)
    mask[20, 10] = False
    assert variants(RegionPartition(mask, 'cut'))['bounding box'].mask.sum() == 400


def test_angles_between_subspaces_are_those_that_were_built_in():
    t = np.radians(30)
    reference = np.eye(4)[:2]
    other = np.array([[np.cos(t), 0, np.sin(t), 0], [0, 1, 0, 0]])
    angles = compare_subspaces(reference, other)
    assert angles['first_angle'] == pytest.approx(30) and angles['largest_angle'] == pytest.approx(30)
    assert angles['mean_angle'] == pytest.approx(15)


def test_leakage_is_the_ratio_of_mean_squares():
    hook = PatchHook()
    jacobian = RegionJacobian(Viewpoint(hook, hook.space('w'), hook.sample(0))).compute()
    region = RegionPartition(hook.patch_mask(0, 1), 'top')
    n = np.arange(6.0)
    change = jacobian.jvp(torch.tensor(n)[None].float())[0].mean(dim=0).double().square().numpy()
    mask = hook.patch_mask(0, 1)
    assert leakage(n, jacobian.gram(region), region,
                   (32, 24)) == pytest.approx(change[~mask].mean() / change[mask].mean(), rel=1e-5)


def test_robustness_of_a_region_that_does_not_matter_and_of_one_that_does():
    """Patches: shrinking a region inside a patch changes no direction; moving it to other patches does."""
    hook = PatchHook()
    sample, other = hook.sample(0), hook.sample(1)
    jacobians = [(s, RegionJacobian(Viewpoint(hook, hook.space('w'), s)).compute()) for s in (sample, other)]
    region = RegionPartition(hook.patch_mask(0, 1, 3, 4), 'top')
    elsewhere = {'top': {'elsewhere': RegionPartition(hook.patch_mask(8, 11), 'far')}}
    entries = {entry['variant']: entry for entry in robustness(jacobians[:1], [region], 1, elsewhere)}
    assert entries['shrunk 10%']['first_angle'] < 10 and entries['shrunk 10%']['leakage_ratio'] < 1.2
    assert entries['elsewhere']['leakage_ratio'] > 2
    # A linear generator has one Jacobian: other samples give the same directions.
    pair = [entry for entry in robustness(jacobians, [region], 2) if entry['variant'] == 'sample seed0001']
    assert len(pair) == 1 and pair[0]['largest_angle'] < 0.1 and pair[0]['leakage_ratio'] == pytest.approx(1, abs=1e-3)
