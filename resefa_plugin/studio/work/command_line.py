"""The edit on the screen as commands that make the same picture."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from resefa_plugin.studio.work.findings import Finding
from resefa_plugin.studio.work.session import Session
from resefa_plugin.studio.work.state import State


def finding_stem(finding: Finding) -> str:
    """Stem of the finding's files, as `resefa factorize` names them: `seed0000-mouth`."""
    return f'{finding.sample.name}-{finding.partition.name}'


def used_regions(state: State) -> list[str]:
    """The regions whose sliders are not at zero, in the order in which they are added up."""
    return list(dict.fromkeys(name for name, _ in state.strengths))


def factorize_command(finding: Finding, network_flags: Sequence[str]) -> str:
    """`resefa factorize` for one region, its mask and those of protected regions read from the saved `NAME.png`."""
    name, metadata = finding.partition.name, finding.directions.metadata
    layers = [] if metadata.layers is None else [f'--layers={",".join(map(str, metadata.layers))}']
    protect = [f'--protect={part.weight:g}*mask:{part.region.name}.png' for part in finding.protect]
    return _joined('factorize', network_flags, finding.source.flags(finding.sample), [
        f'--region={name}=mask:{name}.png', *protect, f'--space={metadata.space}', *layers,
        f'--num-directions={len(finding.directions)}', *(['--quick'] if finding.quick else []),
        f'--tau={metadata.tau!r}', f'--resolution={metadata.resolution}', '--outdir=.'])


def edit_command(state: State, network_flags: Sequence[str]) -> str:
    """`resefa edit` with every slider that is not at zero; of a bent edit, with the saved latent, moved no further."""
    if state.bend is not None:
        first = state.findings[used_regions(state)[0]]
        return _joined('edit', network_flags, [
            f'--projected-w={state.sample.name}-edited.npz', f'--directions={finding_stem(first)}.npz',
            '--strength=0,0', '--steps=1', '--outdir=edit'])
    moves = []
    for (name, index), strength in state.strengths.items():
        moves += [f'--directions={finding_stem(state.findings[name])}.npz', f'--index={index + 1}',
                  f'--strength={strength!r},{strength!r}']
    return _joined('edit', network_flags, state.source.flags(state.sample), [*moves, '--steps=1', '--outdir=edit'])


def commands(session: Session, network_flags: Sequence[str]) -> str:
    """What to type; empty for nothing. The edit reads directions files, downloaded or made by the first lines."""
    state = session.state
    names = used_regions(state) or list(state.findings)
    if not names:
        return ''
    lines = ['# In the folder of the downloaded files. The directions are there already; to find them again:']
    lines += [factorize_command(state.findings[name], network_flags) for name in names]
    if state.strengths:
        name = state.sample.name if state.bend is None else 'proj00'
        lines += [f'# The picture on the screen, as edit/{name}-00.png:', edit_command(state, network_flags)]
    return '\n'.join(lines) + '\n'


def _joined(command: str, *groups: Sequence[str]) -> str:
    return shlex.join(['resefa', command, *(flag for group in groups for flag in group)])
