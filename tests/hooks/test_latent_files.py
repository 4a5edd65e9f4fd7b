"""Latents that projectors and `resefa edit` write: which space they are in, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from resefa_plugin.checkpoints.latent_entries import UNSAID_KEYS
from resefa_plugin.errors import CheckpointError, DirectionsError
from resefa_plugin.hooks import opening
from resefa_plugin.hooks.latent_files import make_sample, read_latents
from resefa_plugin.hooks.stylegan import StyleGANHook
from resefa_plugin.hooks.viewpoint import Viewpoint
from resefa_plugin.scripts.common import sampling
from resefa_plugin.scripts.main import main
from tests.helpers.network_files import make_generator
from tests.helpers.toys import TinyHook

EQUAL, UNEQUAL = TinyHook(), TinyHook()  # z_dim = w_dim = 4, num_ws = 8
UNEQUAL.z_dim = 6


def write(path, array, key):
    """The array as the file's name says: bare, or under a key."""
    if path.suffix == '.npy':
        np.save(path, array)
    elif path.suffix == '.npz':
        np.savez(path, **{key: array}, other=np.zeros(2))
    else:
        value = torch.from_numpy(array)
        torch.save(value if key is None else {key: value, 'other': 1}, path)
    return path


def numbers(*shape):
    return np.random.RandomState(0).randn(*shape)


@pytest.mark.parametrize('name, key, shape', [
    *(('a.npz', 'w', shape) for shape in [(2, 8, 4), (1, 8, 4), (8, 4), (3, 1, 4), (1, 4), (4,)]),
    *((name, key, (2, 8, 4)) for name, key in [('a.pt', 'w'), ('a.npy', None), ('a.pt', None), ('a.pth', 'latent'),
                                               ('a.npz', 'latent_code')])])
def test_w(tmp_path, name, key, shape):
    array = numbers(*shape)
    read = read_latents(write(tmp_path / name, array, key), UNEQUAL)
    expected = array.reshape((1,) * (3 - array.ndim) + shape).astype(np.float32)
    assert all(latent.z is None and latent.ws.dtype == torch.float32 for latent in read)
    assert np.array_equal(torch.cat([latent.ws for latent in read]), expected)
    plus = '+' if expected.shape[1] == 8 else ''
    assert str(read[0]) == f'w{plus} latents [1, {expected.shape[1]}, 4]'


@pytest.mark.parametrize('hook, name, key, count', [
    (EQUAL, 'a.npz', 'z', None), (EQUAL, 'a.npz', 'z', 1), (EQUAL, 'a.npz', 'z', 3), (UNEQUAL, 'a.pt', 'z', 3),
    (UNEQUAL, 'a.npy', None, 3), (UNEQUAL, 'a.pt', 'latents', 3)])
def test_z(tmp_path, hook, name, key, count):
    array = numbers(*[count] * (count is not None), hook.z_dim)
    read = read_latents(write(tmp_path / name, array, key), hook)
    assert all(latent.ws is None for latent in read) and str(read[0]) == f'z latents [1, {hook.z_dim}]'
    assert np.array_equal(torch.cat([latent.z for latent in read]), np.atleast_2d(array).astype(np.float32))


@pytest.mark.parametrize('key, shape', [(None, (4,)), (None, (1, 4)), *((key, (3, 4)) for key in (None, *UNSAID_KEYS))])
def test_what_may_be_z_or_w_is_refused(tmp_path, shape, key):
    with pytest.raises(DirectionsError, match=r'may be a z or a w: both have 4 .*np.savez\(.latents.npz., w=array\)'):
        read_latents(write(tmp_path / 'a.pt', numbers(*shape), key), EQUAL)


def test_half_precision_and_parameters(tmp_path):
    ws = torch.nn.Parameter(torch.randn(1, 8, 4).bfloat16())
    torch.save(ws, tmp_path / 'a.pt')
    assert torch.equal(read_latents(tmp_path / 'a.pt', EQUAL)[0].ws, ws.detach().float())


