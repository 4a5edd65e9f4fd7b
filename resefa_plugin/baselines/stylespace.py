"""StyleSpace (Wu et al., CVPR 2021): single style channels whose effect falls into the region."""

from __future__ import annotations

import time

import numpy as np
import torch

from resefa_plugin.baselines.population import random_ws
from resefa_plugin.baselines.problem import MethodError, MethodResult, Problem
from resefa_plugin.hooks.base import Sample
from resefa_plugin.hooks.style_based import StyleBasedHook
from resefa_plugin.jacobian.channels import channel_energies
from resefa_plugin.jacobian.region_jacobian import RegionJacobian

PROBES = 32             # backward passes for each side: 1 / sqrt(16) = 25 % standard error of a channel's energy
ACTIVE_SHARE = 0.05     # of the channels, those that change the region most, are candidates
DEVIATION_SAMPLES = 1_000


def stylespace_directions(problem: Problem) -> MethodResult:
    """One-hot directions of the channels that change the region and little else, most local first.

    The effect of a channel is the gradient of the picture with respect to it times the channel's standard deviation
    over random samples. Candidates are the channels of largest effect in the region; they are ranked by the share of
    their squared effect that falls inside.

    Raises MethodError for a generator without styles.
    """
    hook = problem.hook
    if not isinstance(hook, StyleBasedHook):
        raise MethodError(f'StyleSpace looks for single style channels, and {hook.name} has no styles')
    return problem.jacobians.once(('stylespace', *problem.key), lambda: _localized(problem, hook))


def _localized(problem: Problem, hook: StyleBasedHook) -> MethodResult:
    start = time.perf_counter()
    space = hook.space('s', problem.layers)
    jacobian = RegionJacobian(problem.viewpoint(space))
    inside, outside = channel_energies(jacobian, problem.region.at(*jacobian.image_shape[1:]), PROBES)
    gradients = time.perf_counter()
    variance = style_variance(hook, problem.sample, space.layers)
    channels = local_channels(inside * variance, outside * variance)[:problem.num_directions]
    directions = np.zeros((len(channels), space.dim))
    directions[np.arange(len(channels)), channels] = 1
    seconds = {'gradients': gradients - start, 'solve': time.perf_counter() - gradients}
    return MethodResult.of(directions, space, seconds)


def local_channels(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Numbers of the candidate channels by descending share of their effect inside."""
    count = max(1, round(ACTIVE_SHARE * np.count_nonzero(inside)))
    candidates = np.argsort(-inside, kind='stable')[:count]
    share = inside[candidates] / (inside[candidates] + outside[candidates])
    return candidates[np.argsort(-share, kind='stable')]


def style_variance(hook: StyleBasedHook, sample: Sample, layers: tuple[int, ...] | None) -> np.ndarray:
    """Variance of each channel of the layers over random samples, truncated as the sample is, `[d]` float64.

    `layers` is None where all are meant.
    """
    parts = []
    for ws in random_ws(hook, sample, DEVIATION_SAMPLES, sample.truncation_psi, sample.truncation_cutoff):
        with torch.no_grad():
            styles = hook.styles(ws)
        parts.append(torch.cat(styles if layers is None else [styles[layer] for layer in layers], dim=1).double().cpu())
    return torch.cat(parts).var(dim=0).numpy()
