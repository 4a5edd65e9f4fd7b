"""Edits that keep the background: Eq. 2 holds to first order along a straight line, so the line is bent to fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from resefa_plugin.errors import NonFiniteError, ResefaError
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.jacobian.tangent_model import TangentModel
from resefa_plugin.rayleigh.solve import solve_rayleigh
from resefa_plugin.regions.partition import RegionPartition

# eps relative to tr(B). Three corrections cut the out-of-region MSE of the demo generator by 1.1 at 1e-2, 1.8 at 1e-3,
# 3.9 at 1e-4, 6.1 at 1e-5; 1e-6 gains a tenth more and goes half again as far in the latent space.
RIDGE, SMALLEST_RIDGE = 1e-5, 1e-9  # below the smallest, rounding of B decides
# The root mean square inside the region ends within this of the straight edit's, and is on the way within that: a first
# step that removes nearly all of a large residual overshoots by a quarter, and the next one mends it.
SAME_INSIDE, LIKE_INSIDE = 0.05, 0.5
# A correction that does not help is halved so often before it is given up.
HALVINGS = 3
# Corrections beyond those asked for, if the change inside is not yet the straight edit's.
RESCALINGS = 2
# Blocks of the Krylov basis of a sample without a Jacobian, each of 2 vectors, or of 3 for strengths of both signs. Of
# the demo generator, mouth of another sample: 25 vectors cut the MSE outside by 26 to 46, 64 random ones by 12 to 21.
BLOCKS = 8


@dataclass(frozen=True)
class KeptPath:
    """Offsets of N strengths whose background is kept.

    Mean squared changes are on the [-1, 1] scale, at the Jacobian's resolution.

    Attributes:
        offsets: `[N, d]` float32, of the sample's latent.
        inside, outside: `[N]` float64, change in and out of the region.
        straight_inside, straight_outside: `[N]` float64, the same along the straight line, uncorrected.
        pictures: how many pictures were rendered.
        products: how many products J v and J^T u a Krylov basis took, 0 where the model was given.
    """

    offsets: Tensor
    inside: NDArray[np.float64]
    outside: NDArray[np.float64]
    straight_inside: NDArray[np.float64]
    straight_outside: NDArray[np.float64]
    pictures: int
    products: int


@dataclass(frozen=True)
class _Point:
    offset: NDArray[np.float64]
    change: Tensor  # [C, h, w], to the unedited picture
    inside: float
    outside: float

    def deviation(self, target: float) -> float:
        """By how much the root mean square inside is off the target's, relative to it."""
        return abs(math.sqrt(self.inside / target) - 1)

    def leak(self, target: float) -> float:
        """The change outside; of an edit that falls short inside, what it would be at equal change inside."""
        return self.outside * max(1.0, target / self.inside)


_Solve = Callable[[NDArray[np.float64], float], NDArray[np.float64]]


