"""Image files of others, decoded within bounds: by the formats that are wanted, and not before their size is known."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from resefa_plugin.errors import ResefaError, printable

# Of what pictures are saved as. Pillow reads some others with other programs.
FORMATS = 'PNG', 'JPEG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'PPM'


@dataclass(frozen=True)
class ImageUse:
    """What image files are read for.

    Attributes:
        what: a picture is meant to be, such as `mask`.
        most_pixels: in all; of larger ones, no pixel is decoded.
        remedy: what to do about one that is too large.
        expected: instead of a file that is not an image.
        error_class: of all that is raised.
    """

    what: str
    most_pixels: int
    remedy: str
    expected: str
    error_class: type[ResefaError]

    def load(self, path: str | os.PathLike[str]) -> Image.Image:
        """The first frame of a file of FORMATS, whatever its ending, decoded."""
        self.check_file(path)
        with self.decoding(path), Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > self.most_pixels:
                raise self.error_class(f"'{path}' is {image.width} x {image.height} pixels, more than any {self.what} "
                                       f'needs ({self.most_pixels} in all): {self.remedy}')
            image.load()  # the pixels stay when the file is closed
        return image

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
            raise self.error_class(f"'{path}' is not an image that can be read ({printable(str(error), 200)}): "
                                   f'expected {self.expected}') from error

    def check_file(self, path: str | os.PathLike[str]) -> None:
        """Raises unless there is a file."""
        if os.path.isdir(path):
            raise self.error_class(f"'{path}' is a folder, expected an image file")
        if not os.path.isfile(path):
            raise self.error_class(f"file '{path}' is not there: check the path")
