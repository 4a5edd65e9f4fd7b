"""What a file is, told by its first bytes. The ending of its name is never asked."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HEAD_BYTES = 4096


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        name: by which the code tells it.
        title: in messages, after "is".
        remedy: what its owner can do, a sentence without a full stop; empty for formats that some command reads.
    """

    name: str
    title: str
    remedy: str = ''


_DATA = 'networks go to --network, latents to --projected-w of resefa factorize and edit'
_ARRAYS = 'latents go to --projected-w of resefa factorize and edit, directions to resefa edit --directions'

PICKLE = Format('pickle', 'a pickle', _DATA)
TORCH = Format('torch', 'a file of torch.save', _DATA)
SAFETENSORS = Format('safetensors', 'a safetensors file', _DATA)
NPY = Format('npy', 'a numpy array (.npy)', f'{_ARRAYS}, label maps to --region=labels:FILE:NUMBERS')
NPZ = Format('npz', 'an archive of numpy arrays (.npz)', _ARRAYS)
EMPTY = Format('empty', 'empty: it has 0 bytes', 'the copy or download was cut off; fetch it again')
WEB_PAGE = Format('web page', 'a web page, not the file itself',
                  'of a download, open the link in a browser, where it may ask for a login or a confirmation, or say '
                  'that too many have fetched it, save the file there and give its path; of a report, give the .npz '
                  'beside it')
LFS_POINTER = Format('git-lfs pointer', 'a git-lfs pointer, a few lines that stand for the file',
                     "run 'git lfs pull' in its repository, or download the file from its web page")
PICTURE = Format('picture', 'a picture', 'masks go to --region=mask:FILE, photographs to resefa photo --target=FILE')
TEXT = Format('text', 'a text', 'check that this is the file you meant, and that its download was not an error message')
TAR = Format('tar', 'a tar archive', "unpack it with 'tar xf FILE' and give the file that is in it")
GZIP = Format('gzip', 'compressed with gzip', "unpack it with 'gunzip FILE', or 'tar xzf FILE', and give what is in it")
BZIP2 = Format('bzip2', 'compressed with bzip2', "unpack it with 'bunzip2 FILE' and give what is in it")
XZ = Format('xz', 'compressed with xz', "unpack it with 'unxz FILE' and give what is in it")
ZIP = Format('zip', 'a zip archive of other files', "unpack it with 'unzip FILE' and give the file that is in it")
ZIP7 = Format('7z', 'a 7z archive', 'unpack it and give the file that is in it')
RAR = Format('rar', 'a rar archive', 'unpack it and give the file that is in it')
HDF5 = Format('hdf5', 'an HDF5 file, as Keras and MATLAB write them',
              'open it with h5py and save the arrays with numpy.savez, or open the network with --hook')
PDF = Format('pdf', 'a PDF document', 'give the file that it tells of')
GGUF = Format('gguf', 'a GGUF file, a language model', 'give a network that makes pictures')
OLD_PICKLE = Format('old pickle', 'a pickle of protocol 0 or 1, or of Python 2',
                    'load it where it was made and save it with pickle.dump(value, file, protocol=4)')
UNKNOWN = Format('unknown', 'of no kind that is known here',
                 'it may be damaged, or of a program of its own: save it anew with torch.save or numpy.savez')

# A download of such a kind is not kept: an answer in the place of a file, or what no command reads.
NEVER_KEPT = (EMPTY, WEB_PAGE, LFS_POINTER, PICTURE, TEXT, PDF, TAR, GZIP, BZIP2, XZ, ZIP, ZIP7, RAR, HDF5, GGUF,
              OLD_PICKLE)

_LEGACY_TORCH = b'\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.'
_TORCH_MEMBERS = ('/data.pkl', '/.format_version', '/byteorder', '/version', '/constants.pkl')


def _zip_kind(head: bytes) -> Format:
    """By the name of the first member of an archive."""
    length = int.from_bytes(head[26:28], 'little')
    name = head[30:30 + length].decode('utf-8', 'replace')
    if name.endswith('.npy'):
        return NPZ
    # Old versions of torch write what they like first, but never into the top folder.
    return TORCH if name.endswith(_TORCH_MEMBERS) or b'/data.pkl' in head else ZIP


