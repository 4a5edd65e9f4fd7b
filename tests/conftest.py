"""Shared fixtures."""

from __future__ import annotations

import os

import pytest
import threadpoolctl
import torch
from click.testing import CliRunner

from resefa_plugin.hooks import opening
from resefa_plugin.hooks.opening import open_network
from resefa_plugin.machine.allocator import give_back, keep_large_blocks
from resefa_plugin.scripts.main import main
from tests.helpers.pretend_gpu import pretend_gpu
from tests.helpers.toys import TinyHook

keep_large_blocks()
# Threads of a toy's product cost more than they save, and those of two test processes wait for each other.
os.environ['OMP_NUM_THREADS'] = '1'  # for the processes that tests start
torch.set_num_threads(1)
threadpoolctl.threadpool_limits(1)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items):
    """Lets one of several test processes load the demo generator and the networks of the metrics, and begin with them.

    The last of them first: the one of the whole command takes most memory, and should not meet the tests that start
    processes of their own. Other tests of a file stay together for what they share.
    """
    if 'PYTEST_XDIST_WORKER' in os.environ:
        large = [item for item in items if item.get_closest_marker('network')]
        items[:] = large[::-1] + [item for item in items if item not in large]
        for item in items:
            item.add_marker(pytest.mark.xdist_group('network' if item in large else item.path.stem))


@pytest.fixture(scope='session')
def demo():
    """The demo generator, fetched through pip on first use. Not skipped when it cannot be had: it is a part."""
    return open_network('mobilestylegan-ffhq')


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that is not there, on which a tensor of the CPU that is mixed in fails the test."""
    with pretend_gpu(monkeypatch):
        yield


@pytest.fixture(autouse=True)
def global_state():
    """No test, and nothing that a test calls, leaves torch's global state changed."""
    before = (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads())
    yield
    assert (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()) == before


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """Gives back to the system what a large network or a file of tests took: kept blocks would add up."""
    if item.get_closest_marker('network') or nextitem is None or nextitem.path != item.path:
        give_back()


@pytest.fixture
def tiny(monkeypatch):
    """`--network=tiny`, a style-based generator of 32 x 32 pixels."""
    monkeypatch.setitem(opening.NAMED_NETWORKS, 'tiny', lambda rest, device: TinyHook())


@pytest.fixture(scope='session')
def tiny_directions(tmp_path_factory):
    """A file of two directions of `tiny`, made by the command, for tests that only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(opening.NAMED_NETWORKS, 'tiny', lambda rest, device: TinyHook())
        folder = tmp_path_factory.mktemp('tiny')
        arguments = ['--network=tiny', '--seeds=0', '--region=box=2,2,20,20', '--num-directions=2', '--other-seeds=1']
        result = CliRunner().invoke(main, ['factorize', *arguments, f'--outdir={folder}'])
        assert result.exit_code == 0, result.output
    return folder / 'seed0000-box.npz'
