"""An atlas: what is known of a network beforehand, by which any region of any sample has its directions at once."""

from __future__ import annotations

import hashlib
import json
import pathlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resefa_plugin.atlas.channel_choice import ranked
from resefa_plugin.atlas.own_regions import likeness, own_regions
from resefa_plugin.atlas.tiled_grams import MEMBERS, STORED, TiledGrams, triangle_size
from resefa_plugin.errors import DamagedFileError, ResefaError, check_type, printable
from resefa_plugin.factorizer.constraints import Constraints
from resefa_plugin.factorizer.steps import RegionSolution, Slopes, solve_in_basis
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.common_basis import TILES, grid_shape
from resefa_plugin.machine.arrays import open_npz, read_header, reading
from resefa_plugin.machine.files import cache_dir, replacing
from resefa_plugin.rayleigh.operators import DenseGrams
from resefa_plugin.rayleigh.solvers import Auto, Solver
from resefa_plugin.regions.partition import RegionPartition

VERSION = 2
# Along the longer side of the picture, and members of each. Where directions are made of a few channels they leak so
# little that larger tiles would tell; elsewhere those of `common_basis` lose nothing. See benchmarks/README.md.
FINE, MEMBERS_OF_FINE = 32, 256
# Channels that the directions of a region are made of: of more they are fitted to the samples of the atlas and leak
# more on others. Those of one sample alone, whose derivative is known, do not. See benchmarks/README.md.
CHANNELS, OWN_CHANNELS = 60, 160
ARRAYS_OF_TILES = 'members', 'values', 'scales', 'energies'
FACTS, ARRAYS, GRAMS = 'atlas.json', 'arrays.npz', 'grams.npy'
EDITS, PAGE = 'edits', 'edits.html'  # of `edits_folder`, which are those of this atlas
_KIND = 'resefa-atlas'
_BLOCK = 1 << 24
_MOST_FACTS = 1 << 20  # bytes


@dataclass(frozen=True)
class AtlasFacts:
    """What an atlas is of.

    Attributes:
        network, network_sha256: the generator's name, and the hash of its file; empty where it has none.
        fingerprint: of the first sample where there is no such hash, else empty.
        space, layers: the latent space, as of `GeneratorHook.space`.
        dim: its dimensions.
        image_shape: `(C, h, w)` of the pictures that were differentiated.
        seeds: of the pooled samples.
        truncation_psi, truncation_cutoff: of them.
        c: the class that they are of, one weight for each class; None for an unconditional network.
        channels: whether directions are made of a few channels; else of all coordinates of the basis.
    """

    network: str
    network_sha256: str
    fingerprint: str
    space: str
    layers: tuple[int, ...] | None
    dim: int
    image_shape: tuple[int, int, int]
    seeds: tuple[int, ...]
    truncation_psi: float
    truncation_cutoff: int | None
    c: tuple[float, ...] | None
    channels: bool


