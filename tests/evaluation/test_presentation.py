"""What a comparison shows: intervals, the summary, tables and curves, against cases whose answers are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from PIL import ImageColor
from scipy import stats

from resefa_plugin.errors import ResefaError
from resefa_plugin.evaluation.presentation.intervals import bootstrap
from resefa_plugin.evaluation.presentation.plots import COLOURS, _looks, curve_points, curves_plot, shortened
from resefa_plugin.evaluation.presentation.summary import summarize
from resefa_plugin.evaluation.presentation.tables import comparison_table, robustness_table, speed_table


def test_the_bootstrap_interval_agrees_with_students_and_covers():
    random = np.random.RandomState(0)
    values = random.randn(200) * 3 + 5
    interval = bootstrap(values)
    low, high = stats.t.interval(0.95, 199, values.mean(), stats.sem(values))
    assert interval.mean == pytest.approx(values.mean()) and interval.count == 200
    assert abs(interval.low - low) < 0.05 and abs(interval.high - high) < 0.05
    covered = np.mean([low <= 5 <= high for _, low, high, _ in (bootstrap(random.randn(32) + 5) for _ in range(200))])
    assert 0.88 < covered < 0.99  # nominal 0.95, with 200 trials; percentile intervals of 32 values are a little short


def test_intervals_of_too_few_values():
    assert np.isnan(bootstrap([]).mean) and np.isnan(bootstrap([1.0]).low) and bootstrap([1.0, math.nan]).mean == 1


def edit(sample, outside, reached=True, sign=1):
    return {'sample': sample, 'sign': sign, 'alpha': 1.0, 'inside': 0.01, 'outside': outside, 'reached': reached,
            'evaluations': 2}


def cell(method, edits, **changes):
    return {'row': 'top', 'method': method, 'sample': 'seed0000', 'attribute': '', 'attribute_sign': 0, 'space': 'w',
            'layers': None, 'index': 1,
            'signs': [1, -1], 'seconds': {'jacobian': 10.0, 'solve': 0.5}, 'extrapolated': ['jacobian'], 'note': '',
            'edits': edits, 'sets': {},
            'curve': []} | changes


def test_the_mean_is_over_samples_that_reached_the_target_signs_averaged_first():
    line, = summarize([cell('a', [edit('s1', 1.0), edit('s1', 3.0, sign=-1), edit('s2', 6.0),
                                  edit('s2', 99.0, False, -1)])])
    assert line['figures']['outside']['mean'] == 4.0 and line['figures']['outside']['count'] == 2
    assert (line['reached'], line['edits']) == (3, 4)
    assert '| top | a | w 1 | 3/4 |' in comparison_table([line])


def test_the_tables_say_what_is_extrapolated_and_group_the_shifts():
    lines = summarize([cell('a', [edit('s1', 1.0)]), cell('b', [], omitted='no')])
    assert '| a | ~10 s jacobian | 0.5 s |' in speed_table(lines) and '| b |' not in speed_table(lines)
    entries = [{'region': 'top', 'variant': name, 'first_angle': angle, 'mean_angle': 1.0, 'largest_angle': 2.0,
                'leakage_ratio': 1.5}
               for name, angle in (('up 10%', 10.0), ('left 10%', 20.0), ('sample seed0001', 40.0))]
    assert '| top | shifted 10% | 15 | 1 | 2 | 1.5 |' in robustness_table(entries)
    assert '| top | another sample | 40 |' in robustness_table(entries)


def test_long_names_keep_their_ends():
    assert shortened('resefa-quick') == 'resefa-quick'
    assert shortened('folder/of/files/smile.npy:4-7') == '\u2026les/smile.npy:4-7'


def test_the_curve_is_the_mean_of_each_multiple():
    points = [{'sample': s, 'sign': 1, 'multiple': m, 'inside': m ** 2 * a, 'outside': m * a} for s,
              a in (('s1', 0.01), ('s2', 0.03)) for m in (1.0, 2.0)]
    cells = [cell('a', [], curve=points), cell('b', [], omitted='no')]
    assert np.allclose(curve_points(cells, 'top', 'a'), [(0.02, 0.02), (0.08, 0.04)])
    assert curves_plot(cells).size[0] == 620
    with pytest.raises(ResefaError, match='nothing to plot: lower the target'):
        curves_plot(cells[1:])


def line_cells(methods, outside=0.001):
    return [cell(name, [], curve=[{'multiple': m, 'inside': 0.01 * m, 'outside': outside * 2.0 ** i * m}
                                  for m in (1.0, 4.0)]) for i, name in enumerate(methods)]


def pixels(picture, colour):
    """Rows and columns of the pixels of exactly this colour."""
    return np.nonzero((np.asarray(picture) == ImageColor.getrgb(colour)).all(-1))


def test_every_method_has_its_line_in_each_panel_and_its_entry_in_the_legend():
    cells = line_cells('abcdefghi') + [one | {'row': 'foot'} for one in line_cells('abcdefghi')]
    picture = np.asarray(curves_plot(cells))
    assert picture.shape == (554 - 34 + 2 * 34, 1240, 3)   # two lines of the legend
    for colour in COLOURS:
        rows, columns = pixels(picture, colour)
        for panel in (columns < 620, columns >= 620):
            assert (panel & (rows < 460)).any()
        assert (rows > 500).any()


def test_more_change_outside_is_higher_and_no_change_stands_at_the_foot():
    picture = curves_plot(line_cells('abc') + line_cells('d', outside=0.0))
    panel = np.asarray(picture)[:460]
    tops = [pixels(panel, colour)[0].min() for colour in COLOURS[:4]]
    assert tops[2] < tops[1] < tops[0] < tops[3]
    rows, _ = pixels(panel, COLOURS[3])
    assert np.ptp(rows) < 10   # the foot: level


def test_methods_of_one_colour_differ_in_marker_and_dashes():
    looks = list(_looks([f'method {number}' for number in range(15)]).values())
    assert len({(look['color'], look['marker']) for look in looks}) == 15
    for one, other in itertools.combinations(looks, 2):
        assert one['color'] != other['color'] or one['linestyle'] != other['linestyle']


def test_a_kept_background_is_dashed_in_the_colour_of_its_method():
    looks = _looks(['a', 'a, kept', 'b, kept', 'b', 'c'])
    for name in 'ab':
        straight, kept = looks[name], looks[f'{name}, kept']
        assert (straight['color'], straight['marker']) == (kept['color'], kept['marker'])
        assert (straight['linestyle'], kept['linestyle'], kept['markerfacecolor']) == ('-', '--', 'white')
    assert len({looks[name]['color'] for name in 'abc'}) == 3


# How dichromats see linear RGB (Machado, Oliveira and Fernandes 2009, severity 1).
SIGHT = {
    'all cones': np.eye(3),
    'no red cones': [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    'no green cones': [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                       [-0.011820, 0.042940, 0.968881]],
    'no blue cones': [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                      [0.004733, 0.691367, 0.303900]]}
# CIELAB distance. 2 is just seen side by side; matplotlib's own first seven colours come down to 4.6.
APART = 15


@pytest.mark.parametrize('sight', SIGHT)
def test_colours_can_be_told_apart(sight):
    def lab(colour):
        s = np.array(ImageColor.getrgb(colour)) / 255
        linear = np.clip(SIGHT[sight] @ np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4), 0, 1)
        xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
        f = xyz / [0.9505, 1, 1.089]
        f = np.where(f > 216 / 24389, np.cbrt(f), (24389 / 27 * f + 16) / 116)
        return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    assert min(np.linalg.norm(lab(a) - lab(b)) for a, b in itertools.combinations(COLOURS, 2)) > APART


def test_names_that_are_no_text_can_be_drawn():
    assert curves_plot(line_cells(['\udcff', '$a_1$'])).height == 554
