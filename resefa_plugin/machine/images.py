"""Image files of others, decoded within bounds: by the formats that are wanted, and not before their size is known."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image

from resefa_plugin.errors import ResefaError, printable

PIXELS_PER_BYTE = 16  # of a photograph, at most: JPEG of the lowest quality
# Of what pictures are saved as. Pillow reads some others with other programs.
FORMATS = 'PNG', 'JPEG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'PPM'


@dataclass(frozen=True)
class ImageUse:
    """What image files are read for.

    Attributes:
        what: a picture is meant to be, such as `mask`.
        most_pixels: in all; of larger ones, no pixel is decoded.
        free_pixels: that a file of any length may have; a larger picture takes a byte for every 16 pixels, as
            photographs do. None where small files are large pictures, as masks are.
        remedy: what to do about one that is too large.
        expected: instead of a file that is not an image.
        error_class: of all that is raised.
        instead: says what a file that is no image is instead, and what to do; empty if it seems to be one.
    """

    what: str
    most_pixels: int
    remedy: str
    expected: str
    error_class: type[ResefaError]
    instead: Callable[[str | os.PathLike[str]], str] = lambda path: ''
    free_pixels: int | None = None

    def load(self, path: str | os.PathLike[str]) -> Image.Image:
        """The first frame of a file of FORMATS, whatever its ending, decoded."""
        self.check_file(path)
        with self.decoding(path):
            with open(path, 'rb') as file:
                size = webp_size(file.read(32))
            if size is not None:  # Pillow makes room for the pixels of these when it opens them
                self._check_size(path, *size)
            with Image.open(path, formats=FORMATS) as image:
                self._check_size(path, image.width, image.height)
                image.load()  # the pixels stay when the file is closed
        return image

    def _check_size(self, path: str | os.PathLike[str], width: int, height: int) -> None:
        if width * height > self.most_pixels:
            raise self.error_class(f"'{path}' is {width} x {height} pixels, more than any {self.what} needs "
                                   f'({self.most_pixels} in all): {self.remedy}')
        if self.free_pixels is not None and \
                width * height > max(self.free_pixels, PIXELS_PER_BYTE * os.path.getsize(path)):
            raise self.error_class(f"'{path}' is {width} x {height} pixels in {os.path.getsize(path)} bytes, which is "
                                   f'no {self.what}: {self.remedy}')

    @contextlib.contextmanager
    def decoding(self, path: str | os.PathLike[str]) -> Iterator[None]:
        """Turns whatever Pillow raises into the one class of errors, and what it would only warn of as well.

        It decodes lazily, so that this may be needed in several places.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('error', Image.DecompressionBombWarning)
                yield
        except self.error_class:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise self.error_class(f"'{path}' has too many pixels for a {self.what} ({error}): "
                                   f'{self.remedy}') from error
        except Exception as error:  # decoders raise anything about damaged files
            why = self.instead(path) or printable(str(error), 200)
            raise self.error_class(f"'{path}' is not an image that can be read ({why}): expected {self.expected}"
                                   ) from error

    def check_file(self, path: str | os.PathLike[str]) -> None:
        """Raises unless there is a file."""
        if os.path.isdir(path):
            raise self.error_class(f"'{path}' is a folder, expected an image file")
        if not os.path.isfile(path):
            raise self.error_class(f"file '{path}' is not there: check the path")


def webp_size(head: bytes) -> tuple[int, int] | None:
    """Width and height that the first 32 bytes of a WebP file claim; None for other files."""
    if head[:4] != b'RIFF' or head[8:12] != b'WEBP' or len(head) < 30:
        return None
    if head[12:16] == b'VP8X':
        return int.from_bytes(head[24:27], 'little') + 1, int.from_bytes(head[27:30], 'little') + 1
    if head[12:16] == b'VP8L':
        bits = int.from_bytes(head[21:25], 'little')
        return (bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1
    return int.from_bytes(head[26:28], 'little') & 0x3fff, int.from_bytes(head[28:30], 'little') & 0x3fff