def test_the_projector_of_stylegan2_pytorch(tmp_path):
    one, layers = torch.randn(4), torch.randn(8, 4)
    torch.save({name: {'img': torch.zeros(1), 'latent': w, 'noise': [torch.zeros(1)]}
                for name, w in (('a.png', one), ('b.png', layers))}, tmp_path / 'a.pt')
    first, second = read_latents(tmp_path / 'a.pt', EQUAL)
    assert torch.equal(first.ws, one[None, None]) and torch.equal(second.ws, layers[None])
    note = make_sample(EQUAL, second, 'proj01')[1]
    assert note.startswith("w+ latents [1, 8, 4] of 'b.png'; the noise in the file is left aside")


NOISY = {f'synthesis.b{r}.{conv}.noise_const': r for r, conv in ((4, 'conv1'), (8, 'conv0'), (8, 'conv1'),
                                                                (16, 'conv0'), (16, 'conv1'))}


@pytest.fixture
def projected(tmp_path):
    """A generator, a file of the projector of stylegan2-pytorch, its ws and the picture that it is of."""
    G, ws = make_generator(img_resolution=16), torch.randn(1, 6, 8)
    own = {name: value.clone() for name, value in G.state_dict().items()}
    noises = [torch.randn(r, r) for r in NOISY.values()]
    with torch.no_grad():
        G.load_state_dict({**own, **dict(zip(NOISY, noises, strict=True))})
        picture = G.synthesis(ws)
        G.load_state_dict(own)
    content = {'img': torch.zeros(1), 'latent': ws[0], 'noise': [noise[None, None] for noise in noises]}
    torch.save({'a.png': content}, tmp_path / 'a.pt')
    torch.save({'a.png': content, 'b.png': content}, tmp_path / 'two.pt')
    return StyleGANHook(G, 'own'), tmp_path, ws, picture


def samples(hook, path):
    return sampling.make_samples(hook, None, path, None, 1.0, None)


def test_a_projected_picture_has_its_noise(projected, capsys):
    hook, folder, ws, picture = projected
    before = Viewpoint(hook, 'w+', hook.sample_from_ws(ws), 16).fingerprint()
    sample, = samples(hook, folder / 'a.pt')
    assert "of 'a.png', with the noise in the file" in capsys.readouterr().err
    viewpoint = Viewpoint(hook, 'w+', sample, 16)
    assert torch.equal(viewpoint.images(viewpoint.zero()), picture)
    assert viewpoint.fingerprint() != before  # so that nothing of another noise, which was kept, is taken for it


def test_of_several_with_noise_all_have_that_of_the_network(projected, capsys):
    hook, folder, ws, picture = projected
    own = hook.noise()
    assert len(samples(hook, folder / 'two.pt')) == 2
    difference = float((hook.synthesis(ws, None) - picture).square().mean().sqrt())
    said = capsys.readouterr().err
    assert difference > 0.01 and said.count(f'the picture is {difference:.2g} (root mean square') == 2
    assert all(torch.equal(now, before) for now, before in zip(hook.noise(), own, strict=True))


@pytest.mark.parametrize('noise, message', [
    (lambda own: own[:-1], 'does not fit own: expected [4, 4], [8, 8], [8, 8], [16, 16], [16, 16]'),
    (lambda own: [each.expand(2, 1, *each.shape) for each in own], 'noise of shapes [2, 1, 4, 4], '),
    (lambda own: [*own[:-1], own[-1] * torch.nan], 'the noise contains NaN or infinity')])
def test_noise_that_does_not_fit_is_left_aside(projected, noise, message):
    hook, folder, ws, _ = projected
    own = hook.noise()
    latent = dataclasses.replace(read_latents(folder / 'a.pt', hook)[0], noise=tuple(noise(own)))
    assert message in make_sample(hook, latent, 'proj00', is_alone=True)[1]
    assert all(torch.equal(now, before) for now, before in zip(hook.noise(), own, strict=True))


def test_noise_of_a_run_without_any_is_left_aside(projected, capsys):
    hook, folder, *_ = projected
    samples(StyleGANHook(hook.G, 'own', 'none'), folder / 'a.pt')
    assert 'the noise in the file is left aside: --noise-mode=none renders without noise' in capsys.readouterr().err


def safetensors(path, **arrays):
    """A file of that format, by its definition."""
    header, body = {'__metadata__': {'format': 'pt'}}, b''
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array, '<f4').tobytes()
        header[name] = {'dtype': 'F32', 'shape': list(array.shape), 'data_offsets': [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, 'little') + text + body)


