"""A file that holds values, of any format that we read: opened inertly, decoded part by part."""

from __future__ import annotations

from dataclasses import dataclass

from resefa_plugin.checkpoints import formats
from resefa_plugin.checkpoints.network_source import NetworkSource
from resefa_plugin.checkpoints.pickles.inert_pickle import Budget, load_inert
from resefa_plugin.checkpoints.pickles.legacy_tf_pickle import TF_HANDLERS
from resefa_plugin.checkpoints.pickles.plain_data import CONTAINER_HANDLERS, NUMPY_HANDLERS, Decoder
from resefa_plugin.checkpoints.pickles.safetensors import SAFETENSORS_HANDLERS, open_safetensors
from resefa_plugin.checkpoints.pickles.torch_storage import nested_storage, open_torch, tensor_handlers
from resefa_plugin.errors import CheckpointError


@dataclass(frozen=True)
class Contents:
    """An open file.

    Attributes:
        root: what it holds, inert.
        decoder: decodes the root and its parts.
    """

    root: object
    decoder: Decoder


def open_contents(source: NetworkSource, expected: str) -> Contents:
    """Opens a pickle, a file of torch.save or a safetensors file, told apart by their first bytes.

    Args:
        source: the file.
        expected: in the error, e.g. `a network file`.

    Raises CheckpointError for a file of another kind, which says of which, and for a damaged one.
    """
    data, budget = source.data, Budget(len(source.data))
    kind = formats.format_of(data)
    if kind is formats.PICKLE:
        root, end = load_inert(memoryview(data), budget)
        if end != len(data):
            raise CheckpointError(f'{len(data) - end} bytes too many behind the end of the pickle')
        tensors = tensor_handlers(nested_storage)
    elif kind is formats.TORCH:
        root, find_storage = open_torch(data, budget)
        tensors = tensor_handlers(find_storage)
    elif kind is formats.SAFETENSORS:
        root, tensors = open_safetensors(memoryview(data), budget), SAFETENSORS_HANDLERS
    else:
        raise CheckpointError(formats.refusal(kind, expected, data[:formats.HEAD_BYTES]))
    return Contents(root, Decoder({**CONTAINER_HANDLERS, **NUMPY_HANDLERS, **TF_HANDLERS, **tensors}, budget))


# What makes a tensor, by name.
TENSORS = frozenset((*tensor_handlers(nested_storage), *SAFETENSORS_HANDLERS))
