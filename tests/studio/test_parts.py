"""Parts of a face to point at, and small pictures of samples."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from resefa_plugin.errors import RegionError
from resefa_plugin.studio.actions import Studio
from resefa_plugin.studio.work.gallery import Gallery
from resefa_plugin.studio.work.parts import PARTS, ROOM, seen_parts
from resefa_plugin.studio.work.sources import Source
from tests.helpers.faces import FACE, box, forged
from tests.helpers.studio_pages import Page, make_session, picture
from tests.helpers.toys import TinyHook

GREY = Image.new('RGB', (64, 64), (128, 128, 128))


def test_a_part_is_what_the_parser_sees_with_room_to_move():
    parts = seen_parts(GREY, forged(FACE))
    assert set(parts.names) == {'hair', 'skin', 'eyebrows', 'eyes', 'nose', 'mouth', 'background'}
    mouth = parts.mask('mouth', (512, 512))
    rows, columns = np.nonzero(mouth)
    room = int(ROOM['mouth'] * 512)
    # The lips and what is between them: 60 rows from 360 on, 100 columns from 200 on.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (
        360 - room, 419 + room, 200 - room, 299 + room)
    hair = parts.mask('hair', (512, 512))
    assert hair[30, 200] and not hair[300, 200] and hair.sum() == (parts.labels == list(PARTS).index('hair')).sum()
    assert parts.mask('eyes', (64, 64)).shape == (64, 64)
    with pytest.raises(RegionError, match="no 'hat' is seen in this picture: there are eyes, "):
        parts.mask('hat', (512, 512))


def test_where_no_face_is_nothing_can_be_pointed_at():
    with pytest.raises(RegionError, match='no face is seen in this picture: draw a box'):
        seen_parts(GREY, forged([box('hair', 20, 60, 400, 380)]))


@pytest.fixture
def page():
    studio = Studio(TinyHook(), ['--network=tiny'])
    studio.networks = forged(FACE)
    page = Page(studio)
    page.settle()
    yield page
    studio.close()


def test_pointing_gives_a_region_and_from_then_on_names(page, monkeypatch):
    named = []
    monkeypatch.setattr('resefa_plugin.studio.work.findings.with_label', lambda finding, viewpoint, networks, breathe: (
        named.append(networks), replace(finding, labelled=len(finding.directions)))[1])
    page.with_directions()
    assert not named
    answer = page.good('parts')
    assert picture(answer['map']).shape == (512, 512)
    assert answer['parts'][picture(answer['map'])[390, 250]] == 'mouth'
    page.settle()
    assert named == [page.studio.networks]
    mask = page.good('part', part='mouth')['mask']
    page.good('region', name='lips', mask=mask)
    assert page.good('factorize', name='lips')
    page.settle()
    assert len(named) == 2
    assert "no 'hat' is seen" in page.ask('part', part='hat')['error']


def test_parts_are_looked_for_once_for_a_sample(monkeypatch):
    session, calls = make_session(TinyHook()), []
    monkeypatch.setattr('resefa_plugin.studio.work.session.seen_parts',
                        lambda image, networks: calls.append(1) or 'parts')
    assert session.parts(None) == session.parts(None) == 'parts' and len(calls) == 1
    session.load_seed(Source(4))
    session.parts(None)
    assert len(calls) == 2


def test_pictures_of_both_ends_are_those_of_the_sample_on_the_screen(page):
    page.with_directions()
    before = page.good('status')['state']['directions']['mouth']['ends']
    page.good('seed', seed=5)
    page.settle()
    after = page.good('status')['state']['directions']['mouth']
    assert after['elsewhere'] == 'seed0000' and len(after['ends']) == len(before) and after['ends'] != before
    page.good('go', steps=-1)
    page.settle()
    assert page.good('status')['state']['directions']['mouth']['ends'] == before


def test_small_pictures_of_samples(page, monkeypatch):
    url = page.good('thumbnail', seed=3, trunc=0.5)['picture']
    with Image.open(io.BytesIO(base64.b64decode(url.partition(',')[2]))) as image:
        small = np.asarray(image.resize((32, 32), Image.Resampling.NEAREST)).astype(int)
    page.good('seed', seed=3, trunc=0.5)
    assert np.abs(small - picture(page.good('look')['original'])).mean() < 12  # JPEG, twice
    assert 'out of range' in page.ask('thumbnail', seed=-1)['error']


def test_a_gallery_renders_each_sample_once_and_keeps_the_last(monkeypatch):
    gallery, rendered = Gallery(TinyHook()), []
    monkeypatch.setattr('resefa_plugin.studio.work.gallery.KEPT', 2)
    real = gallery._hook.sample
    gallery._hook.sample = lambda seed, *rest: rendered.append(seed) or real(seed, *rest)
    for seed in (1, 2, 1, 3, 1, 2):
        assert gallery.picture(Source(seed))[:2] == b'\xff\xd8'
    assert rendered == [1, 2, 3, 2]
