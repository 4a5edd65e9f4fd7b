"""The generator is found wherever people keep it, and whatever stands beside it."""

from __future__ import annotations

import collections
import contextlib
import datetime
import io
import json
import pathlib
import pickle
import re
import types

import numpy as np
import pytest
import torch

from resefa_plugin.checkpoints.generator_file import read_generator
from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.opening import open_network
from tests.helpers.network_files import SIZES, SMALL, SMALL3, make_generator, skeleton
from tests.helpers.pickle_forge import Forger, Name, New, Reduce, dumps, persistent

CLOSE = dict(rtol=0, atol=1e-5)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no checkout is


def picture(path_or_generator):
    """Of a file through its hook, or of a generator: of the same latent."""
    ws = torch.from_numpy(np.random.RandomState(0).randn(1, 1, 8)).float()
    if isinstance(path_or_generator, torch.nn.Module):
        G = path_or_generator
        with torch.no_grad():
            return G.synthesis(ws.expand(1, G.num_ws, 8))
    hook = open_network(path_or_generator)
    return hook.synthesis(ws.expand(1, hook.num_ws, 8), None)


def saved(value, **options):
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


G = make_generator()
INIT = {**SIZES, 'synthesis_kwargs': SMALL}
FOREIGN_CLASS = Name('pg_modules.discriminator', 'ProjectedDiscriminator')
# Objects as Python's own pickler writes them, under names that are not there.
FOREIGN = {
    'D': New(FOREIGN_CLASS, state={'_parameters': {}, '_modules': {}, 'feature_network': Name('timm', 'create_model')}),
    'path': pathlib.PurePosixPath('a/b.zip'),
    'when': datetime.datetime(2024, 1, 2),
    'defaults': collections.defaultdict(list, {'a': [1]}),
    'queue': collections.deque([1, 2], maxlen=3),
    'device': torch.device('cuda:0'),
    'dtype': torch.float16,
    'size': torch.Size([1, 2]),
    'odd keys': {(1, 2): 'tuple', 1.5: 'float', b'x': 'bytes', 10 ** 9: 'large'},
    'frozen': frozenset(['a', (1, 2)]),
    'random': np.random.RandomState(0),
    'method': Reduce(Name('builtins', 'getattr'), Name('fork', 'Class'), 'method'),
    'complex': 1 + 2j,
    'partial': Reduce(Name('functools', 'partial'), Name('torch', 'relu'), state=(Name('torch', 'relu'), (), {}, None)),
}


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
@pytest.mark.parametrize('name', FOREIGN)
def test_what_stands_beside_the_generator_stays_inert(name, protocol):
    data = dumps({'G': None, 'before': FOREIGN[name], 'G_ema': persistent(skeleton(G.state_dict()), **INIT),
                  'after': [FOREIGN[name]]}, protocol)
    file = read_generator(data)
    assert file.entry == 'G_ema' and all(torch.equal(file.state_dict[key], value)
                                         for key, value in G.state_dict().items())


@pytest.mark.parametrize('name', ['D', 'path', 'when', 'device', 'method'])
def test_the_generator_itself_must_be_known(name):
    with pytest.raises(CheckpointError, match="it refers to '[a-z_.A-Z]+' where data is.*own code"):
        read_generator(dumps({'G_ema': persistent(skeleton(G.state_dict()), **INIT, more=FOREIGN[name])}))


def test_attributes_of_the_generator_may_be_anything():
    module = skeleton(G.state_dict())
    module.device, module.z_dim = torch.device('cuda:0'), 8
    assert read_generator(dumps({'G_ema': persistent(module, **INIT)})).init_kwargs == INIT


def test_a_tuple_that_contains_itself_may_stand_beside():
    loop: list = []
    loop.append((loop,))
    assert read_generator(dumps({'loop': (loop,), 'G_ema': persistent(skeleton(G.state_dict()), **INIT)})).entry


# torch.save of a whole module

