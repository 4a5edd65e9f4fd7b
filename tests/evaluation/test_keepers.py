"""Edits with their background kept, in one way for all methods: against the keeper of the same edit in StyleSpace."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from resefa_plugin import RegionPartition, Viewpoint
from resefa_plugin.editing.background import BackgroundKeeper
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.evaluation.comparison import Comparison
from resefa_plugin.evaluation.keepers import Keepers
from resefa_plugin.evaluation.measures import Measures
from resefa_plugin.evaluation.rows import Row
from resefa_plugin.evaluation.settings import Settings
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.jacobian.tangent_model import TangentModel
from tests.helpers.toys import TanhToy, TinyHook

REGION = RegionPartition(RegionPartition.from_box(2, 2, 12, 12, (32, 32)).mask, 'box')
FLOAT32 = 1e-5


def unit(dim):
    direction = np.random.RandomState(0).randn(dim).astype(np.float32)
    return direction / np.linalg.norm(direction)


@pytest.mark.parametrize('space, layers', [('w', None), ('w', (1, 4)), ('w+', None), ('z', None), ('s', None)])
@pytest.mark.parametrize('with_basis', [False, True])
def test_an_edit_of_any_space_is_kept_in_stylespace(space, layers, with_basis):
    hook = TinyHook()
    sample = hook.sample(3, 0.7)
    viewpoint, within = Viewpoint(hook, hook.space(space, layers), sample), Viewpoint(hook, 's', sample)
    original = render_edits(viewpoint, viewpoint.zero())
    vectors = np.linalg.qr(np.random.RandomState(1).randn(32, 20))[0].T
    direction, calls = unit(viewpoint.dim), []
    keepers = Keepers(hook, None, (lambda: calls.append(1) or vectors) if with_basis else None)
    render = keepers.renderer(viewpoint, direction, -1, original, REGION)
    edit = render(0.8)
    # By hand: w = z for this network up to truncation, and the styles are the ws.
    moved = torch.zeros(8, 4)
    rows = [slice(None)] if layers is None else list(layers)
    step = -0.8 * torch.from_numpy(direction)
    if space in ('w', 'z'):
        for row in rows:
            moved[row] = step * (0.7 if space == 'z' else 1)
    else:
        moved = step.view(8, 4)
    model = None
    if with_basis:
        jacobian = RegionJacobian(within)
        columns = jacobian.jvp(torch.from_numpy(vectors)).flatten(1)
        inside = torch.tensor(REGION.mask).repeat(3, 1, 1).flatten()
        model = TangentModel(vectors, columns, lambda partition: tuple(
            columns[:, part].double() @ columns[:, part].double().T for part in (inside, ~inside)))
    kept = BackgroundKeeper(within, REGION, model=model).keep(moved.flatten()[None])
    assert edit.inside == pytest.approx(kept.inside[0], rel=1e-3)
    assert edit.outside == pytest.approx(kept.outside[0], rel=1e-2)
    assert edit.outside < 0.9 * kept.straight_outside[0] and edit.alpha == 0.8
    again = render(0.8)
    assert again.inside == pytest.approx(edit.inside, rel=0.1) and len(calls) == with_basis
    keepers.renderer(viewpoint, direction, 1, original, REGION)(0.1)
    assert len(calls) == with_basis  # once for the sample


def test_a_generator_without_styles_keeps_in_the_space_of_the_edit():
    hook = TanhToy(z_dim=6).hook()
    region = RegionPartition(RegionPartition.from_box(0, 0, 4, 8, (8, 8)).mask, 'top')
    viewpoint = Viewpoint(hook, 'z', hook.sample(0))
    original = render_edits(viewpoint, viewpoint.zero())
    edit = Keepers(hook, None).renderer(viewpoint, unit(6), 1, original, region)(0.5)
    kept = BackgroundKeeper(viewpoint, region).keep(torch.from_numpy(0.5 * unit(6))[None])
    assert edit.inside == pytest.approx(kept.inside[0], rel=1e-4)
    assert edit.outside == pytest.approx(kept.outside[0], rel=1e-4)


def test_every_method_is_a_row_straight_and_kept(tmp_path):
    hook = TinyHook()
    results = Comparison(hook, [hook.sample(0)], [hook.sample(10), hook.sample(11)], [Row(REGION)],
                         Settings('w', ('random', 'stylespace', 'resefa-best'), target=0.003, num_directions=2),
                         Measures(), tmp_path).run()
    lines = {line['method']: line for line in results['table']}
    assert list(lines) == ['random', 'random, kept', 'stylespace', 'stylespace, kept', 'resefa-best',
                           'resefa-best, kept']
    for method in ('random', 'stylespace', 'resefa-best'):
        straight, kept = lines[method], lines[f'{method}, kept']
        assert kept['figures']['outside']['mean'] < straight['figures']['outside']['mean']
        assert abs(kept['figures']['inside']['mean'] / 0.003 - 1) < 0.05 and kept['seconds']['edit'] > 0
    text = (tmp_path / 'table.md').read_text()
    assert '| box | random, kept |' in text and '| method | derivatives | solve | edit |' in text
    cells = {path.stem: json.loads(path.read_text())['cell'] for path in (tmp_path / 'cells').glob('*.json')}
    assert set(cells) == {f'seed0000-box-{method}{kept}' for method in ('random', 'stylespace', 'resefa-best')
                          for kept in ('', '-kept')}
    assert cells['seed0000-box-random-kept']['direction'] == cells['seed0000-box-random']['direction']


def test_figures_of_a_method_do_not_depend_on_the_others(tmp_path):
    rows = [Row(RegionPartition(RegionPartition.from_box(left, 2, 12, 12, (32, 32)).mask, f'box{left}'))
            for left in (2, 8, 14)]

    def run(folder, *methods):
        hook = TinyHook()
        results = Comparison(hook, [hook.sample(0)], [hook.sample(10)], rows,
                             Settings('w', methods, target=0.003, num_directions=2), Measures(), folder).run()
        edits = {(cell['row'], cell['method']): cell['edits'] for cell in results['cells']}
        return edits, list(folder.rglob('jacobian-*'))

    (alone, left), (together, _) = run(tmp_path / 'one', 'random'), run(tmp_path / 'two', 'sefa', 'random')
    assert len(alone) == 6 and all(together[key] == edits for key, edits in alone.items())
    assert not left  # of the bases


def test_the_recommended_way_pools_samples_that_no_edit_is_measured_on(tmp_path, monkeypatch):
    hook, seen = TinyHook(), []
    original = TinyHook.sample
    held_out = [hook.sample(seed) for seed in (0, 1, 4)]
    monkeypatch.setattr(TinyHook, 'sample', lambda self, seed, *rest: seen.append(seed) or original(self, seed, *rest))
    Comparison(hook, [original(hook, 20, 0.5)], held_out, [Row(REGION)],
               Settings('w', ('resefa-best',), target=0.003, keep=False), Measures(), tmp_path).run()
    assert {*range(2, 19)} - {4} == set(seen) - {0, 1, 4}


def test_an_edit_that_gives_no_picture_is_far_too_strong():
    hook = TinyHook()
    viewpoint = Viewpoint(hook, 'w', hook.sample(3, 0.7))
    render = Keepers(hook, None).renderer(viewpoint, unit(4), 1, render_edits(viewpoint, viewpoint.zero()), REGION)
    assert 0 < render(1.0).inside < np.inf
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TinyHook, 'from_styles', lambda self, styles, resolution: torch.full((1, 3, 32, 32), torch.nan))
        assert render(2.0).inside == np.inf
