"""Region-based semantic factorization of pre-trained GANs: mark a region, get directions that change only that."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resefa_plugin.directions.direction_set import DirectionSet
    from resefa_plugin.errors import ResefaError
    from resefa_plugin.factorizer.callback import Callback
    from resefa_plugin.factorizer.constraints import Constraints
    from resefa_plugin.factorizer.factorizer import Factorizer
    from resefa_plugin.factorizer.store import Store
    from resefa_plugin.hooks.function import FunctionHook
    from resefa_plugin.hooks.opening import open_network
    from resefa_plugin.hooks.viewpoint import Viewpoint, viewpoints_of
    from resefa_plugin.jacobian.region_jacobian import RegionJacobian
    from resefa_plugin.rayleigh.solve import solve_rayleigh
    from resefa_plugin.rayleigh.solvers import Auto, Davidson, Dense, Woodbury
    from resefa_plugin.regions.partition import RegionPartition, parse_region

__version__ = '0.2.0'  # setup.py reads it here

__all__ = ['Auto', 'Callback', 'Constraints', 'Davidson', 'Dense', 'DirectionSet', 'Factorizer', 'FunctionHook',
           'RegionJacobian', 'RegionPartition', 'ResefaError', 'Store', 'Viewpoint', 'Woodbury', 'open_network',
           'parse_region', 'solve_rayleigh', 'viewpoints_of']

# Where each is defined. They are imported when they are first asked for: torch takes seconds, and whoever asks for the
# version or for help does not need it.
_MODULES = {
    'Auto': 'rayleigh.solvers', 'Callback': 'factorizer.callback', 'Constraints': 'factorizer.constraints',
    'Davidson': 'rayleigh.solvers', 'Dense': 'rayleigh.solvers', 'DirectionSet': 'directions.direction_set',
    'Factorizer': 'factorizer.factorizer', 'FunctionHook': 'hooks.function',
    'RegionJacobian': 'jacobian.region_jacobian', 'RegionPartition': 'regions.partition', 'ResefaError': 'errors',
    'Store': 'factorizer.store', 'Viewpoint': 'hooks.viewpoint', 'Woodbury': 'rayleigh.solvers',
    'open_network': 'hooks.opening', 'parse_region': 'regions.partition', 'solve_rayleigh': 'rayleigh.solve',
    'viewpoints_of': 'hooks.viewpoint',
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(importlib.import_module(f'{__name__}.{_MODULES[name]}'), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
