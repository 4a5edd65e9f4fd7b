"""What the page is told about a session: plain values and data URLs."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image

from resefa_plugin.errors import RegionError
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.regions.partition import RegionPartition
from resefa_plugin.regions.presets import BIGGAN_PRESETS, FACE_PRESETS
from resefa_plugin.report import pictures
from resefa_plugin.studio.desk import Desk
from resefa_plugin.studio.limits import page_limits
from resefa_plugin.studio.work.findings import Finding
from resefa_plugin.studio.work.named_edits import NamedEdits
from resefa_plugin.studio.work.session import Session
from resefa_plugin.studio.work.state import State


def jpeg_url(image: Image.Image | bytes) -> str:
    """A picture as a data URL; JPEG, which is five times faster than PNG."""
    data = image if isinstance(image, bytes) else pictures.jpeg_bytes(image)
    return 'data:image/jpeg;base64,' + base64.b64encode(data).decode()


def mask_url(mask: np.ndarray[Any, Any]) -> str:
    """A mask as the data URL of a one-bit PNG."""
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, 'PNG')
    return 'data:image/png;base64,' + base64.b64encode(buffer.getvalue()).decode()


def labels_url(labels: np.ndarray[Any, Any]) -> str:
    """A map of small numbers as the data URL of a grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, 'PNG')
    return 'data:image/png;base64,' + base64.b64encode(buffer.getvalue()).decode()


def network_view(hook: GeneratorHook, named: NamedEdits, edits_command: str, own_parts: bool) -> dict[str, Any]:
    """What does not change: the network, its spaces, the preset regions as boxes in pixels, and the limits.

    Args:
        named: its edits that have names.
        edits_command: what finds them.
        own_parts: whether the parts are known that the network has itself.
    """
    _, height, width = hook.image_shape
    return {
        'edits': [_edit_view(key, finding) for key, finding in named], 'edits_command': edits_command,
        'edits_space': next((finding.directions.metadata.space for _, finding in named), ''), 'own_parts': own_parts,
        'id': f'{hook.name} {hook.sha256}', 'name': hook.name, 'licence': hook.licence, 'width': width,
        'height': height, 'classes': hook.c_dim, 'spaces': list(hook.space_names), 'limits': page_limits(),
        'presets': {title: _boxes(presets, (height, width)) for title, presets in
                    (('Aligned faces', FACE_PRESETS), ('Any picture', BIGGAN_PRESETS))},
    }


def _edit_view(key: str, finding: Finding) -> dict[str, Any]:
    """An edit by name: `levels` as of `_directions_view`."""
    name = finding.name
    assert name is not None
    return {'key': key, 'more': name.more, 'less': name.less, 'group': name.group, 'works': name.works,
            'faces': name.faces, 'levels': _levels(finding)[0]}


def _levels(finding: Finding) -> list[list[float]]:
    """Root mean square changes inside and outside of each direction, in grey levels."""
    directions = finding.directions
    return [[pictures.GREY_LEVELS * float(value) ** 0.5 for value in pair]
            for pair in zip(directions.measured_inside, directions.measured_outside, strict=True)]


def _boxes(presets: Iterable[str], image_size: tuple[int, int]) -> dict[str, list[int]]:
    """`[x, y, width, height]` by name; those that are smaller than a pixel are left out."""
    boxes = {}
    for name in presets:
        try:
            rows, columns = np.nonzero(RegionPartition.from_preset(name, image_size).mask)
        except RegionError:
            continue
        boxes[name] = [int(columns[0]), int(rows[0]), int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1]
    return boxes


def status_view(desk: Desk) -> dict[str, Any]:
    """What is under way: cheap, asked for several times a second."""
    session = desk.session
    messages = []
    with contextlib.suppress(IndexError):  # another answer took them at the same moment
        while desk.messages:
            messages.append(desk.messages.popleft())
    return {
        'version': session.version, 'ready': session.jacobian_key() in session.cache, 'direct': session.direct,
        'waiting': desk.waiting, 'messages': messages,
        'jobs': [{'number': job.number, 'kind': job.kind, 'title': job.title, 'state': job.state,
                  'ahead': desk.queue.ahead(job), 'done': job.done, 'total': job.total, 'remaining': job.remaining()}
                 for job in desk.jobs()],
    }


def state_view(session: Session, masks: bool = False) -> dict[str, Any]:
    """What the page shows; `masks` adds the drawings, which the page mostly knows better.

    `edits` are those by name that are moved; `edits_fit` says whether those of the network are of this space.
    """
    state = session.state
    regions = [{'name': name, 'protect': region.protect, 'area': float(region.mask.mean()),
                **({'mask': mask_url(region.mask)} if masks else {})} for name, region in state.regions.items()]
    return {
        'version': session.version, 'edition': session.edition, 'keep': state.keep, 'space': state.space,
        'steps': [step.title for step in session.history.steps], 'step': session.history.at,
        'layers': None if state.layers is None else list(state.layers),
        'sample': {'name': state.sample.name, 'seed': state.source.seed, 'trunc': state.source.truncation_psi,
                   'cutoff': state.source.truncation_cutoff, 'label': state.source.label, 'note': state.source.note},
        'regions': regions,
        'photograph': None if state.photograph is None else state.photograph.digest,
        'directions': {name: _directions_view(finding, state) for name, finding in state.findings.items()
                       if finding.name is None},
        'edits': [_edit_view(key, finding) for key, finding in state.findings.items() if finding.name is not None],
        'edits_fit': session.named.fit(state),
        'strengths': [[name, index, strength] for (name, index), strength in state.strengths.items()],
    }


def _directions_view(finding: Finding, state: State) -> dict[str, Any]:
    """Directions of a region, with `levels` as of `_levels`.

    `elsewhere` names the sample that they were found on, if it is another; `stale` says that other pixels are protected
    now than were then.
    """
    now = {name: region.mask for name, region in state.regions.items() if region.protect}
    then = {protection.region.name: protection.region.mask for protection in finding.protect}
    stale = then.keys() != now.keys() or any((then[name] != now[name]).any() for name in then)
    return {'elsewhere': finding.sample.name if finding.sample.name != state.sample.name else '', 'stale': stale,
            'measured': finding.measured, 'quick': finding.quick, 'levels': _levels(finding),
            'labels': list(finding.directions.labels),
            'ends': [[jpeg_url(low), jpeg_url(high)] for low, high in finding.ends]}
