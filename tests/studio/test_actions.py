"""What a page, or somebody who pretends to be one, can ask of the studio."""

from __future__ import annotations

import base64
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from resefa_plugin import Auto, DirectionSet, RegionPartition, ResefaError, Viewpoint
from resefa_plugin.atlas.builder import AtlasBuilder
from resefa_plugin.metrics.metric_networks import Networks
from resefa_plugin.studio import actions
from resefa_plugin.studio import desk as desk_module
from resefa_plugin.studio.actions import Studio
from resefa_plugin.studio.view import mask_url
from tests.helpers.studio_pages import BOX, LONG, Page, encoded, picture
from tests.helpers.toys import TanhToy, TinyHook


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
    undone = page.good('go', steps=-1)
    assert undone['picture'] == undone['original'] and undone['state']['strengths'] == []
    assert 'mask' in undone['state']['regions'][0]
    gone = page.good('go', steps=-1)['state']
    assert not gone['directions'] and gone['regions']


def test_a_studio_with_networks_names_directions(monkeypatch):
    def named(finding, viewpoint, networks, breathe):
        labels = [*finding.directions.labels[:finding.labelled], f'name {finding.labelled}']
        labels += [''] * (len(finding.directions) - len(labels))
        return replace(finding, directions=finding.directions.labelled(labels), labelled=finding.labelled + 1)

    monkeypatch.setattr('resefa_plugin.studio.work.findings.with_label', named)
    studio = Studio(TinyHook(), ['--network=tiny'], session_options={'networks': Networks()})
    try:
        page = Page(studio)
        page.settle()
        directions = page.with_directions().good('status')['state']['directions']['mouth']
        assert directions['labels'] == ['name 0', 'name 1', 'name 2', 'name 3'] and directions['measured'] == 4
    finally:
        studio.close()


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
    line = page.good('command_line')
    assert line['text'].startswith('resefa factorize --network=tiny --seeds=0 --trunc=1.0 --region=mouth=8,8,12,8 ')
    assert '--strength=2.0,2.0' in line['text'] and line['files'] == [] and '\n' not in line['text']


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
    assert other.good('status')['state']['regions'] == [] == other.good('go', steps=-1)['state']['regions']
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
    assert job['state'] == 'queued' and job['ahead'] == 1
    assert other.good('status')['status']['jobs'] == [job]  # what both want is prepared once
    other.good('cancel', number=job['number'])
    assert one.good('status')['status']['jobs'] == [job] and other.good('status')['status']['jobs'] == []
    one.good('cancel', number=job['number'])
    assert one.good('status')['status']['jobs'] == []
    go.set()
    assert not one.good('status')['status']['ready']
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
    assert job['kind'] == 'prepare' and job['title'] == 'Getting this picture ready'
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
    for name in ('w.npz', 'w.pt', 'w', 'w.other'):
        assert f'{name}: it is empty' in page.ask('open_file', name=name, content='')['error']
    for more, message in ((0, 'of no kind that is known'), (3, 'is larger than')):
        size = limits['upload_bytes'] + more
        assert message in page.ask('open_file', name='w.npz', content=encoded(bytes(size)))['error']


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


def test_directions_of_an_atlas_need_no_jacobian(tmp_path):
    hook = TinyHook()
    atlas = AtlasBuilder([Viewpoint(hook, 's', hook.sample(seed)) for seed in range(2)], tmp_path).build()
    studio = Studio(hook, memory=100_000, session_options={'atlas': atlas})
    try:
        page = Page(studio)
        assert page.settle()['state']['space'] == 's'
        page.with_directions()
        found = studio.store.get(page.token).session.finding('mouth').directions
        solved = atlas.solve(Viewpoint(hook, 's', hook.sample(0, 0.7)), RegionPartition(BOX, 'mouth'), Auto())
        np.testing.assert_allclose(found.directions, solved.solution.directions[:len(found)], atol=1e-6)
        assert studio.cache.bytes <= 100_000
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


