"""StyleGAN-XL files that the official code wrote, opened as data, against what the official code computes.

Needs the checkout `stylegan-xl` in RESEFA_UPSTREAM.
"""

from __future__ import annotations

import copy
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import torch

from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.opening import open_network
from resefa_plugin.hooks.viewpoint import Viewpoint
from tests.helpers.network_oracles import FLOAT64_TOLERANCE, relative_error

CHECKOUT = pathlib.Path(os.environ.get('RESEFA_UPSTREAM', ''), 'stylegan-xl')
pytestmark = [pytest.mark.upstream,
              pytest.mark.skipif(not os.environ.get('RESEFA_UPSTREAM') or not CHECKOUT.is_dir(),
                                 reason='RESEFA_UPSTREAM has no stylegan-xl')]
T, R = dict(conv_kernel=3, use_radial_filters=False), dict(conv_kernel=1, use_radial_filters=True)
STAGES = [(32, 2, 5), (128, 4, 4), (256, 2, 6)]  # resolution, factor, layers
TOLERANCE = 2e-5  # float32 rounding through 15 layers; the float64 check below has no room for more than that
CALLS = [(1, None), (0.7, None), (0.5, 3)]  # truncation and its cutoff

# In the child: a stem and stages on top of it, each with a random state, saved as the official training saves them. The
# table of embeddings is a small one of the test's.
CHILD = '''
import copy, json, os, pickle, sys, types
job = json.load(open(sys.argv[1]))
sys.path.insert(0, job['checkout'])
import numpy as np, torch
from packaging import version
for name in ('pkg_resources', 'requests'):
    sys.modules[name] = types.ModuleType(name)
sys.modules['pkg_resources'].parse_version = version.parse
torch.manual_seed(0)
os.makedirs('in_embeddings')
with open('in_embeddings/tf_efficientnet_lite0.pkl', 'wb') as f:
    pickle.dump({'embed': torch.nn.Embedding(6, 10)}, f)
from training import networks_stylegan3_resetting as module
from training.networks_stylegan3_resetting import Generator, SuperresGenerator

class Proxy(types.ModuleType):  # a torch whose float32 is float64: the official code casts by name
    float32 = torch.float64
    def __getattr__(self, name):
        return getattr(torch, name)
    def eye(self, *args, **kwargs):
        return torch.eye(*args, dtype=torch.float64, **kwargs)

def double(m):
    for t in [*m.parameters(recurse=False)]:
        t.data = t.data.double()
    for key, t in m.named_buffers(recurse=False):
        if 'filter' not in key:  # it asserts that filters are float32
            m._buffers[key] = t.double()

def randomize(G):
    for key, value in G.state_dict().items():
        if 'magnitude_ema' in key:
            value.copy_(torch.rand([]) + 0.5)
        elif 'w_avg' in key or key == 'synthesis.input.affine.weight':
            value.copy_(torch.randn_like(value) * 0.3)
        elif value.ndim == 1 and 'filter' not in key and 'phases' not in key:
            value.add_(torch.randn_like(value) * 0.2)

def finish(name, G):
    G = G.eval().requires_grad_(False)
    randomize(G)
    with open(name + '.pkl', 'wb') as f:
        pickle.dump(dict(G=G, D=None, G_ema=G, training_set_kwargs=dict(resolution=8)), f)
    z = torch.randn(3, G.z_dim)
    c = torch.eye(max(G.c_dim, 3))[[2, 0, 1]][:, :G.c_dim]
    arrays = dict(z=z.numpy(), c=c.numpy())
    for i, (psi, cutoff) in enumerate(job['calls']):
        ws = G.mapping(z, c, truncation_psi=psi, truncation_cutoff=cutoff)
        arrays[f'ws{i}'] = ws.numpy()
        # One by one: styles are normalized over the batch, which shows at its epsilon.
        arrays[f'img{i}'] = torch.cat([G.synthesis(w[None], noise_mode='const', force_fp32=True) for w in ws]).numpy()
    G = copy.deepcopy(G).apply(double)
    module.torch = Proxy('torch')
    arrays['double'] = G.synthesis(G.mapping(z, c)[:1], noise_mode='const', force_fp32=True).numpy()
    module.torch = torch
    np.savez(name + '.npz', **arrays)

finish('stem', Generator(**job['stem']))
previous = 'stem'
for resolution, factor, layers in job['stages']:
    name = f'head{resolution}'
    finish(name, SuperresGenerator(path_stem=previous + '.pkl', head_layers=layers, up_factor=factor,
                                   c_dim=job['stem']['c_dim'], img_resolution=resolution, img_channels=3))
    previous = name
'''


