"""Jacobians of the samples on the screen, within a bound of bytes: the one that was used longest ago goes first."""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.common_basis import PROBES
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.jacobian.tile_grams import choose_side
from resefa_plugin.rayleigh.solvers import Auto

T = TypeVar('T')


def jacobian_key(viewpoint: Viewpoint) -> str:
    """What tells the Jacobians of one generator apart: space, layers, sample and resolution."""
    space, sample = viewpoint.space, viewpoint.sample
    facts = space.name, space.layers, sample.truncation_psi, sample.truncation_cutoff, viewpoint.resolution
    digest = hashlib.sha256(repr(facts).encode())
    # A space of z with layers leaves the other layers as they are in `ws`: every latent counts.
    for part in (*(sample.latents[kind] for kind in sorted(sample.latents)), sample.c):
        if part is not None:
            digest.update(part.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def jacobian_bytes(jacobian: RegionJacobian) -> int:
    """What a Jacobian of `JacobianCache.open` takes once it is used: columns in float32, sums of them in float64.

    Of a space with too many dimensions, that of its common basis.
    """
    d, basis = jacobian.viewpoint.dim, 0
    if not whole(d):
        d, basis = PROBES, 8 * PROBES * d
    assert jacobian.gram_room is not None
    _, sums = choose_side((d, *jacobian.image_shape), jacobian.gram_room)
    return 4 * d * math.prod(jacobian.image_shape) + sums + basis


def whole(dim: int) -> bool:
    """Whether all columns of a Jacobian are computed, or those of a basis common to all regions."""
    return Auto().needs_jacobian(dim)


# Of the 1.65 GB that Jacobians may take of 3: sums over tiles of 32 pixels for 512 dimensions, and three samples.
GRAM_SHARE = 6


class JacobianCache:
    """Computed Jacobians by key, shared by all sessions.

    Args:
        limit: bytes that they may take together.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, RegionJacobian] = OrderedDict()
        self._beside: dict[str, tuple[Hashable, Any]] = {}

    @property
    def bytes(self) -> int:
        """What is taken now."""
        with self._lock:
            return self._taken()

    def open(self, viewpoint: Viewpoint) -> RegionJacobian:
        """A Jacobian that is not computed yet, and takes no more than a share of the cache for its sums over tiles."""
        return RegionJacobian(viewpoint, gram_room=self.limit // GRAM_SHARE)

    def _taken(self) -> int:
        return sum(map(jacobian_bytes, self._kept.values()))

    def __contains__(self, key: str) -> bool:
        with self._lock:
            return key in self._kept

    def get(self, key: str) -> RegionJacobian | None:
        """A kept Jacobian, which becomes the most recently used; None if there is none."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def make_room(self, jacobian: RegionJacobian) -> None:
        """Frees what a Jacobian that is about to be computed will take. Raises ResefaError if it exceeds the bound."""
        needed = jacobian_bytes(jacobian)
        if needed > self.limit:
            raise ResefaError(
                f"the Jacobian of space '{jacobian.viewpoint.space.name}' needs {needed / 1e9:.1f} GB and the "
                f'studio keeps at most {self.limit / 1e9:.1f} GB: choose fewer layers, or start it with a larger '
                '--memory or a smaller --resolution')
        with self._lock:
            while self._kept and self._taken() + needed > self.limit:
                key, _ = self._kept.popitem(last=False)
                self._beside.pop(key, None)

    def put(self, key: str, jacobian: RegionJacobian) -> None:
        """Keeps a computed Jacobian of `open`. Raises ResefaError if it exceeds the bound."""
        self.make_room(jacobian)
        with self._lock:
            self._kept[key] = jacobian

    def beside(self, key: str, what: Hashable, make: Callable[[], T]) -> T:
        """Something small that is made of a kept Jacobian and goes with it; one for each, made anew for another `what`.

        Of a Jacobian that is not kept, it is made each time.
        """
        with self._lock:
            found = self._beside.get(key)
        if found is not None and found[0] == what:
            return cast(T, found[1])
        made = make()
        with self._lock:
            if key in self._kept:
                self._beside[key] = what, made
        return made
