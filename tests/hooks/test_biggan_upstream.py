"""The official BigGAN-PyTorch: found, imported in a scope, and equal to what is shown of it.

Everything but the last group works on stand-ins. That group needs the checkout `BigGAN-PyTorch` in RESEFA_UPSTREAM.
"""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import re
import sys
import types

import numpy as np
import pytest
import torch

from resefa_plugin.checkpoints.biggan_state import read_biggan
from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.biggan import open_biggan
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.jacobian.probe import probe
from resefa_plugin.networks.biggan import Generator
from resefa_plugin.third_party.biggan_pytorch import NAMES, OfficialGenerator, checkout_module, find_checkout, load
from tests.helpers.biggan_toys import CONFIGS, experiment, official_state, record
from tests.helpers.toys import images_at

# A class with the interface of the official one, around whatever `stand_in` the test puts into sys.modules.
STAND_IN = '''
import layers
import stand_in
print('Param count for Gs initialized parameters')
def Generator(**kwargs):
    print('Adding attention layer')
    return stand_in.make(**kwargs)
'''


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A stand-in for a checkout, whose class is our own network."""
    folder = tmp_path / 'checkout'
    (folder / 'sync_batchnorm').mkdir(parents=True)
    for name in ('BigGAN.py', 'BigGANdeep.py'):
        (folder / name).write_text(STAND_IN)
    (folder / 'layers.py').write_text('from sync_batchnorm import here')
    (folder / 'sync_batchnorm' / '__init__.py').write_text('here = True')
    (folder / 'utils.py').write_text('raise RuntimeError("imported")')
    module = types.ModuleType('stand_in')
    monkeypatch.setitem(sys.modules, 'stand_in', module)
    module.calls = []

    class Stand(Generator):
        bottom_width = 4

    def make(**kwargs):
        module.calls.append(kwargs)
        G = Stand(CONFIGS['deep' if 'G_depth' in kwargs else 'hier'])
        return G

    module.make = make
    return folder


def snapshot():
    return {key: module for key, module in sys.modules.items() if key.partition('.')[0] in NAMES}, list(sys.path)


def test_checkouts_are_found(checkout, tmp_path, monkeypatch):
    assert find_checkout(checkout) == checkout.resolve()
    monkeypatch.chdir(tmp_path)
    assert find_checkout() is None
    monkeypatch.chdir(checkout)
    assert find_checkout() == checkout.resolve()
    with pytest.raises(CheckpointError, match='not a checkout of BigGAN-PyTorch: expected BigGAN.py, BigGANdeep.py'):
        find_checkout(tmp_path)


def test_an_import_leaves_nothing_behind(checkout, monkeypatch):
    foreign = types.ModuleType('layers')
    monkeypatch.setitem(sys.modules, 'layers', foreign)
    monkeypatch.setitem(sys.modules, 'utils', types.ModuleType('utils'))
    before = snapshot()
    with checkout_module(checkout, 'BigGAN') as module:
        assert module.layers.here and module.layers is not foreign
        with pytest.raises(ImportError):
            import utils  # noqa: F401
    assert snapshot() == before
    with pytest.raises(KeyError), checkout_module(checkout, 'BigGAN'):
        raise KeyError
    assert snapshot() == before


@pytest.mark.parametrize('code, match', [
    ('import utils', 'BigGAN.py cannot be imported: '), ('1/0', 'ZeroDivisionError'),
    ('import no_such_package', 'no_such_package')])
def test_checkouts_that_cannot_be_imported(checkout, code, match):
    (checkout / 'BigGAN.py').write_text(code)
    before = snapshot()
    with pytest.raises(CheckpointError, match=match), checkout_module(checkout, 'BigGAN'):
        pass
    assert snapshot() == before


@pytest.mark.parametrize('name, depth', [('hier', {}), ('deep', {'G_depth': 2})])
def test_the_class_is_built_plain_and_quietly(checkout, tmp_path, name, depth, capsys):
    hook = open_biggan(experiment(tmp_path / 'run', name), checkout=checkout)
    assert isinstance(hook.G, OfficialGenerator) and capsys.readouterr() == ('', '')
    (arguments,) = sys.modules['stand_in'].calls
    assert not arguments.pop('G_activation').inplace
    config = CONFIGS[name]
    assert arguments == dict(
        G_ch=4, dim_z=config.dim_z, resolution=32, G_attn='16', n_classes=5, G_shared=True, shared_dim=6, hier=True,
        cross_replica=False, mybn=False, BN_eps=1e-4, G_param='None', norm_style='bn', skip_init=True,
        no_optim=True, **depth)


def test_the_current_folder_counts_if_it_is_a_checkout(checkout, tmp_path, monkeypatch):
    folder = experiment(tmp_path / 'run')
    assert isinstance(open_biggan(folder).G, Generator)
    monkeypatch.chdir(checkout)
    assert isinstance(open_biggan(folder).G, OfficialGenerator)


def test_classes_that_cannot_be_built(checkout, tmp_path):
    state = read_biggan(experiment(tmp_path / 'run'))
    (checkout / 'BigGAN.py').write_text('def Generator(G_ch): pass')
    with pytest.raises(CheckpointError, match='BigGAN.Generator cannot be built .* TypeError'):
        load(state, checkout)
    (checkout / 'BigGAN.py').write_text('import torch\ndef Generator(**kwargs): return torch.nn.Linear(1, 1)')
    with pytest.raises(CheckpointError, match='tensors do not fit'):
        load(state, checkout)


def test_labels_without_an_embedding_need_our_own_network(checkout, tmp_path, monkeypatch):
    state = {key: value for key, value in official_state('flat').items() if key != 'shared.weight'}
    for key in [key for key in state if re.search(r'bn\d\.(gain|bias)\.u0', key)]:
        state[key.replace('u0', 'weight')] = torch.ones(5, len(state.pop(key)[0]))
        del state[key.replace('u0', 'sv0')]
    folder = experiment(tmp_path / 'run', 'flat', state, G_shared=False)
    with pytest.raises(CheckpointError, match='trained without G_shared, where the official class takes labels'):
        open_biggan(folder, checkout=checkout)
    monkeypatch.chdir(checkout)
    assert isinstance(open_biggan(folder).G, Generator)


# The official code.

upstream = pytest.mark.upstream
EXACT = dict(rtol=0, atol=1e-12)


@pytest.fixture
def official_folder():
    folder = pathlib.Path(os.environ.get('RESEFA_UPSTREAM', '')) / 'BigGAN-PyTorch'
    if not os.environ.get('RESEFA_UPSTREAM') or not folder.is_dir():
        pytest.skip('RESEFA_UPSTREAM has no BigGAN-PyTorch')
    return folder


def official(folder, name, **changes):
    """The stock generator of a configuration, float64, in eval mode."""
    arguments = {key: value for key, value in record(name, **changes).items() if key != 'model'}
    arguments['G_activation'] = torch.nn.ReLU()
    with checkout_module(folder, 'BigGANdeep' if CONFIGS[name].depth else 'BigGAN') as module, \
            contextlib.redirect_stdout(io.StringIO()):
        return module.Generator(**arguments, skip_init=True, no_optim=True).double().eval().requires_grad_(False)


def samples_and_stock(G, hook, embedding=None):
    """Two pictures of the hook at zero offset, and of the stock call."""
    pairs = []
    for seed, label in ((0, 1), (1, 4)):
        sample = hook.sample(seed, c=hook.class_vector(str(label)))
        z = torch.from_numpy(np.random.RandomState(seed).randn(1, hook.z_dim).astype(np.float32)).double()
        space = hook.space('z+class')
        y = torch.tensor([label])
        pairs.append((images_at(space, sample, torch.zeros(1, space.dim)), G(z, G.shared(y))))
    return [torch.cat(images) for images in zip(*pairs, strict=True)]


@upstream
@pytest.mark.parametrize('own', [True, False])
@pytest.mark.parametrize('name', CONFIGS)
def test_hooks_equal_the_stock_forward(official_folder, tmp_path, name, own):
    G = official(official_folder, name)
    G.load_state_dict(official_state(name))
    hook = open_biggan(experiment(tmp_path, name, G.state_dict()), checkout=None if own else official_folder)
    ours, stock = samples_and_stock(G, hook)
    torch.testing.assert_close(ours, stock, **EXACT)
    assert stock.std() > 0.1 and (stock[0] - stock[1]).abs().max() > 0.1


@upstream
@pytest.mark.parametrize('own', [True, False])
def test_hooks_of_both_classes_pass_the_probes(official_folder, tmp_path, own):
    for name in ('hier', 'deep'):
        state = {key: value.float() for key, value in official_state(name).items()}
        hook = open_biggan(experiment(tmp_path / name, name, state), checkout=None if own else official_folder)
        for space in ('z', 'class', 'cond[1:3]'):
            probe(Viewpoint(hook, hook.space(space), hook.sample(0, c=hook.class_vector('2')), 16))


@upstream
def test_stock_standing_statistics(official_folder, tmp_path):
    """Accumulated by the official code; the hook agrees with it while its flag is on, which a file does not keep."""
    G = official(official_folder, 'hier', mybn=True)
    source = official_state('hier')
    G.load_state_dict({key: source.get(key, value) for key, value in G.state_dict().items()})
    torch.manual_seed(0)
    accumulating = [module for module in G.modules() if hasattr(module, 'accumulate_standing')]
    for module in accumulating:
        module.reset_stats()
        module.accumulate_standing = True
    G.train()
    with torch.no_grad():
        for _ in range(3):
            G(torch.randn(4, 12).double(), G.shared(torch.randint(5, (4,))))
    G.eval()
    hook = open_biggan(experiment(tmp_path, 'hier', G.state_dict(), mybn=True))
    assert any('standing' in note for note in hook.notes)
    ours, stock = samples_and_stock(G, hook)
    torch.testing.assert_close(ours, stock, **EXACT)
    for module in accumulating:
        module.accumulate_standing = False
    assert (samples_and_stock(G, hook)[1] - ours).abs().max() > 0.1


@upstream
def test_stock_cross_replica_is_wrong_in_eval_mode_and_corrected(official_folder, tmp_path):
    G = official(official_folder, 'hier', cross_replica=True)
    source = official_state('hier')
    state = {key: source.get(key.replace('bn.running', 'stored'), value) for key, value in G.state_dict().items()}
    G.load_state_dict(state)
    plain = official(official_folder, 'hier')
    plain.load_state_dict(source)
    hook = open_biggan(experiment(tmp_path, 'hier', state, cross_replica=True))
    ours, stock = samples_and_stock(plain, hook)
    torch.testing.assert_close(ours, stock, **EXACT)
    assert (samples_and_stock(G, hook)[1] - ours).abs().max() > 0.1


@upstream
def test_stock_labels_without_an_embedding(official_folder, tmp_path):
    torch.manual_seed(0)
    G = official(official_folder, 'flat', G_shared=False)
    for value in G.state_dict().values():
        if value.ndim < 2:
            value.add_(0.1 * torch.randn_like(value))
    ours, stock = samples_and_stock(G, open_biggan(experiment(tmp_path, 'flat', G.state_dict(), G_shared=False)))
    torch.testing.assert_close(ours, stock, **EXACT)
    assert (stock[0] - stock[1]).abs().max() > 0.01


@upstream
def test_a_rounded_dim_z_is_the_stock_one(official_folder, tmp_path):
    G = official(official_folder, 'hier', dim_z=14)
    hook = open_biggan(experiment(tmp_path, 'hier', G.state_dict(), dim_z=14))
    assert hook.z_dim == G.dim_z == 12
