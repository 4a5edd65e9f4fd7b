"""What the studio saves, and that its command lines make the same picture again."""

from __future__ import annotations

import builtins
import shlex
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from resefa_plugin import DirectionSet, RegionPartition, ResefaError
from resefa_plugin.scripts.main import main
from resefa_plugin.studio.files import downloads
from resefa_plugin.studio.files.command_line import commands
from resefa_plugin.studio.files.opening import opened_directions
from resefa_plugin.studio.work.cache import JacobianCache
from resefa_plugin.studio.work.session import Session
from resefa_plugin.studio.work.sources import Source
from tests.helpers.studio_pages import prepare
from tests.helpers.toys import TinyHook

FLAGS = ['--network=tiny']


SOURCE = Source(seed=3, truncation_psi=0.5)


def edited(source=SOURCE, space='w', layers=None, protect=False):
    """Two regions, three sliders."""
    session = Session(TinyHook(), JacobianCache(1 << 30), source=source, num_directions=3)
    session.set_space(space, layers)
    return with_edit(session, protect)


def with_edit(session, protect=False):
    top, bottom, corner = (np.zeros((32, 32), bool) for _ in range(3))
    top[4:12, 4:20], bottom[20:28, 10:30], corner[:6, :8] = True, True, True
    session.set_region('top', top)
    session.set_region('bottom', bottom)
    if protect:
        session.set_region('corner', corner, protect=True)
    prepare(session)
    session.factorize('top')
    session.factorize('bottom')
    session.set_strengths({('top', 0): 2.0, ('bottom', 1): -1.37, ('top', 2): 0.1})
    return session


def unpacked(session, tmp_path):
    path = downloads.save_all(session, tmp_path / 'saved', FLAGS)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / 'home')
        return sorted(archive.namelist())


def type_in(text, folder, monkeypatch):
    monkeypatch.chdir(folder)
    for line in text.splitlines():
        if not line.startswith('#'):
            result = CliRunner().invoke(main, shlex.split(line)[1:])
            assert result.exit_code == 0, f'{line}\n{result.output}'


def test_everything_in_one_archive(tmp_path):
    names = unpacked(edited(protect=True), tmp_path)
    assert [name for name in names if not name.startswith('work/')] == [
        'bottom.png', 'commands.txt', 'corner.png', 'seed0003-bottom.npz', 'seed0003-edited.npz', 'seed0003-edited.png',
        'seed0003-top.npz', 'top.png']
    assert {'work/index.json', 'work/regions/corner.png', 'work/found/top.npz'} < set(names)


@pytest.mark.parametrize('space, layers', [('w', None), ('w', (1, 2)), ('z', None), ('w+', (0, 5)), ('s', None)])
def test_the_saved_directions_make_the_same_picture_to_the_bit(tiny, tmp_path, monkeypatch, space, layers):
    session = edited(space=space, layers=layers)
    unpacked(session, tmp_path)
    edit = [line for line in commands(session, FLAGS).splitlines() if line.startswith('resefa edit')]
    type_in('\n'.join(edit), tmp_path / 'home', monkeypatch)
    made = np.asarray(Image.open(tmp_path / 'home' / 'edit' / 'seed0003-00.png'))
    assert np.array_equal(made, np.asarray(session.render()))
    assert np.array_equal(made, np.asarray(Image.open(tmp_path / 'home' / 'seed0003-edited.png')))
    saved, again = (np.load(tmp_path / 'home' / name) for name in ('seed0003-edited.npz', 'edit/seed0003-00.npz'))
    assert saved.files == again.files and all(np.array_equal(saved[key], again[key]) for key in saved.files)


@pytest.mark.parametrize('protect', [False, True])
def test_the_directions_can_be_found_again(tiny, tmp_path, monkeypatch, protect):
    session = edited(protect=protect)
    unpacked(session, tmp_path)
    home = tmp_path / 'home'
    saved = {name: DirectionSet.load(home / f'seed0003-{name}.npz') for name in ('top', 'bottom')}
    for path in home.glob('seed0003-*.npz'):
        path.unlink()
    type_in((home / 'commands.txt').read_text(), home, monkeypatch)
    for name, expected in saved.items():
        found = DirectionSet.load(home / f'seed0003-{name}.npz')
        assert len(found) == len(expected)
        for array in ('directions', 'eigenvalues', 'step', 'mask', 'measured_inside'):
            assert np.allclose(getattr(found, array), getattr(expected, array), rtol=1e-5, atol=1e-6), array
    made = np.asarray(Image.open(home / 'edit' / 'seed0003-00.png')).astype(int)
    assert np.abs(made - np.asarray(session.render()).astype(int)).max() <= 1


