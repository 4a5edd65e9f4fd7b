"""A picture -> the sample of a generator that looks like it.

Pixels and features of LPIPS are compared, as official projectors do, with four differences that make it quick: the
descent's coordinates are nearly standard deviations of the generator's own latents (see `spread`), it turns its
axes (see `descent`), its second moment forgets soon, since gradients fall by a factor of ten on the way, and the rate
stays up for longer. What keeps the latent where the generator was trained is its length in standard deviations.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import pathlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resefa_plugin.errors import DamagedFileError, ResefaError, check_number
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.metrics.networks.lpips import LPIPS
from resefa_plugin.projection.descent import Descent
from resefa_plugin.projection.likeness import Comparison, Likeness, as_target
from resefa_plugin.projection.spread import Spread, mean_sample

STATE_EVERY = 10  # passes between two states on disk
START_SEEDS = 8   # of which the best is the start in z, whose mean is no picture


@dataclass(frozen=True)
class Settings:
    """How long, how fast, how far.

    Attributes:
        passes: forward and backward passes of the generator, at most.
        naturalness: the weight of the mean squared deviation of the latent, in standard deviations of the generator's
            own, beside the squared error of pixels and LPIPS. More of it: less likeness, and edits that look more
            natural. This is the one number for that trade.
        enough: the projection ends early where the squared error and LPIPS add up to no more.
        rate: of the descent, in the coordinates of `Spread.even`.
        betas: shares of the mean gradient and of the mean squares that are kept from pass to pass.
        ramp: passes in which the rate rises from 0.
        fall: share of the passes after which it falls to 0, as half a cosine.
    """

    passes: int = 125
    naturalness: float = 1e-3
    enough: float = 0.015
    rate: float = 0.5
    betas: tuple[float, float] = (0.9, 0.98)
    ramp: int = 10
    fall: float = 0.6

    def __post_init__(self) -> None:
        check_number('passes', self.passes, least=1, whole=True)
        for name in ('naturalness', 'enough', 'rate', 'fall'):
            check_number(name, getattr(self, name), least=0)

    def rate_at(self, done: int) -> float:
        """The rate of a pass, `done` others before it."""
        share = done / self.passes
        falling = 1.0 if share <= self.fall else 0.5 * (1 + math.cos(math.pi * (share - self.fall) / (1 - self.fall)))
        return self.rate * min(1.0, (done + 1) / self.ramp) * falling


@dataclass(frozen=True)
class Projection:
    """A projected picture.

    Attributes:
        sample: at which the generator shows it.
        likeness: of the two.
    """

    sample: Sample
    likeness: Likeness


class Projector:
    """Finds samples for pictures; what is known of the generator's spread is computed once.

    Args:
        hook: the generator.
        space: name of the latent space: w+ (the default where there is one), w, s (StyleSpace) or z.
        lpips: the network of LPIPS; None for pixels alone.
        settings: see there.
        c: class label `[1, c_dim]`.
        resolution: longer side at which pictures are compared; None means `default_resolution`.

    Attributes:
        space_name: of the space that was taken.
    """

    def __init__(self, hook: GeneratorHook, space: str | None = None, lpips: LPIPS | None = None,
                 settings: Settings | None = None, c: Tensor | None = None, resolution: int | None = None):
        latent_space = hook.space(space or ('w+' if 'w+' in hook.space_names else hook.default_space))
        mean = mean_sample(hook, latent_space, c, 'mean')
        self.settings, self.space_name = settings or Settings(), latent_space.name
        self._viewpoint = Viewpoint(hook, latent_space, mean, resolution)
        if self._viewpoint.image_shape[0] not in (1, 3):
            raise ResefaError(f'{hook.name} makes pictures of {hook.image_shape[0]} channels, expected 1 or 3')
        self._lpips = lpips
        self._spread = Spread(self._viewpoint)

    def project(self, picture: Image.Image | Tensor, name: str = 'proj00', start: Sample | None = None,
                progress: Callable[[Likeness], None] = lambda likeness: None,
                look: Callable[[Tensor], None] = lambda picture: None,
                state: str | os.PathLike[str] | None = None) -> Projection:
        """Finds the sample that looks like a picture.

        The same picture, settings and machine give the same sample.

        Args:
            picture: of Pillow, or `[1, C, H, W]` in [-1, 1]; of the shape of the generator's.
            name: of the sample.
            start: where to begin, such as a sample of the host's projected_w.npz; None for the mean of the generator.
            progress: called after each pass with the likeness before its step.
            look: called before it with the picture of that pass, `[1, C, h, w]` at the resolution of the comparison.
            state: a file to go on from if it is there, of the same picture and settings; written along the way.

        Raises PhotographError for a picture of another shape.
        """
        target = as_target(picture, self._viewpoint)
        way = Descent(self._start(start, target), self._spread.shape, self.settings.betas)
        path = None if state is None else pathlib.Path(state)
        key = self._key(target, way.x)
        if path is not None and path.exists():
            try:
                way.load(path, key)
            except DamagedFileError as error:
                warnings.warn(f'{error}. The projection begins anew', stacklevel=2)
        compare = Comparison(target, self._lpips)
        with self._viewpoint.hook.differentiable():
            while way.passes < self.settings.passes:
                loss, likeness, gradient, image = self._derived(way.x, compare, way.passes + 1)
                way.seen(loss)
                look(image)
                progress(likeness)
                if likeness.mse + likeness.lpips <= self.settings.enough:
                    way.passes += 1
                    break
                way.step(gradient, self.settings.rate_at(way.passes))
                if path is not None and way.passes % STATE_EVERY == 0:
                    way.save(path, key)
            with torch.no_grad():
                _, likeness = self._loss(way.best, self._image(way.best), compare, way.passes)
        return Projection(self._sample(way.best, name), likeness)

    def _start(self, start: Sample | None, target: Tensor) -> Tensor:
        """Where to begin, `[d]`."""
        space, hook = self._viewpoint.space, self._viewpoint.hook
        if start is not None:
            return self._of(start)
        if space.name != 'z':
            return torch.zeros_like(self._viewpoint.zero()[0])
        with torch.no_grad():
            found = [self._of(hook.sample(seed, c=self._viewpoint.sample.c)) for seed in range(START_SEEDS)]
            errors = [float((self._image(x) - target).square().mean()) for x in found]
        return found[int(np.argmin(errors))]

    def _of(self, sample: Sample) -> Tensor:
        """The coordinates of a sample; in w, of the mean of its layers."""
        space = self._viewpoint.space
        offset = space.latent(sample) - self._viewpoint.latent
        if space.name == 'w':
            offset = offset.mean(dim=1)
        return self._spread.even(offset.flatten())

    def _image(self, x: Tensor) -> Tensor:
        return self._viewpoint.images(self._spread.offset(x)[None])

    def _derived(self, x: Tensor, compare: Comparison, passes: int) -> tuple[float, Likeness, Tensor, Tensor]:
        """The loss at x, the likeness, the gradient of the loss `[d]`, and the picture."""
        x = x.clone().requires_grad_(True)
        by_hand = self._viewpoint.moved(self._spread.offset(x.detach())).linearize()
        if by_hand is None or by_hand.value is None or by_hand.pull is None:
            image = self._image(x)
            loss, likeness = self._loss(x, image, compare, passes)
            return float(loss.detach()), likeness, torch.autograd.grad(loss, x)[0], image.detach()
        image = by_hand.value().requires_grad_(True)
        loss, likeness = self._loss(x, image, compare, passes)
        by_image, by_x = torch.autograd.grad(loss, (image, x))
        return float(loss.detach()), likeness, by_x + self._spread.pull(by_hand.pull(by_image)[0]), image.detach()

    def _loss(self, x: Tensor, image: Tensor, compare: Comparison, passes: int) -> tuple[Tensor, Likeness]:
        mse, distance = compare(image)
        deviation = self._spread.deviations(self._spread.offset(x)).square().mean()
        loss = mse + distance + self.settings.naturalness * deviation
        return loss, Likeness(passes, float(mse.detach()), float(distance.detach()), float(deviation.detach()) ** 0.5)

    def _sample(self, x: Tensor, name: str) -> Sample:
        space, mean = self._viewpoint.space, self._viewpoint.sample
        with torch.no_grad():
            latent = space.move(self._viewpoint.latent, self._spread.offset(x)[None])
            if space.name == 's':
                return dataclasses.replace(mean, name=name, latents={'s': latent})
            saved = space.saved(latent, mean)
            latents = {'ws' if kind == 'w' else kind: value for kind, value in saved.items()}
        return dataclasses.replace(mean, name=name, latents=latents)

    def _key(self, target: Tensor, start: Tensor) -> str:
        digest = hashlib.sha256(repr((self._viewpoint.fingerprint(), self.settings)).encode())
        for part in (target, start):
            digest.update(part.cpu().numpy().tobytes())
        return digest.hexdigest()
