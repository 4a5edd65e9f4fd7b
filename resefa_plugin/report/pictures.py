"""Pictures for people: the region on the sample, strips and sheets of edits, where a change falls.

Everything is drawn with pillow and its built-in typeface, so the files are the same on every machine. Only `save_png`
and `save_jpeg` touch the disk.
"""

from __future__ import annotations

import bisect
import colorsys
import functools
import io
import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.ndimage
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from resefa_plugin.errors import NonFiniteError, RegionError, ResefaError
from resefa_plugin.machine.files import replacing
from resefa_plugin.machine.pixels import to_uint8 as to_uint8
from resefa_plugin.regions.partition import RegionPartition
from resefa_plugin.report.colour_scale import colours

GREY_LEVELS = 127.5  # one unit of the [-1, 1] scale, in grey levels of 255

# Background; texts; texts and lines of less weight; faint lines; what stands out. sRGB, 0 to 255.
PAPER, INK, MUTED, FAINT, ACCENT = (255, 255, 255), (29, 33, 38), (96, 103, 112), (222, 221, 217), (0, 98, 155)
_TINT, _DIM = 0.14, 0.76          # share of the accent inside the region, brightness outside of it
_TICKS = (0, 0.25, 0.5, 0.75, 1)  # of a colour bar, as shares of its length
_AROUND, _FLATTEST, _MOSTLY = 0.5, 1.0, 0.6  # of a part: what is around the region, its flattest form, the largest
_GOLDEN, _COLOURED = 0.618034, 0.45  # of the hues of several regions; share of a colour
_INNER = 0.9  # of the largest distance to the border of a region: where its name may stand
_GROUND = 0.3                     # brightness of the picture under a heat map
# The built-in typeface has no dashes and no multiplication sign.
_PLAIN = str.maketrans({'\u2212': '-', '\u2013': '-', '\u2014': '-', '\u00d7': 'x'})


def significant(value: float, digits: int = 3) -> str:
    """A figure with so many significant digits, without trailing zeros: `0.0123`, `8.7`, `1.5e-5`."""
    if not math.isfinite(value):
        return 'not finite'
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return np.format_float_positional(float(f'{value:.{digits}g}'), trim='-')
    mantissa, exponent = f'{value:.{digits - 1}e}'.split('e')
    return f'{float(mantissa):g}e{int(exponent)}'


def strength_captions(strengths: Sequence[float]) -> list[str]:
    """Captions `-3 ... 0 ... +3`; the caption `0` marks the unedited picture in strips and sheets."""
    return [('+' if value > 0 else '') + significant(value) for value in strengths]


def region_overlay(image: Image.Image, mask: ArrayLike) -> Image.Image:
    """The region tinted and outlined, the rest dimmed.

    The outline is a light line with a dark one around it: one of them stands out on any picture.

    Args:
        image: the picture.
        mask: `[H, W]`, nonzero inside the region (array, tensor or pillow image).

    Raises:
        RegionError: mask and picture differ in size.
    """
    inside = _region(mask, image)
    rgb = np.asarray(image.convert('RGB'), float)
    marked = np.where(inside[..., None], rgb * (1 - _TINT) + np.array(ACCENT) * _TINT, rgb * _DIM)
    return Image.fromarray(_outlined(marked.round().astype(np.uint8), inside))


