"""What one person does in the studio, without any web code: a sample, regions, directions, strengths, undo."""

from __future__ import annotations

import math
import pathlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from resefa_plugin.atlas.atlas import Atlas
from resefa_plugin.errors import RegionError, ResefaError
from resefa_plugin.factorizer.constraints import Constraints
from resefa_plugin.factorizer.protection import Protection
from resefa_plugin.hooks.base import GeneratorHook, LatentSpace, Sample
from resefa_plugin.hooks.viewpoint import Viewpoint, default_resolution
from resefa_plugin.jacobian.region_jacobian import RegionJacobian
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.rayleigh.problem import TAU
from resefa_plugin.rayleigh.solvers import NUM_DIRECTIONS, QUICK_NUM_DIRECTIONS, Auto
from resefa_plugin.regions.partition import RegionPartition
from resefa_plugin.report.kept_background import shortfalls
from resefa_plugin.studio.work import findings
from resefa_plugin.studio.work.cache import JacobianCache, jacobian_bytes, jacobian_key
from resefa_plugin.studio.work.derivative import Prober, background_keeper, of_channels
from resefa_plugin.studio.work.findings import Finding
from resefa_plugin.studio.work.history import History
from resefa_plugin.studio.work.named_edits import NamedEdits, without_unmoved
from resefa_plugin.studio.work.parts import SeenParts, seen_parts
from resefa_plugin.studio.work.photographs import Placed
from resefa_plugin.studio.work.rendering import Renderer, change
from resefa_plugin.studio.work.sources import Source, file_sample, seed_sample
from resefa_plugin.studio.work.state import (
    MAX_REGIONS,
    MAX_STRENGTH,
    Region,
    State,
    edit_offset,
    moved_region,
    moved_title,
)

QUICK_PRODUCTS = 80  # about so many with the Jacobian that a search takes
FIRST_SAMPLE = Source(seed=0)


