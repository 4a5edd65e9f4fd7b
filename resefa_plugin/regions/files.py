"""Masks and label maps from files and arrays, brought to the size of the picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from resefa_plugin.checkpoints import formats
from resefa_plugin.errors import RegionError
from resefa_plugin.machine.arrays import read_npy, reading
from resefa_plugin.machine.images import ImageUse

MASK = ImageUse('mask', 4096 * 4096, 'resize it to fit the picture', 'a mask', RegionError,
                formats.instead_of_picture)
# The value of white in each kind of mask array. Pillow reads some 16-bit grey files into 32-bit integers.
_WHITE = {'uint8': 255, 'uint16': 65535, 'int32': 65535, 'float32': 1.0, 'float64': 1.0}


def read_mask(source: str | os.PathLike[str] | NDArray[Any]) -> NDArray[np.bool_]:
    """A mask of any size: true where it is at least half as bright as white.

    Whole numbers that are all 0 or 1 are black and white. Transparent pixels are background; in a file whose pixels
    have one colour and differ only in opacity, the opacity is the mask.

    Args:
        source: an image file (1-bit, grey, 16-bit, palette, RGB, with or without alpha), or an array `[h, w]`, also in
            a numpy file (.npy), of booleans, uint8 (white is 255), uint16 (65535) or floats from 0 to 1.

    Returns: bool `[h, w]`.

    Raises: RegionError for a file that is missing or not an image, and for values that are not a mask.
    """
    if isinstance(source, np.ndarray):
        return _threshold(source, 'mask array')
    if _is_npy(source):
        return _threshold(_load_npy(source), f"mask '{source}'")
    image = _load_image(source)
    opaque_grey = image.mode in ('1', 'L') and 'transparency' not in image.info
    if opaque_grey or image.mode in ('I', 'F') or image.mode.startswith('I;16'):
        return _threshold(np.asarray(image), f"mask '{source}'")
    with MASK.decoding(source):
        image = image.convert('RGBA')
        alpha, grey = image.getchannel('A'), image.convert('L')
        extremes: Any = image.getextrema()  # of each channel
    del image  # the largest of these, and a mask may have many pixels
    if extremes[3][0] < extremes[3][1] and all(low == high for low, high in extremes[:3]):
        return _threshold(np.asarray(alpha), f"opacity of mask '{source}'")
    # Laid over black: transparent pixels are dark, whatever colour is stored in them.
    luminance = np.array(grey)
    np.floor_divide(np.multiply(luminance, np.asarray(alpha), dtype=np.uint16), 255, out=luminance, casting='unsafe')
    return _threshold(luminance, f"mask '{source}'")


def read_labels(source: str | os.PathLike[str] | NDArray[Any]) -> NDArray[Any]:
    """An integer label map of any size.

    Args:
        source: a palette or grey image file (a palette's indices are the labels), a numpy file (.npy), or an integer
            array `[h, w]`.

    Returns: integers `[h, w]`.

    Raises: RegionError for a file that is missing, needs pickle, or holds other things than label numbers.
    """
    if isinstance(source, np.ndarray):
        labels, what = source, 'label array'
    elif _is_npy(source):
        labels, what = _load_npy(source), f"label map '{source}'"
    else:
        what = f"label map '{source}'"
        image = _load_image(source)
        if image.format == 'JPEG':
            raise RegionError(f'{what} is a JPEG file, which alters label numbers: save it as PNG or .npy')
        labels = np.asarray(image)
        if image.mode == 'RGB' and (labels == labels[..., :1]).all():  # grey, saved by a tool that writes RGB only
            labels = labels[..., 0]
        elif labels.ndim != 2:
            raise RegionError(f'{what} has colours ({image.mode}), expected label numbers: '
                              'save it as a palette or grey PNG, or as an integer .npy')
    if labels.ndim != 2 or 0 in labels.shape or labels.dtype.kind not in 'biu':
        raise RegionError(f'{what} must hold whole numbers [h, w], got {labels.dtype} {list(labels.shape)}')
    return labels.astype(np.uint8) if labels.dtype == bool else labels


def fit_mask(mask: NDArray[np.bool_], image_size: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask `[h, w]` of the picture's aspect ratio, brought to `image_size = (H, W)` as `majority` does.

    Raises: RegionError for another aspect ratio.
    """
    check_aspect(mask.shape, image_size)
    return majority(mask, *image_size)


def fit_labels(labels: NDArray[Any], image_size: tuple[int, int]) -> NDArray[Any]:
    """A label map `[h, w]` of the picture's aspect ratio, brought to `image_size = (H, W)`: the nearest label.

    Raises: RegionError for another aspect ratio.
    """
    check_aspect(labels.shape, image_size)
    rows, cols = ((2 * np.arange(size) + 1) * length // (2 * size)
                  for size, length in zip(image_size, labels.shape, strict=True))
    return np.asarray(labels[np.ix_(rows, cols)])


def check_aspect(shape: tuple[int, ...], image_size: tuple[int, int]) -> None:
    """Raises RegionError unless `shape = (h, w)` is `image_size = (H, W)` scaled, one side rounded to whole pixels."""
    (h, w), (height, width) = shape, image_size
    if 2 * abs(h * width - w * height) > max(height, width):
        raise RegionError(f'the mask or label map is {w} x {h} (width x height), the picture {width} x {height}: the '
                          'aspect ratios differ; crop or pad it to the shape of the picture')


def majority(mask: NDArray[np.bool_], h: int, w: int) -> NDArray[np.bool_]:
    """Resamples booleans `[H, W]` to `[h, w]`: true where at least half of the area of a pixel is true.

    In whole numbers, so that a half is exactly a half.
    """
    covered = _overlap_sums(_overlap_sums(mask, h).T, w).T  # [h, w], the true area, times h w
    return np.asarray(2 * covered >= mask.shape[0] * mask.shape[1])


def _overlap_sums(values: NDArray[Any], size: int) -> NDArray[np.int64]:
    """Sums of `values [n, m]` over `size` equal parts of the first axis, times `size`: int64 `[size, m]`.

    A row that two parts share counts in each by the length of the row in it. All lengths are in units of 1 / `size`.
    """
    n = len(values)
    sums = np.empty((size, values.shape[1]), dtype=np.int64)
    for i in range(size):
        first, last = i * n // size, -(-(i + 1) * n // size)
        edges = np.clip(np.arange(first, last + 1) * size, i * n, (i + 1) * n)
        sums[i] = np.diff(edges) @ values[first:last]
    return sums


def _threshold(values: NDArray[Any], what: str) -> NDArray[np.bool_]:
    """Where values are at least half of white; whole numbers that are all 0 or 1 are black and white already."""
    if values.ndim != 2 or 0 in values.shape:
        raise RegionError(f'{what} must be [h, w], got {list(values.shape)}')
    if values.dtype.kind in 'biu' and values.max() <= 1 and values.min() >= 0:
        return values.astype(bool)
    white = _WHITE.get(values.dtype.name)
    if white is None:
        raise RegionError(f'{what} must be booleans, uint8, uint16 or floats from 0 to 1, got {values.dtype}')
    if not (values.min() >= 0 and values.max() <= white):  # also true for NaN
        raise RegionError(f'{what} must have values from 0 to {white}, got {values.min()} to {values.max()}')
    mask = values >= (white / 2 if values.dtype.kind == 'f' else (int(white) + 1) // 2)
    if not mask.any():
        raise RegionError(f'{what} is empty: its brightest value is {values.max()} and foreground starts at half of '
                          f'{white}; paint the region white, or read a label map with labels:FILE:NUMBERS')
    return mask


def _is_npy(path: str | os.PathLike[str]) -> bool:
    MASK.check_file(path)
    with reading(Path(path), RegionError):
        return formats.format_of_file(path) is formats.NPY


def _load_npy(path: str | os.PathLike[str]) -> NDArray[Any]:
    with reading(Path(path), RegionError):
        return read_npy(Path(path))


def _load_image(path: str | os.PathLike[str]) -> Image.Image:
    """The first frame of an image file, turned as its camera says that it is shown: a person painted on what he saw."""
    image = MASK.load(path)
    with MASK.decoding(path):
        ImageOps.exif_transpose(image, in_place=True)
    return image
