"""SeFa (Shen and Zhou, CVPR 2021): what the weights of the style layers amplify most."""

from __future__ import annotations

import time

import numpy as np
import torch

from resefa_plugin.baselines.problem import MethodError, MethodResult, Problem
from resefa_plugin.hooks.base import LatentSpace
from resefa_plugin.hooks.style_based import StyleBasedHook


def sefa_directions(problem: Problem) -> MethodResult:
    """Eigenvectors of A^T A, largest first, where A stacks the weights of the chosen layers' affine maps w -> style.

    It is closed form: no sample, no picture and no region. The directions act on the layers that A was taken from.

    Raises MethodError for a generator without affine style layers.
    """
    start = time.perf_counter()
    A, space = affine_weights(problem)
    values, vectors = np.linalg.eigh(A.T @ A)
    return MethodResult.of(vectors.T[::-1][:problem.num_directions], space, {'solve': time.perf_counter() - start})


def affine_weights(problem: Problem) -> tuple[np.ndarray, LatentSpace]:
    """A `[sum(style_dims), w_dim]` float64, and the space that it maps from.

    Styles are an affine function of w, so their differences at unit offsets are the columns of A, in any network.
    """
    hook = problem.hook
    if not isinstance(hook, StyleBasedHook):
        raise MethodError(f'SeFa factorizes the affine maps from w to styles, which {hook.name} does not have')
    space, origin = hook.space('w', problem.layers), torch.zeros(1, hook.num_ws, hook.w_dim, device=hook.device)
    with torch.no_grad():
        at_zero = torch.cat(hook.styles(origin), dim=1)
        at_units = torch.cat(hook.styles(space.move(origin, torch.eye(hook.w_dim, device=hook.device))), dim=1)
    return (at_units - at_zero).T.double().cpu().numpy(), space