@pytest.mark.parametrize('arrays, psi', [({'w': np.full((1, 8, 4), 0.3, np.float32)}, 1.0),
                                         ({'z': np.full((1, 4), 0.8, np.float32)}, 0.5)])
def test_an_uploaded_latent_is_saved_for_the_commands(tiny, tmp_path, monkeypatch, arrays, psi):
    np.savez(tmp_path / 'mine.npz', **arrays)
    session = Session(TinyHook(), JacobianCache(1 << 30), num_directions=3)
    session.load_file(tmp_path / 'mine.npz', Source(truncation_psi=psi))
    with_edit(session)
    assert 'original.npz' in unpacked(session, tmp_path)
    text = (tmp_path / 'home' / 'commands.txt').read_text()
    assert ('--trunc=0.5' in text) == ('z' in arrays) and '--projected-w=original.npz' in text
    type_in(text.partition('# The picture')[2].partition('\n')[2], tmp_path / 'home', monkeypatch)
    made = np.asarray(Image.open(tmp_path / 'home' / 'edit' / 'proj00-00.png'))
    assert np.array_equal(made, np.asarray(session.render()))


def test_a_bent_edit_is_made_again_from_its_latent(tiny, tmp_path, monkeypatch):
    session = edited()
    session.set_keep(True)
    session.keep_background()
    unpacked(session, tmp_path)
    line = commands(session, FLAGS).splitlines()[-1]
    assert '--projected-w=seed0003-edited.npz' in line
    type_in(line, tmp_path / 'home', monkeypatch)
    made = np.asarray(Image.open(tmp_path / 'home' / 'edit' / 'proj00-00.png'))
    assert np.array_equal(made, np.asarray(session.render()))


def test_directions_of_another_sample_are_found_where_they_were_found():
    session = edited()
    session.load_seed(Source(seed=9))
    lines = commands(session, FLAGS).splitlines()
    assert all('--seeds=3 --trunc=0.5' in line for line in lines if line.startswith('resefa factorize'))
    assert '--seeds=9 --trunc=1.0 --directions=seed0003-top.npz' in lines[-1] and '--straight' in lines[-1]


def test_no_commands_before_there_is_anything(tmp_path):
    session = Session(TinyHook(), JacobianCache(1 << 30))
    assert commands(session, FLAGS) == '' and downloads.save_line(session, tmp_path, FLAGS) == ('', [])


# The line that is copied


def run_line(session, tmp_path, monkeypatch, name):
    """Runs the line in a folder with the files that come with it; these files, and the picture that it makes."""
    text, files = downloads.save_line(session, tmp_path / 'files', FLAGS)
    home = tmp_path / 'home'
    home.mkdir()
    for path in files:
        path.rename(home / path.name)
    assert '\n' not in text
    type_in(text.replace(' && ', '\n'), home, monkeypatch)
    made = np.asarray(Image.open(home / 'resefa-out' / f'{name}-00.png')).astype(int)
    assert np.abs(made - np.asarray(session.render()).astype(int)).max() <= 1
    return text, sorted(path.name for path in files)


def test_a_line_of_boxes_needs_no_file(tiny, tmp_path, monkeypatch):
    text, files = run_line(edited(), tmp_path, monkeypatch, 'seed0003')
    assert files == [] and '--region=top=4,4,16,8' in text and '--region=bottom=10,20,20,8' in text


def test_a_line_protects_what_the_page_does(tiny, tmp_path, monkeypatch):
    text, files = run_line(edited(protect=True), tmp_path, monkeypatch, 'seed0003')
    assert files == ['top.png'] and "'--protect=10*0,0,8,6'" in text  # a corner of it is protected: it is no box


