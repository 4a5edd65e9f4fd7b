"""TensorFlow's StyleGAN2 files, converted to the state of the PyTorch network."""

from __future__ import annotations

import json
import random
from itertools import pairwise

import numpy as np
import pytest
import torch

from resefa_plugin.checkpoints.generator_file import read_generator
from resefa_plugin.errors import CheckpointError
from tests.helpers.pickle_forge import TF_NETWORK, Name, New, Reduce, dumps, easy_dict, run_upstream

VARIANTS = {
    'skip': {},
    'resnet': dict(architecture='resnet'),
    'orig': dict(architecture='orig'),
    'conditional': dict(label_size=3, label_fmaps=5, mapping_fmaps=7),
    'no noise': dict(use_noise=False),
    'gray': dict(num_channels=1, resample_kernel=[1, 2, 1]),
    'frozen': dict(w_avg_beta=None, truncation_psi=0.5, structure='auto', style_mixing_prob=None),
}


def static_kwargs(**changes: object) -> dict:
    """Arguments of a small generator."""
    return {**dict(latent_size=6, dlatent_size=4, resolution=16, num_channels=3, fmap_base=64, fmap_max=8,
                   mapping_layers=2), **changes}


def variables(kwargs: dict, seed: int = 0) -> dict[str, np.ndarray]:
    """Random variables with the names and shapes that TensorFlow's generator of these arguments has."""
    rng = np.random.RandomState(seed)
    made: dict[str, np.ndarray] = {}

    def add(name: str, *shape: int) -> None:
        made[name] = np.asarray(rng.randn(*shape), dtype=np.float32)

    def modulated(name: str, size: int, inputs: int, outputs: int) -> None:
        add(f'{name}/weight', size, size, inputs, outputs)
        add(f'{name}/mod_weight', kwargs['dlatent_size'], inputs)
        add(f'{name}/mod_bias', inputs)
        add(f'{name}/bias', outputs)

    w, labels, inner = kwargs['dlatent_size'], kwargs.get('label_size', 0), kwargs.get('mapping_fmaps')
    add('dlatent_avg', w)
    add('lod')
    embedded = kwargs.get('label_fmaps', w) if labels else 0
    if labels:
        add('mapping/LabelEmbed/weight', labels, embedded)
        add('mapping/LabelEmbed/bias', embedded)
    widths = [kwargs['latent_size'] + embedded] + [inner or w] * (kwargs['mapping_layers'] - 1) + [w]
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        add(f'mapping/Dense{index}/weight', inputs, outputs)
        add(f'mapping/Dense{index}/bias', outputs)
    architecture = kwargs.get('architecture', 'skip')
    before = 0
    for log2 in range(2, kwargs['resolution'].bit_length()):
        size = 1 << log2
        width, block = min(2 * kwargs['fmap_base'] // size, kwargs['fmap_max']), f'synthesis/{size}x{size}'
        if size == 4:
            add(f'{block}/Const/const', 1, width, 4, 4)
            layers = [('Conv', width, 0)]
        else:
            layers = [('Conv0_up', before, 2 * log2 - 5), ('Conv1', width, 2 * log2 - 4)]
        for name, inputs, noise in layers:
            modulated(f'{block}/{name}', 3, inputs, width)
            if kwargs.get('use_noise', True):
                add(f'{block}/{name}/noise_strength')
                add(f'synthesis/noise{noise}', 1, 1, size, size)
        if size == kwargs['resolution'] or architecture == 'skip':
            modulated(f'{block}/ToRGB', 1, width, kwargs['num_channels'])
        if size > 4 and architecture == 'resnet':
            add(f'{block}/Skip/weight', 1, 1, before, width)
        before = width
    return made


def network(kwargs: dict, made: dict[str, np.ndarray], version: object = 4) -> New:
    """A network with its components `mapping` and `synthesis`, as the official files have them."""

    def part(prefix: str) -> list:
        return [(name[len(prefix):], value) for name, value in made.items() if name.startswith(prefix)]

    def state(own: list, components: dict, **more: object) -> dict:
        return dict(version=version, name='G', static_kwargs=easy_dict(**more), components=easy_dict(**components),
                    build_module_src='import tensorflow', build_func_name='G_main', variables=own)

    components = {name: New(TF_NETWORK, state=state(part(f'{name}/'), {})) for name in ('mapping', 'synthesis')}
    own = [pair for pair in made.items() if '/' not in pair[0]]
    return New(TF_NETWORK, state=state(own, components, **kwargs))


def pickled(kwargs: dict, made: dict, protocol: int = 4, version: object = 4, first: dict | None = None) -> bytes:
    """A file of (G, D, Gs), where Gs has the variables `made` and G has `first`."""
    parts = [network(kwargs, first or {}, version), network({}, {}, version), network(kwargs, made, version)]
    return dumps(tuple(parts), protocol)


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_every_element_goes_to_its_place(protocol):
    kwargs = static_kwargs(architecture='resnet', label_size=3)
    made = variables(kwargs)
    file = read_generator(pickled(kwargs, made, protocol))
    assert (file.entry, file.family.name, file.class_name, file.init_args) == ('G_ema', 'stylegan2', 'Generator', ())
    state = {name: value.numpy() for name, value in file.state_dict.items()}
    # Index by index, from the definitions of the two layouts.
    for name, source, flip in [('b4.conv1', '4x4/Conv', False), ('b8.conv0', '8x8/Conv0_up', True),
                               ('b8.conv1', '8x8/Conv1', False), ('b16.conv0', '16x16/Conv0_up', True),
                               ('b16.skip', '16x16/Skip', True), ('b16.torgb', '16x16/ToRGB', False)]:
        kernel = made[f'synthesis/{source}/weight']
        for (y, x, i, o), value in np.ndenumerate(kernel):
            row, column = (kernel.shape[0] - 1 - y, kernel.shape[1] - 1 - x) if flip else (y, x)
            assert state[f'synthesis.{name}.weight'][o, i, row, column] == value
    for name, source in [('embed', 'LabelEmbed'), ('fc1', 'Dense1')]:
        assert (state[f'mapping.{name}.weight'] == np.einsum('io->oi', made[f'mapping/{source}/weight'])).all()
        assert (state[f'mapping.{name}.bias'] == made[f'mapping/{source}/bias']).all()
    assert (state['mapping.w_avg'] == made['dlatent_avg']).all()
    assert (state['synthesis.b4.const'] == made['synthesis/4x4/Const/const'][0]).all()
    for name, source, noise in [('b4.conv1', '4x4/Conv', 0), ('b8.conv0', '8x8/Conv0_up', 1),
                                ('b8.conv1', '8x8/Conv1', 2), ('b16.conv0', '16x16/Conv0_up', 3),
                                ('b16.conv1', '16x16/Conv1', 4)]:
        name, source = f'synthesis.{name}', f'synthesis/{source}'
        assert (state[f'{name}.noise_const'] == made[f'synthesis/noise{noise}'][0, 0]).all()
        assert state[f'{name}.noise_strength'].shape == ()
        assert state[f'{name}.noise_strength'] == made[f'{source}/noise_strength']
        assert (state[f'{name}.affine.weight'] == made[f'{source}/mod_weight'].T).all()
        assert (state[f'{name}.affine.bias'] == made[f'{source}/mod_bias'] + 1).all()
        assert (state[f'{name}.bias'] == made[f'{source}/bias']).all()
    assert (state['synthesis.b8.resample_filter'] * 64 == np.outer([1, 3, 3, 1], [1, 3, 3, 1])).all()
    assert file.init_kwargs['synthesis_kwargs']['channel_base'] == 128 and file.init_kwargs['c_dim'] == 3


@pytest.mark.parametrize('more', [
    dict(resolution_w=16, resolution_h=16), dict(min_w=4, min_h=4, res_log2=2, use_attention=False),
    dict(init_res=[4, 4])])
def test_forks_that_tell_width_from_height(more):
    """The size is said twice; pictures are square all the same."""
    kwargs = static_kwargs()
    file = read_generator(pickled({**kwargs, **more}, variables(kwargs)))
    assert file.init_kwargs == read_generator(pickled(kwargs, variables(kwargs))).init_kwargs


@pytest.mark.parametrize('more, message', [
    (dict(resolution_w=32, resolution_h=16), r'not square: 32 x 16 \(width x height\).*--repo, and add --trust'),
    (dict(min_w=5, min_h=3, res_log2=8), 'not square: 1280 x 768'), (dict(init_res=[3, 5], res_log2=2), '20 x 12'),
    (dict(min_w='x'), 'not square'), (dict(use_attention=True), 'with attention')])
def test_forks_with_other_pictures(more, message):
    kwargs = static_kwargs()
    with pytest.raises(CheckpointError, match=message):
        read_generator(pickled({**kwargs, **more}, variables(kwargs)))


def test_the_moving_average_is_taken():
    kwargs = static_kwargs()
    file = read_generator(pickled(kwargs, variables(kwargs), first=variables(kwargs, 1)))
    assert file.entry == 'G_ema'
    assert (file.state_dict['mapping.w_avg'].numpy() == variables(kwargs)['dlatent_avg']).all()


@pytest.mark.parametrize('changes, message', [
    (dict(use_wscale=True), "unknown argument 'use_wscale'"),
    (dict(resolution=24), 'resolution 24; expected a power of two'),
    (dict(resolution=2 ** 19), 'expected a power of two from 4'),
    (dict(resolution='16'), "img_resolution of the TensorFlow generator is '16'"),
    (dict(latent_size=True), 'z_dim of the TensorFlow generator is True'),
    (dict(mapping_layers=10 ** 6), '1000000 mapping layers'),
    (dict(fmap_base=None), 'fmap_base of the TensorFlow generator is None'),
    (dict(architecture='mesh'), "architecture 'mesh'; expected one of orig, skip, resnet"),
    (dict(use_noise=3), 'use_noise of the TensorFlow generator is 3'),
    (dict(resample_kernel='abc'), 'not a list of 1 to 64 finite numbers'),
    (dict(resample_kernel=[1, float('nan')]), 'not a list of 1 to 64 finite numbers'),
    (dict(resample_kernel=[]), 'not a list of 1 to 64 finite numbers'),
    (dict(resample_kernel=[1, -1]), 'sums to 0'),
    (dict(label_size=2), 'no variable mapping/LabelEmbed/weight'),
    (dict(mapping_layers=3), 'no variable mapping/Dense2/weight'),
    (dict(architecture='resnet'), 'no variable synthesis/8x8/Skip/weight'),
])
def test_other_generators_are_refused(changes, message):
    kwargs = static_kwargs()
    made = variables(kwargs)
    with pytest.raises(CheckpointError, match=f'<bytes>: .*{message}'):
        read_generator(pickled({**kwargs, **changes}, made))


@pytest.mark.parametrize('version, message', [(3, 'version 3; expected 4'), ('4', "version '4'; expected an integer")])
def test_older_versions_are_refused(version, message):
    kwargs = static_kwargs()
    with pytest.raises(CheckpointError, match=message):
        read_generator(pickled(kwargs, variables(kwargs), version=version))


@pytest.mark.parametrize('name, value, message', [
    ('dlatent_avg', np.zeros((2, 2), np.float32), r'shape \(2, 2\)'),
    ('dlatent_avg', np.zeros(4, np.int32), 'type int32'),
    ('synthesis/4x4/Const/const', np.zeros((0, 4, 4, 4), np.float32), r'shape \(0, 4, 4, 4\)'),
    ('synthesis/4x4/Conv/noise_strength', 'x', 'expected an array'),
    ('synthesis/4x4/Conv/noise_strength', Reduce(Name('os', 'system'), 'x'), 'os.system'),
])
def test_misshapen_variables_are_refused(name, value, message):
    kwargs = static_kwargs()
    with pytest.raises(CheckpointError, match=message):
        read_generator(pickled(kwargs, {**variables(kwargs), name: value}))


@pytest.mark.parametrize('bad, message', [
    (New(TF_NETWORK), 'None where a dictionary'),
    (Reduce(TF_NETWORK, 'G'), 'with arguments'),
    (New(TF_NETWORK, {'a': 1}, state={}), 'with arguments'),
    (New(TF_NETWORK, state={'version': 4}), 'no static_kwargs'),
    (New(TF_NETWORK, state=(None, {'version': 4})), 'where a dictionary'),
    (New(TF_NETWORK, state=dict(version=4, static_kwargs={}, components={}, variables={})), 'expected a list'),
    (New(TF_NETWORK, state=dict(version=4, static_kwargs={}, components={}, variables=[0])), 'with 0; expected'),
    (New(TF_NETWORK, state=dict(version=4, static_kwargs={}, components={}, variables=[(1, .5)])), 'name of a Tensor'),
    (New(TF_NETWORK, state=dict(version=4, static_kwargs={}, components={'a': 1}, variables=[])), '1 where a Tensor'),
])
def test_damaged_networks_are_refused(bad, message):
    with pytest.raises(CheckpointError, match=message):
        read_generator(dumps((bad, bad, bad)))


def test_nested_components_are_bounded():
    inner = network({}, {})
    for _ in range(10):
        inner = New(TF_NETWORK, state=dict(version=4, static_kwargs={}, components={'a': inner}, variables=[]))
    with pytest.raises(CheckpointError, match='components nested more than 8 deep'):
        read_generator(dumps((inner, inner, inner)))


def test_truncations_and_mutations_are_read_or_refused():
    kwargs = static_kwargs()
    data = pickled(kwargs, variables(kwargs))
    for end in range(0, len(data), 1000):
        with pytest.raises(CheckpointError):
            read_generator(data[:end])
    rng = random.Random(0)
    refused = 0
    for _ in range(300):
        mutated = bytearray(data)
        for _ in range(rng.choice((1, 2, 4))):
            mutated[rng.randrange(len(data))] = rng.randrange(256)
        try:
            read_generator(bytes(mutated))
        except CheckpointError:
            refused += 1
    assert 50 < refused < 300


UPSTREAM_SCRIPT = '''
import io, json, torch, numpy, dnnlib, legacy
kwargs, values, target = sys.argv[1:]
network = legacy._TFNetworkStub()
network.version = 4
network.static_kwargs = dnnlib.EasyDict(json.loads(kwargs))
network.components = dnnlib.EasyDict()
network.variables = list(numpy.load(values).items())
G = legacy.convert_tf_generator(network)
torch.save(dict(state=G.state_dict(), init_kwargs=json.loads(json.dumps(G.init_kwargs))), target)
'''


@pytest.mark.upstream
@pytest.mark.parametrize('variant', VARIANTS)
def test_conversion_equals_the_official_one(variant, tmp_path):
    kwargs = static_kwargs(**VARIANTS[variant])
    made = variables(kwargs)
    np.savez(tmp_path / 'values.npz', **made)
    run_upstream('stylegan2-ada-pytorch', UPSTREAM_SCRIPT, json.dumps(kwargs), tmp_path / 'values.npz',
                 tmp_path / 'true.pt')
    true = torch.load(tmp_path / 'true.pt', weights_only=True)
    file = read_generator(pickled(kwargs, made))
    assert list(file.state_dict) == list(true['state'])
    for name, value in true['state'].items():
        ours = file.state_dict[name]
        assert ours.dtype == value.dtype and ours.is_contiguous() and torch.equal(ours, value), name
    assert file.init_kwargs == true['init_kwargs']
