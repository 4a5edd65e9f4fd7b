"""Makes an atlas, sample by sample; one that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from resefa_plugin.atlas.atlas import ARRAYS_OF_TILES, Atlas, AtlasFacts, checked_tiles, tiling
from resefa_plugin.atlas.channel_choice import atlas_channels, tile_energies
from resefa_plugin.atlas.tiled_grams import TiledGrams
from resefa_plugin.errors import DamagedFileError, ResefaError, check_type
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.common_basis import PROBES, CommonBasis, grid_shape
from resefa_plugin.jacobian.probe import probe
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.machine.arrays import open_npz, reading
from resefa_plugin.machine.files import replacing
from resefa_plugin.machine.ranks import Ranks

COORDINATES = 640  # dimensions of the basis at most: with 512 channels, lipstick and gaze are not among them
PROBED = 8  # samples by which the basis is chosen, at most
SAMPLES = 'samples'  # folder of what is not pooled yet


class AtlasBuilder:
    """The samples of an atlas, and the folder that it is made in.

    Directions of an atlas hold on samples that are not in it, as a pool's do, and are made as a pool's are: of channels
    where the space has channels, else in the span of what moves the tiles, or of the whole space if that is small.

    Args:
        viewpoints: samples in one space of one generator, at one resolution.
        folder: of the atlas.
        coordinates: of the basis, at most.

    Raises ResefaError for no viewpoints, ones that differ in generator, space or resolution, and ones without a seed.
    """

    def __init__(self, viewpoints: Sequence[Viewpoint], folder: pathlib.Path, coordinates: int = COORDINATES):
        check_type('viewpoints', viewpoints, Viewpoint, is_list=True)
        kinds = {(id(v.hook), v.space.name, v.space.layers, v.resolution) for v in viewpoints}
        if len(kinds) != 1:
            raise ResefaError(f'viewpoints are of {len(kinds)} generators, spaces or resolutions, expected one')
        self.viewpoints, self.folder, self.coordinates = tuple(viewpoints), pathlib.Path(folder), coordinates
        self._seeds = tuple(v.sample.seed for v in viewpoints if v.sample.seed is not None)
        if len(self._seeds) < len(self.viewpoints):
            raise ResefaError('an atlas is of samples that seeds make, and some of the viewpoints have none')
        first = self.viewpoints[0]
        self._channels = first.space.has_channels and first.dim > coordinates
        self._whole = first.dim <= coordinates

    @property
    def products(self) -> int:
        """Passes of the network, forward and backward ones, that it takes in all."""
        dim, most = self.viewpoints[0].dim, self.coordinates if self._channels or self._whole else PROBES
        return len(self.viewpoints) * min(dim, self.coordinates, most) + (0 if self._whole else PROBES)

    def collect(self, part: tuple[int, int] = (1, 1), ranks: Ranks | None = None,
                progress: Callable[[int], None] = lambda count: None) -> NDArray[np.float64]:
        """What takes long: keeps each sample's Gram matrices in the folder.

        Several runs may collect parts of one atlas; `build` finds them there.

        Args:
            part: `(i, n)`, the i-th of n parts of the samples, from 1.
            ranks: processes that share the samples; None where this one is alone.
            progress: called with the products that were done, by this process.

        Returns: the basis `[m, d]`.

        Raises:
            ProbeError: the generator's derivatives cannot be trusted.
            ResefaError: there is no such part, or the folder cannot be written.
        """
        index, count = part
        if not 1 <= index <= count <= len(self.viewpoints):
            raise ResefaError(f'part is {part}, expected (i, n) with i from 1 to n, and no more parts than the '
                              f'{len(self.viewpoints)} samples')
        ranks = ranks or Ranks()
        vectors: NDArray[np.float64] = ranks.broadcast(self._basis(progress) if ranks.first else None)
        for viewpoint in self.viewpoints[index - 1::count][ranks.rank::ranks.size]:
            if self._load(viewpoint, vectors) is None:
                self._keep(viewpoint, vectors, progress)
            else:
                progress(len(vectors))
        ranks.gather(None)  # all are done
        return vectors

    def build(self, ranks: Ranks | None = None, progress: Callable[[int], None] = lambda count: None) -> Atlas | None:
        """Collects what is missing, pools the samples, writes the atlas, and removes what is not needed any more.

        Does nothing where the folder has this very atlas.

        Returns: the atlas, on rank 0.
        """
        ranks = ranks or Ranks()
        made = self._made() if ranks.first else None
        if ranks.broadcast(made is not None):
            progress(self.products)
            return made
        vectors = self.collect(ranks=ranks, progress=progress)
        if not ranks.first:
            return None
        atlas = self._pooled(vectors)
        atlas.save(self.folder)
        shutil.rmtree(self.folder / SAMPLES, ignore_errors=True)
        return Atlas.load(self.folder)

    def _made(self) -> Atlas | None:
        """The atlas in the folder, if it is of these samples and whole."""
        try:
            atlas = Atlas.load(self.folder)
        except DamagedFileError:
            return None
        whole = atlas.facts == self._facts() and atlas.tiles.dim <= self.coordinates
        return atlas if whole else None

    def _facts(self) -> AtlasFacts:
        first = self.viewpoints[0]
        return AtlasFacts(
            network=first.hook.name, network_sha256=first.hook.sha256,
            fingerprint='' if first.hook.sha256 else first.fingerprint(), space=first.space.name,
            layers=first.space.layers, dim=first.dim, image_shape=first.image_shape,
            seeds=self._seeds, truncation_psi=first.sample.truncation_psi,
            truncation_cutoff=first.sample.truncation_cutoff,
            c=None if first.sample.c is None else tuple(first.sample.c[0].tolist()), channels=self._channels)

    def _basis(self, progress: Callable[[int], None]) -> NDArray[np.float64]:
        """What the directions are made of: unit rows of channels, a span, or the whole space."""
        first = self.viewpoints[0]
        probe(first)
        if self._whole:
            return np.eye(first.dim)
        jacobians = [RegionJacobian(viewpoint) for viewpoint in self.viewpoints[:PROBED]]
        if not self._channels:
            return CommonBasis.shared(jacobians, progress, self.folder / SAMPLES)[:self.coordinates]
        names = ' '.join(jacobian.viewpoint.fingerprint() for jacobian in jacobians)
        file = self.folder / SAMPLES / f'channels-{_key(names, self.coordinates)}.npy'
        channels = _kept_channels(file, first.dim)
        if channels is None:
            energies = tile_energies(jacobians, progress)
            channels = atlas_channels(energies, grid_shape(first.image_shape), self.coordinates)
            with replacing(file) as part, open(part, 'wb') as opened:
                np.save(opened, channels)
        else:
            progress(PROBES)
        vectors = np.zeros((len(channels), first.dim))
        vectors[np.arange(len(channels)), channels] = 1
        return vectors

    def _file(self, viewpoint: Viewpoint, vectors: NDArray[np.float64]) -> pathlib.Path:
        key = hashlib.sha256(viewpoint.fingerprint().encode() + vectors.tobytes()).hexdigest()[:16]
        return self.folder / SAMPLES / f'{viewpoint.sample.name}-{key}.npz'

    def _keep(self, viewpoint: Viewpoint, vectors: NDArray[np.float64], progress: Callable[[int], None]) -> None:
        """Computes the pictures of the basis at a sample, and writes the Gram matrices of their tiles."""
        probe(viewpoint)
        jacobian = RegionJacobian(viewpoint, gram_room=0).within(vectors).compute(progress)
        tiles = TiledGrams.of(jacobian.matrix, viewpoint.image_shape, *tiling(self._channels, len(vectors)))
        with replacing(self._file(viewpoint, vectors)) as part, open(part, 'wb') as file:
            np.savez(file, **{name: getattr(tiles, name) for name in ARRAYS_OF_TILES})

    def _load(self, viewpoint: Viewpoint, vectors: NDArray[np.float64]) -> TiledGrams | None:
        """What is kept of a sample.

        None if there is nothing, and with a warning if it is damaged.
        """
        path = self._file(viewpoint, vectors)
        if not os.path.exists(path):
            return None
        try:
            with reading(path, DamagedFileError), open_npz(path) as file:
                return checked_tiles({name: file.read(name) for name in ARRAYS_OF_TILES}, viewpoint.image_shape,
                                     len(vectors), self._channels)
        except DamagedFileError as error:
            warnings.warn(f'{error}. Its matrices are computed anew', stacklevel=2)
            return None

    def _pooled(self, vectors: NDArray[np.float64]) -> Atlas:
        """The mean of the samples, in which none counts for more in a tile than half of them do."""
        samples = []
        for viewpoint in self.viewpoints:
            kept = self._load(viewpoint, vectors)
            if kept is None:
                raise ResefaError(f'{self._file(viewpoint, vectors)} vanished while the atlas was made: try again')
            samples.append(kept)
        traces = np.stack([sample.energies.sum(axis=1) for sample in samples])  # [n, T]
        totals = traces.sum(axis=1)
        # By the larger tiles: those of a few pixels would be weighted for what moves from one to the next.
        larger = samples[0].larger
        moved = np.stack([np.bincount(larger, each).astype(np.float64) for each in traces / totals[:, None]])
        weights = tile_weights(moved)[:, larger] / totals[:, None]
        return Atlas(self._facts(), vectors, TiledGrams.pooled(samples, weights), float(totals.mean()))


def tile_weights(traces: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much each sample counts in each tile, `[n, T]`, which sums to 1 over the samples.

    A sample with glasses moves the tiles of the eyes so much that they would be all that the mean knows there. So one
    that moves a tile more than the median sample counts for less, by as much.

    Args:
        traces: `[n, T]`, how much each tile moves at each sample.
    """
    typical = np.median(traces, axis=0)
    weights = np.minimum(1, typical / np.maximum(traces, np.finfo(float).tiny))
    weights[:, typical <= 0] = 1
    result: NDArray[np.float64] = weights / weights.sum(axis=0)
    return result


def _kept_channels(file: pathlib.Path, dim: int) -> NDArray[np.int64] | None:
    if not file.exists():
        return None
    try:
        with reading(file, DamagedFileError):
            channels = np.load(file, allow_pickle=False)
            if channels.dtype != np.int64 or channels.ndim != 1 or not len(channels) \
                    or channels.min() < 0 or channels.max() >= dim:
                raise DamagedFileError(f'it holds {channels.dtype} {list(channels.shape)}, expected channels')
            return np.asarray(channels)
    except DamagedFileError as error:
        warnings.warn(f'{error}. The channels are chosen anew', stacklevel=2)
        return None


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
