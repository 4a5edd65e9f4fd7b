"""What every generator looks like to the rest of the package: a sample, its latent spaces, a differentiable picture."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from resefa_plugin.errors import ResefaError


@dataclass(frozen=True)
class Sample:
    """One point of a generator: everything that fixes a picture.

    Attributes:
        name: stem of the file names made from it, e.g. `seed0000`, `proj00`.
        latents: native latents by kind, each with a leading axis of 1: `z [1, z_dim]`, `ws [1, num_ws, w_dim]`, ...
        c: class label `[1, c_dim]`, or None for an unconditional network.
        truncation_psi: 1 is no truncation.
        truncation_cutoff: number of layers that are truncated, None for all.
        seed: the seed that `z` came from, None if it did not come from one.
    """

    name: str
    latents: Mapping[str, Tensor]
    c: Tensor | None = None
    truncation_psi: float = 1.0
    truncation_cutoff: int | None = None
    seed: int | None = None


class LatentSpace(abc.ABC):
    """The coordinates in which a picture is differentiated, and in which it is edited: the same ones.

    A flat offset `[d]` of this space is an offset of the generator's native latents.

    Attributes:
        name: `z`, `w`, `w+`, `s`, `class`, `cond`, ...
        layers: the layers that the offset acts on, ascending; None where the space has no layers.
        dim: number of coordinates d.
    """

    name: str
    layers: tuple[int, ...] | None
    dim: int

    @abc.abstractmethod
    def latent(self, sample: Sample) -> Tensor:
        """The native latents of a sample, `[1, ...]`. Raises ResefaError if the sample has none in this space."""

    @abc.abstractmethod
    def move(self, latent: Tensor, offset: Tensor) -> Tensor:
        """Moves native latents `[N or 1, ...]` by flat offsets `[N or 1, d]`; returns `[N, ...]`."""

    @abc.abstractmethod
    def render(self, latent: Tensor, sample: Sample, resolution: int | None = None) -> Tensor:
        """Pictures `[N, C, h, w]` in about [-1, 1] of native latents `[N, ...]`.

        `sample` supplies what the latents do not say (label, truncation). `resolution` is the longer side after exact
        box averaging, None for the full picture.
        """

    def images(self, sample: Sample, offset: Tensor, resolution: int | None = None) -> Tensor:
        """The picture as a function of the offset: what is differentiated at zero and evaluated for edits.

        Args:
            offset: `[N, d]` float32.

        Returns: `[N, C, h, w]`.
        """
        return self.render(self.move(self.latent(sample), offset), sample, resolution)


class GeneratorHook(abc.ABC):
    """A thin view of a generator that exists already: samples, latent spaces, pictures.

    The picture is a deterministic function of the sample, float32, `[N, C, H, W]` in about [-1, 1].

    Attributes:
        name: how the user named the network (a path or an asset name).
        sha256: of the weights; empty where there is no file.
        image_shape: `(C, H, W)`.
        z_dim: dimensions of z.
        c_dim: dimensions of the label, 0 for unconditional networks.
        num_ws: number of layers that take a w of their own, 0 where there is no w.
        space_names: the spaces that `space` accepts.
        device: where the network is.
    """

    name: str
    sha256: str = ''
    image_shape: tuple[int, int, int]
    z_dim: int
    c_dim: int = 0
    num_ws: int = 0
    space_names: tuple[str, ...] = ('z',)
    device: torch.device = torch.device("cpu")

    @abc.abstractmethod
    def sample(self, seed: int, truncation_psi: float = 1.0, truncation_cutoff: int | None = None,
               c: Tensor | None = None) -> Sample:
        """The sample of a seed, drawn as the host does: `RandomState(seed).randn(1, z_dim)`."""

    @abc.abstractmethod
    def space(self, name: str, layers: tuple[int, ...] | None = None) -> LatentSpace:
        """A latent space by name, acting on `layers` only (None: all). Raises ResefaError for names it does not have."""

    @contextlib.contextmanager
    def differentiable(self):
        """Whatever must be in place while the picture is differentiated, restored on exit."""
        yield

    def unknown_space(self, name: str) -> ResefaError:
        """The error for a space that this generator does not have."""
        return ResefaError(f"space '{name}' is not one of {', '.join(self.space_names)}, the spaces of {self.name}")
