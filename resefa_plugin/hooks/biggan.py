"""BigGAN as a hook: spaces of z, of the class, and of what each layer is conditioned on."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from scipy.stats import truncnorm
from torch import Tensor, nn
from typing_extensions import override

from resefa_plugin.checkpoints.biggan_state import read_biggan
from resefa_plugin.errors import ResefaError, check_shape
from resefa_plugin.hooks.base import GeneratorHook, LatentSpace, Sample, box_average, pooling_factor, seed_z
from resefa_plugin.hooks.biggan_classes import class_vector
from resefa_plugin.networks.biggan import Slot, layer_inputs
from resefa_plugin.third_party import biggan_pytorch, pretrained_biggan

# Which parts of the conditioning vectors the offsets of a space move, in the order of its coordinates.
SOURCES = {'z': ('z',), 'class': ('class',), 'z+class': ('z', 'class'), 'cond': ('z', 'class')}


class LayeredGenerator(Protocol):
    """What the hook needs of a generator: a torch module with these, as of `networks.biggan.Generator`."""

    resolution: int
    dim_z: int
    n_classes: int

    @property
    def slots(self) -> tuple[Slot, ...]:
        """What each layer sees, from the first linear layer on."""

    @property
    def synthesis(self) -> Callable[..., Tensor]:
        """What each layer sees -> pictures; that of PretrainedBigGAN takes a row of its statistics as well."""

    def embed(self, class_weights: Tensor) -> Tensor:
        """Soft labels `[N, n_classes]` -> embeddings `[N, shared_dim]`."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """As of `torch.nn.Module`."""


class BigGANHook(GeneratorHook):
    """A class-conditional generator whose layers are conditioned on parts of z and of a class embedding.

    Layer 0 is the first linear layer, layer k > 0 is residual block k - 1. The native latent of every space is what all
    layers see, side by side, so directions that were found on one class can be applied to another.

    Args:
        G: the generator, in eval mode without gradients.
        name: how it is named to the user.
        notes: what was assumed or corrected when it was read.
        implementation: what computes the pictures, in words.
    """

    space_names = tuple(SOURCES)
    value_range = -1.0, 1.0

    def __init__(self, G: LayeredGenerator, name: str = 'biggan', sha256: str = '', notes: tuple[str, ...] = (),
                 implementation: str = 'our own network'):
        self.G, self.name, self.sha256, self.notes, self.implementation = G, name, sha256, notes, implementation
        self.image_shape = (3, G.resolution, G.resolution)
        self.z_dim, self.c_dim = G.dim_z, G.n_classes
        weight = next(G.parameters())
        self.device, self.dtype = weight.device, weight.dtype

    @override
    def class_vector(self, spec: str) -> Tensor:
        """The label `[1, c_dim]` of a class by number or name, or of a soft mix such as `12:0.5,207:0.5`."""
        return class_vector(spec, self.c_dim).to(self.device)

    @override
    def sample(self, seed: int, truncation_psi: float = 1.0, truncation_cutoff: int | None = None,
               c: Tensor | None = None) -> Sample:
        """The sample of a seed and a class.

        Args:
            truncation_psi: scales z.
            c: weights of the classes `[1, c_dim]`, see `class_vector`.

        Raises ResefaError for a cutoff, for a label that is missing or has another shape, and for numbers that are not
        finite.
        """
        if truncation_cutoff is not None:
            raise ResefaError(f'{self.name}: truncation scales z, which has no layers; leave the truncation cutoff out')
        if not math.isfinite(truncation_psi):
            raise ResefaError(f'truncation psi is {truncation_psi}, expected a finite number')
        if c is None and self.c_dim > 1:
            raise ResefaError(f'{self.name} is class-conditional: name a class, 0 to {self.c_dim - 1}')
        c = torch.ones(1, 1) if c is None else c
        if tuple(c.shape) != (1, self.c_dim) or not c.isfinite().all():
            raise ResefaError(f'the label has shape {list(c.shape)}; expected finite weights [1, {self.c_dim}], '
                              'one per class')
        c = c.to(self.device, torch.float32)
        z = self.draw(seed, truncation_psi).to(self.dtype)
        return Sample(f'seed{seed:04d}', self._latents(z, self._embedding(c)), c, truncation_psi, seed=seed)

    @override
    def sample_of(self, latents: Mapping[str, Tensor], name: str, truncation_psi: float = 1.0,
                  c: Tensor | None = None) -> Sample:
        """See GeneratorHook: `cond`, or `z` and `class`, the embedding; without the latter, that of the label `c`."""
        found = {key: value.to(self.device, self.dtype) for key, value in latents.items()}
        if 'cond' in found:
            check_shape('cond', found['cond'], 1, sum(part.stop - part.start for slot in self.G.slots for part in slot))
            return Sample(name, {'cond': found['cond']}, c, truncation_psi)
        if 'z' not in found:
            raise ResefaError(f'{self.name} takes z, z and class, or cond: not {", ".join(latents)}')
        check_shape('z', found['z'], 1, self.z_dim)
        if 'class' not in found and c is None and self.c_dim > 1:
            raise ResefaError(f'{self.name} is class-conditional, and the file says no class: name one, 0 to '
                              f'{self.c_dim - 1}')
        embedding = found.get('class')
        if embedding is None:
            embedding = self._embedding(torch.ones(1, 1, device=self.device) if c is None else c)
        width = max(part.stop for slot in self.G.slots for part in slot if part.source == 'class')
        check_shape('class', embedding, 1, width)
        return Sample(name, self._latents(found['z'], embedding), c, truncation_psi)

    def _embedding(self, c: Tensor) -> Tensor:
        """Of class weights `[1, c_dim]`."""
        with torch.no_grad():
            embedding: Tensor = self.G.embed(c.to(self.dtype))
        return embedding

    def _latents(self, z: Tensor, embedding: Tensor) -> dict[str, Tensor]:
        return {'z': z, 'class': embedding, 'cond': torch.cat(layer_inputs(self.G.slots, z, embedding), dim=1)}

    def draw(self, seed: int, truncation_psi: float) -> Tensor:
        """The z `[1, z_dim]` of a seed, truncated by scaling."""
        return seed_z(seed, self.z_dim, self.device) * truncation_psi

    def synthesis(self, conditions: Sequence[Tensor], truncation_psi: float) -> Tensor:
        """Pictures of what each layer sees. The statistics of this family are those of untruncated z at every psi."""
        return self.G.synthesis(conditions)

    @override
    def layer_count(self, space: str) -> int:
        return len(self.G.slots)

    @override
    def space(self, name: str, layers: tuple[int, ...] | None = None) -> LatentSpace:
        """A space by name, or by name and layers at once: `z[2:4]` is `z` at layers 2 and 3.

        `z`: what enters the layers of z; where each layer has a chunk of its own, layers choose chunks. `class`: the
        class embedding. `z+class`: both, z first. `cond`: all that enters the layers, each layer by itself.
        """
        match = re.fullmatch(r'(.+)\[([0-9]{1,4}):([0-9]{1,4})\]', name)
        if match:
            if layers is not None:
                raise ResefaError(f"space '{name}' names its layers already: leave the separate layers out")
            name, layers = match[1], tuple(range(int(match[2]), int(match[3])))
        if name not in self.space_names:
            raise self.unknown_space(name)
        acting = tuple(i for i, slot in enumerate(self.G.slots) if any(part.source in SOURCES[name] for part in slot))
        if layers is not None:
            layers = tuple(sorted(set(layers)))
            if not layers or not set(layers) <= set(acting):
                named = ', '.join(map(str, layers)) or '(none)'
                raise ResefaError(f"layers {named} of space '{name}': in {self.name} it enters at layers "
                                  f'{_range(acting)}')
        return ConditionSpace(self, name, None if layers == acting else layers)


class PretrainedBigGANHook(BigGANHook):
    """BigGAN-deep of pytorch-pretrained-biggan, whose batch statistics depend on the truncation."""

    G: pretrained_biggan.PretrainedBigGAN

    @override
    def draw(self, seed: int, truncation_psi: float) -> Tensor:
        """As the package's `truncated_noise_sample`: a normal distribution cut off at 2, scaled by psi."""
        self.G.statistics_row(truncation_psi)
        seed_z(seed, self.z_dim, self.device)  # raises for a seed out of range
        z = truncnorm.rvs(-2, 2, size=(1, self.z_dim), random_state=np.random.RandomState(seed)).astype(np.float32)
        return torch.from_numpy(truncation_psi * z).to(self.device)

    @override
    def synthesis(self, conditions: Sequence[Tensor], truncation_psi: float) -> Tensor:
        return self.G.synthesis(conditions, self.G.statistics_row(truncation_psi))


