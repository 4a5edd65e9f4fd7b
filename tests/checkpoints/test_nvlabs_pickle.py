"""Network files of stylegan2-ada-pytorch and stylegan3: read exactly, and refused when hostile."""

from __future__ import annotations

import hashlib
import random
from collections import OrderedDict

import numpy as np
import pytest
import torch

from resefa_plugin.checkpoints.generator_file import read_generator
from resefa_plugin.checkpoints.pickles import inert_pickle
from resefa_plugin.errors import CheckpointError
from tests.helpers.pickle_forge import (
    RECONSTRUCT,
    SOURCE,
    Name,
    Persistent,
    Reduce,
    dumps,
    easy_dict,
    hostile_calls,
    legacy_torch,
    persistent,
    run_upstream,
    storage_ref,
    tensor_call,
    toy_generator,
)

KWARGS = dict(z_dim=4, c_dim=0, synthesis_kwargs={'channel_base': 16384})


def snapshot(family: str = 'stylegan2', **changes: object) -> dict:
    entries = dict(G=persistent(toy_generator(0, family)), D=persistent(toy_generator(1, family), 'Discriminator'),
                   G_ema=persistent(toy_generator(2, family), z_dim=4, c_dim=0,
                                    synthesis_kwargs=easy_dict(channel_base=16384)),
                   augment_pipe=None, training_set_kwargs=easy_dict(path='faces.zip', resolution=np.int64(16)))
    return {**entries, **changes}


def assert_same_state(ours: dict, module: torch.nn.Module) -> None:
    true = module.state_dict()
    assert list(ours) == list(true)
    for name, value in true.items():
        assert ours[name].dtype == value.dtype and ours[name].shape == value.shape, name
        assert torch.equal(ours[name], value) and ours[name].is_contiguous() and not ours[name].requires_grad, name


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
@pytest.mark.parametrize('family', ['stylegan2', 'stylegan3'])
def test_snapshots_are_read_exactly(family, protocol, tmp_path):
    path = tmp_path / 'network.pkl'
    path.write_bytes(dumps(snapshot(family), protocol))
    file = read_generator(path)
    assert file.name == str(path) and file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert_same_state(file.state_dict, toy_generator(2, family))
    assert (file.class_name, file.init_args, file.init_kwargs) == ('Generator', (), KWARGS)
    assert type(file.init_kwargs['synthesis_kwargs']) is dict
    assert file.source_sha256 == hashlib.sha256(SOURCE.encode()).hexdigest()


def test_the_moving_average_is_taken():
    data = dumps(snapshot())
    file = read_generator(data)
    assert_same_state(file.state_dict, toy_generator(2))
    assert (file.entry, file.family.name, file.class_name) == ('G_ema', 'stylegan2', 'Generator')
    assert file.init_kwargs == KWARGS
    assert (file.name, file.sha256) == ('<bytes>', hashlib.sha256(data).hexdigest())
    assert read_generator(dumps(snapshot('stylegan3'))).family.name == 'stylegan3'


def test_without_an_average_the_generator_is_taken():
    entries = snapshot()
    del entries['G_ema']
    file = read_generator(dumps(entries))
    assert file.entry == 'G'
    assert_same_state(file.state_dict, toy_generator(0))


def test_a_bare_module_is_a_generator():
    file = read_generator(dumps(persistent(toy_generator(3), z_dim=4)))
    assert file.entry == 'G' and file.init_kwargs == {'z_dim': 4}
    assert_same_state(file.state_dict, toy_generator(3))


@pytest.mark.parametrize('root, message', [
    (dict(D=None, notes='x'), "no generator.*found 'D', 'notes'"),
    ({}, 'found no entries'),
    (dict(G_ema=None), "no generator.*found 'G_ema'"),
    ([], 'no generator.*found a value of type list'),
    (dict(D=persistent(toy_generator())), "no generator.*found 'D'"),
    (dict(G_ema=persistent(torch.nn.Linear(2, 2), 'Fork')), "'Fork' is not that of a StyleGAN-XL or StyleGAN2"),
])
def test_files_without_a_generator_are_refused(root, message):
    with pytest.raises(CheckpointError, match=message):
        read_generator(dumps(root))


def with_state(**changes: object) -> Reduce:
    """A module whose `__dict__` is changed."""
    call = persistent(toy_generator())
    call.args[0]['state'].update(changes)
    return call


def with_meta(**changes: object) -> Reduce:
    call = persistent(toy_generator())
    call.args[0].update(changes)
    return call


LOAD = Name('torch.storage', '_load_from_bytes')


