"""StyleGAN3 (Karras et al., "Alias-Free Generative Adversarial Networks", NeurIPS 2021), for forward-mode AD.

Takes the states of stylegan3's `networks_stylegan3` as they are, configurations T and R.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import jvp, vmap
from typing_extensions import override

from resefa_plugin.errors import CheckpointError
from resefa_plugin.linearization import Chain, Linearization, Stage, State
from resefa_plugin.machine.memory import STAGE, room
from resefa_plugin.machine.recomputation import recomputable
from resefa_plugin.networks.styled_synthesis import StyledGenerator, StyledSynthesis
from resefa_plugin.networks.stylegan3.layers import Band, SynthesisInput, SynthesisLayer, ToRGBLayer
from resefa_plugin.networks.stylegan_layers import MappingNetwork, fastest_layout, known_kwargs, positive

# Half precision is a way to compute the same picture faster, and magnitudes are tracked in training only. This network
# computes everything in the precision of its weights, float32 unless it was moved to another.
INERT_KWARGS = ('num_fp16_res', 'magnitude_ema_beta')


def progression(img_resolution: int, num_layers: int, num_critical: int, first_cutoff: float, first_stopband: float,
                last_stopband: float, margin_size: int, channel_base: int, channel_max: int,
                img_channels: int) -> list[Band]:
    """What comes out of each layer: section 3.2 of the paper.

    Cutoffs and stopbands ascend in geometric progression up to the critically sampled layers, where the cutoff is half
    of the resolution. The arguments are those of SynthesisNetwork, but for `last_stopband`, in cycles per picture.

    Returns: `num_layers + 1` bands, the last one that of the colours.
    """
    progress = np.minimum(np.arange(num_layers + 1) / (num_layers - num_critical), 1)
    cutoffs = first_cutoff * (img_resolution / 2 / first_cutoff) ** progress
    stopbands = first_stopband * (last_stopband / first_stopband) ** progress
    rates = np.exp2(np.ceil(np.log2(np.minimum(2 * stopbands, img_resolution))))
    half_widths = np.maximum(stopbands, rates / 2) - cutoffs
    sizes = rates + 2 * margin_size
    sizes[-2:] = img_resolution  # the margin is cropped before the last convolution
    channels = np.rint(np.minimum(channel_base / 2 / cutoffs, channel_max))
    channels[-1] = img_channels
    return [Band(int(c), int(n), int(s), float(f), float(h))
            for c, n, s, f, h in zip(channels, sizes, rates, cutoffs, half_widths, strict=True)]


class SynthesisNetwork(StyledSynthesis):
    """W to pictures.

    The styles are that of `input` (a rotation and a translation), then those of the layers in order. There is no
    noise, so both noise modes give the same picture.

    Args:
        w_dim: dimensions of w.
        img_resolution: pixels per side, a power of two.
        img_channels: colours.
        channel_base: channels times resolution.
        channel_max: upper bound of the channels of any layer.
        num_layers: layers between `input` and the last one, which makes colours.
        num_critical: how many layers before the last one are sampled critically, for sharpness.
        first_cutoff: cutoff frequency f_c of the input, in cycles per picture.
        first_stopband: smallest stopband frequency f_t of the input.
        last_stopband_rel: smallest stopband frequency f_t of the picture, relative to its cutoff.
        margin_size: pixels beyond each side of the picture.
        output_scale: factor of the picture.
        layer_kwargs: arguments of SynthesisLayer.

    Attributes:
        targets: what comes out of each layer after `input`.

    Raises: CheckpointError for sizes that are out of range.
    """

    def __init__(self, w_dim: int, img_resolution: int, img_channels: int, channel_base: int = 32768,
                 channel_max: int = 512, num_layers: int = 14, num_critical: int = 2, first_cutoff: float = 2,
                 first_stopband: float = 2 ** 2.1, last_stopband_rel: float = 2 ** 0.3, margin_size: int = 10,
                 output_scale: float = 0.25, **layer_kwargs: Any):
        super().__init__()
        positive(w_dim=w_dim, img_resolution=img_resolution, img_channels=img_channels, channel_base=channel_base,
                 channel_max=channel_max, num_layers=num_layers)
        if not 0 <= num_critical < num_layers:
            raise CheckpointError(f'num_critical: expected at least 0 and less than num_layers {num_layers}, got '
                                  f'{num_critical}')
        if img_resolution & (img_resolution - 1):
            raise CheckpointError(f'img_resolution: expected a power of two, got {img_resolution}')
        self.w_dim, self.output_scale = w_dim, output_scale
        self.img_resolution, self.img_channels = img_resolution, img_channels

        bands = progression(
            img_resolution, num_layers, num_critical, first_cutoff, first_stopband,
            img_resolution / 2 * last_stopband_rel, margin_size, channel_base, channel_max, img_channels)
        self.targets: list[Band] = []
        self.input = SynthesisInput(w_dim, bands[0])
        self.add_style('input', 0)
        self._append(0, bands, num_critical, layer_kwargs)

    def _append(self, index: int, bands: Sequence[Band], num_critical: int, layer_kwargs: Mapping[str, Any]) -> None:
        """Adds a layer for each band, the last of them that to colours; the first has its own band as source, too.

        Args:
            index: of the first layer, for its name.
            bands: what comes out of the layers.
            num_critical: how many layers before the last one are sampled critically.
            layer_kwargs: arguments of SynthesisLayer.
        """
        count = len(bands) - 1
        for idx, (source, target) in enumerate(pairwise([bands[0], *bands])):
            layer: SynthesisLayer | ToRGBLayer
            if idx < count:
                layer = SynthesisLayer(self.w_dim, source, target, idx >= count - num_critical, **layer_kwargs)
            else:
                layer = ToRGBLayer(self.w_dim, source, target.channels, layer_kwargs.get('conv_clamp', 256))
            name = f'L{index + idx}_{target.size}_{target.channels}'
            setattr(self, name, layer)
            self.add_style(name, len(self.style_names))
            self.targets.append(target)
        self.num_ws = len(self.style_names)

    def _render(self, styles: Sequence[Tensor], noise_mode: str) -> Tensor:
        x = self.input(styles[0])
        for name, s in zip(self.style_names[1:], styles[1:], strict=True):
            x = recomputable(getattr(self, name), x, s)
        return x * self.output_scale

    def _linearize(self, styles: Sequence[Tensor], factor: int, noise_mode: str) -> Linearization:
        return Chain(lambda: self._stages(styles, factor), room(STAGE, styles[0].device)).linearization()

    def _stages(self, styles: Sequence[Tensor], factor: int) -> list[Stage]:
        x, stage = self._linearize_input(styles[0])
        stages = [stage]
        for name, s in zip(self.style_names[1:-1], styles[1:-1], strict=True):
            x, stage = getattr(self, name).linearize(x, s)
            stages.append(stage)
        return [*stages, self._linearize_colours(x, styles[-1], factor)]

    def _linearize_input(self, style: Tensor) -> tuple[Tensor, Stage]:
        x = fastest_layout(self.input(style))
        by_style = vmap(lambda s_t: jvp(self.input, (style,), (s_t[None],))[1][0])(torch.eye(style.shape[1]).to(style))

        def push(state: State, style_t: Tensor) -> State:
            return fastest_layout(torch.tensordot(style_t, by_style, dims=1)),

        def pull(state: State) -> tuple[State, list[Tensor]]:
            return (None,), [state[0].flatten(1) @ by_style.flatten(1).t()]

        return x, Stage(push, pull, 1, x.nbytes)

    def _linearize_colours(self, x: Tensor, style: Tensor, factor: int) -> Stage:
        colours = getattr(self, self.style_names[-1]).linearize(x, style, factor)

        def push(state: State, style_t: Tensor) -> State:
            return colours.push(state[0], style_t) * self.output_scale,

        def pull(state: State) -> tuple[State, list[Tensor]]:
            x_g, style_g = colours.pull(state[0] * self.output_scale)
            return (x_g,), [style_g]

        return Stage(push, pull, 1, x.nbytes)


class Generator(StyledGenerator):
    """See StyledGenerator."""

    parts: Mapping[str, tuple[type[nn.Module], ...]] = {
        'mapping_kwargs': (MappingNetwork,), 'synthesis_kwargs': (SynthesisNetwork, SynthesisLayer)}

    @override
    def _synthesis(self, kwargs: Mapping[str, Any]) -> SynthesisNetwork:
        known = known_kwargs('synthesis_kwargs', kwargs, *self.parts['synthesis_kwargs'], inert=INERT_KWARGS)
        return SynthesisNetwork(self.w_dim, self.img_resolution, self.img_channels, **known)

    @override
    def _mapping(self, kwargs: Mapping[str, Any]) -> MappingNetwork:
        known = known_kwargs('mapping_kwargs', {'num_layers': 2, **kwargs}, *self.parts['mapping_kwargs'])
        return MappingNetwork(self.z_dim, self.c_dim, self.w_dim, self.num_ws, **known)
