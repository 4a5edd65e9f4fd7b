"""Plots for people, drawn by matplotlib.

One version of matplotlib draws the same pixels on every machine: the typeface is the one that it brings along, and the
settings of whoever calls are set aside while a plot is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from resefa_plugin.errors import ResefaError
from resefa_plugin.report.pictures import ACCENT, FAINT, INK, MUTED, PAPER, significant

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 100
_POINT = 72 / _DPI  # matplotlib measures letters, lines and dots in points; this is one pixel
_DECADES = 8        # of the axis of eigenvalues at most: smaller values are rounding
_ROOMY = 90         # pixels between two eigenvalues from which on their values are written above them


def hex_colour(rgb: tuple[int, int, int]) -> str:
    """A colour as matplotlib takes it: `#00629b`."""
    return '#' + bytes(rgb).hex()


_SETTINGS: dict[str, Any] = {
    'figure.facecolor': hex_colour(PAPER),
    'axes.spines.left': False, 'axes.spines.right': False, 'axes.spines.top': False,
    'axes.edgecolor': hex_colour(MUTED), 'axes.titlecolor': hex_colour(INK), 'axes.labelcolor': hex_colour(INK),
    'axes.titlelocation': 'left', 'axes.axisbelow': True,
    'axes.grid': True, 'grid.color': hex_colour(FAINT), 'grid.linewidth': 2 * _POINT,
    'xtick.color': hex_colour(MUTED), 'ytick.color': hex_colour(MUTED),
    'xtick.major.size': 0, 'ytick.major.size': 0, 'xtick.major.pad': 16 * _POINT, 'ytick.major.pad': 14 * _POINT,
    'axes.labelpad': 10 * _POINT, 'axes.titlepad': 20 * _POINT,
    'figure.constrained_layout.w_pad': 24 / _DPI, 'figure.constrained_layout.h_pad': 24 / _DPI,  # inches
    'text.color': hex_colour(INK), 'text.parse_math': False,  # a dollar sign in a name is a dollar sign
    'legend.frameon': False,
}


def drawn(width: int, height: int, letters: int, draw: Callable[[Figure], None]) -> Image.Image:
    """The picture of a matplotlib figure.

    Args:
        width, height: of the picture, pixels.
        letters: size of the type, pixels.
        draw: fills the figure. The parts are arranged so that no text is cut.

    Returns: an RGB picture.
    """
    # Here and not above, because it takes a third of a second: `resefa --help` and commands without plots do without.
    # Not pyplot, which would choose a window system and keep every figure in memory.
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context(['default', {**_SETTINGS, 'font.size': letters * _POINT}]):
        figure = Figure((width / _DPI, height / _DPI), _DPI, layout='constrained')
        canvas = FigureCanvasAgg(figure)
        draw(figure)
        canvas.draw()
        rgba = np.asarray(canvas.buffer_rgba())
        return Image.fromarray(rgba).convert('RGB')


def decades(low: int, high: int, most: int = 6) -> tuple[list[float], list[str]]:
    """Ticks of a logarithmic axis from 10^low to 10^high, and their texts: at most `most`, the others empty."""
    every = math.ceil((high - low + 1) / most)
    ticks = [10.0 ** decade for decade in range(low, high + 1)]
    return ticks, [significant(tick) if i % every == 0 else '' for i, tick in enumerate(ticks)]


def eigenvalue_plot(eigenvalues: ArrayLike, highlighted: int) -> Image.Image:
    """Eigenvalues over their rank on a logarithmic axis, 1280 x 800.

    A hollow dot at the foot of the axis stands for a value that the axis cannot show: zero, below zero, or more than
    eight decades below the largest.

    Args:
        eigenvalues: `[k]`, in descending order.
        highlighted: so many of the first ones are drawn in colour, with their values where there is room.

    Raises:
        ResefaError: no eigenvalues, or some of them NaN or infinite.
    """
    values = np.asarray(eigenvalues, float).reshape(-1)
    if not values.size or not np.isfinite(values).all():
        raise ResefaError('eigenvalues must be one or more finite numbers; look at the solver\'s residuals')
    positive = values[values > 0]
    high = math.floor(math.log10(positive.max())) + 1 if positive.size else 0
    low = max(math.ceil(math.log10(positive.min())) - 1, high - _DECADES) if positive.size else -1
    foot = 10.0 ** low
    ranks, shown = np.arange(1, len(values) + 1), values > foot
    heights = np.where(shown, values, foot)
    colours = [hex_colour(ACCENT if rank <= highlighted else MUTED) for rank in ranks]
    pitch = 1080 / len(values)                  # pixels from one value to the next, about
    radius = min(max(0.2 * pitch, 2), 9)        # of a dot, pixels

    def draw(figure: Figure) -> None:
        from matplotlib.patheffects import withStroke

        figure.suptitle('Eigenvalue: squared change inside / outside, log scale', x=0.02, ha='left', size='medium')
        axes = figure.add_subplot(yscale='log', xlim=(0.5, len(values) + 0.5), ylim=(foot, 10.0 ** high),
                                  xlabel='Direction')
        axes.set_yticks(*decades(low, high))
        every = _nice(len(values) / 12)
        axes.set_xticks([rank for rank in ranks.tolist() if rank == 1 or rank % every == 0])
        axes.grid(visible=False, axis='x')
        axes.minorticks_off()
        if pitch >= 6:
            axes.vlines(ranks, foot, heights, colours, linewidth=max(1, 0.5 * radius) * _POINT)
        axes.scatter(ranks, heights, (2 * radius * _POINT) ** 2, np.where(shown, colours, hex_colour(PAPER)),
                     edgecolors=colours, linewidths=2 * _POINT, clip_on=False, zorder=3)
        if pitch >= _ROOMY:
            for rank, value, height in zip(ranks[:highlighted], values, heights, strict=False):
                axes.annotate(significant(value), (rank, height), (0, (radius + 8) * _POINT),
                              textcoords='offset points', ha='center',
                              path_effects=[withStroke(linewidth=8 * _POINT, foreground=hex_colour(PAPER))])

    return drawn(1280, 800, 34, draw)


def transfer_plot(leaks: Mapping[int, float]) -> Image.Image:
    """How far the directions of a pool carry, 1280 x 640.

    Args:
        leaks: number of samples pooled -> summed square change outside over that inside, above 0, at samples that are
            not in the pool.

    Raises ResefaError if there is none.
    """
    if not leaks:
        raise ResefaError('a pool of fewer than two samples leaves none to try its directions on')
    sizes, values = list(leaks), list(leaks.values())
    ends = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)

    def draw(figure: Figure) -> None:
        figure.suptitle('Direction 1 at other samples: squared change outside / inside', x=0.02, ha='left',
                        size='medium')
        axes = figure.add_subplot(yscale='log', ylim=(10.0 ** ends[0], 10.0 ** ends[1]), xlabel='Samples pooled')
        axes.set_yticks(*decades(*ends))
        axes.set_xticks(sizes)
        axes.minorticks_off()
        axes.plot(sizes, values, color=hex_colour(ACCENT), marker='o', linewidth=4 * _POINT, markersize=18 * _POINT,
                  clip_on=False)

    return drawn(1280, 640, 34, draw)


def _nice(value: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50, ... that is at least `value`, which is positive."""
    decade: int = 10 ** max(0, math.floor(math.log10(value)))
    return next(step * decade for step in (1, 2, 5, 10) if value <= step * decade)
