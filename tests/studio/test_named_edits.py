"""Edits by name of an atlas: sliders that are there before anything is found, and what is made of them."""

from __future__ import annotations

import dataclasses
import shlex
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from resefa_plugin import DirectionSet, ResefaError
from resefa_plugin.atlas.atlas import atlas_folder
from resefa_plugin.projection.alignment import Alignment
from resefa_plugin.projection.photograph import Photograph
from resefa_plugin.scripts.main import main
from resefa_plugin.studio.actions import Studio
from resefa_plugin.studio.files import downloads
from resefa_plugin.studio.files.archive import read_work
from resefa_plugin.studio.view import mask_url
from resefa_plugin.studio.work.named_edits import group_of, load_edits
from resefa_plugin.studio.work.photographs import Placed
from resefa_plugin.studio.work.sources import Source
from tests.helpers.atlases import known, write_edits
from tests.helpers.faces import box, forged
from tests.helpers.studio_pages import BOX, Page, make_session, picture, prepare
from tests.helpers.toys import TinyHook

FLAGS = ['--network=tiny']


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    """The folder of fetched files, with an atlas and edits by name, and the options of a studio that knows them."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp('cache')
    patch.setenv('RESEFA_CACHE', str(folder))
    yield folder, known(TinyHook(), atlas_folder(TinyHook()))
    patch.undo()


@pytest.fixture
def options(cache, monkeypatch):
    monkeypatch.setenv('RESEFA_CACHE', str(cache[0]))
    return cache[1]


@pytest.fixture
def session(options):
    return make_session(TinyHook(), source=Source(3, 0.5), **options)


@pytest.fixture
def page(options):
    studio = Studio(TinyHook(), FLAGS, session_options={**options, 'source': Source(3, 0.5)})
    page = Page(studio)
    page.settle()
    yield page
    studio.close()


def test_edits_are_listed_by_the_parts_that_they_change(page):
    edits = page.opened['network']['edits']
    assert [(edit['group'], edit['less'], edit['more']) for edit in edits] == [
        ('Eyes', 'eyes close', 'eyes open'), ('Mouth', 'mouth closes', 'mouth opens'),
        ('Mouth', 'smile fades', 'smile'), ('Hair', 'hair darkens', 'hair lightens')]
    assert all(edit['works'] == 14 and edit['faces'] == 16 and len(edit['levels']) == 2 for edit in edits)
    state = page.opened['state']
    assert state['edits_fit'] and state['edits'] == [] and state['directions'] == {}
    assert page.opened['network']['edits_command'] == 'resefa atlas --network=tiny --trunc=0.5 --edits'


@pytest.mark.parametrize('region, group', [
    ('parser_upper_lip', 'Mouth'), ('parser_mouth', 'Mouth'), ('mouth', 'Mouth'), ('left_eye', 'Eyes'),
    ('eyebrows', 'Eyebrows'), ('parser_cloth', 'Clothes'), ('left_cheek', 'Cheek'), ('face', 'Face'),
    ('glasses', 'Eyes'), ('parser_glasses', 'Glasses')])
def test_groups_have_the_names_of_parts(region, group):
    assert group_of(region) == group


def test_a_slider_that_is_moved_is_an_edit_and_one_step(page, options):
    moved = page.good('render', strengths=[['do mouth opens', 0, 2.0]], full=True)
    state = moved['state']
    assert state['steps'] == ['Seed 3', 'mouth opens: +2.0'] and state['strengths'] == [['do mouth opens', 0, 2.0]]
    assert [edit['more'] for edit in state['edits']] == ['mouth opens'] and state['directions'] == {}
    finding = dict(options['named'])['do mouth opens']
    session = page.studio.store.get(page.token).session
    expected = finding.directions.picture(session.hook, session.state.sample, 1, 2.0)
    assert np.array_equal(np.asarray(session.render()), np.asarray(expected))
    assert moved['picture'] != page.opened['picture']
    heat = page.good('heat')
    assert heat['inside'] > heat['outside'] > 0  # of the region of the edit
    undone = page.good('go', steps=-1)
    assert undone['picture'] == undone['original'] and undone['state']['edits'] == []
    assert page.good('go', steps=1)['picture'] == moved['picture']
    back = page.good('render', strengths=[], full=True)['state']
    assert back['steps'][-1] == 'mouth opens: +0.0' and back['edits'] == []


def test_it_goes_with_directions_of_regions(page):
    page.with_directions()
    both = [['mouth', 0, 1.0], ['do hair lightens', 0, -1.5]]
    page.good('render', strengths=both, full=False)  # dragged
    state = page.good('render', strengths=both, full=True)['state']
    assert state['strengths'] == both and list(state['directions']) == ['mouth']
    assert state['steps'][-1] == '2 sliders' and len(state['edits']) == 1
    page.good('seed', seed=5)
    state = page.settle()['state']
    assert state['strengths'] == both  # tried on another sample, as directions are
    kept = page.good('keep', keep=True)
    assert kept['picture'] != page.good('keep', keep=False)['picture']


def test_in_another_space_they_are_not_offered(page):
    page.good('render', strengths=[['do smile', 0, 1.0]], full=True)
    state = page.good('space', space='w', layers='')['state']
    assert not state['edits_fit'] and state['edits'] == [] and state['strengths'] == []
    assert 'has no directions yet' in page.ask('render', strengths=[['do smile', 0, 1.0]])['error']
    assert page.good('go', steps=-1)['state']['strengths'] == [['do smile', 0, 1.0]]


def test_no_region_has_the_key_of_an_edit(page):
    assert 'is not fit for a file name' in page.ask('region', name='do smile', mask=mask_url(BOX))['error']
    assert "no region 'do smile' to change" in page.ask('factorize', name='do smile')['error']
    assert 'direction 2 is out of range' in page.ask('render', strengths=[['do smile', 1, 1.0]])['error']


def test_without_an_atlas_the_page_is_told_what_to_run():
    studio = Studio(TinyHook(), FLAGS)
    try:
        network = Page(studio).opened['network']
        assert network['edits'] == [] and not network['own_parts']
        assert network['edits_command'] == 'resefa atlas --network=tiny --trunc=1 --edits'
    finally:
        studio.close()


def test_work_with_edits_comes_back_also_where_nobody_knows_them(session, options, tmp_path):
    session.set_strengths({('do mouth opens', 0): 2.0, ('do smile', 0): -1.0})
    path = tmp_path / 'work.zip'
    downloads.save_work(session, path)
    (tmp_path / 'reading').mkdir()
    history = read_work(path, tmp_path / 'reading', TinyHook())
    history.renew(options['named'].recognised)
    assert history.now.findings['do smile'] is dict(options['named'])['do smile']
    stranger = make_session(TinyHook())
    stranger.restore(read_work(path, tmp_path / 'reading', TinyHook()))
    assert np.array_equal(np.asarray(stranger.render()), np.asarray(session.render()))
    name = stranger.finding('do smile').name
    assert (name.more, name.less, name.group, name.usual) == ('smile', 'smile fades', 'Mouth', False)
    text, files = downloads.save_line(stranger, tmp_path, FLAGS)
    assert '--do' not in text and [file.name for file in files] == ['mouth-opens.npz', 'smile.npz']
    stranger.set_strengths({('do smile', 0): 1.0}, remember=False)
    stranger.set_strengths({('do mouth opens', 0): 1.0})  # while one of them was at zero


def run(text, home, monkeypatch):
    home.mkdir(exist_ok=True)
    monkeypatch.chdir(home)
    for line in text.replace(' && ', '\n').splitlines():
        if line and not line.startswith('#'):
            result = CliRunner().invoke(main, shlex.split(line)[1:])
            assert result.exit_code == 0, f'{line}\n{result.output}'


def test_the_copied_line_calls_them_by_name(tiny, session, tmp_path, monkeypatch):
    session.set_region('box', BOX)
    prepare(session)
    session.factorize('box')
    session.set_strengths({('do mouth opens', 0): 1.5, ('box', 0): 1.0, ('do smile', 0): -2.0})
    text, files = downloads.save_line(session, tmp_path, FLAGS)
    assert files == [] and "'--do=mouth opens' --amount=1.5" in text and '--do=smile --amount=-2.0' in text
    run(text, tmp_path / 'home', monkeypatch)
    made = np.asarray(Image.open(tmp_path / 'home' / 'resefa-out' / 'seed0003-00.png')).astype(int)
    assert np.abs(made - np.asarray(session.render())).max() <= 1


def test_the_zip_holds_their_files_and_needs_no_atlas(tiny, session, tmp_path, monkeypatch):
    session.set_strengths({('do mouth opens', 0): 1.5, ('do smile', 0): -2.0})
    path = downloads.save_all(session, tmp_path, FLAGS)
    zipfile.ZipFile(path).extractall(tmp_path / 'home')
    names = [file.name for file in (tmp_path / 'home').iterdir()]
    assert {'mouth-opens.npz', 'smile.npz', 'seed0003-edited.png'} < set(names) and 'mouth-opens.png' not in names
    monkeypatch.setenv('RESEFA_CACHE', str(tmp_path / 'nothing'))
    run((tmp_path / 'home' / 'commands.txt').read_text(), tmp_path / 'home', monkeypatch)
    made = np.asarray(Image.open(tmp_path / 'home' / 'edit' / 'seed0003-00.png')).astype(int)
    assert np.abs(made - np.asarray(session.render())).max() <= 1


def test_directions_of_an_edit_are_saved_under_its_name(page):
    page.good('render', strengths=[['do mouth opens', 0, 2.0]], full=True)
    assert page.good('download', kind='directions', region='do mouth opens')['name'] == 'mouth-opens.npz'
    assert page.good('download', kind='strip')['name'] == 'seed0003-strip.png'


def test_edits_of_a_photograph_are_laid_into_it(session):
    whole = Image.linear_gradient('L').resize((64, 64)).convert('RGB')
    placed = Placed(Photograph(whole, 'me', ()), Alignment((16.0, 16.0), (32.0, 0.0), (0.0, 32.0)), b'file')
    session.load_photograph(placed, session.state.sample, 'a photograph')
    session.set_strengths({('do mouth opens', 0): 3.0})
    changed = (np.asarray(session.render_whole()) != np.asarray(whole)).any(axis=-1)
    assert 0 < changed.mean() < 0.25 and not changed[:30].any()  # the mouth is in the lower half of the frame
    session.load_photograph(placed, session.state.sample, 'again')
    assert session.state.findings == {} and session.state.strengths == {}


def test_edits_of_another_space_or_a_forged_file_are_left_out_or_refused(options, tmp_path):
    hook = TinyHook()
    write_edits(hook, tmp_path, 'w')
    assert len(load_edits(tmp_path, options['atlas'], hook)) == 0
    write_edits(hook, tmp_path, 's', [('mouth opens', 'mouth closes', 'mouth', (0, 0, 0.5, 0.5))])
    path = tmp_path / 'edits' / 'mouth-opens.npz'
    found = DirectionSet.load(path)
    extra = {**found.metadata.extra, 'works': '<b>', 'labels': ['???']}
    dataclasses.replace(found, metadata=dataclasses.replace(found.metadata, extra=extra)).save(path)
    with pytest.raises(ResefaError, match='is not fit for a file name'):
        load_edits(tmp_path, options['atlas'], hook)
    path.write_bytes(b'no file')
    with pytest.raises(ResefaError, match='mouth-opens.npz'):
        load_edits(tmp_path, options['atlas'], hook)


def test_the_command_finds_them_beside_the_atlas(tiny, options, monkeypatch):
    seen = []

    class Served:
        local_url = ''

        def launch(self, **options):
            pass

        def block_thread(self):
            pass

    monkeypatch.setattr('resefa_plugin.scripts.studio.build_page', lambda studio: seen.append(studio.named) or Served())
    for more, count in ((['--atlas=none'], 0), ([], 4), ([f'--atlas={atlas_folder(TinyHook())}'], 4)):
        result = CliRunner().invoke(main, ['studio', '--network=tiny', '--no-browser', *more])
        assert result.exit_code == 0 and len(seen[-1]) == count, result.output


# The parts that the network has itself


def test_parts_of_the_network_can_be_pointed_at(page, options):
    answer = page.good('parts', own=True)
    labels, names = picture(answer['map']), answer['parts']
    regions = options['atlas'].own_regions(8, (32, 32))
    assert answer['own'] and names == [f'part{number}' for number in range(1, len(regions) + 1)]
    for number, region in enumerate(regions):
        assert np.array_equal(labels == number, region.mask)
    mask = picture(page.good('part', part='part3', own=True)['mask'])
    assert np.array_equal(mask > 0, regions[2].mask)
    assert "no 'part9' is seen" in page.ask('part', part='part9', own=True)['error']
    assert page.studio.store.get(page.token).session.networks is None  # no face, and nothing that names


def test_where_no_face_is_seen_parts_of_the_network_are(page):
    page.studio.networks = forged([box('hair', 20, 60, 400, 380)])
    assert page.good('parts')['own']


def test_without_an_atlas_there_are_none():
    studio = Studio(TinyHook(), FLAGS)
    try:
        assert 'make it once with `resefa atlas`' in Page(studio).ask('parts', own=True)['error']
    finally:
        studio.close()


def test_a_page_takes_its_steps_back(page, options):
    page.good('render', strengths=[['do mouth opens', 0, 2.0]], full=True)
    page.good('render', strengths=[['do mouth opens', 0, 2.0], ['do smile', 0, 1.0]], full=True)
    page.good('go', steps=-1)
    content = page.good('work')['content']
    other = Page(page.studio)
    opened = other.good('open_file', name='work', content=content)['state']
    assert opened['steps'] == ['Seed 3', 'Work is opened']
    other = Page(page.studio)
    restored = other.good('open_file', name='work', content=content, steps=True)['state']
    assert restored['steps'] == ['Seed 3', 'mouth opens: +2.0', 'smile: +1.0'] and restored['step'] == 1
    assert other.good('go', steps=1)['state']['strengths'] == [['do mouth opens', 0, 2.0], ['do smile', 0, 1.0]]
