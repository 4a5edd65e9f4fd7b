"""Measures of edits: how much changed and where, whether the person is the same, how pictures as a set changed.

Paired metrics (`pair_metric`) compare each edited picture with its original; set metrics (`set_metric`) compare two
sets of pictures. Networks that they need are opened on first use: see `Networks`.
"""

from resefa_plugin.metrics.edits import Edits
from resefa_plugin.metrics.frechet import frechet_distance
from resefa_plugin.metrics.kernel import kernel_distance
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.metrics.registry import (PAIR_METRICS, SET_METRICS, PairMetric, SetMetric, pair_metric,
                                            set_metric)

__all__ = ['Edits', 'Networks', 'PAIR_METRICS', 'PairMetric', 'SET_METRICS', 'SetMetric', 'frechet_distance',
           'kernel_distance', 'pair_metric', 'set_metric']
