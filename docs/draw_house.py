"""Draws the house: the rooms of the package and what they use, from the imports. Writes house.png beside itself.

    python docs/draw_house.py

What a room is for, and the order of the rooms, is read from the table in architecture.md. A circle between rooms is an
error; so is a room that the table does not have.
"""

from __future__ import annotations

import ast
import graphlib
import itertools
import pathlib
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle
from matplotlib.path import Path
from PIL import Image
from PIL.PngImagePlugin import PngInfo

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = 'resefa_plugin'
OUTSIDE = ('third_party', 'patches')  # rooms that stand beside the package, and are installed inside it

Uses = dict[str, set[str]]  # room -> the rooms that it imports from


def modules(root: pathlib.Path = ROOT) -> Iterator[tuple[str, pathlib.Path]]:
    """Every module of the package, by its dotted name without the package's: `hooks.base`, `errors`."""
    for folder, prefix in ((root / PACKAGE, ()), *((root / name, (name,)) for name in OUTSIDE)):
        for path in sorted(folder.rglob('*.py')):
            parts = (*prefix, *path.relative_to(folder).with_suffix('').parts)
            yield '.'.join(parts).removesuffix('.__init__'), path


def imported(path: pathlib.Path) -> Iterator[str]:
    """Modules of the package that a file imports, anywhere in it, by dotted names without the package's."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            names = [f'{node.module}.{alias.name}' for alias in node.names]
        else:
            continue
        yield from (name.removeprefix(f'{PACKAGE}.') for name in names if name.startswith(f'{PACKAGE}.'))


def rooms_of(names: Iterable[str]) -> set[str]:
    """The rooms among modules: those that have others in them."""
    return {name.partition('.')[0] for name in names if '.' in name}


def loose_modules(root: pathlib.Path = ROOT) -> list[str]:
    """The modules that are in no room, but for the front door, `__init__`."""
    names = {name for name, _ in modules(root)}
    return sorted(name for name in names - rooms_of(names) - {'__init__'} if '.' not in name)


def uses(root: pathlib.Path = ROOT) -> Uses:
    """What each room imports from, itself and the loose modules left out. Raises SystemExit for a circle."""
    files = dict(modules(root))
    rooms = rooms_of(files)
    graph: Uses = {room: set() for room in sorted(rooms)}
    for name, path in files.items():
        room = name.partition('.')[0]
        if room in rooms:
            graph[room] |= {other.partition('.')[0] for other in imported(path)} & (rooms - {room})
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        raise SystemExit(f'rooms use each other in a circle: {" <- ".join(error.args[1])}') from None
    return graph


def stated(text: str) -> dict[str, str]:
    """The rooms in the table of architecture.md, from the top, and what each is for."""
    section = text.partition('## The rooms')[2].partition('\n## ')[0]
    return dict(re.findall(r'^\| `(\w+)` \| (.+?) \|$', section, re.MULTILINE))


def essential(graph: Uses) -> Uses:
    """The arrows that do not follow from others: a room's use of what it reaches by way of another is left out."""
    def reached(room: str) -> set[str]:
        return graph[room].union(*(reached(other) for other in graph[room]))

    return {room: others - set().union(*(reached(other) for other in others)) for room, others in graph.items()}


def floors(graph: Uses, order: Sequence[str]) -> list[list[str]]:
    """The rooms by the longest way down to them from a room that nobody uses, the roof first."""
    depth: dict[str, int] = {}
    for room in reversed(list(graphlib.TopologicalSorter(graph).static_order())):
        depth[room] = max((depth[user] + 1 for user in graph if room in graph[user]), default=0)
    return [[room for room in order if depth[room] == floor] for floor in range(max(depth.values()) + 1)]


