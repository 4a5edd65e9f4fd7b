"""The report of a run: one portable HTML file with its pictures inside, readable offline and without scripts."""

from __future__ import annotations

import base64
import io
import math
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image

from resefa_plugin.factorizer.agreement import Agreement
from resefa_plugin.factorizer.results import BackgroundRow
from resefa_plugin.machine.files import replacing
from resefa_plugin.report.pictures import GREY_LEVELS, jpeg_bytes, significant, thumbnail
from resefa_plugin.report.style import LEGEND, STYLE


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
        strip: pictures over strengths.
        ends: the pictures at the lowest and at the highest strength, to be compared with the unedited one by holding.
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
    strip: Image.Image
    ends: tuple[Image.Image, Image.Image] | None = None
    label: str = ''


@dataclass(frozen=True)
class RegionSection:
    """One region: what it is, and what its directions do.

    Attributes:
        name: of the region.
        directions_file: name of the directions file, as the reader should type it.
        area: share of the picture that the region covers, in (0, 1).
        overlay: the region on the sample.
        heat_map: where direction 1 changes the picture.
        eigenvalue_plot: of this region.
        directions: in order.
        sheet: all directions over strengths.
        other_seeds_sheet: direction 1 on other samples.
        notes: sentences about this region, e.g. a failed convergence.
        agreement: of directions that were pooled over samples, how well they serve each one.
        background: the directions with their background kept, if that was asked for.
    """

    name: str
    directions_file: str
    area: float
    overlay: Image.Image
    heat_map: Image.Image
    eigenvalue_plot: Image.Image
    directions: Sequence[DirectionRow]
    sheet: Image.Image
    other_seeds_sheet: Image.Image | None = None
    notes: Sequence[str] = ()
    agreement: Sequence[Agreement] = ()
    background: Sequence[BackgroundRow] = ()


@dataclass(frozen=True)
class SampleSection:
    """One sample: its name, e.g. `seed0000`, its unedited picture, and its regions in order."""

    name: str
    image: Image.Image
    regions: Sequence[RegionSection]


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


def write_report(path: str | os.PathLike, report: Report) -> None:
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
    sections = [(sample, region) for sample in report.samples for region in sample.regions]
    titles = [region.name if len(report.samples) == 1 else f'{region.name} of {sample.name}' for sample, region in sections]
    links = ''.join(f'<a href="#region-{i}">{escape(title)}</a>' for i, title in enumerate(titles, 1))
    facts = {'Network': report.network, 'Licence': report.network_licence,
             'Sample': ', '.join(sample.name for sample in report.samples)}
    urls = {sample.name: _data_url(sample.image, 640) for sample in report.samples}
    held = ''.join(f'.of-{i} .hold{{background-image:url({url})}}' for i, url in enumerate(urls.values(), 1))
    classes = {name: f'of-{i}' for i, name in enumerate(urls, 1)}
    body = [
        '<header><div>', f'<p class="eyebrow">Local edit directions</p><h1>{escape(report.title)}</h1>', _facts(facts),
        f'<nav aria-label="Regions">{links}</nav></div>',
        *(f'<img class="sample" src="{url}" alt="The unedited sample {escape(name)}">' for name, url in urls.items()), '</header>',
        *(_region(i, title, classes[sample.name], region, sample.name, report.strength)
          for i, (title, (sample, region)) in enumerate(zip(titles, sections), 1)),
        LEGEND,
        f'<section><h2>How this was made</h2><pre><code>{escape(report.command)}</code></pre><div class="columns">',
        *(f'<div><h3>{title}</h3>{_facts(facts)}</div>' for title, facts in (
            ('Time', {name: _duration(seconds) for name, seconds in report.seconds.items()}),
            ('Options', report.options), ('Versions', report.versions)) if facts),
        '</div></section>']
    # Touch browsers apply :active, which shows the unedited picture, only where somebody listens for touches.
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<meta name="color-scheme" content="light dark"><title>{escape(report.title)}</title>'
            f'<style>{STYLE}{held}</style></head>\n'
            '<body ontouchstart=""><main>' + '\n'.join(body) + '</main></body></html>\n')


