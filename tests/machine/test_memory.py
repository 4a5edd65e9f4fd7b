"""The budget: what may be taken is a share of it, and never more than is there."""

from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner

from resefa_plugin.machine import memory
from resefa_plugin.scripts.main import main

CPU, CUDA = torch.device('cpu'), torch.device('cuda')


@pytest.fixture(autouse=True)
def budget():
    yield
    memory.set_budget(memory.DEFAULT_BUDGET)


def test_three_gigabytes_unless_said_otherwise(monkeypatch):
    monkeypatch.setattr(memory, 'available_bytes', lambda device: 10 ** 12)
    assert memory.room(0.5, CPU) == 1_500_000_000
    memory.set_budget(1000)
    assert memory.room(0.5, CPU) == 500


def test_never_more_than_is_free_and_a_gpu_has_its_own_memory(monkeypatch):
    monkeypatch.setattr(memory, 'available_bytes', lambda device: 600)
    memory.set_budget(1000)
    assert memory.room(0.5, CPU) == 300
    memory.set_budget(100)
    assert memory.room(0.5, CPU) == 50 and memory.room(0.5, CUDA) == 300


def test_what_is_spoken_for_is_not_shared(monkeypatch):
    monkeypatch.setattr(memory, 'available_bytes', lambda device: 10 ** 12)
    memory.set_budget(1000)
    assert memory.room(0.5, CPU, taken=600) == 200 and memory.room(0.5, CPU, taken=2000) == 0


def test_tangents_of_an_unknown_network(monkeypatch):
    """768 bytes for each pixel of the picture, and one tangent whatever the budget."""
    monkeypatch.setattr(memory, 'available_bytes', lambda device: 10 ** 12)
    memory.set_budget(int(3 * 768 * 64 * 32 / memory.PASS) + 1)
    assert memory.tangents_at_once((3, 64, 32), CPU) == 3
    assert memory.tangents_at_once((3, 64, 32), CPU, taken=10 ** 9) == 1


def test_the_flag_sets_it(tiny, tmp_path, monkeypatch):
    """The Jacobian of `tiny` in W takes 4 * 3 * 32 * 32 * 4 = 49,152 bytes, which is to be at most 0.55 of all."""
    command = ['factorize', '--network=tiny', '--seeds=0', '--region=mouth', '--num-directions=1',
               f'--outdir={tmp_path}']
    monkeypatch.setattr(memory, 'available_bytes', lambda device: 89_000)
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1 and "the Jacobian of space 'w' needs 0.0 GB" in result.output.replace('\n', ' ')
    assert 'a larger --memory' in result.output.replace('\n', ' ')
    monkeypatch.setattr(memory, 'available_bytes', lambda device: 10 ** 12)
    assert CliRunner().invoke(main, [*command, '--memory=0.01']).exit_code == 0
    assert memory.room(1, CPU) == 10_000_000
    assert "Invalid value for '--memory'" in CliRunner().invoke(main, [*command, '--memory=0']).output