def laid_out(graph: Uses, storeys: list[list[str]]) -> tuple[list[list[str]], list[list[str]]]:
    """The floors in an order of few crossings, and the arrows as chains: names of rooms and of places between them."""
    level = {room: floor for floor, storey in enumerate(storeys) for room in storey}
    storeys, chains = [list(storey) for storey in storeys], []
    for room in level:
        for other in sorted(graph[room], key=list(level).index):
            between = [f'{room}>{other}@{floor}' for floor in range(level[room] + 1, level[other])]
            for floor, place in enumerate(between, level[room] + 1):
                storeys[floor].append(place)
            chains.append([room, *between, other])
    best = storeys
    for sweep in range(8):  # by turns downward and upward, each room to the mean place of its neighbours
        down = sweep % 2 == 0
        storeys = [list(storey) for storey in storeys]
        for floor in range(1, len(storeys)) if down else range(len(storeys) - 2, -1, -1):
            fixed = storeys[floor - 1 if down else floor + 1]
            places = {name: (i + 0.5) / len(fixed) for i, name in enumerate(fixed)}
            mine = {name: (i + 0.5) / len(storeys[floor]) for i, name in enumerate(storeys[floor])}
            storeys[floor].sort(key=lambda name, places=places, mine=mine: _mean(
                [places[other] for other in _neighbours(name, chains) if other in places], mine[name]))
        if _crossings(storeys, chains) < _crossings(best, chains):
            best = storeys
    return best, chains


def _mean(numbers: list[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise


def _neighbours(name: str, chains: list[list[str]]) -> Iterator[str]:
    for upper, lower in itertools.chain.from_iterable(map(itertools.pairwise, chains)):
        if name in (upper, lower):
            yield lower if name == upper else upper


def _crossings(storeys: list[list[str]], chains: list[list[str]]) -> int:
    place = {name: (floor, i) for floor, storey in enumerate(storeys) for i, name in enumerate(storey)}
    steps = [(place[a], place[b]) for chain in chains for a, b in itertools.pairwise(chain)]
    pairs = itertools.combinations(steps, 2)
    return sum((a[1] - c[1]) * (b[1] - d[1]) < 0 for (a, b), (c, d) in pairs if a[0] == c[0])


def record(graph: Uses, captions: Mapping[str, str], loose: Sequence[str]) -> str:
    """What the picture shows, as text: it is kept in the file, so that a test knows whether the picture is of today."""
    arrows = essential(graph)
    return '\n'.join([*(f'{room} ({captions[room]}): {" ".join(sorted(arrows[room]))}' for room in captions), *loose])


WIDTH, BOX, BOX_HEIGHT, STOREY = 12.0, 2.85, 0.84, 1.3  # in inches, as all lengths of the picture
COLOURS = 96  # of the picture, which keeps it small
INK, PALE = '#22303c', '#5d6f7e'
ROOF, GROUND = '#b5523b', '#6b5b4b'
TINTS = ('#f7ddd0', '#f8e6cd', '#f6eecb', '#e6efd0', '#d5ecd9', '#cfe9e6', '#cfe2f0', '#d4daf0', '#dfd7ee', '#e8d8e6')


def draw(graph: Uses, captions: Mapping[str, str], loose: Sequence[str], path: pathlib.Path) -> None:
    """Draws the house, 1200 pixels wide."""
    lines = essential(graph)
    storeys, chains = laid_out(lines, floors(graph, list(captions)))
    height = len(storeys) * STOREY + 2.35
    with matplotlib.rc_context({'font.family': 'DejaVu Sans', 'text.color': INK}):
        figure = Figure(figsize=(WIDTH, height), dpi=100, facecolor='white')
        canvas = FigureCanvasAgg(figure)
        ax = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, height))
        ax.set_axis_off()
        top, bottom, left, right = height - 1.3, 0.85, 0.55, WIDTH - 0.55
        ax.add_patch(Polygon([(left - 0.35, top), (WIDTH / 2, height - 0.15), (right + 0.35, top)], color=ROOF))
        ax.text(WIDTH / 2, top + 0.42, PACKAGE, ha='center', va='center', fontsize=21, weight='bold', color='white')
        ax.add_patch(Rectangle((0, bottom - 0.62), WIDTH, 0.62, color=GROUND))
        ax.text(WIDTH / 2, bottom - 0.31, f'for all rooms: {", ".join(loose)}', ha='center', va='center', fontsize=12.5,
                color='white')
        ax.add_patch(Rectangle((left, bottom), right - left, top - bottom, facecolor='#fdfcfa', edgecolor=INK, lw=2.5))

        center: dict[str, tuple[float, float]] = {}
        for floor, storey in enumerate(storeys):
            y = top - (floor + 0.5) * STOREY
            widths = [0.4 if '@' in name else BOX for name in storey]
            gap = (right - left - sum(widths)) / (len(storey) + 1)
            x = left + gap
            for name, width in zip(storey, widths, strict=True):
                center[name] = x + width / 2, y
                x += width + gap
        half = BOX_HEIGHT / 2
        for chain, (leave, arrive) in zip(chains, _ports(chains, center), strict=True):
            points = [(leave, center[chain[0]][1] - half), *(center[name] for name in chain[1:-1]),
                      (arrive, center[chain[-1]][1] + half + 0.03)]
            vertices, codes = [points[0]], [Path.MOVETO]
            for (x0, y0), (x1, y1) in itertools.pairwise(points):
                bend = 0.5 * (y0 - y1)
                vertices += [(x0, y0 - bend), (x1, y1 + bend), (x1, y1)]
                codes += [Path.CURVE4] * 3
            ax.add_patch(FancyArrowPatch(path=Path(vertices, codes), arrowstyle='-|>', mutation_scale=15, lw=1.7,
                                         color=PALE, shrinkA=0, shrinkB=0, zorder=2))
        for floor, storey in enumerate(storeys):
            for name in storey:
                if '@' in name:
                    continue
                x, y = center[name]
                ax.add_patch(FancyBboxPatch((x - BOX / 2, y - half), BOX, BOX_HEIGHT, zorder=3,
                                            boxstyle='round,pad=0,rounding_size=0.09', edgecolor=INK, lw=1.4,
                                            facecolor=TINTS[floor * (len(TINTS) - 1) // max(1, len(storeys) - 1)]))
                ax.text(x, y + 0.22, name, ha='center', va='center', fontsize=14.5, weight='bold', zorder=4)
                ax.text(x, y - 0.15, _two_lines(captions[name]), ha='center', va='center', fontsize=10,
                        linespacing=1.15, zorder=4)
        canvas.draw()
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())[:, :, :3])
    facts = PngInfo()
    facts.add_text('Description', record(graph, captions, loose))
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, pnginfo=facts, optimize=True)