_PICTURES = (b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff', b'GIF87a', b'GIF89a', b'II*\0', b'MM\0*')


def _is_picture(head: bytes) -> bool:
    return (head.startswith(_PICTURES) or head[:4] == b'RIFF' and head[8:12] == b'WEBP'
            or head[:2] == b'BM' and head[6:10] == bytes(4))


# In this order: the first whose test is true.
_TESTS: tuple[tuple[Callable[[bytes], object], Format], ...] = (
    (lambda head: not head, EMPTY),
    (lambda head: head[2:].startswith(_LEGACY_TORCH) and head[0] == 0x80, TORCH),
    (lambda head: head[0] == 0x80 and len(head) > 1 and 2 <= head[1] <= 5, PICKLE),
    (lambda head: head.startswith(b'\x93NUMPY'), NPY),
    (lambda head: head.startswith(b'version https://git-lfs'), LFS_POINTER),
    (lambda head: head.startswith(b'\x1f\x8b'), GZIP),
    (lambda head: head.startswith(b'BZh'), BZIP2),
    (lambda head: head.startswith(b'\xfd7zXZ\0'), XZ),
    (lambda head: head.startswith(b'7z\xbc\xaf\x27\x1c'), ZIP7),
    (lambda head: head.startswith(b'Rar!'), RAR),
    (lambda head: head.startswith(b'\x89HDF\r\n\x1a\n'), HDF5),
    (lambda head: head.startswith(b'%PDF'), PDF),
    (lambda head: head.startswith(b'GGUF'), GGUF),
    (lambda head: head[257:262] == b'ustar', TAR),
    (_is_picture, PICTURE),
    (lambda head: head[8:9] == b'{' and 2 <= int.from_bytes(head[:8], 'little') < 1 << 32, SAFETENSORS),
)
_PAGE = re.compile(rb'(\xef\xbb\xbf)?\s*(<!--.{0,2000}?-->\s*)?<(!doctype\s+html|html|head|body|\?xml)',
                   re.IGNORECASE | re.DOTALL)
_OLD = re.compile(rb'(\(lp|\(dp|\(i|c[\w.]+\n[\w.]+\n|\]q|\}q|\(q|S\'|ccopy_reg)')


def format_of(head: bytes) -> Format:
    """The kind of a file that begins with these bytes; HEAD_BYTES of them are enough."""
    head = head[:HEAD_BYTES]
    if head.startswith((b'PK\3\4', b'PK\5\6')):
        return _zip_kind(head)
    for test, kind in _TESTS:
        if test(head):
            return kind
    if _PAGE.match(head):
        return WEB_PAGE
    if _OLD.match(head):
        return OLD_PICKLE
    return TEXT if _is_text(head) else UNKNOWN


def format_of_file(path: str | os.PathLike[str]) -> Format:
    """The kind of a file. Raises OSError if it cannot be read."""
    with open(Path(path), 'rb') as file:
        return format_of(file.read(HEAD_BYTES))


def instead_of_picture(path: str | os.PathLike[str]) -> str:
    """What a file that is no picture is instead, and what to do; empty if it seems to be one."""
    kind = format_of_file(path)
    return '' if kind in (PICTURE, UNKNOWN) else f'it is {kind.title}; {kind.remedy}'


def refusal(kind: Format, expected: str, head: bytes = b'') -> str:
    """What is said of a file of another kind than expected: what it is, what was expected, what to do.

    Args:
        kind: of the file.
        expected: e.g. `a network file`.
        head: the first bytes, of which a text is quoted.
    """
    quoted = ''
    if kind in (TEXT, UNKNOWN) and head:
        line = head.split(b'\n', 1)[0][:60]
        quoted = (f' that begins with {line.decode("utf-8", "replace")!r}' if kind is TEXT else
                  f' (its first bytes are {head[:8].hex(" ")})')
    return f'it is {kind.title}{quoted}; expected {expected}. Remedy: {kind.remedy}'


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode('utf-8')
    except UnicodeDecodeError as error:
        # The last character may be cut off.
        if error.start < len(head) - 3 or len(head) < HEAD_BYTES:
            return False
        text = head[:error.start].decode('utf-8')
    return all(char.isprintable() or char in '\t\r\n\f' for char in text)
