"""Regions of a picture: the method's two sets of pixels, x_f and x_b, from boxes, presets, masks and label maps.

`parse_region` reads the texts of a command line; `REGION_HELP` is what a user is told of them.
"""

from __future__ import annotations

import difflib
import io
import math
import operator
import os
import re
import textwrap
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resefa_plugin.errors import RegionError
from resefa_plugin.regions import files as region_files
from resefa_plugin.regions.presets import GRID, OTHER_NAMES, PRESETS

NAME = r'[A-Za-z0-9][A-Za-z0-9_-]{0,63}'
NAME_RULE = "use up to 64 letters, digits, '_' and '-', the first a letter or digit"
_LABELS = r'(?P<file>.+):(?P<numbers>\s*-?\d{1,18}\s*(,\s*-?\d{1,18}\s*)*)'

REGION_HELP = f"""The pixels to change; all others are kept. One of:

\b
  {textwrap.fill(', '.join(PRESETS), 72).replace(chr(10), chr(10) + '  ')}
      a preset; left and right are sides of the picture
  x,y,width,height
      a box: x from the left, y from the top. Four whole numbers are
      pixels of the full picture; with a decimal point, fractions of it
  box:x=0.3,y=0.6,w=0.4,h=0.2
      the same in any order
  center:0.5
      the centred box of that fraction of width and height
  mask:FILE
      an image of the picture's aspect ratio, white where it may change;
      the bare path will do
  labels:FILE:1,2,5
      these numbers of a label map (palette or grey PNG, or .npy)

A+B is the union, A&B the intersection (taken first), ~A the inversion; quote them in the shell: \
'mask:face.png&~eyes'. NAME=SPEC names the region in output files: lips=mask:lips.png. An existing file wins over the \
operators in its path, and ~/ is the home folder."""