def steps(count):
    return [numbers(8, 4).astype('f4') + step for step in range(count)]


SEVERAL = [numbers(8, 4).astype('f4') + step for step in range(3)]
WRITERS = {
    'ReStyle.npy': lambda path: np.save(path, {'a.png': steps(5), 'b.png': steps(3)}, allow_pickle=True),
    'objects.npy': lambda path: np.save(path, np.array([{'w': SEVERAL[0]}, {'w': SEVERAL[1]}], object),
                                        allow_pickle=True),
    'UPPER.PT': lambda path: torch.save([torch.from_numpy(w) for w in SEVERAL[:2]], path),
    'names.bin': lambda path: torch.save({f'{i}.png': torch.from_numpy(w) for i, w in enumerate(SEVERAL[:2])}, path),
    'steps.pt': lambda path: torch.save({'a': [torch.zeros(8, 4), torch.from_numpy(SEVERAL[0])],
                                         'b': [torch.from_numpy(SEVERAL[1])]}, path),
    'dlatents.npz': lambda path: np.savez(path, dlatents=np.stack(SEVERAL[:2])),
    'w.safetensors': lambda path: safetensors(path, w=np.stack(SEVERAL[:2])),
    'w.pkl': lambda path: path.write_bytes(pickle.dumps({'w': np.stack(SEVERAL[:2]), 'args': Hostile()})),
    'no_ending': lambda path: torch.save({'w': torch.from_numpy(np.stack(SEVERAL[:2])).half().double()}, path),
}


@pytest.mark.parametrize('name', WRITERS)
def test_whoever_wrote_them(tmp_path, name):
    WRITERS[name](tmp_path / name)
    read = read_latents(tmp_path / name, EQUAL)
    expected = [steps(5)[-1], steps(3)[-1]] if name == 'ReStyle.npy' else SEVERAL[:2]
    assert len(read) == 2 and all(latent.ws.shape == (1, 8, 4) for latent in read)
    for latent, array in zip(read, expected, strict=True):
        assert np.allclose(latent.ws[0], array, atol=2e-3)
    said = {'ReStyle.npy': "of 'a.png', the last of 5 steps", 'names.bin': "of '0.png'",
            'steps.pt': "of 'a', the last of 2 steps"}.get(name, '')
    assert str(read[0]) == f'w+ latents [1, 8, 4] {said}'.rstrip()


def test_object_arrays_that_are_no_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save('a.npy', np.array([Hostile()], object), allow_pickle=True)
    with pytest.raises(DirectionsError, match="a.npy: its objects are no data: it refers to '(posix|nt).mkdir'"):
        read_latents('a.npy', EQUAL)
    content = (tmp_path / 'a.npy').read_bytes()
    for end in range(0, len(content), 7):
        (tmp_path / 'b.npy').write_bytes(content[:end])
        with pytest.raises(DirectionsError):
            read_latents('b.npy', EQUAL)
    assert not (tmp_path / 'executed').exists()


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    np.savez(tmp_path / 'a.npz', w=numbers(1, 8, 4))
    assert len(read_latents('~/a.npz', EQUAL)) == 1


@pytest.mark.parametrize('arrays, match', [
    (dict(q=np.zeros(3), r=np.zeros(3)), "a.npz: no array 'w' or 'z' among q, r: expected one of w, z, s, ws,"),
    (dict(latent=np.zeros(4), latent_in=np.zeros(4)), "no array 'w' or 'z' among latent, latent_in"),
    (dict(w=numbers(1, 2, 3, 4)), r"'w' of shape \[1, 2, 3, 4\] is no latent"),
    (dict(w=np.zeros((1, 8, 4), int)), r"'w' is int64 \[1, 8, 4\]: expected floating-point"),
    (dict(w=np.full((1, 8, 4), np.inf)), 'expected finite numbers'),
    (dict(w=np.full((1, 8, 4), 1e300)), 'expected finite numbers'),
    (dict(w=np.zeros((0, 8, 4))), 'is no latent'), (dict(w=np.array([{}], object)), 'Python objects'),
    (dict(w=numbers(1, 18, 4)), r'\[1, 18, 4\] do not fit tiny: expected w\+ \[1, 8, 4\] or w \[1, 4\]'),
    (dict(w=numbers(1, 8, 5)), 'do not fit tiny'), (dict(w=numbers(5)), 'do not fit tiny'),
    (dict(z=numbers(1, 5)), r'z of shape \[1, 5\] does not fit tiny: expected \[1, 4\]'),
    (dict(z=numbers(1, 8, 4)), 'does not fit tiny'),
    (dict(latent=numbers(1, 5)), r'\[1, 5\] do not fit tiny'),
    (dict(w=numbers(2, 8, 4), z=numbers(1, 4)), "'w' has 2 samples and 'z' has 1")])
