"""`resefa install`: what it writes into a checkout, and what it never touches."""

from __future__ import annotations

import runpy
import sys

import pytest
from click.testing import CliRunner

from resefa_plugin.scripts.install import COMMANDS, MARK
from resefa_plugin.scripts.main import main
from tests.third_party.test_nvlabs_checkout import hashes, write_checkout


def run(*arguments, code=0):
    result = CliRunner().invoke(main, ['install', *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def checkout(tmp_path):
    return write_checkout(tmp_path / 'checkout', 'stylegan3')


def test_install_twice_and_uninstall(checkout, monkeypatch, capsys):
    before = hashes(checkout)
    out = run(checkout)
    assert 'python factorize.py --network=their.pkl --seeds=0 --region=mouth --outdir=out' in out
    assert 'non-commercial' in out
    installed = hashes(checkout)
    assert installed.keys() - before.keys() == {f'{command}.py' for command in COMMANDS}
    run(checkout)
    assert hashes(checkout) == installed
    (checkout / 'edit.py').write_text(f'{MARK}\n# of an older version\n')
    run(checkout)
    assert hashes(checkout) == installed
    for command in COMMANDS:
        monkeypatch.setattr(sys, 'argv', [f'{command}.py', '--help'])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(checkout / f'{command}.py'), run_name='__main__')
        assert ended.value.code == 0 and capsys.readouterr().out.startswith(f'Usage: {command}.py ')
    assert 'removed' in run('--uninstall', checkout)
    assert hashes(checkout) == before
    assert run('--uninstall', checkout) == ''


@pytest.mark.parametrize('content', [b'print("mine")\n', b'', b'\xff\xfe', MARK.encode()[:20]])
def test_foreign_files_are_kept(checkout, content):
    (checkout / 'edit.py').write_bytes(content)
    before = hashes(checkout)
    assert 'has edit.py, which this command has not written; nothing was changed' in run(checkout, code=1)
    assert hashes(checkout) == before
    (checkout / 'edit.py').unlink()
    run(checkout)
    (checkout / 'info.py').write_bytes(content)
    run('--uninstall', checkout)
    assert (checkout / 'info.py').read_bytes() == content and not (checkout / 'edit.py').exists()


def test_a_folder_in_the_way(checkout):
    (checkout / 'export.py').mkdir()
    assert 'has export.py, which this command has not written' in run(checkout, code=1)
    run('--uninstall', checkout)
    assert (checkout / 'export.py').is_dir() and not (checkout / 'edit.py').exists()


def test_folders_that_are_no_checkouts(tmp_path, checkout):
    (checkout / 'training' / 'networks_stylegan3.py').unlink()
    for folder in (tmp_path, checkout, tmp_path / 'absent'):
        said = run(folder, code=1)
        assert 'is no checkout of stylegan-xl or stylegan2-ada-pytorch or stylegan3; expected dnnlib/util.py' in said
        assert not list(folder.glob('factorize.py'))


@pytest.mark.parametrize('content', [b'print("mine")\n', b'', b'\xff\xfe'])
def test_force_sets_aside_and_uninstall_puts_back(checkout, content):
    (checkout / 'edit.py').write_bytes(content)
    before = hashes(checkout)
    assert 'Add --force' in run(checkout, code=1)
    assert 'set aside' in run('--force', checkout)
    assert (checkout / 'edit.py').read_text().startswith(MARK)
    assert (checkout / 'edit.py.before-resefa').read_bytes() == content
    installed = hashes(checkout)
    run('--force', checkout)
    assert hashes(checkout) == installed
    assert 'put back' in run('--uninstall', checkout)
    assert hashes(checkout) == before


def test_force_keeps_a_folder_and_a_link(checkout):
    (checkout / 'export.py').mkdir()
    (checkout / 'info.py').symlink_to('nowhere')
    run('--force', checkout)
    assert (checkout / 'export.py').is_file() and not (checkout / 'info.py').is_symlink()
    run('--uninstall', checkout)
    assert (checkout / 'export.py').is_dir() and (checkout / 'info.py').is_symlink()


def test_force_never_loses_what_was_set_aside(checkout):
    (checkout / 'edit.py').write_text('first')
    run('--force', checkout)
    (checkout / 'edit.py').write_text('second')
    before = hashes(checkout)
    assert 'has edit.py.before-resefa, where --force would set edit.py aside; nothing' in run(
        '--force', checkout, code=1
    )
    assert hashes(checkout) == before
    assert 'edit.py.before-resefa stays' in run('--uninstall', checkout)
    assert (checkout / 'edit.py').read_text() == 'second' and (
        checkout / 'edit.py.before-resefa'
    ).read_text() == 'first'
    (checkout / 'edit.py').unlink()
    run('--uninstall', checkout)
    assert (checkout / 'edit.py').read_text() == 'first'


def test_force_is_not_for_uninstalling(checkout):
    before = hashes(checkout)
    assert '--force is for installing' in run('--force', '--uninstall', checkout, code=2)
    assert hashes(checkout) == before
