"""Files of a megabyte or less that unfold to much: each is refused or read, in moderate memory and time."""

from __future__ import annotations

import io
import pathlib
import struct
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from resefa_plugin import DirectionSet, RegionPartition
from resefa_plugin.checkpoints.generator_file import read_generator
from resefa_plugin.directions.exports import EXPORTS
from resefa_plugin.errors import ResefaError
from resefa_plugin.evaluation.cell_store import read_cell
from resefa_plugin.factorizer.gram_store import GramStore
from resefa_plugin.hooks.latent_files import read_latents
from resefa_plugin.machine.allocator import give_back
from resefa_plugin.projection.photograph import read_photograph
from tests.fuzz.test_fuzz import peak_bytes
from tests.helpers.direction_sets import edited_json, write_npz
from tests.helpers.pickle_forge import legacy_torch, storage_ref, tensor_call
from tests.helpers.toys import TinyHook

MEGABYTE = 1 << 20
# What is promised for a file of a megabyte; the time is ten times as long, as machines do other things.
MOST_BYTES, MOST_SECONDS = 200 * MEGABYTE, 20.0


def npy(shape, dtype) -> bytes:
    """A `.npy` of zeros."""
    stream = io.BytesIO()
    np.save(stream, np.zeros(shape, dtype))
    return stream.getvalue()


def archive(path: pathlib.Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, 'w', method, compresslevel=9) as file:
        for name, content in members.items():
            file.writestr(name, content)


