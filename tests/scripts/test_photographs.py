"""`resefa align` and `resefa photo`, with a small generator and a finder that knows where faces are."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from resefa_plugin import Auto, DirectionSet, Factorizer, RegionPartition, Viewpoint
from resefa_plugin.atlas.atlas import atlas_folder
from resefa_plugin.atlas.builder import AtlasBuilder
from resefa_plugin.editing.paste import Patch, weights
from resefa_plugin.editing.strength import render_edits
from resefa_plugin.hooks.function import FunctionHook
from resefa_plugin.machine.pixels import to_uint8
from resefa_plugin.projection.alignment import Alignment
from resefa_plugin.scripts.common.photographs import same_person
from resefa_plugin.scripts.main import main
from resefa_plugin.third_party.example_photographs import astronaut
from tests.helpers.photographs import find_two, without_downloads, write_portrait
from tests.helpers.toys import TinyHook


def invoke(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def portrait(tmp_path, monkeypatch):
    without_downloads(monkeypatch)
    path = tmp_path / 'portrait.jpg'
    write_portrait(path)
    noise = np.random.RandomState(0).randint(0, 256, (15, 20, 3)).astype(np.uint8).repeat(20, 0).repeat(20, 1)
    Image.fromarray(noise).save(tmp_path / 'noisy.png', dpi=(300, 300))
    return path


def test_align_writes_the_picture_and_the_map(portrait, tmp_path):
    output = invoke('align', f'--target={tmp_path}/noisy.png', '--size=64', f'--outdir={tmp_path}/out')
    assert 'noisy.png: 2 faces were found, and face 1 was taken' in output
    record = json.loads((tmp_path / 'out' / 'noisy-alignment.json').read_text())
    larger = Alignment.from_points(find_two(None)[0].points)
    np.testing.assert_allclose(record['matrix'], larger.matrix((64, 64)))
    np.testing.assert_allclose(record['points'], find_two(None)[0].points, atol=0.01)
    pixels = np.asarray(Image.open(tmp_path / 'noisy.png'))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'out' / 'noisy-aligned.png')),
                                  larger.picture(pixels, (64, 64)))
    assert Image.open(tmp_path / 'out' / 'noisy-faces.jpg').size == (400, 300)


def test_align_another_face_by_number_and_by_hand(portrait, tmp_path):
    points = find_two(None)[1].points[[0, 1, 3, 4]]
    by_hand = ','.join(f'{x:g}' for x in points.ravel())
    for name, option in (('number', '--face=2'), ('hand', f'--align={by_hand}')):
        invoke('align', f'--target={portrait}', option, '--size=32', f'--outdir={tmp_path}/{name}')
    number, hand = ((tmp_path / name / 'portrait-alignment.json').read_text() for name in ('number', 'hand'))
    assert json.loads(number)['matrix'] == json.loads(hand)['matrix']


@pytest.mark.parametrize('option, message', [
    ('--face=3', 'there is no face 3'), ('--align=none', 'crop it to that shape'), ('--align=1,2,3', '3 numbers are'),
    ('--align=nose', 'is not auto, none or x,y'), ('--face=0', 'Invalid value for')])
def test_align_says_what_to_do(portrait, tmp_path, option, message):
    result = CliRunner().invoke(main, ['align', f'--target={portrait}', option, f'--outdir={tmp_path}/out'])
    assert result.exit_code and message in ' '.join(result.output.split())


@pytest.fixture
def edited(portrait, tiny, tmp_path):
    """The folder of a run on a noisy photograph, and what the command said."""
    output = invoke('photo', '--network=tiny', f'--target={tmp_path}/noisy.png', '--region=0.3,0.5,0.4,0.3',
                    '--passes=25', '--num-directions=2', f'--outdir={tmp_path}/out')
    return tmp_path / 'out', output


def found(folder):
    """The directions file."""
    path, = (path for path in folder.glob('noisy-*.npz') if path.stem != 'noisy-projection')
    return path


def test_photo_changes_the_region_and_nothing_else(edited, tmp_path):
    folder, output = edited
    photograph = np.asarray(Image.open(tmp_path / 'noisy.png'))
    directions = DirectionSet.load(found(folder))
    alignment = Alignment.from_points(find_two(None)[0].points)
    size = np.zeros((32, 32, 3), np.uint8)
    weight = weights((300, 400), Patch(size, size, directions.mask, alignment.matrix((32, 32))))
    paths = sorted(folder.glob('noisy-*-low.png')) + sorted(folder.glob('noisy-*-high.png'))
    assert len(paths) == 4 and all(str(path) in output for path in paths)
    for path in paths:
        image = Image.open(path)
        pixels = np.asarray(image)
        assert image.size == (400, 300) and image.info['dpi'][0] == pytest.approx(300, abs=0.1)
        np.testing.assert_array_equal(pixels[weight == 0], photograph[weight == 0])
        assert (pixels != photograph)[weight > 0.5].mean() > 0.5
        assert 'resefa' in image.text['Description']
        assert 'digitalsourcetype/compositeWithTrainedAlgorithmicMedia' in image.text['XML:com.adobe.xmp']
    assert 'standard deviations from the mean, 25 passes' in output
    assert {'noisy-aligned.png', 'noisy-projected.png', 'projected_w.npz', 'options.json'} <= {
        path.name for path in folder.iterdir()}
    strip, = folder.glob('noisy-*-strip.jpg')
    assert b'edited photograph' in Image.open(strip).info['comment']
    assert 'edited photograph' in Image.open(folder / 'noisy-projected.png').text['Description']
    assert 'consent of the person' in output and "Licence of the generator's weights: CC0" in output


def test_photo_goes_on_with_edit(edited, tmp_path):
    folder, _ = edited
    directions = found(folder)
    invoke('edit', '--network=tiny', f'--projected-w={folder}/projected_w.npz', f'--directions={directions}',
           '--steps=2', f'--outdir={tmp_path}/edits')
    assert (tmp_path / 'edits' / 'grid.png').is_file()


def test_photo_makes_an_edit_by_name(portrait, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv('RESEFA_CACHE', str(tmp_path / 'cache'))
    invoke('factorize', '--network=tiny', '--seeds=0,1', '--region=0.3,0.5,0.4,0.3', '--num-directions=1',
           '--other-seeds=9', f'--outdir={tmp_path}/pool')
    file, = (tmp_path / 'pool').glob('pooled-*.npz')
    directions = DirectionSet.load(file).labelled(['mouth opens +'])
    directions.metadata.extra['less'] = 'mouth closes'
    directions.save(atlas_folder(TinyHook()) / 'edits' / 'mouth-opens.npz')
    options = ['photo', '--network=tiny', f'--target={tmp_path}/noisy.png', '--passes=5', f'--outdir={tmp_path}/out']
    invoke(*options, '--do=Mouth closes', '--amount=1.5')
    unedited, edited = (np.asarray(Image.open(path)).astype(int) for path in (
        tmp_path / 'noisy.png', tmp_path / 'out' / 'noisy-mouth-closes.png'))
    size = np.zeros((32, 32, 3), np.uint8)
    alignment = Alignment.from_points(find_two(None)[0].points)
    weight = weights((300, 400), Patch(size, size, directions.mask, alignment.matrix((32, 32))))
    assert (edited[weight == 0] == unedited[weight == 0]).all() and (edited != unedited).any()
    hook = TinyHook()
    with np.load(tmp_path / 'out' / 'projected_w.npz') as file:
        sample = hook.sample_from_ws(torch.from_numpy(file['w']), 'noisy')
    viewpoint = Viewpoint(hook, 's', sample)
    before, after = to_uint8(render_edits(viewpoint, torch.from_numpy(np.stack([directions.offset(1, value)
                                                                               for value in (0, -1.5)])))).astype(int)
    inside = directions.mask
    # What was laid in got darker where the generator's picture did.
    change = (after - before).mean(axis=-1)[inside].mean()
    assert np.sign((edited - unedited)[weight > 0.9].mean()) == np.sign(change) and abs(change) > 1
    assert (tmp_path / 'out' / 'noisy-mouth-closes-strip.jpg').exists()
    said = invoke(*options, code=2)
    assert 'say what to change with --region, or name an edit with --do' in ' '.join(said.split())


def test_photo_takes_channels_of_an_atlas(portrait, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv('RESEFA_CACHE', str(tmp_path / 'cache'))
    hook = TinyHook()
    atlas = AtlasBuilder([Viewpoint(hook, 's', hook.sample(seed)) for seed in range(2)], atlas_folder(hook), 24).build()
    options = ['photo', '--network=tiny', f'--target={portrait}', '--region=0.3,0.5,0.4,0.3', '--passes=5',
               '--num-directions=2']
    output = invoke(*options, f'--outdir={tmp_path}/out')
    assert 'Made of 24 of 32 channels.' in output
    file, = [path for path in (tmp_path / 'out').glob('*.npz') if path.name != 'projected_w.npz']
    directions = DirectionSet.load(file)
    assert directions.metadata.space == 's'
    with np.load(tmp_path / 'out' / 'projected_w.npz') as latents:
        sample = hook.sample_from_ws(torch.from_numpy(latents['w']), 'noisy')
    region = RegionPartition(directions.mask, directions.metadata.region)
    own, = Factorizer([Viewpoint(hook, 's', sample)], [region], Auto(2), known=atlas).run()
    np.testing.assert_allclose(directions.directions, own.directions.directions, atol=1e-4)
    invoke('edit', '--network=tiny', f'--projected-w={tmp_path}/out/projected_w.npz', f'--directions={file}',
           '--steps=2', f'--outdir={tmp_path}/edits')
    invoke(*options, '--atlas=none', f'--outdir={tmp_path}/none')
    invoke(*options, f'--atlas={atlas_folder(hook)}', f'--outdir={tmp_path}/named')
    spaces = [DirectionSet.load(tmp_path / folder / file.name).metadata.space for folder in ('none', 'named')]
    assert spaces[0] != 's' and spaces[1] == 's'
    said = invoke(*options, f'--atlas={tmp_path}', f'--outdir={tmp_path}/not', code=2)
    assert '--atlas' in said and 'atlas.json' in said


def test_photo_takes_regions_drawn_on_the_photograph(portrait, tiny, tmp_path):
    left, top, right, bottom = find_two(None)[0].box.astype(int)
    box = f'{left + 30},{top + 50},40,30'
    output = invoke('photo', '--network=tiny', f'--target={portrait}', f'--region={box}', '--drawn-on=photograph',
                    '--passes=5', '--num-directions=1', '--space=w', f'--outdir={tmp_path}/out')
    assert 'strip.jpg' in output
    path, = (tmp_path / 'out').glob('*-1-high.png')
    change = (np.asarray(Image.open(path)) != np.asarray(Image.open(portrait))).any(axis=-1)
    rows, columns = np.nonzero(change)
    assert abs(columns.mean() - (left + 50)) < 6 and abs(rows.mean() - (top + 65)) < 6


def test_several_photographs_have_folders_of_their_own(portrait, tiny, tmp_path, monkeypatch):
    def finder(picture):
        return [] if picture.shape[0] == 50 else find_two(picture)

    monkeypatch.setattr('resefa_plugin.scripts.common.photographs.face_finder', finder)
    Image.new('RGB', (50, 50)).save(tmp_path / 'faceless.png')
    (tmp_path / 'notes.txt').write_text('no photograph')
    options = ['--network=tiny', '--region=mouth', '--passes=3', '--num-directions=1', '--space=w']
    said = invoke('photo', *options, f'--target={tmp_path}', f'--outdir={tmp_path}/out', code=1)
    assert 'faceless.png: no face was found' in said
    assert '1 of 3 photographs were not edited: faceless.png' in said
    for name in ('portrait', 'noisy'):
        assert {f'{name}-mouth-strip.jpg', 'projected_w.npz'} <= {
            path.name for path in (tmp_path / 'out' / name).iterdir()}
    invoke('photo', *options, f'--target={portrait}', f'--target={tmp_path}/noisy.png', f'--outdir={tmp_path}/two')
    one, two = (np.load(tmp_path / folder / 'noisy' / 'projected_w.npz')['w'] for folder in ('out', 'two'))
    np.testing.assert_array_equal(one, two)


def test_photographs_that_cannot_be_told_apart(portrait, tiny, tmp_path):
    (tmp_path / 'empty').mkdir()
    Image.new('RGB', (50, 50)).save(tmp_path / 'portrait.png')
    for targets, said in (([tmp_path / 'empty'], 'holds no photographs; expected files that end in'),
                          ([portrait, tmp_path / 'portrait.png'], "two photographs are called 'portrait'")):
        output = invoke('photo', '--network=tiny', *(f'--target={target}' for target in targets), '--region=mouth',
                        f'--outdir={tmp_path}/out', code=1)
        assert said in output


def test_a_tuned_generator_goes_on_in_other_commands(portrait, tiny, tmp_path):
    plain, tuned = tmp_path / 'plain', tmp_path / 'tuned'
    options = ['--network=tiny', f'--target={tmp_path}/noisy.png', '--region=0.3,0.5,0.4,0.3', '--passes=10',
               '--num-directions=1']
    invoke('photo', *options, f'--outdir={plain}')
    said = invoke('photo', *options, '--tune', f'--outdir={tuned}')
    assert 'noisy: tuned (MSE' in said
    aligned = np.asarray(Image.open(tuned / 'noisy-aligned.png')).astype(float)
    errors = [np.square(np.asarray(Image.open(folder / 'noisy-projected.png')) - aligned).mean()
              for folder in (plain, tuned)]
    assert errors[1] < 0.9 * errors[0]  # of noise, which few weights can show
    # Directions that were found before, edited by the tuned generator: no warning, and its own picture.
    latents, flag = f'--projected-w={tuned}/projected_w.npz', f'--tuned={tuned}/noisy-tuned.safetensors'
    said = invoke('edit', '--network=tiny', latents, flag, f'--directions={found(plain)}', '--steps=3',
                  f'--outdir={tmp_path}/edits')
    assert 'may not be local' not in said and 'its weights are tuned to noisy' in said
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'edits' / 'proj00-01.png')),
                                  np.asarray(Image.open(tuned / 'noisy-projected.png')))


@pytest.mark.parametrize('arguments, said', [
    (['--tune', '--hook=my:toy'], '--tune: function cannot be tuned'),
    (['--network=tiny', '--tune', '--tuned={}/noisy.png'], '--tune starts from the network as it is'),
    (['--network=tiny', '--tuned={}/noisy.png'], 'noisy.png')])
def test_tuning_that_cannot_be(portrait, tiny, tmp_path, monkeypatch, arguments, said):
    monkeypatch.setattr('resefa_plugin.scripts.common.options.open_function', lambda *_: FunctionHook(
        lambda z: z[:, :, None, None].expand(-1, 3, 32, 32), 3))
    output = invoke('photo', *(argument.format(tmp_path) for argument in arguments), f'--target={portrait}',
                    '--region=mouth', f'--outdir={tmp_path}/out', code=2)
    assert said in ' '.join(output.split())


def test_the_same_person_in_words():
    """By embeddings at known angles."""
    class Stub:
        def __init__(self, cosine):
            self.rows = torch.tensor([[1.0, 0], [cosine, (1 - cosine ** 2) ** 0.5]])

        def embeddings(self, faces):
            assert faces.shape == (2, 3, 8, 8) and faces.min() == -1 and faces.max() == -1
            return self.rows

    face = np.zeros((8, 8, 3), np.uint8)
    for cosine, said in ((0.7, 'the same person (cosine 0.70'), (0.5, 'perhaps the same'), (0.1, 'another person')):
        assert same_person(Stub(cosine), face, face).startswith(said)


@pytest.mark.network
def test_a_real_portrait_from_end_to_end(tmp_path):
    """A few passes: that everything fits, not that it is alike."""
    output = invoke('photo', '--network=mobilestylegan-ffhq', f'--target={astronaut()}', '--region=mouth',
                    '--passes=3', '--num-directions=1', '--space=w', f'--outdir={tmp_path}/out')
    assert '3 passes' in output
    photograph, result = (np.asarray(Image.open(path).convert('RGB')) for path in (
        astronaut(), tmp_path / 'out' / 'astronaut-mouth-1-high.png'))
    change = (photograph != result).any(axis=-1)
    assert 0.002 < change.mean() < 0.05
    rows, columns = np.nonzero(change)
    assert np.hypot(columns.mean() - 224.6, rows.mean() - 142.7) < 10  # the mouth, as set by hand


def test_a_projection_in_styles_is_for_python(portrait, tiny, tmp_path):
    said = invoke('photo', '--network=tiny', f'--target={portrait}', '--region=mouth', '--space=s',
                  f'--outdir={tmp_path}/out', code=2)
    assert 'projected_w.npz holds w or z' in ' '.join(said.split()) and not (tmp_path / 'out').exists()
