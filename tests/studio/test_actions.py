"""What a page, or somebody who pretends to be one, can ask of the studio."""

from __future__ import annotations

import base64
import io
import os
import pathlib
import pickle
import re
import subprocess
import sys
import tempfile
import threading
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from resefa_plugin import DirectionSet, ResefaError
from resefa_plugin.studio import actions
from resefa_plugin.studio import desk as desk_module
from resefa_plugin.studio.actions import ACTIONS, Studio
from resefa_plugin.studio.limits import MAX_UPLOAD
from resefa_plugin.studio.view import mask_url
from tests.helpers.toys import TanhToy, TinyHook

LONG = 60  # seconds: never reached unless something hangs
BOX = np.zeros((32, 32), bool)
BOX[8:16, 8:20] = True


@pytest.fixture
def studio():
    studio = Studio(TinyHook(), ['--network=tiny'])
    yield studio
    studio.close()


class Page:
    """What the script of the page does, in Python."""

    def __init__(self, studio):
        self.studio = studio
        self.opened = studio.call({'action': 'open'})
        self.token = self.opened['token']

    def ask(self, action, **values):
        return self.studio.call({'action': action, 'token': self.token, **values})

    def good(self, action, **values):
        answer = self.ask(action, **values)
        assert 'error' not in answer, answer
        return answer

    def settle(self):
        """Waits until nothing is under way."""
        for _ in range(1000):
            jobs = self.studio.queue.jobs(self.token)
            if not jobs:
                return self.good('status')
            assert jobs[0].wait(LONG)
        raise AssertionError('jobs without end')

    def with_directions(self, name='mouth', mask=BOX):
        self.good('region', name=name, mask=mask_url(mask))
        self.good('factorize', name=name)
        self.settle()
        return self


@pytest.fixture
def page(studio):
    page = Page(studio)
    page.settle()
    return page


def encoded(content):
    return base64.b64encode(content).decode()


def picture(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(',')[2]))))


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return encoded(file.getvalue())


def test_the_whole_path(page):
    network = page.opened['network']
    assert network['name'] == 'tiny' and network['presets']['Aligned faces']['eyes'] == [9, 14, 14, 2]
    assert page.good('status')['status']['ready']
    page.with_directions()
    state = page.good('status')['state']
    directions = state['directions']['mouth']
    assert directions['measured'] == len(directions['levels']) == len(directions['ends']) == 4
    assert not directions['quick'] and not directions['elsewhere']
    assert all(inside == pytest.approx(12.75, rel=0.03) and outside > 0 for inside, outside in directions['levels'])

    original = picture(page.opened['original']).astype(int)
    moved = page.good('render', strengths=[['mouth', 0, 3.0]], full=True)
    assert np.abs(picture(moved['picture']) - original).mean() > 10  # grey levels; that of JPEG is 2
    assert moved['state']['strengths'] == [['mouth', 0, 3.0]]
    heat = page.good('heat')
    assert heat['inside'] > heat['outside'] > 0

    name, content = (page.good('download', kind='directions', region='mouth')[key] for key in ('name', 'content'))
    assert name == 'seed0000-mouth.npz' and base64.b64decode(content)[:2] == b'PK'
    undone = page.good('undo')
    assert undone['picture'] == undone['original'] and undone['state']['strengths'] == []
    assert 'mask' in undone['state']['regions'][0]
    gone = page.good('undo')['state']
    assert not gone['directions'] and gone['regions']


def test_downloads(page, tmp_path):
    page.with_directions()
    page.good('render', strengths=[['mouth', 0, 2.0]], full=True)
    for kind, name in [('picture', 'seed0000-edited.png'), ('latent', 'seed0000-edited.npz'),
                       ('strip', 'seed0000-strip.png'), ('webp', 'seed0000.webp'), ('all', 'seed0000.zip'),
                       ('directions', 'seed0000-mouth.npz')]:
        answer = page.good('download', kind=kind, region='mouth')
        assert answer['name'] == name
        (tmp_path / name).write_bytes(base64.b64decode(answer['content']))
    assert DirectionSet.load(tmp_path / 'seed0000-mouth.npz').metadata.region == 'mouth'
    assert zipfile.ZipFile(tmp_path / 'seed0000.zip').testzip() is None
    text = page.good('commands')['text']
    assert '--network=tiny' in text and '--strength=2.0,2.0' in text


