"""The patches on official checkouts: `stylegan2-ada-pytorch` and `stylegan3` in the folder RESEFA_UPSTREAM.

Each checkout runs in a process of its own (upstream_checks.py, cuda_checks.py), because their packages have one name.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
import subprocess
import sys

import pytest
import torch

UPSTREAM = os.environ.get('RESEFA_UPSTREAM', '')
CHECKOUTS = ('stylegan2-ada-pytorch', 'stylegan3')
SG2 = ['plugin_loader', 'fma', 'bias_act', 'upfirdn2d', 'fused_modconv', 'channels_last']
SG3 = ['plugin_loader', 'bias_act', 'upfirdn2d', 'filtered_lrelu', 'fused_modconv', 'input_layer', 'channels_last']
CASES = [('stylegan2-ada-pytorch', case, SG2) for case in ('skip', 'resnet', 'conditional', 'channels_last')]
CASES += [('stylegan3', 'stylegan2', SG2), ('stylegan3', 't', SG3), ('stylegan3', 'r', SG3)]

ROUNDING32 = 1e-5     # Relative, of a picture or Jacobian through some 15 float32 layers.
ROUNDING64 = 1e-12    # The same in float64.
DIFFERENCE64 = 1e-6   # Central differences with a step of 1e-6 in float64; a sample within a step of a kink costs more.
FLOAT16_NETWORK = 5e-2  # The two finest resolutions in float16; a sample that rounds across a kink costs most.
OPS32, OPS16 = 1e-5, 5e-3  # One op: float32 with fast math; float16, of which four roundings of 2^-11 are seen at most.

pytestmark = [pytest.mark.upstream, pytest.mark.skipif(not UPSTREAM, reason='RESEFA_UPSTREAM is not set')]
needs_cuda = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason='no NVIDIA GPU')]


@functools.cache
def run(script: str, checkout: str, *arguments: str) -> dict:
    path = pathlib.Path(UPSTREAM, checkout)
    if not path.is_dir():
        pytest.skip(f'no {checkout} in RESEFA_UPSTREAM')
    done = subprocess.run([sys.executable, '-m', f'tests.patches.{script}', str(path.resolve()), *arguments],
                          cwd=pathlib.Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])  # Upstream prints while it builds.


@pytest.mark.parametrize('checkout, case, patches', CASES)
def test_official_network(checkout, case, patches):
    found = run('upstream_checks', checkout)[case]
    assert found['applied'] == patches
    # Patched against not patched: modulation of activations against modulation of weights, among others.
    assert found['patched'] < ROUNDING32 and found['patched64'] < ROUNDING64
    assert found['adjoint'] < ROUNDING32                                       # <u, J t> = <J^T u, t>
    assert found['batched_primals'] < ROUNDING32 and found['chain_rule'] < ROUNDING32
    assert found['difference'] < DIFFERENCE64                                  # vmap(jvp)
    assert found['hessian'] < ROUNDING64 and found['hessian_difference'] < DIFFERENCE64  # Symmetric; jvp of grad.
    assert found['restored'] and found['bit_identical']


@pytest.mark.parametrize('checkout, case, patches', CASES)
def test_official_network_over_emulated_plugins(checkout, case, patches):
    found = run('upstream_checks', checkout)[case]['emulated']
    called = {'bias_act0', 'bias_act1', 'filtered_lrelu' if 'filtered_lrelu' in patches else 'upfirdn2d'}
    assert set(found['called']) == called
    for transform in ('forward', 'jvp', 'vjp', 'batched_primals'):
        assert found[transform] < ROUNDING32, transform
    if case == 'channels_last':
        assert ROUNDING32 < found['float16'] < FLOAT16_NETWORK


@pytest.mark.parametrize('checkout, case, patches', CASES)
def test_unpickled_network(checkout, case, patches):
    found = run('upstream_checks', checkout)[case]['pickled']
    assert found['applied'] == patches and found['restored'] and found['jvp'] < ROUNDING32
    assert all(home.startswith('_imported_module_') for home in found['homes'])


@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=needs_cuda)])
@pytest.mark.parametrize('checkout', CHECKOUTS)
def test_official_ops_against_the_reference_ops(checkout, device):
    """On the CPU over the emulated plugins, on a GPU over the compiled ones."""
    found = run('cuda_checks', checkout, device)
    assert found.pop('size_limit', True)
    networks = found.pop('networks')
    assert all(error < ROUNDING32 for error in networks.values()), networks
    assert set(found) >= {'bias_act', 'upfirdn2d'}
    for op, results in found.items():
        assert results.pop('built'), op
        for kind, errors in results.items():
            bound = OPS16 if kind == 'float16' else OPS32
            assert len(errors) == 9 and all(error < bound for error in errors.values()), (op, kind, errors)
