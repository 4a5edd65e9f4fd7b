"""The command line of a training of BigGAN-PyTorch, which it recorded beside the weights in `state_dict.pth`."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from resefa_plugin.checkpoints.network_source import read_source
from resefa_plugin.checkpoints.pickles.inert_pickle import Budget, load_inert
from resefa_plugin.checkpoints.pickles.inert_values import Call
from resefa_plugin.checkpoints.pickles.plain_data import CONTAINER_HANDLERS, NUMPY_HANDLERS, Decoder
from resefa_plugin.checkpoints.pickles.torch_storage import ZIP_MAGIC
from resefa_plugin.errors import CheckpointError

MAX_RECORD_BYTES = 1 << 20  # official ones have a few kilobytes
LEGACY_HEADERS = 3  # pickles before that of the object, in a file of the legacy torch format

# The command line holds activation functions as objects. Only their names are read, and not used: G_nl has them, too.
MODULES = ('torch.nn.modules.activation.ReLU',)

Record = dict[str, bool | int | float | str]


def read_record(weights: Path) -> tuple[Record | None, list[str]]:
    """The command line that is recorded beside a file of weights: for `G_ema_best0.pth`, in `state_dict_best0.pth`.

    Returns: its numbers and texts by name, None if there is no record or it cannot be read; and notes for the user, who
        should know if a record cannot be read.
    """
    if not weights.name.startswith('G'):
        return None, []
    path = weights.with_name('state_dict' + weights.name.removeprefix('G').removeprefix('_ema'))
    if not path.is_file():
        return None, []
    try:
        config = _read(path)
    except CheckpointError as error:
        return None, [f'the configuration is not checked: {error}']
    if not isinstance(config, dict):
        return None, []
    scalars = {key: value.item() if isinstance(value, np.generic) else value for key, value in config.items()}
    return {key: value for key, value in scalars.items() if isinstance(value, (bool, int, float, str))}, []


def _read(path: Path) -> object:
    file = read_source(path, max_bytes=MAX_RECORD_BYTES)
    budget = Budget(len(file.data))
    handlers = {**CONTAINER_HANDLERS, **NUMPY_HANDLERS, **{name: _module_name for name in MODULES}}
    try:
        if file.data.startswith(ZIP_MAGIC):
            data, position = _zip_object(file.data), 0
        else:
            data, position = memoryview(file.data), 0
            for _ in range(LEGACY_HEADERS):
                _, position = load_inert(data, budget, position=position)
        root, _ = load_inert(data, budget, position=position, refs=[])
        record = Decoder(handlers, budget).plain(root)
    except CheckpointError as error:
        raise CheckpointError(f'{path.name}: {error}') from None
    return record.get('config') if isinstance(record, dict) else None


def _module_name(decoder: Decoder, call: Call, depth: int) -> str:
    return call.func.name.rpartition('.')[2]


def _zip_object(data: bytes) -> memoryview:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            member = next((info for info in archive.infolist() if info.filename.endswith('/data.pkl')), None)
            # A stored member is no longer than the file; a compressed one may be as long as it likes.
            if member is None or member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
                raise CheckpointError('a zip archive without an uncompressed member NAME/data.pkl')
            return memoryview(archive.read(member))
    except CheckpointError:
        raise
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, LookupError, ValueError, ArithmeticError) as error:
        raise CheckpointError(f'a damaged zip archive: {error}') from None
