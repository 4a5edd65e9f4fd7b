"""Runs the patches on the networks of an official checkout and prints what it measured as JSON.

A script of its own, because both official checkouts call their packages `torch_utils` and `training`:
`python -m tests.patches.upstream_checks CHECKOUT`. The bounds on what it prints are in test_patches_upstream.py.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import json
import pickle
import sys
import types
import warnings

import torch

from resefa_plugin.patches.pkg_resources_shim import shim_pkg_resources
from resefa_plugin.patches.registry import apply_patches
from resefa_plugin.patches.support.upstream import find_upstream
from tests.helpers.plugin_emulation import Plugins

SMALL = dict(z_dim=16, w_dim=16, img_channels=3)
SG3 = dict(SMALL, c_dim=0, img_resolution=32, channel_base=256, channel_max=8, num_layers=6, margin_size=4)
NETWORKS = {
    'stylegan2-ada-pytorch': {
        'skip': ('networks', dict(SMALL, c_dim=0, img_resolution=32, synthesis_kwargs=dict(
            channel_base=256, conv_clamp=0.5))),
        'resnet': ('networks', dict(SMALL, c_dim=0, img_resolution=64, synthesis_kwargs=dict(
            channel_base=256, architecture='resnet'))),
        'conditional': ('networks', dict(SMALL, c_dim=3, img_resolution=32, synthesis_kwargs=dict(channel_base=256))),
        'channels_last': ('networks', dict(SMALL, c_dim=0, img_resolution=32, synthesis_kwargs=dict(
            channel_base=256, num_fp16_res=2, fp16_channels_last=True))),
    },
    'stylegan3': {
        'stylegan2': ('networks_stylegan2', dict(SMALL, c_dim=0, img_resolution=32, channel_base=256)),
        't': ('networks_stylegan3', SG3),
        'r': ('networks_stylegan3', dict(SG3, conv_kernel=1, use_radial_filters=True, conv_clamp=1)),
    },
}


def build(module, options):
    """An official generator with weights of the scale that training gives, none left at the zeros of its start."""
    torch.manual_seed(0)
    G = module.Generator(**options).eval().requires_grad_(False)
    for name, parameter in G.named_parameters():
        if name.endswith('bias') or name.endswith('noise_strength'):
            parameter.add_(torch.randn_like(parameter) * 0.1)
        elif '.input.affine' in name:
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return G


def synthesis(G):
    return lambda ws: G.synthesis(ws, noise_mode='const', force_fp32=True)


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


def columns(f, x, ts):
    return torch.vmap(lambda t: torch.func.jvp(f, (x,), (t,))[1])(ts)


@contextlib.contextmanager
def in_float64(G, module):
    """Upstream converts to `torch.float32` by name; in here that name means float64 to the network module."""
    proxy = types.SimpleNamespace(**{name: getattr(torch, name) for name in dir(torch)})
    proxy.float32 = torch.float64
    filters = {name: buffer.clone() for name, buffer in G.named_buffers() if name.endswith('filter')}
    state = {name: value.clone() for name, value in G.state_dict().items()}
    G.double()
    for name, buffer in filters.items():
        owner, _, leaf = name.rpartition('.')
        setattr(G.get_submodule(owner), leaf, buffer)
    module.torch = proxy
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)
        module.torch = torch
        G.float()
        G.load_state_dict(state)


def identities(G):
    """Everything that a patch might leave changed, by identity."""
    upstream = find_upstream(G)
    seen = {}
    for module in (*upstream.ops.values(), *upstream.networks, torch.utils.cpp_extension):
        seen.update({(module.__name__, name): id(value) for name, value in vars(module).items() if callable(value)})
    for module in G.modules():
        for cls in type(module).__mro__:
            seen[cls.__module__, cls.__qualname__, 'forward'] = id(vars(cls).get('forward'))
    for name, tensor in G.state_dict().items():
        seen[name] = (tensor.data_ptr(), tensor.stride())
    return seen


def measure(G, module, c):
    """Figures of one network, by name; see test_patches_upstream.py for what each is."""
    torch.manual_seed(1)
    out = {}
    f = synthesis(G)
    ws = G.mapping(torch.randn(1, 16), c)
    ts = torch.randn(3, *ws.shape)
    before, image = identities(G), f(ws)
    with apply_patches(G) as applied:
        out['applied'] = applied
        with apply_patches(G):
            out['patched'] = relative(f(ws), image)
        J = columns(f, ws, ts)
        u = torch.randn_like(J)
        pulled = torch.vmap(torch.func.vjp(f, ws)[1])(u)[0]
        inner = (u.double() * J.double()).sum()
        out['adjoint'] = ((inner - (pulled.double() * ts.double()).sum()).abs() / (u.norm() * J.norm())).item()
        out['batched_primals'] = relative(torch.vmap(f)(ws + 0.1 * ts), f((ws + 0.1 * ts).flatten(0, 1))[:, None])
        z, z_t = torch.randn(2, 1, 16)
        w_t = torch.func.jvp(lambda z: G.mapping(z, c, truncation_psi=0.7), (z,), (z_t,))[1]
        from_z = columns(lambda z: f(G.mapping(z, c, truncation_psi=0.7)), z, z_t[None])
        out['chain_rule'] = relative(from_z, columns(f, G.mapping(z, c, truncation_psi=0.7), w_t[None]))
    out['restored'] = identities(G) == before
    out['bit_identical'] = torch.equal(f(ws), image)

    with in_float64(G, module):
        ws, ts, step = ws.double(), ts.double(), 1e-6
        unpatched = f(ws)
        with apply_patches(G):
            out['patched64'] = relative(f(ws), unpatched)
            difference = torch.stack([(f(ws + step * t) - f(ws - step * t)) / (2 * step) for t in ts])
            out['difference'] = relative(columns(f, ws, ts), difference)

            def gradient(ws):
                return torch.func.grad(lambda ws: f(ws).square().sum())(ws)
            H = columns(gradient, ws, ts)
            out['hessian'] = (((ts[0] * H[1]).sum() - (ts[1] * H[0]).sum()).abs() / (ts[0].norm() * H[1].norm())).item()
            around = (gradient(ws + step * ts[0]) - gradient(ws - step * ts[0])) / (2 * step)
            out['hessian_difference'] = relative(H[0], around)
    return out


@contextlib.contextmanager
def emulated(ops, plugin):
    """Sends the official wrappers down their CUDA branch on the CPU, to the emulated plugins."""
    changed = []
    for name, op in ops.items():
        if hasattr(op, '_plugin'):
            source = inspect.getsource(getattr(op, name))
            assert "x.device.type == 'cuda'" in source
            changed += [(op, key, getattr(op, key)) for key in (name, '_init', '_plugin')]
            exec(source.replace("x.device.type == 'cuda'", "x.device.type == 'cpu'"), vars(op))
            op._init, op._plugin = (lambda: True), plugin
    try:
        yield
    finally:
        for op, key, value in changed:
            setattr(op, key, value)


def measure_emulated(G, c):
    """The network over the emulated plugins against the network over the reference ops."""
    torch.manual_seed(2)
    plugin = Plugins()

    def f(z):
        return synthesis(G)(G.mapping(z, c))
    z, z_t = torch.randn(1, 16), torch.randn(2, 1, 16)
    with apply_patches(G):
        y, J = f(z), columns(f, z, z_t)
        g = torch.func.vjp(f, z)[1](y)[0]
        with emulated(find_upstream(G).ops, plugin):
            out = {'forward': relative(f(z), y), 'jvp': relative(columns(f, z, z_t), J),
                   'vjp': relative(torch.func.vjp(f, z)[1](y)[0], g),
                   'batched_primals': relative(torch.vmap(f)(z_t), torch.cat([f(z) for z in z_t])[:, None])}
            if any(getattr(module, 'use_fp16', False) for module in G.modules()):
                half = columns(lambda z: G.synthesis(G.mapping(z, c), noise_mode='const'), z, z_t)
                out['float16'] = relative(half, J)
    out['called'] = sorted({name for name, _ in plugin.calls})
    return out


def measure_pickled(G, c):
    """A network that was unpickled: its classes live in a module made from the source inside the pickle."""
    persistence = importlib.import_module('torch_utils.persistence')
    data = pickle.dumps(G)
    persistence._src_to_module_dict.clear()
    other = pickle.loads(data)
    torch.manual_seed(3)
    ws = G.mapping(torch.randn(1, 16), c)
    ts = torch.randn(2, *ws.shape)
    before = identities(other)
    with apply_patches(other) as applied:
        J = columns(synthesis(other), ws, ts)
    with apply_patches(G):
        expected = columns(synthesis(G), ws, ts)
    return {'homes': [module.__name__ for module in find_upstream(other).networks], 'applied': applied,
            'restored': identities(other) == before, 'jvp': relative(J, expected)}


def import_official(checkout, *names):
    """Modules of a checkout by dotted name."""
    sys.path.insert(0, checkout)
    if 'requests' not in sys.modules and importlib.util.find_spec('requests') is None:
        sys.modules['requests'] = types.ModuleType('requests')  # dnnlib imports it for downloads: none here.
    with shim_pkg_resources():
        return [importlib.import_module(name) for name in names]


def main(checkout):
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    networks = NETWORKS[checkout.rstrip('/').rpartition('/')[2]]
    results = {}
    for case, (home, options) in networks.items():
        module, = import_official(checkout, f'training.{home}')
        G = build(module, options)
        c = torch.eye(3)[:1] if options['c_dim'] else None
        results[case] = {**measure(G, module, c), 'emulated': measure_emulated(G, c),
                         'pickled': measure_pickled(G, c)}
    print(json.dumps(results))


if __name__ == '__main__':
    main(sys.argv[1])
