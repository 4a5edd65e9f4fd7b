"""What every generator looks like to the rest of the package: a sample, its latent spaces, a differentiable picture."""

from __future__ import annotations

import abc
import contextlib
import difflib
import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from resefa_plugin.errors import ResefaError, check_number, check_type
from resefa_plugin.linearization import Linearization
from resefa_plugin.machine.pixels import to_uint8
from resefa_plugin.ranges import format_ranges

MAX_SEED = 2 ** 32 - 1  # of numpy's RandomState
# What other tools and papers call a space -> its name here.
_SPACES_BY_OTHER_NAMES = {'stylespace': 's', 'style': 's', 'styles': 's', 'ws': 'w+', 'wp': 'w+', 'w_plus': 'w+',
                          'wplus': 'w+'}


@dataclass(frozen=True)
class Sample:
    """One point of a generator: everything that fixes a picture.

    Attributes:
        name: stem of the file names made from it, e.g. `seed0000`, `proj00`.
        latents: native latents by kind, each with a leading axis of 1: `z [1, z_dim]`, `ws [1, num_ws, w_dim]`, ...
            Styles `s [1, sum(style_dims)]` that no ws has stand alone.
        c: class label `[1, c_dim]`; None where the network is unconditional.
        truncation_psi: 1 is no truncation.
        truncation_cutoff: number of layers that are truncated; None where all of them are.
        seed: the seed that `z` was drawn from; None where it came from elsewhere.

    Raises ResefaError for latents that are not floating-point tensors `[1, ...]` of finite numbers.
    """

    name: str
    latents: Mapping[str, Tensor]
    c: Tensor | None = None
    truncation_psi: float = 1.0
    truncation_cutoff: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for kind, latent in self.latents.items():
            if not isinstance(latent, Tensor) or not latent.is_floating_point() or latent.ndim < 2 or len(latent) != 1:
                came = f'{latent.dtype} {list(latent.shape)}' if isinstance(latent, Tensor) else type(latent).__name__
                raise ResefaError(f"sample {self.name}: latents['{kind}'] is {came}, expected a floating-point tensor "
                                  '[1, ...]')
            if not latent.isfinite().all():
                raise ResefaError(f"sample {self.name}: latents['{kind}'] holds NaN or infinity")
        # What is differentiated begins here: a history of the latents would go along with every picture.
        object.__setattr__(self, 'latents', {kind: latent.detach() for kind, latent in self.latents.items()})
        if self.c is not None:
            object.__setattr__(self, 'c', self.c.detach())
        check_number('truncation_psi', self.truncation_psi)

    def __repr__(self) -> str:
        latents = ', '.join(f'{kind} {list(latent.shape)}' for kind, latent in self.latents.items())
        truncated = '' if self.truncation_psi == 1 else f', psi {self.truncation_psi:g}'
        return f'<sample {self.name}: {latents}{truncated}>'


class LatentSpace(abc.ABC):
    """The coordinates in which a picture is differentiated, and in which it is edited: the same ones.

    A flat offset `[d]` of this space is an offset of the generator's native latents.

    Attributes:
        name: `z`, `w`, `w+`, `s`, `class`, `cond`, ...
        layers: the layers that the offset acts on, ascending; None where it acts on all, or the space has no layers.
        dim: number of coordinates d.
        has_channels: whether each coordinate is a channel of the network, which tends to do one thing.
    """

    has_channels = False
    name: str
    layers: tuple[int, ...] | None
    dim: int

    def __repr__(self) -> str:
        layers = '' if self.layers is None else f', layers {format_ranges(self.layers)}'
        return f'<space {self.name}: {self.dim} dimensions{layers}>'

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
        box averaging; None leaves the picture as it is.
        """

    @abc.abstractmethod
    def saved(self, latent: Tensor, sample: Sample) -> dict[str, Tensor]:
        """What a file of edited latents holds: `w [N, num_ws, w_dim]`, as the host's projected_w.npz, where it can."""

    def covariance(self, c: Tensor | None) -> list[NDArray[np.float64]]:
        """How the generator's own latents spread in these coordinates: the square diagonal blocks of a covariance.

        Args:
            c: class label `[1, c_dim]`; None where the network is unconditional.

        Raises ResefaError where it is not known.
        """
        if self.name == 'z':
            return [np.eye(self.dim)]  # z is drawn from a standard normal distribution
        raise ResefaError(f"the spread of latents in space '{self.name}' is not known: leave the norm at identity")

    def linearize(self, latent: Tensor, sample: Sample, resolution: int | None = None) -> Linearization | None:
        """The derivative of `render(move(latent, offset), ...)` at zero offset by hand; None where only AD has it.

        Returns: `push`: offsets `[k, d]` -> `[k, C, h, w]`, and `pull`: pictures -> `[k, d]`, where there is one.
        """
        return None


