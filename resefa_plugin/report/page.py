"""The report of a run: one portable HTML file with its pictures inside, readable offline.

What it says is here, how it is laid out in `templates/`, how it looks in `style.css`. `viewer.js` flips through the
pictures of a direction; the page runs no other script, fetches nothing, and shows all without one.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from PIL import Image

from resefa_plugin.factorizer.agreement import Agreement
from resefa_plugin.factorizer.results import BackgroundRow
from resefa_plugin.machine.files import replacing
from resefa_plugin.report.pictures import GREY_LEVELS, jpeg_bytes, significant, thumbnail

if TYPE_CHECKING:
    from jinja2 import Environment

# A picture of one transparent pixel, where the script puts another.
_EMPTY = 'data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7'


@dataclass(frozen=True)
class DirectionRow:
    """One direction. Changes are MSE on the [-1, 1] scale, means over pixels and channels, at the report's strength.

    Attributes:
        index: 1 for the first.
        eigenvalue: of the Rayleigh quotient.
        residual: relative residual of the eigenproblem.
        step: length in the latent space of strength 1.
        predicted_inside, predicted_outside: by the Jacobian (Eq. 5, Eq. 3).
        measured_inside, measured_outside: on the edited picture.
        near: the part of the picture around the region, one for each of the section's strengths.
        far: the same of the whole picture; empty where `near` shows all of it.
        label: what it does, in a person's words; may be empty.
    """

    index: int
    eigenvalue: float
    residual: float
    step: float
    predicted_inside: float
    predicted_outside: float
    measured_inside: float
    measured_outside: float
    near: Sequence[Image.Image]
    far: Sequence[Image.Image] = ()
    label: str = ''


@dataclass(frozen=True)
class RegionSection:
    """One region: what it is, and what its directions do.

    Attributes:
        name: of the region.
        edit_command: that moves samples along the first direction, as it can be typed.
        strengths: captions of the pictures of its directions; the one captioned `0` is unedited.
        area: share of the picture that the region covers, in (0, 1).
        overlay: the region on the sample.
        heat_map: where direction 1 changes the picture.
        eigenvalue_plot: of this region.
        directions: in order.
        other_seeds_sheet: direction 1 on other samples.
        notes: sentences about this region, e.g. a failed convergence.
        agreement: of directions that were pooled over samples, how well they serve each one.
        transfer: of a pool, how far the directions of fewer samples carry.
        background: the directions with their background kept, if that was asked for.
    """

    name: str
    edit_command: str
    strengths: Sequence[str]
    area: float
    overlay: Image.Image
    heat_map: Image.Image
    eigenvalue_plot: Image.Image
    directions: Sequence[DirectionRow]
    other_seeds_sheet: Image.Image | None = None
    notes: Sequence[str] = ()
    agreement: Sequence[Agreement] = ()
    transfer: Image.Image | None = None
    background: Sequence[BackgroundRow] = ()


@dataclass(frozen=True)
class SampleSection:
    """One sample: its name, e.g. `seed0000`, its unedited picture, and its regions in order."""

    name: str
    image: Image.Image
    regions: list[RegionSection]


@dataclass(frozen=True)
class Report:
    """A run of `resefa factorize`.

    Attributes:
        title: of the page.
        network: as the user named it.
        network_licence: one line.
        samples: in order.
        options: of the command, by name.
        versions: of packages, by name.
        seconds: of each stage, by name.
        command: that repeats the run.
        strength: at which changes are predicted and measured.
    """

    title: str
    network: str
    network_licence: str
    samples: Sequence[SampleSection]
    options: Mapping[str, object]
    versions: Mapping[str, str]
    seconds: Mapping[str, float]
    command: str
    strength: float = 1.0


def write_report(path: str | os.PathLike[str], report: Report) -> None:
    """Writes the report as one HTML file; the file is complete or not there."""
    with replacing(path) as part:
        part.write_text(_page(report), encoding='utf-8', errors='replace')


def grey_levels(mse: float) -> float:
    """Root-mean-square change in grey levels of 255, from the MSE on the [-1, 1] scale: 127.5 sqrt(MSE)."""
    return GREY_LEVELS * math.sqrt(mse) if mse >= 0 else math.nan


def share_inside(inside: float, outside: float, area: float) -> float:
    """Part of the summed squared change that falls inside a region of this area; NaN if there is no change."""
    total = area * inside + (1 - area) * outside
    return area * inside / total if total > 0 else math.nan


def _page(report: Report) -> str:
    sections: list[tuple[int, str, str, RegionSection]] = []
    for sample in report.samples:
        for region in sample.regions:
            title = region.name if len(report.samples) == 1 else f'{region.name} of {sample.name}'
            sections.append((len(sections) + 1, title, sample.name, region))
    given = {name: _option(value) for name, value in report.options.items()}
    columns = [('Time', {name: _duration(seconds) for name, seconds in report.seconds.items()}),
               ('Options', {name: text for name, text in given.items() if text}), ('Versions', report.versions)]
    samples = [(sample.name, _data_url(sample.image, 640)) for sample in report.samples]
    script = _file('viewer.js')
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return templates().get_template('page.html.j2').render(
        report=report, samples=samples, sections=sections, columns=columns, style=style(), script=script,
        digest=digest)


def style() -> str:
    """The look of our pages, to be copied into one."""
    return _file('style.css')


def _file(name: str) -> str:
    return resources.files('resefa_plugin.report').joinpath(name).read_text(encoding='utf-8')


def _option(value: object) -> str:
    """The value of an option for a reader; empty for one that was not given."""
    if value is None or value is False or isinstance(value, (list, tuple)) and not value:
        return ''
    if value is True:
        return 'yes'
    return ', '.join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


@functools.cache
def templates() -> Environment:
    """The templates of our pages, with what they share."""
    # Here and not above, so that `resefa --help` and commands without a report do not wait for it.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader('resefa_plugin.report'), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters.update(grey_levels=grey_levels, levels=_levels, parted=str.partition, percent=_percent,
                               significant=significant)
    environment.globals.update(data_url=_data_url, empty=_EMPTY, largest_change=_largest_change,
                               share_inside=share_inside, width=_width)
    return environment


def _largest_change(rows: Sequence[DirectionRow]) -> float:
    """In grey levels: the full length of the bars. 0 if there is none."""
    changes = [grey_levels(mse) for row in rows for mse in (row.measured_inside, row.measured_outside,
                                                            row.predicted_inside, row.predicted_outside)]
    return max((x for x in changes if math.isfinite(x)), default=0.0)


def _width(value: float, full: float) -> str:
    """The length of a bar in CSS; 0 % for what is no number."""
    return f'{100 * value / full:.1f}%' if math.isfinite(value) and full > 0 else '0%'


def _levels(mse: float) -> str:
    levels = grey_levels(mse)
    return f'{levels:.2f}' if levels >= 0.1 and math.isfinite(levels) else significant(levels, 2)


def _percent(share: float) -> str:
    return f'{100 * share:.1f} %' if math.isfinite(share) else 'undefined'


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes} min {rest} s' if seconds >= 60 else f'{significant(seconds)} s'


def _data_url(image: Image.Image, size: int, lossless: bool = False) -> str:
    """The picture, its longer side reduced to `size` pixels, as a PNG if `lossless`, else as a JPEG."""
    if max(image.size) > size:
        image = thumbnail(image, size)
    if lossless:
        buffer = io.BytesIO()
        image.save(buffer, 'PNG', optimize=True)
        return 'data:image/png;base64,' + base64.b64encode(buffer.getvalue()).decode()
    return 'data:image/jpeg;base64,' + base64.b64encode(jpeg_bytes(image)).decode()