@pytest.fixture(scope='module', params=[(0, T), (4, T), (4, R)], ids=['t', 't-classes', 'r-classes'])
def written(request, tmp_path_factory):
    """A folder with the files of a stem and of each stage on top of it, and what the official networks computed."""
    c_dim, config = request.param
    folder = tmp_path_factory.mktemp('xl')
    stem = dict(z_dim=12, c_dim=c_dim, w_dim=16, img_resolution=16, img_channels=3, channel_base=2048, channel_max=24,
                num_layers=7, num_fp16_res=4, magnitude_ema_beta=0.9977, mapping_kwargs=dict(rand_embedding=False,
                                                                                         num_layers=2), **config)
    (folder / 'job.json').write_text(json.dumps(dict(checkout=str(CHECKOUT), stem=stem, stages=STAGES, calls=CALLS)))
    (folder / 'child.py').write_text(CHILD)
    done = subprocess.run([sys.executable, 'child.py', 'job.json'], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.parametrize('name', ['stem', *(f'head{resolution}' for resolution, _, _ in STAGES)])
def test_equals_the_official_network(written, name):
    hook = open_network(written / f'{name}.pkl')
    assert hook.implementation == 'our own stylegan-xl network (no checkout found)' and hook.notes == ()
    official = {key: torch.from_numpy(value) for key, value in np.load(written / f'{name}.npz').items()}
    for i, (psi, cutoff) in enumerate(CALLS):
        ws = hook.mapping(official['z'], official['c'], psi, cutoff)
        errors = relative_error(ws, official[f'ws{i}']), relative_error(hook.synthesis(ws, None), official[f'img{i}'])
        print(f'{name} psi {psi}: w {errors[0]:.1e}, pictures {errors[1]:.1e} of their range')
        assert max(errors) < TOLERANCE
    G = copy.deepcopy(hook.G).double()
    img = G(official['z'][:1].double(), official['c'][:1].double())
    print(f'{name} in float64: pictures {relative_error(img, official["double"]):.1e} of their range')
    assert relative_error(img, official['double']) < FLOAT64_TOLERANCE


def test_the_code_in_the_file_makes_the_same_picture_and_derivative(written):
    path = written / 'head32.pkl'
    with pytest.raises(CheckpointError, match='without more files .* leave out --repo'):
        open_network(path, repo=CHECKOUT)
    with pytest.warns(UserWarning, match='is executed'):
        theirs = open_network(path, repo=CHECKOUT, trust_pickle=True)
    ours = open_network(path)
    assert theirs.style_dims == ours.style_dims
    c = torch.eye(ours.c_dim)[1:2] if ours.c_dim else None
    pictures, derivatives = [], []
    for hook in (ours, theirs):
        viewpoint = Viewpoint(hook, 's', hook.sample(0, truncation_psi=0.7, c=c))
        offset = torch.linspace(-1, 1, viewpoint.dim)[None]
        pictures.append(viewpoint.images(0.1 * offset))
        with hook.differentiable():
            zero = torch.zeros(viewpoint.dim)
            derivatives.append(torch.func.jvp(lambda v, p=viewpoint: p.images(v[None])[0], (zero,), (offset[0],))[1])
    assert relative_error(*pictures) < TOLERANCE
    assert relative_error(*derivatives) < TOLERANCE
