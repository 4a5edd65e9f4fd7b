"""The patched ops over emulated plugins, on a GPU that is not there: what they make lies beside what they are given."""

from __future__ import annotations

import pytest
import torch

from resefa_plugin.patches.bias_act import patch_bias_act
from resefa_plugin.patches.filtered_lrelu import patch_filtered_lrelu
from resefa_plugin.patches.input_layer import fourier_features
from resefa_plugin.patches.support import folding
from resefa_plugin.patches.upfirdn2d import patch_upfirdn2d
from tests.helpers.plugin_emulation import (
    ACTIVATIONS,
    Plugins,
    bias_act_module,
    filtered_lrelu_module,
    upfirdn2d_module,
)
from tests.helpers.pretend_gpu import assert_same_on_gpu
from tests.patches.test_patches import SynthesisInput

pytestmark = pytest.mark.usefixtures('gpu')
TAPS = torch.tensor([1.0, 3, 3, 1]) / 8


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def transforms(f, *inputs):
    """Everything that is asked of an op `f(x, b)`, of x `[3, 2, 4, 6, 8]` and b `[4]`."""
    xs, b = inputs
    image, pull = torch.func.vjp(f, xs[0], b)

    def gradient(x):
        return torch.func.grad(lambda x: f(x, b).square().sum())(x)
    return [torch.func.jvp(f, (xs[0], b), (xs[1], b))[1],
            torch.vmap(lambda t: torch.func.jvp(lambda x: f(x, b), (xs[0],), (t,))[1])(xs), *pull(image),
            torch.func.jvp(gradient, (xs[0],), (xs[1],))[1], torch.vmap(f, (None, 0))(xs[0], torch.stack([b, -b]))]


def check(make):
    """`make(device)` returns f."""
    assert_same_on_gpu(lambda device: transforms(make(device), randn(3, 2, 4, 6, 8).to(device), randn(4).to(device)))


@pytest.mark.parametrize('clamp', [None, 0.7])
@pytest.mark.parametrize('act', ACTIVATIONS)
def test_bias_act(act, clamp):
    with patch_bias_act(module := bias_act_module(Plugins())):
        check(lambda device: module._bias_act_cuda(act=act, clamp=clamp, gain=1.5).apply)


def test_upfirdn2d_in_pieces(monkeypatch):
    monkeypatch.setattr(folding, 'MAX_NUMEL', 1600)
    with patch_upfirdn2d(module := upfirdn2d_module(Plugins(limit=1600))):
        for f in (TAPS.outer(TAPS), TAPS, None):
            op = module._upfirdn2d_cuda(up=2, padding=[2, 1, 2, 1])
            check(lambda device, op=op, f=f: lambda x, b: op.apply(
                x + b[:, None, None], None if f is None else f.to(device)))


@pytest.mark.filterwarnings('ignore:filtered_lrelu has no CUDA kernel')
@pytest.mark.parametrize('kernels', [True, False])
def test_filtered_lrelu(kernels):
    plugin = Plugins(kernels=kernels)
    module = filtered_lrelu_module(plugin, upfirdn2d := upfirdn2d_module(plugin))
    with patch_upfirdn2d(upfirdn2d), patch_filtered_lrelu(module):
        for f, options in ((TAPS, dict(up=2, down=2, padding=3, clamp=0.8)), (None, dict(clamp=0.8))):
            op = module._filtered_lrelu_cuda(**options)

            def make(device, op=op, f=f):
                taps = None if f is None else f.to(device)
                return lambda x, b: op.apply(x, taps, taps, b, None, 0, 0)
            check(make)


def test_the_input_of_stylegan3():
    def run(device):
        torch.manual_seed(0)
        layer = SynthesisInput().to(device)
        return [torch.vmap(lambda w: fourier_features(layer, w))(randn(3, 1, 6).double().to(device)).detach()]

    assert_same_on_gpu(run)
