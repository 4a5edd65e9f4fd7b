"""Files that the studio opens again: its own work, and directions; what is forged is refused."""

from __future__ import annotations

import json
import pathlib
import zipfile

import numpy as np
import pytest

from resefa_plugin import ResefaError
from resefa_plugin.studio.files import archive, downloads
from resefa_plugin.studio.files.archive import INDEX, MOST_STEPS, STEPS, nearest_steps, read_work
from resefa_plugin.studio.files.opening import DIRECTIONS, LATENT, PHOTOGRAPH, WORK, kind_of, opened_directions
from resefa_plugin.studio.work.sources import Source
from tests.helpers.studio_pages import BOX, make_session, prepare, ready
from tests.helpers.toys import TanhToy, TinyHook

SOURCE = Source(3, 0.5)


def edited(hook=None, space=None, layers=None, source=SOURCE, latent=None, tmp_path=None):
    """A region with directions beside a protected one, two sliders moved."""
    session = make_session(hook or TinyHook(), source=source, num_directions=3)
    if latent is not None:
        np.savez(tmp_path / 'latent.npz', w=latent)
        session.load_file(tmp_path / 'latent.npz', Source())
    if space:
        session.set_space(space, layers)
    session.set_region('corner', BOX.T & ~BOX, protect=True)
    ready(session)
    session.set_strengths({('box', 0): 2.0, ('box', 2): -1.25})
    return session


def saved(session, tmp_path, with_photograph=True):
    path = tmp_path / 'work.zip'
    downloads.save_work(session, path, with_photograph)
    return path


def read(path, hook=None):
    folder = path.parent / 'reading'
    folder.mkdir(exist_ok=True)
    return read_work(path, folder, hook or TinyHook()).now


@pytest.mark.parametrize('space, layers', [(None, None), ('w', (1, 2)), ('z', None), ('w+', (0, 5)), ('s', None)])
def test_work_comes_back_as_it_was(tmp_path, space, layers):
    session = edited(space=space, layers=layers)
    session.measure('box')
    picture, before = np.asarray(session.render()), session.state
    state = read(saved(session, tmp_path))
    assert (state.source, state.space, state.layers) == (before.source, before.space, before.layers)
    assert state.strengths == before.strengths and list(state.regions) == ['corner', 'box']
    assert all((state.regions[name].mask == region.mask).all() and state.regions[name].protect == region.protect
               for name, region in before.regions.items())
    old, new = before.findings['box'], state.findings['box']
    assert (new.measured, new.quick, new.given, new.source) == (3, False, False, old.source)
    assert np.allclose(new.inside, old.inside, rtol=1e-5) and np.allclose(new.outside, old.outside, rtol=1e-5)
    assert (new.partition.mask == old.partition.mask).all()
    assert [(part.region.name, part.weight) for part in new.protect] == [('corner', 10.0)]
    again = make_session(TinyHook())
    again.adopt('opened', state)
    assert np.array_equal(np.asarray(again.render()), picture)
    again.picture_ends('box')
    assert len(again.finding('box').ends) == 3


def test_a_latent_that_no_seed_gives_comes_back(tmp_path):
    session = edited(latent=np.linspace(-1, 1, 32, dtype=np.float32).reshape(1, 8, 4), tmp_path=tmp_path)
    state = read(saved(session, tmp_path))
    assert state.sample.name == 'proj00' and 'w+ latents' in state.source.note
    for sample in (state.sample, state.findings['box'].sample):
        assert np.array_equal(sample.latents['ws'], session.state.sample.latents['ws'])


def test_directions_of_a_function_come_back(tmp_path):
    hook = TanhToy(shape=(3, 32, 32)).hook()
    session = edited(hook, source=Source(2))
    again = make_session(hook)
    again.adopt('opened', read(saved(session, tmp_path), hook))
    assert np.array_equal(np.asarray(again.render()), np.asarray(session.render()))


