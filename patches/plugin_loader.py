"""`torch_utils.custom_ops.get_plugin`: find a compiler, and the plugin that was just built.

Known for stylegan2-ada-pytorch 375a436..d72cc7d and stylegan3 8fb5177..c233a91. Upstream builds with
`torch.utils.cpp_extension.load` and then imports the plugin by name; current torch does not enter it into
`sys.modules`, so the import fails after a successful build. stylegan2-ada-pytorch then falls back to its slow reference
ops with a warning, stylegan3 raises.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import torch
import torch.utils.cpp_extension

from resefa_plugin.machine.cuda_home import cuda_home, environment
from resefa_plugin.patches.support.attributes import replaced


@contextlib.contextmanager
def patch_plugin_loader(modules: Iterable[ModuleType] = (), capabilities: str | None = None) -> Iterator[None]:
    """Enters the plugins that `torch.utils.cpp_extension.load` returns into `sys.modules` until the context ends.

    They are compiled with the toolkit of `machine.cuda_home`, which may be one of packages.

    Args:
        modules: modules of ops. One whose plugin could not be built may try again: stylegan2-ada-pytorch remembers the
            failure, as `_inited` without `_plugin`.
        capabilities: of the GPUs to compile for, such as `8.6;9.0`, on a machine without one; None for those here.
    """
    load = torch.utils.cpp_extension.load
    compiled_for = {'TORCH_CUDA_ARCH_LIST': capabilities} if capabilities else {}
    before: dict[str, ModuleType | None] = {}

    def load_and_enter(name: str, *args: Any, **kwargs: Any) -> Any:
        with _toolkit(), environment(**compiled_for):
            plugin = load(name, *args, **kwargs)
        if isinstance(plugin, ModuleType):
            before.setdefault(name, sys.modules.get(name))
            sys.modules[name] = plugin
        return plugin

    for module in modules:
        if getattr(module, '_inited', False) and module._plugin is None:
            module._inited = False  # type: ignore[attr-defined]
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(replaced(torch.utils.cpp_extension, 'load', load_and_enter))
            if capabilities:  # stylegan3 empties the variable, and names the folder of a plugin after the GPU
                stack.enter_context(environment(**compiled_for))
                stack.enter_context(replaced(torch.cuda, 'get_device_name', lambda: f'capability {capabilities}'))
            yield
    finally:
        for name, original in before.items():
            if original is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = original


@contextlib.contextmanager
def _toolkit() -> Iterator[None]:
    """Lets torch compile with the toolkit that there is."""
    home = cuda_home()
    if home is None:
        yield
        return
    include = [str(home / 'include' / 'cccl'), *filter(None, [os.environ.get('CPATH')])]  # nvcc alone looks there
    with replaced(torch.utils.cpp_extension, 'CUDA_HOME', str(home)), environment(CPATH=os.pathsep.join(include)):
        yield
