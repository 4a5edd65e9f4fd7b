"""Directions of other files, to be orthogonal to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.directions.orthogonal import load_orthogonal
from resefa_plugin.errors import DirectionsError
from resefa_plugin.hooks.function import FunctionHook
from tests.helpers.direction_sets import D, H, W, make_metadata, make_set


@pytest.fixture
def hook():
    weight = torch.randn(D, 3 * H * W, generator=torch.Generator().manual_seed(0))
    return FunctionHook(lambda z: torch.tanh(z @ weight).unflatten(1, (3, H, W)), z_dim=D, device='cpu')


@pytest.fixture
def path(tmp_path, hook):
    path = tmp_path / 'a.npz'
    make_set(metadata=make_metadata(space='z', network_sha256=hook.sha256)).save(path)
    return path


def test_no_texts(hook):
    assert load_orthogonal([], hook, 'z', None) is None


def test_all_of_a_file_then_one(path, hook):
    found = load_orthogonal([str(path), f'{path}:2'], hook, 'z', None)
    expected = DirectionSet.load(path).directions
    assert found.dtype == np.float64 and np.array_equal(found, [*expected, expected[1]])


@pytest.mark.parametrize('index, expected', [('0', -1), ('4', 3)])
def test_an_index_that_the_file_does_not_have(path, hook, index, expected):
    with pytest.raises(DirectionsError, match=f'direction {expected} is out of range: expected 0 to 2'):
        load_orthogonal([f'{path}:{index}'], hook, 'z', None)


@pytest.mark.parametrize('name', ['a:b.npz', 'a:\u00b2', ':', '7'])
def test_what_is_no_index_is_part_of_the_name(path, hook, name):
    other = path.parent / name
    path.rename(other)
    assert len(load_orthogonal([str(other)], hook, 'z', None)) == 3
