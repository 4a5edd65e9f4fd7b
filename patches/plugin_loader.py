"""`torch_utils.custom_ops.get_plugin`: find the plugin that was just built.

Known for stylegan2-ada-pytorch 375a436..d72cc7d and stylegan3 8fb5177..c233a91. Upstream builds with
`torch.utils.cpp_extension.load` and then imports the plugin by name; current torch does not enter it into
`sys.modules`, so the import fails after a successful build. stylegan2-ada-pytorch then falls back to its slow reference
ops with a warning, stylegan3 raises.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import torch.utils.cpp_extension

from resefa_plugin.patches.support.attributes import replaced


@contextlib.contextmanager
def patch_plugin_loader(modules: Iterable[ModuleType] = ()) -> Iterator[None]:
    """Enters the plugins that `torch.utils.cpp_extension.load` returns into `sys.modules` until the context ends.

    Args:
        modules: modules of ops. One whose plugin could not be built may try again: stylegan2-ada-pytorch remembers the
            failure, as `_inited` without `_plugin`.
    """
    load = torch.utils.cpp_extension.load
    before: dict[str, ModuleType | None] = {}

    def load_and_enter(name: str, *args: Any, **kwargs: Any) -> Any:
        plugin = load(name, *args, **kwargs)
        if isinstance(plugin, ModuleType):
            before.setdefault(name, sys.modules.get(name))
            sys.modules[name] = plugin
        return plugin

    for module in modules:
        if getattr(module, '_inited', False) and module._plugin is None:
            module._inited = False  # type: ignore[attr-defined]
    try:
        with replaced(torch.utils.cpp_extension, 'load', load_and_enter):
            yield
    finally:
        for name, original in before.items():
            if original is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = original