def _region(number: int, title: str, kind: str, region: RegionSection, sample: str, strength: float) -> str:
    name, sample = escape(region.name), escape(sample)
    use = f'resefa edit --directions={shlex.quote(region.directions_file)} --index=1 --strength=-3,3'
    plot = _image(region.eigenvalue_plot, f'Eigenvalues of {name} on a log scale', 1280, 'plot', lossless=True)
    top = [
        (region.overlay, _held(region.overlay, f'The region {name} outlined on {sample}', 640),
         f'The region, {significant(100 * region.area)} % of the picture. Hold to see the picture alone.'),
        (region.heat_map, _image(region.heat_map, f'Heat map of the change by direction 1 of {name}', 820),
         'Where direction 1 changes the picture.'),
        (region.eigenvalue_plot, plot, 'Eigenvalues. In colour: the directions below.')]
    # Growing by the aspect ratio gives the three pictures one height.
    figures = ''.join(f'<figure style="flex-grow:{image.width / image.height:.4f}">{html}'
                      f'<figcaption>{caption}</figcaption></figure>' for image, html, caption in top)
    parts = [f'<section id="region-{number}" class="{kind}" aria-labelledby="heading-{number}">'
             f'<h2 id="heading-{number}">{escape(title)}</h2>',
             *(f'<p class="note">{escape(note)}</p>' for note in region.notes), _summary(region, strength),
             f'<div class="figures">{figures}</div>', '<h3>Change inside and outside</h3>',
             f'<p class="quiet">At strength {significant(strength)}. Root mean square in grey levels of 255;'
             ' MSE on the [-1, 1] scale. Bars are measured, the line across is predicted.</p>', _table(region),
             '<h3>Directions</h3>', *(_direction(row, name, sample) for row in region.directions),
             f'<p>Use a direction: <code>{escape(use)}</code></p>']
    if region.agreement:
        parts += ['<h3>Agreement over the samples</h3>', _agreement(region.agreement)]
    if region.other_seeds_sheet:
        parts += ['<h3>Direction 1 on other seeds</h3>',
                  _wide(region.other_seeds_sheet, f'Direction 1 of {name} on other seeds, over strengths')]
    if region.background:
        parts += ['<h3>With the background kept</h3>',
                  '<p class="quiet">Root mean square in grey levels of 255: along the straight line, and with'
                  ' corrections that keep everything outside the region still.</p>',
                  _background_table(region.background),
                  *(_wide(row.sheet, f'Direction {row.index} of {name} on {sample}, straight and kept')
                    for row in region.background)]
    parts += ['<details><summary>All directions on one sheet</summary>',
              _wide(region.sheet, f'All directions of {name} on {sample}, over strengths'), '</details></section>']
    return '\n'.join(parts)


def _summary(region: RegionSection, strength: float) -> str:
    if not region.directions:
        return '<p class="lead">No direction was found.</p>'
    row = region.directions[0]
    share = share_inside(row.measured_inside, row.measured_outside, region.area)
    return (f'<p class="lead">At strength {significant(strength)}, direction {row.index} changes the region by'
            f' <strong>{_levels(row.measured_inside)}</strong> grey levels and everything else by'
            f' <strong>{_levels(row.measured_outside)}</strong>; {_percent(share)} of the change stays inside.</p>')


def _table(region: RegionSection) -> str:
    rows = region.directions
    changes = [grey_levels(x) for row in rows for x in (row.measured_inside, row.measured_outside,
                                                        row.predicted_inside, row.predicted_outside)]
    full = max((x for x in changes if math.isfinite(x)), default=0)
    heads = ('Direction', 'Inside', 'Outside', 'Share inside', 'Eigenvalue', 'Residual', 'Step')
    kinds = ('wide', 'wide', 'share', 'short', 'short', 'short')
    # Roles are explicit because narrow screens lay the rows out as blocks, which would hide the table from readers.
    lines = ['<table role="table"><thead role="rowgroup"><tr role="row">',
             *(f'<th role="columnheader" scope="col">{head}</th>' for head in heads),
             '</tr></thead><tbody role="rowgroup">']
    for row in rows:
        share = share_inside(row.measured_inside, row.measured_outside, region.area)
        cells = (_change('inside', row.measured_inside, row.predicted_inside, full),
                 _change('outside', row.measured_outside, row.predicted_outside, full),
                 f'<strong>{_percent(share)}</strong>{_bar("inside", share, None, 1)}',
                 *(escape(significant(x)) for x in (row.eigenvalue, row.residual, row.step)))
        lines.append(f'<tr role="row"><th role="rowheader" scope="row"><span class="word">Direction </span>{row.index}'
                     f'{_label(row)}</th>')
        lines += [f'<td role="cell" class="{kind}" data-head="{head}">{cell}</td>'
                  for kind, head, cell in zip(kinds, heads[1:], cells)]
        lines.append('</tr>')
    return ''.join(lines) + '</tbody></table>'


def _agreement(rows: Sequence[Agreement]) -> str:
    heads = ('Sample', 'Best quotient of its own', 'Attained by pooled direction 1', 'Share', 'Overlap of the subspaces')
    return _plain_table(heads, ((escape(row.sample), significant(row.own), significant(row.pooled), _percent(row.share),
                                 _percent(row.overlap)) for row in rows))


