"""What a tangent in W costs on StyleGAN2, in forwards: our ways, and the official network with and without patches.

`python -m benchmarks.stylegan2_tangents [--write]`; the official network takes part if the folder RESEFA_UPSTREAM has
a checkout `stylegan2-ada-pytorch`. Weights are random and the same in all. Every figure is a median over rounds in
which all ways run in turn, each with the batch that was fastest for it while warming up. CPU time is of all threads.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import pathlib
import statistics
import sys
import time
import types
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import jvp, vmap

from benchmarks.common import environment, publish
from resefa_plugin.machine.allocator import keep_large_blocks
from resefa_plugin.networks.stylegan2 import Generator
from resefa_plugin.patches.registry import apply_patches

W_DIM = 512
BATCHES = (1, 2, 4, 8)
AGREEMENT = 1e-2  # of tangents, relative: rounding turns the sign of some activations' arguments
HEADER = ('', 'batch', 'ms wall', 'ms CPU', 'own forwards, wall', 'own forwards, CPU', 'fastest forwards, wall',
          'fastest forwards, CPU')


def official(args: tuple, synthesis_kwargs: dict) -> nn.Module:
    sys.path.insert(0, str(pathlib.Path(os.environ['RESEFA_UPSTREAM'], 'stylegan2-ada-pytorch')))
    if importlib.util.find_spec('requests') is None:
        sys.modules['requests'] = types.ModuleType('requests')  # its dnnlib imports it for downloads: none here
    networks = importlib.import_module('training.networks')
    return networks.Generator(*args, synthesis_kwargs=dict(synthesis_kwargs, num_fp16_res=0))


def forward_mode(synthesis: Callable[[Tensor], Tensor], ws: Tensor) -> Callable[[Tensor], Tensor]:
    return vmap(lambda v: jvp(synthesis, (ws,), (v.expand_as(ws).clone(),))[1][0])


def linearized(synthesis: nn.Module, ws: Tensor) -> Callable[[Tensor], Tensor]:
    push = synthesis.linearize(synthesis.styles(ws)).push
    styles_of = vmap(lambda v: jvp(lambda w: tuple(synthesis.styles(w)), (ws,), (v.expand_as(ws).clone(),))[1])
    return lambda V: push([style[:, 0] for style in styles_of(V)])


def patched(G: nn.Module, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        with apply_patches(G):
            return function(x)
    return run


def measure(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[float, float]:
    """Wall and CPU milliseconds for each row of x."""
    synchronize = torch.cuda.synchronize if x.is_cuda else lambda: None
    synchronize()
    wall, cpu = time.perf_counter(), time.process_time()
    function(x)
    synchronize()
    return (time.perf_counter() - wall) * 1e3 / len(x), (time.process_time() - cpu) * 1e3 / len(x)


def fastest_batch(function: Callable[[Tensor], Tensor], x: Tensor) -> int:
    for batch in BATCHES:
        function(x[:batch])
    return min(BATCHES, key=lambda batch: min(measure(function, x[:batch])[0] for _ in range(2)))


def ways(options: argparse.Namespace) -> tuple[dict[str, tuple[str, Callable]], Tensor]:
    """What is measured, name -> (the forward of its network, function), and the ws at which."""
    torch.manual_seed(0)
    kwargs = dict(channel_base=options.channel_base)
    args = (W_DIM, 0, W_DIM, options.resolution, 3)
    G = Generator(*args, {}, kwargs).to(options.device).eval().requires_grad_(False)
    ws = G.mapping(torch.randn(1, W_DIM, device=options.device), None)
    own = 'forward, ours'
    found = {own: (own, G.synthesis), 'tangent, ours, linearize': (own, linearized(G.synthesis, ws)),
             'tangent, ours, vmap(jvp)': (own, forward_mode(G.synthesis, ws))}
    if 'RESEFA_UPSTREAM' in os.environ:
        upstream = official(args, kwargs).to(options.device).eval().requires_grad_(False)
        upstream.load_state_dict(G.state_dict(), strict=True)
        synthesis = functools.partial(upstream.synthesis, noise_mode='const', force_fp32=True)
        columns, own = forward_mode(synthesis, ws), 'forward, official'
        found |= {own: (own, synthesis), 'tangent, official, apply_patches': (own, patched(upstream, columns))}
        if ws.device.type == 'cpu':  # the compiled ops of a GPU have no forward mode of their own
            found['tangent, official, unpatched (fused)'] = (own, columns)
    return found, ws


def run(options: argparse.Namespace) -> list[dict]:
    found, ws = ways(options)
    V = torch.randn(max(BATCHES), W_DIM, device=options.device)
    inputs = {name: ws + V[:, None] if name.startswith('forward') else V for name in found}
    results = {name: function(inputs[name]) for name, (_, function) in found.items()}
    for name, result in results.items():
        reference = results['forward, ours' if name.startswith('forward') else 'tangent, ours, vmap(jvp)']
        error = ((result - reference).norm() / reference.norm()).item()
        assert error < AGREEMENT, f'{name} is off by {error}'
    batches = {name: fastest_batch(function, inputs[name]) for name, (_, function) in found.items()}
    rounds = [{name: measure(function, inputs[name][:batches[name]]) for name, (_, function) in found.items()}
              for _ in range(options.rounds)]

    forwards = [name for name in found if name.startswith('forward')]
    rows = []
    for name, (own, _) in found.items():
        milliseconds = [statistics.median(r[name][i] for r in rounds) for i in (0, 1)]
        of_own = [statistics.median(r[name][i] / r[own][i] for r in rounds) for i in (0, 1)]
        of_fastest = [statistics.median(r[name][i] / min(r[f][i] for f in forwards) for r in rounds) for i in (0, 1)]
        figures = (name, batches[name], *milliseconds, *of_own, *of_fastest)
        rows.append(dict(zip(HEADER, figures, strict=True)))
    return rows


def markdown(rows: list[dict]) -> str:
    cells = [[f'{value:.{1 if "ms" in key else 2}f}' if isinstance(value, float) else str(value)
              for key, value in row.items()] for row in rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in (HEADER, ['---'] * len(HEADER), *cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--resolution', type=int, default=256, help='pixels per side')
    parser.add_argument('--channel-base', type=int, default=16384, help='channels times resolution')
    parser.add_argument('--device', default='cpu', help='cpu or cuda')
    parser.add_argument('--rounds', type=int, default=5, help='paired runs')
    parser.add_argument('--write', action='store_true', help='put the result into results/ and README.md')
    options = parser.parse_args()
    keep_large_blocks()
    with torch.no_grad():
        rows = run(options)
    settings = {'resolution': options.resolution, 'channel_base': options.channel_base, 'rounds': options.rounds}
    record = {'environment': environment(), **settings, 'rows': rows}
    facts = {**record['environment'], **settings}
    table = ', '.join(f'{key} {value}' for key, value in facts.items()) + '\n\n' + markdown(rows) + '\n'
    print(table)
    if options.write:
        publish('stylegan2_tangents', record, table)


if __name__ == '__main__':
    main()
