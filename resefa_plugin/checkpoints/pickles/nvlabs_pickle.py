"""Modules as they were saved, NVIDIA's persistent objects and torch's own, read as data.

A persistent object is a call of `torch_utils.persistence._reconstruct_persistent_obj` with a dictionary: Python source
(which the official loader executes, and which is only hashed here), the name of a class in it, and the `__dict__` of
the module. Any other module is its class, which is not there, with the same `__dict__` as its state. Submodules may be
of either kind.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from resefa_plugin.checkpoints.pickles.inert_values import Call, ForeignObjectError, shorten
from resefa_plugin.checkpoints.pickles.plain_data import Decoder, arguments, items_of, text
from resefa_plugin.errors import CheckpointError

PERSISTENT_VERSION = 6
RECONSTRUCT = 'torch_utils.persistence._reconstruct_persistent_obj'
MAX_CLASS_NAME = 256


@dataclass(frozen=True)
class PersistentObject:
    """A module as it was saved.

    Attributes:
        class_name: in the source that the file carries, or with the name of its module if it carries none.
        source_sha256: SHA-256 of that source, which is not kept; empty if the file carries none.
        init_args: positional arguments that its constructor was called with.
        init_kwargs: keyword arguments that its constructor was called with; empty, as `init_args`, if `source_sha256`
            is: torch itself records neither.
        state_dict: parameters and persistent buffers under the names and in the order of `Module.state_dict()`;
            contiguous, on the CPU.
        attributes: those of its other attributes that are numbers, text or None, e.g. `z_dim`, `training`. Nothing else
            is decoded: a fork may keep there what it likes.
        submodules: keyword arguments of each submodule's constructor, by the name of the submodule, `synthesis.input`;
            only of persistent objects, and of those only if they are plain data.
    """

    class_name: str
    source_sha256: str
    init_args: tuple
    init_kwargs: dict
    state_dict: dict[str, torch.Tensor]
    attributes: dict[object, object]
    submodules: dict[str, dict] = field(default_factory=dict)


def is_module(value: object) -> bool:
    """Whether an inert value is a module."""
    if type(value) is not Call:
        return False
    return value.func.name == RECONSTRUCT or type(value.state) is dict and {'_parameters', '_modules'} <= {*value.state}


def decode_module(decoder: Decoder, call: Call) -> PersistentObject:
    """A module out of an inert value that is one. Raises CheckpointError if it is forged, or has no plain data."""
    if call.func.name != RECONSTRUCT:
        return PersistentObject(shorten(call.func.name)[1:-1], '', (), {}, dict(_state_items(decoder, call, '', 0)),
                                _scalars(items_of(call.state)))
    meta = _meta(call)
    state = items_of(meta.get('state'))
    source = text(meta.get('module_src'), 'source of a persistent object')
    decoder.budget.spend_bytes(len(source))
    args, kwargs = _init_arguments(decoder, call, 0)
    return PersistentObject(meta['class_name'], hashlib.sha256(source.encode('utf-8')).hexdigest(), args, kwargs,
                            dict(_state_items(decoder, call, '', 0)), _scalars(state),
                            dict(_submodules(decoder, call, '', 0)))


def _init_arguments(decoder: Decoder, call: Call, depth: int) -> tuple[tuple, dict]:
    """The arguments, positional and by keyword, that the constructor of a persistent object was called with."""
    meta = _meta(call)
    state = items_of(meta.get('state'))
    args = decoder.plain(state.get('_init_args', ()), depth)
    kwargs = decoder.plain(state.get('_init_kwargs', {}), depth)
    if type(args) is not tuple or type(kwargs) is not dict:
        raise CheckpointError(f'init arguments of {shorten(meta["class_name"])} that are not a tuple and a dictionary')
    return args, kwargs


def _submodules(decoder: Decoder, value: object, prefix: str, depth: int) -> Iterator[tuple[str, dict]]:
    """Names and keyword arguments of the submodules of a module that are persistent objects."""
    decoder.enter(depth)
    for name, item in items_of(_dict_of(value).get('_modules', {})).items():
        name = _member_name(name)
        if item is None:
            continue
        decoder.budget.spend_bytes(len(prefix))
        if type(item) is Call and item.func.name == RECONSTRUCT:
            with contextlib.suppress(ForeignObjectError):
                yield prefix + name, _init_arguments(decoder, item, depth + 1)[1]
        yield from _submodules(decoder, item, f'{prefix}{name}.', depth + 1)


def _scalars(state: dict) -> dict[object, object]:
    return {key: value for key, value in state.items() if value is None or type(value) in (bool, int, float, str)}


def _meta(value: Call) -> dict:
    """The dictionary of a persistent object, its version and class name checked."""
    meta = items_of(arguments(value, 1)[0])
    if meta.get('type') != 'class' or meta.get('version') != PERSISTENT_VERSION:
        raise CheckpointError(f'a persistent object of type {shorten(meta.get("type"))}, version '
                              f'{shorten(meta.get("version"))}; expected a class, version {PERSISTENT_VERSION}')
    if len(text(meta.get('class_name'), 'class name of a persistent object')) > MAX_CLASS_NAME:
        raise CheckpointError(f'a class name of more than {MAX_CLASS_NAME} characters')
    return meta


def _dict_of(value: object) -> dict:
    """The `__dict__` of a module, still inert."""
    if not is_module(value):
        raise CheckpointError(f'{shorten(value)} where a module is expected')
    assert type(value) is Call  # as modules are
    return items_of(_meta(value).get('state')) if value.func.name == RECONSTRUCT else items_of(value.state)


def _state_items(decoder: Decoder, value: object, prefix: str, depth: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors of a module and its submodules, in the order of `Module.state_dict()`."""
    decoder.enter(depth)
    state = _dict_of(value)
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