def test_a_line_has_presets_by_name_and_masks_with_it(tiny, tmp_path, monkeypatch):
    session = Session(TinyHook(), JacobianCache(1 << 30), source=SOURCE, num_directions=3)
    blob = np.zeros((32, 32), bool)
    blob[20:28, 10:30] = blob[18, 12] = True
    for name, mask in (('mouth', RegionPartition.from_preset('mouth', (32, 32)).mask), ('blob', blob),
                       ('lips', RegionPartition.from_preset('nose', (32, 32)).mask)):
        session.set_region(name, mask)
    prepare(session)
    for name in ('mouth', 'blob', 'lips'):
        session.factorize(name)
    session.set_strengths({('mouth', 0): 1.0, ('blob', 1): -1.0, ('lips', 0): 0.5})
    text, files = run_line(session, tmp_path, monkeypatch, 'seed0003')
    assert files == ['blob.png'] and ' --region=mouth ' in text and ' --region=lips=nose ' in text
    assert ' --region=blob=mask:blob.png ' in text


def test_a_line_of_another_sample_is_straight_as_the_page_is(tiny, tmp_path, monkeypatch):
    session = edited()
    session.load_seed(Source(seed=9))
    text, files = run_line(session, tmp_path, monkeypatch, 'seed0009')
    assert files == [] and '--straight' in text and '--seeds=3' in text and '--seeds=9' in text


def test_a_line_reads_what_no_command_finds(tiny, tmp_path, monkeypatch):
    np.savez(tmp_path / 'mine.npz', w=np.full((1, 8, 4), 0.3, np.float32))
    session = Session(TinyHook(), JacobianCache(1 << 30), num_directions=3)
    session.load_file(tmp_path / 'mine.npz', Source())
    _, files = run_line(with_edit(session), tmp_path, monkeypatch, 'proj00')
    assert files == ['original.npz']


def test_a_line_of_given_directions_reads_them(tiny, tmp_path, monkeypatch):
    path = downloads.save_directions(edited(), 'top', tmp_path)
    session = Session(TinyHook(), JacobianCache(1 << 30), source=SOURCE)
    name, state = opened_directions(path, session.hook, session.state)
    session.adopt('opened', state)
    session.set_strengths({(name, 0): 2.0})
    text, files = run_line(session, tmp_path, monkeypatch, 'seed0003')
    assert files == ['seed0003-top.npz'] and 'factorize' not in text


def test_a_line_of_a_bent_edit(tiny, tmp_path, monkeypatch):
    session = edited()
    session.set_keep(True)
    session.keep_background()
    _, files = run_line(session, tmp_path, monkeypatch, 'proj00')
    assert files == ['seed0003-edited.npz', 'seed0003-top.npz']


def test_saved_directions_are_measured(tmp_path):
    session = edited()
    loaded = DirectionSet.load(downloads.save_directions(session, 'top', tmp_path))
    assert session.finding('top').measured == 3 and np.allclose(np.sqrt(loaded.measured_inside), 0.1, rtol=0.03)
    assert loaded.metadata.truncation_psi == 0.5 and loaded.metadata.seeds == (3,)


def test_strip_and_animations(tmp_path):
    session = edited()
    session.set_strengths({('top', 0): 12.0})  # far enough to be told from what WebP loses
    strip = Image.open(downloads.save_strip(session, tmp_path))
    assert strip.width > 5 * 256 - 10
    film = Image.open(downloads.save_animation(session, tmp_path))
    assert film.format == 'WEBP' and film.size == (32, 32)
    assert 8 < film.n_frames <= downloads.FRAMES  # equal neighbours become one
    frames = []
    for number in (0, film.n_frames // 2):
        film.seek(number)
        frames.append(np.asarray(film.convert('RGB')).astype(int))
    for scale, nearer in ((0.0, 0), (1.0, 1)):  # WebP loses much of a picture that is noise, so that they are compared
        distances = [np.abs(frame - np.asarray(session.render(scale=scale))).mean() for frame in frames]
        assert np.argmin(distances) == nearer


def test_mp4(tmp_path):
    ffmpeg = pytest.importorskip('imageio_ffmpeg')
    path = downloads.save_animation(edited(), tmp_path, kind='mp4')
    reader = ffmpeg.read_frames(str(path))
    facts = next(reader)
    assert facts['size'] == (32, 32) and facts['codec'] == 'h264' and sum(1 for _ in reader) == downloads.FRAMES
    assert list(tmp_path.iterdir()) == [path]


def test_mp4_without_its_extra(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args):
        if name == 'imageio_ffmpeg':
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, '__import__', without)
    with pytest.raises(ResefaError, match="mp4 needs the extra 'video': pip install"):
        downloads.save_animation(edited(), tmp_path, kind='mp4')
    assert not list(tmp_path.iterdir())


