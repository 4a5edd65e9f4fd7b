"""What tuning changed in a generator, as a small file: differences of weights, for one network only."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resefa_plugin.checkpoints.network_source import read_source
from resefa_plugin.checkpoints.pickles.contents import open_contents
from resefa_plugin.checkpoints.pickles.safetensors import safetensors_metadata, write_safetensors
from resefa_plugin.errors import CheckpointError
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.hooks.style_based import StyleBasedHook

KIND = 'resefa_plugin tuned generator'
MAX_FILE_BYTES = 1 << 30


@dataclass(frozen=True)
class Tuning:
    """Differences of a generator's weights.

    Attributes:
        differences: by the name of the parameter in the generator, float16.
        network: name of the generator that was tuned.
        network_sha256: of that one; empty where it has none.
        photograph: what it was tuned to.
    """

    differences: Mapping[str, Tensor]
    network: str
    network_sha256: str
    photograph: str

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it as safetensors. Raises ResefaError if that is not possible."""
        write_safetensors(path, self.differences, {
            'kind': KIND, 'network': self.network, 'network_sha256': self.network_sha256,
            'photograph': self.photograph, 'note': 'differences of weights, to be added to those of the network'})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tuning:
        """Reads what `save` wrote. Raises CheckpointError for any other file."""
        source = read_source(os.fspath(path), max_bytes=MAX_FILE_BYTES)
        try:
            contents = open_contents(source, 'what resefa photo --tune wrote')
            tensors = contents.decoder.plain(contents.root)
        except CheckpointError as error:
            raise CheckpointError(f'{path}: {error}') from error
        texts = safetensors_metadata(source.data) if source.data[8:9] == b'{' else {}
        if texts.get('kind') != KIND or not isinstance(tensors, dict):
            raise CheckpointError(f'{path}: is not a tuned generator, expected a file that resefa photo --tune wrote')
        differences = {str(name): tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
        bad = [name for name, tensor in differences.items()
               if not tensor.is_floating_point() or not tensor.isfinite().all()]
        if bad:
            raise CheckpointError(f"{path}: '{bad[0]}' holds other things than finite numbers: damaged")
        return cls(differences, texts.get('network', ''), texts.get('network_sha256', ''), texts.get('photograph', ''))

    @property
    def sha256(self) -> str:
        """A hash of the network together with the differences."""
        digest = hashlib.sha256(self.network_sha256.encode())
        for name, tensor in sorted(self.differences.items()):
            digest.update(name.encode() + tensor.half().cpu().numpy().tobytes())
        return digest.hexdigest()

    def applied(self, hook: GeneratorHook) -> StyleBasedHook:
        """The tuned generator: a copy, with a hash of its own. Directions of the one before apply to it, too.

        Raises CheckpointError for another network than the one that was tuned.
        """
        if not isinstance(hook, StyleBasedHook) or not isinstance(hook.G, nn.Module):
            raise CheckpointError(f'{hook.name} has no network whose weights could be others: it takes no tuning')
        if hook.sha256 != self.network_sha256:
            raise CheckpointError(
                f"the weights were tuned from {self.network} (SHA-256 {self.network_sha256[:12] or 'unknown'}), not "
                f"from {hook.name} (SHA-256 {hook.sha256[:12] or 'unknown'}): name the network that was tuned")
        tuned = hook.with_network(copy.deepcopy(hook.G))
        assert isinstance(tuned.G, nn.Module)
        parameters = dict(tuned.G.named_parameters())
        with torch.no_grad():
            for name, difference in self.differences.items():
                if name not in parameters or parameters[name].shape != difference.shape:
                    raise CheckpointError(f"{hook.name} has no weights '{name}' {list(difference.shape)}, which were "
                                          'tuned: the file is damaged or of another version')
                parameters[name].add_(difference.to(parameters[name]))
        tuned.tuned_from, tuned.sha256 = hook.sha256, self.sha256
        tuned.notes = (*hook.notes, f'its weights are tuned to {self.photograph}')
        return tuned
