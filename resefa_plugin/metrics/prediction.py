"""What the Jacobian predicts against what is rendered: how far the first order holds."""

from __future__ import annotations

from torch import Tensor
from typing_extensions import override

from resefa_plugin.editing.strength import mean_square
from resefa_plugin.errors import MetricError
from resefa_plugin.metrics.edits import Edits, PairMetric


class Prediction(PairMetric):
    """Measured over predicted mean squared change: inside (Eq. 5), outside (Eq. 3), and their quotients (Eq. 7).

    1 means that the edit is small enough for the first order to be exact. `prediction_ratio` below 1 says that the
    direction is less local than its eigenvalue promises: the eigenvalue is the predicted quotient, but for the ridge
    and the areas.
    """

    keys = ('prediction_in', 'prediction_out', 'prediction_ratio')

    @override
    def __call__(self, edits: Edits) -> dict[str, Tensor]:
        if edits.predicted_inside is None or edits.predicted_outside is None:
            raise MetricError("metric 'prediction' needs predicted_inside and predicted_outside of the edits, which "
                              'hold at the sample that the Jacobian was computed at')
        inside, outside = mean_square(edits.change.cpu(), edits.partition)
        inside = inside / edits.predicted_inside.cpu().double()
        outside = outside / edits.predicted_outside.cpu().double()
        return {'prediction_in': inside, 'prediction_out': outside, 'prediction_ratio': inside / outside}
