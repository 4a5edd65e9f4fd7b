"""The report: well-formed, self-contained, complete, and safe against hostile names."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import math
import re
from html.parser import HTMLParser

import jinja2
import numpy as np
import pytest
from PIL import Image

from resefa_plugin.report.page import (
    BackgroundRow,
    DirectionRow,
    RegionSection,
    Report,
    SampleSection,
    grey_levels,
    share_inside,
    templates,
    write_report,
)

VOID = {'meta', 'img', 'br', 'hr', 'link', 'input'}
STRENGTHS = ['-3', '0', '+3']
HOSTILE = '"><script>alert(1)</script><img src=//evil.example/x onerror=\'alert(1)\'>&amp;'


def picture(seed=0, size=(24, 16)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def row(index, **changes):
    figures = dict(eigenvalue=8.7 / index, residual=1.25e-12 * index, step=0.21 * index,
                   predicted_inside=0.0101 / index, predicted_outside=1.5e-4 * index,
                   measured_inside=0.0123 / index, measured_outside=1.7e-4 * index)
    return DirectionRow(index, near=[picture(10 * index + i) for i in range(3)], **{**figures, **changes})


def region(name='mouth', **changes):
    fields = dict(edit_command='resefa edit --directions=out/seed0000_mouth.npz --index=1 --outdir=out/edits',
                  strengths=STRENGTHS, area=0.03, overlay=picture(1), heat_map=picture(2), eigenvalue_plot=picture(3),
                  directions=[row(i) for i in (1, 2, 3)])
    return RegionSection(name, **{**fields, **changes})


def sample(regions, name='seed0000', image=None):
    return SampleSection(name, image or picture(5), regions)


def report(**changes):
    fields = dict(title='A title', network='net.pkl', network_licence='CC BY-NC 4.0',
                  samples=[sample([region('mouth'), region('eyes')])], options={'tau': 1e-3},
                  versions={'torch': '2.13.0'}, seconds={'Jacobian': 348.2}, command='resefa factorize --seeds=0')
    return Report(**{**fields, **changes})


class Page(HTMLParser):
    """Checks nesting as it goes; keeps elements, visible text and headings."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.text, self.headings = [], [], '', []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), f'{tag} repeats an attribute'
        self.elements.append((tag, dict(attrs)))
        if re.fullmatch('h[1-6]', tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {'style', 'script'} & set(self.open):
            self.text = re.sub(r'\s+', ' ', self.text + data)  # as a browser shows it

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.elements if name in attrs]


def page(tmp_path, content):
    write_report(tmp_path / 'report.html', content)
    html = (tmp_path / 'report.html').read_text(encoding='utf-8')
    return html, Page(html)


def test_conversions():
    assert grey_levels(1.0) == 127.5 and grey_levels(0.01) == pytest.approx(12.75)
    assert math.isnan(grey_levels(-1.0)) and math.isnan(grey_levels(math.nan))
    change = np.zeros(100)
    change[:4], change[4:] = 0.5, 0.1
    expected = (change[:4] ** 2).sum() / (change ** 2).sum()
    assert share_inside((change[:4] ** 2).mean(), (change[4:] ** 2).mean(), 0.04) == pytest.approx(expected)
    assert share_inside(1.0, 0.0, 0.5) == 1 and math.isnan(share_inside(0, 0, 0.5))


def test_outline_and_anchors(tmp_path):
    _, parsed = page(tmp_path, report())
    assert parsed.headings[0] == 1 and parsed.headings.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(parsed.headings))
    ids = parsed.attributes('id')
    assert len(set(ids)) == len(ids)
    links = parsed.attributes('href')
    assert links == ['#region-1', '#region-2'] and all(link[1:] in ids for link in links)
    assert set(parsed.attributes('aria-labelledby')) <= set(ids)


def test_every_figure_is_there(tmp_path):
    _, parsed = page(tmp_path, report())
    for expected in ('8.7', '4.35', '2.9', '1.25e-12', '2.5e-12', '3.75e-12', '0.21', '0.42', '0.63',
                     '14.14', '10.00', '8.16',             # 127.5 sqrt(0.0123 / index)
                     'predicted 12.81', 'predicted 9.06', 'predicted 7.40',
                     '1.66', '2.35', '2.88',               # 127.5 sqrt(1.7e-4 index)
                     'predicted 1.56', 'predicted 2.21', 'predicted 2.70',
                     'MSE 0.0123, predicted 0.0101', 'MSE 0.00615, predicted 0.00505', 'MSE 0.0041, predicted 0.00337',
                     'MSE 1.7e-4, predicted 1.5e-4', 'MSE 3.4e-4, predicted 3e-4', 'MSE 5.1e-4, predicted 4.5e-4',
                     '69.1 %', '35.9 %', '19.9 %',
                     'net.pkl', 'CC BY-NC 4.0', 'seed0000', '2.13.0', '0.001', '5 min 48 s',
                     'resefa factorize --seeds=0',
                     'resefa edit --directions=out/seed0000_mouth.npz --index=1 --outdir=out/edits',
                     'Direction 1 changes the region by 14.14 grey levels of 255, the rest by 1.66, at strength 1'):
        assert expected in parsed.text, expected