@pytest.mark.parametrize('root, message', [
    (with_meta(version=7), 'version 7; expected a class, version 6'),
    (with_meta(type='module'), "type 'module'"),
    (with_meta(class_name=3), 'class name of a persistent object is 3'),
    (with_meta(class_name='x' * 300), 'more than 256 characters'),
    (with_meta(module_src=b'x'), 'source of a persistent object'),
    (with_meta(state=None), 'None where a dictionary'),
    (with_state(_buffers=OrderedDict(a=Name('torch', 'FloatStorage'))), "refers to 'torch.FloatStorage'"),
    (Reduce(RECONSTRUCT, 'x'), 'where a dictionary'),
    (Reduce(RECONSTRUCT), 'with 0 arguments'),
    (Reduce(RECONSTRUCT, {}, state={'__class__': 'x'}), 'a state; expected 1 arguments alone'),
    (with_state(_init_args=[]), 'not a tuple and a dictionary'),
    (with_state(_init_kwargs=()), 'not a tuple and a dictionary'),
    (with_state(_modules=OrderedDict(a=3)), '3 where a module'),
    (with_state(_modules=[]), 'type list where a dictionary'),
    (with_state(_parameters=OrderedDict({'a.b': torch.ones(1)})), "named 'a.b'"),
    (with_state(_parameters=OrderedDict({'': torch.ones(1)})), "named ''"),
    (with_state(_parameters={5: torch.ones(1)}), 'submodule is 5; expected text'),
    (with_state(_buffers=OrderedDict(a=[1.0])), 'a is a value of type list; expected a tensor'),
    (with_state(_buffers=OrderedDict(a=tensor_call(Persistent('x')))), 'BINPERSID.*persistent id'),
    (with_state(_buffers=OrderedDict(a=tensor_call(b'1234'))), 'where the storage of a tensor'),
    (with_state(_buffers=OrderedDict(a=tensor_call(Reduce(LOAD, b'no torch file')))), 'protocol 2 to 5'),
    (with_state(_buffers=OrderedDict(a=tensor_call(Reduce(LOAD, legacy_torch(storage_ref())), size=(9,)))),
     'reaches beyond'),
    (with_state(_buffers=OrderedDict(a=tensor_call(Reduce(LOAD, legacy_torch(storage_ref(), numel=9))))),
     'storage of 9 elements'),
    (with_state(_buffers=OrderedDict(a=tensor_call(Reduce(LOAD, legacy_torch([storage_ref()]))))), 'where the storage'),
    (with_state(_non_persistent_buffers_set=['a']), 'expected a set'),
    (with_state(_init_kwargs=dict(z_dim=np.array([None]))), "elements of type 'O8'"),
    (with_state(_init_kwargs=dict(layer=Name('fork.layers', 'Linear'))), "refers to 'fork.layers.Linear' where data"),
])
def test_forged_networks_are_refused(root, message):
    with pytest.raises(CheckpointError, match=message):
        read_generator(dumps(dict(G_ema=root)))


def test_bytes_behind_the_end_are_refused():
    with pytest.raises(CheckpointError, match='<bytes>: 3 bytes too many'):
        read_generator(dumps(snapshot()) + b'abc')


@pytest.mark.parametrize('protocol', [2, 5])
def test_the_source_is_never_executed(protocol, tmp_path):
    marker = tmp_path / 'executed'
    source = f'open({str(marker)!r}, "w")'
    file = read_generator(dumps(dict(G_ema=persistent(toy_generator(), source=source)), protocol))
    assert file.source_sha256 == hashlib.sha256(source.encode()).hexdigest()
    assert not marker.exists()


@pytest.mark.parametrize('name', hostile_calls('x'))
def test_nothing_is_executed_anywhere(name, tmp_path):
    marker = tmp_path / 'executed'
    stream = hostile_calls(marker)[name]
    nested = dict(G_ema=with_state(_buffers=OrderedDict(a=tensor_call(Reduce(LOAD, stream)))))
    inner = legacy_torch(storage_ref()).replace(b'ctorch\nFloatStorage\n', stream[2:-1])
    deeper = dict(G_ema=with_state(_buffers=OrderedDict(a=tensor_call(Reduce(LOAD, inner)))))
    for data in (stream, dumps(nested), dumps(deeper)):
        with pytest.raises(CheckpointError, match=f"'{name}'"):
            read_generator(data)
    assert not marker.exists()


def test_one_payload_read_many_times_is_stopped(monkeypatch):
    monkeypatch.setattr(inert_pickle, 'MAX_OPCODES', 30_000)
    payload = Reduce(LOAD, legacy_torch(storage_ref()))
    tensors = {f'b{index}': tensor_call(payload) for index in range(2_000)}
    with pytest.raises(CheckpointError, match='pickle opcodes'):
        read_generator(dumps(dict(G=with_state(_buffers=tensors))))


def test_one_tensor_unfolded_many_times_is_stopped():
    payload = Reduce(LOAD, legacy_torch(storage_ref(numel=1 << 20), bytes(4 << 20), 1 << 20))
    tensor = tensor_call(payload, size=(1 << 20,))
    with pytest.raises(CheckpointError, match='more than four times the size'):
        read_generator(dumps(dict(G=with_state(_buffers={f'b{index}': tensor for index in range(100)}))))


def test_nested_modules_are_bounded():
    call = persistent(torch.nn.Module())
    for _ in range(60):
        parent = persistent(torch.nn.Module())
        parent.args[0]['state']['_modules'] = {'child': call}
        call = parent
    with pytest.raises(CheckpointError, match='nested more than'):
        read_generator(dumps(dict(G=call)))
    call = persistent(torch.nn.Module())
    for _ in range(8):
        parent = persistent(torch.nn.Module())
        parent.args[0]['state']['_modules'] = {f'child{index}': call for index in range(10)}
        call = parent
    with pytest.raises(CheckpointError, match='unfolds to more than'):
        read_generator(dumps(dict(G=call)))


