"""Change outside against change inside as the strength grows (the paper's Figure 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from resefa_plugin.errors import ResefaError
from resefa_plugin.evaluation.settings import KEPT
from resefa_plugin.report.plots import decades, drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with colour blindness tell apart, without the yellow, which is too pale for
# lines, with a purple and a brown. Markers tell the lines apart in print without colour; dots, those that have the same
# colour. A method whose edits have their background kept is drawn as it is without that, dashed and hollow.
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#000000', '#e69f00', '#56b4e9', '#5500bb', '#663311')
MARKERS, DASHES = 'osD^vP', ('-', ':')
COLUMNS, PANEL = 2, (620, 500)  # panels side by side at most; their width and height, pixels
LEGEND = (240, 34)              # width and height of an entry of the legend, pixels
DECADES = 7                     # of an axis at most


def curve_points(cells: Sequence[dict[str, Any]], row: str, method: str) -> list[tuple[float, float]]:
    """Mean change inside and outside at each multiple of the matched step, over the edits of a row and a method."""
    curve = [point for cell in cells if (cell['row'], cell['method']) == (row, method)
             for point in cell.get('curve', ())]
    means = []
    for multiple in sorted({point['multiple'] for point in curve}):
        points = [point for point in curve if point['multiple'] == multiple]
        means.append((float(np.mean([point['inside'] for point in points])),
                      float(np.mean([point['outside'] for point in points]))))
    return means


def curves_plot(cells: Sequence[dict[str, Any]]) -> Image.Image:
    """A panel for each row, a line for each method, both axes logarithmic and the same in all panels.

    A change that is zero, or more than seven decades below the largest, is drawn at the foot of its axis.

    Raises ResefaError if no cell has a curve.
    """
    rows, methods = (list(dict.fromkeys(cell[key] for cell in cells)) for key in ('row', 'method'))
    lines = {(row, method): points for row in rows for method in methods
             if (points := curve_points(cells, row, method))}
    positive = np.array([point for points in lines.values() for point in points if min(point) > 0])
    if not positive.size:
        raise ResefaError('no method reached the target on the samples of the curves, so that there is nothing to '
                          'plot: lower the target')
    logs = np.log10(positive)
    ends = [(max(math.floor(low), math.ceil(high) - DECADES), math.ceil(high + 1e-9))
            for low, high in zip(logs.min(axis=0), logs.max(axis=0), strict=True)]
    columns = min(COLUMNS, len(rows))
    height, width = math.ceil(len(rows) / columns), columns * PANEL[0]
    per_line, looks = width // LEGEND[0], _looks(methods)

    def draw(figure: Figure) -> None:
        from matplotlib.lines import Line2D

        panels = iter(figure.subplots(height, columns, squeeze=False).flat)
        for row, axes in zip(rows, panels, strict=False):
            _panel(axes, row, ends)
            for method in reversed(methods):  # the first one on top
                if (row, method) in lines:
                    points = np.maximum(lines[row, method], [10.0 ** low for low, _ in ends])
                    axes.plot(*points.T, **looks[method])
        for axes in panels:  # of the last line, where the rows have run out
            axes.set_visible(False)
        marks = [Line2D([], [], **looks[method]) for method in methods]
        figure.legend(marks, [shortened(method) for method in methods], loc='outside lower left', ncols=per_line)

    return drawn(width, height * PANEL[1] + math.ceil(len(methods) / per_line) * LEGEND[1] + 20, 20, draw)


def _panel(axes: Axes, title: str, ends: Sequence[tuple[int, int]]) -> None:
    (left, right), (low, high) = ends
    axes.set(xscale='log', yscale='log', xlim=(10.0 ** left, 10.0 ** right), ylim=(10.0 ** low, 10.0 ** high),
             title=shortened(title, 36), xlabel='MSE inside', ylabel='MSE outside')
    axes.set_xticks(*decades(left, right))
    axes.set_yticks(*decades(low, high, most=8))
    axes.minorticks_off()


def _looks(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How matplotlib draws the line of each method."""
    straight = list(dict.fromkeys(method.removesuffix(KEPT) for method in methods))
    looks: dict[str, dict[str, Any]] = {}
    for method in methods:
        number, kept = straight.index(method.removesuffix(KEPT)), method.endswith(KEPT)
        colour = COLOURS[number % len(COLOURS)]
        looks[method] = {'color': colour, 'marker': MARKERS[number % len(MARKERS)],
                         'linestyle': '--' if kept else DASHES[number // len(COLOURS) % len(DASHES)],
                         'markerfacecolor': 'white' if kept else colour, 'linewidth': 1.5 if kept else 2,
                         'markersize': 6, 'clip_on': False}
    return looks


def shortened(name: str, length: int = 18) -> str:
    """A name of at most so many letters: of a longer one its end, where the names of files differ."""
    name = name.encode(errors='replace').decode()  # names of files may hold bytes that are no text
    return name if len(name) <= length else '\u2026' + name[1 - length:]
