"""Runs the patched official ops against the reference ops in float64 and prints the relative errors as JSON.

`python -m tests.patches.cuda_checks CHECKOUT cuda` builds and runs the compiled plugins; with `cpu` in place of `cuda`
the emulated ones stand in, which checks this script. The bounds on what it prints are in test_patches_upstream.py.
"""

from __future__ import annotations

import contextlib
import json
import sys
import warnings

import torch

from resefa_plugin.patches.registry import PATCHES, apply_patches
from resefa_plugin.patches.support import folding
from tests.helpers.plugin_emulation import ACTIVATIONS, Plugins
from tests.patches.upstream_checks import NETWORKS, build, columns, emulated, import_official, relative, synthesis

TAPS = torch.tensor([1.0, 3, 3, 1]) / 8
LONG = torch.hann_window(14)[1:-1] / torch.hann_window(14).sum()
BIAS_ACTS = [dict(act=act, gain=gain, clamp=clamp) for act in ACTIVATIONS for gain, clamp in ((None, None), (1.5, 0.6))]
RESAMPLINGS = [dict(f=TAPS.outer(TAPS), up=2, padding=[2, 1, 2, 1], gain=4),
               dict(f=TAPS.outer(TAPS), down=2, padding=1),
               dict(f=TAPS.outer(TAPS), padding=[1, 1, 1, 1], gain=4), dict(f=LONG, up=2, padding=5, gain=4),
               dict(f=LONG, up=(1, 2), down=(2, 1), padding=[3, 4, -1, 6], flip_filter=True)]
LRELUS = [dict(fu=LONG, fd=LONG, up=2, down=2, padding=11, clamp=0.9), dict(up=1, down=1, gain=1, slope=1, clamp=0.8),
          dict(fu=LONG.repeat_interleave(2) / 2, fd=LONG.outer(LONG), up=4, down=2, padding=[14, 15, 16, 13]),
          dict(fu=LONG, fd=None, up=2, down=1, padding=[5, 6, 6, 5], clamp=0.7)]


def transforms(f, x, b, ts, us):
    """What is compared, by name. `us` are cotangents: cropped to the output they need."""
    y = f(x, b)
    us = us[..., :y.shape[-2], :y.shape[-1]]

    def gradient(x):
        return torch.func.grad(lambda x: f(x, b).square().sum())(x)
    return {
        'forward': y,
        'jvp': torch.func.jvp(f, (x, b), (ts[0], b.flip(0)))[1],
        'vmap_jvp': columns(lambda x: f(x, b), x, ts),
        'vjp': torch.func.vjp(lambda x: f(x, b), x)[1](us[0])[0],
        'vmap_vjp': torch.vmap(torch.func.vjp(lambda x: f(x, b), x)[1])(us)[0],
        'bias': torch.func.vjp(lambda b: f(x, b), b)[1](us[0])[0],
        'jvp_of_grad': columns(gradient, x, ts),
        'batched_bias': torch.vmap(f, (None, 0))(x, torch.stack([b, -b])),
        'batched_primals': torch.vmap(f, (0, None))(ts, b),
    }


def compare(op, variants, device, dtype, layout=torch.contiguous_format):
    """The largest relative error over variants, by transform."""
    generator = torch.Generator().manual_seed(0)
    # Rounded to the type first, so that both sides see the same numbers; the reference ops run in float64.
    x, b, ts, us = (torch.randn(shape, generator=generator).to(dtype) for shape in (
        (2, 4, 12, 14), (4,), (3, 2, 4, 12, 14), (3, 2, 4, 64, 64)))
    worst = {}
    for options in variants:
        results = []
        for impl, where, kind in (('cuda', device, dtype), ('ref', 'cpu', torch.float64)):
            moved = {key: v.to(where) if isinstance(v, torch.Tensor) else v for key, v in options.items()}

            def f(x, b, impl=impl, moved=moved):
                if op.__name__.endswith('upfirdn2d'):
                    return op.upfirdn2d(x + b[:, None, None], impl=impl, **moved)
                call = op.bias_act if op.__name__.endswith('bias_act') else op.filtered_lrelu
                return call(x, b=b, impl=impl, **moved)
            shaped = x.to(where, kind).contiguous(memory_format=layout if impl == 'cuda' else torch.contiguous_format)
            results.append(transforms(f, shaped, *(v.to(where, kind) for v in (b, ts, us))))
        for name, value in results[0].items():
            error = relative(value.double().cpu(), results[1][name]) if results[1][name].any() else value.norm().item()
            worst[name] = max(worst.get(name, 0.0), error)
    return worst


def check_size_limit(ops, device):
    """More than 2^31 - 1 elements in one call: equal to the same call on slices."""
    x = torch.randn([33, 1, 8192, 8192], device=device, dtype=torch.float16)
    f, b = TAPS.outer(TAPS).to(device), torch.ones(1, device=device, dtype=x.dtype)

    def act(x):
        return ops['bias_act'].bias_act(x, b, act='lrelu')

    def filtered(x):
        return ops['upfirdn2d'].upfirdn2d(x, f, padding=[2, 1, 2, 1])
    return all(torch.equal(whole[i:i + 1], op(x[i:i + 1]))
               for op in (act, filtered) for whole in (op(x),) for i in (0, 16, 31, 32))


def main(checkout, device):
    warnings.simplefilter('ignore')
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    networks = NETWORKS[checkout.rstrip('/').rpartition('/')[2]]
    names = ['bias_act', 'upfirdn2d'] + (['filtered_lrelu'] if 't' in networks else [])
    ops = dict(zip(names, import_official(checkout, *(f'torch_utils.ops.{name}' for name in names)), strict=True))
    results = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(PATCHES['plugin_loader'].apply(list(ops.values())))
        for name in names:
            stack.enter_context(PATCHES[name].apply(ops[name]))
        if device == 'cpu':
            stack.enter_context(emulated(ops, Plugins()))
        for name, variants in zip(names, (BIAS_ACTS, RESAMPLINGS, LRELUS), strict=False):  # not all have filtered_lrelu
            results[name] = {'built': bool(ops[name]._init() and ops[name]._plugin)}
            for kind in ('float32', 'float16'):
                results[name][kind] = compare(ops[name], variants, device, getattr(torch, kind))
            results[name]['channels_last'] = compare(ops[name], variants, device, torch.float32, torch.channels_last)
        limit, folding.MAX_NUMEL = folding.MAX_NUMEL, 8000
        results['upfirdn2d']['chunked'] = compare(ops['upfirdn2d'], RESAMPLINGS, device, torch.float32)
        results['bias_act']['chunked'] = compare(ops['bias_act'], BIAS_ACTS[4:6], device, torch.float32)
        folding.MAX_NUMEL = limit
        if device == 'cuda' and torch.cuda.mem_get_info()[0] > 30 * 2 ** 30:
            results['size_limit'] = check_size_limit(ops, device)

    results['networks'] = {}
    for case, (home, options) in networks.items():
        G = build(*import_official(checkout, f'training.{home}'), options)
        c = torch.eye(3)[:1] if options['c_dim'] else None
        torch.manual_seed(0)
        ws, ts = G.mapping(torch.randn(1, 16), c), torch.randn(3, 1, G.num_ws, 16)
        with apply_patches(G):
            J = columns(synthesis(G), ws, ts)
            G.to(device)
            results['networks'][case] = relative(columns(synthesis(G), ws.to(device), ts.to(device)).cpu(), J)
    print(json.dumps(results))


if __name__ == '__main__':
    main(*sys.argv[1:])
