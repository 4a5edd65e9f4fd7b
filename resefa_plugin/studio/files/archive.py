"""A session's work in one archive that the studio opens again: part of the zip of everything, and what a browser keeps.

Its files lie in the folder `work/`; `work/index.json` says how they belong together, `work/steps.json` what was done to
come to it. Whatever is read may come from anybody: names, numbers and sizes are checked before they are used.
"""

from __future__ import annotations

import hashlib
import io
import json
import pathlib
import re
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar, cast

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
from resefa_plugin.studio.work.history import History, Step
from resefa_plugin.studio.work.named_edits import named_finding
from resefa_plugin.studio.work.photographs import Placed, restored
from resefa_plugin.studio.work.sources import Source, class_label, seed_sample
from resefa_plugin.studio.work.state import Region, State

T = TypeVar('T')
FORMAT = 1
INDEX, SAMPLE, PHOTOGRAPH, STEPS = 'work/index.json', 'work/sample.npz', 'work/photograph', 'work/steps.json'
MAX_FILE, MAX_FILES = 24 << 20, 200  # bytes of one of the files, unpacked; of a photograph as it came
MOST_STEPS, MOST_OBJECTS, MOST_BYTES = 20, 60, 8 << 20  # of a history: masks and directions, before they are packed
NATIVE = 'z', 'ws', 's'  # kinds of latents that a sample may have
_SAMPLE_NAME = r'[A-Za-z0-9][A-Za-z0-9_-]{0,63}'  # as it becomes part of file names


def write_work(archive: zipfile.ZipFile, state: State, hook: GeneratorHook, folder: pathlib.Path,
               with_photograph: bool = True, history: History | None = None) -> None:
    """Adds a state to an archive.

    Args:
        folder: for a file on the way.
        with_photograph: else its file is left out, and `read_work` is to be given it.
        history: how the state came to be, of which the nearest steps are added, too; None adds none.
    """
    writer = _Writer(archive, folder)
    index = {'format': FORMAT, 'network': hook.name, 'sha256': hook.sha256, 'image_shape': list(hook.image_shape),
             **writer.index(state)}
    archive.writestr(INDEX, json.dumps(index, indent=1))
    if state.photograph is not None and with_photograph:
        archive.writestr(PHOTOGRAPH, state.photograph.content, zipfile.ZIP_STORED)
    if history is not None:
        first, last = nearest_steps(history)
        steps = [{'title': step.title, 'state': None if number == history.at else writer.index(step.state)}
                 for number, step in enumerate(history.steps[first:last], first)]
        archive.writestr(STEPS, json.dumps({'at': history.at - first, 'steps': steps}))


def nearest_steps(history: History) -> tuple[int, int]:
    """The first and past the last of the steps that are kept: none of another photograph, and not too much in all."""
    seen: set[int] = set()

    def room(number: int) -> bool:
        state = history.steps[number].state
        if state.photograph not in (None, history.now.photograph):
            return False
        for found in state.findings.values():
            seen.add(id(found.directions))
            sizes[id(found.directions)] = found.directions.directions.nbytes
        for region in state.regions.values():
            seen.add(id(region.mask))
            sizes[id(region.mask)] = region.mask.nbytes // 8
        return len(seen) <= MOST_OBJECTS and sum(sizes.values()) <= MOST_BYTES

    sizes: dict[int, int] = {}
    first, last = history.at, history.at + 1
    room(history.at)
    while first > 0 and last - first < MOST_STEPS and room(first - 1):
        first -= 1
    while last < len(history.steps) and last - first < MOST_STEPS and room(last):
        last += 1
    return first, last


