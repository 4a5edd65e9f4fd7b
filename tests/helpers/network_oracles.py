"""What the tests of our own networks compare with: finite differences, and the official networks of a checkout."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import jvp, vjp, vmap

UPSTREAM = os.environ.get('RESEFA_UPSTREAM')
needs_upstream = pytest.mark.skipif(not UPSTREAM, reason='RESEFA_UPSTREAM is not set')

# In the child: random state, then ws, picture and picture from z, in the precision asked for. Upstream casts to float32
# by name, so for float64 its module sees a torch whose float32 is float64; filters stay float32: upstream asserts it.
CHILD = '''
import importlib, json, sys, types
import numpy as np
job = json.load(open(sys.argv[1]))
sys.path.insert(0, job['checkout'])
from packaging import version
for name in ('pkg_resources', 'requests'):  # gone from setuptools; needed for downloads only
    sys.modules[name] = types.ModuleType(name)
sys.modules['pkg_resources'].parse_version = version.parse
import torch
torch.manual_seed(0)
module = importlib.import_module(job['module'])
G = module.Generator(*job['args'], **job['kwargs']).eval().requires_grad_(False)
fresh = {key: value.numpy().copy() for key, value in G.state_dict().items() if 'filter' in key}
for key, value in G.state_dict().items():
    if 'filter' in key or 'transform' in key:
        continue
    if 'magnitude_ema' in key:
        value.copy_(torch.rand([]) + 0.5)
    elif value.ndim <= 1 and 'phases' not in key:
        value.add_(torch.randn_like(value) * 0.2)
    elif key == 'synthesis.input.affine.weight':
        value.copy_(torch.randn_like(value) * 0.3)
arrays = {'state:' + key: value.numpy().copy() for key, value in G.state_dict().items()}
arrays.update({'fresh:' + key: value for key, value in fresh.items()})
z, c = torch.randn(3, G.z_dim), torch.randn(3, G.c_dim)
arrays.update(z=z.numpy(), c=c.numpy())
def double(m):
    for t in [*m.parameters(recurse=False)]:
        t.data = t.data.double()
    for key, t in m.named_buffers(recurse=False):
        if 'filter' not in key:
            m._buffers[key] = t.double()
if job['double']:
    class Proxy(types.ModuleType):
        float32 = torch.float64
        def __getattr__(self, name):
            return getattr(torch, name)
        def eye(self, *args, **kwargs):
            return torch.eye(*args, dtype=torch.float64, **kwargs)
    module.torch = Proxy('torch')
    G.apply(double)
    z, c = z.double(), c.double()
for i, call in enumerate(job['calls']):
    ws = G.mapping(z, c, truncation_psi=call['psi'], truncation_cutoff=call['cutoff'])
    arrays[f'ws{i}'] = ws.numpy()
    # One by one: stylegan3 normalizes styles over the batch, which shows at its epsilon.
    images = [G.synthesis(w[None], noise_mode=call['noise_mode'], force_fp32=True) for w in ws]
    arrays[f'img{i}'] = torch.cat(images).numpy()
np.savez(job['out'], **arrays)
'''


class Official:
    """What an official network did: its state, the latents, and per call `ws` and pictures."""

    def __init__(self, path: pathlib.Path):
        arrays = dict(np.load(path))
        self.state = {key[6:]: torch.from_numpy(a) for key, a in arrays.items() if key.startswith('state:')}
        self.fresh = {key[6:]: torch.from_numpy(a) for key, a in arrays.items() if key.startswith('fresh:')}
        self.arrays = {key: torch.from_numpy(a) for key, a in arrays.items() if ':' not in key}

    def __getitem__(self, name: str) -> Tensor:
        return self.arrays[name]


def run_official(folder: pathlib.Path, checkout: str, module: str, args: tuple, kwargs: dict,
                 double: bool) -> Official:
    """Builds `module.Generator(*args, **kwargs)` of a checkout with a random state and runs each of `CALLS` on it."""
    out = folder / 'official.npz'
    job = dict(checkout=str(pathlib.Path(UPSTREAM) / checkout), module=module, args=args, kwargs=kwargs, calls=CALLS,
               double=double, out=str(out))
    (folder / 'job.json').write_text(json.dumps(job))
    (folder / 'child.py').write_text(CHILD)
    done = subprocess.run([sys.executable, str(folder / 'child.py'), str(folder / 'job.json')], cwd=folder,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return Official(out)


def relative_error(img: Tensor, reference: Tensor) -> float:
    """Largest difference in units of the reference's range."""
    return float((img - reference).abs().max() / (reference.max() - reference.min()))


