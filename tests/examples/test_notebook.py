"""The notebooks of examples/ run from their first cell to their last, in a kernel of their own, with little work."""

from __future__ import annotations

import pathlib
import re

import nbclient
import nbformat
import numpy as np
import pytest
from PIL import Image

from resefa_plugin import DirectionSet
from tests.helpers.network_files import forge

FOLDER = pathlib.Path(__file__).parents[2] / 'examples'
NOTEBOOKS = sorted(path.name for path in FOLDER.glob('*.ipynb'))


def run(name, folder, **settings):
    """Runs a notebook in a folder, with other values in its assignments; what it printed and showed as text."""
    notebook = nbformat.read(FOLDER / name, as_version=4)
    for names, value in settings.items():
        pattern = rf'(?m)^{", ".join(names.split("__"))} = [^#\n]*'
        hits = 0
        for cell in notebook.cells:
            if cell.cell_type == 'code':
                cell.source, count = re.subn(pattern, f'{", ".join(names.split("__"))} = {value}  ', cell.source)
                hits += count
        assert hits == 1, names
    nbclient.NotebookClient(notebook, timeout=1200, resources={'metadata': {'path': folder}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == 'code' for output in cell.outputs]
    pictures = sum('image/png' in output.get('data', {}) for output in outputs)
    return ''.join(output.get('text', '') + ''.join(output.get('data', {}).get(kind, '')
                                                    for kind in ('text/plain', 'text/html', 'text/markdown'))
                   for output in outputs), pictures


def test_there_are_four():
    assert NOTEBOOKS == ['first_edit.ipynb', 'own_generator.ipynb', 'own_photograph.ipynb', 'pooled_directions.ipynb']


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_they_are_kept_without_outputs(name):
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert len(cells) > 4 and not any(cell.outputs or cell.execution_count for cell in cells)
    assert (FOLDER / name).stat().st_size < 10_000
    assert 'colab-badge.svg' in notebook.cells[0].source and 'resefa_plugin-*.whl' in cells[0].source


def test_first_edit(tmp_path):
    forge(tmp_path)[0].rename(tmp_path / 'net.pkl')
    said, pictures = run('first_edit.ipynb', tmp_path, NETWORK=repr('net.pkl'),
                         SPACE__LAYERS__RESOLUTION="'w', None, 32")
    assert '3 directions of mouth' in said and '32 x 32' in said and pictures == 4
    found = DirectionSet.load(tmp_path / 'mouth.npz')
    assert found.metadata.seeds == (0,) and found.metadata.truncation_psi == 0.7
    with Image.open(tmp_path / 'edited.png') as edited:
        assert edited.size == (32, 32)


def test_own_generator(tmp_path):
    said, pictures = run('own_generator.ipynb', tmp_path)
    assert 'spot that direction 1 moves: 4 of 0 to 8, by 9' in said and '3 directions of middle' in said
    assert 'dice' in said and 'two calls' in said.lower() and pictures == 2


def test_pooled_directions(tmp_path):
    forge(tmp_path)[0].rename(tmp_path / 'net.pkl')
    said, pictures = run('pooled_directions.ipynb', tmp_path, NETWORK=repr('net.pkl'), SAMPLES__OTHERS='3, 2',
                         LAYERS__RESOLUTION='(0, 1, 2), 32')
    assert '3 directions of mouth, space s' in said and '1 pooled: squared change' in said and pictures == 1
    assert all(word in said for word in ('| resefa |', '| sefa |', '| random |')), said[-3000:]
    assert len(DirectionSet.load(tmp_path / 'pooled-mouth.npz')) == 3


@pytest.mark.network
def test_own_photograph(tmp_path):
    """With a few passes: that everything fits, not that it is alike."""
    said, pictures = run('own_photograph.ipynb', tmp_path, PASSES=3)
    assert '3 passes' in said and re.search(r'9\d\.\d% of the pixels are the same', said) and pictures == 2
    with Image.open(tmp_path / 'edited.png') as edited:
        assert edited.size == (512, 512) and 'edited photograph' in edited.text['Description']
        assert np.asarray(edited).std() > 30
