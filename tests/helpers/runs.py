"""A Factorizer for tests, from samples instead of viewpoints, and what it says of its products."""

from __future__ import annotations

from resefa_plugin import Callback, Factorizer, Viewpoint


def factorizer(hook, samples, regions, space='z', layers=None, resolution=None, **parts) -> Factorizer:
    """`parts` are solver, constraints, callbacks and store of Factorizer."""
    return Factorizer(
        [Viewpoint(hook, hook.space(space, layers), sample, resolution) for sample in samples], regions, **parts
    )


class Products(Callback):
    """What of a pool was computed, and how much there was said to be at most."""

    def __init__(self) -> None:
        self.counts, self.totals = [], set()

    def on_pool(self, viewpoint, count, total) -> None:
        self.counts.append(count)
        self.totals.add(total)
