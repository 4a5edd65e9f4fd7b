"""Plots: every value at its height, the same pixels whatever the caller has set, no import before it is needed."""

from __future__ import annotations

import os

import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager, style

from resefa_plugin.errors import ResefaError
from resefa_plugin.report import pictures, plots


def where(picture, colour):
    """Rows and columns of the pixels of exactly this colour."""
    return np.nonzero((np.asarray(picture) == colour).all(-1))


@pytest.mark.parametrize('values', [[8.7], [1.0], [0.0], [0, 0, 0], [2, 2, 2], list(np.geomspace(9, 0.01, 20)),
                                    [3, 1e-30, 0, -1e-9], list(np.geomspace(1, 1e-9, 300)), [1e300, 1e-300]])
def test_eigenvalue_plot_draws_every_value(values):
    # One highlighted dot and no other: its colour marks the first value only.
    one, none = (np.asarray(plots.eigenvalue_plot(values, n)).astype(int) for n in (1, 0))
    assert one.shape == (800, 1280, 3)
    assert len(where(one, pictures.ACCENT)[0]) > 0 and len(where(none, pictures.ACCENT)[0]) == 0
    assert len(where(none, pictures.MUTED)[0]) > 0


def test_eigenvalue_plot_height_follows_the_value():
    tops = []
    for first in (90.0, 30.0, 11.0):
        rows, columns = where(plots.eigenvalue_plot([first, 1.0], 1), pictures.ACCENT)
        tops.append(rows.min())
    assert tops == sorted(tops) and len(set(tops)) == 3


def test_eigenvalue_plot_equal_values_are_level():
    array = np.asarray(plots.eigenvalue_plot([2.0, 2.0], 2))
    rows, columns = where(array, pictures.ACCENT)
    left, right = rows[columns < 700], rows[columns > 750]
    assert left.min() == right.min() and left.max() == right.max()


@pytest.mark.parametrize('values', [[], [1.0, float('nan')], [float('inf')]])
def test_eigenvalue_plot_refuses(values):
    with pytest.raises(ResefaError, match='one or more finite numbers'):
        plots.eigenvalue_plot(values, 1)


def test_eigenvalue_plot_marks_what_the_axis_cannot_show():
    # Of the dots at 1, 1e-3, 0 and 1e-30, all in colour, the last two have a centre of paper.
    array = np.asarray(plots.eigenvalue_plot([1.0, 1e-3, 0.0, 1e-30], 4))
    rows, columns = where(array, pictures.ACCENT)
    quarters = np.array_split(np.arange(columns.min(), columns.max() + 1), 4)
    for quarter, hollow in zip(quarters, (False, False, True, True), strict=True):
        inside = np.isin(columns, quarter)
        top, middle = rows[inside].min(), round(columns[inside].mean())
        assert (array[top + 8, middle] == (pictures.PAPER if hollow else pictures.ACCENT)).all()


@pytest.mark.parametrize('count, few', [(2, True), (20, False)])
def test_values_are_written_where_there_is_room(count, few):
    values = np.full(count, 5.0)
    with_values, without = (np.asarray(plots.eigenvalue_plot(values, n)).astype(int) for n in (count, 0))
    written = len(where(with_values, pictures.INK)[0]) > len(where(without, pictures.INK)[0])
    assert written == few


@pytest.mark.parametrize('low, high, texts', [
    (-2, 2, ['0.01', '0.1', '1', '10', '100']),
    (-8, 0, ['1e-8', '', '1e-6', '', '1e-4', '', '0.01', '', '1'])])
def test_texts_of_decades(low, high, texts):
    ticks, found = plots.decades(low, high)
    assert found == texts and ticks == pytest.approx([10.0 ** decade for decade in range(low, high + 1)])


def test_plots_do_not_depend_on_the_callers_settings_and_leave_them_alone():
    expected = np.asarray(plots.eigenvalue_plot([8.0, 4.0, 1.0], 2))
    for name in ('dark_background', 'ggplot', 'classic'):
        with style.context([name, {'font.size': 40, 'path.sketch': (9, 9, 9)}]):
            before = dict(matplotlib.rcParams)
            np.testing.assert_array_equal(np.asarray(plots.eigenvalue_plot([8.0, 4.0, 1.0], 2)), expected)
            assert dict(matplotlib.rcParams) == before


def test_an_error_while_drawing_leaves_the_callers_settings_alone():
    before = dict(matplotlib.rcParams)
    with pytest.raises(ZeroDivisionError):
        plots.drawn(90, 90, 9, lambda figure: 1 / 0)
    assert dict(matplotlib.rcParams) == before


def test_the_typeface_is_the_one_that_matplotlib_brings():
    with style.context('default'):
        found = os.path.realpath(font_manager.findfont(font_manager.FontProperties()))
    assert found.startswith(os.path.realpath(matplotlib.get_data_path()))

def test_transfer_plot_goes_down_as_the_leak_does():
    rows, columns = where(plots.transfer_plot({1: 0.5, 2: 0.5, 4: 0.02}), pictures.ACCENT)
    width = columns.max() - columns.min()
    at = {size: rows[np.abs(columns - columns.min() - 9 - (size - 1) / 3 * (width - 18)) < 2].mean()
          for size in (1, 2, 4)}
    assert at[1] == pytest.approx(at[2], abs=1) and at[4] > at[1] + 100  # rows are counted from above
    with pytest.raises(ResefaError, match='fewer than two samples'):
        plots.transfer_plot({})