class GeneratorHook(abc.ABC):
    """A thin view of a generator that exists already: samples, latent spaces, pictures.

    The picture is a deterministic function of the sample, float32, `[N, C, H, W]` in about [-1, 1].

    Attributes:
        name: how the user named the network (a path or an asset name).
        sha256: of the weights; empty where there is no file.
        tuned_from: of the weights before they were tuned to a photograph, see `projection.tuned_network`; empty where
            they were not.
        licence: what the user must know about the weights; empty where nothing is known.
        implementation: what computes the pictures: a network of ours, or whose code.
        notes: what was assumed or corrected when the weights were read.
        image_shape: `(C, H, W)`.
        z_dim: dimensions of z.
        c_dim: dimensions of the label, 0 for unconditional networks.
        num_ws: number of layers that take a w of their own, 0 where there is no w.
        space_names: the spaces that `space` accepts.
        device: where the network is.
        value_range: black and white as its author states them; None where nobody did, so that pictures are looked at
            before they are believed to be in [-1, 1].
    """

    name: str
    sha256: str = ''
    tuned_from: str = ''
    licence: str = ''
    implementation: str = 'our own network'
    notes: tuple[str, ...] = ()
    image_shape: tuple[int, int, int]
    z_dim: int
    c_dim: int = 0
    num_ws: int = 0
    space_names: tuple[str, ...]
    device: torch.device
    value_range: tuple[float, float] | None = None

    @abc.abstractmethod
    def sample(self, seed: int, truncation_psi: float = 1.0, truncation_cutoff: int | None = None,
               c: Tensor | None = None) -> Sample:
        """The sample of a seed, drawn as the host does: `RandomState(seed).randn(1, z_dim)`."""

    def sample_of(self, latents: Mapping[str, Tensor], name: str, truncation_psi: float = 1.0,
                  c: Tensor | None = None) -> Sample:
        """The sample of latents `[1, ...]` as `LatentSpace.saved` gives them, for generators without a w.

        Args:
            latents: by their keys in a file.
            name: of the sample.
            truncation_psi: of the picture; the latents are taken as they are.
            c: class label `[1, c_dim]`, where the latents do not say it.

        Raises ResefaError where they do not fit.
        """
        raise ResefaError(f'{self.name} takes seeds, no latents of a file')

    def class_vector(self, spec: str) -> Tensor:
        """The label `[1, c_dim]` of a class that a user names, by its number. Raises ResefaError if there is none."""
        if not re.fullmatch(r'\d{1,9}', spec) or int(spec) >= self.c_dim:
            raise ResefaError(f"{spec} is not a class of {self.name}, which has 0 to {self.c_dim - 1}")
        c = torch.zeros(1, self.c_dim, device=self.device)
        c[0, int(spec)] = 1
        return c

    @abc.abstractmethod
    def space(self, name: str, layers: tuple[int, ...] | None = None) -> LatentSpace:
        """A latent space by name, acting on `layers` only; None means all. Raises ResefaError for unknown names."""

    def layer_count(self, space: str) -> int:
        """Number of layers to choose from in a space, 0 where it has none."""
        return 0

    def picture(self, sample: Sample) -> Image.Image:
        """The picture of a sample, RGB, for people to look at; transparency is shown over a checkerboard.

        Raises ResefaError for a sample of another generator, or pictures of other than 1, 3 or 4 channels.
        """
        check_type('sample', sample, Sample)
        # By its styles alone is known what StyleSpace has moved.
        space = self.space('s' if set(sample.latents) == {'s'} else self.default_space)
        with torch.no_grad():
            images = space.render(space.latent(sample), sample)
        return Image.fromarray(to_uint8(images)[0])

    def facts(self) -> dict[str, str]:
        """What it is, for people, by what is said."""
        channels, height, width = self.image_shape
        spaces = []
        for name in self.space_names:
            count = self.layer_count(name)
            spaces.append(f'{name} ({self.space(name).dim}{f", layers 0-{count - 1}" if count else ""})')
        return {'pictures': f'{height} x {width}, {channels} channels', 'spaces': ', '.join(spaces),
                'label': f'{self.c_dim} classes' if self.c_dim else 'none (unconditional)', 'on': str(self.device),
                'computed by': self.implementation, 'licence': self.licence or 'unknown'}

    def __repr__(self) -> str:
        channels, height, width = self.image_shape
        return (f'<{type(self).__name__} {self.name}: pictures {height} x {width}, {channels} channels; spaces '
                f'{", ".join(self.space_names)}; on {self.device}>')

    def _repr_html_(self) -> str:
        rows = ''.join(f'<tr><td style="text-align:left">{html.escape(name)}</td><td style="text-align:left">'
                       f'{html.escape(text)}</td></tr>' for name, text in self.facts().items())
        return f'<b>{html.escape(self.name)}</b><table>{rows}</table>'

    @property
    def default_space(self) -> str:
        """The space that is meant where none is named: `w` if there is one, else the first."""
        return 'w' if 'w' in self.space_names else self.space_names[0]

    def state_range(self, value_range: tuple[float, float]) -> None:
        """States what is black and what is white in the pictures of somebody else's function.

        Raises ResefaError where the pictures are this hook's own and are not in that range.
        """
        if tuple(value_range) != (-1, 1):
            raise ResefaError(f'{self.name} makes pictures in [-1, 1]: its range cannot be stated otherwise, only that '
                              'of a FunctionHook')
        self.value_range = value_range

    def place(self, translate: tuple[float, float], rotate: float) -> None:
        """Moves and turns all pictures from now on, in place of a placement that the network has already.

        Args:
            translate: to the right and down, in widths and heights of the picture, after it was turned.
            rotate: degrees, counterclockwise.

        Raises ResefaError where the network has no such input.
        """
        raise ResefaError(f'{self.name} cannot place its pictures: that takes a network of StyleGAN3 or StyleGAN-XL')

    @contextlib.contextmanager
    def differentiable(self) -> Iterator[None]:
        """Whatever must be in place while the picture is differentiated, restored on exit."""
        yield

    def unknown_space(self, name: object) -> ResefaError:
        """The error for a space that this generator does not have."""
        asked = str(name).lower()
        asked = _SPACES_BY_OTHER_NAMES.get(asked, asked)
        near = [space for space in self.space_names if space == asked]
        near = near or difflib.get_close_matches(asked, self.space_names, n=1)
        meant = f'; did you mean {near[0]}?' if near else ''
        return ResefaError(f"space '{name}' is not one of {', '.join(self.space_names)}, the spaces of "
                           f'{self.name}{meant}')


