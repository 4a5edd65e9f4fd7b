"""Tensors from torch's two formats: equal to what torch reads, and refused when the geometry lies."""

from __future__ import annotations

import io
import random
import struct
import zipfile

import numpy as np
import pytest
import torch

from resefa_plugin.checkpoints.pickles.torch_storage import read_torch_file
from resefa_plugin.errors import CheckpointError
from tests.helpers.pickle_forge import (
    FLOAT_STORAGE,
    LEGACY_MAGIC,
    Name,
    Persistent,
    Reduce,
    dumps,
    hostile_calls,
    legacy_torch,
    storage_ref,
    tensor_call,
)


def saved(value: object, is_zip: bool) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=is_zip)
    return stream.getvalue()


def same(ours: object, true: object) -> bool:
    if isinstance(true, torch.Tensor):
        return (isinstance(ours, torch.Tensor) and ours.dtype == true.dtype and ours.shape == true.shape
                and torch.equal(ours, true.detach()) and ours.is_contiguous() and not ours.requires_grad)
    if isinstance(true, dict):
        return list(ours) == list(true) and all(same(ours[key], true[key]) for key in true)
    return ours == true


BASE = torch.arange(24.).reshape(2, 3, 4)
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16,
          torch.int8, torch.uint8, torch.bool]
VIEWS = {'whole': BASE, 'transposed': BASE.transpose(0, 2), 'sliced': BASE[1, ::2, 1:], 'scalar': torch.tensor(2.5),
         'expanded': BASE[:1].expand(5, 3, 4), 'empty': torch.zeros(0, 3), 'empty view': BASE[2:],
         'parameter': torch.nn.Parameter(BASE.clone()),
         'channels last': torch.randn(1, 2, 3, 4).to(memory_format=torch.channels_last)}


@pytest.mark.parametrize('is_zip', [False, True], ids=['legacy', 'zip'])
def test_values_equal_torchs_own(is_zip):
    for dtype in DTYPES:
        assert same(read_torch_file(saved(BASE.to(dtype), is_zip)), BASE.to(dtype)), dtype
    for name, view in VIEWS.items():
        assert same(read_torch_file(saved(view, is_zip)), view), name
    mixed = {'views': VIEWS, 'step': 3, 'names': ['a', None], 'state': torch.nn.Linear(2, 3).state_dict()}
    assert same(read_torch_file(saved(mixed, is_zip)), mixed)


def test_tensors_own_their_memory():
    first, second = read_torch_file(saved([BASE, BASE[0]], True))
    first.zero_()
    assert torch.equal(second, BASE[0])


def test_a_file_is_read_by_path(tmp_path):
    path = tmp_path / 'state.pt'
    torch.save(BASE, path)
    assert same(read_torch_file(path), BASE)


def test_a_bool_tensor_holds_nothing_but_bools():
    root = tensor_call(storage_ref(kind=Name('torch', 'BoolStorage')))
    value = read_torch_file(legacy_torch(root, b'\x00\x01\x02\xff'))
    assert value.view(torch.uint8).tolist() == [0, 1, 1, 1]


HUGE = 2 ** 62


@pytest.mark.parametrize('geometry, message', [
    (dict(size=(5,)), 'reaches beyond'),
    (dict(offset=1), 'reaches beyond'),
    (dict(offset=4, size=(), stride=()), 'reaches beyond'),
    (dict(size=(2,), stride=(4,)), 'reaches beyond'),
    (dict(size=(2, 2), stride=(2, 2 ** 40)), 'reaches beyond'),
    (dict(size=(2,), stride=(HUGE,)), 'expected an integer from 0'),
    (dict(size=(2 ** 32, 2 ** 32), stride=(0, 0)), 'more than four times'),
    (dict(size=(2 ** 40,), stride=(0,)), 'more than four times'),
    (dict(size=(0, 2 ** 40), stride=(1, 1)), 'more than four times'),
    (dict(size=(HUGE,)), 'expected an integer from 0'),
    (dict(size=(2 ** 200,)), 'expected an integer from 0'),
    (dict(size=(-1,)), 'expected an integer from 0'),
    (dict(stride=(-1,)), 'expected an integer from 0'),
    (dict(offset=-1), 'expected an integer from 0'),
    (dict(offset=True), 'expected an integer from 0'),
    (dict(offset=0.0), 'expected an integer from 0'),
    (dict(size=[4]), 'expected a tuple'),
    (dict(size=(4, 1)), '2 dimensions with 1 strides'),
    (dict(size=(1,) * 17, stride=(1,) * 17), 'up to 16 integers'),
])
def test_lying_geometry_is_refused(geometry, message):
    with pytest.raises(CheckpointError, match=message):
        read_torch_file(legacy_torch(tensor_call(storage_ref(), **geometry)))


