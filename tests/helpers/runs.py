"""A Factorizer for tests, from samples instead of viewpoints."""

from __future__ import annotations

from resefa_plugin import Factorizer, Viewpoint


def factorizer(hook, samples, regions, space='z', layers=None, resolution=None, **parts) -> Factorizer:
    """`parts` are solver, constraints, callbacks and store of Factorizer."""
    return Factorizer(
        [Viewpoint(hook, hook.space(space, layers), sample, resolution) for sample in samples], regions, **parts
    )
