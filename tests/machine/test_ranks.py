"""Two processes on one machine, as torchrun starts them: the same directions as one, and what is left when one dies."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

from resefa_plugin import DirectionSet, Viewpoint
from resefa_plugin.errors import ResefaError
from resefa_plugin.jacobian.sharded import ShardedJacobian
from resefa_plugin.machine.ranks import Ranks, local_device
from tests.helpers.toys import TanhToy

# A generator of 20 dimensions, of which process 1 dies at sample 3 if the environment says so.
MODULE = '''
import os
import torch
from resefa_plugin import FunctionHook

weight = torch.randn(20, 3 * 16 * 16, generator=torch.Generator().manual_seed(0)) / 5

class Mortal(FunctionHook):
    def space(self, name, layers=None):
        space = super().space(name, layers)
        latent = space.latent

        def dying(sample):
            if os.environ.get('DIES') and os.environ.get('RANK') == '1' and sample.seed == 3:
                os._exit(9)
            return latent(sample)

        space.latent = dying
        return space

def my_hook(device):
    return Mortal(lambda z: torch.tanh(z @ weight.to(z)).unflatten(1, (3, 16, 16)), z_dim=20, device=device)
'''
ARGUMENTS = ['-m', 'resefa_plugin.scripts.factorize', '--hook=my_gan:my_hook', '--device=cpu', '--region=0.25,0.25,0.5,0.5', '--num-directions=3',
             '--other-seeds=9']


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'my_gan.py').write_text(MODULE)
    return tmp_path


def run(folder, processes, *arguments, **environment):
    """Ends with the command; everything that it listens on is on the loopback interface."""
    launcher = []
    if processes > 1:
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        launcher = ['-m', 'torch.distributed.run', f'--nproc-per-node={processes}', '--master-addr=127.0.0.1', f'--master-port={port}']
    environment = {**os.environ, 'GLOO_SOCKET_IFNAME': 'lo', 'OMP_NUM_THREADS': '1', **environment}
    return subprocess.run([sys.executable, *launcher, *ARGUMENTS, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize('arguments, name', [
    (['--seeds=0-2'], 'pooled-box_4_4_8_8'), (['--seeds=0'], 'seed0000-box_4_4_8_8'), (['--seeds=0', '--solver=lobpcg'], 'seed0000-box_4_4_8_8'),
    (['--seeds=0,1', '--no-pool', '--solver=lobpcg'], 'seed0001-box_4_4_8_8')])
def test_two_processes_find_what_one_finds(folder, arguments, name):
    files = []
    for processes in (1, 2):
        result = run(folder, processes, *arguments, f'--outdir=out{processes}')
        assert result.returncode == 0, result.stderr
        assert result.stdout.count('report.html') == 1  # one writer
        assert sorted(p.name for p in (folder / f'out{processes}').iterdir()) == sorted(p.name for p in (folder / 'out1').iterdir())
        files.append(DirectionSet.load(folder / f'out{processes}' / f'{name}.npz'))
    one, two = files
    np.testing.assert_allclose(two.directions, one.directions, atol=1e-6)
    np.testing.assert_allclose(two.eigenvalues, one.eigenvalues, rtol=1e-6)
    np.testing.assert_allclose(two.step, one.step, rtol=1e-6)


def test_a_process_that_dies_ends_the_run_and_leaves_what_is_finished(folder):
    result = run(folder, 2, '--seeds=0-3', '--outdir=out', DIES='1')
    assert result.returncode != 0
    assert sorted(p.name[:8] for p in (folder / 'out' / 'grams').iterdir()) == ['seed0000', 'seed0001']
    assert not (folder / 'out' / 'report.html').exists()
    before = {p: p.stat().st_mtime_ns for p in (folder / 'out' / 'grams').iterdir()}
    result = run(folder, 1, '--seeds=0-3', '--outdir=out')
    assert result.returncode == 0 and (folder / 'out' / 'report.html').exists(), result.stderr
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert 'seed0000: Jacobian' not in result.stderr and 'seed0003: Jacobian' in result.stderr


def test_alone_nothing_is_exchanged():
    ranks = Ranks()
    tensor = torch.arange(3)
    assert ranks.first and ranks.gather('a') == ['a'] and ranks.all_gather(tensor)[0] is tensor and ranks.sum(tensor) is tensor
    assert ranks.least(5, torch.device('cpu')) == 5


@pytest.mark.parametrize('count', [0, 1, 7, 12])
def test_shares_are_all_and_nearly_equal(count):
    shares = [Ranks(rank, 5).share(count) for rank in range(5)]
    assert [i for share in shares for i in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_kept_jacobians_are_whole(tmp_path):
    hook = TanhToy().hook()
    with pytest.raises(ResefaError, match='leave out --jacobian-dir'):
        ShardedJacobian(Viewpoint(hook, 'z', hook.sample(0)), Ranks()).compute(path=tmp_path)


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '4')
    monkeypatch.setenv('LOCAL_RANK', '3')
    assert local_device(torch.device('cpu')) == torch.device('cpu')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    with pytest.raises(ResefaError, match='process 3 of this machine has no GPU, there are 2'):
        local_device(torch.device('cuda'))
