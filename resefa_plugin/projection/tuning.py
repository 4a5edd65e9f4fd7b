"""Tuning of a generator to one photograph: pivotal tuning (Roich et al., 2021), bounded for a processor.

The latent that a projector found stays where it is, and the weights of some layers change until its picture is the
photograph. So that edits go on working, pictures of latents around it are held where they were.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn

from resefa_plugin.errors import ResefaError, check_number
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.hooks.style_based import StyleBasedHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.metrics.networks.lpips import LPIPS
from resefa_plugin.projection.likeness import Comparison, as_target
from resefa_plugin.projection.tuned_network import Tuning


@dataclass(frozen=True)
class TuningSettings:
    """How long, how fast, of what.

    Attributes:
        passes: forward and backward passes for the photograph, at most; every second one comes with one more, for a
            latent around it.
        enough: the tuning ends early where the squared error and LPIPS add up to no more.
        rate: of Adam, as a share of the root mean square of each weight tensor.
        first: share of the layers with a style that stay as they are, the coarsest; the others are tuned.
        neighbours: how many latents around the photograph's are held.
        nearness: how far these are, as a share of the way to a sample of the generator.
        locality: weight of what their pictures change, beside the squared error and LPIPS of the photograph.
    """

    passes: int = 80
    enough: float = 0.008
    rate: float = 0.003
    first: float = 0.3
    neighbours: int = 4
    nearness: float = 0.3
    locality: float = 1.0

    def __post_init__(self) -> None:
        for name, least in (('passes', 1), ('neighbours', 0)):
            check_number(name, getattr(self, name), least=least, whole=True)
        for name in ('enough', 'rate', 'first', 'nearness', 'locality'):
            check_number(name, getattr(self, name), least=0)


@dataclass(frozen=True)
class Fit:
    """How alike the tuned generator's picture and the photograph are, and what moved around it.

    Attributes:
        passes: so far.
        mse: mean squared error on the [-1, 1] scale.
        lpips: LPIPS with AlexNet; 0 where the picture is too small for it or there is no network.
        moved: mean squared change of the picture of a latent around it that was looked at last.
    """

    passes: int
    mse: float
    lpips: float
    moved: float

    def __str__(self) -> str:
        return (f'tuned (MSE {self.mse:.4f}, LPIPS {self.lpips:.3f}, {self.passes} '
                f'pass{"es" * (self.passes > 1)}; pictures around it changed by an MSE of {self.moved:.4f})')


def tunable(hook: GeneratorHook) -> StyleBasedHook:
    """The hook itself. Raises ResefaError for generators whose layers are not known."""
    if not isinstance(hook, StyleBasedHook) or not isinstance(hook.G, nn.Module):
        raise ResefaError(f'{hook.name} cannot be tuned: that takes a network with styles, of the StyleGAN families')
    return hook


def tune(hook: GeneratorHook, picture: Image.Image | Tensor, sample: Sample, lpips: LPIPS | None = None,
         settings: TuningSettings | None = None, resolution: int | None = None,
         progress: Callable[[Fit], None] = lambda fit: None) -> tuple[Tuning, Fit]:
    """Tunes a copy of a generator until a sample's picture is the photograph.

    Args:
        hook: the generator; it stays as it is.
        picture: see `Projector.project`.
        sample: of that photograph, as a projector found it.
        lpips: the network of LPIPS; None for pixels alone.
        settings: see there.
        resolution: longer side at which pictures are compared; None means `default_resolution`.
        progress: called after each pass.

    Returns: what changed, and how well it fits.

    Raises ResefaError for generators whose layers are not known.
    """
    settings = settings or TuningSettings()
    hook = tunable(hook)
    original = Viewpoint(hook, 'w+', sample, resolution)
    neighbours = [Viewpoint(hook, 'w+', near, resolution) for near in _around(hook, sample, settings)]
    target = as_target(picture, original)
    compare = Comparison(target, lpips)
    with torch.no_grad():
        around = [Comparison(view.images(view.zero()), lpips) for view in neighbours]
    tuned = hook.with_network(copy.deepcopy(hook.G))
    before = _weights(hook, settings)
    weights = _weights(tuned, settings)
    for weight in weights.values():
        weight.requires_grad_(True)
    whole = [settings.rate * float(weight.detach().square().mean().sqrt()) for weight in weights.values()]
    optimizer = torch.optim.Adam([{'params': [weight], 'whole': rate}
                                  for weight, rate in zip(weights.values(), whole, strict=True)], betas=(0.9, 0.98))
    moved, fit = 0.0, Fit(0, 0.0, 0.0, 0.0)
    with hook.differentiable():
        for done in range(settings.passes):
            optimizer.zero_grad()
            mse, distance = compare(_picture(tuned, original))
            (mse + distance).backward()
            fit = Fit(done + 1, float(mse.detach()), float(distance.detach()), moved)
            progress(fit)
            if fit.mse + fit.lpips <= settings.enough:
                break
            if around and settings.locality and done % 2:
                index = done // 2 % len(around)
                change, felt = around[index](_picture(tuned, neighbours[index]))
                (settings.locality * (change + felt)).backward()
                moved = float(change.detach())
            for group in optimizer.param_groups:
                group['lr'] = group['whole'] * _rate_at(done, settings.passes)
            optimizer.step()
    differences = {name: (weight.detach() - before[name]).half() for name, weight in weights.items()}
    tuning = Tuning(differences, hook.name, hook.sha256, sample.name)
    final = Viewpoint(tuning.applied(hook), 'w+', sample, resolution)
    with torch.no_grad():
        mse, distance = compare(final.images(final.zero()))
    return tuning, Fit(fit.passes, float(mse), float(distance), moved)


def _rate_at(done: int, passes: int) -> float:
    """Up within ten passes, and down to 0 in the second half."""
    return min(1.0, (done + 1) / 10, 2 * (1 - done / passes))


def _picture(tuned: StyleBasedHook, viewpoint: Viewpoint) -> Tensor:
    """The picture of a viewpoint by another network."""
    return tuned.space('w+').render(viewpoint.latent, viewpoint.sample, viewpoint.resolution)


def _around(hook: StyleBasedHook, sample: Sample, settings: TuningSettings) -> list[Sample]:
    """Latents a part of the way to samples of the generator."""
    pivot = sample.latents['ws']
    near = []
    for seed in range(settings.neighbours):
        ws = hook.sample(seed, c=sample.c).latents['ws']
        near.append(Sample(f'near{seed}', {'ws': pivot.lerp(ws, settings.nearness)}, sample.c))
    return near


def _weights(hook: StyleBasedHook, settings: TuningSettings) -> dict[str, nn.Parameter]:
    """Weights and biases of the layers that are tuned, by their names in the network; not what makes their styles."""
    names = {id(parameter): name for name, parameter in hook.G.named_parameters()}
    layers = [module for module in hook.G.synthesis.modules() if hasattr(module, 'affine')]
    first = round(settings.first * len(layers))
    chosen = {names[id(parameter)]: parameter for layer in layers[first:]
              for name, parameter in layer.named_parameters(recurse=False) if name.startswith(('weight', 'bias'))}
    if not chosen:
        raise ResefaError(f'{hook.name} has {len(layers)} layers with a style; if a share of {settings.first} of them '
                          'stays, none is left to be tuned')
    return chosen