class ConditionSpace(LatentSpace):
    """An offset of the conditioning vectors `[N, sum of their dims]`, as wide as what it moves."""

    def __init__(self, hook: BigGANHook, name: str, layers: tuple[int, ...] | None):
        self.hook, self.name, self.layers = hook, name, layers
        slots, sources = hook.G.slots, SOURCES[name]
        self._widths = [sum(part.dim for part in slot) for slot in slots]
        self._parts = [part for slot in slots for part in slot]
        # What has the same key moves by the same offset: in 'cond' no two parts, else a part wherever it enters.
        keys = [(part, i if name == 'cond' else None)
                if part.source in sources and (layers is None or i in layers) else None
                for i, slot in enumerate(slots) for part in slot]
        moved = [key for key in dict.fromkeys(keys) if key is not None]
        if name != 'cond':
            moved.sort(key=lambda key: sources.index(key[0].source))
        self.dim, places = 0, {}
        for key in moved:
            places[key] = slice(self.dim, self.dim + key[0].dim)
            self.dim += key[0].dim
        self._places = [None if key is None else places[key] for key in keys]
        self._moves_latents = len(set(zip(self._parts, keys, strict=True))) == len(set(self._parts))

    @override
    def latent(self, sample: Sample) -> Tensor:
        return sample.latents['cond']

    @override
    def move(self, latent: Tensor, offset: Tensor) -> Tensor:
        pieces = [offset.new_zeros(len(offset), part.dim) if place is None else offset[:, place]
                  for part, place in zip(self._parts, self._places, strict=True)]
        return latent + torch.cat(pieces, dim=1)

    @override
    def render(self, latent: Tensor, sample: Sample, resolution: int | None = None) -> Tensor:
        pooling_factor(self.hook.image_shape, resolution)
        return box_average(self.hook.synthesis(latent.split(self._widths, dim=1), sample.truncation_psi), resolution)

    @override
    def saved(self, latent: Tensor, sample: Sample) -> dict[str, Tensor]:
        """`z` and `class`, the official call's arguments, where all layers see the same ones; else `cond`."""
        if not self._moves_latents:
            return {'cond': latent}
        pieces = dict(zip(self._parts, latent.split([part.dim for part in self._parts], dim=1), strict=True))
        parts = sorted(pieces, key=lambda part: part.start)
        return {source: torch.cat([pieces[part] for part in parts if part.source == source], dim=1)
                for source in ('z', 'class')}