class Session:
    """One person's work. Methods may be called from several threads; each sees a consistent state.

    Args:
        hook: the generator, shared with other sessions.
        cache: the Jacobians, shared with other sessions.
        resolution: longer side of the picture that is differentiated; None for min(256, picture).
        num_directions: directions per region.
        tau: ridge of Eq. 11.
        jacobian_dir: a folder to keep Jacobians in and to find them again; None keeps none.
        source: the sample to begin with.
        networks: with `parsing`, by which directions are named; None names none.
        atlas: of the generator, which knows directions at once; sessions begin in its space. May be None.
        named: the edits that the atlas has names for; None for none.

    Raises ResefaError if the generator has no such sample or resolution.
    """

    def __init__(self, hook: GeneratorHook, cache: JacobianCache, *, resolution: int | None = None,
                 num_directions: int = NUM_DIRECTIONS, tau: float = TAU, jacobian_dir: str | pathlib.Path | None = None,
                 source: Source = FIRST_SAMPLE, networks: Networks | None = None, atlas: Atlas | None = None,
                 named: NamedEdits | None = None):
        self.networks, self.atlas, self.named = networks, atlas, named or NamedEdits()
        self.hook, self.cache, self.tau, self.jacobian_dir = hook, cache, tau, jacobian_dir
        self.num_directions = num_directions
        self.preview_resolution = default_resolution(hook.image_shape)
        self._lock = threading.RLock()
        self.check, self._renderer = Prober(), Renderer()
        self._parts: tuple[Sample | None, SeenParts | None] = None, None  # of the last sample that was looked at
        self.version = 0  # grows with every change of the state
        self.edition = 0  # grows with those of a person, after which the picture or the regions may be others
        space, layers = (hook.default_space, None) if atlas is None else (atlas.facts.space, atlas.facts.layers)
        self.history = History(State(source, seed_sample(hook, source), space, layers), source.title)
        self.resolution = Viewpoint(hook, hook.default_space, self.state.sample, resolution).resolution

    @property
    def state(self) -> State:
        """What is on the screen."""
        return self.history.now

    @property
    def space(self) -> LatentSpace:
        """The latent space that is factorized and edited."""
        return self.hook.space(self.state.space, self.state.layers)

    def viewpoint(self, state: State | None = None) -> Viewpoint:
        """Where the picture of a state, None for that on the screen, is differentiated."""
        state = state or self.state
        return Viewpoint(self.hook, self.hook.space(state.space, state.layers), state.sample, self.resolution)

    def _change(self, title: str, *, remember: bool = True, by_person: bool = True, **changes: Any) -> None:
        """A step of the history by its title; none if it is not to be remembered, as the slider is still dragged."""
        with self._lock:
            if changes.keys() & {'strengths', 'sample', 'space', 'keep'}:
                changes |= {'bend': None, 'shortfalls': ()}
            state = replace(self.state, **changes)
            if remember:
                self.history.add(title, without_unmoved(state))
            else:
                self.history.drag(state)
            self._changed(by_person)

    def _changed(self, by_person: bool = True) -> None:
        self.version += 1
        self.edition += by_person

    # The sample

    def load_seed(self, source: Source) -> None:
        """Shows the sample of a seed. Directions that were found stay, and can be tried on it. Raises ResefaError."""
        self._change(source.title, source=source, sample=seed_sample(self.hook, source), photograph=None)

    def load_file(self, path: pathlib.Path, source: Source, number: int = 0) -> None:
        """Shows a latent of a file, by its number from 0. Raises ResefaError, see `file_sample`."""
        sample, note = file_sample(self.hook, path, source, number)
        if self.state.space == 'z' and 'z' not in sample.latents:
            raise ResefaError("the file holds w, which cannot be edited in space 'z': choose another space first")
        # Sliders of another sample would show a picture that nobody has given.
        self._change('Your latent', source=replace(source, note=note), sample=sample, strengths={}, photograph=None)

    def load_photograph(self, placed: Placed, sample: Sample, note: str) -> None:
        """Shows a photograph, by the sample that looks like it."""
        self._change('Your photograph', source=Source(note=note), sample=sample, strengths={}, photograph=placed)

    def adopt(self, title: str, state: State) -> None:
        """Shows a state that comes from elsewhere, such as a file."""
        with self._lock:
            self.history.add(title, state)
            self._changed()

    def restore(self, history: History) -> None:
        """Shows what a session has left, and its steps, in place of its own."""
        with self._lock:
            self.history = history
            self._changed()

    def set_space(self, name: str, layers: tuple[int, ...] | None = None) -> None:
        """Chooses the latent space; directions of another are dropped. Raises ResefaError for an unknown one."""
        space = self.hook.space(name, layers)
        space.latent(self.state.sample)
        if (space.name, space.layers) != (self.state.space, self.state.layers):
            self._change(f'Space {name}', space=name, layers=space.layers, findings={}, strengths={})

    # Regions

    def set_region(self, name: str, mask: np.ndarray, protect: bool = False) -> None:
        """Draws a region, bool `[H, W]`, or draws it anew, which drops its directions. Raises RegionError."""
        partition = RegionPartition(mask, name)
        if partition.mask.shape != tuple(self.hook.image_shape[1:]):
            raise RegionError(f"region '{name}' is {list(partition.mask.shape)}, the pictures are "
                              f'{list(self.hook.image_shape[1:])}')
        with self._lock:
            old = self.state.regions.get(name)
            if old is None and len(self.state.regions) >= MAX_REGIONS:
                raise RegionError(f'there are {MAX_REGIONS} regions already: remove one first')
            if old is None or old.protect != protect or not np.array_equal(old.mask, partition.mask):
                regions = {**self.state.regions, name: Region(partition.mask, protect)}
                self._change(f'{name} is drawn', regions=regions, **self._without(name))

    def remove_region(self, name: str) -> None:
        """Removes a region and its directions. Does nothing if there is none of that name."""
        with self._lock:
            regions = {key: region for key, region in self.state.regions.items() if key != name}
            if len(regions) < len(self.state.regions):
                self._change(f'{name} is removed', regions=regions, **self._without(name))

    def _without(self, name: str) -> dict[str, Any]:
        return {'findings': {key: finding for key, finding in self.state.findings.items() if key != name},
                'strengths': {key: value for key, value in self.state.strengths.items() if key[0] != name}}

    def partition(self, name: str) -> RegionPartition:
        """What is changed for a region: its pixels but the protected ones. Raises RegionError."""
        region = self.state.regions.get(name)
        if region is None or region.protect:
            raise RegionError(f"there is no region '{name}' to change: draw it first")
        return Constraints(self.protected()).unprotected(RegionPartition(region.mask, name))

    def protected(self) -> tuple[Protection, ...]:
        """The regions that are to be kept."""
        return tuple(Protection(RegionPartition(region.mask, name))
                     for name, region in self.state.regions.items() if region.protect)

    def parts(self, networks: Networks) -> SeenParts:
        """The parts of the face in the unedited picture; Raises RegionError where there is none."""
        sample, parts = self._parts
        if sample is not self.state.sample or parts is None:
            sample, parts = self.state.sample, seen_parts(self.render(scale=0.0), networks)
            self._parts = sample, parts
        return parts

    # Directions

    def jacobian(self) -> RegionJacobian | None:
        """The Jacobian of the sample on the screen, if it is there."""
        return self.cache.get(self.jacobian_key())

    def jacobian_key(self) -> str:
        """What the cache knows the sample's Jacobian by."""
        return jacobian_key(self.viewpoint())

    @property
    def direct(self) -> bool:
        """Whether neither a Jacobian nor a basis of the space has room, so that each region is searched without."""
        return jacobian_bytes(self.cache.open(self.viewpoint())) > self.cache.limit

    @property
    def known(self) -> Atlas | None:
        """The atlas, if it is of the space on the screen: directions then need no Jacobian."""
        return self.atlas if self.atlas and self.atlas.is_of(self.state.space, self.state.layers) else None

    def factorize(self, name: str, quick: bool = False,
                  report: Callable[[int, int], None] = lambda done, total: None) -> Finding:
        """Finds the directions of a region on the kept Jacobian, with their figures as predicted; see `measure`.

        Args:
            quick: do without the Jacobian: by the atlas, at once, or by a search of fewer directions, to a residual of
                1e-2, for seconds in place of minutes.
            report: of a quick search, called with the products so far and how many it may take; may raise to end it.

        Raises:
            RegionError: no such region, or none of it is left at the Jacobian's resolution.
            ResefaError: the Jacobian is not there yet, and `quick` is false.
            SolverError: the quotient has no answer.
        """
        state, partition, jacobian = self.state, self.partition(name), self.jacobian()
        constraints = Constraints(self.protected())
        if jacobian is None and not quick:
            raise ResefaError('the derivative of this sample is not computed yet: wait for it')
        if jacobian is None and (known := self.known):
            finding = findings.look_up(known, self.viewpoint(state), partition, Auto(self.num_directions, self.tau),
                                       constraints, state.source)
        else:
            if jacobian is None:
                self.check(self.viewpoint(state))
                jacobian = RegionJacobian(self.viewpoint(state))
            elif known := self.known:
                jacobian = of_channels(jacobian, known, partition)
            count = min(QUICK_NUM_DIRECTIONS, self.num_directions) if quick else self.num_directions
            # The end of a search is not known: as a rule it takes QUICK_PRODUCTS.
            finding = findings.solve(jacobian, partition, Auto(count, self.tau, quick), constraints, state.source,
                                     lambda products, residual: report(products, max(products, QUICK_PRODUCTS)))
        with self._lock:
            now = self.state
            # What was redrawn, removed or left for another space meanwhile has no use for the answer.
            if now.regions.get(name) is state.regions[name] and (now.space, now.layers) == (state.space, state.layers):
                strengths = {key: value for key, value in now.strengths.items() if key[0] != name}
                self._change(f'Directions of {name}', by_person=strengths != now.strengths,
                             findings={**now.findings, name: finding}, strengths=strengths)
        return finding

    def picture_ends(self, name: str, breathe: Callable[[], None] = lambda: None) -> None:
        """Renders both ends of each slider of a region at the sample on the screen: the right one is found by looking.

        Args:
            breathe: called before each picture; an exception that it raises ends this, and what was rendered stays.

        Raises ResefaError if the region was not factorized.
        """
        while not (finding := self.finding(name)).is_pictured(sample := self.state.sample):
            viewpoint = Viewpoint(self.hook, self.space, sample, self.preview_resolution)
            self._renew(name, finding, findings.with_ends(finding, viewpoint, breathe))

    def measure(self, name: str, breathe: Callable[[], None] = lambda: None) -> None:
        """Measures what was predicted: how long a step strength 1 is, and what it changes inside and outside.

        A strength that is set keeps its picture: its number is adapted to the measured step.

        Args:
            breathe: as in `picture_ends`.
        """
        while (finding := self.finding(name)).measured < len(finding.directions):
            viewpoint = Viewpoint(self.hook, self.space, finding.sample, self.resolution)
            self._renew(name, finding, findings.with_measured(finding, viewpoint, breathe))

    def label(self, name: str, breathe: Callable[[], None] = lambda: None) -> None:
        """Names what each direction does to a face, if there are networks for it; `breathe` as in `picture_ends`."""
        while self.networks and (finding := self.finding(name)).labelled < len(finding.directions):
            viewpoint = Viewpoint(self.hook, self.space, finding.sample)
            self._renew(name, finding, findings.with_label(finding, viewpoint, self.networks, breathe))

    def _renew(self, name: str, old: Finding, new: Finding) -> None:
        """Puts a finding in place of what it was made from, also in the history, unless that was replaced."""
        def renewed(state: State) -> State:
            if state.findings.get(name) is not old:
                return state
            ratio = old.directions.step / new.directions.step
            strengths = {key: value * float(ratio[key[1]]) if key[0] == name else value
                         for key, value in state.strengths.items()}
            return replace(state, findings={**state.findings, name: new}, strengths=strengths)

        with self._lock:
            self.history.renew(renewed)
            self._changed(by_person=False)

    def finding(self, name: str) -> Finding:
        """The directions of a region. Raises ResefaError if there are none."""
        finding = self.state.findings.get(name)
        if finding is None:
            raise ResefaError(f"region '{name}' has no directions yet: factorize it first")
        return finding

    # The edit

    def set_strengths(self, strengths: Mapping[tuple[str, int], float], remember: bool = True) -> None:
        """Sets all sliders: strengths by (region, index from 0); those that are left out are zero.

        Args:
            remember: whether undo knows of it; false while a slider is dragged.

        Raises ResefaError for a direction that is not there, or a strength out of range.
        """
        known = {**self.named.of(self.state), **self.state.findings}
        for (name, index), value in strengths.items():
            (known.get(name) or self.finding(name)).directions.check_index(index + 1)
            if not (math.isfinite(value) and abs(value) <= MAX_STRENGTH):
                raise ResefaError(f'strength {value} is out of range: expected -{MAX_STRENGTH:g} to {MAX_STRENGTH:g}')
        strengths = {key: float(value) for key, value in strengths.items() if value}
        with self._lock:
            before = self.history.before if remember else self.state
            if strengths != before.strengths:
                findings = {**{name: known[name] for name, _ in strengths}, **before.findings}
                self._change(moved_title(before.strengths, strengths, findings), remember=remember,
                             strengths=strengths, findings=findings)
            elif self.state is not before:  # dragged back to where it was
                self.history.drag(before)
                self._changed()

    def set_keep(self, keep: bool) -> None:
        """Whether edits are bent so that their background stays; see `keep_background`."""
        if keep != self.state.keep:
            self._change('The background is kept' if keep else 'The background is let go', keep=keep)

    def keep_background(self, breathe: Callable[[], None] = lambda: None) -> None:
        """Bends the edit so that what is outside the edited regions stays put, if that is wanted; see BackgroundKeeper.

        Args:
            breathe: called before each picture; an exception that it raises leaves the edit straight.

        Raises ResefaError if the sample's Jacobian is not there.
        """
        state, jacobian = self.state, self.jacobian()
        if not state.keep or not state.strengths or state.bend is not None:
            return
        if jacobian is None:
            raise ResefaError('the background is kept once the sample is prepared: until then, edits are straight')
        straight = edit_offset(state, jacobian.viewpoint.dim)
        keeper = background_keeper(self.cache, jacobian, moved_region(state))
        path = keeper.keep(straight[None], breathe=breathe)
        bend = (path.offsets[0] - straight).numpy()
        with self._lock:
            now = self.state
            if now.strengths == state.strengths and now.sample is state.sample and now.keep:
                bent = replace(now, bend=bend, shortfalls=tuple(shortfalls(path)))
                self.history.renew(lambda state: bent if state is now else state)
                self._changed(by_person=False)

    def offset(self, scale: float = 1.0) -> Tensor:
        """The edit as an offset `[d]` float32: the sum over all sliders, times `scale`."""
        return edit_offset(self.state, self.space.dim, scale)

    def render(self, resolution: int | None = None, scale: float = 1.0) -> Image.Image:
        """The picture at `scale` times the strengths, 0 is the unedited one; `resolution` None for the full one.

        Of a photograph, the part that the generator shows.
        """
        state = self.state
        viewpoint = self.viewpoint(state)
        viewpoint = viewpoint.full() if resolution is None else viewpoint.at(resolution)
        return self._renderer.picture(state, viewpoint, scale)

    def render_whole(self) -> Image.Image:
        """The picture at its full size: all of the photograph, if there is one."""
        state = self.state
        return self._renderer.whole(state, self.viewpoint(state))

    def change(self) -> tuple[Image.Image, float, float, float]:
        """Where and how much the generator's picture changes, see `rendering.change`."""
        state = self.state
        return change(state, self.viewpoint(state))

    def go(self, steps: int) -> bool:
        """Goes so many steps of the history forth, or back if it is below 0. False if there are not so many."""
        with self._lock:
            gone = self.history.go(self.history.at + steps)
            if gone:
                self._changed()
            return gone