def regions_overlay(image: Image.Image, regions: Sequence[RegionPartition]) -> Image.Image:
    """Several regions, each in a colour of its own with its name in the middle of its largest part.

    Raises RegionError if one of them and the picture differ in size.
    """
    rgb = np.asarray(image.convert('RGB'), float)
    hues = (np.arange(len(regions)) * _GOLDEN) % 1  # far apart, however many there are
    tints = np.array([colorsys.hls_to_rgb(hue, 0.5, 0.8) for hue in hues]) * 255
    for region, tint in zip(regions, tints, strict=True):
        inside = _region(region.mask, image)
        rgb[inside] = rgb[inside] * (1 - _COLOURED) + tint * _COLOURED
    marked = Image.fromarray(rgb.round().astype(np.uint8))
    draw, font = ImageDraw.Draw(marked), _font(max(10, image.width // 40))
    for region in regions:
        deep = scipy.ndimage.distance_transform_edt(np.pad(region.mask, 1))[1:-1, 1:-1]
        inner = np.argwhere(deep >= _INNER * deep.max())
        row, column = inner[np.square(inner - inner.mean(axis=0)).sum(axis=1).argmin()].tolist()
        draw.text((column, row), region.name, PAPER, font, anchor='mm', stroke_width=2, stroke_fill=INK)
    return marked


def region_box(mask: ArrayLike) -> tuple[int, int, int, int]:
    """The part of a picture in which a region is seen well: it and some of what is around it.

    Args:
        mask: `[H, W]`, nonzero inside the region, which is not empty.

    Returns: left, top, right, bottom in pixels, as pillow's `crop` takes them; all of the picture where the region is
        so large that a part would hardly show it better.
    """
    inside = np.asarray(mask) != 0
    height, width = inside.shape
    spans = [np.flatnonzero(inside.any(axis)) for axis in (1, 0)]
    (top, bottom), (left, right) = ((int(span[0]), int(span[-1]) + 1) for span in spans)
    longer = max(bottom - top, right - left)
    rows = min(height, max(bottom - top + longer * _AROUND, longer * _FLATTEST))
    columns = min(width, max(right - left + longer * _AROUND, longer * _FLATTEST))
    if rows * columns > _MOSTLY * height * width:
        return 0, 0, width, height
    y = min(max(round((top + bottom - rows) / 2), 0), height - round(rows))
    x = min(max(round((left + right - columns) / 2), 0), width - round(columns))
    return x, y, x + round(columns), y + round(rows)


def strip(images: Sequence[Image.Image], captions: Sequence[str], title: str = '', tile: int = 256) -> Image.Image:
    """One direction: pictures side by side, a caption below each, the one captioned `0` framed.

    Args:
        images: pictures of one size, from the lowest strength to the highest.
        captions: one for each picture, see `strength_captions`.
        title: above the pictures; may be empty.
        tile: longer side of a picture in the strip, pixels.

    Raises:
        ResefaError: no pictures, pictures of several sizes, or not one caption for each.
    """
    return _grid([images], [''], captions, title, tile, captions_below=True)


def contact_sheet(rows: Sequence[Sequence[Image.Image]], row_labels: Sequence[str], column_labels: Sequence[str],
                  title: str = '', tile: int = 192) -> Image.Image:
    """Strips under each other, labelled on the left and above; the column labelled `0` is framed.

    Args:
        rows: rows of equally many pictures of one size.
        row_labels: one for each row; what follows a line break is set smaller.
        column_labels: one for each column.
        title: above the sheet; may be empty.
        tile: longer side of a picture in the sheet, pixels.

    Raises:
        ResefaError: no pictures, ragged rows, pictures of several sizes, or not one label for each row and column.
    """
    return _grid(rows, row_labels, column_labels, title, tile, captions_below=False)


def heat_map(change: Tensor | NDArray[Any], mask: ArrayLike, image: Image.Image, top: float | None = None,
             size: int = 640) -> Image.Image:
    """|change|, averaged over channels, as light on the darkened grey picture; with the region and a colour bar.

    Args:
        change: `[C, H, W]`, the edited picture minus the unedited one on the [-1, 1] scale.
        mask: `[H, W]`, nonzero inside the region.
        image: the unedited picture.
        top: grey levels of 255 at the upper end of the colour bar; None for a round number that at most one pixel
            in a thousand exceeds.
        size: longer side of the picture in the result, pixels.

    Raises:
        ResefaError: change, mask and picture differ in size, or top is not positive.
        NonFiniteError: change contains NaN or infinity.
    """
    lit, top = lit_by_change(change, mask, image, top)
    return _beside_colour_bar(thumbnail(lit, size), top, size)


def lit_by_change(change: Tensor | NDArray[Any], mask: ArrayLike, image: Image.Image,
                  top: float | None = None) -> tuple[Image.Image, float]:
    """`heat_map` without its colour bar, as large as the picture, and the grey levels that are brightest in it."""
    difference = np.asarray(torch.as_tensor(change).detach().cpu(), float)
    inside = _region(mask, image)
    if difference.ndim != 3 or difference.shape[1:] != inside.shape:
        raise ResefaError(f'change has shape {list(difference.shape)}; expected [C, {inside.shape[0]}, '
                          f'{inside.shape[1]}]')
    if not np.isfinite(difference).all():
        raise NonFiniteError('change contains NaN or infinity: the edit left the network\'s range; lower the strength')
    if top is not None and not 0 < top < math.inf:
        raise ResefaError(f'top is {top}; expected a positive number of grey levels')
    levels = np.abs(difference).mean(0) * GREY_LEVELS
    top = _round_up(float(np.quantile(levels, 0.999))) if top is None else top
    t = np.minimum(levels / top, 1)[..., None]
    ground = np.asarray(image.convert('L'), float)[..., None] * _GROUND
    lit = (ground * (1 - t) + colours(t[..., 0])).clip(0, 255)
    return Image.fromarray(_outlined(lit.round().astype(np.uint8), inside)), top


def thumbnail(image: Image.Image, tile: int) -> Image.Image:
    """The picture in RGB, its longer side at most `tile` pixels.

    A larger one is resampled (Lanczos); a smaller one grows by a whole factor, each pixel repeated.
    """
    longer = max(image.size)
    if longer > tile:
        width, height = (max(1, round(side * tile / longer)) for side in image.size)
        return image.convert('RGB').resize((width, height), Image.Resampling.LANCZOS)
    factor = tile // longer
    return image.convert('RGB').resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def jpeg_bytes(image: Image.Image, quality: int = 88, note: str = '') -> bytes:
    """The picture as a JPEG with full colour resolution: lips and irises are small. `note`: its comment."""
    buffer = io.BytesIO()
    # Not `optimize` or `progressive`: they need the file to fit pillow's buffer, and noisy pictures do not.
    image.convert('RGB').save(buffer, 'JPEG', quality=quality, subsampling=0, comment=note)
    return buffer.getvalue()


def save_jpeg(image: Image.Image, path: str | os.PathLike[str], quality: int = 88, note: str = '') -> None:
    """Writes a JPEG; the file is complete or not there. `note`: its comment."""
    with replacing(path) as part:
        part.write_bytes(jpeg_bytes(image, quality, note))


def save_png(image: Image.Image, path: str | os.PathLike[str], note: str = '') -> None:
    """Writes a PNG; the file is complete or not there. `note`: `Description` in its text."""
    text = PngInfo()
    if note:
        text.add_text('Description', note)
    with replacing(path) as part:
        image.save(part, 'PNG', pnginfo=text)


def _region(mask: ArrayLike, image: Image.Image) -> NDArray[np.bool_]:
    """Where the mask is nonzero, bool `[H, W]`."""
    inside = np.asarray(mask) != 0
    if inside.shape != image.size[::-1]:
        raise RegionError(f'mask has shape {list(inside.shape)}; expected [H, W] = {list(image.size[::-1])},'
                          ' the size of the picture')
    return np.asarray(inside)


def _dilated(inside: NDArray[np.bool_], radius: int, border: bool) -> NDArray[np.bool_]:
    """True where a pixel at most `radius` rows and columns away is true; `border` is what lies around the picture."""
    for axis in (0, 1):
        padding = [(radius, radius) if axis == i else (0, 0) for i in (0, 1)]
        padded = np.pad(inside, padding, constant_values=border)
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1, axis)  # a last axis of neighbours
        inside = np.asarray(windows.any(-1))
    return inside


def _outlined(rgb: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The picture `[H, W, 3]` with a light line just inside the region and a dark one just outside."""
    radius = max(1, round(max(inside.shape) / 360))
    light = inside & _dilated(~inside, radius, border=True)
    dark = ~inside & _dilated(inside, radius, border=False)
    return np.where(light[..., None], PAPER, np.where(dark[..., None], INK, rgb)).astype(np.uint8)


def _round_up(value: float) -> float:
    """The next of ... 0.1, 0.2, 0.5, 1, 2, 5, 10 ... that is at least `value`; 1 for zero."""
    if value <= 0:
        return 1
    decade = 10.0 ** math.floor(math.log10(value))
    return next(step * decade for step in (1, 2, 5, 10) if value <= step * decade * (1 + 1e-9))


def _beside_colour_bar(picture: Image.Image, top: float, size: int) -> Image.Image:
    """The picture with a colour bar from 0 to `top` grey levels on its right; letters and gaps grow with `size`.

    Below a flat picture there is paper, so that the bar has room.
    """
    font, margin, thickness = _font(size // 22), size // 24, size // 32
    label = 'grey levels'
    ticks = thickness + margin // 2 + max(font.getlength(significant(share * top)) for share in _TICKS)
    width = picture.width + 2 * margin + math.ceil(max(ticks, font.getlength(label)))
    canvas = Image.new('RGB', (width, max(picture.height, size // 2)), PAPER)
    canvas.paste(picture)
    draw, left, head, foot = ImageDraw.Draw(canvas), picture.width + margin, size // 8, canvas.height - margin
    draw.text((left, head - margin), label, MUTED, font, 'ls')
    ramp = colours(np.linspace(1, 0, foot - head))[:, None].round().astype(np.uint8)
    canvas.paste(Image.fromarray(ramp.repeat(thickness, 1)), (left, head))
    for share in _TICKS:
        line = foot + share * (head - foot)
        draw.line([(left + thickness, line), (left + thickness + margin // 4, line)], MUTED, 1 + size // 640)
        draw.text((left + thickness + margin // 2, line), significant(share * top), INK, font, 'lm')
    return canvas


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # the other typeface is for Pillow without FreeType
    return font


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """One line that fits the width, cut with an ellipsis if it must be."""
    text = ' '.join(text.translate(_PLAIN).split())
    if font.getlength(text) <= width:
        return text
    keep = bisect.bisect_right(range(1, len(text)), width, key=lambda n: font.getlength(text[:n] + '\u2026'))
    return text[:keep].rstrip() + '\u2026'


def _grid(rows: Sequence[Sequence[Image.Image]], row_labels: Sequence[str], column_labels: Sequence[str], title: str,
          tile: int, captions_below: bool) -> Image.Image:
    """Rows of pictures of one size, with a title, labels on the left, and captions above or below."""
    columns = len(column_labels)
    if not rows or not columns or len(rows) != len(row_labels) or any(len(row) != columns for row in rows):
        raise ResefaError(f'pictures per row are {[len(row) for row in rows]}; expected {len(row_labels)} rows of'
                          f' {columns}, one picture for each label')
    sizes = {image.size for row in rows for image in row}
    if len(sizes) > 1:
        raise ResefaError(f'pictures have the sizes {sorted(sizes)}; expected one size')
    large, small = _font(max(12, tile // 9)), _font(max(11, tile // 12))
    fonts = (large, small, small)  # of the lines of a label
    gap, margin, frame = max(4, tile // 32), tile // 8, max(2, tile // 96)
    tile_width, tile_height = thumbnail(rows[0][0], tile).size
    labels = [[_fitted(line, font, 1.4 * tile) for line, font in zip(label.split('\n'), fonts, strict=False)]
              for label in row_labels]
    label_width = max(font.getlength(line) for lines in labels for line, font in zip(lines, fonts, strict=False))
    left = margin + math.ceil(label_width + margin if label_width else 0)
    title_height = round(large.size * 1.9) if title else 0
    caption_height = round(small.size * 1.9)
    head = margin + title_height + (0 if captions_below else caption_height)
    width = left + columns * (tile_width + gap) - gap + margin
    bottom = head + len(rows) * (tile_height + gap) - gap
    canvas = Image.new('RGB', (width, bottom + (caption_height if captions_below else 0) + margin), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((margin, margin + large.size), _fitted(title, large, width - 2 * margin), INK, large, 'ls')
    for j, caption in enumerate(column_labels):
        x = left + j * (tile_width + gap)
        line = bottom + round(small.size * 1.6) if captions_below else head - round(small.size * 0.7)
        colour = INK if caption == '0' else MUTED
        draw.text((x + tile_width / 2, line), _fitted(caption, small, tile_width), colour, small, 'ms')
        if caption == '0':
            draw.rectangle([x - frame, head - frame, x + tile_width + frame - 1, bottom + frame - 1], outline=INK,
                           width=frame)
    for i, (row, lines) in enumerate(zip(rows, labels, strict=True)):
        y = head + i * (tile_height + gap)
        base = y + tile_height / 2 + large.size * 0.35 - (len(lines) - 1) * small.size * 0.7
        for text, font, colour in zip(lines, fonts, (INK, MUTED, MUTED), strict=False):
            draw.text((margin, base), text, colour, font, 'ls')
            base += small.size * 1.4
        for j, image in enumerate(row):
            canvas.paste(thumbnail(image, tile), (left + j * (tile_width + gap), y))
    return canvas