def _range(layers: tuple[int, ...]) -> str:
    return str(layers[0]) if len(layers) == 1 else f'{layers[0]} to {layers[-1]}'


def open_biggan(source: str | os.PathLike[str], device: torch.device | str = 'cpu',
                checkout: str | os.PathLike[str] | None = None, BN_eps: float | None = None,
                SN_eps: float | None = None) -> BigGANHook:
    """The hook of a folder of BigGAN-PyTorch or of pytorch-pretrained-biggan.

    Args:
        source: an experiment folder or a file of weights in it (see `checkpoints.biggan_state.read_biggan`), or a
            folder with `config.json` and `pytorch_model.bin`.
        checkout: of BigGAN-PyTorch, whose class is then used; None for the current folder if it is one, else our own
            network.
        BN_eps, SN_eps: of a BigGAN-PyTorch generator whose training did not record them.

    Raises:
        CheckpointError: it cannot be read, or the extra `biggan` is needed and not installed.
    """
    path = Path(source)
    name = f'biggan:{source}'
    if pretrained_biggan.is_pretrained(path):
        given = {'checkout': checkout, 'BN_eps': BN_eps, 'SN_eps': SN_eps}
        superfluous = [key for key, value in given.items() if value is not None]
        if superfluous:
            raise ResefaError(f'{source}: a folder of pytorch-pretrained-biggan says all about itself: leave out '
                              f'{", ".join(superfluous)}')
        model, sha256 = pretrained_biggan.load(path)
        return PretrainedBigGANHook(model.to(device), name, sha256, implementation='pytorch-pretrained-biggan')
    folder = biggan_pytorch.find_checkout(checkout)
    state = read_biggan(path, BN_eps, SN_eps)
    # In the current folder, a checkout is an offer; the official class has no soft labels without G_shared.
    if folder is not None and (checkout is not None or state.config.G_shared):
        official = biggan_pytorch.load(state, folder).to(device)
        return BigGANHook(official, name, state.sha256, state.notes, f'the BigGAN-PyTorch checkout at {folder}')
    return BigGANHook(state.build().to(device), name, state.sha256, state.notes, 'our own BigGAN network')
