"""BigGAN and BigGAN-deep (Brock et al., ICLR 2019) as in BigGAN-PyTorch, for forward-mode AD.

A picture is a function of one conditioning vector per layer: layer 0 is the first linear layer, layer k > 0 is residual
block k - 1. The slot of a layer says which coordinates of z and of the class embedding it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from resefa_plugin.networks.biggan_layers import Attention, Block, DeepBlock, OutputNorm

BOTTOM_WIDTH = 4


@dataclass(frozen=True)
class Part:
    """Coordinates that a layer takes.

    Attributes:
        source: of what they are coordinates: `z`, or the embedding of the `class`.
        start: the first one.
        stop: the one after the last.
    """

    source: str
    start: int
    stop: int

    @property
    def dim(self) -> int:
        """How many they are."""
        return self.stop - self.start


Slot = tuple[Part, ...]  # all that a layer takes


def layer_inputs(slots: Sequence[Slot], z: Tensor, embedding: Tensor) -> list[Tensor]:
    """What each layer takes, `[N, dims of its slot]`, of `z [N, dim_z]` and of class embeddings `[N, shared_dim]`."""
    sources = {'z': z, 'class': embedding}
    return [torch.cat([sources[part.source][:, part.start:part.stop] for part in slot], dim=1) for slot in slots]


@dataclass(frozen=True)
class BigGANConfig:
    """What a generator is built from.

    Attributes:
        resolution: of the square picture.
        widths: channels after the first linear layer and after each doubling of the resolution.
        dim_z: dimensions of z, after the official code's rounding to equal chunks.
        n_classes: classes, the rows of the class embedding.
        shared_dim: dimensions of the class embedding.
        attention: resolutions after which there is a self-attention.
        hier: whether every layer takes a chunk of z (BigGAN) or all of z (BigGAN-deep), not only the first layer.
        depth: blocks per resolution of BigGAN-deep; 0 for BigGAN.
        G_shared: whether the class embedding is learned; else it is the one-hot label itself.
        BN_eps: epsilon of all normalizations but the last.
    """

    resolution: int
    widths: tuple[int, ...]
    dim_z: int
    n_classes: int
    shared_dim: int
    attention: tuple[int, ...] = ()
    hier: bool = True
    depth: int = 0
    G_shared: bool = True
    BN_eps: float = 1e-5

    @property
    def ch(self) -> int:
        """The official code's unit of width."""
        return self.widths[0] // (4 if self.resolution == 32 else 16)

    @property
    def num_blocks(self) -> int:
        """How many residual blocks there are."""
        return (len(self.widths) - 1) * max(self.depth, 1)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """What the first linear layer and each block take, in the order of their inputs."""
        embedding, z = Part('class', 0, self.shared_dim), Part('z', 0, self.dim_z)
        if self.depth:
            return ((embedding, z),) * (1 + self.num_blocks)
        if not self.hier:
            return ((z,),) + ((embedding,),) * self.num_blocks
        size = self.dim_z // (1 + self.num_blocks)
        chunks = [Part('z', i * size, (i + 1) * size) for i in range(1 + self.num_blocks)]
        return ((chunks[0],), *((embedding, chunk) for chunk in chunks[1:]))


class Generator(nn.Module):
    """Conditioning vectors to pictures. Loads the states of `checkpoints.biggan_state`.

    Attributes:
        resolution, dim_z, n_classes, slots: see BigGANConfig.
    """

    def __init__(self, config: BigGANConfig):
        super().__init__()
        self.config = config
        self.resolution, self.dim_z, self.n_classes = config.resolution, config.dim_z, config.n_classes
        self.slots = config.slots
        dims = [sum(part.dim for part in slot) for slot in self.slots]
        self.shared = nn.Embedding(config.n_classes, config.shared_dim)
        self.linear = nn.Linear(dims[0], config.widths[0] * BOTTOM_WIDTH ** 2)
        self.blocks = nn.ModuleList()
        for stage, (in_channels, out_channels) in enumerate(pairwise(config.widths)):
            for index in range(max(config.depth, 1)):
                cond_dim = dims[len(self.blocks) + 1]
                block: Block | DeepBlock
                if config.depth:
                    block = DeepBlock(in_channels, out_channels if index else in_channels, cond_dim, config.BN_eps,
                                      upsample=index == config.depth - 1)
                else:
                    block = Block(in_channels, out_channels, cond_dim, config.BN_eps)
                self.blocks.append(nn.ModuleList([block]))
            if 2 * BOTTOM_WIDTH << stage in config.attention:
                last = self.blocks[-1]
                assert isinstance(last, nn.ModuleList)
                last.append(Attention(out_channels))
        width = config.widths[-1]
        self.output_layer = nn.Sequential(OutputNorm(width), nn.ReLU(), nn.Conv2d(width, 3, 3, padding=1))

    def embed(self, class_weights: Tensor) -> Tensor:
        """Soft labels `[N, n_classes]` -> embeddings `[N, shared_dim]`: the weighted sum of the classes' embeddings."""
        return class_weights @ self.shared.weight

    def synthesis(self, conditions: Sequence[Tensor]) -> Tensor:
        """Pictures `[N, 3, resolution, resolution]` in [-1, 1] of one `[N, dims of the slot]` per layer."""
        x = self.linear(conditions[0]).unflatten(1, (-1, BOTTOM_WIDTH, BOTTOM_WIDTH))
        for modules, condition in zip(self.blocks, conditions[1:], strict=True):
            assert isinstance(modules, nn.ModuleList)
            x = modules[0](x, condition)
            for attention in modules[1:]:
                x = attention(x)
        return torch.tanh(self.output_layer(x))

    def forward(self, z: Tensor, embedding: Tensor) -> Tensor:
        """Pictures of `z [N, dim_z]` and class embeddings `[N, shared_dim]`."""
        return self.synthesis(layer_inputs(self.slots, z, embedding))
