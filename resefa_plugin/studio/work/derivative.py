"""The derivative at a sample, computed once for all sessions that show it, and what keeps backgrounds by it."""

from __future__ import annotations

import pathlib
import threading
from collections.abc import Callable

from resefa_plugin.atlas.atlas import OWN_CHANNELS, Atlas
from resefa_plugin.editing.background import BackgroundKeeper
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.common_basis import CommonBasis
from resefa_plugin.jacobian.probe import probe
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.jacobian.tangent_model import TangentModel
from resefa_plugin.rayleigh.solvers import BASIS_TANGENTS
from resefa_plugin.regions.partition import RegionPartition
from resefa_plugin.studio.work.cache import JacobianCache, jacobian_key, whole


class Prober:
    """Checks the generator once for each sample and space in a row: that takes as long as many tangents."""

    def __init__(self) -> None:
        self._last, self._lock = '', threading.Lock()

    def __call__(self, viewpoint: Viewpoint) -> None:
        """Raises ProbeError where the generator's derivatives cannot be trusted."""
        key = jacobian_key(viewpoint)
        with self._lock:
            if key != self._last:
                probe(viewpoint)
                self._last = key


def compute_jacobian(cache: JacobianCache, viewpoint: Viewpoint, check: Prober,
                     folder: str | pathlib.Path | None = None, atlas: Atlas | None = None,
                     report: Callable[[int, int], None] = lambda done, total: None) -> RegionJacobian:
    """The Jacobian at a viewpoint, of the cache or computed and kept there.

    In a space of too many dimensions, that is what a basis common to all regions knows of it.

    Args:
        folder: where Jacobians are kept on disk; None keeps none.
        atlas: whose basis that is; None finds one for the sample, which takes three to four times as long.
        report: called with the products done and their number; an exception that it raises ends the computation.

    Raises:
        ProbeError: the generator's derivatives cannot be trusted.
        ResefaError: it exceeds the cache.
    """
    key = jacobian_key(viewpoint)
    jacobian = cache.get(key)
    if jacobian is not None:
        return jacobian
    jacobian = cache.open(viewpoint)
    cache.make_room(jacobian)
    total = viewpoint.dim if whole(viewpoint.dim) else BASIS_TANGENTS if atlas is None else len(atlas.vectors)
    report(0, total)
    check(viewpoint)
    done = 0

    def progress(count: int, total: int = total) -> None:
        nonlocal done
        done += count
        report(done, total)

    if whole(viewpoint.dim):
        jacobian.compute(progress, folder)
    elif atlas is not None:
        jacobian.basis = CommonBasis(jacobian, atlas.vectors)
        jacobian.basis.inner.compute(progress, folder)
    else:
        jacobian.basis = CommonBasis.compute(jacobian, progress, folder)
    # J^T J is made with the first region: better now than when somebody waits for it.
    inner = jacobian if jacobian.basis is None else jacobian.basis.inner
    inner.gram(RegionPartition.from_center(0.5, viewpoint.hook.image_shape[1:]))
    cache.put(key, jacobian)
    return jacobian


def of_channels(jacobian: RegionJacobian, atlas: Atlas, region: RegionPartition) -> RegionJacobian:
    """The derivative in the basis of an atlas, where the directions of a region are made of the channels that fit it.

    Others, of a space that is known whole, stay as they are.
    """
    if jacobian.basis is None or not atlas.facts.channels:
        return jacobian
    own = RegionJacobian(jacobian.viewpoint)
    own.basis = jacobian.basis.made_of({region.name: atlas.rows(region, OWN_CHANNELS)})
    return own


def background_keeper(cache: JacobianCache, jacobian: RegionJacobian, region: RegionPartition) -> BackgroundKeeper:
    """That of the last edit as long as the sample and the region stay: it knows what it found."""
    def make() -> BackgroundKeeper:
        model = TangentModel.of_jacobian(jacobian) if jacobian.basis is None else jacobian.basis.model()
        return BackgroundKeeper(jacobian.viewpoint, region, model=model)

    return cache.beside(jacobian_key(jacobian.viewpoint), region.mask.tobytes(), make)
