"""What is released: one version everywhere, all licences in one place, an sdist that the wheel can be made of."""

from __future__ import annotations

import importlib
import pathlib
import pkgutil
import re
import subprocess
import sys
import tarfile

import pytest
import yaml

import resefa_plugin
from resefa_plugin import third_party
from resefa_plugin.checkpoints.families import NVIDIA_LICENCE
from resefa_plugin.third_party.assets import Asset

ROOT = pathlib.Path(__file__).parents[2]


def text(name):
    return (ROOT / name).read_text(encoding='utf-8')


def assets():
    """All that is fetched, by the modules that know of it."""
    found = {}
    for module in pkgutil.iter_modules(third_party.__path__, 'resefa_plugin.third_party.'):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, Asset):
                found[value.name] = value
    return found


def test_one_version_everywhere():
    version = resefa_plugin.__version__
    assert version == '0.2.0'
    assert yaml.safe_load(text('CITATION.cff'))['version'] == version
    assert f'resefa_plugin-{version}-py3-none-any.whl' in text('examples/space/requirements.txt')
    newest = re.search(r'^## \[(.+?)\]', text('CHANGELOG.md'), re.MULTILINE)[1]
    assert newest == version
    said = subprocess.run([sys.executable, 'setup.py', '--version'], cwd=ROOT, capture_output=True, text=True)
    assert said.stdout.strip().splitlines()[-1] == version


def test_the_citation_is_that_of_the_readme():
    paper, = yaml.safe_load(text('CITATION.cff'))['references']
    assert paper['title'] == 'Region-Based Semantic Factorization in GANs' and paper['year'] == 2022
    names = ' and '.join(f'{author["family-names"]}, {author["given-names"]}' for author in paper['authors'])
    assert names in text('README.md')


def test_all_licences_are_in_one_place():
    notice = ' '.join(text('NOTICE.md').split())
    found = assets()
    assert len(found) == 8
    for asset in found.values():
        assert f'| {asset.requirement} | {asset.licence} |' in notice, asset.name
    assert NVIDIA_LICENCE in notice
    pictures = {path.name for path in (ROOT / 'examples').glob('*.*') if path.suffix in ('.jpg', '.png')}
    assert all(f'`examples/{name}`' in notice for name in pictures)


def test_continuous_integration_runs_the_wheel():
    for name in ('.ci/run', '.github/workflows/ci.yml'):
        assert text(name).index('make test') < text(name).index('make dist')
    recipe = re.search(r'^dist:.*?\n\n', text('Makefile'), re.MULTILINE | re.DOTALL)[0]
    assert 'pip wheel' in recipe and 'dist/*.tar.gz' in recipe and 'bin/resefa factorize' in recipe


def test_the_container_names_what_there_is():
    recipe = text('Dockerfile')
    assert '--constraint /src/constraints.txt' in recipe and "'/src[ui,video]'" in recipe
    ignored = text('.dockerignore').split()
    assert not {'constraints.txt', 'README.md', 'LICENSE', 'NOTICE.md'} & set(ignored) and '.venv' in ignored


@pytest.fixture(scope='module')
def sdist(tmp_path_factory):
    """The names in the archive, without its top folder."""
    folder = tmp_path_factory.mktemp('sdist')
    command = [sys.executable, 'setup.py', '-q', 'egg_info', '--egg-base', folder, 'sdist', '--dist-dir', folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(folder / f'resefa_plugin-{resefa_plugin.__version__}.tar.gz') as archive:
        return {name.partition('/')[2] for name in archive.getnames()}


def test_the_sdist_has_all_that_the_wheel_is_made_of(sdist):
    inside = [path for folder in ('resefa_plugin', 'patches', 'third_party') for path in (ROOT / folder).rglob('*')
              if path.is_file() and path.suffix != '.pyc']
    assert {str(path.relative_to(ROOT)) for path in inside} <= sdist
    assert {'setup.py', 'pyproject.toml', 'README.md', 'LICENSE', 'NOTICE.md', 'CITATION.cff', 'CHANGELOG.md',
            'constraints.txt'} <= sdist
