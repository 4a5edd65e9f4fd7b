"""Edits that keep the background: the rest stays as it was, the region looks as the straight edit makes it look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resefa_plugin.editing.anchors import LOSS, RIDGE, GaussNewton, check_settings, residual, size
from resefa_plugin.errors import NonFiniteError, ResefaError, check_number
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.jacobian.tangent_model import TangentModel
from resefa_plugin.regions.partition import RegionPartition

CORRECTIONS = 3  # steps at each edit; more were not worthwhile
# A correction that does not help is halved so often before it is given up.
HALVINGS = 3
# A second correction, or a first one of a guess, that would take away less than this share of what is left, to first
# order, is not tried.
WORTHWHILE = 0.05
# What a pixel of the region weighs while a Krylov basis is made.
BASIS_MU = 10.0
# Vectors of the Krylov basis of a sample of which nothing is known, two products each: in a space whose whole Jacobian
# is affordable, and in a larger one, where a correction has more to choose from.
VECTORS, MANY_VECTORS, MANY = 24, 60, 2048
# Two ends of edits whose cosine is below are taken together: what they change outside is of opposite sign, mostly.
OPPOSITE = -0.9
APART = 0.05  # of the longest edit, by which another one has to leave its line to count
# A point from which a further one is guessed lies in its direction to this cosine, and so many are remembered.
ALIKE, REMEMBERED = 0.5, 16
# An edit is not kept where more than this share of the mean square outside is left and that is more than a grey level
# of 255, or where the region is off the straight edit by this share of the change, root mean square.
LEFT, VISIBLE, LOST = 0.5, 2 / 255, 0.35


@dataclass(frozen=True)
class KeptPath:
    """N edits whose background is kept.

    Mean squared changes are on the [-1, 1] scale, at the viewpoint's resolution.

    Attributes:
        offsets: `[N, d]` float32, of the sample's latent.
        inside, outside: `[N]` float64, change in and out of the region.
        difference: `[N]` float64, mean squared difference in the region to the straight edit.
        straight_inside, straight_outside: `[N]` float64, changes by the straight edit.
        pictures: how many pictures were rendered.
        products: how many products J v and J^T u a Krylov basis took, 0 where the model was given.
    """

    offsets: Tensor
    inside: NDArray[np.float64]
    outside: NDArray[np.float64]
    difference: NDArray[np.float64]
    straight_inside: NDArray[np.float64]
    straight_outside: NDArray[np.float64]
    pictures: int
    products: int

    @property
    def leaking(self) -> NDArray[np.bool_]:
        """`[N]`, edits with a visible change outside that correcting did not even halve."""
        return (np.sqrt(self.outside) > VISIBLE) & (self.outside > LEFT * self.straight_outside)

    @property
    def lost(self) -> NDArray[np.bool_]:
        """`[N]`, edits whose region does not look as the straight edit makes it look."""
        return np.sqrt(self.difference) > LOST * np.sqrt(self.straight_inside)


@dataclass(frozen=True)
class _Point:
    offset: NDArray[np.float64]
    picture: Tensor  # [C, h, w]


class BackgroundKeeper:
    """Bends the edits of one sample so that the pixels outside the region stay put.

    Each edit solves a least squares problem with two anchors, see `residual`: outside the region the original picture,
    inside the picture of the straight edit. It starts from the straight edit or from what edits close by came to, and
    takes Gauss-Newton steps, each halved until it helps, so that an edit leaks no more than the straight one. The
    derivative is that of the unedited sample: taken where the edit has arrived it gained nothing on the demo generator.

    A keeper remembers what it found: a further edit close by starts from there.

    Args:
        viewpoint: what is edited, and at which resolution pictures are compared.
        partition: the region, and what is to be kept: the rest.
        model: the sample's derivative, of a kept Jacobian or of a basis; where it is None, each call finds a Krylov
            basis for its edits.
        corrections: steps at each edit, at least 1; each costs a picture, more where it is halved.
        mu: what a pixel of the region weighs, one outside weighs 1; None chooses it for each edit, so that correcting
            it costs no more than LOSS of its change inside, to first order.
        ridge: eps relative to tr(J^T J), 1e-9 or more.
        vectors: of a Krylov basis, two products each; None for 24 in up to 2048 dimensions, 60 in more.

    Raises ResefaError if a number is out of range, RegionError if the region vanishes at the resolution.
    """

    def __init__(self, viewpoint: Viewpoint, partition: RegionPartition, *, model: TangentModel | None = None,
                 corrections: int = CORRECTIONS, mu: float | None = None, ridge: float = RIDGE,
                 vectors: int | None = None):
        check_number('corrections', corrections, least=1, whole=True)
        if vectors is None:
            vectors = VECTORS if viewpoint.dim <= MANY else MANY_VECTORS
        check_number('vectors', vectors, least=1, whole=True)
        check_settings(mu, ridge)
        self.viewpoint, self.partition, self.model = viewpoint, partition, model
        self.corrections, self.mu, self.ridge, self.vectors = corrections, mu, ridge, vectors
        self.jacobian = RegionJacobian(viewpoint)
        self._mask = torch.tensor(partition.at(*viewpoint.image_shape[1:]))
        self._rendered = 0
        self._breathe: Callable[[], None] = lambda: None
        self._original = self._point(np.zeros(viewpoint.dim)).picture
        self._system = None if model is None else GaussNewton(model, partition, ridge)
        self._found: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []  # straight offsets, and their bends

    def path(self, offset: Tensor | NDArray[np.floating[Any]], strengths: Sequence[float],
             progress: Callable[[], None] = lambda: None, breathe: Callable[[], None] = lambda: None) -> KeptPath:
        """Keeps the edits `strength * offset`, see `keep`.

        Args:
            offset: `[d]`, of strength 1.
            strengths: in any order; 0 is the sample itself.

        Raises ResefaError where the numbers are not finite, and as `keep` does.
        """
        direction = _array(offset).astype(np.float64)
        if direction.shape != (self.viewpoint.dim,) or not np.isfinite(direction).all():
            raise ResefaError(f'offset has shape {list(direction.shape)}, expected [{self.viewpoint.dim}] finite '
                              'numbers')
        strengths = [float(s) for s in strengths]
        if not strengths or not np.isfinite(strengths).all():
            raise ResefaError(f'strengths are {strengths}, expected at least one, finite numbers all')
        return self.keep(np.outer(strengths, direction), progress, breathe)

    def keep(self, offsets: Tensor | NDArray[np.floating[Any]], progress: Callable[[], None] = lambda: None,
             breathe: Callable[[], None] = lambda: None) -> KeptPath:
        """Keeps any edits, from the smallest to the largest: each starts from those before it in its direction.

        Args:
            offsets: `[N, d]`, the straight edits; 0 is the sample itself.
            progress: called after each of them that is not 0.
            breathe: called before each picture; may wait, or end this by an exception.

        Raises:
            NonFiniteError: a picture contains NaN or infinity.
            ResefaError: offsets of another shape, or one that does not change the region of this sample.
        """
        targets = _array(offsets).astype(np.float32).astype(np.float64)  # as they are rendered
        if targets.ndim != 2 or not len(targets) or targets.shape[1] != self.viewpoint.dim \
                or not np.isfinite(targets).all():
            raise ResefaError(f'offsets has shape {list(targets.shape)}, expected [N, {self.viewpoint.dim}] finite '
                              'numbers')
        rendered, self._breathe = self._rendered, breathe
        lengths = np.linalg.norm(targets, axis=1)
        straight = [self._point(target) if length else _Point(target, self._original)
                    for target, length in zip(targets, lengths, strict=True)]
        kept, products, system = list(straight), 0, self._system
        if lengths.any():
            if system is None:
                self._found.clear()
                changes = torch.stack([point.picture - self._original for point in straight])
                starts = torch.stack([torch.stack([sign * changes[i] for i, sign in start.items()]).sum(dim=0)
                                      for start in _starts(targets, lengths)])
                weights = torch.where(self._mask, BASIS_MU if self.mu is None else self.mu, 1.0)
                model = TangentModel.krylov(self.jacobian, weights, starts * ~self._mask,
                                            -(-self.vectors // len(starts)))
                system, products = GaussNewton(model, self.partition, self.ridge), model.products
            for i in np.argsort(lengths, kind='stable'):
                if lengths[i]:
                    kept[i] = self._kept(straight[i], system)
                    progress()
        inside, outside = self._changes(kept, self._original)
        straight_inside, straight_outside = self._changes(straight, self._original)
        difference = np.array([self._changes([k], s.picture)[0][0] for k, s in zip(kept, straight, strict=True)])
        return KeptPath(torch.from_numpy(np.stack([point.offset for point in kept]).astype(np.float32)),
                        inside, outside, difference, straight_inside, straight_outside,
                        self._rendered - rendered, products)

    def _kept(self, straight: _Point, system: GaussNewton) -> _Point:
        """A straight edit, corrected."""
        changed = (straight.picture - self._original)[:, self._mask].double().square().sum().item()
        if not changed:
            raise ResefaError(f"the edit does not change region '{self.partition.name}' of "
                              f'{self.viewpoint.sample.name}, so that there is no change to keep: choose another '
                              'direction')

        def left(point: _Point) -> Tensor:
            return residual(point.picture, self._original, straight.picture, self._mask)

        point, rest = straight, left(straight)
        mu = system.weight(rest, self._mask, LOSS ** 2 * changed) if self.mu is None else self.mu
        bend = self._guess(straight.offset)
        if bend is not None:
            guess = self._tried(straight.offset + bend)
            if guess is not None and size(left(guess), self._mask, mu) < size(rest, self._mask, mu):
                point, rest = guess, left(guess)
        for _ in range(self.corrections):
            before = size(rest, self._mask, mu)
            step, gain = system.step(rest, self._mask, mu)
            if not gain > (0 if point is straight else WORTHWHILE) * before:
                break
            for halving in range(HALVINGS + 1):
                candidate = self._tried(point.offset + step / 2 ** halving)
                if candidate is not None and size(left(candidate), self._mask, mu) < before:
                    point, rest = candidate, left(candidate)
                    break
            else:
                break
        self._found = [*self._found, (straight.offset, point.offset - straight.offset)][-REMEMBERED:]
        return point

    def _guess(self, target: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """The bend of an edit by that of the closest one in its direction: it grows with the square of the way."""
        alike = [(offset, bend) for offset, bend in self._found
                 if target @ offset > ALIKE * np.linalg.norm(target) * np.linalg.norm(offset)]
        if not alike:
            return None
        offset, bend = min(alike, key=lambda found: float(np.linalg.norm(target - found[0])))
        return (target @ offset / (offset @ offset)) ** 2 * bend

    def _point(self, offset: NDArray[np.float64]) -> _Point:
        point = self._tried(offset)
        if point is None:
            raise NonFiniteError(f'{self.viewpoint.hook.name}: a picture of {self.viewpoint.sample.name} contains NaN '
                                 'or infinity while the background is corrected: choose smaller strengths')
        return point

    def _tried(self, offset: NDArray[np.float64]) -> _Point | None:
        """What an offset gives; None for a picture that is not finite, from far outside of what the generator knows."""
        self._rendered += 1
        self._breathe()
        rounded = offset.astype(np.float32)
        with torch.no_grad():
            picture = self.viewpoint.images(torch.from_numpy(rounded)[None].to(self.viewpoint.device))[0].float().cpu()
        return _Point(rounded.astype(np.float64), picture) if picture.isfinite().all() else None

    def _changes(self, points: Sequence[_Point], reference: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean squared differences to a picture in and out of the region, `[N]` each."""
        squares = [(point.picture - reference).double().square().mean(dim=0) for point in points]
        return (np.array([square[self._mask].mean().item() for square in squares]),
                np.array([square[~self._mask].mean().item() for square in squares]))


def _array(offsets: Tensor | NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    return offsets.detach().cpu().numpy() if isinstance(offsets, Tensor) else np.asarray(offsets)


def _starts(targets: NDArray[np.float64], lengths: NDArray[np.float64]) -> list[dict[int, float]]:
    """What a basis for edits `[N, d]` begins with: for each vector, edits and the signs their changes are summed with.

    The longest edit, less the opposite one where there is one: at as many products, a basis of their difference serves
    both ends better than one of either, or of both side by side. The longest edit and one in quite another direction
    begin a vector each.
    """
    first = int(lengths.argmax())
    along = targets @ targets[first] / lengths[first]
    second = int((lengths - along).argmax())  # length times (1 - cosine)
    if along[second] < OPPOSITE * lengths[second]:
        return [{first: 1.0, second: -1.0}]
    if lengths[second] - along[second] > APART * lengths[first]:
        return [{first: 1.0}, {second: 1.0}]
    return [{first: 1.0}]
