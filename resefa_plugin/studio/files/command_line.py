"""The edit on the screen as commands that make the same picture."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from resefa_plugin.errors import RegionError
from resefa_plugin.regions.partition import RegionPartition
from resefa_plugin.regions.presets import PRESETS
from resefa_plugin.studio.work.findings import Finding
from resefa_plugin.studio.work.session import Session
from resefa_plugin.studio.work.sources import Source
from resefa_plugin.studio.work.state import State

OUTDIR = 'resefa-out'  # of what a copied line finds


class Line(NamedTuple):
    """A line for a shell, and what it reads: regions whose masks, and findings whose directions it takes from files.

    Attributes:
        text: empty where nothing is moved.
        masks: regions in files beside it.
        found: names of findings whose directions are, too.
        original, edited: whether it reads the sample, or the edited one, from a latent file.
    """

    text: str
    masks: tuple[RegionPartition, ...] = ()
    found: tuple[str, ...] = ()
    original: bool = False
    edited: bool = False


def finding_stem(finding: Finding) -> str:
    """Stem of the finding's files, as `resefa factorize` or `atlas` names them: `seed0000-mouth`, `mouth-opens`."""
    return finding.partition.name if finding.name else f'{finding.sample.name}-{finding.partition.name}'


def used_regions(state: State) -> list[str]:
    """The regions whose sliders are not at zero, in the order in which they are added up."""
    return list(dict.fromkeys(name for name, _ in state.strengths))


def used_titles(state: State) -> list[str]:
    """What a person calls what is moved: regions, and edits that have names."""
    return [its.more if (its := state.findings[name].name) else name for name in used_regions(state)]


def region_spec(region: RegionPartition) -> str:
    """A region as the command line takes it: the name of a preset, a box, or the mask in `NAME.png`."""
    for preset in (region.name, *PRESETS):
        if preset in PRESETS and _is_preset(preset, region):
            return preset
    rows, columns = np.nonzero(region.mask)
    box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    if region.mask[box].all():
        return f'{columns.min()},{rows.min()},{np.ptp(columns) + 1},{np.ptp(rows) + 1}'
    return f'mask:{region.name}.png'


def _is_preset(name: str, region: RegionPartition) -> bool:
    try:
        return np.array_equal(RegionPartition.from_preset(name, region.image_size).mask, region.mask)
    except RegionError:  # smaller than a pixel
        return False


def factorize_command(finding: Finding, network_flags: Sequence[str], outdir: str = '.') -> str:
    """`resefa factorize` for one region; masks that are neither presets nor boxes are read from `NAME.png`."""
    name, metadata = finding.partition.name, finding.directions.metadata
    spec = region_spec(finding.partition)
    layers = [] if metadata.layers is None else [f'--layers={",".join(map(str, metadata.layers))}']
    protect = [f'--protect={part.weight:g}*{region_spec(part.region)}' for part in finding.protect]
    return _joined('factorize', network_flags, finding.source.flags(finding.sample), [
        f'--region={spec}' if spec == name else f'--region={name}={spec}', *protect, f'--space={metadata.space}',
        *layers, f'--num-directions={len(finding.directions)}', *(['--quick'] if finding.quick else []),
        f'--tau={metadata.tau!r}', f'--resolution={metadata.resolution}', f'--outdir={outdir}'])


def edit_command(state: State, network_flags: Sequence[str], found: str = '', outdir: str = 'edit',
                 by_name: bool = False) -> str:
    """`resefa edit` with every slider that is not at zero; of a bent edit, with the saved latent, moved no further.

    Args:
        found: the folder of directions that a command before has found; others are beside the line.
        by_name: whether edits that the network's atlas has names for are called by them.
    """
    def path(name: str) -> str:
        finding = state.findings[name]
        return f'{found}/{finding_stem(finding)}.npz' if found and not finding.given else f'{finding_stem(finding)}.npz'

    if state.bend is not None:
        return _joined('edit', network_flags, [
            f'--projected-w={state.sample.name}-edited.npz',
            f'--directions={finding_stem(state.findings[used_regions(state)[0]])}.npz', '--strength=0,0', '--steps=1',
            f'--outdir={outdir}'])
    moves = []
    for (name, index), strength in state.strengths.items():
        its = state.findings[name].name
        if by_name and its is not None and its.usual:
            moves += [f'--do={its.more}', f'--amount={strength!r}']
            continue
        moves += [f'--directions={path(name)}', f'--index={index + 1}', f'--strength={strength!r},{strength!r}']
    # The command bends edits of other samples than the directions' own, unless it is told not to.
    used = [state.findings[name] for name in used_regions(state)]
    foreign = any(finding.name or finding.sample.name != state.sample.name for finding in used)
    return _joined('edit', network_flags, state.source.flags(state.sample),
                   [*moves, *(['--straight'] if foreign else []), '--steps=1', f'--outdir={outdir}'])


def commands(session: Session, network_flags: Sequence[str]) -> str:
    """What to type in the folder of everything that was saved; empty for nothing."""
    state = session.state
    names = used_regions(state) or list(state.findings)
    if not names:
        return ''
    lines = ['# In the folder of the downloaded files. The directions are there already; to find them again:']
    lines += [factorize_command(finding, network_flags) for finding in map(state.findings.__getitem__, names)
              if not finding.given]
    if state.strengths:
        name = state.sample.name if state.bend is None else 'proj00'
        lines += [f'# The picture on the screen, as edit/{name}-00.png:', edit_command(state, network_flags)]
    return '\n'.join(lines) + '\n'


def line(state: State, network_flags: Sequence[str]) -> Line:
    """One line that finds the directions and makes the picture, where it can without a file."""
    names = used_regions(state)
    if not names:
        return Line('')
    if state.bend is not None:
        text = edit_command(state, network_flags, outdir=OUTDIR)
        return Line(text, found=(names[0],), edited=True)
    findings = [state.findings[name] for name in names]
    found = [finding for finding in findings if not finding.given]
    read = tuple(name for name, finding in zip(names, findings, strict=True)
                 if finding.given and not (finding.name and finding.name.usual))
    masks = {part.name: part for finding in found
             for part in (finding.partition, *(protection.region for protection in finding.protect))
             if region_spec(part).startswith('mask:')}
    text = ' && '.join([*(factorize_command(finding, network_flags, OUTDIR) for finding in found),
                        edit_command(state, network_flags, OUTDIR, OUTDIR, by_name=True)])
    original = any(source.seed is None for source in (state.source, *(finding.source for finding in found)))
    return Line(text, tuple(masks.values()), read, original)


def edits_command(network_flags: Sequence[str], source: Source) -> str:
    """`resefa atlas` for the edits by name of samples like that of a source."""
    label = [f'--class={source.label}'] if source.label else []
    return _joined('atlas', network_flags, [f'--trunc={source.truncation_psi:g}', *label, '--edits'])


def _joined(command: str, *groups: Sequence[str]) -> str:
    return shlex.join(['resefa', command, *(flag for group in groups for flag in group)])
