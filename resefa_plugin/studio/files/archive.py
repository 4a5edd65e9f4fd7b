"""A session's work in one archive that the studio opens again: part of the zip of everything, and what a browser keeps.

Its files lie in the folder `work/`; `work/index.json` says how they belong together. Whatever is read may come from
anybody: names, numbers and sizes are checked before they are used.
"""

from __future__ import annotations

import io
import json
import pathlib
import re
import zipfile
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.errors import ResefaError
from resefa_plugin.factorizer.protection import Protection
from resefa_plugin.hooks.base import MAX_SEED, GeneratorHook, Sample
from resefa_plugin.machine.arrays import open_npz, reading
from resefa_plugin.regions.files import fit_mask, read_mask
from resefa_plugin.regions.partition import RegionPartition
from resefa_plugin.studio.request import Request
from resefa_plugin.studio.work.findings import Finding, finding_of
from resefa_plugin.studio.work.photographs import Placed, restored
from resefa_plugin.studio.work.sources import Source, class_label, seed_sample
from resefa_plugin.studio.work.state import Region, State

FORMAT = 1
INDEX, SAMPLE, PHOTOGRAPH = 'work/index.json', 'work/sample.npz', 'work/photograph'
MAX_FILE, MAX_FILES = 24 << 20, 200  # bytes of one of the files, unpacked; of a photograph as it came
NATIVE = 'z', 'ws', 's'  # kinds of latents that a sample may have
_SAMPLE_NAME = r'[A-Za-z0-9][A-Za-z0-9_-]{0,63}'  # as it becomes part of file names


def write_work(archive: zipfile.ZipFile, state: State, hook: GeneratorHook, folder: pathlib.Path,
               with_photograph: bool = True) -> None:
    """Adds a state to an archive.

    Args:
        folder: for a file on the way.
        with_photograph: else its file is left out, and `read_work` is to be given it.
    """
    placed = state.photograph
    index = {
        'format': FORMAT, 'network': hook.name, 'sha256': hook.sha256, 'image_shape': list(hook.image_shape),
        'source': asdict(state.source), 'sample': state.sample.name, 'space': state.space,
        'layers': None if state.layers is None else list(state.layers), 'keep': state.keep,
        'photograph': None if placed is None else {'digest': placed.digest, **asdict(placed.alignment)},
        'regions': [{'name': name, 'protect': region.protect} for name, region in state.regions.items()],
        'findings': [{'region': name, 'source': asdict(finding.source), 'sample': finding.sample.name,
                      'protect': [part.region.name for part in finding.protect], 'quick': finding.quick,
                      'measured': finding.measured, 'labelled': finding.labelled, 'given': finding.given}
                     for name, finding in state.findings.items()],
        'strengths': [[name, number, value] for (name, number), value in state.strengths.items()],
    }
    archive.writestr(INDEX, json.dumps(index, indent=1))
    if placed is not None and with_photograph:
        archive.writestr(PHOTOGRAPH, placed.content, zipfile.ZIP_STORED)
    _write_sample(archive, SAMPLE, state.source, state.sample)
    for name, region in state.regions.items():
        archive.writestr(f'work/regions/{name}.png', _png(region.mask))
    for name, finding in state.findings.items():
        finding.directions.save(folder / 'found.part')
        archive.write(folder / 'found.part', f'work/found/{name}.npz')
        (folder / 'found.part').unlink()
        _write_sample(archive, f'work/found/{name}-sample.npz', finding.source, finding.sample)
        for part in finding.protect:
            archive.writestr(f'work/found/{name}-without-{part.region.name}.png', _png(part.region.mask))


def _write_sample(archive: zipfile.ZipFile, path: str, source: Source, sample: Sample) -> None:
    """The latents of a sample that no seed gives."""
    if source.seed is None:
        buffer = io.BytesIO()
        np.savez(buffer, **{kind: value.cpu().numpy() for kind, value in sample.latents.items()})  # type: ignore
        archive.writestr(path, buffer.getvalue())


