"""What a user reads: messages on lines of their own, and nothing of a file that steers the terminal."""

from __future__ import annotations

import sys
import warnings

import click
import pytest
from click.testing import CliRunner
from tqdm import tqdm

from resefa_plugin.errors import ResefaError, printable
from resefa_plugin.scripts.common import options
from resefa_plugin.scripts.main import main

EVIL = 'name\x1b[2J\x07\u202e\ud800\x85 end'


def screen(text: str) -> list[str]:
    """The lines that a terminal shows of a text with carriage returns."""
    lines = ['']
    for part in text.replace('\n', '\0\n\0').split('\0'):
        if part == '\n':
            lines.append('')
            continue
        for overwrite in part.split('\r'):
            lines[-1] = overwrite + lines[-1][len(overwrite):]
    return [line.rstrip() for line in lines]


@click.command()
@click.option('--fail', is_flag=True)
@options.user_errors
def command(fail: bool) -> None:
    """With a bar that is open while something is said."""
    with tqdm(total=3, file=sys.stderr, mininterval=0, ascii=True) as bar:
        bar.update()
        warnings.warn(f'look out, {EVIL}', stacklevel=1)
        bar.update()
        if fail:
            raise ResefaError(f'wrong, {EVIL}\nwhat to do')
        bar.update()


@pytest.mark.parametrize('fail', [False, True])
def test_messages_are_not_between_pieces_of_a_bar(fail):
    result = CliRunner().invoke(command, ['--fail'] if fail else [])
    lines = screen(result.stderr)
    shown = 'name\\x1b[2J\\x07\\u202e\\ud800\\x85 end'
    assert f'warn: look out, {shown}' in lines
    assert result.exit_code == int(fail)
    if fail:
        assert lines[-3:-1] == [f'Error: wrong, {shown}', 'what to do']


def test_text_that_prints_stays_as_it_is():
    assert printable('Zoë, 漢字, ½ — ok') == 'Zoë, 漢字, ½ — ok'
    assert printable('a\tb\nc') == r'a\tb\nc' and printable('x' * 50, 10) == 'x' * 10 + '...'


@click.command()
@options.user_errors
def show() -> None:
    """Prints a path with a byte that is no text, as file systems have them."""
    click.echo('out/\udcff.npz')


def test_a_path_that_is_no_text_can_be_shown():
    result = CliRunner().invoke(show)
    assert result.exit_code == 0 and result.stdout == r'out/\udcff.npz' + '\n'


LONG = 'x' * 300  # no file system has names of this length: to look for such a file is an error, as in a closed folder


@pytest.mark.parametrize('arguments', [
    ['factorize', f'--network={LONG}', '--region=mouth', '--outdir=out'],
    ['factorize', f'--network=biggan:{LONG}', '--region=mouth', '--outdir=out'],
    ['factorize', '--network=tiny', '--region=mouth', f'--outdir={LONG}'],
    ['factorize', '--network=tiny', '--region=mouth', '--outdir=out', f'--jacobian-dir={LONG}'],
    ['factorize', '--network=tiny', f'--region=mask:{LONG}', '--outdir=out'],
    ['factorize', '--network=tiny', '--region=mouth', '--outdir=out', f'--projected-w={LONG}'],
    ['edit', '--network=tiny', f'--directions={LONG}', '--outdir=out'],
    ['evaluate', '--network=tiny', '--region=mouth', f'--methods={LONG}', '--outdir=out'],
    ['info', LONG],
    ['install', LONG],
])
def test_what_cannot_be_looked_at_is_an_error_of_the_user(arguments, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code in (1, 2) and 'Error: ' in result.stderr
    assert isinstance(result.exception, SystemExit)  # no traceback
