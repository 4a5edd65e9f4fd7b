"""Forks: whose code makes the pictures, and what the user is told when they are not those of the official networks."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickle
import warnings

import pytest
import torch

from resefa_plugin.checkpoints import families
from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.opening import open_network
from tests.helpers.network_files import SIZES, SMALL, forge, make_generator, write_network
from tests.third_party.test_nvlabs_checkout import GENERATOR, write_checkout

FORK = GENERATOR + '''

class Synthesis(type(Generator(**{sizes}).synthesis)):
    def forward(self, *args, **kwargs):
        return super().forward(*args, **kwargs).tanh()


_make = Generator


def Generator(*args, **kwargs):
    G = _make(*args, **kwargs)
    G.synthesis.__class__ = Synthesis
    return G
'''.replace('{sizes}', repr({**SIZES, 'synthesis_kwargs': SMALL}))


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A checkout whose networks are known to be the official ones."""
    folder = write_checkout(tmp_path / 'official', 'stylegan2-ada-pytorch')
    digest = hashlib.sha256(GENERATOR.encode()).hexdigest()
    entries = tuple(dataclasses.replace(family, known_sources={digest: 'training/networks.py of it'})
                    if family.name == 'stylegan2' else family for family in families.FAMILIES)
    monkeypatch.setattr(families, 'FAMILIES', entries)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def fork(tmp_path):
    """A checkout with the official class and state, and another forward."""
    return write_checkout(tmp_path / 'fork', 'stylegan2-ada-pytorch', {'networks': FORK})


def write(folder, source):
    return write_network(folder / 'net.pkl', make_generator().state_dict(), source=source, **SIZES,
                         synthesis_kwargs=SMALL)


def picture(hook):
    ws = torch.ones(1, hook.num_ws, hook.w_dim)
    return hook.synthesis(ws, None)


def true_picture():
    with torch.no_grad():
        return make_generator().synthesis(torch.ones(1, 8, 8))


def test_a_file_of_the_official_code_has_no_note(official, tmp_path):
    for repo in (None, official):
        hook = open_network(write(tmp_path, GENERATOR), repo=repo)
        assert hook.notes == () and torch.allclose(picture(hook), true_picture(), atol=1e-5)


def test_a_file_of_a_fork_is_noted_where_its_code_is_not(official, tmp_path):
    for repo in (None, official):
        note, = open_network(write(tmp_path, FORK), repo=repo).notes
        assert 'none of the official versions' in note and '--repo=FOLDER' in note and '--trust-pickle' in note


def test_a_file_of_a_fork_with_its_checkout(official, fork, tmp_path):
    hook = open_network(write(tmp_path, FORK), repo=fork)
    assert torch.allclose(picture(hook), true_picture().tanh(), atol=1e-5)
    note, = hook.notes
    assert f'made by the fork at {fork}, whose own networks are used' in note and 'away from the official' in note


def test_a_file_of_the_official_code_in_the_checkout_of_a_fork(official, fork, tmp_path, monkeypatch):
    path = write(tmp_path, GENERATOR)
    hook = open_network(path, repo=fork)
    assert torch.allclose(picture(hook), true_picture().tanh(), atol=1e-5)
    assert 'are changed, and are not those that the file was made with' in hook.notes[0]
    assert 'leave out --repo' in hook.notes[0]
    monkeypatch.chdir(fork)  # nobody asked for it there
    hook = open_network(path)
    assert torch.allclose(picture(hook), true_picture(), atol=1e-5) and hook.notes == ()
    assert 'our own stylegan2 network (the networks of the' in hook.implementation


def test_a_file_of_one_fork_in_the_checkout_of_another(official, fork, tmp_path):
    note, = open_network(write(tmp_path, '# another fork'), repo=fork).notes
    assert 'are not those that the file was made with' in note and '--repo=FOLDER' in note


def test_a_fork_that_makes_the_official_pictures(official, tmp_path):
    same = write_checkout(tmp_path / 'same', 'stylegan2-ada-pytorch', {'networks': GENERATOR + '# only a comment\n'})
    assert open_network(write(tmp_path, GENERATOR + '# only a comment\n'), repo=same).notes == ()
    assert open_network(write(tmp_path, GENERATOR), repo=same).notes == ()
    note, = open_network(write(tmp_path, '# a third one'), repo=same).notes
    assert 'none of the official versions' in note


# Trusting files

LOADER = '''
import pickle
from tests.helpers.network_files import make_generator

class _LegacyUnpickler(pickle.Unpickler):
    pass

def load_network_pkl(f):
    data = _LegacyUnpickler(f).load()
    assert isinstance(data['D'], dict)  # it insists on whole snapshots
    return data
'''


def without_warning(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return open_network(path, trust_pickle=True, **options)


@pytest.fixture
def unknown(tmp_path, monkeypatch):
    """A fork with nothing but the common files."""
    folder = write_checkout(tmp_path / 'unknown', 'stylegan2-ada-pytorch', {'networks_of_its_own': ''})
    (folder / 'legacy.py').write_text(LOADER)
    monkeypatch.chdir(tmp_path)
    return folder


def test_any_folder_with_a_loader_is_trusted(unknown, tmp_path, monkeypatch):
    G = make_generator()
    files = {'whole.pkl': {'G_ema': G, 'D': {}}, 'alone.pkl': {'G_ema': G}}
    for name, content in files.items():
        (tmp_path / name).write_bytes(pickle.dumps(content))
    torch.save(G, tmp_path / 'pti.pt')
    stream = io.BytesIO()
    torch.save({'g_ema': G}, stream, _use_new_zipfile_serialization=False)
    (tmp_path / 'legacy.pt').write_bytes(stream.getvalue())
    for name in (*files, 'pti.pt', 'legacy.pt'):
        hook = without_warning(tmp_path / name, repo=unknown)
        assert torch.allclose(picture(hook), true_picture(), atol=1e-5), name
        assert hook.implementation == f'code in the file, with the fork checkout at {unknown}'
        assert 'licence of its own' in hook.licence
    monkeypatch.chdir(unknown)
    assert torch.allclose(picture(without_warning(tmp_path / 'alone.pkl')), true_picture(), atol=1e-5)


def test_what_cannot_be_trusted(unknown, tmp_path):
    path, _ = forge(tmp_path)
    with pytest.raises(CheckpointError, match='--repo: .* has no loader of network files; expected .*legacy.py'):
        without_warning(path, repo=tmp_path)
    with pytest.raises(CheckpointError, match='--trust-pickle needs the checkout'):
        without_warning(path)
    with pytest.raises(CheckpointError, match='--repo: .* is no checkout of .* It is a fork .* add --trust-pickle'):
        open_network(path, repo=unknown)
    torch.save({'state': 1}, tmp_path / 'a.pt')
    with pytest.raises(CheckpointError, match='a.pt: the loader of the fork .* failed: TypeError: NoneType'):
        without_warning(tmp_path / 'a.pt', repo=unknown)
