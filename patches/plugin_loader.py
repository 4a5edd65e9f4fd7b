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

import torch.utils.cpp_extension

from resefa_plugin.patches.support.attributes import replaced


@contextlib.contextmanager
def patch_plugin_loader(modules: Iterable[ModuleType] = ()) -> Iterator[None]:
    """Enters what `torch.utils.cpp_extension.load` returns into `sys.modules` for the duration of the context.

    Args:
        modules: op modules. One that has given up building (stylegan2-ada-pytorch remembers a failure as `_inited`
            without `_plugin`) may try again.
    """
    load = torch.utils.cpp_extension.load
    before: dict[str, ModuleType | None] = {}

    def load_and_enter(name, *args, **kwargs):
        plugin = load(name, *args, **kwargs)
        if isinstance(plugin, ModuleType):
            before.setdefault(name, sys.modules.get(name))
            sys.modules[name] = plugin
        return plugin

    for module in modules:
        if getattr(module, '_inited', False) and module._plugin is None:
            module._inited = False
    try:
        with replaced(torch.utils.cpp_extension, 'load', load_and_enter):
            yield
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module
