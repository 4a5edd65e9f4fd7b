"""Files that are complete or not there, whatever happens to their writers."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import pytest

from resefa_plugin.errors import ResefaError
from resefa_plugin.machine import files

WRITER = '''
import pathlib, sys, time
from resefa_plugin.machine import files
with files.{function} as part:
    (part / 'content' if part.is_dir() else part).write_bytes(bytes(100))
    print('ready', flush=True)
    time.sleep(60)
'''


@contextlib.contextmanager
def writer(folder, function='replacing(sys.argv[1] + "/result.bin")'):
    """A process in the middle of writing a file, or with a scratch folder, there."""
    process = subprocess.Popen([sys.executable, '-c', WRITER.format(function=function), str(folder)],
                               stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == 'ready\n'
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def parts(folder):
    return sorted(path.name for path in folder.glob('.*.part'))


def test_a_file_is_complete_or_not_there(tmp_path):
    path = tmp_path / 'new' / 'result.txt'
    with pytest.raises(KeyError), files.replacing(path) as part:
        part.write_text('half')
        raise KeyError
    assert not os.listdir(path.parent)
    with files.replacing(path) as part:
        part.write_text('first')
        assert not path.exists()
    with files.replacing(path) as part:
        part.write_text('second')
        assert path.read_text() == 'first'
    assert path.read_text() == 'second' and os.listdir(path.parent) == ['result.txt']


@pytest.mark.parametrize('function', ['replacing(sys.argv[1] + "/result.bin")', 'scratch_folder(sys.argv[1], "work")'])
@pytest.mark.parametrize('again', [lambda folder: files.replacing(folder / 'other.txt'),
                                   lambda folder: files.scratch_folder(folder, 'else')], ids=['file', 'folder'])
def test_parts_of_killed_processes_go_and_those_of_live_ones_stay(tmp_path, function, again):
    with writer(tmp_path, function) as process:
        with again(tmp_path):
            assert len(parts(tmp_path)) == 2
        live = parts(tmp_path)
        assert len(live) == 1
        process.kill()
        process.wait()
        assert parts(tmp_path) == live
        with again(tmp_path):
            assert not set(live) & set(parts(tmp_path))
    assert not parts(tmp_path)


def test_parts_of_this_process_stay_and_what_is_named_otherwise_too(tmp_path):
    others = ['.hidden', '.result.bin.part', '.result.bin.12345678.part.txt', 'result.bin.12345678.part']
    for name in others:
        (tmp_path / name).write_text('mine')
    with files.replacing(tmp_path / 'a') as first, files.replacing(tmp_path / 'a') as second:
        assert first != second and first.exists() and second.exists()
        (tmp_path / '.a.0123abcd.part').write_bytes(b'of a dead process')
        with files.replacing(tmp_path / 'b'):
            assert first.exists() and second.exists() and not (tmp_path / '.a.0123abcd.part').exists()
    assert sorted(os.listdir(tmp_path)) == sorted(['a', 'b', *others])


def test_many_writers_at_once(tmp_path):
    """Each sweeps while the others begin: none loses its part."""
    failed = []

    def write(number):
        try:
            for i in range(40):
                with files.replacing(tmp_path / f'{number % 3}.txt') as part:
                    part.write_text(f'{number} {i}\n' * 50)
        except ResefaError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and sorted(os.listdir(tmp_path)) == ['0.txt', '1.txt', '2.txt']
    for path in tmp_path.iterdir():
        lines = path.read_text().splitlines()
        assert len(lines) == 50 and len(set(lines)) == 1


def test_without_locks_only_old_parts_go(tmp_path, monkeypatch):
    monkeypatch.setattr(files, 'fcntl', None)
    old, recent = tmp_path / '.a.00000000.part', tmp_path / '.a.00000001.part'
    for part in (old, recent):
        part.write_text('x')
    os.utime(old, (time.time() - 25 * 3600,) * 2)
    with files.replacing(tmp_path / 'a') as part:
        part.write_text('whole')
    assert sorted(os.listdir(tmp_path)) == ['.a.00000001.part', 'a']


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(ResefaError, match='cannot write .*has room'), files.replacing(tmp_path / 'file' / 'result'):
        raise AssertionError('there is no such folder')


@pytest.mark.parametrize('allocate', [True, False], ids=['posix_fallocate', 'by writing'])
def test_reserved_room_is_there(tmp_path, monkeypatch, allocate):
    if not allocate:
        monkeypatch.delattr(os, 'posix_fallocate')
    path = tmp_path / 'file'
    path.touch()
    files.reserve(path, (3 << 20) + 5)
    status = path.stat()
    assert status.st_size == (3 << 20) + 5 and status.st_blocks * 512 >= status.st_size


def test_no_room_is_an_error_before_anything_is_written(tmp_path):
    """A limit on the size of files stands in for a full disk: it fails in the same calls."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(ResefaError, match='cannot write .*has room'), files.replacing(tmp_path / 'file') as part:
            files.reserve(part, 2 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not os.listdir(tmp_path)
