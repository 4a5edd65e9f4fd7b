"""StyleGAN-XL (Sauer, Schwarz and Geiger, "StyleGAN-XL: Scaling StyleGAN to Large Diverse Datasets", SIGGRAPH 2022).

StyleGAN3 that grows: a stem of few pixels is trained first, then its critically sampled layers are replaced by those of
a superresolution stage, perhaps several times. Classes are embeddings of ImageNet's. Takes the states of stylegan-xl's
`networks_stylegan3_resetting` as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from typing_extensions import override

from resefa_plugin.errors import CheckpointError
from resefa_plugin.networks import stylegan_layers
from resefa_plugin.networks.stylegan3 import network as stylegan3
from resefa_plugin.networks.stylegan3.layers import SynthesisLayer
from resefa_plugin.networks.stylegan3.network import INERT_KWARGS, progression
from resefa_plugin.networks.stylegan_layers import FullyConnectedLayer, known_kwargs, positive

IMAGENET_EMBEDDINGS = (1000, 320)  # classes, and features of an EfficientNet-Lite0
INERT_MAPPING_KWARGS = ('rand_embedding',)  # what the embedding is before training
HEAD_CRITICAL = 2  # layers of a stage whose cutoff is that of the picture, whatever is said of the stem


class MappingNetwork(stylegan_layers.MappingNetwork):
    """Latents to intermediate latents: z, and the embedded class, projected to as many dimensions as z, to W.

    Args:
        z_dim, c_dim, w_dim, num_ws, num_layers, lr_multiplier, w_avg_beta: as in StyleGAN3's.
        embeddings: how many classes are embedded, at least `c_dim`, and in how many dimensions. A network without
            classes has the table, too, and does not use it.
        class_w_avg: whether the average of W is one per class, None if it is where there are classes.

    Raises: CheckpointError for arguments that are out of range or contradict each other.
    """

    embed: nn.Embedding

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, num_ws: int, num_layers: int = 2,
                 lr_multiplier: float = 0.01, w_avg_beta: float = 0.998,
                 embeddings: Sequence[int] = IMAGENET_EMBEDDINGS, class_w_avg: bool | None = None):
        super().__init__(z_dim, c_dim, w_dim, num_ws, num_layers, z_dim, lr_multiplier=lr_multiplier,
                         w_avg_beta=w_avg_beta, class_w_avg=c_dim > 0 if class_w_avg is None else class_w_avg)
        classes, features = embeddings
        positive(classes=classes, features=features)
        if classes < c_dim:
            raise CheckpointError(f'embeddings: expected those of {c_dim} classes, got {classes}')
        self.embed = nn.Embedding(classes, features)
        if c_dim > 0:
            self.embed_proj = FullyConnectedLayer(features, z_dim, 'lrelu')

    @override
    def _embedded(self, c: Tensor) -> Tensor:
        # The embedding of a class, as a product: for a mix of classes theirs mixed, as are the averages of W.
        return self.embed_proj(c @ self.embed.weight[:self.c_dim])


class SynthesisNetwork(stylegan3.SynthesisNetwork):
    """W to pictures: a stem, StyleGAN3 as it is, and stages that take the place of its critically sampled layers.

    The bands of a stage go on from the last layer that is left. Layers are numbered on from one more than that.

    Args:
        w_dim, img_resolution, img_channels: as in StyleGAN3's.
        heads: for each stage the resolution of its pictures, a power of two, and its layers before that to colours; the
            last resolution is `img_resolution`. Empty for a stem.
        stem_resolution: of the stem, None for `img_resolution`, which it is without stages.
        num_critical: how many layers before the last one are sampled critically, in the stem and in each stage.
        stem_kwargs: further arguments of StyleGAN3's SynthesisNetwork. A stage has the stem's `conv_kernel` and
            `use_radial_filters`, and the defaults of the other arguments of SynthesisLayer.

    Raises: CheckpointError for sizes that are out of range.
    """

    def __init__(self, w_dim: int, img_resolution: int, img_channels: int, heads: Sequence[Sequence[int]] = (),
                 stem_resolution: int | None = None, num_critical: int = 2, channel_base: int = 32768,
                 channel_max: int = 512, last_stopband_rel: float = 2 ** 0.3, margin_size: int = 10,
                 **stem_kwargs: Any):
        stem_resolution = img_resolution if stem_resolution is None else stem_resolution
        resolutions = [stem_resolution, *(resolution for resolution, _ in heads)]
        if resolutions[-1] != img_resolution or sorted(resolutions) != resolutions:
            raise CheckpointError(f'heads: expected resolutions that ascend from the {stem_resolution} of the stem to '
                                  f'{img_resolution}, got {resolutions[1:]}')
        super().__init__(w_dim, stem_resolution, img_channels, channel_base=channel_base, channel_max=channel_max,
                         num_critical=num_critical, last_stopband_rel=last_stopband_rel, margin_size=margin_size,
                         **stem_kwargs)
        self.img_resolution = img_resolution
        kernel = {name: value for name, value in stem_kwargs.items() if name in ('conv_kernel', 'use_radial_filters')}
        for resolution, num_layers in heads:
            positive(head_resolution=resolution, head_layers=num_layers)
            if resolution & (resolution - 1) or num_layers <= max(num_critical, HEAD_CRITICAL):
                raise CheckpointError(f'heads: expected a power of two and more than {max(num_critical, HEAD_CRITICAL)}'
                                      f' layers, got {resolution} and {num_layers}')
            self.remove_last_styles(num_critical + 1)
            del self.targets[-num_critical - 1:]
            last = self.targets[-1]
            bands = progression(resolution, num_layers, HEAD_CRITICAL, last.cutoff, last.half_width + last.cutoff,
                                resolution / 2 * last_stopband_rel, margin_size, channel_base, channel_max,
                                img_channels)
            self._append(len(self.targets) + 1, [last, *bands[1:]], num_critical, kernel)


class Generator(stylegan3.Generator):
    """z to pictures: `G(z, c)`, or `G.synthesis(G.mapping(z, c))`.

    The arguments are those of StyleGAN3's generator; the mapping network and the synthesis network are those above.
    """

    parts = {'mapping_kwargs': (MappingNetwork,),
             'synthesis_kwargs': (SynthesisNetwork, stylegan3.SynthesisNetwork, SynthesisLayer)}

    @override
    def _synthesis(self, kwargs: Mapping[str, Any]) -> SynthesisNetwork:
        known = known_kwargs('synthesis_kwargs', kwargs, *self.parts['synthesis_kwargs'], inert=INERT_KWARGS)
        return SynthesisNetwork(self.w_dim, self.img_resolution, self.img_channels, **known)

    @override
    def _mapping(self, kwargs: Mapping[str, Any]) -> MappingNetwork:
        known = known_kwargs('mapping_kwargs', kwargs, *self.parts['mapping_kwargs'], inert=INERT_MAPPING_KWARGS)
        return MappingNetwork(self.z_dim, self.c_dim, self.w_dim, self.num_ws, **known)
