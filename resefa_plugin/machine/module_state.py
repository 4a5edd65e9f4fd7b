"""The torch modules behind a generator: which of them are in training mode, and what is stored in them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

_DEPTH = 4  # of objects in objects: a function, what it closes over, an attribute of that, and one more


def modules_of(generator: object) -> list[nn.Module]:
    """The outermost modules that a hook or a function reaches: by attributes, closures, arguments and globals."""
    found: dict[int, nn.Module] = {}
    seen: set[int] = set()

    def look(value: object, depth: int) -> None:
        if id(value) in seen or depth > _DEPTH:
            return
        seen.add(id(value))
        if isinstance(value, nn.Module):
            found[id(value)] = value
            return
        for inner in _reached(value):
            look(inner, depth + 1)

    look(generator, 0)
    inside = {id(part) for module in found.values() for part in module.modules() if part is not module}
    return [module for key, module in found.items() if key not in inside]


def _reached(value: object) -> Iterator[Any]:
    if isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, MethodType):
        yield from (value.__func__, value.__self__)
    elif isinstance(value, FunctionType):
        for cell in value.__closure__ or ():
            with contextlib.suppress(ValueError):  # not bound yet
                yield cell.cell_contents
        yield from (value.__globals__[name] for name in value.__code__.co_names if name in value.__globals__)
        yield from (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values(), *value.__dict__.values())
    elif isinstance(value, (list, tuple)):
        yield from value[:100]
    elif isinstance(value, dict):
        yield from list(value.values())[:100]
    elif not isinstance(value, (type, BuiltinFunctionType, ModuleType, Tensor)) and hasattr(value, '__dict__'):
        yield from vars(value).values()


def in_training(generator: object) -> list[str]:
    """The layers that are in training mode and behave differently there, as `layer (BatchNorm2d)`."""
    return [f'{name or "the network"} ({type(part).__name__})' for module in modules_of(generator)
            for name, part in module.named_modules() if part.training and _lives(part)]


def _lives(part: nn.Module) -> bool:
    """Whether it draws random numbers, or uses and changes statistics of what it sees, while it is in training mode."""
    if isinstance(part, nn.modules.instancenorm._InstanceNorm):
        return part.track_running_stats
    return isinstance(part, (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd))


class ModuleState:
    """A copy of the buffers in the modules of a generator, to notice changes of them and to put them back.

    Args:
        generator: a hook or a function.
    """

    def __init__(self, generator: object):
        parts = [(f'{name}.' if name else '', part) for module in modules_of(generator)
                 for name, part in module.named_modules()]
        with torch.no_grad():
            self._kept = [(f'{prefix}{name}', part, name, buffer, buffer.clone()) for prefix, part in parts
                          for name, buffer in part.named_buffers(recurse=False)]

    def put_back(self) -> list[str]:
        """Gives every buffer the value that it had; returns the names of those that had another."""
        changed = []
        with torch.no_grad():
            for full_name, part, name, buffer, before in self._kept:
                if part._buffers.get(name) is buffer and _same(buffer, before):
                    continue
                part._buffers[name] = buffer
                buffer.copy_(before)
                changed.append(full_name)
        return changed


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))
