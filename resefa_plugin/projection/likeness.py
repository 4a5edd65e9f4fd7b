"""How alike a generator's picture and a target are: what is minimised, and what is said of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from resefa_plugin.errors import PhotographError
from resefa_plugin.hooks.base import box_average
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.metrics.metric_networks import rgb
from resefa_plugin.metrics.networks.lpips import LPIPS, SMALLEST_SIDE
from resefa_plugin.projection.alignment import Alignment
from resefa_plugin.projection.photograph import as_photograph

CLOSE, POOR = 0.05, 0.12  # LPIPS: twelve portraits had .018 to .061
CLOSE_MSE, POOR_MSE = 0.03, 0.1  # another face in the same light has .1 to .3
# Standard deviations: twelve portraits had 1.7 to 2.3; of one, latents from 2.7 on showed a broken mouth.
UNUSUAL = 2.5


@dataclass(frozen=True)
class Likeness:
    """How alike the picture of a latent and the target are, at the resolution of the projection.

    Attributes:
        passes: so far.
        mse: mean squared error on the [-1, 1] scale.
        lpips: LPIPS with AlexNet; 0 where the picture is too small for it or there is no network.
        deviation: root mean square of the latent's distance from the mean, in standard deviations of the generator's
            own latents: about 1 for these.
    """

    passes: int
    mse: float
    lpips: float
    deviation: float

    def __str__(self) -> str:
        if self.lpips < CLOSE and self.mse < CLOSE_MSE:
            alike = 'a close likeness'
        elif self.lpips < POOR and self.mse < POOR_MSE:
            alike = 'a fair likeness'
        else:
            alike = 'a poor likeness: edits show somebody else'
        far = '; the latent is unusual for this generator, so that strong edits may look less natural'
        lpips = f'LPIPS {self.lpips:.3f}, ' if self.lpips else ''  # which small pictures have none of
        figures = (f'MSE {self.mse:.4f}, {lpips}{self.deviation:.2f} standard deviations from the '
                   f'mean, {self.passes} pass{"es" * (self.passes > 1)}')
        return f'{alike} ({figures}){far if self.deviation > UNUSUAL else ""}'


class Comparison:
    """Pictures of a generator against a target, by pixels and by the features of LPIPS.

    Args:
        target: `[1, C, h, w]` in [-1, 1].
        lpips: the network; None, or a picture that is too small for it, for pixels alone.
    """

    def __init__(self, target: Tensor, lpips: LPIPS | None):
        self._target = target
        self._lpips = lpips if min(target.shape[2:]) >= SMALLEST_SIDE else None
        self._features = None if self._lpips is None else self._lpips.features(rgb(target))

    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The mean squared error and LPIPS of a picture `[1, C, h, w]`, both of which have derivatives."""
        mse = (image - self._target).square().mean()
        if self._lpips is None or self._features is None:
            return mse, torch.zeros((), device=image.device)
        shown = image.float().expand(-1, 3, -1, -1)
        distances = [torch.einsum('nchw,c->nhw', (f - g).square(), head).mean() for f, g, head in
                     zip(self._lpips.features(shown), self._features, self._lpips.heads, strict=True)]
        return mse, torch.stack(distances).sum()


def as_target(picture: Image.Image | Tensor, viewpoint: Viewpoint) -> Tensor:
    """A picture as those of a viewpoint are, `[1, C, h, w]` in [-1, 1].

    Args:
        picture: of Pillow, or `[1, C, H, W]` in [-1, 1]; of the shape of the generator's.

    Raises PhotographError for a picture of another shape.
    """
    channels, height, width = viewpoint.image_shape
    full = viewpoint.hook.image_shape
    height_and_width = (picture.height, picture.width) if isinstance(picture, Image.Image) else picture.shape[2:]
    size = int(height_and_width[0]), int(height_and_width[1])
    if abs(size[0] * width - size[1] * height) > max(size):
        raise PhotographError(f'the picture is {size[1]} x {size[0]} (width x height) and those of the network are '
                              f'{full[2]} x {full[1]}: align it, or crop it to that shape')
    if isinstance(picture, Image.Image):
        pixels = Alignment.whole(size).picture(as_photograph(picture).rgb, (height, width))
        target = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    else:
        target = box_average(picture.float(), max(height, width))
    target = target.mean(dim=1, keepdim=True) if channels == 1 else target.expand(-1, channels, -1, -1)
    return target.to(viewpoint.device).contiguous()
