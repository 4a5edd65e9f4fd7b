"""What a comparison may be told."""

from __future__ import annotations

import math
import pathlib
from dataclasses import dataclass

from resefa_plugin.errors import ResefaError
from resefa_plugin.rayleigh.solvers import NUM_DIRECTIONS

ATTRIBUTE_TARGET = 0.5
KEPT = ', kept'  # behind the name of a method whose edits have their background kept
TARGET = 0.01  # strength 1: a root mean square of 0.1


@dataclass(frozen=True)
class Settings:
    """How methods are compared.

    Attributes:
        space: name of the latent space of the methods that may choose one.
        methods: see `baselines.parse_method`.
        target: mean squared change inside the region at which all are compared, [-1, 1] scale.
        attribute_target: movement of a row's attribute at which all are compared once more, in standard deviations.
        keep: whether every method is also measured with the background of its edits kept.
        num_directions: directions that each method may offer.
        resolution: longer side of the pictures that are compared and of those that are differentiated; None means the
            default.
        curve_samples: so many of the samples also get the curve over strength.
        multiples: strengths of the curve, as multiples of the matched step.
        jacobian_dir: where Jacobians are kept and found.

    Raises ResefaError for values out of range.
    """

    space: str
    methods: tuple[str, ...]
    target: float = TARGET
    attribute_target: float = ATTRIBUTE_TARGET
    keep: bool = True
    num_directions: int = NUM_DIRECTIONS
    resolution: int | None = None
    curve_samples: int = 8
    multiples: tuple[float, ...] = (0.25, 0.5, 1.0, 1.5, 2.0)
    jacobian_dir: pathlib.Path | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.target) and 0 < self.target <= 4):
            raise ResefaError(f'--target-mse={self.target:g}: expected a mean squared change on the [-1, 1] scale, '
                              f'above 0 and up to 4')
        if not (math.isfinite(self.attribute_target) and self.attribute_target > 0):
            raise ResefaError(f'attribute_target is {self.attribute_target:g}, expected standard deviations above 0')
        if len(set(self.methods)) < len(self.methods) or not self.methods:
            raise ResefaError(f"--methods={','.join(self.methods)}: expected one or more methods, each once")
