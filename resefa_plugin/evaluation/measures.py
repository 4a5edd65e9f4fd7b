"""What a comparison takes from `metrics` and `attributes`: figures of edits, and a direction by what it changes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from resefa_plugin.attributes.changes import attribute_changes, seen_by_parser
from resefa_plugin.attributes.combination import combine
from resefa_plugin.attributes.scores import ATTRIBUTES, attribute_scores
from resefa_plugin.errors import MetricError
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.metrics.edits import Edits
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.metrics.registry import PAIR_METRICS, SET_METRICS, pair_metric, set_metric
from resefa_plugin.rayleigh.operators import DenseGrams
from resefa_plugin.regions.partition import RegionPartition

ALWAYS = ('mse', 'localisation')  # they need no network
LEFT_OUT = ('prediction',)        # predicted against measured change: not a matter of methods


class Measures:
    """Metrics by name, on pictures of one comparison.

    Args:
        names: of `metrics.PAIR_METRICS` and `metrics.SET_METRICS`, besides those that are always taken.
        networks: where theirs come from.

    Raises MetricError for another name.
    """

    def __init__(self, names: Sequence[str] = (), networks: Networks | None = None):
        self.networks = networks or Networks()
        known = [name for name in (*PAIR_METRICS, *SET_METRICS) if name not in LEFT_OUT]
        for name in names:
            if name not in known:
                raise MetricError(f"metric '{name}' is not one of {', '.join(known)}")
        self.names = tuple(dict.fromkeys((*ALWAYS, *names)))
        self._scores: dict[str, dict[str, Tensor]] = {}  # of unedited pictures, by sample
        self._pairs = [pair_metric(name, self.networks) for name in self.names if name in PAIR_METRICS]
        self._sets = {name: set_metric(name, self.networks) for name in self.names if name in SET_METRICS}

    def of_pairs(self, originals: Tensor, edited: Tensor, partition: RegionPartition) -> dict[str, list[float | None]]:
        """Each pair metric's figures, one for each of N pictures; None where it has no answer (it is not finite)."""
        edits, figures = Edits(originals, edited, partition), {}
        for metric in self._pairs:
            for key, values in metric(edits).items():
                figures[key] = [value if math.isfinite(value) else None for value in values.tolist()]
        return figures

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """What the set metrics know of pictures, by metric.

        All of them are distances of the same features, computed once.
        """
        if not self._sets:
            return {}
        return dict.fromkeys(self._sets, next(iter(self._sets.values())).features(images))

    def of_sets(self, reference: dict[str, Tensor], edited: dict[str, Tensor]) -> dict[str, float | None]:
        """The set metrics between the features of unedited and of edited pictures; None where there is no answer."""
        values = {name: float(metric.distance(reference[name], edited[name])) for name, metric in self._sets.items()}
        return {name: value if math.isfinite(value) else None for name, value in values.items()}

    def changes(self, viewpoint: Viewpoint, offsets: Tensor, attribute: str) -> Tensor:
        """How far each offset `[k, d]` moves an attribute of a sample, to and fro, `[k]`; 0 where it is not seen."""
        return attribute_changes([seen_by_parser(viewpoint)], offsets, self.networks).of(attribute).nan_to_num()

    def combine(self, attribute: str, sign: int, viewpoints: Sequence[Viewpoint], region: RegionPartition,
                span: NDArray[np.float64], grams: DenseGrams | None = None) -> NDArray[np.float64]:
        """The best combination for an attribute, see `attributes.combination.combine`."""
        return combine(viewpoints, region, span, attribute, sign, self.networks, grams=grams)

    def attribute_change(self, sample: str, original: Tensor, edited: Tensor, attribute: str,
                         sign: int) -> float | None:
        """How far an edit went the wanted way, in units of the spread over faces; None where no face is seen.

        Args:
            sample: name of the sample, whose unedited picture is measured once.
            original, edited: `[1, C, h, w]`.
        """
        if sample not in self._scores:
            self._scores[sample] = attribute_scores(original, self.networks)
        change = sign * float(attribute_scores(edited, self.networks)[attribute] - self._scores[sample][attribute])
        return change if math.isfinite(change) else None


ATTRIBUTE_NAMES = tuple(ATTRIBUTES)