def test_refused_arrays(tmp_path, arrays, match):
    np.savez(tmp_path / 'a.npz', **arrays)
    with pytest.raises(DirectionsError, match=match):
        read_latents(tmp_path / 'a.npz', EQUAL)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ('executed',)


def test_refused_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DirectionsError, match='a.npz does not exist'):
        read_latents('a.npz', EQUAL)
    for content, message in ((b'no archive', "a text that begins with 'no archive'"), (b'<html>', 'a web page'),
                             (b'\x89PNG\r\n\x1a\n', 'a picture.*expected latents'), (b'', 'empty'),
                             (b'PK\3\4' + bytes(22) + b'\5\0\0\0w.npy', 'damaged or cut off')):
        (tmp_path / 'a.npz').write_bytes(content)
        with pytest.raises(DirectionsError, match=f'a.npz.*{message}'):
            read_latents('a.npz', EQUAL)
    with pytest.raises(DirectionsError, match='a.pt does not exist'):
        read_latents('a.pt', EQUAL)
    for legacy in (False, True):
        torch.save({'w': torch.zeros(1, 8, 4), 'x': Hostile()}, 'a.pt', _use_new_zipfile_serialization=not legacy)
        assert read_latents('a.pt', EQUAL)[0].ws.shape == (1, 8, 4)  # what stands beside them stays inert
        torch.save({'w': Hostile()}, 'a.pt', _use_new_zipfile_serialization=not legacy)
        with pytest.raises(CheckpointError, match="a.pt: it refers to '(posix|nt).mkdir' where data is expected"):
            read_latents('a.pt', EQUAL)
    torch.save({}, 'b.pt')
    with pytest.raises(DirectionsError, match="b.pt: no array 'w' or 'z' among none"):
        read_latents('b.pt', EQUAL)
    torch.save('text', 'b.pt')
    with pytest.raises(DirectionsError, match="b.pt: 'array' is str: expected floating-point"):
        read_latents('b.pt', EQUAL)
    with zipfile.ZipFile('c.npz', 'w') as archive:
        archive.writestr('w.npy', b'\x93NUMPY\x01\x00')
    with pytest.raises(DirectionsError, match='c.npz'):
        read_latents('c.npz', EQUAL)
    assert not (tmp_path / 'executed').exists()


