"""Command lines that are almost right: each natural slip is answered with how it is written."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner
from PIL import Image

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.directions.exports import EXPORTS
from resefa_plugin.errors import ResefaError
from resefa_plugin.ranges import format_ranges, parse_ranges
from resefa_plugin.scripts import main as entry
from resefa_plugin.scripts.main import main
from tests.helpers.toys import TinyHook


def said(*arguments, code=2):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code and isinstance(result.exception, SystemExit | None), result.output
    return ' '.join(result.output.split())


@pytest.mark.parametrize('words, meant', [
    ('--seeds 0 1 --region=mouth', 'extra argument (1): lists are written with commas and without spaces: --seeds=0,1'),
    ('--region=mouth --seeds=0, 1 2', 'extra arguments (1 2): lists are written with commas and without spaces: '
                                      '--seeds=0,1,2'),
    ('--region=mouth eyes', 'give --region once for each: --region=mouth --region=eyes'),
    ('--region mouth eyes nose', 'give --region once for each: --region=mouth --region=eyes --region=nose'),
    ('mouth --seeds=0', '(mouth): did you mean --region=mouth?'),
    ('ffhq.pkl --region=mouth', '(ffhq.pkl): did you mean --network=ffhq.pkl?'),
    ('some.png --region=mouth', 'photographs go to resefa photo --target=some.png, masks to --region=mask:some.png'),
    ('--quick now --region=mouth', '(now): all that is given to a command has a name, as in --seeds=0'),
    ('--seed=0 --region=mouth', 'No such option: --seed; did you mean --seeds?'),
    ('--seed 0 --region=mouth', 'No such option: --seed; did you mean --seeds?'),
    ('--regions=mouth', 'No such option: --regions; did you mean --region?'),
    ('--layer=4', 'No such option: --layer; did you mean --layers?'),
    ('--num_directions=4', 'No such option: --num_directions; did you mean --num-directions?'),
    ('--psi=0.7', 'No such option: --psi; did you mean --trunc=0.7?'),
    ('--truncation_psi=0.7', 'did you mean --trunc=0.7?'),
    ('--output=x', 'did you mean --outdir=FOLDER?'),
    ('-outdir=x', 'did you mean --outdir=x?'),
    ('--pkl=x', 'did you mean --network=FILE?'),
    ('--gpu', 'did you mean --device=cuda?'),
    ('--mask=x.png', 'did you mean --region=..., which takes presets, boxes and mask:FILE?'),
    ('--no-such-thing', 'No such option: --no-such-thing'),
    ('--seeds=0', "Missing option '--region'. Say what to change, as in --region=mouth"),
    ('--region=mouth', "Missing option '--outdir'. Name a folder for the results, as in --outdir=out"),
    ('--region=mouth --outdir=x --trunc=0,7', "'0,7' is not a number; decimals have a point: did you mean 0.7?"),
    ('--region=mouth --outdir=x --tau=0,01', "did you mean 0.01?"),
    ('--region=mouth --outdir=x --seeds=0..3', 'like 0,1,4-6; did you mean 0-3?'),
    ('--region=mouth --outdir=x --seeds=3-0', 'did you mean 0-3?'),
    ('--region=mouth --outdir=x', 'a first try is --network=mobilestylegan-ffhq'),
])
def test_factorize_says_how_it_is_written(words, meant):
    assert meant in said('factorize', *words.split())


def test_help_wins_over_a_slip():
    assert 'Examples:' in said('factorize', 'mouth', '--help', code=0)


@pytest.mark.parametrize('words, meant', [
    ('--strength -3 3', '(3): lists are written with commas and without spaces: --strength=-3,3'),
    ('--index=1,2', 'more than one direction: give --index for each, as in --index=1 --index=2, which are then added'),
    ('--index=0', 'directions are counted from 1, which is the best'),
    ('--direction=x.npz', 'did you mean --directions?'),
    ('other.npz', 'give --directions once for each: --directions=x.npz --directions=other.npz'),
    ('--straight other.npz', '(other.npz): did you mean --directions=other.npz?'),
])
def test_edit_says_how_it_is_written(words, meant):
    assert meant in said('edit', '--directions=x.npz', *words.split(), '--outdir=e')


def test_other_commands_say_it_too():
    assert '(me.jpg): did you mean --target=me.jpg?' in said('photo', 'me.jpg')
    assert "Missing option '--target'. Name the photograph" in said('photo', '--region=mouth', '--outdir=x')
    assert '--seed' in said('studio', '--seeds=1') and 'did you mean --seed?' in said('studio', '--seeds=1')
    assert 'name a network or a file, as in resefa info' in said('info')


@pytest.mark.parametrize('name, meant', [('factorise', 'did you mean factorize?'), ('EDIT', 'did you mean edit?'),
                                         ('xyz', 'there are factorize, edit,')])
def test_commands_that_there_are_not(name, meant):
    assert f"No such command '{name}'; {meant}" in said(name)


@pytest.mark.parametrize('text, meant', [('0..3', '0-3'), ('0:3', '0-3'), ('0 to 3', '0-3'), ('0 1', '0,1'),
                                         ('0,', '0'), ('[0, 1]', '0,1'), ('1,,2', '1,2'), ('4-2', '2-4'),
                                         ('seed0003', '3')])
def test_lists_that_are_written_otherwise(text, meant):
    with pytest.raises(ResefaError) as error:
        parse_ranges(text, 'seeds')
    assert str(error.value).endswith(f'did you mean {meant}?')
    parse_ranges(meant, 'seeds')


@pytest.mark.parametrize('text', ['all', '', '-1', '0.5,1', '1e3'])
def test_nothing_is_made_up(text):
    with pytest.raises(ResefaError, match='like 0,1,4-6$'):
        parse_ranges(text, 'seeds')


@pytest.mark.parametrize('numbers, text', [([], ''), ([3], '3'), ([3, 4], '3,4'), ([0, 1, 4, 5, 6, 9], '0,1,4-6,9')])
def test_ranges_are_written_as_they_are_read(numbers, text):
    assert format_ranges(numbers) == text and (not text or parse_ranges(text, 'seeds') == numbers)


def test_layers_that_there_are_not():
    with pytest.raises(ResefaError, match="^layers 4-99 of space 'w': tiny has layers 0 to 7$"):
        TinyHook().space('w', tuple(range(4, 100)))


@pytest.mark.parametrize('space, meant', [('StyleSpace', 's'), ('wp', 'w+'), ('w_plus', 'w+')])
def test_spaces_by_the_names_of_papers(space, meant):
    with pytest.raises(ResefaError, match=f'did you mean {meant.replace("+", "[+]")}[?]$'):
        TinyHook().space(space)


@pytest.mark.parametrize('text, meant', [('lips', 'mouth'), ('Mouth', 'mouth'), ('eye', 'eyes'), ('EYES', 'eyes')])
def test_regions_by_other_names(text, meant, tiny):
    assert f"(did you mean '{meant}'?)" in said('factorize', '--network=tiny', f'--region={text}', '--outdir=x', code=1)


@pytest.mark.parametrize('psi, meant', [(7, '; did you mean --trunc=0.7?'), (70, ''), (-3, '')])
def test_a_point_that_was_left_out(psi, meant, tiny, tmp_path):
    text = said('factorize', '--network=tiny', f'--trunc={psi}', '--region=eyes', f'--outdir={tmp_path}', '--preview',
                code=0)
    assert f'0.7 is usual for good pictures{meant} {tmp_path}/seed' in text


def test_files_that_are_nearly_there(tiny_directions, tmp_path, tiny, monkeypatch):
    folder = tiny_directions.parent
    for path, meant in (('seed0000-bix.npz', f'did you mean {tiny_directions}?'),
                        ('pooled.npz', f'in {folder} there is seed0000-box.npz'),
                        ('no/such.npz', f'there is no folder {folder}/no')):
        assert meant in said('edit', '--network=tiny', f'--directions={folder / path}', f'--outdir={tmp_path}', code=1)
    assert f"'{folder}' is a folder, expected a file; in {folder} there is seed0000-box.npz" in said(
        'edit', f'--directions={folder}', f'--outdir={tmp_path}')
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'ffhq-256.pkl').touch()
    assert 'no such network; did you mean ffhq256.pkl' not in said('info', 'ffhq256.pkl', code=1)
    assert 'no such network; did you mean ffhq-256.pkl?' in said('info', 'ffhq256.pkl', code=1)


def test_info_says_what_it_takes(tmp_path):
    assert 'did you mean resefa info tiny?' in said('info', '--network=tiny').replace('main', 'resefa')
    picture, empty = tmp_path / 'some.png', tmp_path / 'empty'
    Image.new('RGB', (8, 8)).save(picture)
    empty.touch()
    expected = 'expected a network, directions, latents, tuned weights or a folder of results'
    assert f'it is a picture; {expected}. Remedy: masks go to --region=mask:FILE, photographs to resefa photo' in said(
        'info', picture, code=1)
    assert f'it is empty: it has 0 bytes; {expected}' in said('info', empty, code=1)


def test_info_knows_what_we_write(tiny_directions, tmp_path, tiny):
    found = DirectionSet.load(tiny_directions)
    for name, words in {'resefa': 'directions, [1, 4], rows of length 1', 'interfacegan': 'directions, [1, 4]',
                        'ganspace': "GANSpace's components, [2, 4]", 'e4e': 'directions, [1, 4]',
                        'e4e-pca': "e4e's components, [2, 4]", 'projected-w': 'latents, w [1, 8, 4]'}.items():
        path = tmp_path / name
        EXPORTS[name](found, path)
        text = said('info', path, code=0)
        flag = '--projected-w' if name == 'projected-w' else '--directions'
        assert words in text and f'{flag}={path}' in text
    text = said('info', tiny_directions.parent, code=0)
    assert f'{tiny_directions}: 2 directions of box, space w' in text and 'to look at: ' in text
    assert 'does not exist' in said('info', tmp_path / 'nothing.npz', code=1)


def test_the_help_says_what_each_command_does_and_needs_no_torch():
    text = CliRunner().invoke(main, ['--help']).output
    assert all(f'  {name}' in text and what in text for name, what in entry.COMMANDS.items())
    check = ("import sys\nfrom resefa_plugin.scripts.main import main\n"
             "main(['--help'], standalone_mode=False)\nassert 'torch' not in sys.modules")
    subprocess.run([sys.executable, '-c', check], check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize('words, offered', [
    (['ed'], ['edit']), (['factorize', '--region', 'eye'], ['eyes', 'eyebrows']),
    (['factorize', '--network', 'mobile'], ['mobilestylegan-ffhq']), (['edit', '--stra'], ['--straight'])])
def test_completion(words, offered):
    shell = {'_RESEFA_COMPLETE': 'bash_complete', 'COMP_WORDS': ' '.join(['resefa', *words]),
             'COMP_CWORD': str(len(words))}
    text = CliRunner().invoke(main, [], prog_name='resefa', complete_var='_RESEFA_COMPLETE', env=shell).output
    assert [line.partition(',')[2] for line in text.split()] == offered