class _Writer:
    """Writes what states hold, each mask, latent and directions file once."""

    def __init__(self, archive: zipfile.ZipFile, folder: pathlib.Path):
        self._archive, self._folder = archive, folder
        self._paths: dict[tuple[str, Any], str] = {}  # of what is written, by what it is

    def index(self, state: State) -> dict[str, Any]:
        """How the files of a state belong together; writes those that are not written yet."""
        placed = state.photograph
        return {
            'source': asdict(state.source), 'sample': state.sample.name,
            'sample_file': self._sample(SAMPLE, state.source, state.sample), 'space': state.space,
            'layers': None if state.layers is None else list(state.layers), 'keep': state.keep,
            'photograph': None if placed is None else {'digest': placed.digest, **asdict(placed.alignment)},
            'regions': [{'name': name, 'protect': region.protect,
                         'file': self._mask(f'work/regions/{name}.png', region.mask)}
                        for name, region in state.regions.items()],
            'findings': [self._finding(name, finding) for name, finding in state.findings.items()],
            'strengths': [[name, number, value] for (name, number), value in state.strengths.items()],
        }

    def _finding(self, name: str, finding: Finding) -> dict[str, Any]:
        def write(path: str) -> None:
            finding.directions.save(self._folder / 'found.part')
            self._archive.write(self._folder / 'found.part', path)
            (self._folder / 'found.part').unlink()

        where = f'work/found/{name}'
        return {
            'region': name, 'file': self._once('directions', id(finding.directions), f'{where}.npz', write),
            'source': asdict(finding.source), 'sample': finding.sample.name,
            'sample_file': self._sample(f'{where}-sample.npz', finding.source, finding.sample),
            'protect': [part.region.name for part in finding.protect],
            'protect_files': [self._mask(f'{where}-without-{part.region.name}.png', part.region.mask)
                              for part in finding.protect],
            'quick': finding.quick, 'measured': finding.measured, 'labelled': finding.labelled,
            'given': finding.given, 'named': finding.name is not None,
        }

    def _sample(self, path: str, source: Source, sample: Sample) -> str:
        """The latents of a sample that no seed gives."""
        def write(path: str) -> None:
            buffer = io.BytesIO()
            np.savez(buffer, **{kind: value.cpu().numpy() for kind, value in sample.latents.items()})  # type: ignore
            self._archive.writestr(path, buffer.getvalue())

        return '' if source.seed is not None else self._once('sample', id(sample), path, write)

    def _mask(self, path: str, mask: NDArray[np.bool_]) -> str:
        def write(path: str) -> None:
            buffer = io.BytesIO()
            Image.fromarray(mask).save(buffer, 'PNG')
            self._archive.writestr(path, buffer.getvalue())

        return self._once('mask', hashlib.sha256(mask.tobytes()).digest(), path, write)

    def _once(self, kind: str, what: Any, path: str, write: Callable[[str], None]) -> str:
        """The path of something that is in the archive; else it is written, under `path` if that is free."""
        if (kind, what) not in self._paths:
            taken = path in self._paths.values()
            self._paths[kind, what] = f'work/steps/{len(self._paths)}{path[-4:]}' if taken else path
            write(self._paths[kind, what])
        return self._paths[kind, what]


def holds_work(path: pathlib.Path) -> bool:
    """Whether a file is an archive with a session's work in it."""
    return holds(path, INDEX)