def test_errors(tmp_path):
    session = Session(TinyHook(), JacobianCache(1 << 30))
    for save in (downloads.save_strip, downloads.save_animation):
        with pytest.raises(ResefaError, match='nothing is changed yet: move a slider'):
            save(session, tmp_path)
    with pytest.raises(ResefaError, match="animation 'gif' is not one of webp, mp4"):
        downloads.save_animation(session, tmp_path, kind='gif')
    with pytest.raises(ResefaError, match="region 'x' has no directions yet"):
        downloads.save_directions(session, 'x', tmp_path)


@pytest.mark.parametrize('name', ['../x.npz', '/etc/passwd.png', 'a/b.npz', 'a\\b.npz', '.npz', 'x', 'x.npz\n', '..npz',
                                  'x.tar.gz', '', 'c:x.npz'])
def test_no_file_leaves_its_folder(tmp_path, name):
    with pytest.raises(ResefaError, match='is not a file name of the studio'):
        downloads.safe_path(tmp_path, name)


# The command that adds directions up


def test_edit_keeps_the_background_of_several_directions(tiny, tmp_path):
    session = edited()
    for name in ('top', 'bottom'):
        downloads.save_directions(session, name, tmp_path)
    arguments = ['--seeds=3', '--trunc=0.5', f'--directions={tmp_path}/seed0003-top.npz',
                 f'--directions={tmp_path}/seed0003-bottom.npz', '--index=1', '--strength=3,3', '--steps=1']
    pictures = {}
    for name, more in (('straight', []), ('kept', ['--keep-background'])):
        edit(tmp_path / name, *arguments, *more)
        pictures[name] = np.asarray(Image.open(tmp_path / name / 'out' / 'seed0003-00.png')).astype(float)
    original = np.asarray(session.render(scale=0.0)).astype(float)
    outside = ~(session.finding('top').partition.mask | session.finding('bottom').partition.mask)
    kept, straight = (np.square(pictures[name] - original)[outside].mean() for name in ('kept', 'straight'))
    assert kept < straight


def edit(tmp_path, *arguments, code=0):
    result = CliRunner().invoke(main, ['edit', '--network=tiny', f'--outdir={tmp_path}/out', *arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def files(tiny, tmp_path):
    session = edited()
    return [downloads.save_directions(session, name, tmp_path) for name in ('top', 'bottom')]


def test_edit_adds_directions(files, tmp_path):
    top, bottom = map(DirectionSet.load, files)
    edit(tmp_path, '--seeds=0', '--trunc=1', '--straight', f'--directions={files[0]}', '--index=2', '--strength=-1,1',
         f'--directions={files[1]}', '--index=1', '--strength=0,3', '--steps=3')
    ws = [np.load(tmp_path / 'out' / f'seed0000-0{i}.npz')['w'] for i in range(3)]
    w = TinyHook().sample(0).latents['ws'].numpy()
    for i, (a, b) in enumerate([(-1, 0), (0, 1.5), (1, 3)]):
        expected = w + a * top.step[1] * top.directions[1] + b * bottom.step[0] * bottom.directions[0]
        assert np.allclose(ws[i], expected, atol=1e-5)


def test_edit_takes_one_file_for_several_indices_and_lengths(files, tmp_path):
    top = DirectionSet.load(files[0])
    edit(tmp_path, '--seeds=0', '--trunc=1', '--straight', f'--directions={files[0]}', '--index=1', '--strength=1,1',
         '--index=3', '--strength=-2,-2', '--steps=1', '--alpha')
    w = np.load(tmp_path / 'out' / 'seed0000-00.npz')['w']
    expected = TinyHook().sample(0).latents['ws'].numpy() + top.directions[0] - 2 * top.directions[2]
    assert np.allclose(w, expected, atol=1e-5)


def test_edit_errors(files, tmp_path):
    assert 'give each of --directions, --index, --strength once or 3 times' in ' '.join(
        edit(tmp_path, f'--directions={files[0]}', f'--directions={files[1]}', '--index=1', '--index=2', '--index=1',
             code=2).split())
    assert 'has directions 1 to 3' in edit(tmp_path, f'--directions={files[0]}', '--index=1', '--index=4', code=2)
    other = downloads.save_directions(edited(space='z'), 'top', tmp_path / 'z')
    assert 'several latent spaces' in edit(tmp_path, f'--directions={files[0]}', f'--directions={other}', code=2)
