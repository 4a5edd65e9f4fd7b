"""Truncation to the mean of the class, where a network has one (w_avg [c_dim, w_dim])."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.opening import open_network
from resefa_plugin.networks.stylegan_layers import MappingNetwork
from resefa_plugin.scripts.main import main
from tests.helpers.network_files import SIZES, SMALL, SMALL3, make_generator, write_network
from tests.helpers.toys import images_at
from tests.third_party.test_nvlabs_checkout import write_checkout

C_DIM, W_DIM = 3, SIZES['w_dim']
PSI, CUTOFF = 0.6, 2
FLOAT32 = 1e-5  # rounding of a lerp of numbers of order 1


def write(folder, w_avg, family='stylegan2', c_dim=C_DIM):
    """A conditional network file with these means; returns its path and the network with the means at 0."""
    G = make_generator(family, c_dim=c_dim)
    state = {**G.state_dict(), 'mapping.w_avg': w_avg}
    synthesis = dict(synthesis_kwargs=SMALL) if family == 'stylegan2' else SMALL3
    return write_network(folder / 'means.pkl', state, **{**SIZES, 'c_dim': c_dim}, **synthesis), G


@pytest.mark.parametrize('family', ['stylegan2', 'stylegan3'])
@pytest.mark.parametrize('label', [[0., 1, 0], [0, 0, 1], [0.25, 0, 0.75]])
def test_truncation_goes_to_the_mean_of_the_class(tmp_path, family, label):
    means = torch.randn(C_DIM, W_DIM, generator=torch.Generator().manual_seed(1))
    path, G = write(tmp_path, means, family)
    hook = open_network(path)
    c = torch.tensor([label])
    sample = hook.sample(5, PSI, CUTOFF, c)
    w = G.mapping(sample.latents['z'], c).detach().numpy().astype(np.float64)
    mean = sum(share * row for share, row in zip(label, means.double().numpy(), strict=True))
    expected = w.copy()
    expected[:, :CUTOFF] = mean + PSI * (w[:, :CUTOFF] - mean)
    assert np.allclose(sample.latents['ws'], expected, atol=FLOAT32)
    full = hook.sample(5, 0, None, c).latents['ws']
    assert np.allclose(full, mean, atol=FLOAT32) and not any('truncation' in note for note in hook.notes)
    moved = images_at(hook.space('z'), sample, torch.zeros(1, hook.z_dim))
    assert torch.allclose(moved, hook.synthesis(sample.latents['ws'], None), atol=1e-4)


def test_a_batch_of_labels():
    mapping = MappingNetwork(4, C_DIM, W_DIM, 5, 2, class_w_avg=True).requires_grad_(False)
    mapping.w_avg.normal_(generator=torch.Generator().manual_seed(0))
    ws = mapping(torch.randn(C_DIM, 4), torch.eye(C_DIM), truncation_psi=0)
    assert ws.shape == (C_DIM, 5, W_DIM) and torch.allclose(ws, mapping.w_avg[:, None].expand_as(ws))


def test_networks_with_one_mean_say_so(tmp_path):
    path, _ = write(tmp_path, torch.zeros(W_DIM))
    assert 'truncation goes to the mean of all classes' in open_network(path).notes[0]
    result = CliRunner().invoke(main, ['info', str(path)])
    assert result.exit_code == 0 and 'note: truncation goes to the mean of all classes' in result.output


def test_in_a_checkout(tmp_path, monkeypatch):
    path, _ = write(tmp_path, torch.randn(C_DIM, W_DIM))
    ada = write_checkout(tmp_path / 'ada', 'stylegan2-ada-pytorch')
    monkeypatch.chdir(ada)
    hook = open_network(path)
    assert hook.implementation.startswith('our own stylegan2 network')
    assert 'has no mean of W per class' in hook.implementation
    with pytest.raises(CheckpointError, match=r"'mapping.w_avg' is \[3, 8\], expected \[8\].*--trust-pickle"):
        open_network(path, repo=ada)


@pytest.mark.parametrize('shape, c_dim, match', [
    ((C_DIM + 1, W_DIM), C_DIM, r"'mapping.w_avg' is \[4, 8\], expected \[3, 8\]"),
    ((C_DIM, W_DIM + 1), C_DIM, r'is \[3, 9\], expected \[3, 8\]'),
    ((1, C_DIM, W_DIM), C_DIM, r'is \[1, 3, 8\], expected \[8\]'),
    ((1, W_DIM), 0, 'means.pkl: class_w_avg: expected a network with classes .* got c_dim 0')])
def test_means_that_do_not_fit(tmp_path, shape, c_dim, match):
    path, _ = write(tmp_path, torch.zeros(shape), c_dim=c_dim)
    with pytest.raises(CheckpointError, match=match):
        open_network(path)


def test_means_without_an_average():
    with pytest.raises(CheckpointError, match='got c_dim 3 and w_avg_beta None'):
        MappingNetwork(4, C_DIM, W_DIM, 5, w_avg_beta=None, class_w_avg=True)
