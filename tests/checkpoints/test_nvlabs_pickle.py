"""Network files of stylegan2-ada-pytorch and stylegan3: read exactly, and refused when hostile."""

from __future__ import annotations

import hashlib
import http.server
import random
import threading
import urllib.error
import urllib.request
from collections import OrderedDict

import numpy as np
import pytest
import torch

from resefa_plugin.checkpoints import network_source
from resefa_plugin.checkpoints.generator_file import read_generator
from resefa_plugin.checkpoints.pickles import inert_pickle
from resefa_plugin.checkpoints.pickles.nvlabs_pickle import PersistentObject, read_network_pickle
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
    file = read_network_pickle(path)
    assert file.name == str(path) and file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert list(file.entries) == ['G', 'D', 'G_ema', 'augment_pipe', 'training_set_kwargs']
    for seed, name in enumerate(('G', 'D', 'G_ema')):
        assert_same_state(file.entries[name].state_dict, toy_generator(seed, family))
    assert file.entries['augment_pipe'] is None
    assert file.entries['training_set_kwargs'] == {'path': 'faces.zip', 'resolution': 16}
    network = file.entries['G_ema']
    assert (network.class_name, network.init_args, network.init_kwargs) == ('Generator', (), KWARGS)
    assert type(network.init_kwargs['synthesis_kwargs']) is dict
    assert network.source_sha256 == hashlib.sha256(SOURCE.encode()).hexdigest()
    assert network.attributes == {'training': False, 'z_dim': 4}
    assert file.entries['D'].class_name == 'Discriminator'


def test_the_moving_average_is_taken():
    data = dumps(snapshot())
    file = read_generator(data)
    assert_same_state(file.state_dict, toy_generator(2))
    assert (file.entry, file.family.name, file.class_name) == ('G_ema', 'stylegan2', 'Generator')
    assert file.init_kwargs == KWARGS
    assert file.extras == {'training_set_kwargs': {'path': 'faces.zip', 'resolution': 16}}
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
    assert file.entry == 'G' and file.extras == {} and file.init_kwargs == {'z_dim': 4}
    assert_same_state(file.state_dict, toy_generator(3))


@pytest.mark.parametrize('root, message', [
    (dict(D=None, notes='x'), "no generator.*found 'D', 'notes'"),
    ({}, 'found no entries'),
    (dict(G_ema=None), 'the entry G_ema is None; expected a network'),
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
    ([], 'instead of a snapshot'),
    ({1: None}, 'name of an entry is 1'),
    (dict(G=Name('torch', 'FloatStorage')), "refers to 'torch.FloatStorage'"),
    (with_meta(version=7), 'version 7; expected a class, version 6'),
    (with_meta(type='module'), "type 'module'"),
    (with_meta(class_name=3), 'class name of a persistent object is 3'),
    (with_meta(class_name='x' * 300), 'more than 256 characters'),
    (with_meta(module_src=b'x'), 'source of a persistent object'),
    (with_meta(state=None), 'None where a dictionary'),
    (Reduce(RECONSTRUCT, 'x'), 'where a dictionary'),
    (Reduce(RECONSTRUCT), 'with 0 arguments'),
    (Reduce(RECONSTRUCT, {}, state={'__class__': 'x'}), 'a state; expected 1 arguments alone'),
    (with_state(_init_args=[]), 'not a tuple and a dictionary'),
    (with_state(_init_kwargs=()), 'not a tuple and a dictionary'),
    (with_state(_modules=OrderedDict(a=3)), '3 where a persistent object'),
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
    (with_state(z_dim=np.array([None])), "elements of type 'O8'"),
    (with_state(fork=Name('torch.nn.modules.linear', 'Linear')), "refers to 'torch.nn.modules.linear.Linear'"),
])
def test_forged_networks_are_refused(root, message):
    with pytest.raises(CheckpointError, match=message):
        read_network_pickle(dumps(root))


def test_bytes_behind_the_end_are_refused():
    with pytest.raises(CheckpointError, match='<bytes>: 3 bytes too many'):
        read_network_pickle(dumps(snapshot()) + b'abc')


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
        with pytest.raises(CheckpointError, match=f"refers to '{name}'"):
            read_generator(data)
    assert not marker.exists()


