"""Photographs as they come from people, read within bounds: turned upright, in colours that a network knows.

The photograph itself stays what it was, with its size, kind of pixels, colour profile and EXIF: edits are laid into it.
"""

from __future__ import annotations

import functools
import io
import os
import pathlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

from resefa_plugin.checkpoints.formats import instead_of_picture
from resefa_plugin.errors import PhotographError
from resefa_plugin.machine.files import replacing
from resefa_plugin.machine.images import ImageUse

PHOTOGRAPH = ImageUse('photograph', 8192 * 8192, 'make it smaller', 'a photograph as PNG, JPEG, WebP or TIFF',
                      PhotographError, instead_of_picture, free_pixels=4096 * 3072)
# Files of phones that not every Pillow reads, by the brand behind `ftyp`.
PHONE_FORMATS = {b'heic': 'HEIC', b'heix': 'HEIC', b'hevc': 'HEIC', b'mif1': 'HEIC', b'msf1': 'HEIC', b'avif': 'AVIF'}
WHITE = 255
EDITED = 'An edited photograph: a part of it was made by a generative network with resefa_plugin.'
# How programs tell such pictures: the term of the IPTC for photographs with parts that a trained model made.
SOURCE_TYPE = 'http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia'
XMP = f'''<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}">
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{EDITED}</rdf:li></rdf:Alt></dc:description>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>'''


