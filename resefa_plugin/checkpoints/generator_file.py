"""A generator from a network file: the one function that the rest of the package calls."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from resefa_plugin.checkpoints import families
from resefa_plugin.checkpoints.families import STYLEGAN2, GeneratorFamily
from resefa_plugin.checkpoints.network_source import NetworkSource, read_source
from resefa_plugin.checkpoints.pickles.contents import Contents, open_contents
from resefa_plugin.checkpoints.pickles.inert_pickle import naming
from resefa_plugin.checkpoints.pickles.inert_values import Call
from resefa_plugin.checkpoints.pickles.legacy_tf_pickle import TFNetwork, convert_generator
from resefa_plugin.checkpoints.pickles.nvlabs_pickle import decode_module, is_module
from resefa_plugin.checkpoints.selection import Selection, select_generator
from resefa_plugin.checkpoints.states import genforce, official, rosinality
from resefa_plugin.errors import CheckpointError

OFFICIAL_CLASS = 'Generator'
EXPECTED = 'a network file: a pickle, or a file of torch.save or safetensors'

State = dict[str, torch.Tensor]


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
        entry: where in the file it was: `G_ema`, or `G` in a file without a moving average, or `state_dict.decoder`.
        source_sha256: SHA-256 of the Python source that the file carries for its class; empty if it carries none.
        notes: what the user should know: what was assumed.
    """

    class_name: str
    family: GeneratorFamily
    init_args: tuple
    init_kwargs: dict
    state_dict: State
    sha256: str
    name: str
    entry: str
    source_sha256: str
    notes: tuple[str, ...] = ()

    @property
    def known_source(self) -> str:
        """Which official version, or fork that is its equal, the source in the file is; empty if it is none of them."""
        return self.family.origin_of(self.source_sha256)

    @property
    def has_class_means(self) -> bool:
        """Whether it has a mean of W for each class, `[c_dim, w_dim]`, as StyleGAN-XL has."""
        w_avg = self.state_dict.get('mapping.w_avg')
        return w_avg is not None and w_avg.ndim == 2


def read_generator(path: str | os.PathLike | bytes, cache_dir: str | os.PathLike | None = None) -> GeneratorFile:
    """Reads the generator of a network file, as data; nothing in the file but the generator has to be known.

    Opened are files of stylegan2 (TensorFlow), stylegan2-ada-pytorch, stylegan3, stylegan-xl and their forks with the
    official networks, of stylegan2-pytorch (rosinality) and the encoders that are built on it (pSp, e4e), and of
    genforce's code (Hammer, the published ReSeFa): snapshots, networks, and bare states of them, as pickles, files of
    torch.save or safetensors.

    Args:
        path: path or `http(s)://` URL of the file; or its bytes.
        cache_dir: folder for fetched files; None to use `files.cache_dir()`.

    Raises:
        CheckpointError: for a file that cannot be read as data, has no generator, or one of another family.
    """
    source = read_source(path, cache_dir)
    with naming(source.name):
        contents = open_contents(source, EXPECTED)
        selection = select_generator(contents)
        if selection.value is None:
            return _from_state(source, selection, contents)
        return _from_value(source, selection.entry, selection.value, contents)


def _from_value(source: NetworkSource, entry: str, value: Call, contents: Contents) -> GeneratorFile:
    if not is_module(value):
        network = contents.decoder.plain(value)
        assert isinstance(network, TFNetwork)
        kwargs, state = convert_generator(network)
        return GeneratorFile(OFFICIAL_CLASS, STYLEGAN2, (), kwargs, state, source.sha256, source.name, entry, '')
    network = decode_module(contents.decoder, value)
    if not network.source_sha256:  # saved by torch itself: its arguments are not recorded
        return _converted(source, f'{entry}, a {network.class_name}', network.state_dict, None)
    family = families.family_of(network.state_dict)
    if family is None:
        known = ' or '.join(family.title for family in families.FAMILIES)
        raise CheckpointError(f'the state of its {network.class_name!r} is not that of a {known} generator; a fork can '
                              'only be loaded by its own code: --repo of its checkout and --trust-pickle, if you trust '
                              'the file')
    kwargs = network.init_kwargs if family.complete is None else family.complete(network)
    return GeneratorFile(network.class_name, family, network.init_args, kwargs, network.state_dict,
                         source.sha256, source.name, entry, network.source_sha256)


def _from_state(source: NetworkSource, selection: Selection, contents: Contents) -> GeneratorFile:
    decoded = {name: contents.decoder.plain(value) for name, value in (selection.tensors or {}).items()}
    latent_avg = None if selection.latent_avg is None else contents.decoder.plain(selection.latent_avg)
    tensors = {name: value for name, value in decoded.items() if isinstance(value, torch.Tensor)}
    return _converted(source, selection.entry, tensors, latent_avg)


def _converted(source: NetworkSource, entry: str, state: State, latent_avg: object) -> GeneratorFile:
    """The generator of a bare state, under whatever names."""
    notes: tuple[str, ...] = ()
    if rosinality.MARK in state:
        family = STYLEGAN2
        kwargs, state, notes = rosinality.convert(entry, state, latent_avg)
    else:
        if genforce.MARK in state:
            state = genforce.convert(state)
        elif genforce.MARK3 in state:
            state = genforce.convert3(state)
        found = families.family_of(state)
        if found is None:
            raise CheckpointError(f'{entry}: a network that is not known here; open it with its own code: --repo of '
                                  'its checkout and --trust-pickle, if you trust the file, or a function with --hook')
        family = found
        kwargs, note = official.init_kwargs(family, state)
        notes = (note,)
    return GeneratorFile(OFFICIAL_CLASS, family, (), kwargs, state, source.sha256, source.name, entry, '', notes)
