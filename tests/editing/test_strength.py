"""Strength 1 where it cannot be reached: it is said in the file, on the console and in the report."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from resefa_plugin import DirectionSet
from resefa_plugin.editing.strength import STRENGTH_RMS, Calibration, describe_unreached
from resefa_plugin.scripts.main import main

# z[0] moves the left half of a picture by 0.02 at most, z[1] the right half as far as one likes.
SATURATING = '''
import torch
from resefa_plugin import FunctionHook

def my_hook(device):
    left = torch.zeros(16, 16)
    left[:, :8] = 1

    def images(z):
        a, b = (z[:, i, None, None, None] for i in range(2))
        return (0.02 * torch.tanh(a) * left + 0.1 * b * (1 - left)).expand(-1, 3, 16, 16)

    return FunctionHook(images, 2, device=device)
'''


def calibration(*measured):
    measured = np.square(measured)
    return Calibration(np.ones_like(measured), measured, measured, measured, measured)


def test_what_is_far_from_the_promise_is_named():
    assert calibration(0.1, 0.119, 0.081).unreached == {}
    assert calibration(0.1, 0.121, 0.079, 0.02).unreached == pytest.approx({2: 0.121, 3: 0.079, 4: 0.02})
    assert describe_unreached({2: 0.121, 4: 0.02}).startswith(
        f'Strength 1 is to change the region by a root mean square of {STRENGTH_RMS} and does not for direction '
        '2 (0.12), 4 (0.02)')


def test_it_is_said_in_the_file_the_console_and_the_report(tmp_path, monkeypatch):
    (tmp_path / 'saturating_gan.py').write_text(SATURATING)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ['factorize', '--hook=saturating_gan:my_hook', '--seeds=0', '--outdir=out',
                                       '--region=box=0,0,8,16', '--num-directions=1', '--other-seeds=1'])
    assert result.exit_code == 0, result.output
    directions = DirectionSet.load('out/seed0000-box.npz')
    unreached = {int(number): value for number, value in directions.metadata.extra['unreached'].items()}
    assert unreached and all(
        value == pytest.approx(directions.measured_inside[number - 1] ** 0.5) and value < 0.8 * STRENGTH_RMS
        for number, value in unreached.items())
    sentence = describe_unreached(unreached)
    assert sentence in result.output and sentence in (tmp_path / 'out' / 'report.html').read_text()
    assert 'unreached' in CliRunner().invoke(main, ['info', 'out/seed0000-box.npz']).output
