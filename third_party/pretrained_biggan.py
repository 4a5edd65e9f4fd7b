"""BigGAN-deep of the package pytorch-pretrained-biggan 0.1.1 (MIT), the extra `biggan`, from a folder of its files.

The package's classes run unmodified, but its loader is not used: the weights are read as data and must fit completely,
and the model is in eval mode, with spectral norm divided out of the weights.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import remove_spectral_norm

from resefa_plugin.checkpoints.biggan_state import load_strictly, tensors_by_name
from resefa_plugin.checkpoints.network_source import read_source
from resefa_plugin.checkpoints.pickles.inert_pickle import naming
from resefa_plugin.checkpoints.pickles.torch_storage import read_torch_file
from resefa_plugin.errors import CheckpointError, ResefaError
from resefa_plugin.networks.biggan import BOTTOM_WIDTH, Part, Slot

CONFIG = 'config.json'
WEIGHTS = 'pytorch_model.bin'
MAX_CONFIG_BYTES = 1 << 20


def is_pretrained(folder: Path) -> bool:
    """Whether a folder has the files of this package."""
    return os.path.isfile(folder / CONFIG) and os.path.isfile(folder / WEIGHTS)


class _Layers(nn.Module):
    """The package's generator with one conditioning vector per layer, and statistics of a single truncation."""

    generator: Any  # a class of the package, as are its layers

    def __init__(self, generator: nn.Module, block_type: type):
        super().__init__()
        self.generator, self.block_type = generator, block_type

    def forward(self, conditions: Sequence[Tensor]) -> Tensor:
        G = self.generator
        remaining = iter(conditions)
        x = G.gen_z(next(remaining)).unflatten(1, (BOTTOM_WIDTH, BOTTOM_WIDTH, -1)).movedim(3, 1)  # channels are last
        for layer in G.layers:
            # 0.0 is the truncation of the first row of statistics, and there is only one.
            x = layer(x, *((next(remaining), 0.0) if isinstance(layer, self.block_type) else ()))
        x = torch.relu(G.bn(x, 0.0))
        return torch.tanh(G.conv_to_rgb(x)[:, :3])


class PretrainedBigGAN(nn.Module):
    """The package's model, run layer by layer so that each layer has a conditioning vector of its own.

    Attributes:
        model: the package's model, in eval mode without spectral norm.
        resolution, dim_z, n_classes, slots: as those of `networks.biggan.Generator`.
        num_statistics: rows of its batch statistics.
    """

    model: Any  # a class of the package
    num_statistics: int

    def __init__(self, model: nn.Module, block_type: type):
        super().__init__()
        self.model = model
        config = self.model.config
        self.layers = _Layers(self.model.generator, block_type)
        self.dim_z, self.n_classes = config.z_dim, config.num_classes
        self.resolution = BOTTOM_WIDTH << sum(bool(layer[0]) for layer in config.layers)
        both = (Part('z', 0, self.dim_z), Part('class', 0, self.dim_z))
        self.slots: tuple[Slot, ...] = (both,) * (1 + len(config.layers))
        self.num_statistics = config.n_stats

    def embed(self, class_weights: Tensor) -> Tensor:
        """Soft labels `[N, n_classes]` -> embeddings `[N, dim_z]`."""
        return self.model.embeddings(class_weights)

    def statistics_row(self, truncation_psi: float) -> int:
        """The row of the batch statistics that is nearest to a truncation. Row i is for psi = i / (rows - 1).

        The package itself takes the wrong row for some psi (0.14, 0.28, 0.56, 0.58, 0.94) because its division rounds,
        and between two rows it swaps their weights.

        Raises ResefaError unless 0 < truncation_psi <= 1.
        """
        if not 0 < truncation_psi <= 1:
            raise ResefaError(f'truncation psi {truncation_psi}: this network has batch statistics above 0 up to 1')
        return round(truncation_psi * (self.num_statistics - 1))

    def synthesis(self, conditions: Sequence[Tensor], row: int) -> Tensor:
        """Pictures `[N, 3, resolution, resolution]` in [-1, 1].

        Args:
            conditions: `[N, 2 * dim_z]` for each layer.
            row: of the batch statistics, see `statistics_row`.
        """
        chosen = {name: table[row:row + 1] for name, table in self.layers.named_buffers()}
        return functional_call(self.layers, chosen, (conditions,))


def load(folder: Path) -> tuple[PretrainedBigGAN, str]:
    """The model in a folder with `config.json` and `pytorch_model.bin`, and the SHA-256 of its weights.

    Raises:
        CheckpointError: files are missing, damaged or do not fit; or the package is not installed.
    """
    try:
        from pytorch_pretrained_biggan import BigGAN, BigGANConfig
        from pytorch_pretrained_biggan.model import GenBlock
    except ImportError as error:
        raise CheckpointError(f"{folder}: needs the package pytorch-pretrained-biggan ({error}): pip install "
                              'pytorch-pretrained-biggan==0.1.1') from error
    path = folder / WEIGHTS
    weights = read_source(path)
    try:
        settings = json.loads(read_source(folder / CONFIG, max_bytes=MAX_CONFIG_BYTES).data)
        config = BigGANConfig.from_dict(settings)
        if config.z_dim != config.class_embed_dim:
            raise ValueError(f'z_dim {config.z_dim} and class_embed_dim {config.class_embed_dim} differ')
        if config.n_stats < 2:
            raise ValueError(f'n_stats is {config.n_stats}, expected at least 2')
        with naming(str(path)):
            state = tensors_by_name(read_torch_file(weights.data))
        model = load_strictly(BigGAN, state, path, config)
        adapter = PretrainedBigGAN(model, GenBlock)
    except CheckpointError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f'{folder / CONFIG}: not a configuration of pytorch-pretrained-biggan: {error}'
                              ) from error
    for module in model.modules():
        if hasattr(module, 'weight_orig'):
            remove_spectral_norm(module)
    return adapter.eval().requires_grad_(False), weights.sha256