def forged(value, legacy):
    """A file of torch.save whose object is forged: the tensors go where torch puts them."""
    class Pickler(Forger):
        def __init__(self, file, protocol=2):
            super().__init__(file, protocol)

        def dump(self, obj):
            super().dump(value)

    module = types.SimpleNamespace(Pickler=Pickler, dump=pickle.dump, __name__='pickle')
    return saved(None, pickle_module=module, _use_new_zipfile_serialization=not legacy)


@pytest.mark.parametrize('legacy', [False, True], ids=['zip', 'legacy'])
def test_a_network_saved_by_torch(legacy, tmp_path):
    """PTI: torch.save(G, 'model_X.pt'), where G is a persistent object."""
    path = tmp_path / 'model_X.pt'
    path.write_bytes(forged(persistent(skeleton(G.state_dict()), **INIT), legacy))
    file = read_generator(path)
    assert file.init_kwargs == INIT and file.class_name == 'Generator' and file.source_sha256
    assert torch.allclose(picture(path), picture(G), **CLOSE)


@pytest.mark.parametrize('legacy', [False, True], ids=['zip', 'legacy'])
def test_a_network_of_any_other_class(legacy, tmp_path):
    """Without the arguments of its constructor, which torch does not record: they follow from the shapes."""
    def plain(module):
        state = {key: value for key, value in vars(module).items()}
        state['_modules'] = {name: plain(child) for name, child in module._modules.items()}
        return New(Name('some.package', 'Generator'), state=state)
    (tmp_path / 'g.pth').write_bytes(forged({'g_ema': plain(skeleton(G.state_dict())), 'opt': 1}, legacy))
    assert torch.allclose(picture(tmp_path / 'g.pth'), picture(G), **CLOSE)
    note, = open_network(tmp_path / 'g.pth').notes
    assert note.startswith('it is a bare state, without the arguments of its generator')


# Bare states

KINDS = {
    'skip': dict(), 'resnet': dict(synthesis=dict(SMALL, architecture='resnet')),
    'orig': dict(synthesis=dict(SMALL, architecture='orig')), 'no noise': dict(synthesis=dict(SMALL, use_noise=False)),
    'narrow filter': dict(synthesis=dict(SMALL, resample_filter=[1, 2, 1])), 'classes': dict(c_dim=3), 'grey': dict(
        img_channels=1), 'kernel': dict(synthesis=dict(SMALL, kernel_size=1)), 'z': dict(z_dim=5),
    'T': dict(family='stylegan3'),
    'R': dict(family='stylegan3', synthesis=dict(SMALL3, conv_kernel=1, use_radial_filters=True)),
    'critical': dict(family='stylegan3', synthesis=dict(SMALL3, num_critical=1, margin_size=5)),
    'many channels': dict(family='stylegan3', synthesis=dict(channel_base=4096, channel_max=8, num_layers=5)),
}


@pytest.mark.parametrize('kind', KINDS)
def test_bare_states_under_the_official_names(kind, tmp_path):
    G = make_generator(**KINDS[kind])
    torch.save(G.state_dict(), tmp_path / 'state')
    hook = open_network(tmp_path / 'state')
    assert (hook.z_dim, hook.c_dim, hook.w_dim, hook.num_ws) == (G.z_dim, G.c_dim, G.w_dim, G.num_ws)
    assert torch.allclose(picture(tmp_path / 'state'), picture(G), **CLOSE)
    z, c = torch.randn(2, G.z_dim), torch.eye(3)[:2] if G.c_dim else None
    assert torch.allclose(hook.mapping(z, c, 0.5, None), G.mapping(z, c, 0.5), **CLOSE)


@pytest.mark.parametrize('changed', [dict(first_cutoff=3), dict(filter_size=4), dict(last_stopband_rel=2.0)])
def test_filters_that_do_not_follow_from_shapes(changed):
    G = make_generator('stylegan3', synthesis=dict(SMALL3, **changed))
    with pytest.raises(CheckpointError, match='one of first_cutoff, .* was changed. Save the whole network'):
        read_generator(saved(G.state_dict()))