def test_strides_of_single_elements_do_not_matter():
    value = read_torch_file(legacy_torch(tensor_call(storage_ref(), 3, (1, 1), (2 ** 47, 2 ** 47)),
                                         np.arange(4, dtype='<f4').tobytes()))
    assert value.tolist() == [[3.0]]


VALID = tensor_call(storage_ref())
PARAMETER = Name('torch._utils', '_rebuild_parameter')


@pytest.mark.parametrize('stream, message', [
    (legacy_torch(VALID, magic=LEGACY_MAGIC + 1), 'magic number'),
    (legacy_torch(VALID, version=1002), 'version 1002'),
    (legacy_torch(VALID, little_endian=False), 'big-endian'),
    (legacy_torch(VALID, little_endian=1), 'big-endian'),
    (legacy_torch(VALID, numel=5), 'storage of 5 elements; its persistent id says 4'),
    (legacy_torch(VALID, numel=-1), 'storage of -1 elements'),
    (legacy_torch(VALID, bytes(15)), 'truncated'),
    (legacy_torch(VALID, bytes(17)), '1 bytes too many'),
    (legacy_torch(VALID, keys=['1']), "has '1', which is unknown"),
    (legacy_torch(VALID, keys=[]), 'list of 1 storages'),
    (legacy_torch(VALID, keys=['0', '0']), 'list of 1 storages'),
    (legacy_torch([VALID, tensor_call(storage_ref(numel=2))]), 'different types or lengths'),
    (legacy_torch(tensor_call(storage_ref(numel=2 ** 45))), 'truncated'),
    (legacy_torch(tensor_call(storage_ref(numel=-4))), 'expected an integer from 0'),
    (legacy_torch(tensor_call(storage_ref(kind=Name('torch', 'ComplexFloatStorage')))), 'storage of class'),
    (legacy_torch(tensor_call(storage_ref(kind=Name('collections', 'OrderedDict')))), 'storage of class'),
    (legacy_torch(tensor_call(storage_ref(key='k' * 100))), '100 characters'),
    (legacy_torch(tensor_call(Persistent(('module', FLOAT_STORAGE, '0', 'cpu', 4, None)))), 'does not name a storage'),
    (legacy_torch(tensor_call(Persistent(('storage', FLOAT_STORAGE, '0', 'cpu', 4, ('1', 0, 4))))), 'does not name'),
    (legacy_torch(tensor_call(Persistent('storage'))), 'does not name a storage'),
    (legacy_torch([tensor_call([0.0] * 4), storage_ref()]), 'where the storage of a tensor is expected'),
    (legacy_torch([tensor_call(storage_ref(), 0, (4,), (1,), {'neg': True})]), 'metadata'),
    (legacy_torch(Reduce(PARAMETER, storage_ref(), True, {})), 'where data is expected'),
    (legacy_torch([Reduce(PARAMETER, 'x', True, {}), storage_ref()]), 'made from'),
    (legacy_torch(storage_ref()), 'where data is expected'),
    (b'not a file of any kind', 'protocol 2 to 5'),
    (b'', 'truncated'),
])
def test_damaged_legacy_files_are_refused(stream, message):
    with pytest.raises(CheckpointError, match=message):
        read_torch_file(stream)