class Atlas:
    """Pooled Gram matrices of the tiles of a network's pictures, in a basis common to all samples.

    Args:
        facts: what it is of.
        vectors: `[m, d]` float64, the basis, orthonormal rows; single channels where directions are made of channels.
        tiles: its Gram matrices, a mean over samples, each over its tr(J^T J).
        scale: mean of tr(J^T J) over samples, by which slopes are known.
    """

    def __init__(self, facts: AtlasFacts, vectors: NDArray[np.float64], tiles: TiledGrams, scale: float):
        self.facts, self.vectors, self.tiles, self.scale = facts, vectors, tiles, scale

    def check_fits(self, hook: GeneratorHook) -> None:
        """Raises ResefaError if the atlas is of another generator."""
        facts = self.facts
        if hook.sha256 != facts.network_sha256 or not hook.sha256 and (
                hook.name != facts.network or self._fingerprint(hook) != facts.fingerprint):
            raise ResefaError(f'the atlas is of {self.facts.network} (SHA-256 '
                              f"{self.facts.network_sha256[:12] or 'unknown'}), not of {hook.name} (SHA-256 "
                              f"{hook.sha256[:12] or 'unknown'}): make one with `resefa atlas`")

    def is_of(self, space: str, layers: tuple[int, ...] | None) -> bool:
        """Whether its directions are of a space with these layers."""
        return (space, layers) == (self.facts.space, self.facts.layers)

    def _fingerprint(self, hook: GeneratorHook) -> str:
        """Of the first sample, if the generator has it; empty else."""
        try:
            return self.viewpoint(hook, self.samples(hook, 1)[0]).fingerprint()
        except ResefaError:
            return ''

    def viewpoint(self, hook: GeneratorHook, sample: Sample) -> Viewpoint:
        """A sample as the atlas takes it: in its space, at its resolution."""
        return Viewpoint(hook, hook.space(self.facts.space, self.facts.layers), sample,
                         max(self.facts.image_shape[1:]))

    def samples(self, hook: GeneratorHook, count: int) -> list[Sample]:
        """The first of the samples that were pooled."""
        c = None if self.facts.c is None else torch.tensor([self.facts.c], device=hook.device)
        return [hook.sample(seed, self.facts.truncation_psi, self.facts.truncation_cutoff, c)
                for seed in self.facts.seeds[:count]]

    def own_regions(self, count: int, image_size: tuple[int, int]) -> list[RegionPartition]:
        """So many regions that the network has itself, see `own_regions.own_regions`."""
        return own_regions(likeness(self.tiles), grid_shape(self.facts.image_shape), count, image_size)

    def grams(self, region: RegionPartition, constraints: Constraints,
              channels: int = CHANNELS) -> tuple[DenseGrams, NDArray[np.int64]]:
        """A and B of a region, and which rows of the basis they are of.

        Pixels count by tiles: one of which the region has a share c counts c in A and (1 - c)^2 in B, less than the
        rest of it: what moves there is mostly the region.

        Raises RegionError if the region vanishes at the resolution of the pictures.
        """
        shape, rows = self.facts.image_shape[1:], self.rows(region, channels)
        inside = self._cover(region)
        outside = self.tiles.cover(constraints.background_weights(region, *shape)) * (1 - inside)
        grams = self.tiles.grams(inside, outside, rows)
        background = float((self.tiles.energies[:, rows].sum(axis=1) * (1 - inside)).sum())
        return DenseGrams(grams.A, grams.B, background), rows

    def _cover(self, region: RegionPartition) -> NDArray[np.float64]:
        """Which share of each tile a region has, `[T]`."""
        return self.tiles.cover(region.at(*self.facts.image_shape[1:]).astype(np.float64))

    def rows(self, region: RegionPartition, count: int = CHANNELS) -> NDArray[np.int64]:
        """Which rows of the basis the directions of a region are made of, in ascending order.

        Args:
            region: at the size of the generator's pictures.
            count: of channels, where the basis is of channels.

        Raises RegionError as `grams` does.
        """
        if not self.facts.channels:
            return np.arange(self.tiles.dim)
        inside = self._cover(region)
        return np.sort(ranked(inside @ self.tiles.energies, (1 - inside) @ self.tiles.energies, 1.0)[:count])

    def solve(self, viewpoint: Viewpoint, region: RegionPartition, solver: Solver | None = None,
              constraints: Constraints | None = None, channels: int = CHANNELS) -> RegionSolution:
        """The directions of a region, as a pool's own search would find them, without a pass of the network.

        Args:
            viewpoint: of the atlas, see `viewpoint`.
            region: at the size of the generator's pictures.
            solver: of which tau and the number of directions count; None for `Auto()`.
            constraints: that samples can share.
            channels: of which they are made, where the basis is of channels.

        Returns: the solution, whose slopes are those of the mean sample.

        Raises RegionError as `grams` does, ResefaError for constraints of one sample, SolverError.
        """
        check_type('region', region, RegionPartition)
        solver, constraints, start = solver or Auto(), constraints or Constraints(), time.perf_counter()
        constraints.check_poolable()
        region = constraints.unprotected(region)
        grams, rows = self.grams(region, constraints, channels)
        vectors = self.vectors[rows]
        solution = solve_in_basis(grams, vectors, solver, constraints.coordinates(viewpoint), True)
        count = solver.count(viewpoint.dim)
        plain = self.grams(region, Constraints(), channels)[0] if constraints.protect else grams
        slopes = self.slopes(region, plain, solution.directions[:count] @ vectors.T)
        return RegionSolution(region, grams, solution, slopes, {'solve': time.perf_counter() - start}, basis=vectors)

    def slopes(self, region: RegionPartition, grams: DenseGrams, coordinates: NDArray[np.float64]) -> Slopes:
        """Mean squared changes of the mean sample in and out of a region, for steps of length 1.

        Args:
            grams: of the region, nothing protected.
            coordinates: of directions `[k, r]`, unit rows.
        """
        inside, outside = grams.quadratics(coordinates)
        channels, height, width = self.facts.image_shape
        pixels = int(region.at(height, width).sum())
        return (self.scale * inside / (channels * pixels),
                self.scale * outside / (channels * (height * width - pixels)))

    def basis(self, regions: Sequence[RegionPartition]) -> tuple[NDArray[np.float64], dict[str, NDArray[np.int64]]]:
        """What the directions of regions are made of: rows of the basis `[m, d]`, and by region which of these rows.

        At a sample of its own, one product J v for each row gives the directions of all of them exactly, which is a
        fraction of what a search takes for one.

        Args:
            regions: at the size of the generator's pictures, of different names.

        Raises RegionError as `grams` does.
        """
        chosen = {region.name: self.rows(region) for region in regions}
        union = np.unique(np.concatenate(list(chosen.values())))
        return self.vectors[union], {name: np.searchsorted(union, rows) for name, rows in chosen.items()}

    def save(self, folder: pathlib.Path) -> None:
        """Writes the files of the atlas; the facts come last, so that a folder with facts is complete.

        Named edits in the folder are of the atlas that was there before: they are removed.

        Raises ResefaError if they cannot be written.
        """
        for name in (FACTS, PAGE):
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / EDITS, ignore_errors=True)
        with replacing(folder / GRAMS) as part, open(part, 'wb') as file:
            np.save(file, np.asarray(self.tiles.values))
        with replacing(folder / ARRAYS) as part, open(part, 'wb') as file:
            np.savez(file, vectors=self._rows(), scale=np.float64(self.scale),
                     **{name: getattr(self.tiles, name) for name in ARRAYS_OF_TILES if name != 'values'})
        record = {'kind': _KIND, 'version': VERSION, **asdict(self.facts),
                  'sha256': {name: _digest(folder / name) for name in (GRAMS, ARRAYS)}}
        with replacing(folder / FACTS) as part:
            part.write_text(json.dumps(record, indent=1) + '\n', encoding='utf-8')

    def _rows(self) -> NDArray[Any]:
        """The basis as it is stored: the numbers of channels, or rows."""
        return self.vectors.argmax(axis=1) if self.facts.channels else self.vectors

    @classmethod
    def load(cls, folder: pathlib.Path) -> Atlas:
        """Opens an atlas; its Gram matrices are mapped. Raises DamagedFileError if it is not one, or not whole."""
        folder = pathlib.Path(folder)
        with reading(folder / FACTS, DamagedFileError):
            record = json.loads(_text(folder / FACTS))
            facts, hashes = _facts(record), record['sha256']
        for name in (GRAMS, ARRAYS):
            with reading(folder / name, DamagedFileError):
                if _digest(folder / name) != hashes[name]:
                    raise DamagedFileError(f'it is not the one that {FACTS} beside it was written with')
        with reading(folder / ARRAYS, DamagedFileError), open_npz(folder / ARRAYS) as file:
            vectors, scale = _basis(file.read('vectors'), facts), file.read('scale')
            if scale.shape or not 0 < float(scale) < np.inf:
                raise DamagedFileError('its scale is no number above 0')
            arrays = {name: file.read(name) for name in ARRAYS_OF_TILES if name != 'values'}
        with reading(folder / GRAMS, DamagedFileError):
            arrays['values'] = _mapped(folder / GRAMS)
        with reading(folder / ARRAYS, DamagedFileError):
            tiles = checked_tiles(arrays, facts.image_shape, len(vectors), facts.channels)
        return cls(facts, vectors, tiles, float(scale))


