"""The commands with `--device=cuda`, on a GPU that is not there, from the network to the page."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from resefa_plugin import DirectionSet
from resefa_plugin.hooks import opening
from resefa_plugin.scripts.main import main
from tests.helpers.toys import tiny_on

pytestmark = pytest.mark.usefixtures('gpu')


@pytest.fixture
def run(monkeypatch):
    """Runs a command on `tiny`; its network goes where the command says."""
    opened = []
    monkeypatch.setitem(opening.NAMED_NETWORKS, 'tiny', lambda rest, device: opened.append(device) or tiny_on(device))

    def run(command, *arguments):
        result = CliRunner().invoke(main, [command, '--network=tiny', *map(str, arguments)], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert opened.pop().type == 'cuda' and not opened  # which is the default where there is one
    return run


def test_directions_of_a_sample_and_edits(run, tmp_path):
    run('factorize', '--seeds=0', '--region=box=2,2,20,20', '--num-directions=1', '--other-seeds=1',
        '--keep-background', f'--outdir={tmp_path}')
    assert DirectionSet.load(tmp_path / 'seed0000-box.npz').measured_inside[0] == pytest.approx(0.01, rel=0.1)
    assert (tmp_path / 'report.html').stat().st_size > 1000
    run('edit', '--device=cuda', '--seeds=1', f'--directions={tmp_path}/seed0000-box.npz', '--strength=-1,1',
        '--steps=3', f'--outdir={tmp_path}/edits')
    assert (tmp_path / 'edits' / 'grid.png').exists()


def test_a_pool(run, tmp_path):
    run('factorize', '--device=cuda:0', '--seeds=0-2', '--pool', '--region=box=2,2,20,20', '--num-directions=1',
        '--other-seeds=0', f'--outdir={tmp_path}')
    assert DirectionSet.load(tmp_path / 'pooled-box.npz').metadata.space == 's'