class BackgroundKeeper:
    """Bends the edits of one sample so that the pixels outside the region stay put.

    After the step alpha n, Gauss-Newton steps on the residual r_b, the change of the picture outside the region:

        o <- o - (B + eps I)^-1 (J_b^T r_b - l A n),

    where l is such that <A n, step> makes up for what the change inside the region lacks of the straight edit's, so
    that the wanted change is not undone. J, A and B are those of the unedited sample: taken where the edit has arrived
    they gained nothing on the demo generator. A step that does not lessen the change outside at equal change inside is
    halved; an edit whose change inside cannot be kept within 5 % stays straight.

    Args:
        viewpoint: what is edited, and at which resolution pictures are compared.
        partition: the region, and what is to be kept: the rest.
        model: the sample's derivative, of a kept Jacobian or of a basis; where it is None, a Krylov basis is found for
            each direction.
        corrections: steps at each strength, at least 1; each costs a picture, more where it is halved.
        ridge: eps relative to tr(B), 1e-9 or more.
        refactorize_every: after so many strengths, take the derivative anew at the point reached and solve for the
            direction again; None means never.

    Raises ResefaError if a number is out of range, RegionError if the region vanishes at the resolution.
    """

    def __init__(self, viewpoint: Viewpoint, partition: RegionPartition, *, model: TangentModel | None = None,
                 corrections: int = 3, ridge: float = RIDGE, refactorize_every: int | None = None):
        if corrections < 1:
            raise ResefaError(f'corrections is {corrections}, expected 1 or more')
        if not (np.isfinite(ridge) and ridge >= SMALLEST_RIDGE):
            raise ResefaError(f'ridge is {ridge}, expected a finite number of at least {SMALLEST_RIDGE:g} '
                              f'({RIDGE:g} is the default)')
        if refactorize_every is not None and refactorize_every < 1:
            raise ResefaError(f'refactorize_every is {refactorize_every}, expected 1 or more, or None')
        self.viewpoint, self.partition, self.model = viewpoint, partition, model
        self.corrections, self.ridge, self.refactorize_every = corrections, ridge, refactorize_every
        self.jacobian = RegionJacobian(viewpoint)
        self._mask = torch.tensor(partition.at(*viewpoint.image_shape[1:]))
        self._rendered = 0
        self._breathe: Callable[[], None] = lambda: None
        self._original = self._picture(np.zeros(viewpoint.dim))

    def path(self, offset: Tensor | NDArray[np.floating[Any]], strengths: Sequence[float],
             progress: Callable[[], None] = lambda: None, breathe: Callable[[], None] = lambda: None) -> KeptPath:
        """Corrects the edits `strength * offset`, outward from 0 both ways: each starts from the last one's correction.

        Args:
            offset: `[d]`, of strength 1.
            strengths: in any order; 0 is the sample itself.
            progress: called after each strength.
            breathe: called before each picture; may wait, or end this by an exception.

        Raises:
            NonFiniteError: a picture contains NaN or infinity.
            ResefaError: strengths are not finite, or the direction does not change the region of this sample.
        """
        direction = np.asarray(offset, np.float64)
        if direction.shape != (self.viewpoint.dim,) or not np.isfinite(direction).all():
            raise ResefaError(f'offset has shape {list(direction.shape)}, expected [{self.viewpoint.dim}] finite '
                              'numbers')
        strengths = [float(s) for s in strengths]
        if not strengths or not np.isfinite(strengths).all():
            raise ResefaError(f'strengths are {strengths}, expected at least one, finite numbers all')
        rendered, self._breathe = self._rendered, breathe
        straight = {s: self._point(s * direction) for s in {*strengths, 0.0}}
        kept, products = {0.0: straight[0.0]}, 0
        sides = [sorted({s for s in strengths if s * sign > 0}, key=abs) for sign in (1, -1)]
        if any(sides):
            ends = torch.stack([straight[side[-1]].change for side in sides if side])
            model = self.model or TangentModel.krylov(self.jacobian, self.partition, direction, ends, BLOCKS)
            products = 0 if self.model else model.products
            solve = self._solver(model, direction)
            for side in sides:
                self._walk(direction, model, solve, [(s, straight[s]) for s in side], kept, progress)
        points, lines = [kept[s] for s in strengths], [straight[s] for s in strengths]
        return KeptPath(
            offsets=torch.from_numpy(np.stack([p.offset for p in points]).astype(np.float32)),
            inside=np.array([p.inside for p in points]), outside=np.array([p.outside for p in points]),
            straight_inside=np.array([p.inside for p in lines]), straight_outside=np.array([p.outside for p in lines]),
            pictures=self._rendered - rendered, products=products)

    def _walk(self, direction: NDArray[np.float64], model: TangentModel, solve: _Solve,
              stops: Sequence[tuple[float, _Point]], kept: dict[float, _Point],
              progress: Callable[[], None]) -> None:
        """Fills `kept` at stops of one sign, nearest first, with their straight edits."""
        anchor, start = np.zeros_like(direction), 0.0  # where the derivative was taken
        last, last_strength = anchor, start
        for count, (strength, straight) in enumerate(stops, 1):
            if not straight.inside > 0:
                raise self._nothing_to_keep(f'at strength {strength:g}')
            point = straight
            if count > 1:
                # The bend grows with the square of the way.
                growth = 0.0 if last_strength == start else ((strength - start) / (last_strength - start)) ** 2
                bend = last - anchor - (last_strength - start) * direction
                guess = self._point(anchor + (strength - start) * direction + growth * bend)
                point = guess if self._better(guess, straight, straight.inside) else straight
            kept[strength] = self._settled(point, straight, model, solve, strength)
            last, last_strength = kept[strength].offset, strength
            progress()
            if self.refactorize_every and count % self.refactorize_every == 0 and count < len(stops):
                model, direction = self._refactorized(model, direction, last)
                solve = self._solver(model, direction)
                anchor, start = last, strength

    def _settled(self, point: _Point, straight: _Point, model: TangentModel, solve: _Solve, strength: float) -> _Point:
        """The last of the corrected points whose change inside is the straight edit's."""
        target = straight.inside
        settled = point if point.deviation(target) <= SAME_INSIDE else straight
        for count in range(self.corrections + RESCALINGS):
            if count >= self.corrections and point is settled:
                break
            corrected = self._corrected(point, model, solve, strength, target)
            if corrected is None:
                break
            point = corrected
            if point.deviation(target) <= SAME_INSIDE:
                settled = point
        return settled

    def _solver(self, model: TangentModel, direction: NDArray[np.float64]) -> _Solve:
        """The Gauss-Newton step `[d]` for a gradient J_b^T r_b and a lack of change inside, see the class."""
        A, B = model.gram(self.partition)
        n = model.coordinates(direction)
        a = A @ n
        if not n @ a > 0:
            raise self._nothing_to_keep('to first order')
        ridge = self.ridge * np.trace(B) or 1.0  # B = 0: nothing outside moves, any metric will do
        factor = scipy.linalg.cho_factor(B + ridge * np.eye(len(B)))
        inverse_a = scipy.linalg.cho_solve(factor, a)

        def solve(gradient: NDArray[np.float64], lack: float) -> NDArray[np.float64]:
            inverse_gradient = scipy.linalg.cho_solve(factor, gradient)
            multiplier = (lack * (n @ a) + a @ inverse_gradient) / (a @ inverse_a)
            return model.offset(multiplier * inverse_a - inverse_gradient)

        return solve

    def _nothing_to_keep(self, where: str) -> ResefaError:
        return ResefaError(f"the direction does not change region '{self.partition.name}' of "
                           f'{self.viewpoint.sample.name} {where}, so that there is no change to keep: choose another '
                           'direction')

    def _corrected(self, point: _Point, model: TangentModel, solve: _Solve, strength: float,
                   target: float) -> _Point | None:
        """The point after a Gauss-Newton step, halved until it helps; None if it does not."""
        lack = strength * (np.sqrt(target / point.inside) - 1)
        step = solve(model.pull(point.change * ~self._mask), lack)
        for halving in range(HALVINGS + 1):
            candidate = self._point(point.offset + step / 2 ** halving)
            if self._better(candidate, point, target):
                return candidate
        return None

    def _better(self, candidate: _Point, point: _Point, target: float) -> bool:
        return candidate.deviation(target) <= LIKE_INSIDE and candidate.leak(target) < point.leak(target)

    def _refactorized(self, model: TangentModel, direction: NDArray[np.float64],
                      offset: NDArray[np.float64]) -> tuple[TangentModel, NDArray[np.float64]]:
        """The derivative at the point reached, on the same basis, and the direction there that continues the old one.

        Of the Ritz vectors of the quotient, that one whose change inside is most like the direction's, and as large.
        """
        model = model.moved(RegionJacobian(self.viewpoint.moved(torch.from_numpy(offset.astype(np.float32)))))
        A, B = model.gram(self.partition)
        vectors = solve_rayleigh(A, B).directions
        a = A @ model.coordinates(direction)
        sizes = np.einsum('ki,ij,kj->k', vectors, A, vectors)
        likeness = vectors @ a / np.sqrt(np.maximum(sizes, np.finfo(float).eps * sizes.max()))
        best = int(np.abs(likeness).argmax())
        length = np.sqrt(model.coordinates(direction) @ a / sizes[best])
        return model, model.offset(np.copysign(length, likeness[best]) * vectors[best])

    def _picture(self, offset: NDArray[np.float64]) -> Tensor:
        self._rendered += 1
        self._breathe()
        with torch.no_grad():
            offsets = torch.from_numpy(offset.astype(np.float32))[None].to(self.viewpoint.device)
            picture = self.viewpoint.images(offsets)[0].float().cpu()
        if not picture.isfinite().all():
            raise NonFiniteError(f'{self.viewpoint.hook.name}: a picture of {self.viewpoint.sample.name} contains NaN '
                                 'or infinity while the background is corrected: choose smaller strengths')
        return picture

    def _point(self, offset: NDArray[np.float64]) -> _Point:
        offset = offset.astype(np.float32).astype(np.float64)  # what is rendered is what is returned
        change = self._picture(offset) - self._original
        squares = change.double().square().mean(dim=0)
        return _Point(offset, change, squares[self._mask].mean().item(), squares[~self._mask].mean().item())
