"""`--hook module:function`: a user's own generator in four lines, and each way in which they can go wrong."""

from __future__ import annotations

import itertools
import sys
import textwrap

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from resefa_plugin import DirectionSet
from resefa_plugin.errors import CheckpointError, ResefaError
from resefa_plugin.hooks.foreign import open_function
from resefa_plugin.scripts.main import main
from tests.helpers.toys import images_at

GAN = """
    import torch
    from resefa_plugin import FunctionHook

    torch.manual_seed(0)
    G = torch.nn.Sequential(torch.nn.Linear(6, 3 * 16 * 16), torch.nn.Tanh(), torch.nn.Unflatten(1, (3, 16, 16)))

    def my_hook(device):
        return FunctionHook(G.to(device), z_dim=6, device=device)
"""
_numbers = itertools.count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module into the current folder, under a name that no other test has imported; returns the name."""
    monkeypatch.chdir(tmp_path)

    def write(source):
        name = f'my_gan_{next(_numbers)}'
        (tmp_path / f'{name}.py').write_text(textwrap.dedent(source))
        return name

    return write


def resefa(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code and 'Traceback' not in result.output, result.output
    return ' '.join(result.output.split())


def test_opened_from_the_current_folder(module, tmp_path):
    name, path = module(GAN), list(sys.path)
    hook = open_function(f'{name}:my_hook')
    assert hook.name == f'{name}:my_hook' and hook.image_shape == (3, 16, 16) and hook.z_dim == 6
    assert hook.implementation == f'my_hook in {tmp_path / name}.py'
    z = hook.sample(3).latents['z']
    assert torch.equal(images_at(hook.space('z'), hook.sample(3), torch.zeros(1, 6)), sys.modules[name].G(z))
    assert sys.path == path


def test_the_device_is_handed_over(module):
    name = module(GAN + '\n    def other(device):\n        raise KeyError(device)\n')
    with pytest.raises(CheckpointError, match="KeyError: 'somewhere'"):
        open_function(f'{name}:other', 'somewhere')


def test_in_the_commands(module, tmp_path):
    spec = f'{module(GAN)}:my_hook'
    resefa('factorize', f'--hook={spec}', '--region=box=4,4,8,8', '--num-directions=2', '--device=cpu', '--outdir=out')
    directions = DirectionSet.load(tmp_path / 'out' / 'seed0000-box.npz')
    assert directions.metadata.network == spec and directions.metadata.space == 'z'
    assert directions.directions.shape == (2, 6)
    resefa('edit', f'--hook={spec}', '--directions=out/seed0000-box.npz', '--steps=2', '--device=cpu', '--outdir=edits')
    assert np.load(tmp_path / 'edits' / 'seed0000-01.npz')['z'].shape == (1, 6)
    assert 'pictures 16 x 16, 3 channels' in resefa('info', f'--hook={spec}')
    resefa('factorize', f'--hook={spec}', '--region=box=4,4,8,8', '--preview', '--outdir=preview')
    assert (tmp_path / 'preview' / 'seed0000-box-preview.png').exists()


@pytest.mark.parametrize('spec, message', [
    ('my_gan', 'expected MODULE:FUNCTION, such as my_gan:my_hook for my_hook in my_gan.py'),
    (':f', 'expected MODULE:FUNCTION'), ('a b:f', 'expected MODULE:FUNCTION'),
    ('m:f?z_dim=3', 'expected MODULE:FUNCTION'),
    ('no_such_module:f',
     'no module no_such_module in .* or among the installed packages; name it as in an import, without .py'),
    ('os.no_such_part:f', 'no module os.no_such_part in')])
def test_no_such_module(module, spec, message):
    path = list(sys.path)
    with pytest.raises(CheckpointError, match=message):
        open_function(spec)
    assert sys.path == path


@pytest.mark.parametrize('source, message', [
    ('def other(device): pass', r'f does not exist in .*my_gan_\d+.py; its functions are other'),
    ('from os.path import join', 'f does not exist in .*; its functions are none'),
    ('f = 3', 'f is not a function in .*; its functions are none'),
    ('import nothing_of_the_kind',
     r"cannot be imported: ModuleNotFoundError: .*nothing_of_the_kind.* \(my_gan_\d+.py, line 1\)"),
    ('f =', r'cannot be imported: SyntaxError: .*\(my_gan_\d+.py, line 1\)'),
    ('raise SystemExit(3)', 'cannot be imported: SystemExit: 3'),
    ('def f(): pass', 'failed: TypeError: .*f.* takes 0 positional arguments'),
    ('import json\ndef f(device):\n    json.loads("{")', r'failed: JSONDecodeError: .* \(my_gan_\d+.py, line 3\)'),
    ('def f(device): pass',
     r'returned NoneType, expected a GeneratorHook; wrap a function f .* as FunctionHook\(f, z_dim=128'),
    ('def f(device): return lambda z: z', 'returned function, expected a GeneratorHook'),
    ('from resefa_plugin import FunctionHook\ndef f(device): return FunctionHook(lambda z: z)',
     "failed: TypeError: .*'z_dim'"),
])
def test_a_function_that_does_not_serve(module, source, message):
    with pytest.raises(CheckpointError, match=message):
        open_function(f'{module(source)}:f')


def test_pictures_of_another_shape(module):
    name = module('from resefa_plugin import FunctionHook\ndef f(device): return FunctionHook(lambda z: z, z_dim=4)')
    with pytest.raises(ResefaError, match=r'must return pictures \[1, C, H, W\], got \[1, 4\]'):
        open_function(f'{name}:f')


def test_flags_that_do_not_go_with_it(module):
    spec = f'{module(GAN)}:my_hook'
    factorize = ('factorize', '--region=box=4,4,8,8', '--outdir=out')
    one = 'name the generator with --network=NETWORK or with --hook=MODULE:FUNCTION, with one of them'
    assert one in resefa(*factorize, code=2) and one in resefa(*factorize, f'--hook={spec}', '--network=x.pkl', code=2)
    assert 'name a network or a file' in resefa('info', code=2)
    assert one in resefa('info', f'--hook={spec}', 'x.npz', code=2)
    for flag in ('--repo=.', '--trust-pickle', '--noise-mode=none'):
        assert 'leave them out with --hook' in resefa(*factorize, f'--hook={spec}', flag, code=2)
    assert '--hook=nowhere:f: no module nowhere' in resefa(*factorize, '--hook=nowhere:f', code=1)


def test_the_probe_sees_a_network_in_training_mode(module):
    spec = f'{module(GAN.replace("torch.nn.Tanh()", "torch.nn.Tanh(), torch.nn.Dropout()"))}:my_hook'
    output = resefa('factorize', f'--hook={spec}', '--region=box=4,4,8,8', '--outdir=out', code=1)
    assert 'two calls with the same latent differ' in output and 'call .eval()' in output