def _background_table(rows: Sequence[BackgroundRow]) -> str:
    heads = ('Direction', 'Strength', 'Inside, straight', 'Inside, kept', 'Outside, straight', 'Outside, kept')
    return _plain_table(heads, (
        (f'<span class="word">Direction </span>{row.index}', significant(strength), *(_levels(mse) for mse in changes))
        for row in rows for strength, *changes in zip(
            row.strengths, row.straight_inside, row.kept_inside, row.straight_outside, row.kept_outside)))


def _plain_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of HTML cells, the first of each row its head."""
    lines = ['<table role="table"><thead role="rowgroup"><tr role="row">',
             *(f'<th role="columnheader" scope="col">{head}</th>' for head in heads),
             '</tr></thead><tbody role="rowgroup">']
    for first, *cells in rows:
        lines.append(f'<tr role="row"><th role="rowheader" scope="row">{first}</th>')
        lines += [f'<td role="cell" class="short" data-head="{head}">{cell}</td>'
                  for head, cell in zip(heads[1:], cells)]
        lines.append('</tr>')
    return ''.join(lines) + '</tbody></table>'


def _change(kind: str, measured: float, predicted: float, full: float) -> str:
    return (f'<strong>{_levels(measured)}</strong> <span class="quiet">predicted {_levels(predicted)}</span>'
            f'{_bar(kind, grey_levels(measured), grey_levels(predicted), full)}'
            f'<span class="quiet">MSE {significant(measured)}, predicted {significant(predicted)}</span>')


def _bar(kind: str, value: float, mark: float | None, full: float) -> str:
    def percent(x: float) -> str:
        return f'{100 * x / full:.1f}%' if math.isfinite(x) and full > 0 else '0%'

    tick = '' if mark is None else f'<b style="left:{percent(mark)}"></b>'
    return f'<span class="bar {kind}" aria-hidden="true"><i style="width:{percent(value)}"></i>{tick}</span>'


def _direction(row: DirectionRow, region: str, sample: str) -> str:
    about = f'direction {row.index} of {region} on {sample}'
    parts = [f'<article><h4>Direction {row.index}{_label(row)}</h4>', _wide(row.strip, f'Strength strip of {about}')]
    if row.ends:
        parts.append('<details><summary>Compare in place: hold a picture to see it unedited</summary>'
                     '<div class="pair">')
        parts += [f'<figure>{_held(image, f"{end} strength of {about}", 512)}'
                  f'<figcaption>{end} strength</figcaption></figure>'
                  for image, end in zip(row.ends, ('Lowest', 'Highest'))]
        parts.append('</div></details>')
    return ''.join(parts) + '</article>'


def _label(row: DirectionRow) -> str:
    return f' <span class="label">{escape(row.label)}</span>' if row.label else ''


def _levels(mse: float) -> str:
    levels = grey_levels(mse)
    return f'{levels:.2f}' if levels >= 0.1 and math.isfinite(levels) else significant(levels, 2)


def _percent(share: float) -> str:
    return f'{100 * share:.1f} %' if math.isfinite(share) else 'undefined'


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes} min {rest} s' if seconds >= 60 else f'{significant(seconds)} s'


def _facts(facts: Mapping[str, object]) -> str:
    items = (f'<dt>{escape(str(name))}</dt><dd>{escape(str(value))}</dd>' for name, value in facts.items())
    return f'<dl>{"".join(items)}</dl>'


def _data_url(image: Image.Image, size: int, lossless: bool = False) -> str:
    if max(image.size) > size:
        image = thumbnail(image, size)
    if lossless:
        buffer = io.BytesIO()
        image.save(buffer, 'PNG', optimize=True)
        return 'data:image/png;base64,' + base64.b64encode(buffer.getvalue()).decode()
    return 'data:image/jpeg;base64,' + base64.b64encode(jpeg_bytes(image)).decode()


def _image(image: Image.Image, alt: str, size: int, kind: str = 'paper', lossless: bool = False) -> str:
    return (f'<img class="{kind}" src="{_data_url(image, size, lossless)}" alt="{alt}"'
            f' width="{image.width}" height="{image.height}">')


def _held(image: Image.Image, alt: str, size: int) -> str:
    picture = _image(image, alt, size, 'photo')
    return f'<button class="hold" type="button" title="Hold to see it unedited">{picture}</button>'


def _wide(image: Image.Image, alt: str) -> str:
    """A picture that scrolls sideways where it would become too small."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{alt}">{_image(image, alt, 1920)}</div>'
