"""Generators by name, path or URL."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable

import torch

from resefa_plugin.errors import CheckpointError, ResefaError
from resefa_plugin.hooks.base import GeneratorHook
from resefa_plugin.hooks.biggan import open_biggan
from resefa_plugin.hooks.foreign import plugin_names, plugin_opener
from resefa_plugin.hooks.mobile_stylegan import MobileStyleGANHook
from resefa_plugin.hooks.network_file import open_file
from resefa_plugin.machine.nearby import nearby
from resefa_plugin.third_party import mobilestylegan_ffhq


def _open_demo(rest: str, device: torch.device | str) -> GeneratorHook:
    if rest:
        raise CheckpointError(f"{mobilestylegan_ffhq.NAME} is one network: leave out ':{rest}'")
    return MobileStyleGANHook.open(device)


def _open_biggan(rest: str, device: torch.device | str, repo: str | os.PathLike[str] | None = None) -> GeneratorHook:
    if not rest:
        raise CheckpointError('--network=biggan: name the experiment folder, its weights file, or a '
                              'pytorch-pretrained-biggan folder, as in biggan:FOLDER')
    return open_biggan(os.path.expanduser(rest), device, checkout=repo)


# The NAME in `--network=NAME` or `--network=NAME:REST` -> a function of (rest, device) and, by keyword, of those flags
# of `open_network` that this network takes. Plugins cannot have these names.
NAMED_NETWORKS: dict[str, Callable[..., GeneratorHook]] = {
    mobilestylegan_ffhq.NAME: _open_demo,
    'biggan': _open_biggan,
}


def open_network(network: str | os.PathLike[str], device: torch.device | str = 'cpu',
                 repo: str | os.PathLike[str] | None = None, trust_pickle: bool = False,
                 noise_mode: str = 'const') -> GeneratorHook:
    """The hook of a network; its `implementation` says what computes the pictures.

    A network file is read as data. With a checkout of stylegan2-ada-pytorch or stylegan3 at hand (`repo`, the current
    folder, or a folder in its `third_party`) the checkout's generator is built from it, else our own.

    Args:
        network: one of these:

            - `mobilestylegan-ffhq`, the demo generator, which is fetched on first use;
            - `biggan:FOLDER`, an experiment of BigGAN-PyTorch or a folder of pytorch-pretrained-biggan;
            - `NAME` or `NAME:REST` of an installed plugin (entry point of the group `resefa_plugin.hooks`);
            - the path or URL of a file: see `checkpoints.generator_file.read_generator`.
        device: where the network shall be.
        repo: folder of a checkout to use, and no other; None to use one at hand, if there is one.
        trust_pickle: let the checkout's own loader read the file, which EXECUTES the code in the file.
        noise_mode: 'const' or 'none'.

    Raises:
        CheckpointError: there is no such network or checkout, or it cannot be read, or the network does not take one of
            the flags.
        ResefaError: for another noise mode.
    """
    if not isinstance(network, (str, os.PathLike)):
        raise CheckpointError(f'network is {repr(network)[:100]}, expected a path, a URL or a name such as '
                              f'{mobilestylegan_ffhq.NAME}')
    try:
        torch.device(device)
    except RuntimeError as error:
        raise ResefaError(f"device is '{device}', expected cpu, cuda, cuda:1 or mps") from error
    spec = os.fspath(network)
    name, _, rest = spec.partition(':')
    opener = NAMED_NETWORKS.get(name) or plugin_opener(name)
    if opener is None:
        spec = spec if '://' in spec else os.path.expanduser(spec)
        if '://' not in spec and not os.path.exists(spec):
            names = sorted({*NAMED_NETWORKS, *plugin_names()})
            near = difflib.get_close_matches(name.lower(), names, n=1)
            meant = f'; did you mean {near[0]}{spec[len(name):]}?' if near else ''
            hint = meant or f'{nearby(spec)};'.replace('?;', '?')
            raise CheckpointError(f'--network={spec}: no such network{hint} expected a network file, its URL, or a '
                                  f"name out of {', '.join(names)}")
        return open_file(spec, device, repo, trust_pickle, noise_mode)
    flags = {'repo': (repo, None), 'trust_pickle': (trust_pickle, False), 'noise_mode': (noise_mode, 'const')}
    given = {flag: value for flag, (value, default) in flags.items() if value != default}
    refused = [flag for flag in given if flag not in inspect.signature(opener).parameters]
    if refused:
        flag = refused[0].replace('_', '-')
        raise CheckpointError(f'--network={spec}: {name} takes no --{flag}; leave it out')
    return opener(rest, device, **given)
