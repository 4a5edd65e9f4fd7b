"""Networks that other packages add: a package of a few lines, installed as pip would leave it."""

from __future__ import annotations

import importlib
import sys
import textwrap

import pytest
import torch

from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.foreign import GROUP, plugin_names
from resefa_plugin.hooks.opening import NAMED_NETWORKS, open_network

PACKAGE = """
    from resefa_plugin import FunctionHook
    from resefa_plugin.errors import CheckpointError

    def open_linear(rest, device):
        z_dim = int(rest or 4)
        return FunctionHook(lambda z: z.sum(1)[:, None, None, None].expand(-1, 3, 8, 8), z_dim, name=f'linear:{rest}',
                            device=device)

    def picky(rest, device):
        raise CheckpointError('--network=picky: there is no such size')

    def failing(rest, device):
        raise KeyError('weights')

    def nothing(rest, device):
        return None

    number = 3
"""
ENTRIES = """
    [{group}]
    linear = toy_networks:open_linear
    picky = toy_networks:picky
    failing = toy_networks:failing
    nothing = toy_networks:nothing
    number = toy_networks:number
    absent = toy_networks:no_such_function
    broken = toy_networks_broken:f
    quits = toy_networks_quits:f
    mobilestylegan-ffhq = toy_networks:failing
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a package: its modules and the metadata by which Python finds its entry points."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in ('toy_networks', 'toy_networks_broken', 'toy_networks_quits'):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def write(name='toy-networks', entries=ENTRIES, **modules):
        for module, source in modules.items():
            (tmp_path / f'{module}.py').write_text(textwrap.dedent(source))
        info = tmp_path / f'{name.replace("-", "_")}-1.5.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n')
        (info / 'entry_points.txt').write_text(textwrap.dedent(entries).format(group=GROUP))
        importlib.invalidate_caches()

    return write


@pytest.fixture
def plugins(install):
    install(toy_networks=PACKAGE, toy_networks_broken='1 / 0', toy_networks_quits='raise SystemExit("bye")')


def test_names_are_known_without_running_their_code(plugins):
    assert {'linear', 'broken', 'quits'} <= set(plugin_names()) and 'toy_networks' not in sys.modules


@pytest.mark.parametrize('network, z_dim', [('linear', 4), ('linear:7', 7)])
def test_opened_by_name(plugins, network, z_dim):
    hook = open_network(network)
    assert hook.z_dim == z_dim and hook.image_shape == (3, 8, 8) and hook.device == torch.device('cpu')


@pytest.mark.parametrize('network, message', [
    ('picky', '^--network=picky: there is no such size$'),  # its own error, as it is
    ('failing', r"--network=failing: plugin 'toy_networks:failing' of toy-networks 1.5 failed: KeyError: 'weights'"),
    ('nothing', 'of toy-networks 1.5 returned NoneType, expected a GeneratorHook'),
    ('number', r'of toy-networks 1.5 is int; expected a function of \(rest, device\)'),
    ('absent', "of toy-networks 1.5 cannot be loaded: AttributeError: .*no_such_function.*; update or uninstall it"),
    ('broken', "'toy_networks_broken:f' of toy-networks 1.5 cannot be loaded: ZeroDivisionError"),
    ('quits', 'of toy-networks 1.5 cannot be loaded: SystemExit: bye')])
def test_a_broken_plugin_is_named_and_breaks_nothing_else(plugins, network, message):
    with pytest.raises(CheckpointError, match=message):
        open_network(network)
    assert open_network('linear').z_dim == 4


def test_listed_among_the_networks(plugins):
    names = 'broken, .*linear, mobilestylegan-ffhq, '
    with pytest.raises(CheckpointError, match=f'--network=liner: no such network; .* out of .*{names}'):
        open_network('liner')


def test_a_name_of_ours_is_not_given_away(plugins, monkeypatch):
    monkeypatch.setitem(NAMED_NETWORKS, 'mobilestylegan-ffhq', lambda rest, device: 'ours')
    assert open_network('mobilestylegan-ffhq') == 'ours'


@pytest.mark.parametrize('flag, value', [('repo', 'x'), ('trust_pickle', True), ('noise_mode', 'none')])
def test_flags_that_a_network_does_not_take(plugins, flag, value):
    for network in ('linear:5', 'mobilestylegan-ffhq'):
        with pytest.raises(CheckpointError, match=f'takes no --{flag.replace("_", "-")}; leave it out'):
            open_network(network, **{flag: value})


def test_flags_that_a_network_takes(monkeypatch):
    monkeypatch.setitem(NAMED_NETWORKS, 'official', lambda rest, device, repo=None: (rest, device, repo))
    assert open_network('official:folder', 'cpu', repo='checkout') == ('folder', 'cpu', 'checkout')


def test_two_packages_with_one_name(plugins, install):
    install('other-networks', '[{group}]\nlinear = toy_networks:open_linear')
    with pytest.raises(CheckpointError, match='several packages register this name: other-networks 1.5, '
                                              'toy-networks 1.5; uninstall all but one'):
        open_network('linear')
    with pytest.raises(CheckpointError, match='there is no such size'):
        open_network('picky')


def test_the_demo_generator_takes_nothing_after_its_name():
    with pytest.raises(CheckpointError, match="mobilestylegan-ffhq is one network: leave out ':256'"):
        open_network('mobilestylegan-ffhq:256')
