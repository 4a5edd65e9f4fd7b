"""A photograph in the studio: found in the network, edited in place, saved at its full size, kept with the work."""

from __future__ import annotations

import base64
import functools
import io
import threading

import numpy as np
import pytest
from PIL import Image

from resefa_plugin.projection.projector import Projector, Settings
from resefa_plugin.studio.actions import Studio
from resefa_plugin.studio.work import photographs
from tests.helpers.photographs import find_two, stand_in_lpips
from tests.helpers.studio_pages import LONG, Page, encoded, picture
from tests.helpers.toys import TinyHook

PASSES = 12
MOUTH = np.zeros((32, 32), bool)
MOUTH[18:24, 10:22] = True


def portrait(**options):
    """A file of a photograph of 400 x 300 pixels, grey with a light that falls from the left."""
    light = np.tile(np.linspace(60, 200, 400).astype(np.uint8)[None, :, None], (300, 1, 3))
    light[..., 2] //= 2
    file = io.BytesIO()
    Image.fromarray(light).save(file, 'PNG', **options)
    return light, encoded(file.getvalue())


@pytest.fixture
def studio(monkeypatch):
    monkeypatch.setattr(photographs, 'face_finder', find_two)
    monkeypatch.setattr(photographs, 'Projector', functools.partial(Projector, settings=Settings(passes=PASSES)))
    studio = Studio(TinyHook(), ['--network=tiny'])
    studio.finder = photographs.Finder(studio.hook, lambda: stand_in_lpips('cpu'))
    yield studio
    studio.close()


def opened(page, **values):
    light, content = portrait()
    answer = page.good('open_file', name='My portrait (1).png', content=content, **values)
    assert answer['kind'] == 'photograph'
    page.settle()
    return light


def test_it_is_found_and_shown_as_it_is(page, studio):
    light = opened(page)
    answer = page.good('look')
    state, desk = answer['state'], studio.store.get(page.token)
    assert state['sample']['name'] == 'My-portrait-1' and state['steps'] == ['Seed 0', 'Your photograph']
    assert 'likeness' in state['sample']['note'] and '2 faces were found' in state['sample']['note']
    placed = desk.session.state.photograph
    expected = placed.alignment.picture(light, (32, 32)).astype(int)
    assert np.abs(picture(answer['original']).astype(int) - expected).max() < 12  # JPEG of few pixels
    assert answer['picture'] == answer['original'] and state['photograph'] == placed.digest
    assert page.good('go', steps=-1)['state']['photograph'] is None
    assert page.good('go', steps=1)['original'] == answer['original']


def test_edits_are_laid_into_it_and_saved_at_its_full_size(page):
    light = opened(page)
    page.with_directions('mouth', MOUTH)
    before = page.good('look')['original']
    for full in (False, True):
        after = page.good('render', strengths=[['mouth', 0, 3.0]], full=full)['picture']
        change = np.abs(picture(after).astype(int) - picture(before)).max(axis=-1)
        assert change[MOUTH].mean() > 10 and change[:12].max() < 8  # far from the region is what was there
    saved = page.good('download', kind='picture')
    content = base64.b64decode(saved['content'])
    with Image.open(io.BytesIO(content)) as image:
        assert saved['name'] == 'My-portrait-1-edited.png' and image.size == (400, 300)
        assert 'resefa_plugin' in image.text['Description']
        whole = np.asarray(image)
    changed = (whole != light).any(axis=-1)
    assert changed.any() and changed.mean() < 0.2 and (whole[:60] == light[:60]).all()  # bit for bit


def test_what_is_looked_at_on_the_way(page, studio, monkeypatch):
    reached, go = threading.Event(), threading.Event()
    find = photographs.Finder.find

    def slowly(self, placed, report, look):
        def looking(passes, image):
            look(passes, image)
            if passes == 8:
                reached.set()
                assert go.wait(LONG)

        return find(self, placed, report, looking)

    monkeypatch.setattr(photographs.Finder, 'find', slowly)
    _, content = portrait()
    page.good('open_file', name='portrait.png', content=content)
    assert reached.wait(LONG)
    answer = page.good('status', likeness=0)
    job, = answer['status']['jobs']
    assert (job['kind'], job['total']) == ('photograph', PASSES)
    assert picture(answer['likeness']['picture']).shape == (32, 32, 3)
    assert 'likeness' not in page.good('status', likeness=answer['likeness']['number'])
    page.good('cancel', number=job['number'])
    go.set()
    page.settle()
    answer = page.good('status', likeness=0)
    assert 'likeness' not in answer and answer['state']['photograph'] is None  # what was there before


def test_another_of_the_faces_or_all_of_it(page, studio):
    opened(page, face=2)
    desk = studio.store.get(page.token)
    smaller = desk.session.state.photograph.alignment.side
    opened(page, face=1)
    assert desk.session.state.photograph.alignment.side > 1.5 * smaller
    _, content = portrait()
    assert 'there is no face 3' in page.ask('open_file', name='p.png', content=content, face=3)['error']
    assert "takes 'p' as it is, but it is 400 x 300" in page.ask('open_file', name='p.png', content=content,
                                                                face=0)['error']
    square = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 90, np.uint8)).save(square, 'JPEG')
    page.good('open_file', name='p.jpg', content=encoded(square.getvalue()), face=0)
    page.settle()
    assert desk.session.state.photograph.alignment.across == (64.0, 0.0)


def test_pictures_are_never_called_latents(page, monkeypatch):
    monkeypatch.setattr(photographs, 'face_finder', lambda picture: [])
    _, content = portrait()
    error = page.ask('open_file', name='cat.png', content=content)['error']
    assert error.startswith('no face was found in cat.png') and 'latent' not in error
    phone = encoded(b'\0\0\0\x18ftypheic' + bytes(100))
    assert 'cat.heic' in (error := page.ask('open_file', name='cat.heic', content=phone)['error'])
    assert 'HEIC' in error and 'save it as JPEG or PNG' in error
    assert 'latent' not in page.ask('open_file', name='cut.png', content=content[:400])['error']


def test_it_is_kept_with_the_work(page, studio):
    opened(page)
    page.with_directions('mouth', MOUTH)
    edited = page.good('render', strengths=[['mouth', 0, 3.0]], full=True)['picture']
    work = page.good('work')
    beside, digest = work['content'], work['photograph']
    lighter = page.good('work', photograph=digest)
    assert len(lighter['content']) < len(beside) and lighter['photograph'] == digest
    other = Page(studio)
    assert "holds no item named 'work/photograph'" in (
        error := other.ask('open_file', name='your work', content=lighter['content'])['error']) or 'damaged' in error
    for values in ({'content': beside}, {'content': lighter['content'], 'photograph': beside}):
        other = Page(studio)
        answer = other.good('open_file', name='your work', **values)
        assert np.abs(picture(answer['picture']).astype(int) - picture(edited)).max() <= 4
        assert answer['state']['photograph'] == digest
        other.settle()
