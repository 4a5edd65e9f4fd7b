"""The file of what was tuned: read back, refused by other networks, damaged."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch

from resefa_plugin import DirectionSet, Viewpoint
from resefa_plugin.errors import CheckpointError
from resefa_plugin.projection.tuned_network import Tuning
from tests.helpers.toys import TinyHook, TwoPartToy

NAME = 'synthesis.3.weight'


@pytest.fixture
def hook():
    return TinyHook()


@pytest.fixture
def tuning(hook):
    difference = 0.1 * torch.randn(4, 3072, generator=torch.Generator().manual_seed(0))
    return Tuning({NAME: difference.half()}, hook.name, hook.sha256, 'portrait')


def test_it_is_a_safetensors_file(tuning, tmp_path):
    """As the format is written down: eight bytes of length, JSON, the tensors."""
    tuning.save(tmp_path / 'tuned.safetensors')
    data = (tmp_path / 'tuned.safetensors').read_bytes()
    length = int.from_bytes(data[:8], 'little')
    header = json.loads(data[8:8 + length])
    assert length % 8 == 0 and header[NAME] == {'dtype': 'F16', 'shape': [4, 3072], 'data_offsets': [0, 24576]}
    assert all(isinstance(text, str) for text in header['__metadata__'].values())
    stored = np.frombuffer(data[8 + length:], np.float16).reshape(4, 3072)
    np.testing.assert_array_equal(stored, tuning.differences[NAME].numpy())


def test_it_opens_again(hook, tuning, tmp_path):
    tuning.save(tmp_path / 'tuned.safetensors')
    loaded = Tuning.load(tmp_path / 'tuned.safetensors')
    assert (loaded.network, loaded.network_sha256, loaded.photograph) == ('tiny', 'a' * 64, 'portrait')
    assert loaded.sha256 == tuning.sha256 and torch.equal(loaded.differences[NAME], tuning.differences[NAME])
    tuned = loaded.applied(hook)
    expected = hook.G.synthesis[3].weight + tuning.differences[NAME].float()
    assert torch.equal(tuned.G.synthesis[3].weight, expected)
    assert torch.equal(tuned.G.synthesis[2].weight, hook.G.synthesis[2].weight)
    assert tuned.sha256 not in ('', hook.sha256) and tuned.tuned_from == hook.sha256
    assert 'tuned to portrait' in tuned.notes[-1] and not hook.tuned_from
    view = Viewpoint(tuned, 'w', tuned.sample(0))
    assert not torch.equal(view.images(view.zero()), Viewpoint(hook, 'w', hook.sample(0)).images(view.zero()))


def test_directions_of_the_network_before_apply_and_others_are_warned_about(hook, tuning, tiny_directions):
    directions, tuned = DirectionSet.load(tiny_directions), tuning.applied(hook)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        directions.check_fits(tuned)
    tuned.tuned_from = 'b' * 64
    with pytest.warns(UserWarning, match='edits may not be local'):
        directions.check_fits(tuned)


def test_other_networks_refuse_it(hook, tuning):
    hook.sha256 = 'b' * 64
    with pytest.raises(CheckpointError, match=r'tuned from tiny \(SHA-256 aaaaaaaaaaaa\), not from tiny .*bbbb'):
        tuning.applied(hook)
    with pytest.raises(CheckpointError, match='two-part-toy has no network whose weights'):
        tuning.applied(TwoPartToy().hook())
    for differences in ({'synthesis.9.weight': torch.zeros(4, 3072)}, {NAME: torch.zeros(3)}):
        with pytest.raises(CheckpointError, match='has no weights .*, which were tuned'):
            Tuning(differences, 'tiny', 'a' * 64, 'portrait').applied(TinyHook())


@pytest.mark.parametrize('damage', [
    lambda data: data[:-10], lambda data: b'nothing', lambda data: data[:30], lambda data: b'',
    lambda data: data.replace(b'tuned generator', b'other generator'), lambda data: data.replace(b'F16', b'F99'),
    lambda data: data.replace(b'"shape": [4, 3072]', b'"shape": [4, 4072]')],
    ids=['cut off', 'text', 'header cut off', 'empty', 'another kind', 'type', 'shape'])
def test_damaged_files(tuning, tmp_path, damage):
    path = tmp_path / 'tuned.safetensors'
    tuning.save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match='tuned.safetensors'):
        Tuning.load(path)


def test_numbers_that_are_not_finite(tuning, tmp_path):
    broken = {NAME: torch.full((4, 3072), torch.nan).half()}
    Tuning(broken, 'tiny', 'a' * 64, 'portrait').save(tmp_path / 'a.safetensors')
    with pytest.raises(CheckpointError, match=f"'{NAME}' holds other things than finite numbers"):
        Tuning.load(tmp_path / 'a.safetensors')
