"""Small patches, and what all share: borrowing, restoring, errors, finding what a generator is made of."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import types

import pytest
import torch
import torch.utils.cpp_extension

from resefa_plugin.errors import ResefaError
from resefa_plugin.patches.bias_act import patch_bias_act
from resefa_plugin.patches.channels_last import patch_channels_last
from resefa_plugin.patches.filtered_lrelu import patch_filtered_lrelu
from resefa_plugin.patches.fma import patch_fma
from resefa_plugin.patches.fused_modconv import patch_modulated_conv2d
from resefa_plugin.patches.input_layer import patch_input_layer
from resefa_plugin.patches.pkg_resources_shim import shim_pkg_resources
from resefa_plugin.patches.plugin_loader import patch_plugin_loader
from resefa_plugin.patches.registry import PATCHES, apply_patches
from resefa_plugin.patches.support.attributes import replaced
from resefa_plugin.patches.support.upstream import find_upstream
from resefa_plugin.patches.upfirdn2d import patch_upfirdn2d
from tests.helpers.plugin_emulation import Plugins, bias_act_module, stand_in, upfirdn2d_module

TOL64 = dict(rtol=1e-10, atol=1e-12)  # The same sums in float64, in another order.


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- borrowing

def test_replaced_restores_after_exceptions_and_nesting():
    owner = types.SimpleNamespace(f='original')
    with pytest.raises(KeyError, match='inside'), replaced(owner, 'f', 'first'):
        with replaced(owner, 'f', 'second'):
            assert owner.f == 'first'
        assert owner.f == 'first'
        raise KeyError('inside')
    assert owner.f == 'original'


def test_replaced_survives_contexts_that_overlap():
    owner = types.SimpleNamespace(f='original')
    first, second = replaced(owner, 'f', 'patch'), replaced(owner, 'f', 'patch')
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert owner.f == 'patch'
    second.__exit__(None, None, None)
    assert owner.f == 'original'


def test_replaced_from_many_threads():
    owner, failures = types.SimpleNamespace(f='original'), []
    start = threading.Barrier(4)

    def work():
        start.wait()
        for _ in range(200):
            with replaced(owner, 'f', 'patch'):
                if owner.f != 'patch':
                    failures.append(owner.f)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and owner.f == 'original'


@pytest.mark.parametrize('patch, module, missing', [
    (patch_fma, 'fma', 'fma'), (patch_bias_act, 'bias_act', 'activation_funcs'),
    (patch_upfirdn2d, 'upfirdn2d', '_parse_scaling'), (patch_filtered_lrelu, 'filtered_lrelu', '_parse_padding'),
    (patch_modulated_conv2d, 'networks', 'modulated_conv2d')])
def test_unknown_upstream_names_the_attribute_and_the_commits(patch, module, missing):
    match = rf"torch_utils.ops.{module} has no attribute '{missing}'.*d72cc7d.*c233a91"
    with pytest.raises(ResefaError, match=match), patch(stand_in(module, Plugins())):
        pass


def test_missing_factory():
    module = bias_act_module(Plugins())
    del module._bias_act_cuda
    with pytest.raises(ResefaError, match="no attribute '_bias_act_cuda'"), patch_bias_act(module):
        pass


# ---- fma

def test_fma_broadcasts_under_transforms():
    module = stand_in('fma', Plugins(), fma='upstream')
    a, b, c = randn(2, 3, 4, 4), randn(2, 3, 1, 1, seed=1), randn(4, 4, seed=2)
    with patch_fma(module):
        def f(a, b, c):
            return module.fma(a, b, c)
        torch.testing.assert_close(f(a, b, c), a * b + c, **TOL64)
        got = torch.vmap(lambda s: torch.func.jvp(f, (a, b, c), (a * s, b, c))[1])(torch.arange(3.0, dtype=a.dtype))
        torch.testing.assert_close(got, torch.stack([(s + 1) * a * b + c for s in range(3)]), **TOL64)
    assert module.fma == 'upstream'


# ---- pkg_resources

def test_shim_only_where_the_module_is_missing(monkeypatch):
    monkeypatch.delitem(sys.modules, 'pkg_resources', raising=False)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with shim_pkg_resources():
        parse_version = importlib.import_module('pkg_resources').parse_version
        assert parse_version('1.11.0a') < parse_version('1.11.0') < parse_version('2.13.0+cu130')
        with shim_pkg_resources():
            pass
        assert 'pkg_resources' in sys.modules
    assert 'pkg_resources' not in sys.modules


def test_shim_leaves_the_real_module_alone(monkeypatch):
    real = types.ModuleType('pkg_resources')
    monkeypatch.setitem(sys.modules, 'pkg_resources', real)
    with shim_pkg_resources():
        assert sys.modules['pkg_resources'] is real
    assert sys.modules['pkg_resources'] is real


# ---- plugin loader

def test_plugin_is_found_by_name_after_loading(monkeypatch):
    plugin = types.ModuleType('resefa_dummy_plugin')

    def load(name, sources, is_python_module=True):
        return plugin if is_python_module else 'path'
    monkeypatch.setattr(torch.utils.cpp_extension, 'load', load)
    with pytest.raises(RuntimeError, match='later'), patch_plugin_loader():
        assert torch.utils.cpp_extension.load('resefa_dummy_plugin', sources=[], is_python_module=False) == 'path'
        assert 'resefa_dummy_plugin' not in sys.modules
        torch.utils.cpp_extension.load('resefa_dummy_plugin', sources=[])
        assert importlib.import_module('resefa_dummy_plugin') is plugin
        raise RuntimeError('later')
    assert 'resefa_dummy_plugin' not in sys.modules
    assert torch.utils.cpp_extension.load is load


def test_plugin_loader_restores_what_had_the_name(monkeypatch):
    before = types.ModuleType('resefa_dummy_plugin')
    monkeypatch.setitem(sys.modules, 'resefa_dummy_plugin', before)
    monkeypatch.setattr(torch.utils.cpp_extension, 'load', lambda name: types.ModuleType(name))
    with patch_plugin_loader():
        torch.utils.cpp_extension.load('resefa_dummy_plugin')
        assert sys.modules['resefa_dummy_plugin'] is not before
    assert sys.modules['resefa_dummy_plugin'] is before


def test_a_failed_build_may_be_tried_again():
    failed = types.SimpleNamespace(_inited=True, _plugin=None)
    built = types.SimpleNamespace(_inited=True, _plugin=object())
    with patch_plugin_loader([failed, built, types.SimpleNamespace(_plugin=None)]):
        assert failed._inited is False and built._inited is True


# ---- channels last

def test_channels_last_comes_back():
    conv = torch.nn.Conv2d(8, 8, 3).to(memory_format=torch.channels_last)
    conv.channels_last = True
    weight, strides, pointer = conv.weight, conv.weight.stride(), conv.weight.data_ptr()
    values = weight.detach().clone()
    with pytest.raises(RuntimeError, match='inside'), patch_channels_last(conv):
        assert conv.weight is weight and weight.is_contiguous() and conv.channels_last is False
        assert torch.equal(weight, values)
        with patch_channels_last(conv):
            pass
        assert weight.is_contiguous()
        raise RuntimeError('inside')
    assert conv.weight is weight and weight.stride() == strides and weight.data_ptr() == pointer
    assert conv.channels_last is True
    assert torch.equal(weight, values)


# ---- modulated convolution

def grouped(x, weight, styles, demodulate, eps=1e-8):
    """Modulated convolution by its definition: one weight tensor per sample, an explicit loop."""
    out = []
    for sample, style in zip(x, styles, strict=True):
        w = weight * style[None, :, None, None]
        if demodulate:
            w = w / (w.square().sum([1, 2, 3], keepdim=True) + eps).sqrt()
        out.append(torch.nn.functional.conv2d(sample[None], w, padding=weight.shape[-1] // 2))
    return torch.cat(out)


def profiled(fn):
    """Like upstream's decorator, it hides the signature."""
    def decorator(*args, **kwargs):
        return fn(*args, **kwargs)
    return decorator


