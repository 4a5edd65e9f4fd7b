"""The official BigGAN-PyTorch in a checkout of the user: its class, with a state that was read as data.

Pinned facts: https://github.com/ajbrock/BigGAN-PyTorch at commit 9845943, MIT licence. The class of `BigGAN.py` or
`BigGANdeep.py` is built without spectral norm, synchronized normalization and optimizer, which are not needed at
inference. The checkout's `utils` is never imported: it imports torchvision and much else that is not needed.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from resefa_plugin.checkpoints.biggan_state import BigGANState, load_strictly
from resefa_plugin.errors import CheckpointError

FILES = ('BigGAN.py', 'BigGANdeep.py', 'layers.py', 'sync_batchnorm/__init__.py')
# Modules of a checkout whose names other packages may have, too.
NAMES = ('BigGAN', 'BigGANdeep', 'layers', 'sync_batchnorm', 'utils')


def find_checkout(folder: str | os.PathLike | None = None) -> Path | None:
    """The checkout in a folder.

    Args:
        folder: None to look in the current folder, which need not be a checkout.

    Returns: its path, None if the current folder is not a checkout.

    Raises CheckpointError if `folder` is not a checkout.
    """
    path = Path(folder or '.').resolve()
    if all(os.path.isfile(path / name) for name in FILES):
        return path
    if folder is None:
        return None
    raise CheckpointError(f'{folder}: not a checkout of BigGAN-PyTorch: expected {", ".join(FILES)} in it')


@contextlib.contextmanager
def checkout_module(checkout: Path, name: str) -> Iterator[ModuleType]:
    """Imports a module of a checkout. On exit `sys.path` and `sys.modules` are as they were before.

    Raises CheckpointError if it cannot be imported.
    """
    def generic(key: str) -> bool:
        return key.partition('.')[0] in NAMES

    before = {key: module for key, module in sys.modules.items() if generic(key)}
    path = list(sys.path)
    try:
        for key in before:
            del sys.modules[key]
        sys.modules['utils'] = None  # type: ignore[assignment]  # so that importing it raises ImportError
        sys.path.insert(0, str(checkout))
        importlib.invalidate_caches()
        try:
            module = importlib.import_module(name)
        except Exception as error:
            raise CheckpointError(f'{checkout}: {name}.py cannot be imported: {type(error).__name__}: {error}. Start '
                                  'elsewhere to use the network of this package') from error
        yield module
    finally:
        sys.path[:] = path
        for key in [key for key in sys.modules if generic(key)]:
            del sys.modules[key]
        sys.modules.update(before)


class OfficialGenerator(nn.Module):
    """The official generator, run layer by layer so that each layer has a conditioning vector of its own.

    Attributes:
        G: the official generator, in eval mode.
        resolution, dim_z, n_classes, slots: as those of `networks.biggan.Generator`.
    """

    G: Any  # a class of the checkout

    def __init__(self, state: BigGANState, G: nn.Module):
        super().__init__()
        config = state.config
        self.G, self.slots = G, config.slots
        self.resolution, self.dim_z, self.n_classes = config.resolution, config.dim_z, config.n_classes

    def embed(self, class_weights: Tensor) -> Tensor:
        """Soft labels `[N, n_classes]` -> embeddings `[N, shared_dim]`."""
        return class_weights @ self.G.shared.weight

    def synthesis(self, conditions: Sequence[Tensor]) -> Tensor:
        """Pictures `[N, 3, resolution, resolution]` in [-1, 1] of one `[N, dims of the slot]` per layer."""
        x = self.G.linear(conditions[0])
        x = x.view(len(x), -1, self.G.bottom_width, self.G.bottom_width)
        for modules, condition in zip(self.G.blocks, conditions[1:], strict=True):
            for module in modules:
                x = module(x, condition)
        return torch.tanh(self.G.output_layer(x))


def load(state: BigGANState, checkout: Path) -> OfficialGenerator:
    """Builds the checkout's class for a state that was read as data.

    Raises:
        CheckpointError: the class cannot be built, does not fit the state, or has no soft labels.
    """
    config = state.config
    if not config.G_shared:
        raise CheckpointError(f'{state.path}: trained without G_shared, where the official class takes labels as '
                              'integers, which have no derivative; use the network of this package')
    arguments = dict(
        G_ch=config.ch, dim_z=config.dim_z, resolution=config.resolution,
        G_attn='_'.join(map(str, config.attention)) or '0', n_classes=config.n_classes, G_shared=True,
        shared_dim=config.shared_dim, hier=config.hier, cross_replica=False, mybn=False, BN_eps=config.BN_eps,
        G_param='None', norm_style='bn', skip_init=True, no_optim=True,
    )
    if config.depth:
        arguments['G_depth'] = config.depth
    # The official default works in place, and would overwrite what forward mode still needs.
    arguments['G_activation'] = nn.ReLU(inplace=False)
    name = 'BigGANdeep' if config.depth else 'BigGAN'
    with contextlib.redirect_stdout(io.StringIO()), checkout_module(checkout, name) as module:
        try:
            G = load_strictly(module.Generator, state.state, state.path, **arguments)
        except (AttributeError, KeyError, TypeError) as error:
            raise CheckpointError(f'{checkout}: {name}.Generator cannot be built for {state.path}: '
                                  f'{type(error).__name__}: {error}') from error
    return OfficialGenerator(state, G)
