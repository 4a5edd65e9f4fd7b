"""Files of StyleGAN-XL, forged as data: what a stage does not say of itself is found in its layers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from resefa_plugin.checkpoints.generator_arguments import generator_arguments
from resefa_plugin.checkpoints.generator_file import read_generator
from resefa_plugin.directions.direction_set import DirectionSet
from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.opening import open_network
from resefa_plugin.scripts.main import main
from tests.helpers.network_files import forge
from tests.helpers.pickle_forge import dumps
from tests.helpers.stylegan_xl_files import SIZES, STAGES, STEM, forge_xl, make_xl, network, records
from tests.third_party.test_nvlabs_checkout import write_checkout

OFFICIAL = '''
import dnnlib.util
Generator = SuperresGenerator = None
'''


@pytest.mark.parametrize('stages', [[], [[32, 5]], STAGES, [[32, 4], [64, 5], [128, 4]]], ids=len)
@pytest.mark.parametrize('c_dim', [0, 3])
def test_a_file_opens_as_the_network_that_was_written(tmp_path, stages, c_dim):
    path, G = forge_xl(tmp_path, stages, c_dim)
    hook = open_network(path)
    assert hook.implementation == 'our own stylegan-xl network (no checkout found)'
    assert hook.G.synthesis.style_names == G.synthesis.style_names
    c = torch.eye(c_dim)[1:2] if c_dim else None
    sample = hook.sample(0, truncation_psi=0.7, c=c)
    assert torch.equal(hook.synthesis(sample.latents['ws'], None), G(sample.latents['z'], c, truncation_psi=0.7))


def test_stages_are_found_in_the_layers(tmp_path):
    arguments = generator_arguments(read_generator(forge_xl(tmp_path)[0]))
    assert arguments.synthesis_kwargs['heads'] == STAGES and arguments.synthesis_kwargs['stem_resolution'] == 16
    assert arguments.sizes == dict(SIZES, c_dim=3, img_resolution=64)
    assert arguments.mapping_kwargs == dict(rand_embedding=False, num_layers=2, embeddings=(5, 7))


def test_other_families_are_told_from_it(tmp_path):
    for family in ('stylegan2', 'stylegan3'):
        assert read_generator(forge(tmp_path, family, c_dim=2)[0]).family.name == family


def test_commands_take_it(tmp_path):
    path, _ = forge_xl(tmp_path, [[32, 5]])
    result = CliRunner().invoke(main, ['info', str(path)])
    assert result.exit_code == 0 and 'stylegan-xl' in result.output and '32 x 32' in result.output, result.output
    run = ['factorize', f'--network={path}', '--class=1', '--seeds=0', '--trunc=0.7', '--region=0,0,0.5,0.5',
           '--num-directions=2', '--space=s', '--layers=5-8', f'--outdir={tmp_path / "out"}']
    result = CliRunner().invoke(main, run)
    assert result.exit_code == 0, result.output
    file, = (tmp_path / 'out').glob('*.npz')
    assert DirectionSet.load(file).directions.shape[0] == 2
    assert json.loads((tmp_path / 'out' / 'options.json').read_text())['implementation'].startswith('our own')
    result = CliRunner().invoke(main, ['factorize', f'--network={path}', '--seeds=0', '--region=0,0,0.5,0.5',
                                       f'--outdir={tmp_path / "none"}'])
    assert result.exit_code and 'has classes 0 to 2: choose one with --class' in result.output


def test_a_checkout_cannot_build_it_and_says_why(tmp_path, monkeypatch):
    path, G = forge_xl(tmp_path, [[32, 5]], 0)
    checkout = write_checkout(tmp_path / 'stylegan-xl', 'stylegan-xl', {'networks_stylegan3_resetting': OFFICIAL})
    with pytest.raises(CheckpointError, match='cannot build without more files .*embeddings.*; leave out --repo to use '
                                              'our own, or add --trust-pickle'):
        open_network(path, repo=checkout)
    monkeypatch.chdir(checkout)
    hook = open_network(path)
    assert hook.implementation.startswith('our own stylegan-xl network (the stylegan-xl checkout at ')
    assert 'needs more files: embeddings' in hook.implementation


def refused(tmp_path, changes=None, stages=STAGES, missing=(), **attributes):
    """A file whose layers, init arguments or attributes are not those of an official one."""
    G = make_xl(stages).float()
    found = {name: {**record, **(changes or {}).get(name, {})} for name, record in records(G).items()
             if name not in missing}
    known = dict(SIZES, c_dim=3, img_resolution=G.img_resolution) | attributes
    init = dict(head_layers=known.pop('head_layers', stages[-1][1]))
    path = tmp_path / 'net.pkl'
    path.write_bytes(dumps({'G_ema': network(G, known.pop('class_name', 'SuperresGenerator'), init, found, **known)}))
    return path


@pytest.mark.parametrize('case, match', [
    (dict(class_name='MegaGenerator'), "'MegaGenerator', which is not an official one .Generator, SuperresGenerator"),
    (dict(head_layers='many'), "head_layers is 'many'; expected a number"),
    (dict(head_layers=True), 'head_layers is True; expected a number'),
    (dict(img_resolution=None), 'img_resolution is None; expected a number of at most'),
    (dict(img_resolution=128), 'img_resolution is 128, but the state has 64'),
    (dict(changes={'synthesis': dict(num_layers=7)}), 'does not go on from the stem'),
    (dict(changes={'synthesis.L5_24_8': dict(out_cutoff=3.0)}), 'L5_24_8., does not go on from the stem'),
    (dict(changes={'synthesis.L6_40_8': dict(out_cutoff=float('nan'))}), 'out_cutoff is nan; expected a frequency'),
    (dict(changes={'synthesis.L6_40_8': dict(out_cutoff=6e4)}), 'a superresolution stage of .* pixels'),
    (dict(changes={'synthesis': dict(num_fp32_res=1)}), 'num_fp32_res is not one of'),
    (dict(changes={'synthesis': dict(num_critical=1000000)}), 'num_critical is 1000000; expected a number of at most'),
    (dict(changes={'synthesis': dict(first_cutoff=0)}), 'do not ascend up to the resolution 16'),
    (dict(changes={'synthesis': dict(filter_size=5000)}), 'expected numbers whose product is at most 1024'),
    (dict(changes={'synthesis': dict(img_resolution=64)}), 'heads: expected resolutions that ascend from the 64'),
    (dict(changes={'synthesis': dict(margin_size=6)}), 'its state does not fit our own stylegan-xl network'),
    (dict(changes={'synthesis': dict(num_critical='two')}), "num_critical is 'two'; expected a number"),
    (dict(changes={'synthesis': dict(num_layers=6.0)}), 'num_layers is 6.0; expected a number'),
    (dict(missing=('synthesis',)), 'img_resolution is None; expected a number'),
    (dict(changes={'mapping': dict(num_layers=3)}), 'num_layers of the mapping is 3, but the state has 2'),
])
def test_what_no_official_file_says_is_named(tmp_path, case, match):
    with pytest.raises(CheckpointError, match=match):
        open_network(refused(tmp_path, **case))


def test_a_stage_of_which_one_layer_is_left_cannot_be_known(tmp_path):
    with pytest.raises(CheckpointError, match="stage that begins with 'synthesis.L5_24_8' has left no layer by which"):
        open_network(forge_xl(tmp_path, [[32, 3], [64, 5]])[0])


def test_a_mapping_dictionary_that_is_none_is_refused(tmp_path):
    G = make_xl([]).float()
    path = tmp_path / 'net.pkl'
    init = dict(SIZES, c_dim=3, img_resolution=16, **STEM, mapping_kwargs=[1])
    path.write_bytes(dumps({'G_ema': network(G, 'Generator', init, {})}))
    with pytest.raises(CheckpointError, match='mapping_kwargs and synthesis_kwargs are expected to be dictionaries'):
        open_network(path)


@pytest.mark.parametrize('claimed', [dict(heads=3), dict(stem_resolution=16), dict(heads=[[16, 'x']])])
def test_a_stem_cannot_claim_stages(tmp_path, claimed):
    G = make_xl([]).float()
    path = tmp_path / 'net.pkl'
    path.write_bytes(dumps({'G_ema': network(G, 'Generator', dict(SIZES, c_dim=3, img_resolution=16, **STEM, **claimed),
                                             {})}))
    with pytest.raises(CheckpointError, match=f'no official StyleGAN-XL generator takes {next(iter(claimed))}'):
        open_network(path)


def test_resolutions_beyond_all_reason_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match='img_resolution 64 and 16384 of the stem .* expected layers and at most'):
        open_network(refused(tmp_path, {'synthesis': dict(img_resolution=16384)}))


def test_of_what_class_the_embedding_is_does_not_matter(tmp_path):
    """Its tensors are read, whatever it calls itself, and nothing else of it."""
    path, G = forge_xl(tmp_path, [], 3)
    data = path.read_bytes()
    assert data.count(b'torch.nn.modules.sparse') == 1
    path.write_bytes(data.replace(b'torch.nn.modules.sparse', b'torch.nn.modules.Sparse'))
    state = read_generator(path).state_dict
    assert torch.equal(state['mapping.embed.weight'], G.state_dict()['mapping.embed.weight'])


def test_numpy_numbers_are_numbers(tmp_path):
    """Official files have numpy's float64 for cutoffs."""
    G = make_xl(STAGES).float()
    changes = {name: {key: np.float64(value) if 'cutoff' in key else value for key, value in record.items()}
               for name, record in records(G).items() if name.startswith('synthesis.L')}
    path, _ = forge_xl(tmp_path, STAGES, 3, **changes)
    assert open_network(path).G.synthesis.style_names == G.synthesis.style_names
