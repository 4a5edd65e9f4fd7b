"""`resefa install`: what it writes into a checkout, and what it never touches."""

from __future__ import annotations

import runpy

import click
import pytest
from click.testing import CliRunner

from resefa_plugin.scripts.install import COMMANDS, MARK
from resefa_plugin.scripts.main import main
from tests.test_nvlabs_checkout import hashes, write_checkout


def run(*arguments, code=0):
    result = CliRunner().invoke(main, ['install', *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def checkout(tmp_path):
    return write_checkout(tmp_path / 'checkout', 'stylegan3')


def test_install_twice_and_uninstall(checkout):
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
        script = runpy.run_path(str(checkout / f'{command}.py'))[command]
        assert isinstance(script, click.Command) and script.name == command
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
        assert 'is no checkout of stylegan2-ada-pytorch or stylegan3; expected dnnlib/util.py' in run(folder, code=1)
        assert not list(folder.glob('factorize.py'))