def test_bars_share_one_scale(tmp_path):
    html, _ = page(tmp_path, report(samples=[sample([region(directions=[
        row(1, measured_inside=0.04, predicted_inside=0.01, measured_outside=0.0004, predicted_outside=0.0)])])]))
    pattern = r'"bar (\w+)" aria-hidden="true"><i style="width:([\d.]+)%"></i>(?:<b style="left:([\d.]+)%)?'
    bars = re.findall(pattern, html)
    assert bars[:2] == [('inside', '100.0', '50.0'), ('outside', '10.0', '0.0')]


def test_pictures_are_embedded_and_described(tmp_path):
    plot = picture(7)
    content = report(samples=[sample([region(other_seeds_sheet=picture(8), eigenvalue_plot=plot,
                                             directions=[row(1, far=[picture(i) for i in (9, 10, 11)])])])])
    html, parsed = page(tmp_path, content)
    images = [attrs for tag, attrs in parsed.elements if tag == 'img']
    shown = [attrs for attrs in images if not attrs['src'].startswith('data:image/gif')]
    # Sample; near and far; other samples; region, heat map, plot. Two that the script fills.
    assert len(shown) == 1 + 3 + 3 + 1 + 3 and len(images) == len(shown) + 2
    assert all(len(attrs['alt']) > 10 for attrs in shown)
    for attrs in shown:
        kind, data = re.fullmatch(r'data:image/(png|jpeg);base64,([A-Za-z0-9+/=]+)', attrs['src']).groups()
        opened = Image.open(io.BytesIO(base64.b64decode(data)))
        opened.load()
        assert opened.format.lower() == kind and opened.size == (24, 16)
        if kind == 'png':
            np.testing.assert_array_equal(np.asarray(opened), np.asarray(plot))
    assert sum('image/png' in attrs['src'] for attrs in shown) == 1


def test_pictures_come_first_and_figures_are_folded(tmp_path):
    html, parsed = page(tmp_path, report())
    section = html[html.index('<section'):html.index('</section>')]
    assert section.index('class="strip"') < section.index('class="command"') < section.index('<summary>Figures')
    assert section.index('<summary>Figures') < section.index('<table') < section.index('</details>')
    assert 'Quotient' not in section[:section.index('<summary>Figures')]


def test_options_that_were_not_given_are_not_shown(tmp_path):
    _, parsed = page(tmp_path, report(options={'layers': None, 'protect': [], 'share': False, 'quick': True,
                                               'seeds': [0, 3], 'tau': 0.0}))
    for name in ('layers', 'protect', 'share', 'None', '[', 'True'):
        assert name not in parsed.text
    assert re.search(r'quick ?yes', parsed.text) and '0, 3' in parsed.text and 'tau' in parsed.text


def test_large_pictures_are_reduced(tmp_path):
    html, parsed = page(tmp_path, report(samples=[sample([], image=picture(0, (1400, 700)))]))
    data = [attrs['src'] for tag, attrs in parsed.elements if tag == 'img'][0].split(',')[1]
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (640, 320)


@pytest.mark.parametrize('content', [report(), report(network='https://evil.example/net.pkl', title='//evil.example')])
def test_nothing_is_fetched(tmp_path, content):
    html, parsed = page(tmp_path, content)
    assert not {'link', 'iframe', 'object', 'base'} & {tag for tag, _ in parsed.elements}
    for name in ('src', 'href', 'srcset', 'action', 'data', 'poster'):
        assert all(value.startswith(('data:image/', '#')) for value in parsed.attributes(name))
    assert all(url.startswith('data:image/') for url in re.findall(r'url\(([^)]*)\)', html))
    assert '@import' not in html


@pytest.mark.parametrize('name', ['x', HOSTILE])
def test_the_page_runs_its_own_script_and_no_other(tmp_path, name):
    html, parsed = page(tmp_path, report(title=name))
    script, = re.findall('<script>(.*?)</script>', html, re.DOTALL)
    policy, = (attrs['content'] for tag, attrs in parsed.elements if attrs.get('http-equiv'))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert not any(name.startswith('on') for _, attrs in parsed.elements for name in attrs)