def tiling(channels: bool, dim: int) -> tuple[int, int]:
    """Tiles along the longer side of a picture, and coordinates that are members of each.

    Args:
        channels: whether directions are made of a few channels.
        dim: coordinates of the basis.
    """
    return (FINE, min(dim, MEMBERS_OF_FINE)) if channels else (TILES, dim)


def checked_tiles(arrays: dict[str, NDArray[Any]], image_shape: tuple[int, int, int], dim: int,
                  channels: bool) -> TiledGrams:
    """Arrays of a file as what they are meant to be. Raises DamagedFileError for others."""
    along, kept = tiling(channels, dim)
    count = int(np.prod(grid_shape(image_shape, along)))
    expected = {'members': ((count, kept), MEMBERS), 'values': ((count, triangle_size(kept)), STORED),
                'scales': ((count,), np.float64), 'energies': ((count, dim), np.float64)}
    for name, (shape, dtype) in expected.items():
        if arrays[name].shape != shape or arrays[name].dtype != dtype:
            raise DamagedFileError(f"its array '{name}' is {arrays[name].dtype} {list(arrays[name].shape)}, expected "
                                   f'{np.dtype(dtype)} {list(shape)}')
    members = arrays['members']
    if members.min() < 0 or members.max() >= dim or not (np.diff(members, axis=1) > 0).all():
        raise DamagedFileError(f"its array 'members' is not of ascending numbers from 0 to {dim - 1}")
    for name in ('values', 'scales', 'energies'):
        if not np.isfinite(arrays[name]).all() or name != 'values' and arrays[name].min() < 0:
            raise DamagedFileError(f"its array '{name}' has numbers that are not finite, or below 0")
    return TiledGrams(**arrays, image_shape=image_shape, along=along)


