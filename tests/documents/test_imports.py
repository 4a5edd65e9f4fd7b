"""What is not imported before it is needed, in an interpreter of its own, whose start takes seconds and is shared."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

STEPS = '''
import json, sys
import resefa_plugin
steps = [sorted(sys.modules)]
import resefa_plugin.integrations, resefa_plugin.scripts.main
steps.append(sorted(sys.modules))
from resefa_plugin.report.plots import eigenvalue_plot
eigenvalue_plot([1.0], 1)
steps.append(sorted(sys.modules))
print(json.dumps(steps))
'''


@pytest.fixture(scope='module')
def imported():
    """The modules that there are after the package's import, after that of the commands, and after a plot."""
    done = subprocess.run([sys.executable, '-c', STEPS], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [set(names) for names in json.loads(done.stdout)]


def test_the_package_does_not_import_the_metrics(imported):
    assert not [name for name in imported[0] if name.startswith('resefa_plugin.metrics')]


def test_the_commands_import_neither_lightning_nor_what_draws_the_report(imported):
    assert not {'lightning', 'pytorch_lightning', 'matplotlib', 'jinja2'} & imported[1]


def test_a_plot_needs_no_window_system(imported):
    assert 'matplotlib' in imported[2] and 'matplotlib.pyplot' not in imported[2]
