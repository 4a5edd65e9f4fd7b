"""Region-based semantic factorization of pre-trained GANs: mark a region, get directions that change only that."""

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.errors import ResefaError
from resefa_plugin.factorizer.callback import Callback
from resefa_plugin.factorizer.constraints import Constraints
from resefa_plugin.factorizer.factorizer import Factorizer
from resefa_plugin.factorizer.store import Store
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.hooks.opening import open_network
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.rayleigh.solve import solve_rayleigh
from resefa_plugin.rayleigh.solvers import Auto, Davidson, Dense, Woodbury
from resefa_plugin.regions.partition import RegionPartition, parse_region

__version__ = '0.1.0'

__all__ = ['Auto', 'Callback', 'Constraints', 'Davidson', 'Dense', 'DirectionSet', 'Factorizer', 'FunctionHook',
           'RegionJacobian', 'RegionPartition', 'ResefaError', 'Store', 'Viewpoint', 'Woodbury', 'open_network',
           'parse_region', 'solve_rayleigh']