def test_a_dragged_slider_gives_a_small_picture():
    studio = Studio(TanhToy(shape=(3, 512, 512)).hook())
    try:
        page = Page(studio)
        page.good('cancel', number=page.opened['status']['jobs'][0]['number'])
        assert picture(page.good('render', strengths=[], full=False)['picture']).shape == (256, 256, 3)
        assert picture(page.good('render', strengths=[], full=True)['picture']).shape == (512, 512, 3)
    finally:
        studio.close()


def test_directions_from_before_a_protection_are_marked(page):
    page.with_directions()
    assert not page.good('status')['state']['directions']['mouth']['stale']
    state = page.good('region', name='keep', mask=mask_url(BOX.T), protect=True)['state']
    assert state['directions']['mouth']['stale']
    page.good('factorize', name='mouth')
    page.settle()
    assert not page.good('status')['state']['directions']['mouth']['stale']


def test_the_background_is_kept_on_request(page):
    page.with_directions()
    straight = page.good('render', strengths=[['mouth', 0, 3.0]], full=True)['picture']
    bent = page.good('keep', keep=True)
    assert bent['state']['keep'] and bent['picture'] != straight
    assert bent['note'].startswith('The background could not be kept: it changes by')  # four dimensions are too few
    assert page.good('keep', keep=False)['picture'] == straight
    page.good('keep', keep=True)
    page.studio.queue.submit('nobody', 'save', 'free', lambda job: page.studio.cache._kept.clear()).wait(LONG)
    answer = page.good('render', strengths=[['mouth', 0, 2.0]], full=True)
    assert 'once the sample is prepared' in answer['note'] and answer['picture']


def test_sessions_are_isolated(studio):
    one, other = Page(studio), Page(studio)
    assert one.token != other.token
    one.settle()
    other.settle()
    one.with_directions('mine')
    assert other.good('status')['state']['regions'] == [] == other.good('undo')['state']['regions']
    assert "region 'mine' has no directions yet" in other.ask('render', strengths=[['mine', 0, 1.0]])['error']
    one.good('download', kind='picture')
    other.good('download', kind='picture')
    folders = {studio.store.get(page.token).folder for page in (one, other)}
    assert len(folders) == 2 and all(len(list(folder.iterdir())) == 1 for folder in folders)


def test_one_cannot_cancel_what_another_waits_for(studio):
    blocked, go = threading.Event(), threading.Event()
    studio.queue.submit('nobody', 'save', 'slow', lambda job: (blocked.set(), go.wait(LONG)))
    assert blocked.wait(LONG)
    one, other = Page(studio), Page(studio)
    job, = one.good('status')['status']['jobs']
    assert job['state'] == 'queued' and job['ahead'] == 1 and other.good('status')['status']['jobs'][0]['ahead'] == 2
    other.good('cancel', number=job['number'])
    assert one.good('status')['status']['jobs'] == [job] and len(other.good('status')['status']['jobs']) == 1
    one.good('cancel', number=job['number'])
    assert one.good('status')['status']['jobs'] == []
    go.set()
    other.settle()
    assert not one.good('status')['status']['ready'] or other.good('status')['status']['ready']
    one.good('prepare')
    one.settle()
    assert one.good('status')['status']['ready']


def test_another_sample_ends_the_preparation_of_the_last(studio):
    blocked, go = threading.Event(), threading.Event()
    studio.queue.submit('nobody', 'save', 'slow', lambda job: (blocked.set(), go.wait(LONG)))
    assert blocked.wait(LONG)
    page = Page(studio)
    page.good('seed', seed=1, trunc=0.5)
    page.good('seed', seed=2, trunc=0.5)
    job, = page.good('status')['status']['jobs']
    assert job['kind'] == 'prepare' and job['title'] == 'Preparing seed0002'
    go.set()
    page.settle()
    assert page.good('status')['status']['ready'] and len(studio.cache._kept) == 1


def test_nothing_is_prepared_for_a_page_that_is_gone_but_for_one_that_comes_back(studio, monkeypatch):
    blocked, go = threading.Event(), threading.Event()
    studio.queue.submit('nobody', 'save', 'slow', lambda job: (blocked.set(), go.wait(LONG)))
    assert blocked.wait(LONG)
    page = Page(studio)
    desk = studio.store.get(page.token)
    desk._page_seen_at -= desk_module.PAGE_GONE + 1
    job, = studio.queue.jobs(page.token)
    go.set()
    assert job.wait(LONG) and job.state == 'cancelled' and studio.cache.bytes == 0
    page.good('status')
    page.settle()
    assert page.good('status')['status']['ready']


