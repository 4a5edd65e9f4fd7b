"""What developers and users of the package lean on: what is installed, and what the documents name."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

import resefa_plugin

ROOT = pathlib.Path(__file__).parents[2]
DOCUMENTS = ('CONTRIBUTING.md', 'CHANGELOG.md', 'docs/architecture.md')


def text(name):
    return (ROOT / name).read_text(encoding='utf-8')


def test_an_installation_has_annotations_rooms_and_data(tmp_path):
    command = [sys.executable, 'setup.py', '-q', 'egg_info', '--egg-base', tmp_path, 'build_py',
               '--build-lib', tmp_path]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    built, here = tmp_path / 'resefa_plugin', ROOT / 'resefa_plugin'
    assert (built / 'py.typed').is_file()

    def contents(folder):
        return {path.relative_to(folder) for path in folder.rglob('*')
                if path.is_file() and path.suffix != '.pyc' and not path.name.startswith('.')}

    outside = {pathlib.Path(name) / path for name in ('third_party', 'patches') for path in contents(ROOT / name)}
    assert contents(built) == contents(here) | outside


@pytest.mark.parametrize('name', DOCUMENTS)
def test_documents_name_files_and_targets_that_exist(name):
    paths = re.findall(r'`([\w./]+\.(?:py|txt|toml|yaml|yml|md|png)|[\w.]+/[\w./]+)`', text(name))
    missing = [path for path in paths if not (ROOT / path).exists() and not (ROOT / 'resefa_plugin' / path).exists()]
    missing += [target for target in re.findall(r'^make (\w+)|`make (\w+)`', text(name), re.MULTILINE)
                if f'\n{"".join(target)}:' not in text('Makefile')]
    assert not missing


def test_the_changelog_knows_this_version():
    assert resefa_plugin.__version__ in re.findall(r'^## \[(.+?)\] - ', text('CHANGELOG.md'), re.MULTILINE)


def test_continuous_integration_lints_documents_and_tests():
    for name in ('.ci/run', '.github/workflows/ci.yml'):
        assert text(name).index('make lint') < text(name).index('make docs') < text(name).index('make test')
