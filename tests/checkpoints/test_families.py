"""The entries of the families, and what a new one takes."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import os
import pathlib
import re
import types

import pytest
import torch

from resefa_plugin.checkpoints import families
from resefa_plugin.checkpoints.claimed_sizes import check_stylegan2_sizes
from resefa_plugin.checkpoints.families import FAMILIES, GeneratorFamily, Home, Repository, family_of
from resefa_plugin.checkpoints.generator_file import read_generator
from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.opening import open_network
from resefa_plugin.networks import stylegan2
from resefa_plugin.scripts.common.diagnosis import examine
from tests.helpers.network_files import SIZES, SMALL, forge, make_generator, write_network
from tests.helpers.network_oracles import randomize
from tests.helpers.pickle_forge import SOURCE
from tests.third_party.test_nvlabs_checkout import write_checkout

UPSTREAM = os.environ.get('RESEFA_UPSTREAM', '')
KNOWN = {'stylegan2-ada-pytorch': '375a436..d72cc7d', 'stylegan3': '8fb5177..c233a91',
         'stylegan-xl': 'b5b9683..4241ff9'}


@pytest.mark.parametrize('family', FAMILIES, ids=lambda family: family.name)
def test_an_entry_describes_its_network(family):
    """Against the network itself: made with no more than its sizes, it has the mark and as many mapping layers."""
    G = family.network(**SIZES)
    assert family_of(G.state_dict()) is family
    assert sum(name.startswith('mapping.fc') and name.endswith('.weight') for name in G.state_dict()) \
        == family.mapping_layers


@pytest.mark.parametrize('family', FAMILIES, ids=lambda family: family.name)
def test_known_sources_name_a_file_of_a_home(family):
    files = {f'{home.module.replace(".", "/")}.py of {home.repository.name}': home for home in family.homes}
    last = {}
    for digest, origin in family.known_sources.items():
        assert re.fullmatch('[0-9a-f]{64}', digest)
        file, _, commits = origin.rpartition(' ')
        assert re.fullmatch(r'[0-9a-f]{7}\.\.[0-9a-f]{7}', commits)
        last.setdefault(file, set()).add(commits[-7:])
    assert all(home.repository.commit in last[file] for file, home in files.items()) and last.keys() == files.keys()
    assert len(set(family.known_sources.values())) == len(family.known_sources)


def test_no_source_is_known_twice():
    digests = [digest for family in FAMILIES for digest in (*family.known_sources, *family.equal_forks)]
    assert len(set(digests)) == len(digests)


@pytest.mark.upstream
@pytest.mark.skipif(not UPSTREAM, reason='RESEFA_UPSTREAM is not set')
@pytest.mark.parametrize('family', FAMILIES, ids=lambda family: family.name)
def test_the_official_source_is_known(family, tmp_path):
    """What `torch_utils.persistence` writes into a file is what `inspect.getsource` says of the module."""
    for home in family.homes:
        path = pathlib.Path(UPSTREAM, home.repository.name, *home.module.split('.')).with_suffix('.py')
        if not path.is_file():
            pytest.skip(f'no {home.repository.name} in RESEFA_UPSTREAM')
        module = types.ModuleType('official')
        module.__file__ = str(path)
        file = write_network(tmp_path / 'net.pkl', make_generator(family.name).state_dict(),
                             source=inspect.getsource(module), **SIZES)
        assert read_generator(file).known_source.endswith(f' of {home.repository.name} {KNOWN[home.repository.name]}')


def test_a_source_that_is_not_known_is_noted(tmp_path, monkeypatch):
    path, _ = forge(tmp_path)
    ada = write_checkout(tmp_path / 'ada', 'stylegan2-ada-pytorch')
    for repo in (None, ada):
        note, = open_network(path, repo=repo).notes
        assert 'none of the official versions' in note and 'fork' in note
    known = {hashlib.sha256(SOURCE.encode()).hexdigest(): 'a version'}
    entry = dataclasses.replace(families.STYLEGAN2, known_sources=known)
    monkeypatch.setattr(families, 'FAMILIES', (entry, *(family for family in FAMILIES if family.name != entry.name)))
    assert read_generator(path).known_source == 'a version'
    assert open_network(path).notes == ()


# A family that this package does not have: its state has StyleGAN2's mark, too.

class ToyGenerator(stylegan2.Generator):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer('toy_mark', torch.zeros(1))


TOY = GeneratorFamily(
    name='stylegan-toy', title='StyleGAN-Toy', mark='toy_mark', network=ToyGenerator, mapping_layers=8,
    check_sizes=check_stylegan2_sizes, known_sources={},
    homes=(Home(Repository('toy-gan', '0123456', 'all that is toy is free'), 'training.networks_toy'),))
OFFICIAL_TOY = '''
import dnnlib.util
from tests.checkpoints.test_families import ToyGenerator

class Generator(ToyGenerator):
    origin = dnnlib.util.NAME

    def __init__(self, z_dim, c_dim, w_dim, img_resolution, img_channels, mapping_kwargs={}, **synthesis_kwargs):
        super().__init__(z_dim, c_dim, w_dim, img_resolution, img_channels, mapping_kwargs, synthesis_kwargs)
'''


def test_a_new_family_is_one_entry(tmp_path, monkeypatch):
    monkeypatch.setattr(families, 'FAMILIES', (TOY, *FAMILIES))
    G = randomize(ToyGenerator(**SIZES, synthesis_kwargs=SMALL), 0).float()
    path = write_network(tmp_path / 'net.pkl', G.state_dict(), **SIZES, **SMALL)
    ours = open_network(path)
    assert ours.implementation == 'our own stylegan-toy network (no checkout found)'
    folder = write_checkout(tmp_path / 'toy', 'toy-gan', {'networks_toy': OFFICIAL_TOY})
    theirs = open_network(path, repo=folder)
    assert theirs.implementation == f'training.networks_toy of the toy-gan checkout at {folder}'
    assert theirs.licence == 'all that is toy is free' and theirs.G.origin == 'toy-gan'
    ws = ours.sample(0).latents['ws']
    for hook in (ours, theirs):
        assert torch.equal(hook.synthesis(ws, None), G.synthesis(ws))
    found = [finding for finding in examine(folder) if finding.topic == 'checkout']
    assert [finding.text for finding in found] == [f'toy-gan checkout at {folder}, unknown commit']


@pytest.mark.parametrize('init, match', [
    (dict(synthesis_kwargs=SMALL), 'no official StyleGAN-Toy generator takes synthesis_kwargs. If this is a fork'),
    (dict(synthesis_kwargs=SMALL, depth=3), "takes synthesis_kwargs next to 'depth'"),
    (dict(SMALL, img_resolution=64), 'img_resolution is 64, but the state has 32'),
    (dict(SMALL, mapping_kwargs=dict(num_layers=7)), 'num_layers of the mapping is 7, but the state has 8')])
def test_its_arguments_are_checked(tmp_path, monkeypatch, init, match):
    monkeypatch.setattr(families, 'FAMILIES', (TOY, *FAMILIES))
    state = ToyGenerator(**SIZES, synthesis_kwargs=SMALL).state_dict()
    with pytest.raises(CheckpointError, match=match):
        open_network(write_network(tmp_path / 'net.pkl', state, **{**SIZES, **init}))


def test_a_state_without_a_mark_names_the_families(tmp_path, monkeypatch):
    monkeypatch.setattr(families, 'FAMILIES', (TOY, *FAMILIES))
    with pytest.raises(CheckpointError, match='a StyleGAN-Toy or StyleGAN-XL or StyleGAN2 or StyleGAN3 generator'):
        open_network(write_network(tmp_path / 'net.pkl', {'weight': torch.zeros(2)}, **SIZES))