def test_directions_that_are_asked_for_early_come_when_the_sample_is_prepared(studio):
    blocked, go = threading.Event(), threading.Event()
    studio.queue.submit('nobody', 'save', 'slow', lambda job: (blocked.set(), go.wait(LONG)))
    assert blocked.wait(LONG)
    page = Page(studio)
    page.good('region', name='mouth', mask=mask_url(BOX))
    assert page.good('factorize', name='mouth')['status']['waiting'] == ['mouth']
    go.set()
    page.settle()
    status = page.good('status')
    assert status['status']['waiting'] == [] and not status['state']['directions']['mouth']['quick']


def test_layers_are_chosen_as_on_the_command_line(page):
    assert page.good('space', space='w', layers=' 0,4-6, 5 ')['state']['layers'] == [0, 4, 5, 6]
    assert page.good('space', space='w', layers='all')['state']['layers'] is None


def test_the_limits_of_the_page_are_those_that_are_checked(page):
    """Each limit is allowed, and a step beyond it is refused: by the number that the page was given."""
    limits = page.opened['network']['limits']
    assert page.good('seed', seed=limits['seed'])['state']['sample']['seed'] == limits['seed']
    assert 'is out of range' in page.ask('seed', seed=limits['seed'] + 1)['error']
    page.settle()
    page.with_directions()
    for strength in (-limits['strength'], limits['slider_strength'], limits['end_strength'], limits['strength']):
        page.good('render', strengths=[['mouth', 0, strength]], full=True)
    assert 'is out of range' in page.ask('render', strengths=[['mouth', 0, limits['strength'] + 0.1]])['error']
    for number in range(limits['regions'] - 1):
        page.good('region', name=f'r{number}', mask=mask_url(BOX))
    assert f"{limits['regions']} regions already" in page.ask('region', name='more', mask=mask_url(BOX))['error']
    for name in ('a' * 64, 'a' * 65, '-a', 'a b', 'A_1-'):
        refused = 'error' in page.ask('region', name=name, mask=mask_url(np.zeros((32, 32), bool)))
        message = page.ask('region', name=name, mask=mask_url(np.zeros((32, 32), bool)))['error']
        assert refused and (limits['region_name_rule'] in message) == (not re.fullmatch(limits['region_name'], name))
    for name in (*(f'w{suffix}' for suffix in limits['latent_suffixes']), 'w', 'w.other'):
        assert f'{name}: it is empty' in page.ask('upload', name=name, content='')['error']
    for more, message in ((0, 'of no kind that is known'), (3, 'is larger than')):
        size = limits['upload_bytes'] + more
        assert message in page.ask('upload', name='w.npz', content=encoded(bytes(size)))['error']


def test_a_space_that_is_too_large_is_searched_without_a_jacobian():
    studio = Studio(TinyHook(), memory=100_000)
    try:
        page = Page(studio)
        page.settle()
        answer = page.good('space', space='w+')
        assert answer['status']['direct'] and not answer['status']['jobs'] and answer['state']['space'] == 'w+'
        page.with_directions()
        assert page.good('status')['state']['directions']['mouth']['quick'] and studio.cache.bytes <= 100_000
    finally:
        studio.close()


def test_an_error_in_the_background_reaches_the_page(page):
    page.good('region', name='dot', mask=mask_url(BOX))
    desk = page.studio.store.get(page.token)
    desk.session.factorize = lambda *args: (_ for _ in ()).throw(ResefaError('no answer'))
    page.good('factorize', name='dot')
    for job in page.studio.queue.jobs(page.token):
        assert job.wait(LONG)
    assert page.good('status')['status']['messages'] in (['Finding directions of dot: no answer'], [])
    assert page.good('status')['status']['messages'] == []


def test_idle_sessions_and_their_files_go(studio):
    page = Page(studio)
    page.settle()
    page.good('download', kind='picture')
    folder = studio.store.get(page.token).folder
    assert folder.exists()
    studio.store.close(page.token)
    assert not folder.exists()
    answer = page.ask('status')
    assert answer['ended'] and 'reload the page' in answer['error']