def atlas_folder(hook: GeneratorHook) -> pathlib.Path:
    """Where the atlas of a generator is made, and looked for, unless another folder is named."""
    return cache_dir() / 'atlas' / f'{hook.name}-{hook.sha256[:12] or "unknown"}'


def _text(path: pathlib.Path) -> str:
    if path.stat().st_size > _MOST_FACTS:
        raise DamagedFileError(f'it has {path.stat().st_size} bytes: not the facts of an atlas')
    return path.read_text(encoding='utf-8')


def _facts(record: Any) -> AtlasFacts:
    if not isinstance(record, dict) or record.get('kind') != _KIND:
        raise DamagedFileError('it is not an atlas; `resefa atlas` writes one')
    if record.get('version') != VERSION:
        raise DamagedFileError(f"it has version {printable(str(record.get('version')), 20)}, and this program reads "
                               f'{VERSION}: make it anew with `resefa atlas`')
    values = {field.name: record[field.name] for field in fields(AtlasFacts)}
    for name in ('layers', 'image_shape', 'seeds', 'c'):
        values[name] = None if values[name] is None else tuple(values[name])
    return AtlasFacts(**values)


def _basis(stored: NDArray[Any], facts: AtlasFacts) -> NDArray[np.float64]:
    if facts.channels:
        if stored.dtype != np.int64 or stored.ndim != 1 or not len(stored) or stored.min() < 0 \
                or stored.max() >= facts.dim or len(np.unique(stored)) < len(stored):
            raise DamagedFileError(f'its channels are no numbers from 0 to {facts.dim - 1}, each once')
        vectors = np.zeros((len(stored), facts.dim))
        vectors[np.arange(len(stored)), stored] = 1
        return vectors
    if stored.dtype != np.float64 or stored.ndim != 2 or stored.shape[1] != facts.dim or not len(stored) \
            or not np.abs(stored @ stored.T - np.eye(len(stored))).max() < 1e-6:
        raise DamagedFileError(f'its basis is {stored.dtype} {list(stored.shape)}, expected orthonormal float64 '
                               f'[m, {facts.dim}]')
    return np.asarray(stored)


def _mapped(path: pathlib.Path) -> NDArray[Any]:
    with open(path, 'rb') as opened:
        shape, order, dtype = read_header(opened)
        start = opened.tell()
    if dtype != STORED or order or len(shape) != 2:
        raise DamagedFileError(f'it holds {dtype} {list(shape)}, expected float16 [tiles, elements]')
    return np.memmap(path, STORED, 'r', start, shape)


def _digest(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
