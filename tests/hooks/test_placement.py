"""`--translate` and `--rotate`: pictures of StyleGAN3 and StyleGAN-XL put where the host's gen_images.py puts them."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from resefa_plugin.errors import ResefaError
from resefa_plugin.hooks.opening import open_network
from resefa_plugin.hooks.stylegan import inverse_placement
from resefa_plugin.report.pictures import to_uint8
from resefa_plugin.scripts.main import main
from tests.helpers.network_files import SIZES, SMALL3, forge, make_generator, write_network
from tests.helpers.pickle_forge import run_upstream
from tests.helpers.stylegan_xl_files import forge_xl
from tests.helpers.toys import TinyHook
from tests.third_party.test_nvlabs_checkout import write_checkout

PLACEMENTS = [((0, 0), 0), ((0.25, -0.5), 0), ((0, 0), 30), ((0.1, 0.2), -75)]


def plain(translate, rotate):
    """A turn by the angle, then a translation, inverted by numpy."""
    angle = rotate / 360 * 2 * math.pi
    turn = np.array([[math.cos(angle), math.sin(angle), 0], [-math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    shift = np.array([[1, 0, translate[0]], [0, 1, translate[1]], [0, 0, 1]])
    return np.linalg.inv(shift @ turn)


@pytest.mark.parametrize('translate, rotate', PLACEMENTS)
def test_the_matrix_is_the_inverse_of_a_turn_and_a_translation(translate, rotate):
    np.testing.assert_allclose(inverse_placement(translate, rotate), plain(translate, rotate), atol=1e-14)


@pytest.mark.upstream
def test_the_matrix_is_that_of_gen_images(tmp_path):
    out = tmp_path / 'matrices.npy'
    run_upstream('stylegan3', 'import json, numpy as np\n'
                 'from gen_images import make_transform\n'
                 'np.save(sys.argv[1], [np.linalg.inv(make_transform(*p)) for p in json.loads(sys.argv[2])])\n',
                 out, json.dumps(PLACEMENTS))
    for placement, official in zip(PLACEMENTS, np.load(out), strict=True):
        np.testing.assert_allclose(inverse_placement(*placement), official, atol=1e-14)


def stylegan3(folder):
    return open_network(forge(folder, 'stylegan3')[0])


def of_a_checkout(folder):
    return open_network(forge(folder, 'stylegan3')[0], repo=write_checkout(folder / 'sg3', 'stylegan3'))


def stylegan_xl(folder):
    return open_network(forge_xl(folder, [[32, 5]], 0)[0])


@pytest.mark.parametrize('opened', [stylegan3, of_a_checkout, stylegan_xl])
def test_features_move_and_turn(tmp_path, opened):
    hook = opened(tmp_path)
    layer = hook.G.synthesis.input
    style = hook.styles(hook.sample(0).latents['ws'])[0]
    still, pixel = layer(style), 1 / layer.band.rate
    turned = still.rot90(1, (2, 3))

    def check(found, expected):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)  # float32

    hook.place((3 * pixel, 0), 0)
    check(layer(style)[..., 3:], still[..., :-3])
    hook.place((0, 2 * pixel), 0)
    check(layer(style)[..., 2:, :], still[..., :-2, :])
    hook.place((0, 0), 90)
    check(layer(style), turned)
    hook.place((3 * pixel, 0), 90)  # turned first
    check(layer(style)[..., 3:], turned[..., :-3])


def test_a_placement_takes_the_place_of_that_in_the_file(tmp_path):
    state = make_generator('stylegan3').state_dict()
    transform = torch.tensor(plain((0.3, 0.1), 20), dtype=torch.float32)
    state['synthesis.input.transform'] = transform
    hook = open_network(write_network(tmp_path / 'net.pkl', state, **SIZES, **SMALL3))
    assert torch.equal(hook.G.synthesis.input.transform, transform)
    hook.place((0, 0), 0)
    assert torch.equal(hook.G.synthesis.input.transform, torch.eye(3))


def test_others_cannot_be_placed(tmp_path):
    for hook in (open_network(forge(tmp_path)[0]), TinyHook()):
        with pytest.raises(ResefaError, match='cannot place its pictures: that takes a network of StyleGAN3'):
            hook.place((0, 0), 0)


# The commands

def invoke(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.mark.parametrize('flags, translate, rotate', [
    (['--translate=0.25,0'], (0.25, 0), 0), (['--rotate=-30'], (0, 0), -30),
    (['--translate=0.1,-0.1', '--rotate=45'], (0.1, -0.1), 45)])
def test_commands_place_pictures(tmp_path, flags, translate, rotate):
    path, G = forge(tmp_path, 'stylegan3')
    common = [f'--network={path}', '--seeds=0', *flags]
    result = invoke('factorize', *common, '--region=0.2,0.2,0.5,0.5', '--num-directions=1',
                    f'--outdir={tmp_path / "d"}')
    assert result.exit_code == 0, result.output
    file, = (tmp_path / 'd').glob('*.npz')
    result = invoke('edit', *common, f'--directions={file}', '--strength=0,0', '--steps=1',
                    f'--outdir={tmp_path / "e"}')
    assert result.exit_code == 0, result.output
    recorded = json.loads((tmp_path / 'e' / 'options.json').read_text())['options']
    assert recorded['translate'] == (list(translate) if '--translate' in flags[0] else None)
    G.synthesis.input.transform.copy_(torch.from_numpy(plain(translate, rotate)))
    z = torch.from_numpy(np.random.RandomState(0).randn(1, G.z_dim)).float()
    expected = to_uint8(G(z, None))[0].astype(int)
    found = np.asarray(Image.open(tmp_path / 'e' / 'seed0000-00.png')).astype(int)
    assert np.abs(found - expected).max() <= 1  # rounding
    G.synthesis.input.transform.copy_(torch.eye(3))
    assert np.abs(found - to_uint8(G(z, None))[0].astype(int)).max() > 10


def test_the_studio_and_the_evaluation_place_pictures(tmp_path, monkeypatch):
    path, _ = forge(tmp_path, 'stylegan3')
    seen = []

    class Seen(Exception):
        pass

    def see(hook, *arguments, **more):
        seen.append((hook.G.synthesis.input.transform, arguments))
        raise Seen

    monkeypatch.setattr('resefa_plugin.scripts.studio.Studio', see)
    monkeypatch.setattr('resefa_plugin.scripts.evaluate.Comparison', see)
    assert isinstance(invoke('studio', f'--network={path}', '--translate=0.5,0', '--rotate=10').exception, Seen)
    assert seen[0][1][0][-2:] == ['--translate=0.5,0', '--rotate=10']  # for the commands that it shows
    invoked = invoke('evaluate', f'--network={path}', '--translate=0.5,0', '--rotate=10', '--seeds=0',
                     '--region=0,0,1,0.5', '--methods=random', '--metrics=mse', f'--outdir={tmp_path / "v"}')
    assert isinstance(invoked.exception, Seen), invoked.output
    for transform, _ in seen:
        np.testing.assert_allclose(transform, plain((0.5, 0), 10), atol=1e-6)


@pytest.mark.parametrize('network, flags, message', [
    ('stylegan2', ['--translate=0,0'], 'Error: --translate: .* cannot place its pictures: that takes a network of'),
    ('stylegan2', ['--rotate=0'], 'Error: --rotate: .* cannot place'),
    ('stylegan3', ['--translate=1'], "'1' is not X,Y: expected two numbers, such as 0.3,0"),
    ('stylegan3', ['--translate=1,inf'], "'1,inf' is not X,Y"),
    ('stylegan3', ['--rotate=right'], "'right' is not an angle: expected a number of degrees, such as 45"),
    ('stylegan3', ['--rotate=nan'], "'nan' is not an angle")])
def test_what_cannot_be_is_a_usage_error(tmp_path, network, flags, message):
    path, _ = forge(tmp_path, network)
    result = invoke('factorize', f'--network={path}', '--seeds=0', '--region=0,0,1,0.5', *flags,
                    f'--outdir={tmp_path / "d"}')
    assert result.exit_code == 2
    words = ' '.join(result.output.split())
    assert re.search(message, words), result.output
