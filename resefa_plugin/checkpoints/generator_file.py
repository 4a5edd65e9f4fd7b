"""A generator from a network file: the one function that the rest of the package calls."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from resefa_plugin.checkpoints import families
from resefa_plugin.checkpoints.families import GeneratorFamily
from resefa_plugin.checkpoints.pickles.inert_pickle import shorten
from resefa_plugin.checkpoints.pickles.nvlabs_pickle import PersistentObject, read_network_pickle
from resefa_plugin.errors import CheckpointError

# The first of these that a file has is taken: the moving average G_ema makes the better pictures, and the official
# scripts take it, too.
_GENERATOR_ENTRIES = ('G_ema', 'G')
_NETWORK_ENTRIES = ('G', 'D', 'G_ema', 'augment_pipe')


@dataclass(frozen=True)
class GeneratorFile:
    """A generator as data: enough to build the network and to load its state.

    Attributes:
        class_name: as saved; `Generator` in official files.
        family: the architecture, told by the state.
        init_args: positional arguments of its constructor.
        init_kwargs: keyword arguments of its constructor, spelled as the repository that wrote the file does, and
            complete: see `GeneratorFamily.complete`.
        state_dict: float tensors on the CPU, in the order of the network's own `state_dict()`.
        sha256: SHA-256 of the file.
        name: path or URL as the user gave it.
        entry: name of the entry that was taken: `G_ema`, or `G` in a file without a moving average.
        source_sha256: SHA-256 of the Python source that the file carries for its class; empty if it carries none.
        extras: entries of the file that are not networks, e.g. `training_set_kwargs`.
    """

    class_name: str
    family: GeneratorFamily
    init_args: tuple
    init_kwargs: dict
    state_dict: dict[str, torch.Tensor]
    sha256: str
    name: str
    entry: str
    source_sha256: str
    extras: dict[str, object]

    @property
    def known_source(self) -> str:
        """Which official version the Python source in the file is; empty if it is another, or if there is none."""
        return self.family.known_sources.get(self.source_sha256, '')

    @property
    def has_class_means(self) -> bool:
        """Whether it has a mean of W for each class, `[c_dim, w_dim]`, as StyleGAN-XL has."""
        w_avg = self.state_dict.get('mapping.w_avg')
        return w_avg is not None and w_avg.ndim == 2


def read_generator(path: str | os.PathLike | bytes, cache_dir: str | os.PathLike | None = None) -> GeneratorFile:
    """Reads the generator of a network file, as data.

    Args:
        path: path or `http(s)://` URL of a file of stylegan2 (TensorFlow), stylegan2-ada-pytorch, stylegan3 or
            stylegan-xl; or its bytes.
        cache_dir: folder for fetched files; None to use `files.cache_dir()`.

    Raises:
        CheckpointError: for a file that cannot be read as data, has no generator, or one of another family.
    """
    file = read_network_pickle(path, cache_dir, _generator_and_extras)
    entry = next(name for name in _GENERATOR_ENTRIES if name in file.entries)
    network = file.entries[entry]
    if not isinstance(network, PersistentObject):
        raise CheckpointError(f'{file.name}: the entry {entry} is {shorten(network)}; expected a network')
    family = families.family_of(network.state_dict)
    if family is None:
        known = ' or '.join(family.title for family in families.FAMILIES)
        raise CheckpointError(f'{file.name}: the state of its {network.class_name!r} is not that of a {known} '
                              'generator; a fork can only be loaded by its own code: --repo of its checkout and '
                              '--trust-pickle, if you trust the file')
    init_kwargs = network.init_kwargs
    if family.complete is not None:
        try:
            init_kwargs = family.complete(network)
        except CheckpointError as error:
            raise CheckpointError(f'{file.name}: {error}') from error
    return GeneratorFile(
        class_name=network.class_name,
        family=family,
        init_args=network.init_args,
        init_kwargs=init_kwargs,
        state_dict=network.state_dict,
        sha256=file.sha256,
        name=file.name,
        entry=entry,
        source_sha256=network.source_sha256,
        extras={name: value for name, value in file.entries.items() if name != entry},
    )


def _generator_and_extras(names: list[str]) -> list[str]:
    generators = [name for name in _GENERATOR_ENTRIES if name in names]
    if not generators:
        raise CheckpointError(f'no generator: expected an entry {" or ".join(_GENERATOR_ENTRIES)}, '
                              f'found {", ".join(map(shorten, names[:10])) or "no entries"}')
    return [name for name in names if name == generators[0] or name not in _NETWORK_ENTRIES]