def networks_sg2():
    @profiled
    def modulated_conv2d(x, weight, styles, noise=None, up=1, down=1, padding=0, resample_filter=None, demodulate=True,
                         flip_weight=True, fused_modconv=True):
        raise AssertionError('replaced')

    def conv2d_resample(x, w, f, up, down, padding, flip_weight):
        assert up == down == 1 and flip_weight
        return torch.nn.functional.conv2d(x, w, padding=padding)
    return stand_in('networks', None, modulated_conv2d=modulated_conv2d,
                    conv2d_resample=types.SimpleNamespace(conv2d_resample=conv2d_resample))


@pytest.mark.parametrize('demodulate', [True, False])
def test_modulated_conv2d_of_stylegan2(demodulate):
    x, weight, styles, noise = randn(2, 4, 6, 6), randn(5, 4, 3, 3, seed=1), randn(2, 4, seed=2), randn(6, 6, seed=3)
    module = networks_sg2()
    with patch_modulated_conv2d(module), patch_modulated_conv2d(module):
        def f(x, styles):
            return module.modulated_conv2d(x, weight, styles, noise=noise, padding=1, demodulate=demodulate)
        primals, tangents = (x, styles), (x * 2, styles.flip(0))
        expected = torch.func.jvp(lambda x, s: grouped(x, weight, s, demodulate) + noise, primals, tangents)
        torch.testing.assert_close(torch.func.jvp(f, primals, tangents), expected, **TOL64)