# Every call in the object's pickle, and one in each of the five pickles of a file.
@pytest.mark.parametrize('name, position', [
    *((name, 3) for name in hostile_calls('x')),
    *((name, position) for name in list(hostile_calls('x'))[:1] for position in (0, 1, 2, 4)),
])
def test_no_pickle_of_a_legacy_file_executes(name, position, tmp_path):
    marker = tmp_path / 'executed'
    parts = [dumps(part, 2) for part in (LEGACY_MAGIC, 1001, {'little_endian': True}, VALID, ['0'])]
    parts[position] = hostile_calls(marker)[name]
    storages = struct.pack('<q', 4) + bytes(16)
    if position == 3:  # the object has no tensor then
        parts[4], storages = dumps([], 2), b''
    with pytest.raises(CheckpointError, match=f"refers to '{name}'|'{name}' where|version .*'{name}'|'{name}' instead"):
        read_torch_file(b''.join(parts) + storages)
    assert not marker.exists()


def archive(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as output:
        for name, content in members.items():
            output.writestr(name.replace('__', '/').replace('pkl', '.pkl'), content)
    return stream.getvalue()


OBJECT = dumps(tensor_call(Persistent(('storage', FLOAT_STORAGE, '0', 'cpu', 4))), 2)


def test_zip_archives_are_checked(tmp_path):
    assert read_torch_file(archive(a__datapkl=OBJECT, a__data__0=bytes(16))).tolist() == [0.0] * 4
    marker = tmp_path / 'executed'
    compressed = io.BytesIO()
    with zipfile.ZipFile(compressed, 'w', zipfile.ZIP_DEFLATED) as output:
        output.writestr('a/data.pkl', OBJECT)
        output.writestr('a/data/0', bytes(10_000_000))
    for stream, message in [
        (archive(a__datapkl=OBJECT), 'missing or compressed'),
        (archive(a__datapkl=OBJECT, a__data__0=bytes(20)), 'a storage of 20 bytes'),
        (archive(a__datapkl=OBJECT, a__data__0=bytes(16), a__byteorder=b'big'), 'big-endian'),
        (archive(a__datapkl=OBJECT, b__datapkl=OBJECT), '2 members named'),
        (archive(other=b''), "a zip archive of other files, 'other'"),
        (archive(a__datapkl=hostile_calls(marker)['os.system']), 'os.system'),
        (compressed.getvalue(), 'missing or compressed'),
        (b'PK\x03\x04' + b'PK\x01\x02' * 60_000, 'more than 50000 members'),
        (b'PK\x03\x04', 'damaged zip archive'),
    ]:
        with pytest.raises(CheckpointError, match=message):
            read_torch_file(stream)
    assert not marker.exists()


@pytest.mark.parametrize('is_zip', [False, True], ids=['legacy', 'zip'])
def test_mutations_are_read_or_refused(is_zip):
    stream = saved({'a': BASE, 'b': BASE[0].half(), 'c': [torch.tensor(True)]}, is_zip)
    for end in range(0, len(stream) - 1, 37):
        with pytest.raises(CheckpointError):
            read_torch_file(stream[:end])
    rng = random.Random(0)
    refused = 0
    for _ in range(300):
        mutated = bytearray(stream)
        for _ in range(rng.choice((1, 1, 2, 8))):
            mutated[rng.randrange(len(mutated))] = rng.randrange(256)
        try:
            read_torch_file(bytes(mutated))
        except CheckpointError:
            refused += 1
    assert 50 < refused < 300


def test_a_network_that_was_packed_into_an_archive(tmp_path):
    """As release pages offer it; what is packed is itself an archive of torch, whose first bytes show through."""
    inner = io.BytesIO()
    torch.save({'w': torch.zeros(2)}, inner)
    with zipfile.ZipFile(tmp_path / 'net.zip', 'w') as archive:
        archive.writestr('net.pt', inner.getvalue())
    with pytest.raises(CheckpointError, match="a zip archive of other files, 'net.pt'. Remedy: unpack it with 'unzip"):
        read_torch_file(tmp_path / 'net.zip')
