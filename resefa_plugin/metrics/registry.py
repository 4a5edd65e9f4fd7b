"""The metrics by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from resefa_plugin.errors import MetricError
from resefa_plugin.metrics.edits import PairMetric
from resefa_plugin.metrics.frechet import frechet_distance
from resefa_plugin.metrics.identity import Identity
from resefa_plugin.metrics.inception_features import InceptionFeatures
from resefa_plugin.metrics.kernel import kernel_distance
from resefa_plugin.metrics.localisation import Localisation
from resefa_plugin.metrics.masked_mse import MaskedMSE
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.metrics.perceptual import Perceptual
from resefa_plugin.metrics.prediction import Prediction

T = TypeVar('T')


@dataclass(frozen=True)
class SetMetric:
    """Compares two sets of pictures by their features.

    Attributes:
        features: pictures `[N, C, H, W]` -> `[N, f]`; the same object for all metrics that share it.
        distance: `[n, f]` of the reference, `[m, f]` -> a number, 0 for equal sets.
    """

    features: Callable[[Tensor], Tensor]
    distance: Callable[[Tensor, Tensor], float]


PAIR_METRICS: dict[str, Callable[[Networks], PairMetric]] = {
    'mse': lambda networks: MaskedMSE(),
    'localisation': lambda networks: Localisation(),
    'lpips': Perceptual,
    'identity': Identity,
    'prediction': lambda networks: Prediction(),
}

SET_METRICS: dict[str, Callable[[Networks], SetMetric]] = {
    'fid': lambda networks: SetMetric(InceptionFeatures(networks), frechet_distance),
    'kid': lambda networks: SetMetric(InceptionFeatures(networks), kernel_distance),
}


def pair_metric(name: str, networks: Networks | None = None) -> PairMetric:
    """A paired metric by name.

    Args:
        name: one of PAIR_METRICS.
        networks: where its network comes from, if it needs one.

    Raises:
        MetricError: no such metric.
        CheckpointError: its network cannot be had.
    """
    return _lookup(name, PAIR_METRICS, 'paired')(networks or Networks())


def set_metric(name: str, networks: Networks | None = None) -> SetMetric:
    """A set metric by name, one of SET_METRICS; otherwise as `pair_metric`."""
    return _lookup(name, SET_METRICS, 'set')(networks or Networks())


def _lookup(name: str, table: Mapping[str, T], kind: str) -> T:
    if name not in table:
        raise MetricError(f"'{name}' is not a {kind} metric; {kind} metrics: {', '.join(table)}")
    return table[name]