@pytest.mark.parametrize('family, lost', [('stylegan2', 'synthesis.b4.resample_filter'),
                                          ('stylegan2', 'synthesis.b32.torgb.weight'),
                                          ('stylegan2', 'mapping.fc0.weight'),
                                          ('stylegan3', 'synthesis.input.affine.weight')])
def test_states_that_lack_a_part(family, lost):
    state = make_generator(family).state_dict()
    state.pop(lost)
    with pytest.raises(CheckpointError, match='shapes do not tell how it was made.*Save the whole network'):
        read_generator(saved(state))


def test_states_with_too_many_layers_take_no_time():
    state = make_generator('stylegan3').state_dict()
    state |= {f'synthesis.L{i}_32_4.weight': torch.ones(1) for i in range(5, 900)}
    with pytest.raises(CheckpointError, match='shapes do not tell'):
        read_generator(saved(state))


def prefixed(prefix, state):
    return {f'{prefix}{name}': value for name, value in state.items()}


OTHER = {name: value + 1 for name, value in G.state_dict().items()}
PLACES = {
    'module.': prefixed('module.', G.state_dict()),
    'state_dict': {'state_dict': prefixed('decoder.', G.state_dict()), 'opts': {'device': torch.device('cpu')}},
    'G_ema beside G': {'G': OTHER, 'G_ema': G.state_dict(), 'D': {'b4.conv.weight': torch.ones(2)}},
    'Lightning': {'state_dict': prefixed('G.', OTHER) | prefixed('G_ema.module.', G.state_dict())},
    'models': {'models': {'generator': OTHER, 'generator_smooth': G.state_dict()}, 'iter': 3},
    'params_ema': {'params': OTHER, 'params_ema': G.state_dict()},
    'half': {name: value.half() for name, value in G.state_dict().items()},
}


@pytest.mark.parametrize('place', PLACES)
def test_wherever_the_state_is(place, tmp_path):
    torch.save(PLACES[place], tmp_path / 'a.ckpt')
    close = dict(rtol=0, atol=0.05) if place == 'half' else CLOSE
    assert torch.allclose(picture(tmp_path / 'a.ckpt'), picture(G), **close)


def test_a_state_in_a_pickle(tmp_path):
    (tmp_path / 'a').write_bytes(pickle.dumps({'G_ema': G.state_dict()}))
    assert torch.allclose(picture(tmp_path / 'a'), picture(G), **CLOSE)


def test_tensors_that_were_on_a_gpu(tmp_path):
    data = saved(G.state_dict(), _use_new_zipfile_serialization=False)
    assert data.count(b'X\x03\x00\x00\x00cpu') == 1
    (tmp_path / 'a').write_bytes(data.replace(b'X\x03\x00\x00\x00cpu', b'X\x06\x00\x00\x00cuda:3'))
    assert torch.allclose(picture(tmp_path / 'a'), picture(G), **CLOSE)


@pytest.mark.parametrize('content, message', [
    (prefixed('backbone.', G.state_dict()), "under 'backbone.', as a part of something larger, which --hook can open"),
    ({'blocks.0.0.conv1.weight': torch.ones(2)}, '--network=biggan:FILE'),
    ({'state_dict': {'encoder.input_layer.0.weight': torch.ones(2)}}, 'an encoder without the generator'),
    ({'D': G.state_dict()}, "found 'D'"),
    ({}, 'found no entries'), (torch.ones(3), "found a call of 'torch._utils._rebuild_tensor_v2'"),
])
def test_files_without_a_generator(content, message):
    with pytest.raises(CheckpointError, match='no generator: expected an entry G_ema.*' + message):
        read_generator(saved(content))


# The names of genforce's code (the published ReSeFa), made from ours by their definition.