@dataclass(frozen=True, eq=False)
class RegionPartition:
    """A picture's pixels in two sets: the foreground x_f, to be changed, and its complement x_b, to be kept.

    Regions of one picture combine: `a | b` (union), `a & b` (intersection), `~a` (inversion).

    Attributes:
        mask: bool `[H, W]` at image resolution, true in the foreground; read-only.
        name: part of output names: letters, digits, `_` and `-`, at most 64.

    Raises: RegionError if the foreground or the background has no pixel, or the name is not fit for a file.
    """

    mask: NDArray[np.bool_]
    name: str

    def __post_init__(self) -> None:
        mask = np.array(self.mask)
        if mask.dtype != bool or mask.ndim != 2:
            raise RegionError(f"the mask of a region must be bool [H, W], got {mask.dtype} {list(mask.shape)}: "
                              'use RegionPartition.from_mask for other kinds of masks')
        if not re.fullmatch(NAME, self.name):
            raise RegionError(f"region name '{self.name}' is not fit for a file name: {NAME_RULE}")
        _check_sides(mask, self.name, 'paint or choose at least one pixel', 'leave out what the edit should keep')
        mask.flags.writeable = False
        object.__setattr__(self, 'mask', mask)

    def __repr__(self) -> str:
        H, W = self.mask.shape
        return f'<region {self.name}: {100 * self.area:.3g} % of {H} x {W}>'

    def _repr_png_(self) -> bytes:
        picture = Image.fromarray(self.mask)
        picture.thumbnail((256, 256))
        buffer = io.BytesIO()
        picture.save(buffer, 'PNG')
        return buffer.getvalue()

    @property
    def image_size(self) -> tuple[int, int]:
        """`(H, W)` of the picture."""
        H, W = self.mask.shape
        return H, W

    @property
    def area(self) -> float:
        """The foreground's fraction of the picture, between 0 and 1."""
        return float(self.mask.mean())

    def at(self, h: int, w: int) -> NDArray[np.bool_]:
        """The mask for a smaller picture: bool `[h, w]`, true where at least half of a pixel is foreground.

        Raises RegionError if `h` or `w` is not between 1 and the picture's, or if foreground or background would have
        no pixel.
        """
        height, width = self.image_size
        if not (1 <= h <= height and 1 <= w <= width):
            raise RegionError(f"region '{self.name}' is defined on {width} x {height} (width x height) and cannot be "
                              f'taken at {w} x {h}: choose a resolution between 1 and that of the picture')
        mask = region_files.majority(self.mask, h, w)
        remedy = f'it has {self.mask.sum()} of {self.mask.size} pixels in the full picture: raise --resolution'
        _check_sides(mask, self.name, remedy, remedy)
        return mask

    def __or__(self, other: RegionPartition) -> RegionPartition:
        return self._combine(other, np.logical_or, 'or')

    def __and__(self, other: RegionPartition) -> RegionPartition:
        return self._combine(other, np.logical_and, 'and')

    def __invert__(self) -> RegionPartition:
        return RegionPartition(~self.mask, _file_safe(f'not_{self.name}'))

    def _combine(self, other: RegionPartition, ufunc: np.ufunc, word: str) -> RegionPartition:
        if not isinstance(other, RegionPartition):
            return NotImplemented
        if self.image_size != other.image_size:
            raise RegionError(f"regions '{self.name}' {self.image_size} and '{other.name}' {other.image_size} are of "
                              'pictures of different size (H, W): make both for the same picture')
        return RegionPartition(ufunc(self.mask, other.mask), _file_safe(f'{self.name}_{word}_{other.name}'))

    @classmethod
    def from_box(cls, x: int, y: int, width: int, height: int, image_size: tuple[int, int]) -> RegionPartition:
        """A box in pixels: `x` from the left, `y` from the top, of the picture `image_size = (H, W)`.

        Raises: RegionError if the box has no pixel, reaches outside the picture or covers all of it.
        """
        H, W = _check_size(image_size)
        try:
            x, y, width, height = (operator.index(value) for value in (x, y, width, height))
        except TypeError as error:
            raise RegionError(f'a box in pixels needs whole numbers, got x={x} y={y} width={width} height={height}: '
                              'use from_fractions for parts of the picture') from error
        if width <= 0 or height <= 0:
            raise RegionError(f'box x={x} y={y} width={width} height={height}: width and height must be positive')
        if x < 0 or y < 0 or x + width > W or y + height > H:
            raise RegionError(f'box x={x} y={y} width={width} height={height} reaches outside the picture, which is '
                              f'{W} wide and {H} high: keep x + width <= {W} and y + height <= {H}')
        mask = np.zeros((H, W), dtype=bool)
        mask[y:y + height, x:x + width] = True
        return cls(mask, f'box_{x}_{y}_{width}_{height}')

    @classmethod
    def from_fractions(cls, x: float, y: float, width: float, height: float,
                       image_size: tuple[int, int]) -> RegionPartition:
        """A box in fractions of the picture's width and height, its edges rounded to the nearest pixel.

        Raises: RegionError if a number is not between 0 and 1, or as `from_box`.
        """
        H, W = _check_size(image_size)
        box = f'box x={x} y={y} width={width} height={height}'
        if not all(0 <= value <= 1 for value in (x, y, width, height)):  # also true for NaN
            raise RegionError(f'{box}: fractions of the picture lie between 0 and 1; pixels are four whole numbers')
        if x + width > 1 or y + height > 1:
            raise RegionError(f'{box} reaches outside the picture, which is {W} wide and {H} high: '
                              'keep x + width <= 1 and y + height <= 1')
        left, top, right, bottom = (math.floor(v + 0.5) for v in (x * W, y * H, (x + width) * W, (y + height) * H))
        if width > 0 and height > 0 and (right == left or bottom == top):
            raise RegionError(f'{box} is smaller than a pixel of the picture, which is {W} wide and {H} high')
        return cls.from_box(left, top, right - left, bottom - top, image_size)

    @classmethod
    def from_center(cls, fraction: float, image_size: tuple[int, int]) -> RegionPartition:
        """The centred box that spans `fraction` of the picture's width and of its height."""
        if not 0 < fraction < 1:
            raise RegionError(f'a centred box needs a fraction between 0 and 1 of the picture, got {fraction}')
        return cls.from_fractions((1 - fraction) / 2, (1 - fraction) / 2, fraction, fraction, image_size)

    @classmethod
    def from_preset(cls, name: str, image_size: tuple[int, int]) -> RegionPartition:
        """A region of `presets.PRESETS`, scaled to the picture.

        Raises: RegionError for a name that is not there, or if the region is smaller than a pixel.
        """
        H, W = _check_size(image_size)
        if name not in PRESETS:
            raise RegionError(f"no preset region '{name}'{_near(name, PRESETS)}; presets: {', '.join(PRESETS)}")
        edges = zip(PRESETS[name].edges, (H, W, H, W), strict=True)
        top, left, bottom, right = ((2 * edge * size + GRID) // (2 * GRID) for edge, size in edges)
        if bottom == top or right == left:
            raise RegionError(f"preset region '{name}' is smaller than a pixel of the picture, which is {W} wide and "
                              f'{H} high: choose a larger region')
        return cls(cls.from_box(left, top, right - left, bottom - top, image_size).mask, name)

    @classmethod
    def from_mask(cls, source: str | os.PathLike[str] | NDArray[Any], image_size: tuple[int, int]) -> RegionPartition:
        """A mask of the picture's aspect ratio and any size; white is foreground (see `files.read_mask`)."""
        _check_size(image_size)
        return cls(region_files.fit_mask(region_files.read_mask(source), image_size), _source_name(source, 'mask'))

    @classmethod
    def from_labels(cls, source: str | os.PathLike[str] | NDArray[Any], labels: Sequence[int],
                    image_size: tuple[int, int]) -> RegionPartition:
        """The pixels of some labels of an integer label map (see `files.read_labels`).

        Some of the labels may be missing, not all: the maps of one data set differ in what they show.

        Raises: RegionError if the map has none of the labels.
        """
        _check_size(image_size)
        label_map = region_files.read_labels(source)
        if not np.isin(label_map, labels).any():
            present = np.unique(label_map)
            shown = ', '.join(str(label) for label in present[:40]) + (', ...' if len(present) > 40 else '')
            raise RegionError(f'the label map has none of the labels {list(labels)}; labels present: {shown}')
        name = _file_safe('_'.join([_source_name(source, 'labels'), *(str(label) for label in labels)]))
        return cls(np.isin(region_files.fit_labels(label_map, image_size), labels), name)


def parse_region(spec: str, image_size: tuple[int, int]) -> RegionPartition:
    """The region that a command line asks for, in the grammar of `REGION_HELP`.

    Args:
        spec: e.g. `mouth`, `10,20,64,64`, `lips=mask:lips.png&~nose`.
        image_size: `(H, W)` of the full picture.

    Raises: RegionError, which quotes `spec`.
    """
    if not isinstance(spec, str):
        raise RegionError(f"the region is {repr(spec)[:100]}, expected a text such as 'mouth' or '10,20,64,64'")
    image_size = _check_size(image_size)
    try:
        text, name = spec.strip(), None
        named = re.match(r'([^:/\\=]*)=', text)
        if named and not _operand_end(text)[1]:
            name, text = named[1].strip(), text[named.end():]
        region = _parse_union(text, image_size)
        return region if name is None else replace(region, name=name)
    except RegionError as error:
        raise RegionError(f"region '{spec}': {error}") from error


def _parse_union(text: str, image_size: tuple[int, int]) -> RegionPartition:
    """Operands joined by + and &; & binds more tightly, ~ most tightly."""
    union: RegionPartition | None = None
    product: RegionPartition | None = None  # of the operands since the last +
    while True:
        text, inverted = text.lstrip(), False
        while text.startswith('~') and not text.startswith(('~/', '~\\')) and not _operand_end(text)[1]:
            text, inverted = text[1:].lstrip(), not inverted
        end, _ = _operand_end(text)
        operand = _parse_operand(text[:end].strip(), image_size)
        operand = ~operand if inverted else operand
        product = operand if product is None else product & operand
        if text[end:end + 1] != '&':
            union, product = product if union is None else union | product, None
            if end == len(text):
                return union
        text = text[end + 1:]


def _operand_end(text: str) -> tuple[int, bool]:
    """Where the first operand ends, and whether it is an existing file: such a file may have operators in its path."""
    ends = [match.start() for match in re.finditer(r'[+&]', text)] + [len(text)]
    for end in reversed(ends):
        form, _, rest = text[:end].strip().partition(':')
        labels = re.fullmatch(_LABELS, rest)
        path = rest if form == 'mask' else labels['file'] if form == 'labels' and labels else text[:end].strip()
        if os.path.isfile(os.path.expanduser(path)):
            return end, True
    return ends[0], False


def _parse_operand(text: str, image_size: tuple[int, int]) -> RegionPartition:
    form, colon, rest = text.partition(':')
    if colon and form in _FORMS:
        return _FORMS[form](rest, image_size)
    if text in PRESETS:
        return RegionPartition.from_preset(text, image_size)
    path = os.path.expanduser(text)
    if re.match(r'\w\w+:', text) and not os.path.isfile(path):  # one letter before the colon is a drive
        raise RegionError(f"no form of region '{form}:'{_near(form, _FORMS)}; forms: {', '.join(_FORMS)}")
    if os.path.isfile(path) or re.search(r'[/\\]|\.[A-Za-z]\w{1,4}$', text):
        return RegionPartition.from_mask(path, image_size)
    if ',' in text and all(name.strip() in PRESETS for name in text.split(',')):
        names = [name.strip() for name in text.split(',')]
        raise RegionError(f'several regions are written {" ".join(f"--region={name}" for name in names)}, and one '
                          f'region of them all --region={"+".join(names)}')
    if ',' in text:
        return _parse_box(text.split(','), image_size)
    if not text:
        raise RegionError('a region is missing before or after an operator, or the text is empty')
    raise RegionError(f"'{text}' is not a region{_near(text.lower(), PRESETS)}; presets: {', '.join(PRESETS)}; "
                      f"other forms: x,y,width,height, {', '.join(form + ':...' for form in _FORMS)}, or the path of a "
                      'mask')


def _parse_box(numbers: Sequence[str], image_size: tuple[int, int]) -> RegionPartition:
    """The box of `x, y, width, height`: pixels if all are whole numbers, else fractions of the picture."""
    if len(numbers) != 4:
        raise RegionError(f'a box has four numbers x,y,width,height (from the left, from the top), got {len(numbers)}')
    if all(re.fullmatch(r'\s*-?\d{1,18}\s*', number) for number in numbers):
        left, top, columns, rows = (int(number) for number in numbers)
        return RegionPartition.from_box(left, top, columns, rows, image_size)
    x, y, width, height = (_number(number) for number in numbers)
    return RegionPartition.from_fractions(x, y, width, height, image_size)


def _parse_box_form(text: str, image_size: tuple[int, int]) -> RegionPartition:
    pairs = [item.partition('=')[::2] for item in text.split(',')]
    sides = {key.strip(): value for key, value in pairs}
    if len(pairs) != 4 or set(sides) != {'x', 'y', 'w', 'h'}:
        raise RegionError(f"box:{text} must give each of x=, y=, w= and h= once, as in box:x=0.3,y=0.6,w=0.4,h=0.2")
    return _parse_box([sides[key] for key in 'xywh'], image_size)


def _parse_labels_form(text: str, image_size: tuple[int, int]) -> RegionPartition:
    match = re.fullmatch(_LABELS, text)
    if match is None:
        raise RegionError(f'labels:{text} must be labels:FILE:NUMBERS, as in labels:parts.png:1,2,5')
    labels = [int(number) for number in match['numbers'].split(',')]
    return RegionPartition.from_labels(os.path.expanduser(match['file']), labels, image_size)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise RegionError(f"'{text}' is not a number") from error


_FORMS = {
    'box': _parse_box_form,
    'center': lambda text, image_size: RegionPartition.from_center(_number(text), image_size),
    'mask': lambda text, image_size: RegionPartition.from_mask(os.path.expanduser(text), image_size),
    'labels': _parse_labels_form,
}


def _check_sides(mask: NDArray[np.bool_], name: str, if_empty: str, if_full: str) -> None:
    size = ' x '.join(str(side) for side in reversed(mask.shape))
    if not mask.any():
        raise RegionError(f"region '{name}' is empty: it has no pixel at {size} (width x height); {if_empty}")
    if mask.all():
        raise RegionError(f"region '{name}' is full: it has all pixels at {size} (width x height) and there is no "
                          f'background to keep; {if_full}')


def _check_size(image_size: tuple[int, int]) -> tuple[int, int]:
    try:
        H, W = map(operator.index, image_size)
    except (TypeError, ValueError):
        H = W = 0
    if H < 1 or W < 1:
        raise RegionError(f'image_size is {image_size!r}, expected (H, W) of at least 1: image_shape[1:] of a hook')
    return H, W


def _source_name(source: str | os.PathLike[str] | NDArray[Any], otherwise: str) -> str:
    return otherwise if isinstance(source, np.ndarray) else _file_safe(Path(source).stem) or otherwise


def _file_safe(text: str) -> str:
    """`text` as a region name; a long one is cut and keeps a checksum, so that different ones stay different."""
    name = re.sub(r'[^A-Za-z0-9_-]+', '_', text).strip('_-')
    return name if len(name) <= 64 else f'{name[:55]}_{zlib.crc32(text.encode()):08x}'


def _near(word: str, valid: Iterable[str]) -> str:
    close = [OTHER_NAMES[word]] if word in OTHER_NAMES else difflib.get_close_matches(word, list(valid), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ''
