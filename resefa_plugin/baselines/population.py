"""Random latents of a style-based generator: what w and the styles are like as a whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from resefa_plugin.hooks.base import Sample
from resefa_plugin.hooks.style_based import StyleBasedHook

BATCH = 1_000
SEED = 1_234_567  # far from the seeds that people take for samples


def random_ws(hook: StyleBasedHook, sample: Sample, count: int, truncation_psi: float = 1.0,
              truncation_cutoff: int | None = None) -> Iterator[Tensor]:
    """ws of random z in batches `[up to 1000, num_ws, w_dim]`, `count` in all.

    They are of the sample's class in a conditional network.
    """
    random = np.random.RandomState(SEED)
    for start in range(0, count, BATCH):
        z = torch.from_numpy(random.randn(min(BATCH, count - start), hook.z_dim)).to(hook.device, torch.float32)
        c = None if sample.c is None else sample.c.expand(len(z), -1)
        with torch.no_grad():
            yield hook.mapping(z, c, truncation_psi, truncation_cutoff)