def _png(mask: NDArray[np.bool_]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, 'PNG')
    return buffer.getvalue()


def holds_work(path: pathlib.Path) -> bool:
    """Whether a file is an archive with a session's work in it."""
    return holds(path, INDEX)


def holds(path: pathlib.Path, name: str) -> bool:
    """Whether a file is an archive with something of this name in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return name in archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):  # the last of a newer kind of archive
        return False


def read_work(path: pathlib.Path, folder: pathlib.Path, hook: GeneratorHook,
              beside: pathlib.Path | None = None) -> State:
    """The state in an archive, as it was but for a bent edit, which is straight until it is bent anew.

    Args:
        folder: an empty one, for files while they are read.
        beside: another archive, for a photograph that the first one lacks.

    Raises ResefaError for an archive that is damaged or forged, or of another network.
    """
    with reading(path, ResefaError), zipfile.ZipFile(path) as archive, \
            zipfile.ZipFile(beside or path) as other:
        return _Reader(archive, other, folder, hook).state()


class _Reader:
    def __init__(self, archive: zipfile.ZipFile, other: zipfile.ZipFile, folder: pathlib.Path, hook: GeneratorHook):
        self._archive, self._other, self._folder, self._hook = archive, other, folder, hook
        self._size = hook.image_shape[1], hook.image_shape[2]
        if len(archive.infolist()) > MAX_FILES:
            raise ResefaError(f'it holds more than {MAX_FILES} files, which no work has')

    def state(self) -> State:
        index = self._index()
        space = self._hook.space(index.text('space'), _layers(index.get('layers')))
        source, sample = self._sample(index, SAMPLE)
        space.latent(sample)
        photograph = self._photograph(index.get('photograph'), sample.name)
        regions = {}
        for item in self._items(index, 'regions'):
            name = item.text('name')
            mask = RegionPartition(self._mask(f'work/regions/{name}.png'), name).mask
            regions[name] = Region(mask, item.flag('protect'))
        findings = {}
        for item in self._items(index, 'findings'):
            name = item.text('region')
            finding = self._finding(name, item)
            its = finding.directions.check_fits(self._hook)
            if name not in regions or (its.name, its.layers) != (space.name, space.layers):
                raise ResefaError(f"its directions of '{name}' do not belong to it")
            findings[name] = finding
        return State(source, sample, space.name, space.layers, regions, findings,
                     _strengths(index, findings), photograph, index.flag('keep'))

    def _photograph(self, values: Any, name: str) -> Placed | None:
        if values is None:
            return None
        if not isinstance(values, dict):
            raise ResefaError('its photograph is damaged')
        archive = self._archive if PHOTOGRAPH in self._archive.namelist() else self._other
        path = self._file(PHOTOGRAPH, archive)
        placed = restored(path.read_bytes(), path, name, *(values.get(key) for key in ('corner', 'across', 'down')))
        if placed.digest != values.get('digest'):
            raise ResefaError('its photograph is another one')
        return placed

    def _index(self) -> Request:
        values = json.loads(self._read(INDEX))
        if not isinstance(values, dict):
            raise ResefaError('its index is no list of names')
        index = Request(values)
        if index.get('format') != FORMAT:
            raise ResefaError('it was saved by a newer version of the studio: update this one')
        hook = self._hook
        if index.get('image_shape') != list(hook.image_shape) or index.get('sha256') != hook.sha256:
            raise ResefaError(f'it was made with the network {index.text("network")}, and this studio is open with '
                              f'{hook.name}: open the studio with that one')
        return index

    def _items(self, index: Request, key: str) -> list[Request]:
        items = index.items(key, MAX_FILES)
        if not all(isinstance(item, dict) for item in items):
            raise ResefaError(f"its '{key}' are damaged")
        return [Request(item) for item in items]

    def _read(self, name: str, archive: zipfile.ZipFile | None = None) -> bytes:
        """A file of the archive, never more of it than MAX_FILE."""
        archive = archive or self._archive
        with archive.open(archive.getinfo(name)) as file:
            content = file.read(MAX_FILE + 1)
        if len(content) > MAX_FILE:
            raise ResefaError(f"its file '{name}' is larger than {MAX_FILE >> 20} MB")
        return content

    def _file(self, name: str, archive: zipfile.ZipFile | None = None) -> pathlib.Path:
        path = self._folder / 'part'
        path.write_bytes(self._read(name, archive))
        return path

    def _mask(self, name: str) -> NDArray[np.bool_]:
        return fit_mask(read_mask(self._file(name)), self._size)

    def _sample(self, item: Request, name: str) -> tuple[Source, Sample]:
        values = item.get('source')
        source = _source(Request(values if isinstance(values, dict) else {}), self._hook)
        if source.seed is not None:
            return source, seed_sample(self._hook, source)
        label = class_label(self._hook, source.label)
        reference = self._hook.sample(0, c=label if label is not None or not self._hook.c_dim
                                      else self._hook.class_vector('0'))
        latents = {}
        with open_npz(self._file(name)) as file:
            for kind in [kind for kind in NATIVE if kind in file.names]:
                like = self._hook.space('s').latent(reference) if kind == 's' else reference.latents[kind]
                array = file.read(kind)
                if array.dtype != np.float32 or array.shape != tuple(like.shape):
                    raise ResefaError(f"its latent '{kind}' is {array.dtype} {list(array.shape)}, expected float32 "
                                      f'{list(like.shape)}')
                latents[kind] = torch.from_numpy(array).to(self._hook.device)
        if not latents:
            raise ResefaError('its sample has no latent')
        title = item.text('sample')
        if not re.fullmatch(_SAMPLE_NAME, title):
            raise ResefaError('the name of its sample is not fit for a file name')
        return source, Sample(title, latents, label, source.truncation_psi, source.truncation_cutoff)

    def _finding(self, name: str, item: Request) -> Finding:
        directions = DirectionSet.load(self._file(f'work/found/{name}.npz'))
        source, sample = self._sample(item, f'work/found/{name}-sample.npz')
        protect = []
        for part in item.items('protect', MAX_FILES):
            if not isinstance(part, str):
                raise ResefaError(f"its protected regions of '{name}' are damaged")
            protect.append(Protection(RegionPartition(self._mask(f'work/found/{name}-without-{part}.png'), part)))
        count = len(directions)
        return finding_of(directions, name, source, sample, tuple(protect), measured=item.integer('measured', 0, count),
                          labelled=item.integer('labelled', 0, count), quick=item.flag('quick'),
                          given=item.flag('given'))


def _source(values: Request, hook: GeneratorHook) -> Source:
    return Source(values.optional_integer('seed', 0, MAX_SEED), values.number('truncation_psi', -1e3, 1e3),
                  values.optional_integer('truncation_cutoff', 0, hook.num_ws or MAX_FILES), values.text('label'),
                  values.text('note'))


def _layers(values: Any) -> tuple[int, ...] | None:
    if values is None:
        return None
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise ResefaError('its layers are damaged')
    return tuple(values)


def _strengths(index: Request, findings: dict[str, Finding]) -> dict[tuple[str, int], float]:
    strengths = {}
    for item in index.items('strengths', MAX_FILES):
        if not isinstance(item, list) or len(item) != 3:
            raise ResefaError('its strengths are damaged')
        move = Request(dict(zip(('region', 'index', 'strength'), item, strict=True)))
        name = move.text('region')
        if name not in findings:
            raise ResefaError(f"it moves directions of '{name}', of which it has none")
        number = move.integer('index', 0, len(findings[name].directions) - 1)
        strengths[name, number] = move.number('strength', -1e3, 1e3)
    return strengths
