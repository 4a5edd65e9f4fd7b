"""Directions of other files, to be orthogonal to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.directions.orthogonal import load_orthogonal
from resefa_plugin.errors import DirectionsError
from resefa_plugin.hooks.function import FunctionHook
from tests.helpers.direction_sets import D, H, W, fake_hook, make_metadata, make_set


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


@pytest.mark.parametrize('index', ['0', '4'])
def test_an_index_that_the_file_does_not_have(path, hook, index):
    with pytest.raises(DirectionsError, match=f'direction {index} is out of range: they are counted from 1'):
        load_orthogonal([f'{path}:{index}'], hook, 'z', None)


@pytest.mark.parametrize('name', ['a:b.npz', 'a:\u00b2', ':', '7', '7:'])
def test_what_is_no_index_is_part_of_the_name(path, hook, name):
    other = path.parent / name
    path.rename(other)
    assert len(load_orthogonal([str(other)], hook, 'z', None)) == 3


def test_the_index_stands_after_the_last_colon(path, hook):
    path.rename(path.parent / 'a:1')
    assert len(load_orthogonal([f"{path.parent / 'a:1'}:3"], hook, 'z', None)) == 1


@pytest.mark.parametrize('space, layers, match', [
    ('z', (1, 2), "space 'w', layers \\(1, 2\\), and space 'z', layers \\(1, 2\\), is to be factorized"),
    ('w', None, "and space 'w', layers all, is to be factorized: directions of one space are orthogonal to each other"),
    ('w', (1,), "and space 'w', layers \\(1,\\), is")])
def test_directions_of_another_space_or_layers(tmp_path, space, layers, match):
    path = tmp_path / 'a.npz'
    make_set(metadata=make_metadata(layers=(1, 2))).save(path)
    assert len(load_orthogonal([str(path)], fake_hook(), 'w', (1, 2))) == 3
    with pytest.raises(DirectionsError, match=f'a.npz is for .*{match}'):
        load_orthogonal([str(path)], fake_hook(), space, layers)


def test_directions_of_all_layers_do_not_serve_some(tmp_path):
    make_set().save(tmp_path / 'a.npz')
    with pytest.raises(DirectionsError, match="is for space 'w', layers all, and space 'w', layers .1, 2."):
        load_orthogonal([str(tmp_path / 'a.npz')], fake_hook(), 'w', (1, 2))