def test_one_payload_read_many_times_is_stopped(monkeypatch):
    monkeypatch.setattr(inert_pickle, 'MAX_OPCODES', 30_000)
    payload = Reduce(LOAD, legacy_torch(storage_ref()))
    tensors = {f'b{index}': tensor_call(payload) for index in range(2_000)}
    with pytest.raises(CheckpointError, match='pickle opcodes'):
        read_network_pickle(dumps(dict(G=with_state(_buffers=tensors))))


def test_one_tensor_unfolded_many_times_is_stopped():
    payload = Reduce(LOAD, legacy_torch(storage_ref(numel=1 << 20), bytes(4 << 20), 1 << 20))
    tensor = tensor_call(payload, size=(1 << 20,))
    with pytest.raises(CheckpointError, match='more than four times the size'):
        read_network_pickle(dumps(dict(G=with_state(_buffers={f'b{index}': tensor for index in range(100)}))))


def test_nested_modules_are_bounded():
    call = persistent(torch.nn.Module())
    for _ in range(60):
        parent = persistent(torch.nn.Module())
        parent.args[0]['state']['_modules'] = {'child': call}
        call = parent
    with pytest.raises(CheckpointError, match='nested more than'):
        read_network_pickle(dumps(dict(G=call)))
    call = persistent(torch.nn.Module())
    for _ in range(8):
        parent = persistent(torch.nn.Module())
        parent.args[0]['state']['_modules'] = {f'child{index}': call for index in range(10)}
        call = parent
    with pytest.raises(CheckpointError, match='unfolds to more than'):
        read_network_pickle(dumps(dict(G=call)))


@pytest.mark.parametrize('protocol', [2, 4])
def test_every_truncation_is_an_error(protocol):
    data = dumps(snapshot(), protocol)
    for end in range(0, len(data), 1000):
        with pytest.raises(CheckpointError):
            read_network_pickle(data[:end])


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
            for entry in read_network_pickle(bytes(mutated)).entries.values():
                if isinstance(entry, PersistentObject):
                    assert all(isinstance(value, torch.Tensor) for value in entry.state_dict.values())
        except CheckpointError:
            refused += 1
    assert 50 < refused < 300


@pytest.mark.parametrize('size', [1, 100, 10_000])
def test_random_bytes_are_refused(size):
    for seed in range(20):
        with pytest.raises(CheckpointError):
            read_network_pickle(random.Random(seed).randbytes(size))


# Where files come from.


@pytest.mark.parametrize('name', ['missing.pkl', '', '.', 'nul\0byte', '/dev/zero'])
def test_what_is_no_file_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match='not a file|cannot be read'):
        read_generator(name)


def test_a_file_beyond_the_limit_is_refused(tmp_path):
    path = tmp_path / 'large'
    path.write_bytes(bytes(11))
    assert network_source.read_source(path, max_bytes=11).data == bytes(11)
    with pytest.raises(CheckpointError, match='larger than 10 bytes'):
        network_source.read_source(path, max_bytes=10)


