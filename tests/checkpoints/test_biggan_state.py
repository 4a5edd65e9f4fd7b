"""Experiment folders of BigGAN-PyTorch: read exactly, corrected where the official code errs, refused if they lie."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
import torch

from resefa_plugin.checkpoints.biggan_state import load_strictly, read_biggan
from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.biggan import open_biggan
from resefa_plugin.networks.biggan import Generator
from tests.helpers.biggan_toys import CONFIGS, experiment, fill, network, official_state, record

# Pixel (5, 9) of the official code's second picture in float64, for these weights, z and classes.
OFFICIAL_PIXELS = {
    'hier': [0.2760848276748181, 0.7661921973534882, 0.9282538990373415],
    'flat': [0.8208556201037582, -0.9379767500486598, -0.8366228080506676],
    'hier64': [-0.36266488760931676, -0.3032177650296387, -0.546785118960491],
    'deep': [-0.3744165494653531, -0.8655006379309272, -0.9844361633969004],
    'deep64': [0.9405325616454361, -0.9640148340533009, -0.09289805654673919],
}


def pictures(read, z_dim=None):
    G = read.build()
    z = torch.from_numpy(np.random.RandomState(1).randn(2, z_dim or G.dim_z))
    return G(z, G.shared(torch.tensor([1, 3])))


@pytest.mark.parametrize('name', CONFIGS)
def test_the_pictures_are_the_official_ones(name, tmp_path):
    read = read_biggan(experiment(tmp_path, name))
    assert (read.config.resolution, read.config.widths, read.config.slots) == (
        CONFIGS[name].resolution, CONFIGS[name].widths, CONFIGS[name].slots)
    assert read.config.BN_eps == 1e-4 and read.notes == ()
    assert read.sha256 == hashlib.sha256((tmp_path / 'G_ema.pth').read_bytes()).hexdigest()
    np.testing.assert_allclose(pictures(read)[1, :, 5, 9], OFFICIAL_PIXELS[name], rtol=0, atol=1e-12)


def test_spectral_norm_by_numpy(tmp_path):
    state = official_state()
    read = read_biggan(experiment(tmp_path, state=state))
    for name in ('linear', 'blocks.1.0.conv1', 'blocks.1.1.theta', 'blocks.0.0.bn1.gain', 'output_layer.2'):
        weight, u = state[f'{name}.weight'].numpy(), state[f'{name}.u0'].numpy()
        matrix = weight.reshape(len(weight), -1)
        v = u[0] @ matrix
        sigma = np.linalg.norm(matrix @ (v / np.linalg.norm(v)))
        np.testing.assert_allclose(read.state[f'{name}.weight'], weight / sigma, rtol=1e-13)
    assert not [key for key in read.state if re.search(r'\.(u|sv)\d', key)]


def test_the_spectral_epsilon_counts_where_a_weight_is_tiny(tmp_path):
    state = official_state()
    state['linear.weight'] = state['linear.weight'] * 1e-7
    folder = experiment(tmp_path, state=state)
    exact, bounded = (read_biggan(folder, SN_eps=eps).state['linear.weight'] for eps in (1e-12, 1e-4))
    assert (bounded - exact).norm() > 0.5 * exact.norm()


def test_weights_without_spectral_norm_stay(tmp_path):
    state = network('flat').state_dict()
    read = read_biggan(experiment(tmp_path, 'flat', state=state))
    assert all(torch.equal(read.state[key], value) for key, value in state.items())


def test_half_precision_becomes_single(tmp_path):
    state = {key: value.half() for key, value in official_state().items()}
    assert {value.dtype for value in read_biggan(experiment(tmp_path, state=state)).state.values()} == {torch.float32}


# Which file.

def test_the_average_is_preferred_and_a_file_can_be_named(tmp_path):
    experiment(tmp_path)
    assert read_biggan(tmp_path).path.name == 'G_ema.pth'
    torch.save(official_state('flat'), tmp_path / 'G.pth')
    assert read_biggan(tmp_path).path.name == 'G_ema.pth'
    (tmp_path / 'G_ema.pth').rename(tmp_path / 'G_ema_best0.pth')
    with pytest.raises(CheckpointError, match='records hier=True, but the weights say False: the two files are not'):
        read_biggan(tmp_path)
    (tmp_path / 'state_dict.pth').unlink()
    assert read_biggan(tmp_path).config.dim_z == 7
    torch.save({'config': record(BN_eps=0.01)}, tmp_path / 'state_dict_best0.pth')
    assert read_biggan(tmp_path / 'G_ema_best0.pth').config.BN_eps == 0.01
    (tmp_path / 'G.pth').unlink()
    torch.save({}, tmp_path / 'G_optim_copy0.pth')
    with pytest.raises(CheckpointError, match='name one of the saved copies instead of the folder: G_ema_best0.pth$'):
        read_biggan(tmp_path)


def test_folders_and_files_that_are_none(tmp_path):
    with pytest.raises(CheckpointError, match='expected G_ema.pth or G.pth in it'):
        read_biggan(tmp_path)
    with pytest.raises(CheckpointError, match='not a file'):
        read_biggan(tmp_path / 'G_ema.pth')
    (tmp_path / 'G.pth').write_bytes(b'PK\x03\x04 not a zip')
    with pytest.raises(CheckpointError, match=r'G\.pth: a damaged zip archive'):
        read_biggan(tmp_path)
    for content in ([1, 2], {'linear.weight': 3}, {3: torch.ones(1)}):
        torch.save(content, tmp_path / 'G.pth')
        with pytest.raises(CheckpointError, match='expected the state of a generator'):
            read_biggan(tmp_path)


# Epsilons.

def test_epsilons_that_are_recorded_chosen_or_assumed(tmp_path):
    experiment(tmp_path)
    assert read_biggan(tmp_path, BN_eps=0.5).config.BN_eps == 0.5
    (tmp_path / 'state_dict.pth').unlink()
    read = read_biggan(tmp_path)
    assert read.config.BN_eps == 1e-5
    assert read.notes == tuple(f'{name} is not recorded: {value}, the default of train.py, is assumed; conversions of '
                               'TF-Hub models need 1e-4' for name, value in (('SN_eps', '1e-08'), ('BN_eps', '1e-05')))
    assert read_biggan(tmp_path, BN_eps=1e-4, SN_eps=1e-4).notes == ()


@pytest.mark.parametrize('value', [-1e-5, 1.5, float('nan'), '1e-5', True])
def test_epsilons_that_cannot_be(value, tmp_path):
    experiment(tmp_path, BN_eps=value)
    with pytest.raises(CheckpointError, match='BN_eps is .*; expected a number from 0 to 1'):
        read_biggan(tmp_path)


# Batch statistics.

def restyled(name, names, scale=1.0, **extra):
    """The state with its statistics under other names."""
    state = {}
    for key, value in official_state(name).items():
        owner, _, last = key.rpartition('.')
        if last in names:
            state[f'{owner}.bn.{names[last]}'] = value * scale
            state |= {f'{owner}.bn.{key}': value for key, value in extra.items()}
        else:
            state[key] = value
    return state


@pytest.mark.parametrize('name', ['hier', 'deep'])
def test_cross_replica_statistics_multiply(name, tmp_path):
    expected = pictures(read_biggan(experiment(tmp_path / 'plain', name)))
    names = {'stored_mean': 'running_mean', 'stored_var': 'running_var'}
    state = restyled(name, names, num_batches_tracked=torch.tensor(7))
    read = read_biggan(experiment(tmp_path / 'replica', name, state, cross_replica=True))
    assert torch.equal(pictures(read), expected)
    assert 'trained with cross_replica' in read.notes[0] and len(read.notes) == 1


@pytest.mark.parametrize('count', [0.0, 4.0])
def test_standing_statistics_are_divided_by_their_count(count, tmp_path):
    expected = pictures(read_biggan(experiment(tmp_path / 'plain')))
    state = restyled('hier', {'stored_mean': 'stored_mean', 'stored_var': 'stored_var'}, scale=max(count, 1),
                     accumulation_counter=torch.tensor([count]))
    read = read_biggan(experiment(tmp_path / 'mybn', state=state, mybn=True))
    torch.testing.assert_close(pictures(read), expected, rtol=0, atol=1e-12)
    assert read.notes == (('standing statistics: sums divided by the number of accumulated batches',) if count else ())


@pytest.mark.parametrize('count', [torch.tensor([-1.0]), torch.tensor([float('nan')]), torch.zeros(2)])
def test_counts_that_are_none(count, tmp_path):
    state = restyled('hier', {'stored_mean': 'stored_mean'}, accumulation_counter=count)
    with pytest.raises(CheckpointError, match='accumulation_counter is not a number of batches'):
        read_biggan(experiment(tmp_path, state=state))


def test_blocks_without_statistics_are_refused(tmp_path):
    state = {key: value for key, value in official_state().items() if not re.search(r'blocks.*stored', key)}
    with pytest.raises(CheckpointError, match='norm_style was gn, ln or nonorm'):
        read_biggan(experiment(tmp_path, state=state))


def test_damaged_spectral_norms(tmp_path):
    state = official_state()
    with pytest.raises(CheckpointError, match='linear.u0 does not fit a weight linear.weight'):
        read_biggan(experiment(tmp_path, state=state | {'linear.u0': torch.ones(1, 3)}))
    with pytest.raises(CheckpointError, match='linear.weight: its spectral norm is 0'):
        read_biggan(experiment(tmp_path, state=state | {'linear.weight': 0 * state['linear.weight']}))


# Without a shared embedding: gains by class.

def test_without_shared_embeddings_labels_become_soft(tmp_path):
    state = {key: value for key, value in official_state('flat').items() if key != 'shared.weight'}
    tables = {}
    for key in [key for key in state if re.search(r'bn\d\.(gain|bias)\.u0', key)]:
        del state[key], state[key.replace('u0', 'sv0')]
        name = key.replace('u0', 'weight')
        tables[name] = state[name] = fill({name: torch.empty(5, len(state[name]))})[name]
    read = read_biggan(experiment(tmp_path, 'flat', state, G_shared=False))
    assert (read.config.G_shared, read.config.n_classes, read.config.shared_dim) == (False, 5, 5)
    G = read.build()
    norm = G.blocks[1][0].bn2
    gains = norm.gain(G.embed(torch.eye(5, dtype=torch.float64)))
    torch.testing.assert_close(gains, tables['blocks.1.0.bn2.gain.weight'])
    assert open_biggan(tmp_path).space('class').dim == 5


# The record of the training.

@pytest.mark.parametrize('name, changes, match', [
    ('hier', dict(norm_style='gn'), "norm_style is 'gn', which the official code cannot run"),
    ('hier', dict(norm_style='nonorm'), "norm_style is 'nonorm'"),
    ('hier', dict(G_nl='swish'), "G_nl is 'swish'; supported are relu"),
    ('hier', dict(G_ch=64), 'records G_ch=64, but the weights say 4: the two files are not of the same experiment'),
    ('hier', dict(resolution=128), 'records resolution=128, but the weights say 32'),
    ('hier', dict(n_classes=1000), 'records n_classes=1000, but the weights say 5'),
    ('hier', dict(shared_dim=128), 'records shared_dim=128, but the weights say 6'),
    ('hier', dict(shared_dim=0), 'records shared_dim=0, but the weights say 6'),
    ('hier', dict(dim_z=16), 'records dim_z=16, but the weights say 12'),
    ('hier', dict(dim_z='twelve'), "records dim_z='twelve', but the weights say 12"),
    ('hier', dict(n_classes=np.int64(7)), 'records n_classes=7, but the weights say 5'),
    ('hier', dict(hier=False), 'records hier=False, but the weights say True'),
    ('hier', dict(G_shared=False), 'records G_shared=False, but the weights say True'),
    ('hier', dict(G_attn='8'), r"records G_attn='8', but the weights say \(16,\)"),
    ('hier', dict(model='BigGANdeep'), "records model='BigGANdeep', but the weights say BigGAN"),
    ('deep', dict(G_depth=4), 'records G_depth=4, but the weights say 2'),
    ('deep', dict(dim_z=8), 'records dim_z=8, but the weights say 7'),
])
def test_records_that_contradict(name, changes, match, tmp_path):
    with pytest.raises(CheckpointError, match=match):
        read_biggan(experiment(tmp_path, name, **changes))


def test_a_rounded_dim_z_is_corrected_and_noted(tmp_path):
    read = read_biggan(experiment(tmp_path, dim_z=14))
    assert read.config.dim_z == 12 and read.build().dim_z == 12
    assert read.notes == ('z has 12 dimensions, not the recorded 14: the official code rounds down to 4 equal chunks',)


def test_records_that_agree_in_other_words(tmp_path):
    same = dict(G_attn='16_64', norm_style='in', G_nl='ir', n_classes=np.int64(5), G_ch=np.float64(4),
                resolution=np.ones(3))
    assert read_biggan(experiment(tmp_path, **same)).notes == ()
    notes = read_biggan(experiment(tmp_path, z_var=0.5)).notes
    assert notes == ('trained on z of standard deviation 0.5: truncation psi 0.5 draws such z',)


def test_records_of_the_legacy_format(tmp_path):
    experiment(tmp_path)
    plain = {key: value for key, value in record(BN_eps=0.25).items() if key != 'G_activation'}
    torch.save({'config': plain}, tmp_path / 'state_dict.pth', _use_new_zipfile_serialization=False)
    read = read_biggan(tmp_path)
    assert read.config.BN_eps == 0.25 and read.notes == ()


def test_records_that_cannot_be_read_are_noted(tmp_path):
    experiment(tmp_path, G_activation=torch.nn.PReLU())
    read = read_biggan(tmp_path, BN_eps=1e-4, SN_eps=1e-4)
    assert len(read.notes) == 1
    assert read.notes[0].startswith('the configuration is not checked: state_dict.pth: ') and 'PReLU' in read.notes[0]
    contents = {b'': 'truncated', b'PK\x03\x04': 'a damaged zip archive', b'x' * (1 << 20 | 1): 'larger than'}
    for content, cause in contents.items():
        (tmp_path / 'state_dict.pth').write_bytes(content)
        assert cause in read_biggan(tmp_path).notes[0]


@pytest.mark.parametrize('content', [{'itr': 3}, [1], {'config': 3}])
def test_records_without_a_configuration_are_as_none(content, tmp_path):
    experiment(tmp_path)
    torch.save(content, tmp_path / 'state_dict.pth')
    assert read_biggan(tmp_path, BN_eps=1e-4, SN_eps=1e-4).notes == ()


# Weights that imply no configuration.

def without(pattern):
    return lambda state: {key: value for key, value in state.items() if not re.search(pattern, key)}


def resized(key, *shape):
    return lambda state: without(re.escape(key.removesuffix('weight') + 'u0'))(state) | {key: torch.ones(shape)}


@pytest.mark.parametrize('name, change, match', [
    ('hier', without('^linear'), 'linear.weight is missing: not a generator of BigGAN-PyTorch'),
    ('hier', without('^blocks'), 'no blocks: not a generator of BigGAN-PyTorch'),
    ('hier', without(r'^blocks\.2'), '2 blocks are no known BigGAN: expected 3 resolutions to 7, for 32 to 512 pixels'),
    ('hier', without(r'^blocks\.1'), 'blocks.1.0.conv1.weight is missing'),
    ('hier', without(r'bn1\.gain\.(weight|u0)'), 'blocks.0.0.bn1.gain.weight is missing'),
    ('hier', without(r'bn1\.gain\.weight'), 'bn1.gain.u0 does not fit a weight blocks.0.0.bn1.gain.weight'),
    ('hier', resized('linear.weight', 100, 3), 'makes 100 numbers; expected 16 channels of 4x4 pixels'),
    ('hier', resized('linear.weight', 256, 5), 'takes 5 numbers, which does not fit conditioning vectors of 9, 6 of'),
    ('hier', resized('linear.weight', 256), r'linear.weight has shape \[256\], expected 2 dimensions'),
    ('hier', resized('shared.weight', 5, 10), 'which does not fit conditioning vectors of 9, 10 of them for the class'),
    ('hier', resized('shared.weight', 0, 6), 'shared.weight has shape'),
    ('deep', without('^shared'), 'shared.weight is missing: BigGAN-deep runs with G_shared only'),
    ('deep', resized('linear.weight', 256, 5), 'linear.weight takes 5 numbers'),
    ('deep', without(r'^blocks\.[5]'), '5 blocks are no known BigGAN-deep: .* with the same number of blocks each'),
    ('hier', resized('output_layer.2.weight', 3, 16, 1, 1),
     r'1 tensors do not fit: output_layer.2.weight: \[3, 16, 1, 1\] in the file, \[3, 16, 3, 3\] in the network'),
    ('hier', without('conv_sc.bias'), 'blocks.0.0.conv_sc.bias: nothing in the file'),
    ('hier', lambda state: state | {'linear.bias': torch.ones(256, dtype=torch.int64)},
     r'linear.bias: \[256\] of torch.int64 in the file, \[256\] in the network'),
    ('hier', lambda state: state | {'extra': torch.ones(1)}, r'extra: \[1\] in the file, nothing in the network'),
])
def test_weights_that_do_not_fit(name, change, match, tmp_path):
    experiment(tmp_path, name, change(official_state(name)))
    with pytest.raises(CheckpointError, match=match):
        read_biggan(tmp_path).build()


def test_networks_are_built_without_memory_of_their_own(tmp_path):
    """A file of a few bytes per dimension could ask for terabytes."""
    state = {'shared.weight': torch.ones(5, 6)}
    with pytest.raises(CheckpointError, match='tensors do not fit'):
        load_strictly(torch.nn.Linear, state, tmp_path, 1 << 24, 1 << 24)
    experiment(tmp_path)
    before = torch.get_rng_state()
    G = read_biggan(tmp_path).build()
    assert torch.equal(before, torch.get_rng_state()) and isinstance(G, Generator)
    assert not G.training and not any(p.requires_grad for p in G.parameters())
    assert not any(tensor.is_meta for tensor in G.state_dict().values())
