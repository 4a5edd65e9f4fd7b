"""Edits of held-out samples with their background kept, in one way for all methods."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from resefa_plugin.editing.background import BackgroundKeeper
from resefa_plugin.editing.strength import mean_square, render_edits
from resefa_plugin.errors import NonFiniteError
from resefa_plugin.evaluation.matching import Edit
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.hooks.style_based import StyleBasedHook, StyleBasedSpace
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.jacobian.tangent_model import TangentModel
from resefa_plugin.regions.partition import RegionPartition


class Keepers:
    """BackgroundKeepers of samples: in StyleSpace, where the generator has styles, whichever space an edit is of.

    An edit in w or w+ is one in StyleSpace, and all methods have the same freedom to be corrected. A basis of the
    sample's derivative is computed once for all edits of it: the one that the samples of a pool share.

    Args:
        hook: the generator.
        basis: finds `[m, d]`, orthonormal rows of StyleSpace, when they are first needed; None where each edit has a
            basis of its own.
        resolution: longer side of the pictures.
        folder: where the pictures of the basis are kept; None keeps them in memory.
    """

    def __init__(self, hook: GeneratorHook, resolution: int | None, basis: Callable[[], np.ndarray] | None = None,
                 folder: pathlib.Path | None = None):
        self.hook, self.resolution, self.basis, self.folder = hook, resolution, basis, folder
        self._models: dict[str, TangentModel] = {}

    def renderer(self, viewpoint: Viewpoint, direction: np.ndarray, sign: int, original: Tensor,
                 partition: RegionPartition) -> Callable[[float], Edit]:
        """The kept edit of a sample by `sign * alpha * direction` as a function of alpha.

        Args:
            viewpoint: the sample in the space of the direction.
            original: its unedited picture, `[1, C, h, w]`.
        """
        keeper: BackgroundKeeper | None = None

        def render(alpha: float) -> Edit:
            nonlocal keeper
            keeper = keeper or self._keeper(viewpoint, partition)
            offset = torch.from_numpy(np.float32(sign * alpha) * direction)
            try:
                kept = keeper.keep(self._in_its_space(keeper.viewpoint, viewpoint, offset)[None])
            except NonFiniteError:  # far too strong, as a straight edit may be
                return Edit(alpha, math.inf, math.inf, original[0])
            picture = render_edits(keeper.viewpoint, kept.offsets)
            inside, outside = mean_square(picture - original, partition)
            return Edit(alpha, inside.item(), outside.item(), picture[0])

        return render

    def _keeper(self, viewpoint: Viewpoint, partition: RegionPartition) -> BackgroundKeeper:
        if not isinstance(self.hook, StyleBasedHook):
            return BackgroundKeeper(viewpoint, partition)
        within = Viewpoint(self.hook, 's', viewpoint.sample, self.resolution)
        return BackgroundKeeper(within, partition, model=None if self.basis is None else self._model(within))

    def _model(self, viewpoint: Viewpoint) -> TangentModel:
        assert self.basis is not None  # the caller looks
        name = viewpoint.sample.name
        if name not in self._models:
            vectors = self.basis()
            inner = RegionJacobian(viewpoint, gram_room=0).within(vectors).compute(path=self.folder)
            grams: dict[bytes, tuple[Tensor, Tensor]] = {}

            def gram(partition: RegionPartition) -> tuple[Tensor, Tensor]:
                key = partition.mask.tobytes()
                if key not in grams:
                    grams[key] = inner.gram(partition)
                return grams[key]

            self._models[name] = TangentModel(vectors, inner.matrix, gram)
        return self._models[name]

    @staticmethod
    def _in_its_space(within: Viewpoint, viewpoint: Viewpoint, offset: Tensor) -> Tensor:
        """An offset `[d]` of another space of the sample as one of the keeper's."""
        if within is viewpoint:
            return offset
        latent, space = viewpoint.moved(offset).latent, viewpoint.space
        assert isinstance(space, StyleBasedSpace)  # of a hook with styles
        with torch.no_grad():
            moved, before = (torch.cat(space.moved_styles(each, viewpoint.sample), dim=1)
                             for each in (latent, viewpoint.latent))
        return (moved - before)[0]
