"""Callback: where other code hangs into the loop of a Factorizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resefa_plugin.factorizer.results import RegionResult
from resefa_plugin.hooks.base import Sample
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.regions.partition import RegionPartition

if TYPE_CHECKING:
    from resefa_plugin.factorizer.factorizer import Factorizer


class Callback:
    """Hooks of the loop; override those that are needed. Called in the order of the list that Factorizer was given."""

    def on_run_start(self, factorizer: Factorizer, samples: Sequence[Sample], regions: Sequence[RegionPartition]) -> None:
        """Before anything is computed."""

    def on_sample_start(self, factorizer: Factorizer, sample: Sample, jacobian: RegionJacobian) -> None:
        """Before the Jacobian of a sample."""

    def on_tangents(self, factorizer: Factorizer, sample: Sample, count: int) -> None:
        """After each chunk of `count` columns of the Jacobian."""

    def on_jacobian_end(self, factorizer: Factorizer, sample: Sample, jacobian: RegionJacobian) -> None:
        """After the Jacobian of a sample, or at once where it is not needed as a whole."""

    def on_columns(self, factorizer: Factorizer, sample: Sample, region: RegionPartition, columns: int, residual: float) -> None:
        """After each step of the matrix-free solver: products so far, and the largest residual."""

    def on_region_start(self, factorizer: Factorizer, sample: Sample, region: RegionPartition, num_directions: int) -> None:
        """After a region is solved, before the strength of its directions is measured. Of a pool: `sample` is its first."""

    def on_direction(self, factorizer: Factorizer, sample: Sample, region: RegionPartition) -> None:
        """After the strength of each direction is measured."""

    def on_region_end(self, factorizer: Factorizer, result: RegionResult) -> None:
        """After each region of each sample, or of a pool."""

    def on_run_end(self, factorizer: Factorizer, results: Sequence[RegionResult]) -> None:
        """After everything."""

    def on_exception(self, factorizer: Factorizer, error: BaseException) -> None:
        """When the run ends early, by an error or Ctrl-C, before the exception goes on."""
