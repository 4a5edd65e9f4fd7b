"""A progress bar for a run in a terminal."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm
from typing_extensions import override

from resefa_plugin.factorizer.callback import Callback
from resefa_plugin.factorizer.results import RegionResult
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.regions.partition import RegionPartition


class ProgressBar(Callback):
    """A bar for the tangents of each Jacobian, the products of a search or of a pool, and each region's strengths."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._pooling = False

    def _open(self, **options: Any) -> tqdm:
        if self._bar is None:
            self._bar = tqdm(dynamic_ncols=True, **options)
        return self._bar

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._pooling = None, False

    @override
    def on_tangents(self, viewpoint: Viewpoint, count: int) -> None:
        self._open(total=viewpoint.dim, desc=f'{viewpoint.sample.name}: Jacobian', unit='tangent').update(count)

    @override
    def on_basis(self, viewpoint: Viewpoint, count: int, total: int) -> None:
        self._open(total=total, desc=f'{viewpoint.sample.name}: basis', unit='product').update(count)

    @override
    def on_pool(self, viewpoint: Viewpoint, count: int, total: int) -> None:
        self._pooling = True
        bar = self._open(total=total, desc='pool', unit='product')
        bar.set_postfix_str(viewpoint.sample.name, refresh=False)
        bar.update(count)

    @override
    def on_jacobian_end(self, jacobian: RegionJacobian) -> None:
        if not self._pooling:  # its bar is for all samples
            self._close()

    @override
    def on_products(self, viewpoint: Viewpoint, region: RegionPartition, products: int, residual: float) -> None:
        bar = self._open(desc=f'{viewpoint.sample.name}-{region.name}: search', unit='product')
        bar.set_postfix_str(f'residual {residual:.1e}', refresh=False)
        bar.update(products - bar.n)

    @override
    def on_region_start(self, viewpoint: Viewpoint, region: RegionPartition, num_directions: int) -> None:
        self._close()
        self._open(total=num_directions, desc=f'{region.name}: strengths', unit='direction')

    @override
    def on_direction(self, viewpoint: Viewpoint, region: RegionPartition) -> None:
        if self._bar is not None:
            self._bar.update()

    @override
    def on_region_end(self, result: RegionResult) -> None:
        self._close()

    @override
    def on_exception(self, error: BaseException) -> None:
        self._close()