@pytest.mark.parametrize('protocol', [2, 4])
def test_every_truncation_is_an_error(protocol):
    data = dumps(snapshot(), protocol)
    for end in range(0, len(data), 1000):
        with pytest.raises(CheckpointError):
            read_generator(data[:end])


@pytest.mark.parametrize('protocol', [2, 5])
def test_mutations_are_read_or_refused(protocol):
    data = dumps(snapshot(), protocol)
    rng = random.Random(protocol)
    refused = 0
    for _ in range(300):
        mutated = bytearray(data)
        for _ in range(rng.choice((1, 2, 4, 16))):
            mutated[rng.randrange(len(data))] = rng.randrange(256)
        try:
            assert all(isinstance(value, torch.Tensor) for value in read_generator(bytes(mutated)).state_dict.values())
        except CheckpointError:
            refused += 1
    assert 50 < refused < 300


@pytest.mark.parametrize('size', [1, 100, 10_000])
def test_random_bytes_are_refused(size):
    for seed in range(20):
        with pytest.raises(CheckpointError):
            read_generator(random.Random(seed).randbytes(size))


# Against the official code.

UPSTREAM_SCRIPT = '''
import copy, json, pickle, torch, dnnlib
kind, folder = sys.argv[1:]
torch.manual_seed(0)
common = dict(z_dim=32, c_dim=3 if kind == 'conditional' else 0, w_dim=24, img_resolution=16, img_channels=3)
narrow = dict(channel_base=256, channel_max=8)
half = dict(num_fp16_res=2, conv_clamp=256, fp16_channels_last=True)
if kind in ('stylegan3-t', 'stylegan3-r'):
    from training.networks_stylegan3 import Generator
    from training.networks_stylegan2 import Discriminator
    radial = dict(conv_kernel=1, use_radial_filters=True) if kind == 'stylegan3-r' else {}
    G = Generator(**common, **narrow, **radial, num_layers=6, num_critical=2, margin_size=4)
elif kind == 'stylegan3-2':
    from training.networks_stylegan2 import Generator, Discriminator
    G = Generator(**common, **narrow, **half)
else:
    from training.networks import Generator, Discriminator
    architecture = 'resnet' if kind == 'conditional' else 'skip'
    G = Generator(**common, synthesis_kwargs=dnnlib.EasyDict(**narrow, **half, architecture=architecture))
D = Discriminator(c_dim=common['c_dim'], img_resolution=16, img_channels=3, **narrow)
from training.augment import AugmentPipe
G_ema = copy.deepcopy(G).eval().requires_grad_(False)
with torch.no_grad():
    for value in G_ema.state_dict().values():
        value.copy_(torch.randn_like(value))
init_kwargs = json.loads(json.dumps(G_ema.init_kwargs))
torch.save(dict(G=G.state_dict(), D=D.state_dict(), G_ema=G_ema.state_dict(), init_kwargs=init_kwargs),
           f'{folder}/true.pt')
for protocol in (2, 3, 4, 5):
    for augment in (None, AugmentPipe(xflip=1, rotate=1)):
        training_set_kwargs = dnnlib.EasyDict(path='x', max_size=5)
        data = dict(G=G, D=D, G_ema=G_ema, augment_pipe=augment, training_set_kwargs=training_set_kwargs)
        name = f'{protocol}-{"none" if augment is None else "augment"}'
        pickle.dump(data, open(f'{folder}/{name}.pkl', 'wb'), protocol)
    pickle.dump(G_ema, open(f'{folder}/{protocol}-bare.pkl', 'wb'), protocol)
'''


@pytest.mark.upstream
@pytest.mark.parametrize('checkout, kind', [
    ('stylegan2-ada-pytorch', 'stylegan2'), ('stylegan2-ada-pytorch', 'conditional'),
    ('stylegan3', 'stylegan3-2'), ('stylegan3', 'stylegan3-t'), ('stylegan3', 'stylegan3-r')])
def test_official_files_are_read_exactly(checkout, kind, tmp_path):
    run_upstream(checkout, UPSTREAM_SCRIPT, kind, tmp_path)
    true = torch.load(tmp_path / 'true.pt', weights_only=True)
    paths = sorted(tmp_path.glob('*.pkl'))
    assert len(paths) == 12
    for path in paths:
        file = read_generator(path)
        assert file.entry == ('G' if 'bare' in path.name else 'G_ema') and list(file.state_dict) == list(true['G_ema'])
        for key, value in true['G_ema'].items():
            assert file.state_dict[key].dtype == value.dtype and torch.equal(file.state_dict[key], value), (path, key)
        assert file.family.name == ('stylegan3' if kind in ('stylegan3-t', 'stylegan3-r') else 'stylegan2')
        assert file.known_source.partition(' of ')[2].startswith(f'{checkout} ')
        assert file.init_args == () and file.init_kwargs == true['init_kwargs'] and file.class_name == 'Generator'
