"""Runs that are ended in the middle, in order or not."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

SLOW_GAN = '''
import time
import torch
from resefa_plugin import FunctionHook

def picture(z):
    time.sleep(0.02)
    return torch.tanh(z[:, :48]).unflatten(1, (3, 4, 4))

def my_hook(device):
    return FunctionHook(picture, z_dim=4096, device=device)
'''


@contextlib.contextmanager
def in_the_middle(folder):
    """A run that has begun to write its Jacobian: of 512 chunks of tangents, ten seconds."""
    (folder / 'slow_gan.py').write_text(SLOW_GAN)
    command = [sys.executable, '-m', 'resefa_plugin.scripts.main', 'factorize', '--hook=slow_gan:my_hook',
               '--region=0,0,0.5,0.5', '--solver=dense', '--device=cpu', '--jacobian-dir=jacobians', '--outdir=out']
    before = set(folder.glob('jacobians/.*.part'))
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                               # A shell's background jobs, which this test may run in, have SIGINT ignored.
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    deadline = time.monotonic() + 300
    while not set(folder.glob('jacobians/.*.part')) - before and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_run_that_is_ended_leaves_no_broken_file(tmp_path, number):
    """In the middle of the Jacobian, by a person or by a scheduler: a message, no traceback, no partial file."""
    if os.name == 'nt':
        pytest.skip('Windows has no signals to send to one process')
    with in_the_middle(tmp_path) as process:
        process.send_signal(number)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1 and 'Aborted!' in stderr and 'Traceback' not in stderr
    assert list((tmp_path / 'jacobians').iterdir()) == []
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == ['options.json', 'seed0000.png']


def test_what_a_killed_run_left_is_swept_by_the_next_and_a_live_one_keeps_its_own(tmp_path):
    if os.name == 'nt':
        pytest.skip('Windows has no locks that end with their process')
    with in_the_middle(tmp_path) as killed:
        killed.kill()
        killed.communicate()
        left = set(tmp_path.glob('jacobians/.*.part'))
        assert len(left) == 1
        with in_the_middle(tmp_path):
            live = set(tmp_path.glob('jacobians/.*.part'))
            assert len(live) == 1 and not live & left
            with in_the_middle(tmp_path):
                now = set(tmp_path.glob('jacobians/.*.part'))
                assert len(now) == 2 and live < now