def test_steps_come_back_and_share_what_they_shared(tmp_path):
    session = edited()
    session.set_region('nose', BOX[::-1])
    session.factorize('nose')
    session.load_seed(Source(5))
    session.set_strengths({('box', 0): 1.0, ('nose', 1): 2.0})
    session.go(-2)
    session.measure('box')
    path, folder = saved(session, tmp_path), tmp_path / 'reading'
    folder.mkdir()
    history, again = read_work(path, folder, TinyHook()), make_session(TinyHook())
    assert [step.title for step in history.steps] == [step.title for step in session.history.steps]
    assert history.at == session.history.at == len(history.steps) - 3
    again.restore(history)
    for one in (session, again):
        one.go(-one.history.at)
    for _ in range(len(history.steps) - 1):
        assert session.go(1) and again.go(1)
        assert np.array_equal(np.asarray(again.render()), np.asarray(session.render()))
        assert again.state.strengths == session.state.strengths and list(again.state.regions) == list(
            session.state.regions)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    assert len([name for name in names if name.endswith('.npz')]) == 2  # each directions file once
    found = [step.state.findings['box'] for step in history.steps if 'box' in step.state.findings]
    assert len(found) > 2 and all(finding is found[0] for finding in found)


def test_only_the_nearest_steps_are_kept_and_none_of_another_photograph(monkeypatch):
    session = edited()
    for number in range(30):
        session.set_strengths({('box', 0): (number + 1) / 2})
    assert nearest_steps(session.history) == (len(session.history.steps) - MOST_STEPS, len(session.history.steps))
    session.go(-25)
    first, last = nearest_steps(session.history)
    assert last - first == MOST_STEPS and first <= session.history.at < last
    monkeypatch.setattr(archive, 'MOST_BYTES', 1)
    assert nearest_steps(session.history) == (session.history.at, session.history.at + 1)
    monkeypatch.undo()
    session.load_photograph('another', session.state.sample, 'a photograph')
    session.load_seed(Source(7))
    assert nearest_steps(session.history) == (len(session.history.steps) - 1, len(session.history.steps))


def changed(path, edit):
    """The archive with another index."""
    with zipfile.ZipFile(path) as old:
        files = {name: old.read(name) for name in old.namelist()}
    index = json.loads(files[INDEX])
    edit(index, files)
    files[INDEX] = json.dumps(index).encode()
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as new:
        for name, content in files.items():
            new.writestr(name, content)


def test_work_of_before_is_read(tmp_path):
    """Without names of files, edits by name and steps; nothing was shared then."""
    def as_before(index, files):
        for item in (index, *index['regions'], *index['findings']):
            for key in ('file', 'sample_file', 'protect_files', 'named'):
                item.pop(key, None)
        del files[STEPS]
        files['work/found/box-sample.npz'] = files['work/sample.npz']
        files['work/found/box-without-corner.png'] = files['work/regions/corner.png']

    session = edited(latent=np.linspace(-1, 1, 32, dtype=np.float32).reshape(1, 8, 4), tmp_path=tmp_path)
    path = saved(session, tmp_path)
    changed(path, as_before)
    state, again = read(path), make_session(TinyHook())
    assert [part.region.name for part in state.findings['box'].protect] == ['corner']
    again.adopt('opened', state)
    assert np.array_equal(np.asarray(again.render()), np.asarray(session.render()))


def put(**values):
    return lambda index, files: index.update(values)


@pytest.mark.parametrize('edit, message', [
    (put(format=2), 'newer version of the studio'),
    (put(sha256='b' * 64, network='other'), 'made with the network other, and this studio is open with tiny'),
    (put(image_shape=[3, 64, 64]), 'made with the network tiny'),
    (put(space='w++'), "space 'w\\+\\+' is not one of"),
    (put(layers=['all']), 'its layers are damaged'),
    (put(regions='all'), "'regions' is 'all', expected list"),
    (put(regions=[1]), "its 'regions' are damaged"),
    (put(regions=[{'name': '../../x', 'protect': False}]), 'no item named'),
    (put(strengths=[['box', 0]]), 'its strengths are damaged'),
    (put(strengths=[['nose', 0, 1]]), "it moves directions of 'nose', of which it has none"),
    (put(strengths=[['box', 3, 1]]), "'index' 3 is out of range"),
    (put(strengths=[['box', 0, 1e9]]), "'strength' 1e\\+09 is out of range"),
    (put(photograph={'digest': 'x'}), 'no item named'),
    (put(space='z'), "its directions of 'box' do not belong to it"),
    (lambda index, files: index['source'].update(seed=None), 'no item named'),
    (lambda index, files: index['source'].update(truncation_psi='x'), "'truncation_psi' is 'x', expected float"),
    (lambda index, files: index['findings'][0].update(measured=9), "'measured' 9 is out of range: expected 0 to 3"),
    (lambda index, files: index['findings'][0].update(protect=[3]), 'are damaged'),
    (lambda index, files: files.update({'work/regions/box.png': b'no picture'}), 'is not an image'),
    (lambda index, files: files.update({'work/regions/box.png': bytes(archive.MAX_FILE + 1)}), 'is larger than 24 MB'),
    (lambda index, files: files.update({f'{i}': b'' for i in range(300)}), 'more than 200 files'),
    (lambda index, files: index['findings'][0].update(named=True), 'is not fit for a file name'),
    (lambda index, files: index['findings'][0].update(protect_files=[]), "regions of 'box' are damaged"),
    (lambda index, files: index['regions'][0].update(file='../../etc/passwd'), 'no item named'),
    (lambda index, files: files.update({STEPS: b'[]'}), 'its list of steps is damaged'),
    (lambda index, files: files.update({STEPS: b'{"at": 0, "steps": []}'}), 'it has 0 steps, expected 1 to 20'),
    (lambda index, files: files.update({STEPS: b'{"at": 1, "steps": [{"title": "a", "state": null}]}'}),
     "'at' 1 is out of range"),
    (lambda index, files: files.update({STEPS: b'{"at": 0, "steps": [{"title": "a"}, {"title": "b"}]}'}),
     'its list of steps is damaged'),
    (lambda index, files: files.update({STEPS: b'{"at": 0, "steps": [{"state": null}]}'}), "'title' is None"),
])
def test_forged_work_is_refused(tmp_path, edit, message):
    path = saved(edited(), tmp_path)
    changed(path, edit)
    with pytest.raises(ResefaError, match=message):
        read(path)


