"""StyleGAN2 (Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020), for forward-mode AD.

Takes the states of stylegan2-ada-pytorch and of stylegan3's `networks_stylegan2` as they are. The two differ in a
default that changes the picture: where a file of stylegan3 does not say `conv_clamp`, it means 256; here it means None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from typing_extensions import override

from resefa_plugin.errors import CheckpointError
from resefa_plugin.linearization import Chain, Linearization, Stage
from resefa_plugin.machine.memory import STAGE, room
from resefa_plugin.networks.styled_synthesis import StyledGenerator, StyledSynthesis
from resefa_plugin.networks.stylegan2_layers import SynthesisBlock, SynthesisLayer
from resefa_plugin.networks.stylegan_layers import MappingNetwork, known_kwargs, positive

# Half precision and fused kernels are ways to compute the same picture faster. This network computes everything in the
# precision of its weights, float32 unless it was moved to another.
INERT_KWARGS = ('num_fp16_res', 'fp16_channels_last', 'fused_modconv_default')


class SynthesisNetwork(StyledSynthesis):
    """W to pictures.

    The styles are those of `conv0`, `conv1` and `torgb` of each block, from the lowest resolution to the highest.

    Args:
        w_dim: dimensions of w.
        img_resolution: pixels per side, a power of two.
        img_channels: colours.
        channel_base: channels times resolution.
        channel_max: upper bound of the channels of any layer.
        block_kwargs: arguments of SynthesisBlock (`architecture`, `resample_filter`, `conv_clamp`) and of its
            SynthesisLayer (`kernel_size`, `use_noise`, `activation`).

    Raises: CheckpointError for sizes that are out of range.
    """

    def __init__(self, w_dim: int, img_resolution: int, img_channels: int, channel_base: int = 32768,
                 channel_max: int = 512, **block_kwargs: Any):
        super().__init__()
        positive(w_dim=w_dim, img_resolution=img_resolution, img_channels=img_channels, channel_base=channel_base,
                 channel_max=channel_max)
        if img_resolution < 4 or img_resolution & (img_resolution - 1):
            raise CheckpointError(f'img_resolution: expected a power of two of at least 4, got {img_resolution}')
        if channel_base < img_resolution:
            raise CheckpointError(f'channel_base: expected at least img_resolution {img_resolution}, '
                                  f'got {channel_base}')
        self.w_dim, self.img_resolution, self.img_channels = w_dim, img_resolution, img_channels
        self.block_resolutions = [2 ** i for i in range(2, img_resolution.bit_length())]
        ws_index = in_channels = 0
        for resolution in self.block_resolutions:
            out_channels = min(channel_base // resolution, channel_max)
            block = SynthesisBlock(in_channels, out_channels, w_dim, resolution, img_channels,
                                   is_last=resolution == img_resolution, **block_kwargs)
            setattr(self, f'b{resolution}', block)
            for name in block.layer_names:
                self.add_style(f'b{resolution}.{name}', ws_index)
                ws_index += name != 'torgb'  # torgb shares its w with the next block's conv0
            in_channels = out_channels
        self.num_ws = ws_index + 1

    def _render(self, styles: Sequence[Tensor], noise_mode: str) -> Tensor:
        remaining = iter(styles)
        x: Tensor | None = None
        img: Tensor | None = None
        for resolution in self.block_resolutions:
            x, img = getattr(self, f'b{resolution}')(x, img, remaining, noise_mode)
        assert img is not None  # the last block makes colours
        return img

    def _linearize(self, styles: Sequence[Tensor], factor: int, noise_mode: str) -> Linearization:
        device = styles[0].device
        return Chain(lambda: self._stages(styles, factor, noise_mode), room(STAGE, device), width=2).linearization()

    def _stages(self, styles: Sequence[Tensor], factor: int, noise_mode: str) -> list[Stage]:
        remaining, x, stages = iter(styles), None, []
        for resolution in self.block_resolutions:
            is_last = resolution == self.img_resolution
            block = getattr(self, f'b{resolution}')
            x, stage = block.linearize(x, remaining, noise_mode, factor if is_last else 1, is_last)
            stages.append(stage)
        return stages


class Generator(StyledGenerator):
    """See StyledGenerator."""

    parts = {'mapping_kwargs': (MappingNetwork,),
             'synthesis_kwargs': (SynthesisNetwork, SynthesisBlock, SynthesisLayer)}

    @override
    def _synthesis(self, kwargs: Mapping[str, Any]) -> SynthesisNetwork:
        known = known_kwargs('synthesis_kwargs', kwargs, *self.parts['synthesis_kwargs'], inert=INERT_KWARGS)
        return SynthesisNetwork(self.w_dim, self.img_resolution, self.img_channels, **known)

    @override
    def _mapping(self, kwargs: Mapping[str, Any]) -> MappingNetwork:
        known = known_kwargs('mapping_kwargs', kwargs, *self.parts['mapping_kwargs'])
        return MappingNetwork(self.z_dim, self.c_dim, self.w_dim, self.num_ws, **known)
