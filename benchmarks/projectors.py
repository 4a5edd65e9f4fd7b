"""Projectors that ours is compared with, written anew: the same target, comparison and measures for all."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.projection.likeness import Comparison


@dataclass(frozen=True)
class Found:
    """What a projector found.

    Attributes:
        offset: from the mean of the generator's latents, `[d]`.
        passes: forward and backward passes.
    """

    offset: Tensor
    passes: int


def adam_in_w_plus(viewpoint: Viewpoint, compare: Comparison, passes: int = 250) -> Found:
    """Adam from the mean latent in w+, with a rate of .05, a rise over 10 passes and a fall in the second half.

    Minimises squared error, LPIPS, and 2e-4 times the squared distances of the layers' latents from their mean.
    """
    def loss(x: Tensor) -> Tensor:
        rows = x.unflatten(0, (viewpoint.hook.num_ws, -1))
        spread = (rows - rows.mean(dim=0)).square().sum(dim=1).mean()
        return torch.stack(compare(viewpoint.images(x[None]))).sum() + 2e-4 * spread

    def rate(done: int) -> float:
        falling = 1.0 if done < passes / 2 else 0.5 * (1 + math.cos(math.pi * (2 * done / passes - 1)))
        return 0.05 * min(1.0, (done + 1) / 10) * falling

    return Found(_adam(viewpoint.zero()[0], loss, rate, passes, (0.9, 0.999)), passes)


def official(viewpoint: Viewpoint, compare: Comparison, deviation: float, passes: int = 1000) -> Found:
    """The settings of the official projector: one w for all layers, 1,000 passes, noise on w that shrinks to none.

    Its picture is compared by LPIPS alone; as here, of AlexNet, where it takes VGG. The generator here has no noise
    maps, which it optimises as well.

    Args:
        deviation: root of the mean squared distance of the generator's w from their mean.
    """
    generator = torch.Generator().manual_seed(0)

    def loss(x: Tensor, done: int) -> Tensor:
        noise = deviation * 0.05 * max(0.0, 1 - done / passes / 0.75) ** 2
        moved = x + noise * torch.randn(x.shape, generator=generator)
        return compare(viewpoint.images(moved[None]))[1]

    def rate(done: int) -> float:
        share = done / passes
        falling = 0.5 - 0.5 * math.cos(math.pi * min(1.0, (1 - share) / 0.25))
        return 0.1 * falling * min(1.0, share / 0.05)

    return Found(_adam(viewpoint.zero()[0], loss, rate, passes, (0.9, 0.999), counted=True), passes)


def _adam(x: Tensor, loss: Callable[..., Tensor], rate: Callable[[int], float], passes: int,
          betas: tuple[float, float], counted: bool = False) -> Tensor:
    x = x.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([x], betas=betas)
    for done in range(passes):
        optimizer.param_groups[0]['lr'] = rate(done)
        optimizer.zero_grad()
        (loss(x, done) if counted else loss(x)).backward()
        optimizer.step()
    return x.detach()