def test_hostile_names_do_not_inject(tmp_path):
    def fill(quiet):
        nasty = 'x' if quiet else HOSTILE
        directions = [row(1, label=nasty, far=[picture(1)] * 3)]
        section = region(nasty, edit_command=nasty, strengths=[nasty] * 3, directions=directions, notes=[nasty],
                         other_seeds_sheet=picture(3))
        return report(title=nasty, network=nasty, network_licence=nasty, options={nasty: nasty},
                      versions={nasty: nasty}, seconds={nasty: 1.0}, command=nasty, samples=[sample([section], nasty)])

    harmless = page(tmp_path, fill(True))[1]
    _, parsed = page(tmp_path, fill(False))
    shape = [(tag, sorted(attrs)) for tag, attrs in parsed.elements]
    assert shape == [(tag, sorted(attrs)) for tag, attrs in harmless.elements]
    # title, h1, network, sample, licence, h2, label, strengths twice, note, two commands, label in the table; time;
    # option and version, name and value
    assert parsed.text.count(HOSTILE) == 7 + 6 + 4 + 1 + 2 + 2


def test_a_template_that_names_what_is_not_there_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="DirectionRow object' has no attribute 'eigenvalues'"):
        templates().from_string('{{ row.eigenvalues }}').render(row=row(1))


def test_a_style_cannot_be_closed_from_outside(tmp_path):
    html, _ = page(tmp_path, report(title='</style></title><script>'))
    assert html.count('</style>') == 1 and html.count('</title>') == 1


def test_the_number_in_the_command_can_be_set(tmp_path):
    html, parsed = page(tmp_path, report())
    assert '<span class="index">1</span>' in html and '--index=1 --outdir' in parsed.text
    _, without = page(tmp_path, report(samples=[sample([region(edit_command='resefa edit')])]))
    assert 'resefa edit' in without.text and '--index' not in without.text


def test_labels_are_shown(tmp_path):
    _, parsed = page(tmp_path, report(samples=[sample([region(directions=[row(1, label='mouth opens +')])])]))
    assert parsed.text.count('mouth opens +') == 2


@pytest.mark.parametrize('value', [0.0, math.nan, math.inf, -1.0])
def test_figures_that_are_no_numbers_do_not_break_the_page(tmp_path, value):
    names = ('eigenvalue', 'residual', 'step', 'predicted_inside', 'predicted_outside', 'measured_inside',
             'measured_outside')
    section = region(directions=[row(1, **dict.fromkeys(names, value))])
    html, parsed = page(tmp_path, report(samples=[sample([section])]))
    assert 'nan' not in parsed.text and 'undefined' in parsed.text
    widths = re.findall(r'(?:width|left):([^"%]*)%"', html)
    assert len(widths) == 5 and set(widths) == {'0'}
    assert ('not finite' in parsed.text) == (value != 0)


def test_no_regions_and_no_directions(tmp_path):
    assert 'A title' in page(tmp_path, report(samples=[sample([])]))[1].text
    assert 'No direction was found.' in page(tmp_path, report(samples=[sample([region(directions=[])])]))[1].text


def test_a_name_that_is_not_unicode(tmp_path):
    assert 'seed?' in page(tmp_path, report(samples=[sample([], 'seed\udcff')]))[1].text


def test_write_is_atomic(tmp_path):
    path = tmp_path / 'report.html'
    path.write_text('old')

    class Interrupting:
        def __str__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_report(path, report(options={'tau': Interrupting()}))
    assert path.read_text() == 'old' and list(tmp_path.iterdir()) == [path]
    write_report(path, report())
    assert path.read_text().endswith('</html>\n') and list(tmp_path.iterdir()) == [path]


def test_reports_are_reproducible(tmp_path):
    assert page(tmp_path, report())[0] == page(tmp_path, report())[0]


def test_each_sample_has_its_sections(tmp_path):
    samples = [sample([region('mouth')], 'seed0000', picture(5)), sample([region('mouth')], 'seed0001', picture(6))]
    html, parsed = page(tmp_path, report(samples=samples))
    assert 'mouth of seed0000' in parsed.text and 'mouth of seed0001' in parsed.text
    assert len([attrs for _, attrs in parsed.elements if attrs.get('class') == 'region']) == 2
    assert len({attrs['src'] for _, attrs in parsed.elements if attrs.get('class') == 'sample'}) == 2


def test_background_kept_beside_straight(tmp_path):
    kept = BackgroundRow(2, [-1, 3], [0.01, 0.04], [4e-4, 1.6e-3], [0.0101, 0.0405], [1.6e-4, 2.25e-4], picture(7),
                         ['at strength +3 the background could not be kept <at all>'])
    _, with_rows = page(tmp_path, report(samples=[sample([region('mouth', background=[kept])])]))
    # 127.5 times the roots of the MSE, straight and kept, at both strengths
    for text in ('With the background kept', 'Outside, kept', '2.55', '1.61', '5.10', '1.91',
                 'Direction 2: at strength +3 the background could not be kept <at all>.'):
        assert text in with_rows.text
    _, without = page(tmp_path, report())
    assert 'background kept' not in without.text