def holds(path: pathlib.Path, name: str) -> bool:
    """Whether a file is an archive with something of this name in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return name in archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, RuntimeError):  # the last by zipfile, of a newer kind of archive
        return False


def read_work(path: pathlib.Path, folder: pathlib.Path, hook: GeneratorHook,
              beside: pathlib.Path | None = None) -> History:
    """The state in an archive with the steps before and after it, as far as they are there.

    All is as it was but for bent edits, which are straight until they are bent anew.

    Args:
        folder: an empty one, for files while they are read.
        beside: another archive, for a photograph that the first one lacks.

    Raises ResefaError for an archive that is damaged or forged, or of another network.
    """
    with reading(path, ResefaError), zipfile.ZipFile(path) as archive, \
            zipfile.ZipFile(beside or path) as other:
        return _Reader(archive, other, folder, hook).history()


class _Reader:
    def __init__(self, archive: zipfile.ZipFile, other: zipfile.ZipFile, folder: pathlib.Path, hook: GeneratorHook):
        self._archive, self._other, self._folder, self._hook = archive, other, folder, hook
        self._size = hook.image_shape[1], hook.image_shape[2]
        self._made: dict[Any, Any] = {}  # what several steps share, by what it was made of
        if len(archive.infolist()) > MAX_FILES:
            raise ResefaError(f'it holds more than {MAX_FILES} files, which no work has')

    def history(self) -> History:
        now = self.state(self._index())
        if STEPS not in self._archive.namelist():
            return History(now, 'Work is opened')
        index, steps = Request(_object(json.loads(self._read(STEPS)), 'its list of steps')), []
        items = self._items(index, 'steps')
        if not 0 < len(items) <= MOST_STEPS:
            raise ResefaError(f'it has {len(items)} steps, expected 1 to {MOST_STEPS}')
        at = index.integer('at', 0, len(items) - 1)
        for number, item in enumerate(items):
            state = now if number == at else self.state(Request(_object(item.get('state'), 'its list of steps')))
            steps.append(Step(item.text('title'), state))
        return History.of(steps, at)

    def _once(self, key: Any, make: Callable[[], T]) -> T:
        if key not in self._made:
            self._made[key] = make()
        return cast(T, self._made[key])

    def state(self, index: Request) -> State:
        space = self._hook.space(index.text('space'), _layers(index.get('layers')))
        source, sample = self._sample(index, SAMPLE)
        space.latent(sample)
        photograph = self._photograph(index.get('photograph'), sample.name)
        regions = {}
        for item in self._items(index, 'regions'):
            name = item.text('name')
            mask = RegionPartition(self._mask(item.text('file', f'work/regions/{name}.png')), name).mask
            regions[name] = Region(mask, item.flag('protect'))
        findings = {}
        for item in self._items(index, 'findings'):
            name, named = item.text('region'), item.flag('named', False)
            finding = self._named(name, item, source, sample) if named else self._finding(name, item)
            its = finding.directions.check_fits(self._hook)
            if not (named or name in regions) or (its.name, its.layers) != (space.name, space.layers):
                raise ResefaError(f"its directions of '{name}' do not belong to it")
            findings[name] = finding
        return State(source, sample, space.name, space.layers, regions, findings,
                     _strengths(index, findings), photograph, index.flag('keep'))

    def _photograph(self, values: Any, name: str) -> Placed | None:
        if values is None:
            return None
        return self._once(('photograph', json.dumps(values)),
                          lambda: self._placed(_object(values, 'its photograph'), name))

    def _placed(self, values: dict[str, Any], name: str) -> Placed:
        archive = self._archive if PHOTOGRAPH in self._archive.namelist() else self._other
        path = self._file(PHOTOGRAPH, archive)
        placed = restored(path.read_bytes(), path, name, *(values.get(key) for key in ('corner', 'across', 'down')))
        if placed.digest != values.get('digest'):
            raise ResefaError('its photograph is another one')
        return placed

    def _index(self) -> Request:
        index = Request(_object(json.loads(self._read(INDEX)), 'its index'))
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
        return self._once(('mask', name), lambda: fit_mask(read_mask(self._file(name)), self._size))

    def _sample(self, item: Request, name: str) -> tuple[Source, Sample]:
        values = item.get('source')
        source = _source(Request(values if isinstance(values, dict) else {}), self._hook)
        if source.seed is not None:
            return source, self._once(source, lambda: seed_sample(self._hook, source))
        title, path = item.text('sample'), item.text('sample_file', '') or name
        return source, self._once((source, title, path), lambda: self._latents(source, title, path))

    def _latents(self, source: Source, title: str, path: str) -> Sample:
        """A sample that no seed gives."""
        label = class_label(self._hook, source.label)
        reference = self._hook.sample(0, c=label if label is not None or not self._hook.c_dim
                                      else self._hook.class_vector('0'))
        latents = {}
        with open_npz(self._file(path)) as file:
            for kind in [kind for kind in NATIVE if kind in file.names]:
                like = self._hook.space('s').latent(reference) if kind == 's' else reference.latents[kind]
                array = file.read(kind)
                if array.dtype != np.float32 or array.shape != tuple(like.shape):
                    raise ResefaError(f"its latent '{kind}' is {array.dtype} {list(array.shape)}, expected float32 "
                                      f'{list(like.shape)}')
                latents[kind] = torch.from_numpy(array).to(self._hook.device)
        if not latents:
            raise ResefaError('its sample has no latent')
        if not re.fullmatch(_SAMPLE_NAME, title):
            raise ResefaError('the name of its sample is not fit for a file name')
        return Sample(title, latents, label, source.truncation_psi, source.truncation_cutoff)

    def _directions(self, name: str, item: Request) -> DirectionSet:
        path = item.text('file', f'work/found/{name}.npz')
        return self._once(('directions', path), lambda: DirectionSet.load(self._file(path)))

    def _named(self, name: str, item: Request, source: Source, sample: Sample) -> Finding:
        key, finding = named_finding(self._directions(name, item), source, sample)
        if key != name:
            raise ResefaError(f"its edit '{name}' is called {key}")
        return finding

    def _finding(self, name: str, item: Request) -> Finding:
        directions = self._directions(name, item)
        source, sample = self._sample(item, f'work/found/{name}-sample.npz')
        parts = [*item.items('protect', MAX_FILES)]
        files = item.items('protect_files', MAX_FILES) if item.get('protect_files') is not None else [
            f'work/found/{name}-without-{part}.png' for part in parts]
        if not all(isinstance(part, str) for part in (*parts, *files)) or len(parts) != len(files):
            raise ResefaError(f"its protected regions of '{name}' are damaged")
        count = len(directions)
        facts = {'measured': item.integer('measured', 0, count), 'labelled': item.integer('labelled', 0, count),
                 'quick': item.flag('quick'), 'given': item.flag('given')}

        def make() -> Finding:
            protect = tuple(Protection(RegionPartition(self._mask(file), part))
                            for part, file in zip(parts, files, strict=True))
            return finding_of(directions, name, source, sample, protect, **facts)  # type: ignore[arg-type]

        return self._once((id(directions), id(sample), *parts, *files, *facts.values()), make)


def _source(values: Request, hook: GeneratorHook) -> Source:
    return Source(values.optional_integer('seed', 0, MAX_SEED), values.number('truncation_psi', -1e3, 1e3),
                  values.optional_integer('truncation_cutoff', 0, hook.num_ws or MAX_FILES), values.text('label'),
                  values.text('note'))


def _object(values: Any, what: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ResefaError(f'{what} is damaged')
    return values


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
