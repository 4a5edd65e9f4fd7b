"""What a file is, by its first bytes, whatever it is called; and what is said of those of another kind."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from resefa_plugin.checkpoints import formats
from resefa_plugin.checkpoints.generator_file import read_generator
from resefa_plugin.errors import CheckpointError

STREAM = object()


def written(write, *arguments, **options):
    """What a function writes to a stream, which is the argument STREAM."""
    stream = io.BytesIO()
    write(*[stream if each is STREAM else each for each in arguments], **options)
    return stream.getvalue()


def zipped(stream, *names):
    with zipfile.ZipFile(stream, 'w') as archive:
        for name in names:
            archive.writestr(name, b'content')


def tarred():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode='w') as archive:
        archive.addfile(tarfile.TarInfo('a'), io.BytesIO())
    return stream.getvalue()


def picture(kind):
    stream = io.BytesIO()
    Image.new('RGB', (4, 4)).save(stream, kind)
    return stream.getvalue()


STATE = {'a': torch.ones(2)}
FILES = {
    **{f'pickle {protocol}': (pickle.dumps([1], protocol), formats.PICKLE) for protocol in (2, 3, 4, 5)},
    'torch zip': (written(torch.save, STATE, STREAM), formats.TORCH),
    'torch legacy': (written(torch.save, STATE, STREAM, _use_new_zipfile_serialization=False), formats.TORCH),
    'npy': (written(np.save, STREAM, np.ones(2)), formats.NPY),
    'npz': (written(np.savez, STREAM, w=np.ones(2)), formats.NPZ),
    'npz, compressed': (written(np.savez_compressed, STREAM, w=np.ones(2)), formats.NPZ),
    'zip': (written(zipped, STREAM, 'a/network.pkl', 'b.txt'), formats.ZIP),
    'safetensors': ((2).to_bytes(8, 'little') + b'{}', formats.SAFETENSORS),
    'web page': (b'\n <!DOCTYPE HTML><html lang="en">', formats.WEB_PAGE),
    'web page without a type': (b'<html><body>Quota exceeded</body></html>', formats.WEB_PAGE),
    'web page with a comment': (b'<!-- saved --><html>', formats.WEB_PAGE),
    'lfs': (b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n', formats.LFS_POINTER),
    **{kind: (picture(kind), formats.PICTURE) for kind in ('PNG', 'JPEG', 'GIF', 'BMP', 'TIFF', 'WEBP')},
    'text': ('Network für Gesichter\n'.encode(), formats.TEXT),
    'long text': (('grün ' * 2000).encode(), formats.TEXT),
    'tar': (tarred(), formats.TAR),
    'gzip': (gzip.compress(b'x'), formats.GZIP),
    'hdf5': (b'\x89HDF\r\n\x1a\n' + bytes(8), formats.HDF5),
    'pdf': (b'%PDF-1.4', formats.PDF),
    'empty': (b'', formats.EMPTY),
    'old pickle': (pickle.dumps({'a': [1]}, 0), formats.OLD_PICKLE),
    'anything': (bytes(range(1, 256)), formats.UNKNOWN),
    'one byte': (b'\x80', formats.UNKNOWN),
}


@pytest.mark.parametrize('name', FILES)
def test_the_first_bytes_tell(name, tmp_path):
    content, kind = FILES[name]
    assert formats.format_of(content) is kind
    path = tmp_path / 'network.pkl'  # the ending says nothing
    path.write_bytes(content)
    assert formats.format_of_file(path) is kind


@pytest.mark.parametrize('name', [name for name, (_, kind) in FILES.items()
                                  if kind not in (formats.PICKLE, formats.TORCH, formats.SAFETENSORS)])
def test_every_other_kind_is_named_with_a_remedy(name):
    content, kind = FILES[name]
    with pytest.raises(CheckpointError) as error:
        read_generator(content)
    assert f'it is {kind.title}' in str(error.value) and kind.remedy and str(error.value).endswith(kind.remedy)
    assert 'expected a network file' in str(error.value)


def test_what_tells_most_is_quoted():
    assert "begins with 'Error 403'" in formats.refusal(formats.TEXT, 'x', b'Error 403\nmore')
    assert 'first bytes are 01 02' in formats.refusal(formats.UNKNOWN, 'x', b'\x01\x02')


def test_no_bytes_are_too_odd():
    random = np.random.RandomState(0)
    for length in (1, 2, 7, 8, 9, 31, 300):
        for _ in range(200):
            assert isinstance(formats.format_of(random.bytes(length)), formats.Format)
    for content, _ in FILES.values():
        for end in range(min(len(content), 300)):
            formats.format_of(content[:end])