def test_idle_sessions_go_without_anybody_asking(monkeypatch):
    monkeypatch.setattr(actions, 'SWEEP_INTERVAL', 0.01)
    studio = Studio(TinyHook(), idle_seconds=0.0)
    try:
        studio.call({'action': 'open'})
        gone = threading.Event()
        for _ in range(100 * LONG):
            if not len(studio.store):
                break
            gone.wait(0.01)
        assert not len(studio.store)
    finally:
        studio.close()


def test_a_closed_studio_leaves_nothing_and_the_next_one_sweeps_after_one_that_was_killed(tmp_path, monkeypatch):
    killed = ('import os\nfrom resefa_plugin.studio.actions import Studio\nfrom tests.helpers.toys import TinyHook\n'
              "studio = Studio(TinyHook())\nprint(studio.call({'action': 'open'})['token'], flush=True)\n"
              "(studio.temporary_folder / 'x').write_bytes(b'x')\nos.kill(os.getpid(), 9)")
    subprocess.run([sys.executable, '-c', killed], env={**os.environ, 'TMPDIR': str(tmp_path)},
                   cwd=pathlib.Path(__file__).parents[2], stdout=subprocess.PIPE)
    left, = tmp_path.iterdir()
    assert (left / 'x').exists()
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    studio = Studio(TinyHook())
    assert list(tmp_path.iterdir()) == [studio.temporary_folder] != [left]
    studio.close()
    assert not list(tmp_path.iterdir())


def test_kept_files_stay(tmp_path):
    studio = Studio(TinyHook(), outdir=tmp_path)
    page = Page(studio)
    page.good('download', kind='picture')
    studio.store.close(page.token)
    studio.close()
    kept = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('*.png')]
    assert kept == ['session001/seed0000-edited.png']


# Uploads


def test_an_uploaded_latent(page):
    answer = page.good('upload', name='projected_w.npz', content=npz(w=np.full((1, 8, 4), 0.2, np.float32)))
    assert answer['state']['sample']['seed'] is None and answer['state']['sample']['note'] == 'w+ latents [1, 8, 4]'
    assert not np.array_equal(picture(answer['picture']), picture(page.opened['picture']))


class Hostile:
    def __reduce__(self):
        return (pytest.fail, ('a pickle was executed',))


