"""Methods compared at the same change inside the region, on samples that took no part in finding the directions."""

from resefa_plugin.evaluation.comparison import Comparison, Settings
from resefa_plugin.evaluation.rows import Row, parse_row

__all__ = ['Comparison', 'Row', 'Settings', 'parse_row']
