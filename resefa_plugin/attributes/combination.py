"""The combination of directions that moves an attribute most for what it changes outside the region."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from resefa_plugin.attributes.gradients import attribute_gradients
from resefa_plugin.attributes.scores import ATTRIBUTES
from resefa_plugin.errors import MetricError, ResefaError, SolverError
from resefa_plugin.factorizer.steps import mean_slopes
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.rayleigh.operators import DenseGrams
from resefa_plugin.rayleigh.problem import TAU
from resefa_plugin.regions.partition import RegionPartition

COMBINED = 12  # directions of a region that are combined, where there is no more to combine
FAINT = 0.01  # standard deviations at strength 1: nothing of the attribute is to be seen in the pictures
RMS = 0.1  # of the region's change at strength 1
RANDOM = 16  # tangents that estimate tr(B), which the ridge is relative to
# Chosen on the demo generator, see benchmarks/README.md: the ridge, relative to that of the quotient, and what a change
# of the region counts for that does not move the attribute, relative to what would let the quotient alone decide.
EASED = 0.1
SHARE = 0.7


class AttributeObjective:
    """An attribute that is asked for, as an objective of Factorizer: `eyes_open-`.

    Args:
        spec: `ATTRIBUTE+` for more of it, `ATTRIBUTE-` for less.
        networks: of which `parsing` is used.
        tau: the ridge of the quotient relative to tr(B).

    Attributes:
        attribute: one of ATTRIBUTES.
        sign: 1 for more of it, -1 for less.
        num_directions, name, label: as of Objective.

    Raises ResefaError for another spec.
    """

    num_directions = COMBINED

    def __init__(self, spec: str, networks: Networks, tau: float = TAU):
        match = re.fullmatch(r'([A-Za-z_]+)([+-])', spec.strip())
        if match is None:
            raise ResefaError(f"attribute '{spec}': expected a name and + for more of it or - for less, as in "
                              f"eyes_open-; names: {', '.join(ATTRIBUTES)}")
        if match[1] not in ATTRIBUTES:
            near = difflib.get_close_matches(match[1].lower(), ATTRIBUTES, 1, 0.5)
            meant = f'did you mean {near[0]}{match[2]}? ' if near else ''
            raise ResefaError(f"attribute '{spec}': there is no {match[1]}; {meant}names: {', '.join(ATTRIBUTES)}")
        self.attribute, self.sign, self.networks, self.tau = match[1], 1 if match[2] == '+' else -1, networks, tau
        self.name = match[0]
        words = ATTRIBUTES[self.attribute]
        self.label = f'{words.more if self.sign > 0 else words.less} +'

    def __call__(self, viewpoints: Sequence[Viewpoint], region: RegionPartition, span: NDArray[np.float64],
                 grams: DenseGrams) -> NDArray[np.float64]:
        """The best combination, see `combine`."""
        with tqdm(total=len(viewpoints), desc=f'{region.name}: {self.name}', unit='sample', dynamic_ncols=True) as bar:
            return combine(viewpoints, region, span, self.attribute, self.sign, self.networks, self.tau, grams,
                           bar.update)


def combine(viewpoints: Sequence[Viewpoint], region: RegionPartition, span: NDArray[np.float64], attribute: str,
            sign: int, networks: Networks, tau: float = TAU, grams: DenseGrams | None = None,
            progress: Callable[[], None] = lambda: None) -> NDArray[np.float64]:
    """What moves an attribute most per change outside the region, in the span of some rows: see `best_weights`.

    Args:
        viewpoints: one sample or more; g is the median over them, since one with glasses hides its eyes.
        region: what is to change.
        span: `[k, d]`, rows: directions, channels, or the whole space.
        attribute: one of ATTRIBUTES.
        sign: 1 for more of it, -1 for less.
        networks: of which `parsing` is used.
        tau: the ridge of the quotient relative to tr(B).
        grams: A and B in the coordinates of the rows, which are independent then; None measures them by a tangent for
            each row and sample.
        progress: called after each sample.

    Returns: `[d]`, of any length.

    Raises MetricError if nothing in the span moves the attribute, SolverError as `best_weights` does.
    """
    if grams is None:
        span = scipy.linalg.orth(span.T).T
    rates = []
    for viewpoint in viewpoints:
        rates.append(span @ attribute_gradients(viewpoint, [attribute], networks, region)[0].numpy())
        progress()
    rate = sign * np.median(rates, axis=0)
    known = grams or DenseGrams.pooled([_measured(RegionJacobian(viewpoint), region, span) for viewpoint in viewpoints])
    weights = best_weights(rate, span, known, tau)
    direction: NDArray[np.float64] = weights @ span
    length = np.linalg.norm(direction)
    if length > 0:
        (inside,), _ = mean_slopes(viewpoints, region, direction[None] / length)
        if inside > 0 and rate @ weights / length * RMS / np.sqrt(inside) > FAINT:
            return direction
    raise MetricError(f"no direction of '{region.name}' changes '{attribute}': take another region, another attribute, "
                      'or samples that show something of it')


def best_weights(rate: NDArray[np.float64], span: NDArray[np.float64], grams: DenseGrams,
                 tau: float, counted: float | None = None) -> NDArray[np.float64]:
    """The combination of rows that moves an attribute most per change outside, to first order.

    With g the attribute's derivative, and B + a I of Eq. 10 restricted to the span, n = (B + a I)^-1 g is where
    g n / sqrt(n^T (B + a I) n) is largest. Taken by itself that may be a faint change of which nearly nothing is seen
    but the attribute; a part of the change inside is therefore taken off the cost: n = (B + a I - s A / q)^-1 g, where
    q is the largest quotient in the span, Eq. 7, and s = SHARE. With s = 1 the quotient alone would decide. Where the
    change inside counts by c it is n = (B + a I + c A)^-1 g.

    Args:
        rate: `[k]`, the derivative along each row.
        span: `[k, d]`, independent rows.
        grams: A and B in their coordinates.
        tau: the ridge of the quotient relative to tr(B).
        counted: what a change of the region counts for, relative to one outside; None takes SHARE of it off.

    Raises SolverError if B and the ridge are singular.

    Returns: weights `[k]`, of any length.
    """
    A, B = grams.A / grams.background, grams.B / grams.background + EASED * tau * span @ span.T
    try:
        if counted is None:
            q = scipy.linalg.eigh(A, B, eigvals_only=True, subset_by_index=[len(A) - 1, len(A) - 1])[0]
            counted = -SHARE / q if q > 0 else 0.0  # nothing changes the region
        weights: NDArray[np.float64] = scipy.linalg.solve(B + counted * A, rate, assume_a='pos')
    except scipy.linalg.LinAlgError as error:
        raise SolverError(f'some directions change nothing outside the region, and a ridge of tau = {tau:g} does not '
                          'tell them apart: take a larger tau') from error
    return weights


def _measured(jacobian: RegionJacobian, region: RegionPartition, span: NDArray[np.float64]) -> DenseGrams:
    """A and B in the coordinates of the rows `[k, d]`, by tangents; tr(B) by random ones."""
    inside = torch.tensor(region.at(*jacobian.image_shape[1:]))

    def tangents(V: Tensor) -> Tensor:
        return jacobian.jvp(V.float()).cpu().double()

    random = torch.randn(RANDOM, span.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    trace = tangents(random)[:, :, ~inside].square().sum() / RANDOM
    changes = tangents(torch.from_numpy(span))
    jacobian.release()
    f, b = (changes[:, :, mask].flatten(1).numpy() for mask in (inside, ~inside))
    return DenseGrams(f @ f.T, b @ b.T, float(trace))
