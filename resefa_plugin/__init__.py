"""Region-based semantic factorization of pre-trained GANs: mark a region, get directions that change only that region."""

from resefa_plugin.callback import Callback
from resefa_plugin.directions import DirectionSet
from resefa_plugin.errors import ResefaError
from resefa_plugin.factorizer import Factorizer
from resefa_plugin.hooks import open_network
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.jacobian import RegionJacobian
from resefa_plugin.rayleigh import solve_rayleigh
from resefa_plugin.regions import RegionPartition, parse_region

__version__ = '0.1.0'

__all__ = ['Callback', 'DirectionSet', 'Factorizer', 'FunctionHook', 'RegionJacobian', 'RegionPartition', 'ResefaError',
           'open_network', 'parse_region', 'solve_rayleigh']
