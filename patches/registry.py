"""Runtime patches that let official StyleGAN networks run forward-mode AD and vmap on current torch.

Each patch is a context manager in a file of its own and puts back what it found. `apply_patches(G)` enters those that
fit a generator. `shim_pkg_resources` is for importing a stylegan3 checkout, before there is a generator.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from resefa_plugin.patches.bias_act import patch_bias_act
from resefa_plugin.patches.channels_last import patch_channels_last
from resefa_plugin.patches.filtered_lrelu import patch_filtered_lrelu
from resefa_plugin.patches.fma import patch_fma
from resefa_plugin.patches.fused_modconv import patch_modulated_conv2d
from resefa_plugin.patches.input_layer import is_input_layer, patch_input_layer
from resefa_plugin.patches.plugin_loader import patch_plugin_loader
from resefa_plugin.patches.support.upstream import Upstream, find_upstream
from resefa_plugin.patches.upfirdn2d import patch_upfirdn2d


@dataclass(frozen=True)
class Patch:
    """One entry of the registry.

    Attributes:
        summary: what it does, in a few words.
        targets: (generator, its official modules) -> what it is to be applied to; nothing if it does not fit.
        apply: the context manager for one target.
    """

    summary: str
    targets: Callable[[torch.nn.Module, Upstream], list[Any]]
    apply: Callable[[Any], contextlib.AbstractContextManager[None]]


def _op(name: str) -> Callable[[torch.nn.Module, Upstream], list[Any]]:
    return lambda G, upstream: [upstream.ops[name]] if name in upstream.ops else []


PATCHES: dict[str, Patch] = {
    'plugin_loader': Patch(
        'custom_ops.get_plugin finds the plugin that it built',
        lambda G, upstream: [[op for op in upstream.ops.values() if hasattr(op, '_plugin')]] if upstream.ops else [],
        patch_plugin_loader),
    'fma': Patch('multiply-add under every transform', _op('fma'), patch_fma),
    'bias_act': Patch('forward mode and vmap over the compiled bias_act', _op('bias_act'), patch_bias_act),
    'upfirdn2d': Patch('forward mode and vmap over the compiled upfirdn2d', _op('upfirdn2d'), patch_upfirdn2d),
    'filtered_lrelu': Patch(
        'forward mode and vmap over the compiled filtered_lrelu', _op('filtered_lrelu'), patch_filtered_lrelu),
    'fused_modconv': Patch(
        'modulation of activations instead of weights',
        lambda G, upstream: [module for module in upstream.networks if hasattr(module, 'modulated_conv2d')],
        patch_modulated_conv2d),
    'input_layer': Patch(
        'Fourier features of StyleGAN3 without writing in place',
        lambda G, upstream: list({type(m) for m in G.modules() if upstream.ops and is_input_layer(m)}),
        patch_input_layer),
    'channels_last': Patch(
        'contiguous weights', lambda G, upstream: [G] if upstream.ops else [], patch_channels_last),
}


@contextlib.contextmanager
def apply_patches(G: torch.nn.Module) -> Iterator[tuple[str, ...]]:
    """Applies the patches that fit a generator for the duration of the context.

    Yields: the names of those that fit; none for a generator that is not official.

    Raises:
        ResefaError: if an official module lacks what a patch relies on; nothing stays patched then.
    """
    upstream = find_upstream(G)
    applied = []
    with contextlib.ExitStack() as stack:
        for name, patch in PATCHES.items():
            targets = patch.targets(G, upstream)
            for target in targets:
                stack.enter_context(patch.apply(target))
            if targets:
                applied.append(name)
        yield tuple(applied)
