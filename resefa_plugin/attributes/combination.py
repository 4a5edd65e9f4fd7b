"""The combination of directions that moves an attribute most for what it changes outside the region."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from resefa_plugin.attributes.changes import STRENGTH, attribute_changes, seen_by_parser
from resefa_plugin.attributes.scores import ATTRIBUTES
from resefa_plugin.errors import MetricError, ResefaError
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.rayleigh.problem import TAU
from resefa_plugin.regions.partition import RegionPartition

COMBINED = 12  # directions of a region that are combined
FAINT = 0.05  # standard deviations at strength 1: what the parser's own noise does
RANDOM = 16  # tangents that estimate tr(B), which the ridge is relative to


class AttributeObjective:
    """An attribute that is asked for, as an objective of Factorizer: `eyes_open-`.

    Args:
        spec: `ATTRIBUTE+` for more of it, `ATTRIBUTE-` for less.
        networks: of which `parsing` is used.
        tau: the ridge relative to tr(B).

    Attributes:
        attribute: one of ATTRIBUTES.
        sign: 1 for more of it, -1 for less.
        num_directions, name, label: as of Objective.

    Raises ResefaError for another spec.
    """

    num_directions = COMBINED

    def __init__(self, spec: str, networks: Networks, tau: float = TAU):
        match = re.fullmatch(r'([A-Za-z_]+)([+-])', spec.strip())
        if match is None or match[1] not in ATTRIBUTES:
            raise ResefaError(f"attribute '{spec}': expected a name and + for more of it or - for less, as in "
                              f"eyes_open-; names: {', '.join(ATTRIBUTES)}")
        self.attribute, self.sign, self.networks, self.tau = match[1], 1 if match[2] == '+' else -1, networks, tau
        self.name = match[0]
        words = ATTRIBUTES[self.attribute]
        self.label = f'{words.more if self.sign > 0 else words.less} +'

    def __call__(self, viewpoints: Sequence[Viewpoint], region: RegionPartition, offsets: Tensor) -> Tensor:
        """The combination of the directions, see `combine`."""
        with tqdm(total=len(viewpoints) * len(offsets), desc=f'{region.name}: {self.name}', unit='edit',
                  dynamic_ncols=True) as bar:
            return combine(viewpoints, region, offsets, self.attribute, self.sign, self.networks, self.tau, bar.update)


def combine(viewpoints: Sequence[Viewpoint], region: RegionPartition, offsets: Tensor, attribute: str,
            sign: int, networks: Networks, tau: float = TAU, progress: Callable[[], None] = lambda: None) -> Tensor:
    """What moves the attribute most per change outside, in the span of some directions, to first order.

    With g the attribute's derivative along the directions, and B and the ridge of Eq. 10 restricted to their span,
    n = (B + a I)^-1 g is where g n / sqrt(n^T (B + a I) n) is largest. g is measured by renderings, B by tangents,
    both over all samples.

    Args:
        viewpoints: one sample or more.
        region: what the directions change.
        offsets: `[k, d]`, the directions, each as long as strength 1.
        attribute: one of ATTRIBUTES.
        sign: 1 for more of it, -1 for less.
        networks: of which `parsing` is used.
        tau: the ridge relative to tr(B).
        progress: called after each direction of each sample.

    Returns: `[d]` float64, of any length.

    Raises MetricError if no direction moves the attribute.
    """
    changes = attribute_changes([seen_by_parser(viewpoint) for viewpoint in viewpoints], offsets, networks,
                                region=region, progress=progress)
    rates = sign * changes.typical(attribute) / (2 * STRENGTH)
    if not rates.abs().max() > FAINT:
        raise MetricError(f"none of the {len(offsets)} directions of '{region.name}' changes '{attribute}': take more "
                          'directions, another region, or another attribute')
    steps, cost = offsets.double().cpu(), torch.zeros(len(offsets), len(offsets), dtype=torch.float64)
    for viewpoint in viewpoints:
        cost += _cost(RegionJacobian(viewpoint), region, steps, tau)
    return torch.linalg.solve(cost, rates) @ steps


def _cost(jacobian: RegionJacobian, region: RegionPartition, steps: Tensor, tau: float) -> Tensor:
    """B + a I in the span of steps `[k, d]`, over tr(B): `[k, k]`."""
    outside = ~torch.tensor(region.at(*jacobian.image_shape[1:]))

    def tangents(V: Tensor) -> Tensor:
        return jacobian.jvp(V)[:, :, outside.to(jacobian.viewpoint.device)].flatten(1).double().cpu()

    random = torch.randn(RANDOM, steps.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    trace = tangents(random).square().sum() / RANDOM
    changes = tangents(steps)
    jacobian.release()
    return changes @ changes.T / trace + tau * (steps @ steps.T)