def test_modulated_conv2d_of_stylegan2_in_float16_does_not_overflow():
    x, weight, styles = randn(2, 4, 6, 6), randn(5, 4, 3, 3, seed=1) * 300, randn(2, 4, seed=2) * 1e6
    styles[:, 0] *= 1e-8  # A style that is nearly off must not set the scale.
    module = networks_sg2()
    with patch_modulated_conv2d(module):
        def f(s):
            return module.modulated_conv2d(x.half(), weight.float(), s, padding=1)
        y, y_t = torch.func.jvp(f, (styles.float(),), (styles.flip(0).float(),))
    expected = torch.func.jvp(lambda s: grouped(x, weight, s, True), (styles,), (styles.flip(0),))
    assert y.dtype == y_t.dtype == torch.float16
    # Each of 36 products is rounded to 2^-11 of values of order one.
    torch.testing.assert_close((y.double(), y_t.double()), expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize('demodulate', [True, False])
@pytest.mark.parametrize('gain', [None, (), (4,), (2, 4)])
def test_modulated_conv2d_of_stylegan3(demodulate, gain):
    def modulated_conv2d(x, w, s, demodulate=True, padding=0, input_gain=None):
        raise AssertionError('replaced')
    module = stand_in('networks', None, modulated_conv2d=modulated_conv2d,
                      conv2d_gradfix=types.SimpleNamespace(conv2d=torch.nn.functional.conv2d))
    x, w, s = randn(2, 4, 6, 6), randn(5, 4, 3, 3, seed=1), randn(2, 4, seed=2)
    gain = None if gain is None else randn(*gain, seed=3)

    gained = x if gain is None else x * gain.expand(2, 4)[:, :, None, None]

    def expected(s):  # Demodulation cancels all scales but that of the input.
        return grouped(gained, w, s, demodulate, eps=0)
    with patch_modulated_conv2d(module):
        got = torch.func.jvp(lambda s: module.modulated_conv2d(x, w, s, demodulate, 1, gain), (s,), (s.flip(1),))
    # The epsilon of the demodulation, 1e-8 of sums of order ten, is not in the oracle.
    torch.testing.assert_close(got, torch.func.jvp(expected, (s,), (s.flip(1),)), rtol=1e-7, atol=1e-7)


def test_modulated_conv2d_of_unknown_signature():
    module = stand_in('networks', None, modulated_conv2d=lambda x, weight, mystery: x)
    with pytest.raises(ResefaError, match='parameters x, weight, mystery.*d72cc7d'), patch_modulated_conv2d(module):
        pass


# ---- StyleGAN3's input

class SynthesisInput(torch.nn.Module):
    """The attributes of the official layer, with values of our own."""

    def __init__(self):
        super().__init__()
        self.size, self.sampling_rate, self.bandwidth, self.channels = (5, 4), 4.0, 1.5, 3
        self.affine = torch.nn.Linear(6, 4, dtype=torch.float64)
        for name, value in (('weight', randn(3, 3)), ('freqs', randn(3, 2, seed=1)), ('phases', randn(3, seed=2)),
                            ('transform', torch.eye(3, dtype=torch.float64) + randn(3, 3, seed=3) * 0.1)):
            self.register_buffer(name, value)

    def forward(self, w):
        raise AssertionError('replaced')


def test_input_layer_against_a_loop_over_pixels():
    layer, w = SynthesisInput(), randn(2, 6)
    with patch_input_layer(type(layer)):
        got, tangents = torch.func.jvp(layer, (w,), (w.flip(0),))
        torch.testing.assert_close(torch.vmap(lambda w: layer(w[None])[0])(w), got, **TOL64)  # Batched primals.
        step = 1e-5
        difference = (layer(w + step * w.flip(0)) - layer(w - step * w.flip(0))) / (2 * step)
        torch.testing.assert_close(tangents, difference, rtol=1e-6, atol=1e-7)
    with pytest.raises(AssertionError, match='replaced'):
        layer(w)

    for n in range(2):
        rc, rs, tx, ty = layer.affine(w[n]) / layer.affine(w[n])[:2].norm()
        one, zero = torch.ones_like(rc), torch.zeros_like(rc)
        rotate = torch.stack([rc, -rs, zero, rs, rc, zero, zero, zero, one]).reshape(3, 3)
        shift = torch.stack([one, zero, -tx, zero, one, -ty, zero, zero, one]).reshape(3, 3)
        moved = rotate @ shift @ layer.transform
        for row in range(4):
            for column in range(5):
                position = torch.tensor([(column + 0.5 - 2.5) / 4, (row + 0.5 - 2) / 4, 1.0], dtype=w.dtype)
                value = []
                for f, phase in zip(layer.freqs, layer.phases, strict=True):
                    norm = (f @ moved[:2, :2]).norm()
                    fade = (1 - (norm - 1.5) / (2 - 1.5)).clamp(0, 1)
                    value.append(fade * torch.sin(2 * torch.pi * (f @ (moved[:2] @ position) + phase)))
                expected = layer.weight @ torch.stack(value) / 3 ** 0.5
                torch.testing.assert_close(got[n, :, row, column], expected, **TOL64)


# ---- a whole generator

@pytest.fixture
def official(monkeypatch):
    """A generator whose class lives, as an unpickled one does, behind a decorator in another module."""
    plugin = Plugins()
    home, persistence = types.ModuleType('_imported_module_0123'), types.ModuleType('torch_utils.persistence')
    home.bias_act, home.fma = bias_act_module(plugin), stand_in('fma', plugin, fma='upstream')
    home.conv2d_resample = stand_in('conv2d_resample', None, upfirdn2d=upfirdn2d_module(plugin))
    home.modulated_conv2d = networks_sg2().modulated_conv2d
    monkeypatch.setitem(sys.modules, home.__name__, home)
    monkeypatch.setitem(sys.modules, persistence.__name__, persistence)
    home.Generator = type('Generator', (torch.nn.Module,), {'__module__': home.__name__})
    return type('Generator', (home.Generator,), {'__module__': persistence.__name__})(), home


def test_upstream_is_found_behind_the_decorator(official):
    G, home = official
    upstream = find_upstream(G)
    assert upstream.networks == (home,)
    assert sorted(upstream.ops) == ['bias_act', 'conv2d_resample', 'fma', 'upfirdn2d']


def test_apply_patches_and_everything_is_back(official):
    G, home = official

    def state():
        return (home.fma.fma, home.bias_act._bias_act_cuda, home.conv2d_resample.upfirdn2d._upfirdn2d_cuda,
                home.modulated_conv2d, torch.utils.cpp_extension.load)
    before = state()
    with pytest.raises(RuntimeError, match='inside'), apply_patches(G) as applied:
        assert applied == ('plugin_loader', 'fma', 'bias_act', 'upfirdn2d', 'fused_modconv', 'channels_last')
        inside = state()
        assert all(a is not b for a, b in zip(before, inside, strict=True))
        with apply_patches(G) as again:
            assert again == applied and all(a is b for a, b in zip(inside, state(), strict=True))
        assert all(a is b for a, b in zip(inside, state(), strict=True))
        raise RuntimeError('inside')
    assert all(a is b for a, b in zip(before, state(), strict=True))


def test_apply_patches_leaves_nothing_behind_when_one_does_not_fit(official):
    G, home = official
    del home.bias_act.activation_funcs
    with pytest.raises(ResefaError, match='activation_funcs'), apply_patches(G):
        pass
    assert home.fma.fma == 'upstream'


def test_other_generators_need_no_patch():
    with apply_patches(torch.nn.Conv2d(3, 3, 1)) as applied:
        assert applied == ()


def test_registry():
    assert sorted(PATCHES) == ['bias_act', 'channels_last', 'filtered_lrelu', 'fma', 'fused_modconv', 'input_layer',
                               'plugin_loader', 'upfirdn2d']
    assert all(patch.summary for patch in PATCHES.values())