def test_cut_and_foreign_archives_are_told(tmp_path):
    path = saved(edited(), tmp_path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ResefaError, match='damaged or cut off'):
        read(path)
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('notes.txt', 'nothing of ours')
    with pytest.raises(ResefaError, match='this zip holds no work of the studio'):
        kind_of(path)


def test_kinds_are_told_by_content(tmp_path):
    session = edited()
    directions = downloads.save_directions(session, 'box', tmp_path)
    everything = downloads.save_all(session, tmp_path, ['--network=tiny'])
    kinds = {directions: DIRECTIONS, everything: WORK, saved(session, tmp_path): WORK,
             downloads.save_picture(session, tmp_path): PHOTOGRAPH, downloads.save_latent(session, tmp_path): LATENT}
    (tmp_path / 'photo.heic').write_bytes(b'\0\0\0\x18ftypheic' + bytes(100))
    (tmp_path / 'empty').write_bytes(b'')
    kinds |= {tmp_path / 'photo.heic': PHOTOGRAPH, tmp_path / 'empty': LATENT}
    for path, kind in kinds.items():
        hidden = pathlib.Path(tmp_path / 'file')
        hidden.write_bytes(path.read_bytes())
        assert kind_of(hidden) == kind, path


def test_directions_bring_their_region_and_their_sample(tmp_path):
    path = downloads.save_directions(edited(), 'box', tmp_path)
    session = make_session(TinyHook())
    name, state = opened_directions(path, session.hook, session.state)
    assert name == 'box' and state.source == Source(3, 0.5) and state.findings['box'].given
    session.adopt('opened', state)
    session.set_strengths({('box', 0): 2.0, ('box', 2): -1.25})
    assert np.array_equal(np.asarray(session.render()), np.asarray(edited_and_measured().render()))


def edited_and_measured():
    session = edited()
    session.measure('box')
    session.set_strengths({('box', 0): 2.0, ('box', 2): -1.25})
    return session


def test_directions_beside_other_work_leave_its_sample_and_take_another_name(tmp_path):
    path = downloads.save_directions(edited(), 'box', tmp_path)
    session = make_session(TinyHook(), source=Source(8))
    session.set_region('other', ~BOX)
    session.set_region('box', BOX.T)
    prepare(session)
    session.factorize('other')
    session.set_strengths({('other', 0): 1.0})
    name, state = opened_directions(path, session.hook, session.state)
    assert name == 'box2' and list(state.regions) == ['other', 'box', 'box2'] and state.source == Source(8)
    assert state.strengths == {('other', 0): 1.0} and set(state.findings) == {'other', 'box2'}
    session.set_space('z')
    _, state = opened_directions(path, session.hook, session.state)
    assert state.space == 'w' and set(state.findings) == {'box2'}


def test_directions_of_another_network_are_refused(tmp_path):
    path = downloads.save_directions(edited(), 'box', tmp_path)
    toy = make_session(TanhToy().hook())
    with pytest.raises(ResefaError, match='the directions are for pictures'):
        opened_directions(path, toy.hook, toy.state)