def invoke(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def network(monkeypatch, tmp_path):
    """`--network=own`, a conditional StyleGAN2 of ours, and directions in z."""
    monkeypatch.chdir(tmp_path)
    hook = StyleGANHook(make_generator(img_resolution=16, c_dim=3), 'own')
    monkeypatch.setitem(opening.NAMED_NETWORKS, 'own', lambda rest, device: hook)
    invoke('factorize', '--network=own', '--seeds=1', '--class=2', '--trunc=0.7', '--space=z', '--region=mouth',
           '--num-directions=1', '--other-seeds=0', '--outdir=f')
    return hook


def edit(*arguments, code=0):
    return invoke('edit', '--network=own', '--directions=f/seed0001-mouth.npz', *arguments, code=code)


def test_z_is_mapped_with_the_class_and_truncation_of_the_command(network):
    sample = network.sample(1, 0.7, 3, network.class_vector('2'))
    np.savez('z.npz', z=sample.latents['z'].numpy())
    common = ('--projected-w=z.npz', '--steps=1', '--strength=0', '--trunc=0.7', '--trunc-cutoff=3', '--outdir=e')
    assert 'proj00: z latents [1, 8], mapped to w with truncation 0.7' in edit(*common, '--class=2')
    saved = np.load('e/proj00-00.npz')
    assert np.array_equal(saved['w'], sample.latents['ws']) and np.array_equal(saved['z'], sample.latents['z'])
    assert 'as f/seed0001-mouth.npz says: --class=2' in edit(*common)
    assert np.array_equal(np.load('e/proj00-00.npz')['w'], saved['w'])


def test_edited_latents_are_read_again(network):
    edit('--seeds=1', '--class=2', '--trunc=0.7', '--steps=1', '--strength=2', '--outdir=e')
    again = ('--projected-w=e/seed0001-00.npz', '--steps=1', '--strength=0', '--outdir=p')
    out = edit(*again, '--class=2', '--trunc=0.7')
    assert 'proj00: w+ latents [1, 6, 8], and the z that they are mapped from' in out
    assert (tmp := np.load('e/seed0001-00.npz'))['w'].shape == (1, 6, 8)
    assert np.allclose(np.load('p/proj00-00.npz')['w'], tmp['w'], atol=1e-5)  # float32, mapped once more
    assert 'says: --trunc=0.7 --class=2' in edit(*again)
    out = edit(*again, '--class=1', code=1)
    assert 'the z beside them is left aside' in out and "cannot be edited in space 'z'" in out
    out = edit(*again, '--class=2', '--trunc=0.5', code=2)
    assert 'the z beside them is left aside' in out and '--trunc is for --seeds and for z' in out


def test_names_of_arrays_cannot_write_lines_of_their_own(tmp_path):
    np.savez(tmp_path / 'x.npz', **{'a\nError: all is well\x1b[2J': np.zeros(4)})
    with pytest.raises(DirectionsError, match="no array 'w' or 'z'") as caught:
        read_latents(tmp_path / 'x.npz', EQUAL)
    assert r'a\nError: all is well\x1b[2J' in str(caught.value) and '\n' not in str(caught.value)


def test_styles_that_edit_wrote_are_taken_again(tiny, tmp_path):
    def run(*arguments):
        result = CliRunner().invoke(main, list(map(str, arguments)))
        assert result.exit_code == 0, result.output
        return ' '.join(result.output.split())

    common = '--network=tiny', '--region=mouth', '--num-directions=1', '--other-seeds=9'
    run('factorize', *common, '--seeds=0,1', f'--outdir={tmp_path}/pool')
    edit = '--network=tiny', f'--directions={tmp_path}/pool/pooled-mouth.npz', '--straight'
    run('edit', *edit, '--seeds=5', '--strength=1,1', '--steps=1', f'--outdir={tmp_path}/once')
    styles = np.load(tmp_path / 'once' / 'seed0005-00.npz')['s']
    said = run('edit', *edit, f'--projected-w={tmp_path}/once/seed0005-00.npz', '--strength=1,1', '--steps=1',
               f'--outdir={tmp_path}/twice')
    assert 'proj00: styles [1, 32]' in said
    once = np.load(tmp_path / 'twice' / 'proj00-00.npz')['s'] - styles
    before = TinyHook().space('s').latent(TinyHook().sample(5)).numpy()
    np.testing.assert_allclose(once, styles - before, atol=1e-5)
    run('factorize', *common, f'--projected-w={tmp_path}/once/seed0005-00.npz', f'--outdir={tmp_path}/own')
    directions = np.load(tmp_path / 'own' / 'proj00-mouth.npz')
    assert directions['directions'].shape == (1, 32) and np.array_equal(directions['latent'], styles)


@pytest.mark.parametrize('shape', [(1, 31), (2, 2, 32), (31,)])
def test_styles_of_another_network(tmp_path, shape):
    np.savez(tmp_path / 'a.npz', s=np.zeros(shape, np.float32))
    with pytest.raises(DirectionsError, match=r'does not fit tiny: expected \[1, 32\]'):
        read_latents(tmp_path / 'a.npz', TinyHook())


def test_several_styles_are_several_samples(tmp_path):
    array = np.random.RandomState(0).randn(3, 32).astype(np.float32)
    np.savez(tmp_path / 'a.npz', s=array)
    found = [make_sample(TinyHook(), latent, 'proj00')[0] for latent in read_latents(tmp_path / 'a.npz', TinyHook())]
    assert np.array_equal(torch.cat([sample.latents['s'] for sample in found]).numpy(), array)
