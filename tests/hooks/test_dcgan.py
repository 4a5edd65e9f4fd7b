"""A real generator of others, of a kind that nothing here knows, through `--hook`."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from resefa_plugin import DirectionSet
from resefa_plugin.hooks.foreign import open_function
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.probe import probe
from resefa_plugin.scripts.main import main

pytestmark = pytest.mark.network


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a user's module."""
    (tmp_path / 'faces.py').write_text('from tests.helpers.dcgan import dcgan\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_derivative_can_be_trusted(folder):
    hook = open_function('faces:dcgan')
    assert hook.image_shape == (3, 64, 64)
    probe(Viewpoint(hook, hook.space('z'), hook.sample(0)))


def test_a_centre_box_is_edited_from_the_command_line(folder):
    region = '--region=centre=0.25,0.25,0.5,0.5'
    for arguments in (['factorize', '--hook=faces:dcgan', '--seeds=0', region, '--num-directions=2', '--outdir=out'],
                      ['edit', '--hook=faces:dcgan', '--seeds=0', '--directions=out/seed0000-centre.npz', '--steps=3',
                       '--outdir=edits']):
        result = CliRunner().invoke(main, [*arguments, '--device=cpu'])
        assert result.exit_code == 0, result.output
    directions = DirectionSet.load(folder / 'out' / 'seed0000-centre.npz')
    assert directions.directions.shape == (2, 100) and directions.mask.mean() == 0.25
    assert np.sqrt(directions.measured_inside) == pytest.approx(0.1, rel=0.1)
    assert directions.measured_inside[0] > 4 * directions.measured_outside[0]  # mean squares per pixel
    assert (folder / 'edits' / 'seed0000-02.png').stat().st_size > 1000
