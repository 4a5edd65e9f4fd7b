"""GANSpace (Haerkoenen et al., NeurIPS 2020): principal components of w."""

from __future__ import annotations

import time

import numpy as np
import torch

from resefa_plugin.baselines.population import random_ws
from resefa_plugin.baselines.problem import MethodError, MethodResult, Problem
from resefa_plugin.hooks.style_based import StyleBasedHook

SAMPLES = 10_000


def ganspace_directions(problem: Problem) -> MethodResult:
    """Principal components of w over random z, untruncated, largest variance first.

    An edit acts on the chosen layers, or on all.

    Raises MethodError for a generator without w, whose latents are isotropic noise.
    """
    if not isinstance(problem.hook, StyleBasedHook):
        raise MethodError(f'GANSpace takes the principal components of w, which {problem.hook.name} does not have; '
                          'those of its z are noise')
    start = time.perf_counter()
    w = torch.cat([ws[:, 0] for ws in random_ws(problem.hook, problem.sample, SAMPLES)]).double().cpu().numpy()
    _, vectors = np.linalg.eigh(np.cov(w.T))
    return MethodResult.of(vectors.T[::-1][:problem.num_directions], problem.hook.space('w', problem.layers),
                    {'solve': time.perf_counter() - start})
