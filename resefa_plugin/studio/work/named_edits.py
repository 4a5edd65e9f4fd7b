"""Edits that an atlas has names for: their sliders are there when the page opens."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from resefa_plugin.atlas.atlas import Atlas, atlas_folder
from resefa_plugin.atlas.catalogue import spoken
from resefa_plugin.atlas.edits_folder import known_edits
from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.errors import printable
from resefa_plugin.hooks.base import GeneratorHook, Sample
from resefa_plugin.studio.work.findings import EditName, Finding, finding_of
from resefa_plugin.studio.work.parts import PARTS
from resefa_plugin.studio.work.sources import Source
from resefa_plugin.studio.work.state import State


class NamedEdits:
    """The named edits of a network, by keys that no region can have, in the order in which a page lists them.

    Args:
        findings: of one latent space.
    """

    def __init__(self, findings: Mapping[str, Finding] | None = None):
        self._findings = dict(findings or {})

    def __len__(self) -> int:
        return len(self._findings)

    def __iter__(self) -> Iterator[tuple[str, Finding]]:
        return iter(self._findings.items())

    def fit(self, state: State) -> bool:
        """Whether they are of the latent space of a state."""
        found = next(iter(self._findings.values()), None)
        return found is not None and _is_of(found.directions, state.space, state.layers)

    def of(self, state: State) -> Mapping[str, Finding]:
        """Those that can be moved in a state: all or none."""
        return self._findings if self.fit(state) else {}

    def recognised(self, state: State) -> State:
        """A state that comes from elsewhere, with our own edits in place of those that are the same."""
        findings = {}
        for key, finding in state.findings.items():
            own = self._findings.get(key)
            if own is not None and np.array_equal(own.directions.directions, finding.directions.directions) and \
                    np.array_equal(own.directions.step, finding.directions.step):
                finding = own
            findings[key] = finding
        return replace(state, findings=findings)


def load_edits(folder: pathlib.Path, atlas: Atlas, hook: GeneratorHook) -> NamedEdits:
    """The named edits in the folder of an atlas that are of its space. Raises DirectionsError for a damaged file."""
    sample, usual = atlas.samples(hook, 1)[0], folder == atlas_folder(hook)
    source = Source(atlas.facts.seeds[0], atlas.facts.truncation_psi, atlas.facts.truncation_cutoff)
    found: list[tuple[str, str, Finding]] = []  # group, key
    for known in known_edits(folder):
        directions = DirectionSet.load(known.path)
        if len(directions) == 1 and directions.check_fits(hook) and \
                _is_of(directions, atlas.facts.space, atlas.facts.layers):
            key, finding = named_finding(directions, source, sample)
            assert finding.name is not None
            found.append((finding.name.group, key, replace(finding, name=replace(finding.name, usual=usual))))
    places = {group: place for place, group in enumerate(map(str.capitalize, PARTS))}
    found.sort(key=lambda item: (places.get(item[0], len(places)), item[0]))
    return NamedEdits({key: finding for _, key, finding in found})


def named_finding(directions: DirectionSet, source: Source, sample: Sample) -> tuple[str, Finding]:
    """The key of a named edit, and the finding that it is; whatever its file says may come from anybody.

    Args:
        source, sample: where it was found, of several samples the first.
    """
    extra = directions.metadata.extra
    more, less = directions.labels[0].removesuffix(' +'), printable(str(extra.get('less', '')))
    works, faces = (value if type(value) is int else 0 for value in (extra.get('works'), extra.get('faces')))
    finding = finding_of(directions, spoken(more).replace(' ', '-'), source, sample, measured=1, labelled=1, given=True)
    group = group_of(str(extra.get('part') or directions.metadata.region))
    return f'do {spoken(more)}', replace(finding, name=EditName(more, less, group, works, faces))


def group_of(region: str) -> str:
    """What a person calls the part that a preset or a class of the parser is of: `parser_upper_lip` is of the mouth."""
    if region == 'glasses':  # the preset: a box around both eyes
        return 'Eyes'
    stem = region.removeprefix('parser_')
    part = next((part for part, classes in PARTS.items() if stem in classes), stem)
    return printable(part.removeprefix('left_').removeprefix('right_').replace('_', ' ').capitalize(), 40)


def without_unmoved(state: State) -> State:
    """A state without the named edits whose sliders are at zero."""
    findings = {key: finding for key, finding in state.findings.items()
                if finding.name is None or (key, 0) in state.strengths}
    return state if len(findings) == len(state.findings) else replace(state, findings=findings)


def _is_of(directions: DirectionSet, space: str, layers: tuple[int, ...] | None) -> bool:
    return (directions.metadata.space, directions.metadata.layers) == (space, layers)
