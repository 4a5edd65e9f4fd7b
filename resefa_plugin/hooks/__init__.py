"""Generators by name."""

from __future__ import annotations

import torch

from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.hooks.mobile_stylegan import MobileStyleGANHook
from resefa_plugin.third_party import mobilestylegan_ffhq

ASSETS = {mobilestylegan_ffhq.NAME: MobileStyleGANHook.open}


def open_network(network: str, device: torch.device | str = 'cpu') -> GeneratorHook:
    """The hook of a network.

    Args:
        network: the name of an asset that is fetched on first use: `mobilestylegan-ffhq`.
        device: where it shall be.

    Raises:
        CheckpointError: no such network, or it cannot be read.
    """
    if network in ASSETS:
        return ASSETS[network](device)
    raise CheckpointError(f"--network={network}: no such network; the name of an asset is expected: {', '.join(sorted(ASSETS))}")
