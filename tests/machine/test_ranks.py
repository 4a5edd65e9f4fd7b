"""Two processes on one machine, as torchrun starts them: the same directions as one, and what is left when one dies."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from resefa_plugin import DirectionSet
from resefa_plugin.errors import ResefaError
from resefa_plugin.machine.ranks import Ranks, local_device
from resefa_plugin.scripts.main import main

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

class Channels(FunctionHook):
    def space(self, name, layers=None):
        space = super().space(name, layers)
        space.has_channels = True
        return space

def channels(device):
    weight = torch.randn(240, 3 * 16 * 16, generator=torch.Generator().manual_seed(1)) / 15
    return Channels(lambda z: torch.tanh(z @ weight.to(z)).unflatten(1, (3, 16, 16)), z_dim=240, device=device)

def my_hook(device):
    return Mortal(lambda z: torch.tanh(z @ weight.to(z)).unflatten(1, (3, 16, 16)), z_dim=20, device=device)
'''
ARGUMENTS = ['--hook=mortal_gan:my_hook', '--device=cpu', '--region=part=0.25,0.25,0.5,0.5', '--num-directions=3',
             '--other-seeds=9']
CASES = {
    'pooled': (['--seeds=0-2'], 'pooled-part'),
    'channels': (['--hook=mortal_gan:channels', '--seeds=0-2'], 'pooled-part'),
    'dense': (['--seeds=0'], 'seed0000-part'),
    'matrix-free': (['--seeds=0', '--solver=lobpcg'], 'seed0000-part'),
    'each': (['--seeds=0,1', '--no-pool', '--solver=lobpcg'], 'seed0001-part'),
    'dies': (['--seeds=0-3'], ''),
}
# One start of two processes, which takes seconds, does all the cases; each with a meeting place of its own.
RUNS = '''
import json, os, sys
from resefa_plugin.scripts.factorize import factorize
for case, (arguments, port) in json.loads(sys.argv[1]).items():
    if port:
        os.environ.update(MASTER_PORT=str(port), TORCHELASTIC_USE_AGENT_STORE='False')
    if case == 'dies':
        os.environ['DIES'] = '1'
    factorize([*arguments, f'--outdir={case}'], standalone_mode=False)
    print('finished', case, os.environ['RANK'])
'''


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ranks')
    (folder / 'mortal_gan.py').write_text(MODULE)
    return folder


@pytest.fixture(scope='module')
def launched(folder):
    """What two processes, which listen on the loopback interface only, did with each case in turn."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in CASES:
            free = stack.enter_context(socket.socket())
            free.bind(('127.0.0.1', 0))
            ports.append(free.getsockname()[1])
    runs = {case: (ARGUMENTS + arguments, port if i else None)  # the first one meets where torchrun says
            for i, ((case, (arguments, _)), port) in enumerate(zip(CASES.items(), ports, strict=True))}
    (folder / 'runs.py').write_text(RUNS)
    launcher = [
        '-m',
        'torch.distributed.run',
        '--nproc-per-node=2',
        '--master-addr=127.0.0.1',
        f'--master-port={ports[0]}',
    ]
    environment = {**os.environ, 'GLOO_SOCKET_IFNAME': 'lo', 'OMP_NUM_THREADS': '1'}
    return subprocess.run([sys.executable, *launcher, 'runs.py', json.dumps(runs)], cwd=folder, env=environment,
                          capture_output=True, text=True, timeout=300)


def alone(folder, monkeypatch, case, out):
    """The same command in one process."""
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(main, ['factorize', *ARGUMENTS, *CASES[case][0], f'--outdir={out}'])
    assert result.exit_code == 0, result.output
    return result.stderr


@pytest.mark.parametrize('case', [case for case in CASES if case != 'dies'])
def test_two_processes_find_what_one_finds(folder, launched, monkeypatch, case):
    for rank in range(2):
        assert f'finished {case} {rank}' in launched.stdout, launched.stderr
    assert launched.stdout.count(f'{case}/report.html') == 1  # one writer
    alone(folder, monkeypatch, case, f'{case}-alone')
    files = [sorted(p.name for p in (folder / name).iterdir()) for name in (case, f'{case}-alone')]
    assert files[0] == files[1]
    two, one = (DirectionSet.load(folder / name / f'{CASES[case][1]}.npz') for name in (case, f'{case}-alone'))
    np.testing.assert_allclose(two.directions, one.directions, atol=1e-6)
    np.testing.assert_allclose(two.eigenvalues, one.eigenvalues, rtol=1e-6)
    np.testing.assert_allclose(two.step, one.step, rtol=1e-6)


def test_a_process_that_dies_ends_the_run_and_leaves_what_is_finished(folder, launched, monkeypatch):
    assert launched.returncode != 0 and 'finished each' in launched.stdout and 'finished dies' not in launched.stdout
    grams = folder / 'dies' / 'grams'
    assert sorted(p.name[:8] for p in grams.iterdir()) == ['seed0000', 'seed0001']
    assert not (folder / 'dies' / 'report.html').exists()
    before = {p: p.stat().st_mtime_ns for p in grams.iterdir()}
    progress = alone(folder, monkeypatch, 'dies', 'dies')
    assert (folder / 'dies' / 'report.html').exists() and {p: p.stat().st_mtime_ns for p in before} == before
    assert 'seed0000: Jacobian' not in progress and 'seed0003: Jacobian' in progress


def test_alone_nothing_is_exchanged():
    ranks = Ranks()
    tensor = torch.arange(3)
    assert (
        ranks.first
        and ranks.gather('a') == ['a']
        and ranks.all_gather(tensor)[0] is tensor
        and ranks.sum(tensor) is tensor
    )
    assert ranks.least(5, torch.device('cpu')) == 5


@pytest.mark.parametrize('count', [0, 1, 7, 12])
def test_shares_are_all_and_nearly_equal(count):
    shares = [Ranks(rank, 5).share(count) for rank in range(5)]
    assert [i for share in shares for i in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_more_processes_than_gpus(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '4')
    monkeypatch.setenv('LOCAL_RANK', '3')
    assert local_device(torch.device('cpu')) == torch.device('cpu')
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    with pytest.raises(ResefaError, match='process 3 of this machine has no GPU, there are 2'):
        local_device(torch.device('cuda'))
