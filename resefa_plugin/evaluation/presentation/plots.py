"""Change outside against change inside as the strength grows (the paper's Figure 5), drawn with pillow."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from resefa_plugin.errors import ResefaError
from resefa_plugin.report.pictures import FAINT, INK, MUTED, PAPER, significant

# Distinct in lightness as well as in hue; the first is the accent of the other pictures.
COLOURS = [(0, 98, 155), (204, 85, 0), (34, 139, 87), (150, 60, 150), (190, 150, 20), (110, 90, 70), (150, 155, 160),
           (200, 60, 90), (60, 170, 190), (30, 30, 30)]
PANEL, SCALE, COLUMNS = (620, 500), 2, 2
LEGEND = 240  # width of an entry
DECADES = 7  # of an axis at most: what lies lower, such as no change at all, is drawn at its foot
LEFT, RIGHT, UP, DOWN = 110, 30, 84, 80  # margins of a panel


def curve_points(cells: Sequence[dict], row: str, method: str) -> list[tuple[float, float]]:
    """Mean change inside and outside at each multiple of the matched step, over the edits of a row and a method."""
    curve = [point for cell in cells if (cell['row'], cell['method']) == (row, method)
             for point in cell.get('curve', ())]
    return [tuple(float(np.mean([point[side] for point in curve if point['multiple'] == multiple]))
                  for side in ('inside', 'outside'))
            for multiple in sorted({point['multiple'] for point in curve})]


def curves_plot(cells: Sequence[dict]) -> Image.Image:
    """A panel for each row, a line for each method, both axes logarithmic and the same in all panels.

    What is more than seven decades under the largest, or zero, stands at the foot of its axis.

    Raises ResefaError if no cell has a curve.
    """
    rows, methods = (list(dict.fromkeys(cell[key] for cell in cells)) for key in ('row', 'method'))
    lines = {(row, method): points for row in rows for method in methods
             if (points := curve_points(cells, row, method))}
    positive = np.array([point for points in lines.values() for point in points if min(point) > 0])
    if not positive.size:
        raise ResefaError('no method reached the target on the samples of the curves, so that there is nothing to '
                          'plot: lower the target')
    decades = np.log10(positive)
    axes = [(max(math.floor(low), math.ceil(high) - DECADES), math.ceil(high + 1e-9))
            for low, high in zip(decades.min(axis=0), decades.max(axis=0))]
    columns = min(COLUMNS, len(rows))
    width = columns * PANEL[0]
    per_line = width // LEGEND
    legend = 40 * math.ceil(len(methods) / per_line) + 20
    height = math.ceil(len(rows) / columns) * PANEL[1] + legend
    canvas = Image.new('RGB', (SCALE * width, SCALE * height), PAPER)
    draw = ImageDraw.Draw(canvas)
    for number, row in enumerate(rows):
        x, y = number % columns * PANEL[0], number // columns * PANEL[1]
        _panel(draw, x, y, row, {method: lines[row, method] for method in methods if (row, method) in lines}, methods,
               axes)
    small = ImageFont.load_default(SCALE * 20)
    for number, method in enumerate(methods):
        x, y = 40 + number % per_line * LEGEND, height - legend + 40 * (number // per_line) + 20
        colour = COLOURS[number % len(COLOURS)]
        draw.line([SCALE * x, SCALE * y, SCALE * (x + 34), SCALE * y], colour, SCALE * 4)
        draw.text((SCALE * (x + 44), SCALE * y), shortened(method), INK, small, 'lm')
    return canvas.resize((width, height), Image.Resampling.BOX)


def _panel(draw: ImageDraw.ImageDraw, x: int, y: int, title: str, lines: dict[str, list[tuple[float, float]]],
           methods: list[str], axes: list[tuple[int, int]]) -> None:
    left, right, top, bottom = x + LEFT, x + PANEL[0] - RIGHT, y + UP, y + PANEL[1] - DOWN
    small, large = ImageFont.load_default(SCALE * 18), ImageFont.load_default(SCALE * 24)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        shares = [max((math.log10(value) - low) / (high - low), 0) if value > 0 else 0
                  for value, (low, high) in zip(point, axes)]
        return SCALE * (left + shares[0] * (right - left)), SCALE * (bottom - shares[1] * (bottom - top))

    draw.text((SCALE * left, SCALE * (y + 40)), title, INK, large, 'ls')
    for decade in range(axes[0][0], axes[0][1] + 1):
        column, _ = place((10.0 ** decade, 10.0 ** axes[1][0]))
        draw.line([column, SCALE * top, column, SCALE * bottom], FAINT, SCALE)
        draw.text((column, SCALE * (bottom + 24)), significant(10.0 ** decade), MUTED, small, 'ms')
    for decade in range(axes[1][0], axes[1][1] + 1):
        _, line = place((10.0 ** axes[0][0], 10.0 ** decade))
        draw.line([SCALE * left, line, SCALE * right, line], FAINT, SCALE)
        draw.text((SCALE * (left - 10), line), significant(10.0 ** decade), MUTED, small, 'rm')
    draw.text((SCALE * (left + right) / 2, SCALE * (bottom + 56)), 'MSE inside', MUTED, small, 'ms')
    draw.text((SCALE * left, SCALE * (top - 6)), 'MSE outside', MUTED, small, 'ls')
    for method, points in reversed(lines.items()):  # the first method on top
        colour = COLOURS[methods.index(method) % len(COLOURS)]
        places = [place(point) for point in points]
        draw.line(places, colour, SCALE * 3, joint='curve')
        for column, line in places:
            draw.ellipse([column - SCALE * 4, line - SCALE * 4, column + SCALE * 4, line + SCALE * 4], colour)


def shortened(name: str, length: int = 18) -> str:
    """A name that fits the legend: the end of a longer one, where the names of files differ."""
    return name if len(name) <= length else '\u2026' + name[1 - length:]
