"""examples/own_photograph.ipynb runs from its first cell to its last, in a kernel of its own."""

from __future__ import annotations

import pathlib
import re

import nbclient
import nbformat
import numpy as np
import pytest
from PIL import Image

NOTEBOOK = pathlib.Path(__file__).parents[2] / 'examples' / 'own_photograph.ipynb'


def test_it_is_kept_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert len(cells) > 4 and not any(cell.outputs or cell.execution_count for cell in cells)
    assert NOTEBOOK.stat().st_size < 10_000


@pytest.mark.network
def test_it_runs(tmp_path):
    """With a few passes: that everything fits, not that it is alike."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    settings = notebook.cells[1]
    settings.source, count = re.subn(r'PASSES = \d+', 'PASSES = 3', settings.source)
    assert count == 1
    nbclient.NotebookClient(notebook, timeout=900, resources={'metadata': {'path': tmp_path}}).execute()
    said = ''.join(output.get('text', '') for cell in notebook.cells if cell.cell_type == 'code'
                   for output in cell.outputs)
    assert '3 passes' in said and re.search(r'9\d\.\d% of the pixels are the same', said)
    with Image.open(tmp_path / 'edited.png') as edited:
        assert edited.size == (512, 512) and 'edited photograph' in edited.text['Description']
        assert np.asarray(edited).std() > 30