def deflated(path: pathlib.Path, name: str, start: bytes, zeros: int) -> None:
    """An archive whose one member begins with some bytes, and goes on with zeros, without having them at once."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED, compresslevel=9) as file, file.open(name, 'w') as member:
        member.write(start)
        for _ in range(zeros // MEGABYTE):
            member.write(bytes(MEGABYTE))


def header(shape, descr: str = '<f4') -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {'descr': descr, 'fortran_order': False, 'shape': shape})
    return stream.getvalue()


def latents_within_what_is_allowed(path):
    """As much as is unfolded at all, in the type that takes most when it becomes float32."""
    archive(path, {'w.npy': npy((1_300_000, 8, 1), np.float16)})


def png(path, width: int, height: int, bits: int = 8, colour: int = 0) -> None:
    """A picture of zeros, written row by row."""
    rows, pack = (width * bits * {0: 1, 2: 3, 6: 4}[colour] + 7) // 8 + 1, zlib.compressobj(9)
    data = b''.join(pack.compress(bytes(rows)) for _ in range(height)) + pack.flush()
    chunks = [(b'IHDR', struct.pack('>IIBBBBB', width, height, bits, colour, 0, 0, 0)), (b'IDAT', data), (b'IEND', b'')]
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))
        for name, content in chunks))


def webp(path) -> None:
    """A small picture that says that it is a large one."""
    Image.new('RGB', (8, 8)).save(path, lossless=False)
    content = bytearray(path.read_bytes())
    content[26:30] = (0x3fff).to_bytes(2, 'little') * 2
    path.write_bytes(content)


def torch_file(value: object) -> Callable[[pathlib.Path], None]:
    return lambda path: torch.save(value, path)


def load(path):
    directions = DirectionSet.load(path)
    directions.describe()
    for export in EXPORTS.values():
        export(directions, path.parent / 'exported', 0)


def latents(path):
    return read_latents(path, TinyHook())


def region(path):
    return RegionPartition.from_mask(path, (512, 512))


BOMBS: dict[str, tuple[str, Callable[[pathlib.Path], object], Callable[[pathlib.Path], object]]] = {
    'latents of a gigabyte': ('w.npz', lambda p: deflated(p, 'w.npy', header((2 ** 25, 8, 4)), 2 ** 30), latents),
    'latents as many as may be': ('w.npz', latents_within_what_is_allowed, latents),
    'latents by LZMA': ('w.npz', lambda p: archive(p, {'w.npy': npy((2 ** 24, 2), np.float32)}, zipfile.ZIP_LZMA),
                        latents),
    'latents by BZIP2': ('w.npz', lambda p: archive(p, {'w.npy': npy((2 ** 24, 2), np.float32)}, zipfile.ZIP_BZIP2),
                         latents),
    'ten thousand arrays': ('w.npz', lambda p: archive(p, {f'{i}.npy': b'' for i in range(9000)}), latents),
    'one number many times': ('w.pt', torch_file({'w': torch.zeros(1).expand(2 ** 26, 8, 1)}), latents),
    'the same in the legacy format': ('w.pt', lambda p: p.write_bytes(legacy_torch(
        {'w': tensor_call(storage_ref(), size=(2 ** 26, 8, 1), stride=(0, 0, 0))})), latents),
    'containers': ('w.pt', torch_file({str(i): [[] for _ in range(1000)] for i in range(200)}), latents),
    'directions': ('d.npz', lambda p: write_npz(p, directions=np.zeros((3, 8), np.float32)), load),
    'metadata of lists': (
        'd.npz', lambda p: archive(p, {'metadata.npy': npy_text('[' + '[],' * 10 ** 7 + '0]')}), load),
    'deep metadata': ('d.npz', lambda p: archive(p, {'metadata.npy': npy_text('[' * 10 ** 6)}), load),
    'a hundred million layers': ('d.npz', lambda p: write_npz(p, metadata=edited_json(num_ws=10 ** 8)), load),
    'a picture of a hundred million columns': (
        'd.npz', lambda p: write_npz(p, metadata=edited_json(image_shape=[3, 6, 10 ** 8])), load),
    'a mask of 300 million pixels': ('m.png', lambda p: png(p, 20_000, 15_000), region),
    'a mask as large as may be, of 16 bits': ('m.png', lambda p: png(p, 4096, 4096, 16), region),
    'a mask as large as may be, RGBA': ('m.png', lambda p: png(p, 4096, 4096, 8, 6), region),
    'a mask as large as may be, of palette': (
        'm.gif', lambda p: Image.new('P', (4096, 4096)).save(p), region),
    'a photograph of 67 million pixels': ('p.png', lambda p: png(p, 8192, 8192, 8, 2), read_photograph),
    'a photograph of 12 million pixels': ('p.png', lambda p: png(p, 4000, 3000, 8, 6), read_photograph),
    'a photograph of 12 million pixels, of 16 bits': ('p.png', lambda p: png(p, 4000, 3000, 16), read_photograph),
    'a WebP of 268 million pixels': ('p.webp', webp, read_photograph),
    'labels of 300 million pixels': (
        'l.png', lambda p: png(p, 20_000, 15_000), lambda p: RegionPartition.from_labels(p, [1], (512, 512))),
    'a network of containers': ('n.pkl', lambda p: p.write_bytes(b'\x80\x04(' + b']\x94' * 400_000 + b'l.'),
                                read_generator),
    'a network of sets': ('n.pkl', lambda p: p.write_bytes(b'\x80\x04(' + b'\x8f' * 490_000 + b't.'), read_generator),
    'a network with one number many times': ('n.pt', torch_file({'g_ema': {
        'input.input': torch.zeros(1).expand(1, 2 ** 28, 4, 4)}}), read_generator),
    'Gram matrices of a gigabyte': ('a-b-0123456789abcdef.npz', lambda p: deflated(
        p, 'A.npy', header((11585, 11585), '<f8'), 2 ** 30), lambda p: GramStore.load(p, 11585)),
    'a cell of lists': ('c.json', lambda p: p.write_text('[' + '[],' * 300_000 + '0]'), read_cell),
}


def npy_text(text: str) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array(text))
    return stream.getvalue()


@pytest.mark.parametrize('name', BOMBS)
def test_a_small_file_takes_little(name, tmp_path):
    file, make, read = BOMBS[name]
    path = tmp_path / file
    make(path)
    assert path.stat().st_size < 1.2 * MEGABYTE
    give_back()  # what other tests have left is no room
    start, before = time.perf_counter(), resident()
    peak_bytes(reset=True)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            read(path)
        except ResefaError as error:
            assert len(str(error)) < 2000
    seconds, peak = time.perf_counter() - start, peak_bytes()
    assert seconds < MOST_SECONDS
    if peak is not None:
        print(name, f'{seconds:.2f} s, {(peak - before) / MEGABYTE:.0f} MB')
        assert peak - before < MOST_BYTES, f'{(peak - before) / MEGABYTE:.0f} MB'


def resident() -> int:
    """Bytes that are resident now; 0 where the system does not tell."""
    try:
        pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])
    except OSError:
        return 0
    return pages * 4096
