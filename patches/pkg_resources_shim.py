"""`pkg_resources`: a stand-in while stylegan3's ops are imported.

Known for stylegan3 407db86..c233a91, whose `conv2d_gradfix` and `grid_sample_gradfix` compare versions with
`pkg_resources.parse_version`; setuptools 82 no longer has that module.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import types
from collections.abc import Iterator

from torch.torch_version import TorchVersion


@contextlib.contextmanager
def shim_pkg_resources() -> Iterator[None]:
    """Makes `from pkg_resources import parse_version` work; does nothing where the real module can be imported."""
    if 'pkg_resources' in sys.modules or importlib.util.find_spec('pkg_resources') is not None:
        yield
        return
    shim = types.ModuleType('pkg_resources', 'Stand-in: parse_version only.')
    # It compares versions like `packaging.version.Version`, which may not be installed.
    shim.parse_version = TorchVersion  # type: ignore[attr-defined]
    sys.modules['pkg_resources'] = shim
    try:
        yield
    finally:
        if sys.modules.get('pkg_resources') is shim:
            del sys.modules['pkg_resources']