@pytest.fixture
def server():
    """A web server on this machine: path -> (status, headers, body); counts the requests."""
    pages: dict[str, tuple[int, dict, bytes]] = {}
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            status, headers, body = pages.get(self.path, (404, {}, b''))
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(('127.0.0.1', 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={'poll_interval': 0.01})
        thread.start()
        try:
            yield f'http://127.0.0.1:{httpd.server_port}', pages, requests
        finally:
            httpd.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv('no_proxy', '*')


def test_a_url_is_fetched_once(server, tmp_path, monkeypatch):
    base, pages, requests = server
    data = dumps(snapshot())
    pages['/nets/a%20b.pkl?v=1'] = (200, {'Content-Length': str(len(data))}, data)
    url = f'{base}/nets/a%20b.pkl?v=1'
    monkeypatch.setenv('RESEFA_CACHE', str(tmp_path / 'cache'))
    for _ in range(2):
        file = read_generator(url)
        assert (file.name, file.sha256) == (url, hashlib.sha256(data).hexdigest())
    assert len(requests) == 1
    (cached,) = (tmp_path / 'cache').iterdir()
    assert cached.read_bytes() == data and cached.name.endswith('-a_20b.pkl')
    read_generator(url, cache_dir=tmp_path / 'other')
    assert len(requests) == 2 and len(list((tmp_path / 'other').iterdir())) == 1


def test_failed_transfers_leave_nothing_behind(server, tmp_path, monkeypatch):
    base, pages, _ = server
    pages['/short'] = (200, {'Content-Length': '100'}, b'abc')
    pages['/large'] = (200, {}, bytes(50))
    pages['/to-file'] = (302, {'Location': 'file:///etc/hostname'}, b'')
    pages['/to-ftp'] = (302, {'Location': 'ftp://127.0.0.1/x'}, b'')
    pages['/loop'] = (302, {'Location': '/loop'}, b'')
    for path, message in [('/short', 'ended after 3 of 100|cannot be fetched'), ('/large', 'larger than 40 bytes'),
                          ('/to-file', 'cannot be fetched'), ('/to-ftp', 'cannot be fetched'),
                          ('/loop', 'cannot be fetched'), ('/missing', 'cannot be fetched.*404')]:
        with pytest.raises(CheckpointError, match=message):
            network_source.read_source(base + path, tmp_path, max_bytes=40)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('before, after', [('https', 'http'), ('http', 'ftp'), ('https', 'file')])
def test_redirects_never_lead_to_less(before, after):
    request = urllib.request.Request(f'{before}://host/x')
    with pytest.raises(urllib.error.URLError, match=f'redirects from {before}'):
        network_source._SafeRedirects().redirect_request(request, None, 302, 'Found', {}, f'{after}://host/x')


@pytest.mark.parametrize('before, after', [('https', 'https'), ('http', 'http'), ('http', 'https')])
def test_other_redirects_are_followed(before, after):
    request = urllib.request.Request(f'{before}://host/x')
    followed = network_source._SafeRedirects().redirect_request(request, None, 302, 'Found', {}, f'{after}://host/y')
    assert followed.full_url == f'{after}://host/y'


def test_a_url_out_of_reach_is_an_error(server, tmp_path):
    base, _, _ = server
    with pytest.raises(CheckpointError, match='cannot be fetched.*give its path'):
        read_generator('http://127.0.0.1:1/network.pkl', tmp_path)
    blocked = tmp_path / 'blocked'
    blocked.write_text('not a folder')
    with pytest.raises(CheckpointError, match='cannot be fetched'):
        read_generator(f'{base}/x', blocked)


@pytest.mark.parametrize('url', ['file:///etc/hostname', 'ftp://127.0.0.1/x', 'data://text/plain,x', 'FILE://x',
                                 'http://[bad'])
def test_other_schemes_are_refused(url, tmp_path):
    with pytest.raises(CheckpointError, match='is not fetched; expected http or https|not a URL'):
        read_generator(url, tmp_path)


def test_the_default_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv('RESEFA_CACHE', str(tmp_path))
    folders = []
    monkeypatch.setattr(network_source, '_fetch',
                        lambda url, folder, max_bytes: folders.append(folder) or tmp_path / 'none')
    for cache_dir in (None, tmp_path / 'other'):
        with pytest.raises(CheckpointError):
            network_source.read_source('https://127.0.0.1/x.pkl', cache_dir)
    assert folders == [tmp_path, tmp_path / 'other']


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
        entries = read_network_pickle(path).entries
        is_bare = 'bare' in path.name
        for name in ('G_ema',) if is_bare else ('G', 'D', 'G_ema'):
            network = entries['G' if is_bare else name]
            assert list(network.state_dict) == list(true[name]), path
            for key, value in true[name].items():
                ours = network.state_dict[key]
                assert ours.dtype == value.dtype and torch.equal(ours, value), (path, key)
        file = read_generator(path)
        assert file.family.name == ('stylegan3' if kind in ('stylegan3-t', 'stylegan3-r') else 'stylegan2')
        assert file.known_source.partition(' of ')[2].startswith(f'{checkout} ')
        assert file.init_args == () and file.init_kwargs == true['init_kwargs'] and file.class_name == 'Generator'
        if not is_bare:
            assert file.extras.get('training_set_kwargs') == {'path': 'x', 'max_size': 5}
            assert isinstance(entries['augment_pipe'], PersistentObject) == ('augment' in path.name)