def _two_lines(caption: str) -> str:
    """One line if it is short, else two of about the same length."""
    if len(caption) <= 36:
        return caption
    return '\n'.join(next(lines for width in range(18, 99) if len(lines := textwrap.wrap(caption, width)) == 2))


def _ports(chains: list[list[str]], center: Mapping[str, tuple[float, float]]) -> list[tuple[float, float]]:
    """Where each arrow leaves and arrives: side by side along a box, in the order of their other ends."""
    def spread(end: int, beside: int) -> list[float]:
        shared: dict[str, list[int]] = {}
        for number, chain in enumerate(chains):
            shared.setdefault(chain[end], []).append(number)
        xs = [0.0] * len(chains)
        for name, numbers in shared.items():
            numbers.sort(key=lambda number: center[chains[number][beside]][0])
            step = min(0.55, (BOX - 0.5) / len(numbers))
            for i, number in enumerate(numbers):
                xs[number] = center[name][0] + (i - (len(numbers) - 1) / 2) * step
        return xs

    return list(zip(spread(0, 1), spread(-1, -2), strict=True))


def main() -> None:
    """Draws the house of this repository beside this file."""
    graph = uses()
    captions = stated((ROOT / 'docs' / 'architecture.md').read_text(encoding='utf-8'))
    if set(captions) != set(graph):
        raise SystemExit(f'docs/architecture.md and the folders differ in rooms: {sorted(set(captions) ^ set(graph))}')
    path = ROOT / 'docs' / 'house.png'
    draw(graph, captions, loose_modules(), path)
    print(f'{path}: {len(graph)} rooms, {path.stat().st_size} bytes', file=sys.stderr)


if __name__ == '__main__':
    main()