def genforce_state(G):
    state = {}
    for name, value in G.state_dict().items():
        name = re.sub(r'^mapping\.fc(\d+)', r'mapping.dense\1', name).replace('mapping.embed.', 'mapping.embedding.')
        name = {'mapping.w_avg': 'w_avg', 'synthesis.b4.const': 'synthesis.early_layer.const'}.get(name, name)
        block = re.match(r'synthesis\.b(\d+)\.(?:(conv0|conv1|torgb|skip)\.)?(.*)', name)
        if block:
            level, kind, part = int(block[1]).bit_length() - 3, block[2], block[3]
            if part == 'resample_filter' and kind in (None, 'conv1'):
                continue  # one for all blocks there, and none where nothing is resampled
            number = {'conv0': 2 * level - 1, 'conv1': 2 * level}.get(kind, level)
            layer = {'conv0': 'layer', 'conv1': 'layer', 'torgb': 'output', 'skip': 'residual'}[kind]
            part = part.replace('affine', 'style').replace('noise_const', 'noise').replace('resample_filter', 'filter')
            name = f'synthesis.{layer}{number}.{part}'
            value = value[None, None] if part == 'noise' else value
        elif name.startswith('synthesis.early_layer'):
            value = value[None]
        state[name] = value
    if 'synthesis.output0.weight' in state:
        state['synthesis.filter'] = G.synthesis.b8.resample_filter
    return state


def genforce3_state(G):
    size = int(G.synthesis.style_names[1].split('_')[1])
    state = {'synthesis.early_layer.grid': torch.zeros(1, size, size, 2)}
    names = {'freqs': 'frequency', 'phases': 'phase'}
    parts = {'weight': 'conv.weight', 'affine.weight': 'conv.style.weight', 'affine.bias': 'conv.style.bias',
             'bias': 'filter.bias', 'up_filter': 'filter.up_filter', 'down_filter': 'filter.down_filter'}
    for name, value in G.state_dict().items():
        name = re.sub(r'^mapping\.fc(\d+)', r'mapping.dense\1', name).replace('mapping.w_avg', 'w_avg')
        if layer := re.match(r'synthesis\.L(\d+)_\d+_\d+\.(.*)', name):
            name = f'synthesis.layer{layer[1]}.{parts.get(layer[2], layer[2])}'
        elif part := re.match(r'synthesis\.input\.(.*)', name):
            name = f'synthesis.early_layer.{names.get(part[1], part[1])}'
        state[name] = value
    return state


@pytest.mark.parametrize('kind', [
    dict(), dict(c_dim=3), dict(synthesis=dict(SMALL, architecture='resnet')),
    dict(synthesis=dict(SMALL, resample_filter=[1, 2, 1])), dict(family='stylegan3'),
    dict(family='stylegan3', synthesis=dict(SMALL3, conv_kernel=1, use_radial_filters=True))])
def test_checkpoints_of_the_published_resefa(kind, tmp_path):
    G = make_generator(**kind)
    state = genforce3_state(G) if 'family' in kind else genforce_state(G)
    torch.save({'models': {'generator': {name: value + 1 for name, value in state.items()}, 'generator_smooth': state,
                           'discriminator': {'x': torch.ones(1)}}, 'model_kwargs_init': {}}, tmp_path / 'ffhq.pth')
    file = read_generator(tmp_path / 'ffhq.pth')
    assert file.entry == 'models.generator_smooth'
    assert torch.allclose(picture(tmp_path / 'ffhq.pth'), picture(G), **CLOSE)
    z, c = torch.randn(2, 8), torch.eye(3)[:2] if G.c_dim else None
    assert torch.allclose(open_network(tmp_path / 'ffhq.pth').mapping(z, c, 0.5, None), G.mapping(z, c, 0.5), **CLOSE)


@pytest.mark.parametrize('family, change, message', [
    ('stylegan2', lambda s: s.update({'synthesis.layer1.attention': torch.ones(2)}), 'is in no StyleGAN2 generator'),
    ('stylegan2', lambda s: s.update({'synthesis.early_layer.const': torch.ones(2)}), r'const is \[2\], expected'),
    ('stylegan3', lambda s: s.update({'synthesis.layer1.more': torch.ones(2)}), 'is in no StyleGAN3 generator'),
    ('stylegan3', lambda s: s.pop('synthesis.early_layer.grid'), 'damaged'),
    ('stylegan3', lambda s: s.update({'synthesis.layer1.filter.up_filter': torch.ones(12)}), 'none of configurations')])
