"""Callback: where other code hangs into the loop of a Factorizer."""

from __future__ import annotations

from collections.abc import Sequence

from resefa_plugin.factorizer.results import RegionResult
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.regions.partition import RegionPartition


class Callback:
    """Events of a run; override those that are needed. Called in the order of the list that Factorizer was given."""

    def on_run_start(self, viewpoints: Sequence[Viewpoint], regions: Sequence[RegionPartition]) -> None:
        """Before anything is computed."""

    def on_sample_start(self, viewpoint: Viewpoint) -> None:
        """Before the Jacobian of a sample."""

    def on_tangents(self, viewpoint: Viewpoint, count: int) -> None:
        """After each chunk of `count` columns of the Jacobian."""

    def on_basis(self, viewpoint: Viewpoint, count: int, total: int) -> None:
        """After each chunk of `count` of the `total` products that a basis common to all regions takes."""

    def on_pool(self, viewpoint: Viewpoint, count: int, total: int) -> None:
        """After each chunk of `count` products of a pool in a shared basis, of `total` for all samples at most."""

    def on_jacobian_end(self, jacobian: RegionJacobian) -> None:
        """After the Jacobian of a sample, or at once where it is not needed as a whole."""

    def on_products(self, viewpoint: Viewpoint, region: RegionPartition, products: int, residual: float) -> None:
        """After each step of a matrix-free search: products so far, and the largest residual."""

    def on_region_start(self, viewpoint: Viewpoint, region: RegionPartition, num_directions: int) -> None:
        """After a region is solved, before its directions' strength is measured; of a pool, at the first sample."""

    def on_direction(self, viewpoint: Viewpoint, region: RegionPartition) -> None:
        """After the strength of each direction is measured."""

    def on_region_end(self, result: RegionResult) -> None:
        """After each region of each sample, or of a pool."""

    def on_run_end(self, results: Sequence[RegionResult]) -> None:
        """After everything."""

    def on_exception(self, error: BaseException) -> None:
        """When the run ends early, by an error or Ctrl-C, before the exception goes on."""
