"""Network files of stylegan2-ada-pytorch, stylegan3 and stylegan-xl, read as data.

A persistent object in such a file is a call of `torch_utils.persistence._reconstruct_persistent_obj` with a dictionary:
Python source (which the official loader executes, and which is only hashed here), the name of a class in it, and the
`__dict__` of the module, in which submodules are persistent objects again, or of a class of torch itself.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import TypeGuard

import torch

from resefa_plugin.checkpoints.network_source import read_source
from resefa_plugin.checkpoints.pickles.inert_pickle import Budget, Call, load_inert, naming, shorten
from resefa_plugin.checkpoints.pickles.legacy_tf_pickle import TF_HANDLERS, TFNetwork, convert_generator
from resefa_plugin.checkpoints.pickles.plain_data import (
    CONTAINER_HANDLERS,
    NUMPY_HANDLERS,
    NUMPY_NAMES,
    Decoder,
    Handler,
    arguments,
    items_of,
    text,
)
from resefa_plugin.checkpoints.pickles.torch_storage import LOAD_FROM_BYTES, nested_storage, tensor_handlers
from resefa_plugin.errors import CheckpointError

PERSISTENT_VERSION = 6
RECONSTRUCT = 'torch_utils.persistence._reconstruct_persistent_obj'
MAX_CLASS_NAME = 256
TORCH_MODULES = frozenset(('torch.nn.modules.sparse.Embedding',))  # modules that are no persistent objects

# What torch.nn.Module itself keeps in a module's `__dict__`; everything else there is an attribute of the class.
_MODULE_FIELDS = frozenset((
    '_parameters', '_buffers', '_non_persistent_buffers_set', '_modules', '_init_args', '_init_kwargs',
    '_backward_pre_hooks', '_backward_hooks', '_is_full_backward_hook', '_forward_hooks', '_forward_hooks_with_kwargs',
    '_forward_hooks_always_called', '_forward_pre_hooks', '_forward_pre_hooks_with_kwargs', '_state_dict_hooks',
    '_state_dict_pre_hooks', '_load_state_dict_pre_hooks', '_load_state_dict_post_hooks'))


@dataclass(frozen=True)
class PersistentObject:
    """A module as it was saved.

    Attributes:
        class_name: in the source that the file carries.
        source_sha256: SHA-256 of that source, which is not kept; empty for TensorFlow networks, which carry none.
        init_args: positional arguments that its constructor was called with.
        init_kwargs: keyword arguments that its constructor was called with.
        state_dict: parameters and persistent buffers under the names and in the order of `Module.state_dict()`;
            contiguous, on the CPU.
        attributes: its other attributes, e.g. `z_dim`, `num_ws`, `training`.
        submodules: keyword arguments of each submodule's constructor, by the name of the submodule, `synthesis.input`;
            those of torch's own classes are not recorded.
    """

    class_name: str
    source_sha256: str
    init_args: tuple
    init_kwargs: dict
    state_dict: dict[str, torch.Tensor]
    attributes: dict
    submodules: dict[str, dict] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkPickle:
    """The contents of a network file.

    Attributes:
        name: path or URL as the user gave it.
        sha256: of the file.
        entries: by name: `G`, `D`, `G_ema`, `training_set_kwargs`, `augment_pipe`, ...; modules are
            `PersistentObject`, the rest is plain data. A file that is one bare module has the single entry `G`.
    """

    name: str
    sha256: str
    entries: dict[str, object]


def read_network_pickle(source: str | os.PathLike | bytes, cache_dir: str | os.PathLike | None = None,
                        select: Callable[[list[str]], Collection[str]] | None = None) -> NetworkPickle:
    """Reads a network file without executing anything in it.

    Protocols 2 to 5; snapshots, bare modules, and the TensorFlow tuples (G, D, Gs) of stylegan2, of which G and, as
    `G_ema`, Gs are converted.

    Args:
        source: path, `http(s)://` URL, or the bytes of the file.
        cache_dir: folder for fetched files; None to use `files.cache_dir()`.
        select: (names of the entries) -> those that are wanted; the others are not decoded. None to decode all.

    Raises:
        CheckpointError: for a file that is missing, damaged, or holds what no official network file holds.
    """
    file = read_source(source, cache_dir)
    with naming(file.name):
        budget = Budget(len(file.data))
        data = memoryview(file.data)
        root, end = load_inert(data, _ALLOWED, budget)
        if end != len(data):
            raise CheckpointError(f'{len(data) - end} bytes too many behind the end of the pickle')
        found = dict(_named_entries(root))
        decoder = Decoder(_HANDLERS, budget)
        wanted = found if select is None else select(list(found))
        entries = {name: _entry(decoder, found[name]) for name in wanted}
    return NetworkPickle(file.name, file.sha256, entries)


def _named_entries(root: object) -> Iterator[tuple[str, object]]:
    if type(root) is Call and root.func.name == RECONSTRUCT:
        yield 'G', root
    elif type(root) is tuple and len(root) == 3 and all(_is_tf_network(network) for network in root):
        yield 'G', root[0]
        yield 'G_ema', root[2]
    elif type(root) is dict:
        for name, value in root.items():
            yield text(name, 'name of an entry'), value
    else:
        raise CheckpointError(f'{shorten(root)} instead of a snapshot, a module, or three TensorFlow networks')


def _is_tf_network(value: object) -> bool:
    return type(value) is Call and value.func.name in TF_HANDLERS


def _entry(decoder: Decoder, value: object) -> object:
    plain = decoder.plain(value)
    if not isinstance(plain, TFNetwork):
        return plain
    init_kwargs, state_dict = convert_generator(plain)
    return PersistentObject('Generator', '', (), init_kwargs, state_dict, {})


def _persistent(decoder: Decoder, call: Call, depth: int) -> PersistentObject:
    meta = _meta(call)
    state = items_of(meta.get('state'))
    source = text(meta.get('module_src'), 'source of a persistent object')
    decoder.budget.spend_bytes(len(source))
    init_args, init_kwargs = _init_arguments(decoder, call, depth + 1)
    return PersistentObject(
        class_name=meta['class_name'],
        source_sha256=hashlib.sha256(source.encode('utf-8')).hexdigest(),
        init_args=init_args,
        init_kwargs=init_kwargs,
        state_dict=dict(_state_items(decoder, call, '', depth + 1)),
        attributes={key: decoder.plain(value, depth + 1) for key, value in state.items() if key not in _MODULE_FIELDS},
        submodules=dict(_submodules(decoder, call, '', depth + 1)),
    )


def _init_arguments(decoder: Decoder, call: Call, depth: int) -> tuple[tuple, dict]:
    """The arguments, positional and by keyword, that the constructor of a persistent object was called with."""
    meta = _meta(call)
    state = items_of(meta.get('state'))
    init_args = decoder.plain(state.get('_init_args', ()), depth)
    init_kwargs = decoder.plain(state.get('_init_kwargs', {}), depth)
    if type(init_args) is not tuple or type(init_kwargs) is not dict:
        raise CheckpointError(f'init arguments of {shorten(meta["class_name"])} that are not a tuple and a dictionary')
    return init_args, init_kwargs


def _submodules(decoder: Decoder, value: object, prefix: str, depth: int) -> Iterator[tuple[str, dict]]:
    """Names and keyword arguments of the submodules of a module that are persistent objects."""
    decoder.enter(depth)
    for name, item in items_of(_module_state(value).get('_modules', {})).items():
        name = _member_name(name)
        if item is not None and not _is_torch_module(item):
            decoder.budget.spend_bytes(len(prefix))
            yield prefix + name, _init_arguments(decoder, item, depth + 1)[1]
            yield from _submodules(decoder, item, f'{prefix}{name}.', depth + 1)


def _module_state(value: object) -> dict:
    """The `__dict__` of a module."""
    return items_of(value.state if _is_torch_module(value) else _meta(value).get('state'))


def _is_torch_module(value: object) -> TypeGuard[Call]:
    return type(value) is Call and value.func.name in TORCH_MODULES


def _meta(value: object) -> dict:
    """The dictionary of a persistent object, its version and class name checked."""
    if type(value) is not Call or value.func.name != RECONSTRUCT:
        raise CheckpointError(f'{shorten(value)} where a persistent object is expected')
    meta = items_of(arguments(value, 1)[0])
    if meta.get('type') != 'class' or meta.get('version') != PERSISTENT_VERSION:
        raise CheckpointError(f'a persistent object of type {shorten(meta.get("type"))}, version '
                              f'{shorten(meta.get("version"))}; expected a class, version {PERSISTENT_VERSION}')
    if len(text(meta.get('class_name'), 'class name of a persistent object')) > MAX_CLASS_NAME:
        raise CheckpointError(f'a class name of more than {MAX_CLASS_NAME} characters')
    return meta


def _state_items(decoder: Decoder, value: object, prefix: str, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors of a module and its submodules, in the order of `Module.state_dict()`."""
    decoder.enter(depth)
    state = _module_state(value)
    non_persistent = decoder.plain(state.get('_non_persistent_buffers_set', set()), depth + 1)
    if type(non_persistent) is not set:
        raise CheckpointError(f'the names of non-persistent buffers are {shorten(non_persistent)}; expected a set')
    for members, left_out in (('_parameters', ()), ('_buffers', non_persistent)):
        for name, item in items_of(state.get(members, {})).items():
            name = _member_name(name)
            if item is None or name in left_out:
                continue
            tensor = decoder.plain(item, depth + 1)
            if not isinstance(tensor, torch.Tensor):
                raise CheckpointError(f'{prefix}{name} is {shorten(tensor)}; expected a tensor')
            decoder.budget.spend_bytes(len(prefix))
            yield prefix + name, tensor
    for name, item in items_of(state.get('_modules', {})).items():
        name = _member_name(name)
        if item is not None:
            yield from _state_items(decoder, item, f'{prefix}{name}.', depth + 1)


def _member_name(name: object) -> str:
    name = text(name, 'name of a parameter, buffer or submodule')
    # In a state, names of submodules and parameters are joined by dots: 'a.b' could otherwise be two different ones.
    if not name or '.' in name or len(name) > MAX_CLASS_NAME:
        raise CheckpointError(f'a parameter, buffer or submodule is named {shorten(name)}')
    return name


_HANDLERS: dict[str, Handler] = {
    **CONTAINER_HANDLERS,
    **NUMPY_HANDLERS,
    **TF_HANDLERS,
    **tensor_handlers(nested_storage),
    RECONSTRUCT: _persistent,
}
_ALLOWED = frozenset((*_HANDLERS, *NUMPY_NAMES, LOAD_FROM_BYTES, *TORCH_MODULES))