def test_other_networks_of_genforce(family, change, message):
    state = (genforce_state if family == 'stylegan2' else genforce3_state)(make_generator(family))
    change(state)
    with pytest.raises(CheckpointError, match=message):
        read_generator(saved({'models': {'generator_smooth': state}}))


# safetensors

NAMES = {torch.float32: 'F32', torch.float16: 'F16', torch.float64: 'F64', torch.bfloat16: 'BF16', torch.int64: 'I64',
         torch.uint8: 'U8', torch.bool: 'BOOL'}


def safetensors(tensors, **changed):
    """A file by the definition of the format."""
    header, body = {'__metadata__': {'format': 'pt'}}, b''
    for name, tensor in tensors.items():
        raw = tensor.contiguous().view(torch.uint8).numpy().tobytes() if tensor.ndim else tensor.reshape(1).view(
            torch.uint8).numpy().tobytes()
        header[name] = {'dtype': NAMES[tensor.dtype], 'shape': list(tensor.shape),
                        'data_offsets': [len(body), len(body) + len(raw)], **changed}
        body += raw
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, 'little') + text + body


def test_a_network_in_safetensors(tmp_path):
    (tmp_path / 'a').write_bytes(safetensors(prefixed('g_ema.', G.state_dict())))
    assert torch.allclose(picture(tmp_path / 'a'), picture(G), **CLOSE)


@pytest.mark.parametrize('dtype', NAMES)
def test_elements_of_safetensors(dtype):
    state = G.state_dict() | {'synthesis.more': torch.tensor([[1, 0, 1]]).to(dtype)}
    file = read_generator(safetensors(state))
    assert torch.equal(file.state_dict['synthesis.more'], state['synthesis.more'])


MARK = 'synthesis.b4.conv1.weight'


@pytest.mark.parametrize('data, message', [
    (safetensors({MARK: torch.ones(2)}, shape=[3]), 'of 12 bytes claims bytes 0 to 8 of 8'),
    (safetensors({MARK: torch.ones(2)}, shape=[2 ** 40, 2 ** 40]), 'claims bytes'),
    (safetensors({MARK: torch.ones(2)}, shape=[-1]), 'has no dtype, shape and data_offsets'),
    (safetensors({MARK: torch.ones(2)}, shape=[True, 2]), 'has no dtype, shape'),
    (safetensors({MARK: torch.ones(2)}, data_offsets=[8, 16]), 'claims bytes 8 to 16 of 8'),
    (safetensors({MARK: torch.ones(2)}, data_offsets=[8, 0]), 'claims bytes'),
    (safetensors({MARK: torch.ones(2)}, data_offsets=[]), 'claims bytes|has no dtype'),
    (safetensors({MARK: torch.ones(2)}, dtype='C64'), "elements of type 'C64'; expected one of F64"),
    (safetensors({MARK: torch.ones(2)}, dtype=3), 'has no dtype'),
    ((50).to_bytes(8, 'little') + b'{}', 'a header of 50 bytes in a file of 10'),
    ((2).to_bytes(8, 'little') + b'{]', 'no JSON object'),
    ((3000).to_bytes(8, 'little') + b'{"a":' * 600, 'no JSON object'),
    ((9).to_bytes(8, 'little') + b'{"a": []}', 'has no dtype')])
def test_damaged_safetensors(data, message):
    with pytest.raises(CheckpointError, match=message):
        read_generator(data)


def test_mutations_of_safetensors_are_read_or_refused():
    data, random = safetensors(G.state_dict()), np.random.RandomState(0)
    length = 8 + int.from_bytes(data[:8], 'little')
    for _ in range(300):
        mutated = bytearray(data)
        for position in random.randint(0, length, 4):
            mutated[position] = random.randint(256)
        with contextlib.suppress(CheckpointError):
            read_generator(bytes(mutated))