@dataclass(frozen=True)
class Photograph:
    """A photograph, upright.

    Attributes:
        image: the pixels that edits are laid into, of mode L, LA, RGB or RGBA; `image.info` has profile and EXIF.
        name: stem of the file names made from it.
        notes: what was changed when it was read, in sentences.
    """

    image: Image.Image
    name: str
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, pixels."""
        return self.image.height, self.image.width

    @functools.cached_property
    def rgb(self) -> NDArray[np.uint8]:
        """What a viewer shows: sRGB `[H, W, 3]`, transparent pixels over white."""
        image = self.image
        if image.mode in ('LA', 'RGBA'):
            over = Image.new('RGBA', image.size, (WHITE,) * 4)
            image = Image.alpha_composite(over, image.convert('RGBA'))
        colours = image.convert('RGB')
        return np.array(colours if self._profile is None else _converted(colours, self._profile, SRGB))

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """`[H, W, 3]` in the photograph's own colours, without its opacity: what edits are laid into."""
        return np.array(self.image.convert('RGB'))

    def with_pixels(self, pixels: NDArray[np.uint8]) -> Image.Image:
        """The photograph with other `pixels`: its mode and its opacity stay."""
        image = Image.fromarray(pixels)
        if self.image.mode in ('L', 'LA'):
            image = image.convert('L')
        if self.image.mode in ('LA', 'RGBA'):
            image.putalpha(self.image.getchannel('A'))
        return image

    def in_its_colours(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """sRGB pixels `[h, w, 3]` as the photograph's own profile writes them; grey if it is grey."""
        if self.image.mode in ('L', 'LA'):
            return np.array(Image.fromarray(rgb).convert('L').convert('RGB'))
        return rgb if self._profile is None else np.array(_converted(Image.fromarray(rgb), SRGB, self._profile))

    @functools.cached_property
    def _profile(self) -> ImageCms.ImageCmsProfile | None:
        """Of its colours; None where they are taken for sRGB."""
        return None if self.image.mode in ('L', 'LA') else _profile(self.image)

    def save(self, image: Image.Image, path: str | os.PathLike[str]) -> None:
        """Writes an edit of the photograph as PNG, with the photograph's profile, EXIF and resolution.

        The file says that it is edited: in words, `Description` of its text, and as programs read it, in XMP.
        """
        info, text = self.image.info, PngInfo()
        text.add_text('Description', EDITED)
        text.add_itxt('XML:com.adobe.xmp', XMP)
        kept = {key: info[key] for key in ('icc_profile', 'exif', 'dpi') if info.get(key)}
        with replacing(path) as part:
            image.save(part, 'PNG', pnginfo=text, **kept)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB'))


def read_photograph(path: str | os.PathLike[str]) -> Photograph:
    """Reads a photograph of a file.

    Raises PhotographError for a file that is missing, not an image, too large, or of a format that is not read; it says
    what to do.
    """
    path = pathlib.Path(path)
    PHOTOGRAPH.check_file(path)
    _refuse_phone_formats(path)
    image = PHOTOGRAPH.load(path)
    with PHOTOGRAPH.decoding(path):
        return as_photograph(image, path.stem)


def as_photograph(image: Image.Image, name: str = 'photo') -> Photograph:
    """A picture of Pillow as a photograph: turned as its EXIF says, CMYK, palettes and 16 bits made 8 bits of RGB.

    Raises PhotographError for a picture without pixels, or with more than are read.
    """
    if not image.width * image.height or image.width * image.height > PHOTOGRAPH.most_pixels:
        raise PhotographError(f'the photograph has {image.width} x {image.height} pixels, expected 1 to '
                              f'{PHOTOGRAPH.most_pixels} in all: {PHOTOGRAPH.remedy}')
    notes: list[str] = []
    upright = ImageOps.exif_transpose(image)
    upright.info = dict(upright.info)
    exif = upright.getexif()
    upright.info['exif'] = exif.tobytes() if len(exif) else b''
    if upright.mode in ('L', 'LA', 'RGB', 'RGBA') and 'transparency' not in upright.info:
        return Photograph(upright, name)
    info = upright.info
    if upright.mode == 'CMYK':
        notes.append('CMYK was converted to RGB: the edited photograph is RGB')
        profile = _profile(upright)
        converted = upright.convert('RGB') if profile is None else _converted(upright, profile, SRGB)
        info.pop('icc_profile', None)  # it describes inks
    elif upright.mode.startswith('I') or upright.mode == 'F':
        notes.append('16 bits of grey were made 8: the edited photograph has 8')
        levels = np.asarray(upright)
        top = 255 if 255 < float(levels.max()) * 256 <= 255 * 256 else 65535
        pixels = np.empty(levels.shape, np.uint8)
        for row, of_row in zip(pixels, levels, strict=True):  # row by row: numbers of 8 bytes are many
            row[:] = (of_row.astype(np.float64).clip(0, top) * (255 / top)).round()
        converted = Image.fromarray(pixels)
    else:
        transparent = 'transparency' in info or upright.mode in ('PA', 'La', 'RGBa')
        converted = upright.convert('RGBA' if transparent else 'L' if upright.mode == '1' else 'RGB')
        info.pop('transparency', None)
    converted.info = info
    return Photograph(converted, name, tuple(notes))


def _refuse_phone_formats(path: pathlib.Path) -> None:
    try:
        with open(path, 'rb') as file:
            head = file.read(12)
    except OSError as error:
        raise PhotographError(f"'{path}' cannot be read: {error.strerror or error}") from error
    if head[4:8] == b'ftyp' and head[8:12] in PHONE_FORMATS:
        raise PhotographError(f"'{path}' is a {PHONE_FORMATS[head[8:12]]} file, which is not read: open it in the "
                              'program that shows it and save it as JPEG or PNG (an iPhone takes JPEG itself with '
                              'Settings, Camera, Formats, Most Compatible)')


def _profile(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """The colour profile that a picture carries; None if it has none that fits its pixels and can be read."""
    data = image.info.get('icc_profile')
    if not isinstance(data, bytes) or not data:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        space = profile.profile.xcolor_space.strip()
    except (OSError, TypeError, ValueError):
        return None
    return profile if space == {'RGBA': 'RGB'}.get(image.mode, image.mode) else None


def _converted(image: Image.Image, source: ImageCms.ImageCmsProfile,
               target: ImageCms.ImageCmsProfile) -> Image.Image:
    try:
        result = ImageCms.profileToProfile(image, source, target, outputMode='RGB')
    except ImageCms.PyCMSError:  # a profile that says less than a conversion needs
        result = None
    return image.convert('RGB') if result is None else result