# float32 rounding, two hundred times below what the issue asks for; float64 leaves the order of summation only.
FLOAT32_TOLERANCE = 5e-6
FLOAT64_TOLERANCE = 1e-12

CALLS = [
    dict(psi=1, cutoff=None, noise_mode='const'),
    dict(psi=0.7, cutoff=None, noise_mode='none'),
    dict(psi=0.5, cutoff=3, noise_mode='const'),
]


def check_against_official(official: Official, G: nn.Module, double: bool) -> None:
    """Loads the official state strictly and compares what every call gave."""
    fresh = G.state_dict()
    assert official.fresh and all(torch.equal(fresh[key], value) for key, value in official.fresh.items())
    G.load_state_dict(official.state, strict=True)
    G = G.eval().requires_grad_(False).to(torch.float64 if double else torch.float32)
    tolerance = FLOAT64_TOLERANCE if double else FLOAT32_TOLERANCE
    for i, call in enumerate(CALLS):
        ws = G.mapping(official['z'], official['c'], truncation_psi=call['psi'], truncation_cutoff=call['cutoff'])
        img = G.synthesis(ws, noise_mode=call['noise_mode'])
        assert img.dtype == official[f'img{i}'].dtype
        assert relative_error(ws, official[f'ws{i}']) < tolerance
        assert relative_error(img, official[f'img{i}']) < tolerance


def randomize(G: nn.Module, seed: int = 0) -> nn.Module:
    """Gives every bias, noise strength and average of a fresh network a value, in float64, without gradients."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, value in G.state_dict().items():
            if key.endswith('magnitude_ema'):
                value.copy_(0.5 + torch.rand([], generator=generator))
            elif value.ndim <= 1 and 'filter' not in key and 'phases' not in key:
                value.add_(0.2 * torch.randn(value.shape, generator=generator))
    return G.eval().requires_grad_(False).double()


def check_derivatives(f, x: Tensor) -> None:
    """jvp against central differences and the adjoint identity, vmap(jvp) against a loop; `x` is float64.

    Central differences at 1e-6 are off by about 1e-9 relative, by 1e-6 where a step crosses a kink; the rest is exact.
    """
    generator = torch.Generator().manual_seed(1)
    V = torch.randn(3, *x.shape, generator=generator, dtype=x.dtype)
    before = x.clone()
    tangents = [jvp(f, (x,), (v,))[1] for v in V]
    for v, tangent in zip(V, tangents, strict=True):
        step = 1e-6
        difference = (f(x + step * v) - f(x - step * v)) / (2 * step)
        assert tangent.dtype == x.dtype
        assert (tangent - difference).norm() < 1e-5 * tangent.norm()
    batched = vmap(lambda v: jvp(f, (x,), (v,))[1])(V)
    torch.testing.assert_close(batched, torch.stack(tangents), rtol=1e-12, atol=1e-12)

    y, pullback = vjp(f, x)
    u = torch.randn(y.shape, generator=generator, dtype=y.dtype)
    torch.testing.assert_close((u * tangents[0]).sum(), (pullback(u)[0] * V[0]).sum(), rtol=1e-10, atol=1e-10)
    assert torch.equal(x, before)
