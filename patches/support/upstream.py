"""Which official ops and network modules a generator is made of."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType

import torch


@dataclass(frozen=True)
class Upstream:
    """The official modules behind a generator; all empty for a generator that is not official.

    Attributes:
        ops: modules of `torch_utils.ops` by their last name, e.g. `bias_act`.
        networks: modules that define the classes of the generator and its layers.
    """

    ops: dict[str, ModuleType]
    networks: tuple[ModuleType, ...]


def find_upstream(G: torch.nn.Module) -> Upstream:
    """Finds the official modules that G uses.

    The classes of an unpickled network are in modules called `_imported_module_<hash>`, and are base classes of those
    that a decorator in `torch_utils.persistence` made. Hence every base class of every layer is looked at, and ops are
    found among the globals of the modules that define them.
    """
    classes = {cls for module in G.modules() for cls in type(module).__mro__}
    homes = {cls.__module__: sys.modules[cls.__module__] for cls in classes if cls.__module__ in sys.modules}
    networks = tuple(homes[name] for name in sorted(homes) if _ops_of(homes[name]))
    ops: dict[str, ModuleType] = {}
    pending = list(networks)
    while pending:
        for name, module in _ops_of(pending.pop()).items():
            if name not in ops:
                ops[name] = module
                pending.append(module)
    return Upstream(ops, networks)


def _ops_of(module: ModuleType) -> dict[str, ModuleType]:
    """The `torch_utils.ops` modules among the globals of a module, by their last name."""
    found = {}
    for value in vars(module).values():
        if isinstance(value, ModuleType):
            package, _, name = value.__name__.rpartition('.')
            if package == 'torch_utils.ops':
                found[name] = value
    return found