def seed_z(seed: int, z_dim: int, device: torch.device) -> Tensor:
    """The host's z of a seed, `[1, z_dim]` float32: `RandomState(seed).randn(1, z_dim)`.

    Raises ResefaError for a seed that numpy does not take.
    """
    check_number('seed', seed, least=0, whole=True)
    if seed > MAX_SEED:
        raise ResefaError(f'seed {seed} is out of range: numpy takes 0 to {MAX_SEED}')
    return torch.from_numpy(np.random.RandomState(seed).randn(1, z_dim)).to(device, torch.float32)


def pooling_factor(image_shape: tuple[int, int, int], resolution: int | None) -> int:
    """Side of the boxes that are averaged so that the longer side becomes `resolution`; 1 where that is None.

    Raises ResefaError unless the boxes tile the picture exactly.
    """
    _, height, width = image_shape
    longer = max(height, width)
    if resolution is None:
        return 1
    check_number('resolution', resolution, least=1, whole=True)
    factor = longer // resolution
    if factor * resolution != longer or height % factor or width % factor:
        factors = [f for f in range(1, longer + 1) if height % f == 0 and width % f == 0]
        raise ResefaError(f'resolution {resolution} does not divide the picture of {height}x{width} into equal boxes; '
                          f'possible are {", ".join(str(longer // f) for f in factors)}')
    return factor


def box_average(images: Tensor, resolution: int | None) -> Tensor:
    """Averages `[N, C, H, W]` over equal boxes so that the longer side becomes `resolution`; None changes nothing."""
    _, channels, height, width = images.shape
    factor = pooling_factor((channels, height, width), resolution)
    return images if factor == 1 else functional.avg_pool2d(images, factor)
