"""ReSeFa as its published code does it: what a user of that repository gets.

As read in compute_jacobian.py and compute_direction.py: the picture is resized to 256 by nearest neighbours and its
channels are summed before it is differentiated in W over all layers; both Gram matrices are divided by their pixel
count; there is no ridge by default; `inv(M_b) @ M_f` goes through a non-symmetric eigensolver in float32, of which the
real part is kept, sorted by the real part of the eigenvalues; edits act on layers 4-7 of 18, or 8-11 for eyebrows and
lipstick.
"""

from __future__ import annotations

import time
from collections.abc import Generator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from resefa_plugin.baselines.problem import MethodError, MethodResult, Problem
from resefa_plugin.hooks.base import LatentSpace
from resefa_plugin.hooks.style_based import StyleBasedHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import MAX_CHUNK, RegionJacobian

SIDE = 256                                   # larger pictures are resized to it
LAYERS, FINE_LAYERS, OF = (4, 8), (8, 12), 18  # of StyleGAN2 at 1024, last one excluded
FINE = ('eyebrows', 'lipstick')
TIMED_ROWS = 3


def published_directions(problem: Problem) -> MethodResult:
    """Directions of the published procedure.

    Its Jacobian is computed by forward mode, which gives the same numbers sooner; the seconds are those of its own way,
    a backward pass per pixel, extrapolated from a few rows. Layers restrict the edit, not the derivative.

    Raises MethodError if the background's Gram matrix is singular, as `numpy.linalg.inv` does.
    """
    space = problem.hook.space(problem.space)
    grey = grey_jacobian(problem, space)
    mask = torch.tensor(problem.region.mask)[None, None].float()
    inside = (_resized(mask) > 0.5).flatten().numpy()
    start = time.perf_counter()
    directions = solve_published(grey[:, inside], grey[:, ~inside])[:problem.num_directions]
    solve = time.perf_counter() - start
    layers = problem.layers or _published_layers(problem)
    per_row = row_seconds(problem.viewpoint(space).full())
    return MethodResult.of(directions, problem.hook.space(problem.space, layers),
                    {'jacobian': per_row * grey.shape[1], 'solve': solve}, ('jacobian',))


def solve_published(foreground: np.ndarray, background: np.ndarray) -> np.ndarray:
    """inv(M_b) M_f by a non-symmetric eigensolver in float32, without a ridge.

    Args:
        foreground, background: columns of J as rows, float32, `[d, pixels]`.

    Returns: `[d, d]` float32, real parts of the eigenvectors as rows, by descending real part of the eigenvalue.
    """
    M_f = foreground @ foreground.T / np.float32(foreground.shape[1])
    M_b = background @ background.T / np.float32(background.shape[1])
    try:
        values, vectors = np.linalg.eig(np.linalg.inv(M_b) @ M_f)
    except np.linalg.LinAlgError as error:
        raise MethodError(f'the published procedure fails here: {error} (it inverts the Gram matrix of the rest '
                          'without a ridge)') from error
    return np.real(vectors).T[np.argsort(-np.real(values), kind='stable')]


def _published_layers(problem: Problem) -> tuple[int, ...] | None:
    """Layers 4-7 (or 8-11) of 18, at the same relative depth of this network; None where there are no styles."""
    if not isinstance(problem.hook, StyleBasedHook):
        return None
    count = problem.hook.layer_count(problem.space)
    low, high = FINE_LAYERS if problem.attribute in FINE or problem.region.name in FINE else LAYERS
    return tuple(layer for layer in range(count) if low <= (layer + 0.5) * OF / count < high) or None


def _resized(pictures: Tensor) -> Tensor:
    """Nearest-neighbour resize so that the longer side is 256; smaller pictures as they are."""
    longer = max(pictures.shape[2:])
    return pictures if longer <= SIDE else functional.interpolate(pictures, scale_factor=SIDE / longer, mode='nearest')


def grey_jacobian(problem: Problem, space: LatentSpace) -> np.ndarray:
    """`[d, pixels]` float32: the derivative of the channel sum of the resized picture, computed once per sample."""
    def compute() -> np.ndarray:
        jacobian = RegionJacobian(problem.viewpoint(space).full())
        chunks = torch.eye(space.dim).split(MAX_CHUNK)
        return torch.cat([_resized(jacobian.jvp(V)).sum(dim=1).flatten(1).cpu() for V in chunks]).numpy()

    return problem.jacobians.once(('published', problem.sample.name), compute)


def published_rows(viewpoint: Viewpoint) -> Generator[Tensor, None, None]:
    """Rows of the published Jacobian by its own way, reverse mode, one pixel's gradient `[1, d]` at a time."""
    offset = viewpoint.zero().requires_grad_()
    with torch.enable_grad():
        grey = _resized(viewpoint.images(offset)).sum(dim=1).flatten()
    for position in torch.randperm(len(grey), generator=torch.Generator().manual_seed(0)).tolist():
        with torch.enable_grad():
            pixel = grey[position]
        yield torch.autograd.grad(pixel, offset, retain_graph=True)[0]


def row_seconds(viewpoint: Viewpoint, rows: int = TIMED_ROWS) -> float:
    """Seconds of one row, the median of a few, after one that warms up."""
    source, seconds = published_rows(viewpoint), []
    next(source)
    for _ in range(rows):
        start = time.perf_counter()
        next(source, None)
        seconds.append(time.perf_counter() - start)
    source.close()
    return float(np.median(seconds))
