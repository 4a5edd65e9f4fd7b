"""How the samples of a run are gone through: what is kept of them, and what their directions are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resefa_plugin.factorizer.gram_store import GramStore
from resefa_plugin.regions.partition import RegionPartition


@dataclass(frozen=True, eq=False)
class Way:
    """How the samples of a run are gone through.

    Attributes:
        store: of their Gram matrices.
        pool: whether they share one set of directions.
        basis: that these are solved in, `[m, d]`; None for one of each sample, or none.
        parts: by name of a region, the rows of the basis that its directions are made of; None for all.
    """

    store: GramStore
    pool: bool = False
    basis: NDArray[np.float64] | None = None
    parts: dict[str, NDArray[np.int64]] | None = None

    def basis_of(self, region: RegionPartition) -> NDArray[np.float64] | None:
        """What the directions of a region are made of, `[m, d]`; None for the whole space."""
        if self.basis is None or self.parts is None:
            return self.basis
        return self.basis[self.parts[region.name]]