@pytest.mark.parametrize('name, content, message', [
    ('w.npz', npz(w=np.zeros((1, 8, 5), np.float32)),
     r'w.npz: latents of shape [1, 8, 5] do not fit tiny: expected w+ [1, 8, 4]'),
    ('w.npz', npz(w=np.full((1, 8, 4), np.nan, np.float32)), 'expected finite numbers'),
    ('w.npz', npz(w=np.array([Hostile()], object)), 'whose loading would execute code: refused'),
    ('w.npz', npz(other=np.zeros(4)), "no array 'w' or 'z' among other"),
    ('w.npz', npz(w=np.zeros((1, 8, 4), np.float32))[:80], 'w.npz cannot be read'),
    ('w.npz', encoded(b'PK\x03\x04 cut off'), 'w.npz: it is a zip archive of other files'),
    ('w.npz', encoded(b''), 'w.npz: it is empty'),
    ('w.pt', encoded(pickle.dumps(Hostile())), 'w.pt'),
    ('w.exe', encoded(b'MZ\0'), 'w.exe: it is of no kind that is known here'),
    ('../../w.sh', encoded(b'#!/bin/sh'), "../../w.sh: it is a text that begins with '#!/bin/sh'; expected latents"),
    ('w.npz', 'not base64!', 'the file came damaged: try again'),
    ('w.npz', 'A' * (MAX_UPLOAD * 4 // 3 + 5), 'the file is larger than 8 MB'),
])
def test_bad_latents_give_a_readable_message(page, name, content, message):
    answer = page.ask('upload', name=name, content=content)
    assert message in answer['error'] and '/tmp' not in answer['error'] and len(answer['error']) < 400
    assert page.good('status')['state']['sample']['name'] == 'seed0000'


def test_a_zip_that_swells_is_refused(page):
    """A member that claims to inflate to 2 GB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('w.npy', bytes(1 << 20))
    content = bytearray(file.getvalue())
    content[content.index(b'PK\x01\x02') + 24:][:4]
    at = content.index(b'PK\x01\x02') + 24  # the size that the index promises
    content[at:at + 4] = (1 << 31).to_bytes(4, 'little')
    assert 'damaged or forged' in page.ask('upload', name='w.npz', content=encoded(bytes(content)))['error']


def test_a_mask_of_another_size_fits_if_its_shape_does(page):
    mask = np.zeros((64, 64), bool)
    mask[16:32, 16:40] = True
    answer = page.good('mask_file', mask=mask_url(mask))
    assert np.array_equal(picture(answer['mask']) > 0, BOX)


@pytest.mark.parametrize('mask, message', [
    (encoded(b'GIF no image'), "'mask' is not an image that can be read"),
    (mask_url(np.ones((32, 16), bool)), 'the aspect ratios differ'),
    (mask_url(np.zeros((32, 32), bool)), 'is empty'),
    (mask_url(np.ones((32, 32), bool)), "region 'a' is full"),
])
def test_bad_masks_give_a_readable_message(page, mask, message):
    answer = page.ask('region', name='a', mask=mask)
    assert message in answer['error'] and '/tmp' not in answer['error']


def test_a_picture_that_unpacks_to_gigabytes_is_refused(page):
    file = io.BytesIO()
    Image.new('1', (20_000, 20_000)).save(file, 'PNG')
    assert len(file.getvalue()) < MAX_UPLOAD
    assert 'too many pixels' in page.ask('mask_file', mask=encoded(file.getvalue()))['error']


# Nonsense


@pytest.mark.parametrize('data', [None, 'open', [], {}, {'action': 'no'}, {'action': ['open']},
                                  {'action': '__class__'}])
def test_what_is_no_action(studio, data):
    assert 'no such action; expected open, seed' in studio.call(data)['error']


@pytest.mark.parametrize('token', [None, '', 'guess', 7, ['x'], {}])
def test_nothing_without_a_token(studio, token):
    for action in sorted(ACTIONS):
        assert studio.call({'action': action, 'token': token})['ended'], action
    assert len(studio.store) == 0


@pytest.mark.parametrize('action, values, message', [
    ('seed', {}, "'seed' is None, expected int"),
    ('seed', {'seed': '0'}, "'seed' is '0', expected int"),
    ('seed', {'seed': True}, "'seed' is True, expected int"),
    ('seed', {'seed': 1.5}, "'seed' is 1.5, expected int"),
    ('seed', {'seed': 2 ** 32}, "'seed' 4294967296 is out of range: expected 0 to 4294967295"),
    ('seed', {'seed': -1}, "'seed' -1 is out of range"),
    ('seed', {'seed': 0, 'cutoff': 10 ** 30}, "is out of range: expected 0 to 8"),
    ('seed', {'seed': 0, 'cutoff': 9}, "'cutoff' 9 is out of range: expected 0 to 8"),
    ('seed', {'seed': 0, 'cutoff': -5}, "'cutoff' -5 is out of range: expected 0 to 8"),
    ('seed', {'seed': 0, 'cutoff': 10 ** 5000}, "'cutoff' a number of thousands of digits is out of range"),
    ('seed', {'seed': 0, 'trunc': 2.1}, "'trunc' 2.1 is out of range: expected -2 to 2"),
    ('seed', {'seed': 0, 'trunc': -10 ** 9}, "'trunc' -1e+09 is out of range"),
    ('seed', {'seed': 0, 'label': '7' * 1001}, "'label' has 1001 characters, expected at most 1000"),
    ('seed', {'seed': 0, 'label': '\ud800'}, "'label' is '\\ud800', expected characters of Unicode"),
    ('upload', {'name': 'w.npz', 'content': '', 'number': 0}, "'number' 0 is out of range: expected 1 to"),
    ('upload', {'name': 'w.npz', 'content': '', 'number': 2 ** 53}, "'number' 9007199254740992 is out of range"),
    ('upload', {'name': 'w' * 10 ** 6 + '.npz', 'content': ''}, "'name' has 1000004 characters, expected at most 1000"),
    ('render', {'strengths': [['a', -1, 1]]}, "'index' -1 is out of range: expected 0 to 4"),
    ('render', {'strengths': [['a', 10 ** 30, 1]]}, "is out of range: expected 0 to 4"),
    ('render', {'strengths': [['a', 0, 20.5]]}, "'strength' 20.5 is out of range: expected -20 to 20"),
    ('render', {'strengths': [['a', 0, 1]] * 61}, "'strengths' has 61 items, expected at most 60"),
    ('cancel', {'number': -1}, "'number' -1 is out of range"),
    ('seed', {'seed': {'a': [[[[[[[[[[]]]]]]]]]]}}, "expected int"),
    ('seed', {'seed': 0, 'trunc': 'x'}, "'trunc' is 'x', expected float"),
    ('seed', {'seed': 0, 'label': '3'}, 'is unconditional: leave the class empty'),
    ('space', {'space': 'w++'}, "space 'w++' is not one of z, w, w+, s"),
    ('space', {'space': 'w', 'layers': [1]}, "'layers' is [1], expected str"),
    ('space', {'space': 'w', 'layers': '4-2'}, "'4-2' is not a list of layers: expected numbers and ascending ranges"),
    ('space', {'space': 'w', 'layers': '0-999999999'}, 'names more than 100,000 layers'),
    ('space', {'space': 'w', 'layers': '99'}, 'has layers 0 to 7'),
    ('region', {'name': '../a', 'mask': mask_url(BOX)}, 'is not fit for a file name'),
    ('region', {'name': 'a', 'mask': mask_url(BOX), 'protect': 'yes'}, "'protect' is 'yes', expected bool"),
    ('factorize', {'name': 'nothing'}, "there is no region 'nothing' to change"),
    ('render', {'strengths': 'all'}, "'strengths' is 'all', expected list"),
    ('render', {'strengths': [[1, 2]]}, 'a strength is [region, index, value]'),
    ('render', {'strengths': [['a', '0', 1]]}, "'index' is '0', expected int"),
    ('render', {'strengths': [['a', 0, 1]]}, "region 'a' has no directions yet"),
    ('heat', {}, 'nothing is changed yet'),
    ('cancel', {'number': None}, "'number' is None, expected int"),
    ('download', {'kind': '../../etc/passwd'}, 'is not one of directions, picture'),
    ('download', {'kind': 'directions', 'region': '../x'}, "region '../x' has no directions yet"),
    ('download', {'kind': 'strip'}, 'nothing is changed yet'),
])
def test_wrong_values_are_named(page, action, values, message):
    answer = page.ask(action, **values)
    assert message in answer['error'] and 'ended' not in answer


def test_what_was_out_of_range_leaves_the_page_as_it_was(page):
    before = page.good('status')['state']['sample']
    for values in ({'cutoff': 10 ** 30}, {'cutoff': -5}, {'trunc': 1e300}, {'seed': 10 ** 30}):
        assert 'is out of range' in page.ask('seed', **{'seed': 1, 'trunc': 1.0, **values})['error']
    assert page.good('status')['state']['sample'] == before
    for cutoff in (0, 8, None):
        assert page.good('seed', seed=1, cutoff=cutoff)['state']['sample']['cutoff'] == cutoff


def test_an_error_is_short_however_deep_what_came(page):
    deep = []
    for _ in range(5000):
        deep = [deep]
    for action, key in (('seed', 'seed'), ('upload', 'name'), ('render', 'strengths'), ('keep', 'keep')):
        error = page.ask(action, **{key: {'deep': deep}})['error']
        assert ', expected ' in error and len(error) < 400
    for _ in range(5000):
        deep, = deep  # else Python would end it all at once


def test_a_defect_of_ours_is_no_traceback_on_the_page(page, monkeypatch, capsys):
    monkeypatch.setitem(ACTIONS, 'undo', lambda studio, desk, data: 1 / 0)
    assert page.ask('undo')['error'].startswith('something went wrong (ZeroDivisionError: division by zero)')
    assert 'Traceback' in capsys.readouterr().err


def test_global_state_of_torch_is_left_alone(page):
    page.with_directions()
    assert torch.is_grad_enabled()


def test_folders_of_an_earlier_run_are_left_alone(tmp_path):
    (tmp_path / 'session001').mkdir()
    studio = Studio(TinyHook(), ['--network=tiny'], outdir=tmp_path)
    try:
        Page(studio)
        assert studio.store is not None and studio._session_number == 2
    finally:
        studio.close()


def test_numbers_beyond_any_float_are_a_message(page):
    for value in (10 ** 400, float('nan')):
        error = page.ask('seed', seed=0, trunc=value, cutoff=None, label='')['error']
        assert "'trunc' is" in error and 'finite number' in error
